//! Reading a proof: one pass, bounded, nothing believed yet.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use crate::clock::Timestamp;
use crate::jose::{
    Algorithm, Compact, IgnoredSeed, JwkError, JwkMembers, JwkSeed, NameSeed, PublicKey, TextSeed, parse_strictly,
};

use super::{Check, ProofError};

/// Longest proof that is looked at, in bytes; an RS256 proof with a 4096-bit key has about 2 KiB.
pub const MAX_PROOF_BYTES: usize = 8 * 1024;
/// Longest `jti`, in bytes.
pub const MAX_JTI_BYTES: usize = 256;

/// A proof that was read but not verified. Prints redacted.
pub struct Proof<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) key: PublicKey,
    pub(super) signing_input: &'a [u8],
    pub(super) signature: Vec<u8>,
    pub(super) jti: String,
    pub(super) htm: String,
    pub(super) htu: String,
    pub(super) iat: Timestamp,
    pub(super) ath: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) exp: Option<Timestamp>,
    pub(super) nbf: Option<Timestamp>,
}

impl<'a> Proof<'a> {
    /// Checks 2 to 7 of RFC 9449 section 4.3 but for the signature: form, `typ`, `alg` among `algorithms`, `jwk`. Says
    /// which check it has `reached`.
    pub fn parse(text: &'a str, algorithms: &[Algorithm], reached: impl Fn(Check)) -> Result<Self, ProofError> {
        reached(Check::WellFormed);
        // Check 2: "a single and well-formed JWT".
        let compact = Compact::parse(text, MAX_PROOF_BYTES).map_err(|_| ProofError::Malformed)?;
        let header = parse_strictly(&compact.header, HeaderSeed).ok_or(ProofError::Malformed)?;
        // An extension that must be understood, and none is (RFC 7515 section 4.1.11); `b64` would change what is
        // signed (RFC 7797 section 3).
        if header.extended {
            return Err(ProofError::Malformed);
        }
        reached(Check::Claims);
        // Check 3: "All required claims".
        let claims = parse_strictly(&compact.payload, ClaimsSeed).ok_or(ProofError::Malformed)?;
        reached(Check::Typ);
        // Check 4: "The typ JOSE Header Parameter has the value dpop+jwt". To the letter: section 4.2 gives the value
        // in that form, and a proof with another one was not made for this.
        if header.typ.flatten().as_deref() != Some("dpop+jwt") {
            return Err(ProofError::WrongTyp);
        }
        reached(Check::Algorithm);
        // Check 5: "a registered asymmetric digital signature algorithm, is not none, is supported by the application,
        // and is acceptable per local policy". Missing or no string is none of these.
        let algorithm = header.alg.flatten().as_deref().and_then(Algorithm::from_name);
        let algorithm = algorithm.filter(|named| algorithms.contains(named)).ok_or(ProofError::UnsupportedAlg)?;
        reached(Check::NoPrivateKey);
        // Check 7: "The jwk JOSE Header Parameter does not contain a private key".
        let jwk = header.jwk.map(|jwk| jwk.as_ref().ok_or(JwkError::Malformed).and_then(PublicKey::from_jwk_members));
        if matches!(jwk, Some(Err(JwkError::Private))) {
            return Err(ProofError::PrivateJwk);
        }
        reached(Check::UsableKey);
        let key = jwk.and_then(Result::ok).ok_or(ProofError::InvalidJwk)?;
        // First half of check 6: the key's type decides what may sign, the header only says which.
        if !key.allows(algorithm) {
            return Err(ProofError::InvalidJwk);
        }
        Ok(Self {
            algorithm,
            key,
            signing_input: compact.signing_input,
            signature: compact.signature,
            jti: claims.jti,
            htm: claims.htm,
            htu: claims.htu,
            iat: claims.iat,
            ath: claims.ath,
            nonce: claims.nonce,
            exp: claims.exp,
            nbf: claims.nbf,
        })
    }
}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The members of the header that count. `None` inside: of another type.
#[derive(Default)]
struct Header<'de> {
    typ: Option<Option<Cow<'de, str>>>,
    alg: Option<Option<Cow<'de, str>>>,
    jwk: Option<Option<JwkMembers<'de>>>,
    extended: bool,
}

struct HeaderSeed;

