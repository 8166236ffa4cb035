//! A development authorization server: **for development only**, never for production.
//!
//! Its key, its two clients and its one user are made at start and gone at the end. It asks nobody for a password and
//! limits no rate; what it remembers is in memory and bounded. Clients reach it through the gate, which stands at the
//! server's own origin: its `token_endpoint` route has checked proof and nonce, and names the proof's key in
//! `X-Auth-Jkt`. Reached past the gate, it would bind a token to any key that a caller names: no use to a thief of
//! tokens, but no proof of possession either, so it listens on loopback only.
//!
//! | path | what it is |
//! | --- | --- |
//! | `/.well-known/oauth-authorization-server` | metadata (RFC 8414) |
//! | `/jwks` | the key of its tokens (RFC 7517) |
//! | `/authorize` | codes with PKCE (RFC 6749 section 4.1, RFC 7636, RFC 9207, RFC 9449 section 10) |
//! | `/token` | access tokens (RFC 9068, RFC 9449 section 5) |
//! | `/introspect` | what became of a token (RFC 7662) |
//! | `/revoke` | its end (RFC 7009) |
//!
//! Access tokens are JWTs: a gate that verifies them by key does not hear of a revocation, and honours them until they
//! expire.

mod access;
mod authorize;
mod clients;
mod codes;
mod consent;
mod form;
mod grants;
mod introspect;
mod metadata;
mod refusal;
mod token;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::HeaderName;
use http::{Method, Request, Response, StatusCode};

use crate::clock::Clock;
use crate::jose::{Algorithm, PrivateKey, PrivateKeyError};

use super::serve::{self, Answer};
use authorize::Pending;
use codes::Codes;
use grants::Grants;
use refusal::OAuthRefusal;

pub(super) use clients::{Client, Clients};

/// How long an access token is valid.
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_secs(300);
/// Where the gate says whose proof it checked.
const JKT_HEADER: HeaderName = HeaderName::from_static("x-auth-jkt");
/// The scopes that a client may ask for.
pub(super) const SCOPES: [&str; 2] = ["orders.read", "orders.write"];
/// Whoever approves at `/authorize`.
const USER: &str = "alice";

/// What an authorization server is made of.
pub(super) struct IssuerOptions {
    /// Its issuer identifier: the origin where clients reach it, and the gate in front of it.
    pub(super) origin: String,
    /// What its tokens are for.
    pub(super) audience: &'static str,
    /// Where codes may be sent, to the letter.
    pub(super) redirect_uris: Vec<String>,
    /// Whose time it goes by.
    pub(super) clock: Clock,
}

/// The server.
pub(super) struct Issuer {
    origin: String,
    audience: &'static str,
    key: PrivateKey,
    clients: Clients,
    state: Mutex<State>,
    clock: Clock,
}

/// What it remembers: each with its own bound.
struct State {
    pending: Pending,
    codes: Codes,
    grants: Grants,
}

impl Answer for Issuer {
    fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let now = self.clock.now();
        let (headers, body) = (request.headers(), request.body().as_ref());
        match (request.uri().path(), request.method()) {
            (metadata::PATH, &Method::GET | &Method::HEAD) => serve::json(StatusCode::OK, &self.metadata()),
            ("/jwks", &Method::GET | &Method::HEAD) => serve::json(StatusCode::OK, &self.jwks()),
            ("/authorize", &Method::GET) => self.authorize(request.uri().query().unwrap_or(""), now),
            ("/authorize", &Method::POST) => self.decide(headers, body, now),
            ("/token", &Method::POST) => refusal::answer(self.token(headers, body, now)),
            ("/introspect", &Method::POST) => refusal::answer(self.introspect(headers, body, now)),
            ("/revoke", &Method::POST) => refusal::answer(self.revoke(headers, body, now)),
            (metadata::PATH | "/jwks", _) => serve::not_allowed("GET, HEAD"),
            ("/authorize", _) => serve::not_allowed("GET, POST"),
            ("/token" | "/introspect" | "/revoke", _) => serve::not_allowed("POST"),
            _ => serve::plain(StatusCode::NOT_FOUND, "There is nothing here.\n"),
        }
    }
}

impl Issuer {
    /// An authorization server with fresh keys and a fresh client secret.
    pub(super) fn new(options: IssuerOptions) -> Result<Self, PrivateKeyError> {
        let state = State { pending: Pending::new(), codes: Codes::new(), grants: Grants::new(random_bytes()?) };
        Ok(Self {
            origin: options.origin,
            audience: options.audience,
            key: PrivateKey::generate(Algorithm::Es256)?,
            clients: Clients::new(random()?, options.redirect_uris),
            state: Mutex::new(state),
            clock: options.clock,
        })
    }

    /// The clients that are known, for the printed guide.
    pub(super) fn clients(&self) -> &Clients {
        &self.clients
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key_id(&self) -> String {
        self.key.public().thumbprint().to_string()
    }
}

/// 128 bits that nobody can guess, for a secret, a code or a `jti`.
fn random() -> Result<String, PrivateKeyError> {
    random_bytes::<16>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

fn random_bytes<const N: usize>() -> Result<[u8; N], PrivateKeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| PrivateKeyError::Failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
