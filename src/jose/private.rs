//! Private keys: for `keygen`, `proof`, the identity assertion and the demo. Never on the path of a proof's check.

use std::fmt;

use aws_lc_rs::encoding::{AsBigEndian, AsDer};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::PrivateKeyInfoRef;
use p256::pkcs8::der::asn1::UintRef;
use p256::pkcs8::der::{self, Decode as _, Reader as _, SliceReader};
use serde_json::{Map, Value, json};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use super::public::fixed;
use super::{Algorithm, JwkError, JwkMembers, PublicKey, StrictValue};

/// A private key that can sign. Prints redacted.
pub struct PrivateKey {
    public: PublicKey,
    algorithm: Algorithm,
    signer: Signer,
}

/// The key as its library keeps it.
enum Signer {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair, RsaSecrets),
}

/// The private members of an RSA JWK (RFC 7518 section 6.3.2), in the order of [`RSA_SECRETS`].
type RsaSecrets = [Zeroizing<Vec<u8>>; 6];
const RSA_SECRETS: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];

/// Why a private key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PrivateKeyError {
    /// The text is not a JSON object.
    #[error("not a JWK; expected a JSON object with kty, the public members and d")]
    NotAJwk,
    /// A member is missing or malformed, or the private part does not fit the public one.
    #[error("a member of the private JWK is missing, malformed, or does not fit the others")]
    Malformed,
    /// A key type, curve or algorithm that cannot be used for signing here.
    #[error("the key's type is not accepted; expected EC P-256 or P-384, OKP Ed25519, or RSA of 2048 bits or more")]
    Unsupported,
    /// No randomness, or the library failed.
    #[error("no key could be made")]
    Failed,
}

impl PrivateKey {
    /// Makes a key for `algorithm`: RSA ones have 2048 bits.
    pub fn generate(algorithm: Algorithm) -> Result<Self, PrivateKeyError> {
        let signer = match algorithm {
            Algorithm::Es256 => Signer::P256(generate_p256()?),
            Algorithm::Es384 => Signer::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(failed)?),
            Algorithm::EdDsa => Signer::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
            Algorithm::Rs256 | Algorithm::Ps256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                let secrets = rsa_secrets(&pair)?;
                Signer::Rsa(pair, secrets)
            }
        };
        let public = signer.public_jwk()?;
        let public = PublicKey::from_jwk(&StrictValue::from_value(public)).map_err(|_| PrivateKeyError::Failed)?;
        Ok(Self { public, algorithm, signer })
    }

    /// Reads a private JWK (RFC 7517). An RSA one needs its CRT members, which RFC 7518 section 6.3.2 recommends.
    pub fn from_jwk_json(text: &[u8]) -> Result<Self, PrivateKeyError> {
        let jwk = StrictValue::parse(text).and_then(StrictValue::into_object).ok_or(PrivateKeyError::NotAJwk)?;
        let jwk = Wiped(jwk);
        let public = PublicKey::from_members(&JwkMembers::of(&jwk.0), "sign").map_err(|error| match error {
            JwkError::Unsupported => PrivateKeyError::Unsupported,
            // `Private` is `PublicKey::from_jwk`'s alone.
            JwkError::Malformed | JwkError::Private => PrivateKeyError::Malformed,
        })?;
        let algorithm = public.only().unwrap_or_else(|| public.default_algorithm());
        let signer = Signer::read(&jwk.0, &public, algorithm)?;
        Ok(Self { public, algorithm, signer })
    }

    /// The private JWK, for a file of mode 0600.
    pub fn to_jwk_json(&self) -> Zeroizing<String> {
        let mut jwk = Map::new();
        if let Value::Object(public) = self.public.to_jwk() {
            jwk = public;
        }
        jwk.insert("alg".to_owned(), self.algorithm.name().into());
        let mut insert = |name: &str, bytes: &[u8]| jwk.insert(name.to_owned(), encode(bytes).into());
        match &self.signer {
            Signer::P256(pair) | Signer::P384(pair) => {
                if let Ok(scalar) = pair.private_key().as_be_bytes() {
                    insert("d", scalar.as_ref());
                }
            }
            Signer::Ed25519(pair) => {
                if let Ok(seed) = pair.seed().and_then(|seed| seed.as_be_bytes()) {
                    insert("d", seed.as_ref());
                }
            }
            Signer::Rsa(_, secrets) => {
                for (name, secret) in RSA_SECRETS.iter().zip(secrets) {
                    insert(name, secret);
                }
            }
        }
        let jwk = Wiped(jwk);
        Zeroizing::new(serde_json::to_string(&jwk.0).unwrap_or_default())
    }

    /// The algorithm it signs with: the JWK's `alg`, else ES256, ES384, EdDSA or RS256 by type.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A JWS signature over `message`: for ECDSA `r || s` (RFC 7518 section 3.4).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PrivateKeyError> {
        let random = SystemRandom::new();
        Ok(match &self.signer {
            Signer::P256(pair) | Signer::P384(pair) => pair.sign(&random, message).map_err(failed)?.as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.try_sign(message).map_err(failed)?.as_ref().to_vec(),
            Signer::Rsa(pair, _) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding = match self.algorithm {
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa | Algorithm::Rs256 => &RSA_PKCS1_SHA256,
                };
                pair.sign(padding, &random, message, &mut signature).map_err(failed)?;
                signature
            }
        })
    }

    /// A compact JWS: `header` (an object) gets `alg` added, `claims` as they are.
    pub fn sign_compact(&self, header: Value, claims: &Value) -> Result<String, PrivateKeyError> {
        let Value::Object(header) = header else { return Err(PrivateKeyError::Failed) };
        self.sign_under(&self.compact_header(header), claims.to_string().as_bytes())
    }

    /// The first part of compact JWS: `header` with `alg` added. It may serve many of them.
    pub fn compact_header(&self, mut header: Map<String, Value>) -> String {
        header.insert("alg".to_owned(), self.algorithm.name().into());
        encode(Value::Object(header).to_string().as_bytes())
    }

    /// A compact JWS under a header that [`PrivateKey::compact_header`] made.
    pub fn sign_under(&self, header: &str, payload: &[u8]) -> Result<String, PrivateKeyError> {
        // Room for an RSA signature of 2048 bits, the longest that is common.
        let mut compact = String::with_capacity(header.len() + (payload.len() + 256) * 4 / 3 + 8);
        compact.push_str(header);
        compact.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut compact);
        let signature = self.sign(compact.as_bytes())?;
        compact.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut compact);
        Ok(compact)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("thumbprint", self.public.thumbprint()).finish_non_exhaustive()
    }
}

