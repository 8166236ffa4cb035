//! The claims of an access token, checked.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Timestamp;

use super::{Binding, TokenError};

/// Which `typ` headers are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenTypes {
    /// Every one but `dpop+jwt`, none at all included.
    Any,
    /// One of these, compared as media types: without case, `application/` in front is the same.
    Only(Vec<String>),
}

/// What an issuer's tokens must claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRules {
    /// `iss`, to the letter.
    pub issuer: String,
    /// Any one of these must be in `aud`.
    pub audiences: Vec<String>,
}

/// A token whose issuer vouches for it. Only [`VerifiedToken::check`] makes one, and only `issuer` calls that,
/// after the signature or the introspection.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    claims: Map<String, Value>,
    binding: Binding,
    expires: Timestamp,
}

impl VerifiedToken {
    /// Checks `iss`, `aud`, `exp`, `nbf` (with `skew` granted to the times) and reads `cnf`.
    ///
    /// This does not check a signature: the caller has.
    pub fn check(
        claims: Map<String, Value>,
        rules: &ClaimRules,
        now: Timestamp,
        skew: Duration,
    ) -> Result<Self, TokenError> {
        let _ = (claims, rules, now, skew);
        todo!()
    }

    /// Whether it still holds at `now`: for a token out of the cache.
    pub fn still_valid(&self, now: Timestamp, skew: Duration) -> Result<(), TokenError> {
        let _ = (now, skew);
        todo!()
    }

    /// What it is bound to.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// `exp`.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// All claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// A claim by name, or by a dotted path into objects (`cnf.jkt`); a name that itself has dots wins.
    pub fn claim(&self, path: &str) -> Option<&Value> {
        let _ = path;
        todo!()
    }

    /// The granted scopes: `scope` (a string of words, RFC 9068), else `scp` (Okta, Entra: a list or a string).
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        [].into_iter()
    }
}
