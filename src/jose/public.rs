//! Public keys.

use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use thiserror::Error;

use super::jwk::{JwkMembers, Member, Operations};
use super::{Algorithm, Curve, KeyTable, StrictValue, TableSize, Thumbprint, base64url, es256};

/// RSA moduli have at least this many bits (RFC 7518 section 3.3) ...
const MIN_RSA_BITS: usize = 2048;
/// ... and at most this many: verifying costs grow with the square, and the key is the caller's choice.
const MAX_RSA_BITS: usize = 4096;
/// RSA exponents have at most this many bytes, for the same reason; in practice they are 65537.
const MAX_EXPONENT_BYTES: usize = 4;
/// Text that would decode to more than the longest member is not decoded.
const MAX_MEMBER_TEXT: usize = (MAX_RSA_BITS / 8 * 4).div_ceil(3);

/// A public key that is on its curve or of an allowed size; holds no private member.
#[derive(Clone)]
pub struct PublicKey {
    material: Material,
    /// A P-384 key as the library keeps it, which is how it was found to be on the curve.
    parsed: Option<ParsedPublicKey>,
    /// The JWK's own `alg`, if it had one: the key is for nothing else (RFC 7517 section 4.4).
    only: Option<Algorithm>,
    /// Once somebody has asked: most refusals come before that.
    thumbprint: OnceLock<Thumbprint>,
}

/// The public key that a JWK states. All is well with its form; whether it is a point of its curve, which takes
/// arithmetic, is not known yet.
pub struct StatedKey {
    material: Material,
    only: Option<Algorithm>,
}

/// The key itself, in the form that the verifier takes.
#[derive(Clone)]
enum Material {
    /// `04 || x || y`.
    P256([u8; 65]),
    /// `04 || x || y`.
    P384([u8; 97]),
    Ed25519([u8; 32]),
    /// Big-endian, without leading zeros.
    Rsa {
        n: Box<[u8]>,
        e: Box<[u8]>,
    },
}

/// Why a JWK is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JwkError {
    /// It carries a private or symmetric member.
    #[error("the key has a private member")]
    Private,
    /// A key type, curve or size that is not taken.
    #[error("the key's type, curve or size is not accepted")]
    Unsupported,
    /// A member is missing, of the wrong type, or not canonical.
    #[error("a member of the key is missing or malformed")]
    Malformed,
}

impl PublicKey {
    /// Reads a JWK that must be public: any private or symmetric member is [`JwkError::Private`], whatever the `kty`.
    ///
    /// Members that are not of the key itself (`kid`, `jku`, `x5u`, `x5c` ...) are ignored, and nothing is fetched.
    /// This does not say that anybody trusts the key.
    pub fn from_jwk(jwk: &StrictValue) -> Result<Self, JwkError> {
        StatedKey::from_jwk_members(&JwkMembers::of(jwk.value().as_object().ok_or(JwkError::Malformed)?))?
            .on_its_curve()
    }

    /// The public part of a JWK. `operation` is what `key_ops` must list, if it is there.
    pub(super) fn from_members(jwk: &JwkMembers<'_>, operation: &str) -> Result<Self, JwkError> {
        StatedKey::from_members(jwk, operation)?.on_its_curve()
    }

    /// Whether a signature of that algorithm can come from this type of key: the key's type decides, never the header.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.material.fits(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }

    /// RFC 7638, over canonical values; computed once.
    pub fn thumbprint(&self) -> &Thumbprint {
        self.thumbprint.get_or_init(|| self.material.thumbprint())
    }

