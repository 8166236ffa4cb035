//! A JWT access token (RFC 9068): its header judged, its signature checked with its own issuer's keys, its claims read.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::jose::{Algorithm, Compact, Names, Reader, read};
use crate::token::{ClaimRules, Claims, TokenError, TokenTypes, VerifiedToken};

use super::keys::{Signed, Verdict};
use super::refresh::KeySource;

/// Largest token looked at, in bytes.
pub(super) const TOKEN_BYTES: usize = 16 * 1024;

/// A text of a JWT's shape; nothing in it is to be believed yet.
pub(super) struct Jwt<'a> {
    parts: Compact<'a>,
    signature: &'a str,
    header: Header,
    /// `None` where the payload is no JSON object, or has a member twice.
    claims: Option<Claims>,
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
        let header = read(parts.header(), Header::read)?;
        let claims = Claims::parse(parts.payload());
        Some(Self { parts, signature, header, claims })
    }

    /// `iss`: it picks the issuer whose keys are looked at, and nothing else.
    pub(super) fn issuer(&self) -> Option<Cow<'_, str>> {
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
            input: self.parts.signing_input(),
            signature: self.signature,
            signature_bytes: self.parts.signature(),
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
        let header = &self.header;
        let name = text(&header.alg)?.ok_or(TokenError::Malformed)?;
        let algorithm = Algorithm::from_name(name).ok_or(TokenError::Malformed)?;
        if !rules.algorithms.contains(&algorithm) {
            return Err(TokenError::Malformed);
        }
        // RFC 7515 section 4.1.11: an extension that is not understood makes the JWS invalid, and none is understood.
        // With `b64` (RFC 7797) the signed bytes would be others.
        if header.extended || !rules.types.accepts(text(&header.typ)?) {
            return Err(TokenError::Malformed);
        }
        Ok((algorithm, text(&header.kid)?))
    }
}

/// The members of the header that count. `None` inside: of another type.
#[derive(Default)]
struct Header {
    alg: Option<Option<String>>,
    typ: Option<Option<String>>,
    kid: Option<Option<String>>,
    /// `crit` or `b64` is there.
    extended: bool,
}

/// A member that is a text, if it is there.
fn text(member: &Option<Option<String>>) -> Result<Option<&str>, TokenError> {
    member.as_ref().map(|text| text.as_deref().ok_or(TokenError::Malformed)).transpose()
}

impl Header {
    /// Reads an object; `None` also for a member that is there twice.
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut header = Self::default();
        let mut others = Names::new();
        reader.object(|reader, name| {
            let known = match &*name {
                "alg" => &mut header.alg,
                "typ" => &mut header.typ,
                "kid" => &mut header.kid,
                _ => {
                    reader.pass()?;
                    header.extended |= matches!(&*name, "crit" | "b64");
                    return others.add(name);
                }
            };
            known.replace(reader.text()?.map(Cow::into_owned)).is_none().then_some(())
        })?;
        Some(header)
    }
}
