//! The checklist of RFC 9449 section 4.3, in one place.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use subtle::ConstantTimeEq as _;

use crate::clock::Timestamp;
use crate::jose::{Algorithm, PublicKey, Thumbprint, encode_32};
use crate::secret::AccessToken;
use crate::target::Target;

use super::proof::ProofClaims;
use super::{Check, Proof, ProofError};

/// The field that carries a proof (RFC 9449 section 4.1).
pub const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The operator's part of the rules.
#[derive(Debug, Clone)]
pub struct ProofPolicy {
    /// Algorithms that proofs may use.
    pub algorithms: Vec<Algorithm>,
    /// How old `iat` may be.
    pub lifetime: Duration,
    /// How far ahead `iat` may be.
    pub clock_skew: Duration,
}

/// What the nonce check says of a proof's nonce: `Ok` to go on.
pub trait NonceCheck {
    /// Judges the proof's `nonce` claim.
    fn check(&self, nonce: Option<&str>, now: Timestamp) -> Result<(), ProofError>;
}

/// Who checks signatures.
pub trait SignatureCheck {
    /// Whether `signature` is one of the key's over `message`; false too where the key is not for that algorithm.
    fn check(&self, key: &PublicKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool;
}

/// What the request is, and what its proof must therefore say.
pub struct Expected<'a, N, S> {
    /// The request's method, compared to the letter.
    pub methods: &'a [&'a str],
    /// The URI that the client addressed.
    pub target: &'a Target,
    /// The access token that came along; `None` at a token endpoint, where an `ath` is refused.
    pub token: Option<&'a AccessToken>,
    /// How nonces are judged.
    pub nonces: &'a N,
    /// How the signature is checked.
    pub signatures: &'a S,
    /// Whether it is checked before the token is: where the token takes a question to its issuer, the signature is what
    /// costs less, and nobody without a key gets to ask. Asked once all that costs nothing has passed.
    pub signature_first: &'a (dyn Fn() -> bool + Sync),
    /// The operator's rules.
    pub policy: &'a ProofPolicy,
    /// The time.
    pub now: Timestamp,
}

/// What the verified access token says of the proof's key and of the request.
pub trait BoundKey<E> {
    /// The thumbprint that the access token is bound to; `None` where there is no token (a token endpoint).
    fn bound_key(&self) -> Option<&Thumbprint>;

    /// Whether the token grants what the request needs: asked once the key fits, before the proof's signature is
    /// checked under a key that the caller chose.
    fn permits(&self) -> Result<(), E>;
}

/// A proof that passed every check of section 4.3. Only [`verify`] makes one.
///
/// This does not say that the proof is new: the caller still owes the claim of its `jti` in a replay store.
pub struct VerifiedProof {
    key: PublicKey,
    jti: String,
    iat: Timestamp,
}

impl VerifiedProof {
    /// The thumbprint of the proof's key.
    pub fn thumbprint(&self) -> &Thumbprint {
        self.key.thumbprint()
    }

    /// The proof's identifier, unique for its key.
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// When the proof says that it was made: seconds since the epoch, a fraction cut off.
    pub fn iat(&self) -> u64 {
        self.iat.as_secs()
    }
}

impl fmt::Debug for VerifiedProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedProof").field("key", &self.key).field("iat", &self.iat()).finish_non_exhaustive()
    }
}

/// RFC 9449 section 4.3, checks 1 to 12, from free to costly (design section 1).
///
/// `token` verifies the access token; it is awaited only after everything that is cheaper has passed, and what it
/// returns says which key the proof must be signed with. The signature, under a key that the caller chose, comes last,
/// unless [`Expected::signature_first`].
/// `reached` is told of each check before it is made: on an error the last one failed, and all before it have passed.
///
/// This does not say that the proof is new (section 11.1): the caller still owes the claim of its `jti`.
pub async fn verify<T, E, N, S>(
    headers: &HeaderMap,
    expected: &Expected<'_, N, S>,
    token: impl Future<Output = Result<T, E>>,
    reached: impl Fn(Check),
) -> Result<(VerifiedProof, T), E>
where
    T: BoundKey<E>,
    E: From<ProofError>,
    N: NonceCheck,
    S: SignatureCheck,
{
    reached(Check::OneProof);
    let text = the_only_proof(headers)?;
    reached(Check::WellFormed);
    let compact = Proof::split(text)?;
    let proof = Proof::read(&compact, &expected.policy.algorithms, &reached)?; // WellFormed to UsableKey
    reached(Check::Method);
    check_method(&proof, expected.methods)?;
    reached(Check::Uri);
    check_uri(&proof, expected.target)?;
    reached(Check::Age);
    check_age(&proof, expected.policy, expected.now)?;
    reached(Check::Nonce);
    expected.nonces.check(proof.claims.nonce.as_deref(), expected.now)?;
    reached(Check::TokenHash);
    check_token_hash(&proof, expected.token)?;
    reached(Check::OnCurve);
    let Proof { algorithm, key, signing_input, signature, claims } = proof;
    let key = key.on_its_curve().map_err(|_| ProofError::InvalidJwk)?;
    let check_signature = || {
        reached(Check::Signature);
        // "The JWT signature verifies with the public key contained in the jwk JOSE Header Parameter."
        let verified = expected.signatures.check(&key, algorithm, signing_input, signature);
        if verified { Ok(()) } else { Err(ProofError::BadSignature) }
    };
    let signature_first = (expected.signature_first)();
    if signature_first {
        check_signature()?;
    }
    let token = token.await?;
    if let Some(bound) = token.bound_key() {
        reached(Check::Binding);
        check_binding(&key, bound)?;
    }
    token.permits()?;
    if !signature_first {
        check_signature()?;
    }
    Ok((VerifiedProof { key, jti: claims.jti.into_owned(), iat: claims.iat }, token))
}