impl Signer {
    /// The private half of a JWK whose public half is `public`: refused unless the two belong together.
    fn read(jwk: &Map<String, Value>, public: &PublicKey, algorithm: Algorithm) -> Result<Self, PrivateKeyError> {
        if let Some(components) = public.rsa_components() {
            return Self::read_rsa(jwk, components);
        }
        let point = public.point().ok_or(PrivateKeyError::Malformed)?;
        match algorithm {
            Algorithm::Es256 => {
                let d = Zeroizing::new(private_member::<32>(jwk, "d")?);
                let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_private_key_and_public_key(curve, &*d, point);
                pair.map(Self::P256).map_err(|_| PrivateKeyError::Malformed)
            }
            Algorithm::Es384 => {
                let d = Zeroizing::new(private_member::<48>(jwk, "d")?);
                let curve = &ECDSA_P384_SHA384_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_private_key_and_public_key(curve, &*d, point);
                pair.map(Self::P384).map_err(|_| PrivateKeyError::Malformed)
            }
            Algorithm::EdDsa => {
                let d = Zeroizing::new(private_member::<32>(jwk, "d")?);
                let pair = Ed25519KeyPair::from_seed_and_public_key(&*d, point);
                pair.map(Self::Ed25519).map_err(|_| PrivateKeyError::Malformed)
            }
            Algorithm::Rs256 | Algorithm::Ps256 => Err(PrivateKeyError::Malformed),
        }
    }

