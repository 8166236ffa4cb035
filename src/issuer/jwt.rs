//! A JWT access token (RFC 9068): its header judged, its signature checked with its own issuer's keys, its claims read.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::jose::{Algorithm, Compact, StrictValue};
use crate::token::{ClaimRules, TokenError, TokenTypes, VerifiedToken};

use super::keys::{Signed, Verdict};
use super::refresh::KeySource;

/// Largest token looked at, in bytes.
pub(super) const TOKEN_BYTES: usize = 16 * 1024;

/// A text of a JWT's shape; nothing in it is to be believed yet.
pub(super) struct Jwt<'a> {
    parts: Compact<'a>,
    signature: &'a str,
    header: Map<String, Value>,
    /// `None` where the payload is no JSON object, or has a member twice.
    claims: Option<Map<String, Value>>,
}

/// What an issuer's tokens must look like.
pub(super) struct JwtRules {
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) types: TokenTypes,
    pub(super) claims: ClaimRules,
}

impl<'a> Jwt<'a> {
    /// `None` for whatever is not three parts of base64url of which the first is a JSON object: an opaque token.
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        let parts = Compact::parse(token, TOKEN_BYTES).ok()?;
        let (_, signature) = token.rsplit_once('.')?;
        let header = StrictValue::parse(&parts.header)?.into_object()?;
        let claims = StrictValue::parse(&parts.payload).and_then(StrictValue::into_object);
        Some(Self { parts, signature, header, claims })
    }

    /// `iss`: it picks the issuer whose keys are looked at, and nothing else.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.as_ref()?.get("iss")?.as_str()
    }

    /// Verifies it with the keys of `source`, whose issuer it names; also says which generation of them vouches.
    ///
    /// A `kid` that the set does not have leads to one fetch (see [`KeySource::refetch`]); if it is still unknown, the
    /// signature is wrong. Only where keys were never had is the issuer unavailable: with the last good ones in hand
    /// a made-up `kid` is still the caller's fault.
    pub(super) async fn verify(
        self,
        source: &Arc<KeySource>,
        rules: &JwtRules,
        now: Timestamp,
        skew: Duration,
    ) -> Result<(VerifiedToken, u64), TokenError> {
        let (algorithm, kid) = self.judge_header(rules)?;
        let signed = Signed {
            kid,
            algorithm,
            input: self.parts.signing_input,
            signature: self.signature,
            signature_bytes: &self.parts.signature,
        };
        let verifier = source.verifier();
        let mut set = source.current();
        let mut verdict = set.as_ref().map_or(Verdict::UnknownKey, |set| set.verify(signed, verifier));
        if verdict == Verdict::UnknownKey {
            source.refetch(now).await;
            let tried = set.map(|set| set.generation);
            set = source.current();
            let set = set.as_ref().ok_or(TokenError::IssuerUnavailable)?;
            if tried != Some(set.generation) {
                verdict = set.verify(signed, verifier);
            }
        }
        match (verdict, set) {
            (Verdict::Verified, Some(set)) => {
                let claims = self.claims.ok_or(TokenError::Malformed)?;
                Ok((VerifiedToken::check(claims, &rules.claims, now, skew)?, set.generation))
            }
            (Verdict::Verified | Verdict::Wrong | Verdict::UnknownKey, _) => Err(TokenError::Signature),
        }
    }

    /// Algorithm and `kid`. `jwk`, `jku`, `x5c` and `x5u` are not read at all: keys come from the issuer only.
    fn judge_header(&self, rules: &JwtRules) -> Result<(Algorithm, Option<&str>), TokenError> {
        let name = self.text("alg")?.ok_or(TokenError::Malformed)?;
        let algorithm = Algorithm::from_name(name).ok_or(TokenError::Malformed)?;
        if !rules.algorithms.contains(&algorithm) {
            return Err(TokenError::Malformed);
        }
        // RFC 7515 section 4.1.11: an extension that is not understood makes the JWS invalid, and none is understood.
        // With `b64` (RFC 7797) the signed bytes would be others.
        if self.header.contains_key("crit") || self.header.contains_key("b64") {
            return Err(TokenError::Malformed);
        }
        if !rules.types.accepts(self.text("typ")?) {
            return Err(TokenError::Malformed);
        }
        Ok((algorithm, self.text("kid")?))
    }

    fn text(&self, name: &str) -> Result<Option<&str>, TokenError> {
        self.header.get(name).map(|value| value.as_str().ok_or(TokenError::Malformed)).transpose()
    }
}
