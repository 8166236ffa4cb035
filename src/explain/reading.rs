//! What proof and token say, read leniently and believed nothing: only for telling people what was found. The gate's
//! own reading decides.

use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::Timestamp;
use crate::dpop::DPOP;
use crate::jose::{Compact, PublicKey, StrictValue};
use crate::secret::shortened;

/// Longest text that is looked at, in bytes.
const LIMIT: usize = 64 * 1024;
/// Longest value that is shown, in characters.
const SHOWN: usize = 120;

/// A JWS of which anything can be read.
pub(super) struct Jws {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
}

impl Jws {
    fn of(text: &str) -> Option<Self> {
        let compact = Compact::parse(text, LIMIT).ok()?;
        let object = |bytes: &[u8]| match serde_json::from_slice(bytes) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        };
        Some(Self { header: object(compact.header()), claims: object(compact.payload()) })
    }

    /// A claim that is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// `cnf.jkt`.
    pub(super) fn jkt(&self) -> Option<&str> {
        self.claims.get("cnf")?.get("jkt")?.as_str()
    }
}

/// What a request's credentials say.
pub(super) struct Reading {
    /// The values of `Authorization`.
    authorization: Vec<String>,
    /// How many `DPoP` headers there are.
    pub(super) proofs: usize,
    /// The first of them.
    pub(super) proof: Option<Jws>,
    /// The access token, if it is a JWT.
    pub(super) token: Option<Jws>,
}

impl Reading {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let all = |name: &http::HeaderName| -> Vec<String> {
            let values = headers.get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
        };
        let (authorization, proofs) = (all(&AUTHORIZATION), all(&DPOP));
        let token = authorization.first().and_then(|value| Jws::of(value.split_once(' ')?.1.trim()));
        Self { proof: proofs.first().and_then(|text| Jws::of(text)), proofs: proofs.len(), token, authorization }
    }

    /// The `Authorization` headers, told without their credentials.
    pub(super) fn authorization(&self) -> String {
        let told = self.authorization.iter().map(|value| match value.split_once(' ') {
            Some((scheme, rest)) if rest.contains(',') => format!("{} and several credentials", shown(scheme)),
            Some((scheme, rest)) => format!("{} {}", shown(scheme), shortened(rest)),
            // A token without its scheme.
            None if value.len() > 12 => shortened(value),
            None => format!("{} alone", shown(value)),
        });
        match told.collect::<Vec<_>>().join("; ") {
            told if told.is_empty() => "no Authorization header".to_owned(),
            told => format!("Authorization: {told}"),
        }
    }

    /// The thumbprint of the proof's key, if it is a key.
    pub(super) fn proof_key(&self) -> Option<String> {
        let jwk = StrictValue::from_value(self.proof.as_ref()?.header.get("jwk")?.clone());
        PublicKey::from_jwk(&jwk).ok().map(|key| key.thumbprint().to_string())
    }

    /// A member of the proof's header.
    pub(super) fn proof_header(&self, name: &str) -> String {
        member(self.proof.as_ref().and_then(|proof| proof.header.get(name)))
    }

    /// A claim of the proof.
    pub(super) fn proof_claim(&self, name: &str) -> Option<&str> {
        self.proof.as_ref()?.text(name)
    }

    /// A claim of the proof, of any type.
    pub(super) fn proof_claim_text(&self, name: &str) -> String {
        member(self.proof.as_ref().and_then(|proof| proof.claims.get(name)))
    }

    /// A claim of the token.
    pub(super) fn token_claim(&self, name: &str) -> String {
        match &self.token {
            Some(token) => member(token.claims.get(name)),
            None => "nothing that can be read: the token is opaque".to_owned(),
        }
    }
}

/// A value, or that there is none.
pub(super) fn member(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => shown(text),
        Some(other) => shown(&other.to_string()),
    }
}

/// What a client wrote, for people: nothing that moves a cursor, and not without end. A text like a JWS is a credential
/// in the wrong place.
pub(super) fn shown(text: &str) -> String {
    if text.starts_with("ey") && Compact::parse(text, LIMIT).is_ok() {
        return shortened(text);
    }
    let mut shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

/// An `htu` without what may be confidential in it.
pub(super) fn shown_url(url: &str) -> String {
    shown(url.split(['?', '#']).next().unwrap_or_default())
}

/// As RFC 3339 writes it.
pub(super) fn date(time: Timestamp) -> String {
    let secs = i64::try_from(time.as_secs()).ok().and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    let text = secs.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{} s after 1970", time.as_secs()))
}

/// A duration in words.
pub(super) fn span(duration: Duration) -> String {
    match duration.as_secs() {
        secs @ 0..=180 => format!("{secs} s"),
        secs @ 181..=10_800 => format!("{} min", secs / 60),
        secs @ 10_801..=172_800 => format!("{} h", secs / 3600),
        secs => format!("{} days", secs / 86_400),
    }
}
