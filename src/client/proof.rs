//! Making proofs (RFC 9449 section 4.2): the one place where this program does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::jose::{PrivateKey, PrivateKeyError};
use crate::secret::{AccessToken, shortened};

use super::Url;

/// Random bytes of a `jti`: with 16, two are never alike.
const JTI_BYTES: usize = 16;

/// What proofs of one request say, whichever of them it is.
#[derive(Clone)]
pub struct Statement {
    /// The members that all of them share, as JSON without the closing brace: written once, for however many proofs.
    members: String,
}

impl Statement {
    /// `htm` and `htu`.
    pub fn of(method: &Method, url: &Url) -> Self {
        Self { members: format!("{{\"htm\":{},\"htu\":{}", json!(method.as_str()), json!(url.htu())) }
    }

    /// `ath`: made for this access token.
    #[must_use]
    pub fn with_token(self, token: &AccessToken) -> Self {
        self.with("ath", &URL_SAFE_NO_PAD.encode(token.digest().as_bytes()))
    }

    /// `nonce`, as the server gave it.
    #[must_use]
    pub fn with_nonce(self, nonce: &str) -> Self {
        self.with("nonce", nonce)
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.members.push_str(&format!(",\"{name}\":{}", json!(value)));
        self
    }
}

/// Whether it may stand in a `DPoP-Nonce` header: `1*NQCHAR` (RFC 9449 section 8.1).
pub fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

/// Holds the key and signs proofs with it.
pub struct Prover {
    key: PrivateKey,
    /// The first part of each proof.
    header: String,
    clock: Clock,
}

impl Prover {
    /// Signs with `key`, at the time that `clock` shows.
    pub fn new(key: PrivateKey, clock: Clock) -> Self {
        let members = [("typ", "dpop+jwt".into()), ("jwk", key.public().to_jwk())];
        let header = key.compact_header(members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect());
        Self { key, header, clock }
    }

    /// A fresh proof: its own `jti`, this moment's `iat`.
    pub fn prove(&self, statement: &Statement) -> Result<Proof, PrivateKeyError> {
        let mut jti = [0; JTI_BYTES];
        getrandom::fill(&mut jti).map_err(|_| PrivateKeyError::Failed)?;
        let (jti, iat) = (URL_SAFE_NO_PAD.encode(jti), self.clock.now().as_secs());
        let claims = format!("{},\"jti\":\"{jti}\",\"iat\":{iat}}}", statement.members);
        Ok(Proof { compact: self.key.sign_under(&self.header, claims.as_bytes())?, claims })
    }

    /// The key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// A proof, signed.
pub struct Proof {
    compact: String,
    claims: String,
}

impl Proof {
    /// What goes into the `DPoP` header.
    pub fn compact(&self) -> &str {
        &self.compact
    }

    /// What it says, for people to read; what could be used again is shortened.
    pub(super) fn told(&self) -> String {
        let claims: Value = serde_json::from_str(&self.claims).unwrap_or_default();
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let credential = |name: &str| match text(name) {
            Some(value) => format!("{name} {}", shortened(value)),
            None => format!("no {name}"),
        };
        let plain = |name: &str| format!("{name} {}", text(name).unwrap_or_default());
        let iat = claims.get("iat").and_then(Value::as_u64).unwrap_or_default();
        let members = [
            plain("htm"),
            plain("htu"),
            format!("iat {iat}"),
            credential("jti"),
            credential("nonce"),
            credential("ath"),
        ];
        members.join(", ")
    }
}