impl<'de> DeserializeSeed<'de> for HeaderSeed {
    type Value = Header<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed {
    type Value = Header<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JOSE header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut header = Header::default();
        let mut others = BTreeSet::new();
        while let Some(name) = members.next_key_seed(NameSeed)? {
            match &*name {
                "typ" => once(&mut header.typ, members.next_value_seed(TextSeed)?)?,
                "alg" => once(&mut header.alg, members.next_value_seed(TextSeed)?)?,
                "jwk" => once(&mut header.jwk, members.next_value_seed(JwkSeed)?)?,
                // `jku`, `x5u`, `kid` ...: nothing but `jwk` names the key (check 6), so they are not looked at.
                _ => {
                    members.next_value_seed(IgnoredSeed)?;
                    header.extended |= matches!(&*name, "crit" | "b64");
                    if !others.insert(name) {
                        return Err(A::Error::custom("duplicate member"));
                    }
                }
            }
        }
        Ok(header)
    }
}

/// The claims of RFC 9449 section 4.2, and what RFC 7519 says of any JWT.
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: Timestamp,
    ath: Option<String>,
    nonce: Option<String>,
    exp: Option<Timestamp>,
    nbf: Option<Timestamp>,
}

struct ClaimsSeed;

impl<'de> DeserializeSeed<'de> for ClaimsSeed {
    type Value = Claims;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Claims, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ClaimsSeed {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the claims of a DPoP proof")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claims, A::Error> {
        let (mut jti, mut htm, mut htu, mut iat, mut ath, mut nonce) = (None, None, None, None, None, None);
        let (mut exp, mut nbf) = (None, None);
        let mut others = BTreeSet::new();
        while let Some(name) = members.next_key_seed(NameSeed)? {
            match &*name {
                "jti" => once(&mut jti, text(&mut members)?)?,
                "htm" => once(&mut htm, text(&mut members)?)?,
                "htu" => once(&mut htu, text(&mut members)?)?,
                "iat" => once(&mut iat, members.next_value_seed(NumericDateSeed)?)?,
                "ath" => once(&mut ath, text(&mut members)?)?,
                "nonce" => once(&mut nonce, text(&mut members)?)?,
                "exp" => once(&mut exp, members.next_value_seed(NumericDateSeed)?)?,
                "nbf" => once(&mut nbf, members.next_value_seed(NumericDateSeed)?)?,
                _ => {
                    members.next_value_seed(IgnoredSeed)?;
                    if !others.insert(name) {
                        return Err(A::Error::custom("duplicate member"));
                    }
                }
            }
        }
        let required = |claim: Option<String>| claim.ok_or_else(|| A::Error::custom("a required claim is missing"));
        let jti = required(jti)?;
        if jti.is_empty() || jti.len() > MAX_JTI_BYTES {
            return Err(A::Error::custom("jti is empty or too long"));
        }
        let iat = iat.ok_or_else(|| A::Error::custom("a required claim is missing"))?;
        Ok(Claims { jti, htm: required(htm)?, htu: required(htu)?, iat, ath, nonce, exp, nbf })
    }
}

/// A claim that must be a string where it is present: `null` is no way to leave it out.
fn text<'de, A: MapAccess<'de>>(members: &mut A) -> Result<String, A::Error> {
    let text = members.next_value_seed(TextSeed)?;
    text.map(Cow::into_owned).ok_or_else(|| A::Error::custom("a claim is no string"))
}

fn once<T, E: Error>(claim: &mut Option<T>, value: T) -> Result<(), E> {
    if claim.replace(value).is_some() { Err(E::custom("duplicate member")) } else { Ok(()) }
}

/// A `NumericDate` (RFC 7519 section 2), which may have a fraction; before 1970 it is 1970, and times beyond 64 bits
/// are the end of time.
struct NumericDateSeed;

impl<'de> DeserializeSeed<'de> for NumericDateSeed {
    type Value = Timestamp;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Timestamp, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for NumericDateSeed {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds since 1970")
    }

    fn visit_u64<E: Error>(self, secs: u64) -> Result<Timestamp, E> {
        Ok(Timestamp::from_secs(secs))
    }

    fn visit_i64<E: Error>(self, secs: i64) -> Result<Timestamp, E> {
        Ok(Timestamp::from_secs(u64::try_from(secs).unwrap_or(0)))
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and that is the rule")]
    fn visit_f64<E: Error>(self, secs: f64) -> Result<Timestamp, E> {
        Ok(Timestamp::from_micros((secs * 1e6) as u64))
    }
}