    /// The JWK: required members only.
    pub fn to_jwk(&self) -> Value {
        match &self.material {
            Material::P256(point) => ec_jwk("P-256", point),
            Material::P384(point) => ec_jwk("P-384", point),
            Material::Ed25519(x) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(x)}),
            Material::Rsa { n, e } => json!({"kty": "RSA", "n": encode(n), "e": encode(e)}),
        }
    }

    /// What the JWK's own `alg` says, if it had one.
    pub(super) fn only(&self) -> Option<Algorithm> {
        self.only
    }

    /// The algorithm that a key of this type signs with unless told otherwise.
    pub(super) fn default_algorithm(&self) -> Algorithm {
        match self.material {
            Material::P256(_) => Algorithm::Es256,
            Material::P384(_) => Algorithm::Es384,
            Material::Ed25519(_) => Algorithm::EdDsa,
            Material::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// The bytes by which libraries know a key that is no RSA key: `04 || x || y`, or the 32 bytes of Ed25519.
    pub(super) fn point(&self) -> Option<&[u8]> {
        match &self.material {
            Material::P256(point) => Some(point),
            Material::P384(point) => Some(point),
            Material::Ed25519(x) => Some(x),
            Material::Rsa { .. } => None,
        }
    }

    /// The key's table, if it is a P-256 key: costs more than a verification, and is worth it for a key that returns.
    pub fn table(&self, size: TableSize) -> Option<KeyTable> {
        match &self.material {
            Material::P256(point) => KeyTable::new(point, size),
            Material::P384(_) | Material::Ed25519(_) | Material::Rsa { .. } => None,
        }
    }

    /// Modulus and exponent of an RSA key.
    pub(super) fn rsa_components(&self) -> Option<RsaPublicKeyComponents<&[u8]>> {
        match &self.material {
            Material::Rsa { n, e } => Some(RsaPublicKeyComponents { n, e }),
            Material::P256(_) | Material::P384(..) | Material::Ed25519(_) => None,
        }
    }

    /// Whether `signature` is one of this key's over `message`. False too where [`PublicKey::allows`] is.
    #[must_use]
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.allows(algorithm) {
            return false;
        }
        // ECDSA signatures are r || s of fixed length (RFC 7518 section 3.4), so any other length is refused; AWS-LC
        // refuses r or s that is zero or not below the order (CVE-2022-21449). PSS salts are as long as the digest
        // (RFC 7518 section 3.5), which is what these parameters check.
        let verified = match (&self.material, algorithm) {
            (Material::P256(point), _) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            (Material::P384(_), _) => {
                self.parsed.as_ref().map_or(Err(Unspecified), |key| key.verify_sig(message, signature))
            }
            (Material::Ed25519(x), _) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature),
            (Material::Rsa { n, e }, Algorithm::Ps256) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PSS_2048_8192_SHA256, message, signature)
            }
            (Material::Rsa { n, e }, _) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        verified.is_ok()
    }

    /// The same by this project's own arithmetic, for a P-256 key; by the library for any other.
    #[must_use]
    pub fn verify_on(&self, curve: Curve, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::P256(point) => self.allows(algorithm) && curve.verify(point, message, signature),
            Material::P384(_) | Material::Ed25519(_) | Material::Rsa { .. } => {
                self.verify(algorithm, message, signature)
            }
        }
    }
}

/// Which key it is; the material itself would be noise.
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(self.thumbprint()).finish()
    }
}

impl StatedKey {
    /// Of a JWK that was read without a tree, and must be public.
    pub(crate) fn from_jwk_members(jwk: &JwkMembers<'_>) -> Result<Self, JwkError> {
        if jwk.private || jwk.kty.text() == Some("oct") {
            return Err(JwkError::Private);
        }
        Self::from_members(jwk, "verify")
    }

    fn from_members(jwk: &JwkMembers<'_>, operation: &str) -> Result<Self, JwkError> {
        let material = match text(&jwk.kty)? {
            "EC" => match text(&jwk.crv)? {
                "P-256" => Material::P256(ec_point::<32, 65>(jwk)?),
                "P-384" => Material::P384(ec_point::<48, 97>(jwk)?),
                _ => return Err(JwkError::Unsupported),
            },
            "OKP" => match text(&jwk.crv)? {
                "Ed25519" => ed25519(jwk)?,
                _ => return Err(JwkError::Unsupported),
            },
            "RSA" => rsa(jwk)?,
            _ => return Err(JwkError::Unsupported),
        };
        let only = intended_algorithm(jwk, operation)?;
        if only.is_some_and(|only| !material.fits(only)) {
            return Err(JwkError::Unsupported);
        }
        Ok(Self { material, only })
    }