    fn read_rsa(
        jwk: &Map<String, Value>,
        public_key: aws_lc_rs::rsa::PublicKeyComponents<&[u8]>,
    ) -> Result<Self, PrivateKeyError> {
        if jwk.contains_key("oth") {
            // More than two primes: no library that matters takes them (RFC 7518 section 6.3.2.7).
            return Err(PrivateKeyError::Unsupported);
        }
        let mut secrets = RsaSecrets::default();
        for (name, secret) in RSA_SECRETS.iter().zip(&mut secrets) {
            let text = jwk.get(*name).and_then(Value::as_str).ok_or(PrivateKeyError::Malformed)?;
            // Up to 4096 bits: `d` is no longer than the modulus.
            if text.len() > 683 {
                return Err(PrivateKeyError::Malformed);
            }
            *secret = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| PrivateKeyError::Malformed)?);
        }
        let [d, p, q, dp, dq, qi] = &secrets;
        // Checks that every component fits every other.
        let components = KeyPairComponents {
            public_key: aws_lc_rs::rsa::PublicKeyComponents { n: public_key.n, e: public_key.e },
            d: d.as_slice(),
            p: p.as_slice(),
            q: q.as_slice(),
            dP: dp.as_slice(),
            dQ: dq.as_slice(),
            qInv: qi.as_slice(),
        };
        let pair = RsaKeyPair::from_components(&components).map_err(|_| PrivateKeyError::Malformed)?;
        Ok(Self::Rsa(pair, secrets))
    }

    fn public_jwk(&self) -> Result<Value, PrivateKeyError> {
        let ec = |curve: &str, point: &[u8]| {
            let (_, both) = point.split_first().ok_or(PrivateKeyError::Failed)?;
            let (x, y) = both.split_at(both.len() / 2);
            Ok(json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)}))
        };
        match self {
            Self::P256(pair) => ec("P-256", pair.public_key().as_ref()),
            Self::P384(pair) => ec("P-384", pair.public_key().as_ref()),
            Self::Ed25519(pair) => Ok(json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})),
            Self::Rsa(pair, _) => {
                let public = pair.public_key();
                let n = public.modulus().big_endian_without_leading_zero().to_vec();
                let e = public.exponent().big_endian_without_leading_zero().to_vec();
                Ok(json!({"kty": "RSA", "n": encode(&n), "e": encode(&e)}))
            }
        }
    }
}

/// AWS-LC signs ten times as fast as the crate that makes the key.
fn generate_p256() -> Result<EcdsaKeyPair, PrivateKeyError> {
    let key = p256::SecretKey::try_generate().map_err(|_| PrivateKeyError::Failed)?;
    let (scalar, point) = (Zeroizing::new(<[u8; 32]>::from(key.to_bytes())), key.public_key().to_sec1_point(false));
    let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
    EcdsaKeyPair::from_private_key_and_public_key(curve, &*scalar, point.as_bytes())
        .map_err(|_| PrivateKeyError::Failed)
}

/// The members of a JWK that holds secrets: its strings are wiped when dropped.
struct Wiped(Map<String, Value>);

