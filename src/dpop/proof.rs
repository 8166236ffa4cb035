//! Reading a proof: one pass, bounded, nothing believed yet.

use std::borrow::Cow;
use std::fmt;

use serde_json::Number;

use crate::clock::Timestamp;
use crate::jose::{Algorithm, Compact, JwkError, JwkMembers, Names, Reader, StatedKey, read};

use super::{Check, ProofError};

/// Longest proof that is looked at, in bytes; an RS256 proof with a 4096-bit key has about 2 KiB.
pub const MAX_PROOF_BYTES: usize = 8 * 1024;
/// Longest `jti`, in bytes.
pub const MAX_JTI_BYTES: usize = 256;

/// A proof that was read but not verified. Prints redacted.
pub struct Proof<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) key: StatedKey,
    pub(super) signing_input: &'a [u8],
    pub(super) signature: &'a [u8],
    pub(super) claims: ProofClaims<'a>,
}

/// The claims of RFC 9449 section 4.2, and what RFC 7519 says of any JWT.
pub(super) struct ProofClaims<'a> {
    pub(super) jti: Cow<'a, str>,
    pub(super) htm: Cow<'a, str>,
    pub(super) htu: Cow<'a, str>,
    pub(super) iat: Timestamp,
    pub(super) ath: Option<Cow<'a, str>>,
    pub(super) nonce: Option<Cow<'a, str>>,
    pub(super) exp: Option<Timestamp>,
    pub(super) nbf: Option<Timestamp>,
}

impl<'a> Proof<'a> {
    /// The first half of check 2 of RFC 9449 section 4.3: three parts, which are base64url.
    pub fn split<T: AsRef<[u8]> + ?Sized>(text: &T) -> Result<Compact<'_>, ProofError> {
        Compact::parse(text, MAX_PROOF_BYTES).map_err(|_| ProofError::Malformed)
    }

    /// Checks 2 to 7 but for what takes arithmetic (the signature, and whether the key is on its curve): form, `typ`,
    /// `alg` among `algorithms`, `jwk`. Says which check it has `reached`; the first, [`Check::WellFormed`], began with
    /// [`Proof::split`].
    pub fn read(
        compact: &'a Compact<'_>,
        algorithms: &[Algorithm],
        reached: impl Fn(Check),
    ) -> Result<Self, ProofError> {
        // Check 2: "a single and well-formed JWT".
        let mut header = Header::default();
        read(compact.header(), |reader| header.fill(reader)).ok_or(ProofError::Malformed)?;
        // An extension that must be understood, and none is (RFC 7515 section 4.1.11); `b64` would change what is
        // signed (RFC 7797 section 3).
        if header.extended {
            return Err(ProofError::Malformed);
        }
        reached(Check::Claims);
        // Check 3: "All required claims".
        let mut claims = Claims::default();
        read(compact.payload(), |reader| claims.fill(reader)).ok_or(ProofError::Malformed)?;
        let claims = claims.with_all_required().ok_or(ProofError::Malformed)?;
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
        let key = match header.has_jwk {
            Some(true) => StatedKey::from_jwk_members(&header.jwk),
            Some(false) | None => Err(JwkError::Malformed),
        };
        if matches!(key, Err(JwkError::Private)) {
            return Err(ProofError::PrivateJwk);
        }
        reached(Check::UsableKey);
        let key = key.map_err(|_| ProofError::InvalidJwk)?;
        // First half of check 6: the key's type decides what may sign, the header only says which.
        if !key.allows(algorithm) {
            return Err(ProofError::InvalidJwk);
        }
        Ok(Self { algorithm, key, signing_input: compact.signing_input(), signature: compact.signature(), claims })
    }
}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The members of the header that count. `None` inside: of another type.
#[derive(Default)]
struct Header<'a> {
    typ: Option<Option<Cow<'a, str>>>,
    alg: Option<Option<Cow<'a, str>>>,
    /// Whether it is there, and an object.
    has_jwk: Option<bool>,
    jwk: JwkMembers<'a>,
    extended: bool,
}

impl<'a> Header<'a> {
    /// Takes the members of an object; `None` also for one that is there twice.
    fn fill(&mut self, reader: &mut Reader<'a>) -> Option<()> {
        let mut others = Names::new();
        reader.object(|reader, name| match &*name {
            "typ" => once(&mut self.typ, reader.text()?),
            "alg" => once(&mut self.alg, reader.text()?),
            "jwk" => once(&mut self.has_jwk, self.jwk.fill(reader)?),
            // `jku`, `x5u`, `kid` ...: nothing but `jwk` names the key (check 6), so they are not looked at.
            _ => {
                reader.pass()?;
                self.extended |= matches!(&*name, "crit" | "b64");
                others.add(name)
            }
        })
    }
}

/// The claims that count, as far as they are there.
#[derive(Default)]
struct Claims<'a> {
    jti: Option<Cow<'a, str>>,
    htm: Option<Cow<'a, str>>,
    htu: Option<Cow<'a, str>>,
    iat: Option<Timestamp>,
    ath: Option<Cow<'a, str>>,
    nonce: Option<Cow<'a, str>>,
    exp: Option<Timestamp>,
    nbf: Option<Timestamp>,
}

impl<'a> Claims<'a> {
    /// Takes the members of an object; `None` also for one that is there twice, and for one of another type: `null` is
    /// no way to leave it out.
    fn fill(&mut self, reader: &mut Reader<'a>) -> Option<()> {
        let mut others = Names::new();
        reader.object(|reader, name| match &*name {
            "jti" => once(&mut self.jti, reader.text()??),
            "htm" => once(&mut self.htm, reader.text()??),
            "htu" => once(&mut self.htu, reader.text()??),
            "iat" => once(&mut self.iat, numeric_date(&reader.number()?)),
            "ath" => once(&mut self.ath, reader.text()??),
            "nonce" => once(&mut self.nonce, reader.text()??),
            "exp" => once(&mut self.exp, numeric_date(&reader.number()?)),
            "nbf" => once(&mut self.nbf, numeric_date(&reader.number()?)),
            _ => {
                reader.pass()?;
                others.add(name)
            }
        })
    }

    fn with_all_required(self) -> Option<ProofClaims<'a>> {
        let Self { jti, htm, htu, iat, ath, nonce, exp, nbf } = self;
        let jti = jti.filter(|jti| (1..=MAX_JTI_BYTES).contains(&jti.len()))?;
        Some(ProofClaims { jti, htm: htm?, htu: htu?, iat: iat?, ath, nonce, exp, nbf })
    }
}

fn once<T>(member: &mut Option<T>, value: T) -> Option<()> {
    member.replace(value).is_none().then_some(())
}

/// A `NumericDate` (RFC 7519 section 2), which may have a fraction; before 1970 it is 1970, and times beyond 64 bits
/// are the end of time.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and that is the rule")]
fn numeric_date(number: &Number) -> Timestamp {
    match (number.as_u64(), number.as_i64()) {
        (Some(secs), _) => Timestamp::from_secs(secs),
        (None, Some(_)) => Timestamp::from_secs(0),
        (None, None) => Timestamp::from_micros((number.as_f64().unwrap_or_default() * 1e6) as u64),
    }
}