    /// See [`PublicKey::allows`].
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.material.fits(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }

    /// The key, if an EC key's point is one of the curve: coordinates below the prime, and not the point at infinity
    /// (which has no such form).
    pub fn on_its_curve(self) -> Result<PublicKey, JwkError> {
        let Self { material, only } = self;
        let parsed = match &material {
            Material::P256(point) if !es256::is_on_curve(point) => return Err(JwkError::Malformed),
            Material::P384(point) => {
                Some(ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).map_err(|_| JwkError::Malformed)?)
            }
            Material::P256(_) | Material::Ed25519(_) | Material::Rsa { .. } => None,
        };
        Ok(PublicKey { material, parsed, only, thumbprint: OnceLock::new() })
    }
}

/// Not whose key it is: that it is one is not known yet.
impl fmt::Debug for StatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatedKey(..)")
    }
}

impl Material {
    fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::P384(_) => algorithm == Algorithm::Es384,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
            Self::Rsa { .. } => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
        }
    }

    /// RFC 7638 section 3: the required members in lexicographic order, no white space, over re-encoded values.
    fn thumbprint(&self) -> Thumbprint {
        match self {
            Self::P256([_, coordinates @ ..]) => {
                let (x, y) = coordinates.split_at(32);
                let [x, y] = [x, y].map(|each| base64url::encode_32(each.first_chunk().unwrap_or(&[0; 32])));
                Thumbprint::of_json(&[br#"{"crv":"P-256","kty":"EC","x":""#, &x, br#"","y":""#, &y, br#""}"#])
            }
            Self::P384(point) => {
                let (x, y) = coordinates(point);
                let [x, y] = [&x, &y].map(String::as_bytes);
                Thumbprint::of_json(&[br#"{"crv":"P-384","kty":"EC","x":""#, x, br#"","y":""#, y, br#""}"#])
            }
            // RFC 8037 section 2: `crv`, `kty`, `x`.
            Self::Ed25519(x) => {
                Thumbprint::of_json(&[br#"{"crv":"Ed25519","kty":"OKP","x":""#, &base64url::encode_32(x), br#""}"#])
            }
            Self::Rsa { n, e } => {
                let [n, e] = [n, e].map(|each| encode(each));
                let (n, e) = (n.as_bytes(), e.as_bytes());
                Thumbprint::of_json(&[br#"{"e":""#, e, br#"","kty":"RSA","n":""#, n, br#""}"#])
            }
        }
    }
}

/// `04 || x || y` (SEC 1 section 2.3.3). RFC 7518 section 6.2.1.2: each coordinate is as long as the curve's field.
fn ec_point<const FIELD: usize, const POINT: usize>(jwk: &JwkMembers<'_>) -> Result<[u8; POINT], JwkError> {
    let (x, y) = (fixed::<FIELD>(text(&jwk.x)?)?, fixed::<FIELD>(text(&jwk.y)?)?);
    let mut point = [4; POINT];
    let (_, coordinates) = point.split_at_mut(1);
    for (to, from) in coordinates.chunks_exact_mut(FIELD).zip([x, y]) {
        to.copy_from_slice(&from);
    }
    Ok(point)
}

fn ed25519(jwk: &JwkMembers<'_>) -> Result<Material, JwkError> {
    let x = fixed::<32>(text(&jwk.x)?)?;
    if has_small_order(&x) {
        return Err(JwkError::Malformed);
    }
    Ok(Material::Ed25519(x))
}

/// Points of order 1, 2, 4 and 8: under such a key one signature fits many messages, so it proves nothing
/// (RFC 8032 section 5.1.7 leaves them to the caller). The y coordinates, little-endian; the sign is no matter.
fn has_small_order(x: &[u8; 32]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let mut y = *x;
    let [first, middle @ .., last] = &mut y;
    *last &= 0x7f;
    let (first, last) = (*first, *last);
    // y is 0 or 1; or p - 1 (order 2), or p, or p + 1: 0 and 1 in encodings that are not canonical.
    let low = first <= 1 && last == 0 && middle.iter().all(|byte| *byte == 0);
    let high = first >= 0xec && last == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    low || high || ORDER_8.contains(&y)
}

/// RFC 7518 section 6.3.1: big-endian, "the minimum number of octets". Sizes are looked at before any arithmetic.
fn rsa(jwk: &JwkMembers<'_>) -> Result<Material, JwkError> {
    let n = unsigned(&jwk.n)?;
    let e = unsigned(&jwk.e)?;
    let bits = bit_length(&n);
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) || e.len() > MAX_EXPONENT_BYTES {
        return Err(JwkError::Unsupported);
    }
    // An even modulus is no product of two large primes; e must be odd to be invertible, and 1 signs nothing.
    let even = |number: &[u8]| number.last().is_none_or(|last| last % 2 == 0);
    if even(&n) || even(&e) || e == [1] {
        return Err(JwkError::Malformed);
    }
    Ok(Material::Rsa { n: n.into(), e: e.into() })
}

/// A Base64urlUInt without leading zeros: a second spelling of one key would be a second thumbprint.
fn unsigned(member: &Member<'_>) -> Result<Vec<u8>, JwkError> {
    let text = text(member)?;
    if text.len() > MAX_MEMBER_TEXT {
        return Err(JwkError::Unsupported);
    }
    let bytes = base64url::decode(text).ok_or(JwkError::Malformed)?;
    if bytes.first().is_none_or(|first| *first == 0) { Err(JwkError::Malformed) } else { Ok(bytes) }
}

fn bit_length(number: &[u8]) -> usize {
    let leading = number.first().map_or(0, |first| first.leading_zeros() as usize);
    (number.len() * 8).saturating_sub(leading)
}

/// The JWK must not say that it is for something else (RFC 7517 sections 4.2 to 4.4); it need not say anything.
fn intended_algorithm(jwk: &JwkMembers<'_>, operation: &str) -> Result<Option<Algorithm>, JwkError> {
    if !matches!(jwk.usage, Member::Absent) && text(&jwk.usage)? != "sig" {
        return Err(JwkError::Unsupported);
    }
    match &jwk.operations {
        Operations::Absent => {}
        Operations::Malformed => return Err(JwkError::Malformed),
        Operations::Listed(listed) if listed.iter().all(|each| each != operation) => return Err(JwkError::Unsupported),
        Operations::Listed(_) => {}
    }
    if matches!(jwk.alg, Member::Absent) {
        return Ok(None);
    }
    Algorithm::from_name(text(&jwk.alg)?).map(Some).ok_or(JwkError::Unsupported)
}

fn text<'a>(member: &'a Member<'_>) -> Result<&'a str, JwkError> {
    member.text().ok_or(JwkError::Malformed)
}

/// Exactly `N` bytes in canonical base64url.
pub(super) fn fixed<const N: usize>(text: &str) -> Result<[u8; N], JwkError> {
    base64url::decode_fixed(text).ok_or(JwkError::Malformed)
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `x` and `y` of `04 || x || y`, re-encoded.
fn coordinates(point: &[u8]) -> (String, String) {
    let (_, both) = point.split_first().unwrap_or((&4, &[]));
    let (x, y) = both.split_at(both.len() / 2);
    (encode(x), encode(y))
}

fn ec_jwk(curve: &str, point: &[u8]) -> Value {
    let (x, y) = coordinates(point);
    json!({"kty": "EC", "crv": curve, "x": x, "y": y})
}

#[cfg(test)]
mod tests;