impl Drop for Wiped {
    fn drop(&mut self) {
        for (_, value) in &mut self.0 {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
}

/// The private components out of the key's PKCS#8, whose content is an `RSAPrivateKey` (RFC 8017 appendix A.1.2):
/// version, n, e, d, p, q, dP, dQ, qInv.
fn rsa_secrets(pair: &RsaKeyPair) -> Result<RsaSecrets, PrivateKeyError> {
    let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(pair).map_err(failed)?;
    let read = |pkcs8: &[u8]| -> der::Result<RsaSecrets> {
        let pkcs1 = PrivateKeyInfoRef::from_der(pkcs8)?.private_key.as_bytes();
        SliceReader::new(pkcs1)?.sequence(|reader| {
            for _ in ["version", "n", "e"] {
                UintRef::decode(reader)?;
            }
            let mut secrets = RsaSecrets::default();
            for secret in &mut secrets {
                *secret = Zeroizing::new(UintRef::decode(reader)?.as_bytes().to_vec());
            }
            Ok(secrets)
        })
    };
    read(pkcs8.as_ref()).map_err(|_| PrivateKeyError::Failed)
}

fn failed(_: aws_lc_rs::error::Unspecified) -> PrivateKeyError {
    PrivateKeyError::Failed
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn private_member<const N: usize>(jwk: &Map<String, Value>, name: &str) -> Result<[u8; N], PrivateKeyError> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or(PrivateKeyError::Malformed)?;
    fixed(text).map_err(|_| PrivateKeyError::Malformed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::jose::Compact;

    static KEYS: LazyLock<[PrivateKey; 5]> =
        LazyLock::new(|| Algorithm::ALL.map(|algorithm| PrivateKey::generate(algorithm).unwrap()));

    fn jwk(key: &PrivateKey) -> Value {
        serde_json::from_str(&key.to_jwk_json()).unwrap()
    }

    fn read(jwk: &Value) -> Result<PrivateKey, PrivateKeyError> {
        PrivateKey::from_jwk_json(jwk.to_string().as_bytes())
    }

    #[test]
    fn a_private_part_that_does_not_fit_is_refused() {
        use PrivateKeyError::{Malformed, NotAJwk, Unsupported};
        for text in ["", "[]", "x", "{\"kty\":\"EC\",\"kty\":\"EC\"}", "null"] {
            assert_eq!(PrivateKey::from_jwk_json(text.as_bytes()).err(), Some(NotAJwk), "{text}");
        }
        for key in KEYS.iter() {
            let other = jwk(&PrivateKey::generate(key.algorithm()).unwrap());
            let right = jwk(key);
            let is_rsa = right["kty"] == "RSA";
            let secrets = if is_rsa { &RSA_SECRETS[..] } else { &["d"] };
            for name in secrets {
                for wrong in
                    [other[name].clone(), json!(""), json!("AA"), json!("!"), Value::Null, json!("A".repeat(4000))]
                {
                    let mut changed = right.clone();
                    changed[name] = wrong;
                    assert_eq!(read(&changed).err(), Some(Malformed), "{} {name}", key.algorithm());
                }
            }
            for (name, value, error) in [
                ("kty", json!("oct"), Unsupported),
                ("use", json!("enc"), Unsupported),
                ("key_ops", json!(["verify"]), Unsupported),
                ("alg", json!("HS256"), Unsupported),
                ("alg", json!(1), Malformed),
                (if is_rsa { "n" } else { "x" }, other[if is_rsa { "n" } else { "x" }].clone(), Malformed),
            ] {
                let mut changed = right.clone();
                changed[name] = value;
                assert_eq!(read(&changed).err(), Some(error), "{} {name}", key.algorithm());
            }
        }
        let mut of_three_primes = jwk(&KEYS[3]);
        of_three_primes["oth"] = json!([]);
        assert_eq!(read(&of_three_primes).err(), Some(Unsupported));
    }

    #[test]
    fn a_key_comes_back_from_its_jwk_and_signs_the_same() {
        for key in KEYS.iter() {
            let again = read(&jwk(key)).unwrap();
            assert_eq!(again.algorithm(), key.algorithm());
            assert_eq!(again.public().thumbprint(), key.public().thumbprint());
            assert_eq!(again.to_jwk_json(), key.to_jwk_json());
            let signature = again.sign(b"message").unwrap();
            assert!(key.public().verify(key.algorithm(), b"message", &signature), "{}", key.algorithm());
        }
    }

    #[test]
    fn without_alg_the_type_decides() {
        for (key, algorithm) in
            KEYS.iter().zip([Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Rs256])
        {
            let mut jwk = jwk(key);
            jwk.as_object_mut().unwrap().remove("alg");
            jwk["key_ops"] = json!(["sign"]);
            assert_eq!(read(&jwk).unwrap().algorithm(), algorithm);
        }
    }

    /// RFC 8037 appendices A.1 to A.4: Ed25519 is deterministic.
    #[test]
    fn the_compact_jws_of_rfc_8037_comes_out_to_the_letter() {
        let key = PrivateKey::from_jwk_json(
            br#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
                "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        )
        .unwrap();
        let signature = key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc").unwrap();
        assert_eq!(
            encode(&signature),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
        );
    }

    #[test]
    fn a_compact_jws_names_its_algorithm_and_verifies() {
        for key in KEYS.iter() {
            let text = key.sign_compact(json!({"typ": "x", "alg": "none"}), &json!({"a": 1})).unwrap();
            let compact = Compact::parse(&text, 4096).unwrap();
            let header: Value = serde_json::from_slice(compact.header()).unwrap();
            assert_eq!(header, json!({"typ": "x", "alg": key.algorithm().name()}));
            assert_eq!(compact.payload(), br#"{"a":1}"#);
            assert!(key.public().verify(key.algorithm(), compact.signing_input(), compact.signature()));
        }
        assert_eq!(KEYS[0].sign_compact(json!([]), &json!({})).err(), Some(PrivateKeyError::Failed));
    }

    #[test]
    fn two_keys_are_never_the_same_and_none_prints() {
        let other = PrivateKey::generate(Algorithm::Es256).unwrap();
        assert_ne!(other.public().thumbprint(), KEYS[0].public().thumbprint());
        for key in KEYS.iter() {
            let printed = format!("{key:?}");
            let d = jwk(key)["d"].as_str().unwrap().to_owned();
            assert!(!printed.contains(&d) && printed.contains(&key.public().thumbprint().to_string()));
        }
    }
}
