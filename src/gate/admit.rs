//! The decision itself.

use std::sync::Arc;

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::jose::Thumbprint;
use crate::policy::Route;
use crate::secret::AccessToken;
use crate::target::{Peer, Target};
use crate::token::VerifiedToken;

use super::{Gate, Refusal};

/// What is known of a request when it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What `htm` may be: the request's method (for a WebSocket over HTTP/2, `CONNECT` and `GET`).
    pub methods: &'a [&'a str],
    /// The URI that the client addressed.
    pub target: &'a Target,
    /// The request's query, as it came.
    pub query: Option<&'a str>,
    /// All headers of the request.
    pub headers: &'a HeaderMap,
    /// Who sent it.
    pub peer: &'a Peer,
    /// Whether the `jti` is spent.
    pub spend: Spend,
}

/// What becomes of the `jti`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spend {
    /// It is claimed.
    Consume,
    /// It is looked at: the next hop verifies the proof again.
    Check,
}

/// Leave to go upstream, and who the caller is. Only `Gate::admit` makes one.
#[derive(Debug)]
pub struct Admission {
    pub(super) caller: Caller,
    pub(super) reported: Option<Refusal>,
    pub(super) nonce: Option<String>,
}

/// Who calls.
#[derive(Debug)]
pub(super) enum Caller {
    /// A public route, or one in report mode that would have been refused: nobody in particular.
    Anyone,
    /// The holder of a token, and of its key unless it is a bearer token.
    Token { token: Arc<VerifiedToken>, text: AccessToken, jkt: Option<Thumbprint> },
    /// At a token endpoint: the holder of a key.
    Key(Thumbprint),
}

impl Admission {
    /// In report mode: why it would have been refused.
    pub fn reported(&self) -> Option<Refusal> {
        self.reported
    }

    /// A fresh nonce that the response has to carry.
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// The thumbprint of the key that the caller has proved to hold.
    pub fn jkt(&self) -> Option<&Thumbprint> {
        match &self.caller {
            Caller::Anyone => None,
            Caller::Token { jkt, .. } => jkt.as_ref(),
            Caller::Key(jkt) => Some(jkt),
        }
    }

    /// The token's claims, for logs and headers.
    pub fn token(&self) -> Option<&VerifiedToken> {
        match &self.caller {
            Caller::Token { token, .. } => Some(token),
            Caller::Anyone | Caller::Key(_) => None,
        }
    }
}

impl Gate {
    /// Which route a request is, by what the client addressed.
    pub fn route(&self, method: &http::Method, target: &Target) -> Result<&Arc<Route>, Refusal> {
        self.routes.find(method, target.host(), target.path()).ok_or(Refusal::NoRoute)
    }

    /// Decides. In report mode a refusal of the credentials becomes an [`Admission`] that says so.
    pub async fn admit(&self, route: &Route, facts: &Facts<'_>, now: Timestamp) -> Result<Admission, Refusal> {
        let _ = (route, facts, now);
        todo!()
    }
}