/// Check 1: "There is not more than one DPoP HTTP request header field."
fn the_only_proof(headers: &HeaderMap) -> Result<&[u8], ProofError> {
    let mut values = headers.get_all(DPOP).iter();
    let value = values.next().ok_or(ProofError::Missing)?;
    if values.next().is_some() {
        return Err(ProofError::Multiple);
    }
    // Two proofs in one field, joined by a comma, are no base64url and end in `Proof::split`.
    Ok(value.as_bytes())
}

/// The key that a request's one proof says to be signed with, **not verified**: for an operator who looks for a client
/// whose requests are refused.
pub fn claimed_key(headers: &HeaderMap) -> Option<Thumbprint> {
    let compact = Proof::split(the_only_proof(headers).ok()?).ok()?;
    let proof = Proof::read(&compact, &Algorithm::ALL, |_| ()).ok()?;
    Some(*proof.key.on_its_curve().ok()?.thumbprint())
}

/// Check 8: "The htm claim matches the HTTP method of the current request." Methods are case-sensitive (RFC 9110
/// section 9.1).
fn check_method(proof: &Proof<'_>, methods: &[&str]) -> Result<(), ProofError> {
    if methods.contains(&&*proof.claims.htm) { Ok(()) } else { Err(ProofError::HtmMismatch) }
}

/// Check 9: "The htu claim matches the HTTP URI value for the HTTP request in which the JWT was received, ignoring any
/// query and fragment parts."
fn check_uri(proof: &Proof<'_>, target: &Target) -> Result<(), ProofError> {
    if target.matches_htu(&proof.claims.htu) { Ok(()) } else { Err(ProofError::HtuMismatch) }
}

/// Check 11: "The creation time of the JWT, as determined by either the iat claim or a server managed timestamp via the
/// nonce claim, is within an acceptable window." Always by `iat`; the nonce's age is the nonce check's affair. A proof
/// needs no `exp` and no `nbf`, but says with them what any JWT does (RFC 7519 sections 4.1.4 and 4.1.5).
fn check_age(proof: &Proof<'_>, policy: &ProofPolicy, now: Timestamp) -> Result<(), ProofError> {
    let ProofClaims { iat, exp, nbf, .. } = proof.claims;
    if now > iat + policy.lifetime || exp.is_some_and(|end| now >= end + policy.clock_skew) {
        return Err(ProofError::IatExpired);
    }
    if iat.max(nbf.unwrap_or(iat)) > now + policy.clock_skew {
        return Err(ProofError::IatInFuture);
    }
    Ok(())
}

/// Check 12: "ensure that the value of the ath claim equals the hash of that access token". Without a token there is
/// nothing that an `ath` could rightly name.
fn check_token_hash(proof: &Proof<'_>, token: Option<&AccessToken>) -> Result<(), ProofError> {
    let same = match (&proof.claims.ath, token) {
        (None, None) => true,
        (Some(ath), Some(token)) => {
            // 43 characters (section 4.2): of a whole digest, so the encoding has one form only.
            bool::from(ath.as_bytes().ct_eq(&encode_32(token.digest().as_bytes())))
        }
        (None, Some(_)) | (Some(_), None) => false,
    };
    if same { Ok(()) } else { Err(ProofError::AthMismatch) }
}

/// Check 12: "confirm that the public key to which the access token is bound matches the public key from the DPoP
/// proof."
fn check_binding(key: &PublicKey, bound: &Thumbprint) -> Result<(), ProofError> {
    if bound == key.thumbprint() { Ok(()) } else { Err(ProofError::KeyMismatch) }
}
