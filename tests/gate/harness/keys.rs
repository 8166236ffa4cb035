//! Keys and signed objects, every member of which a test may change.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A word that nobody used before.
pub fn random() -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    BASE64URL.encode(bytes)
}

/// A private key.
#[derive(Clone)]
pub struct Key {
    alg: &'static str,
    pair: Arc<Pair>,
    jwk: Value,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    /// A fresh P-256 key.
    pub fn es256() -> Self {
        Self::of("ES256")
    }

    /// A fresh key for that algorithm.
    pub fn of(alg: &'static str) -> Self {
        let (pair, jwk) = match alg {
            "ES256" | "ES384" => {
                let (signing, crv) = if alg == "ES256" {
                    (&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")
                } else {
                    (&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")
                };
                let pair = EcdsaKeyPair::generate(signing).unwrap();
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let jwk = json!({"kty": "EC", "crv": crv, "x": BASE64URL.encode(x), "y": BASE64URL.encode(y)});
                (Pair::Ecdsa(pair), jwk)
            }
            "EdDSA" | "Ed25519" => {
                let pair = Ed25519KeyPair::generate().unwrap();
                let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL.encode(pair.public_key())});
                (Pair::Ed25519(pair), jwk)
            }
            "RS256" | "PS256" => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                // RSAPublicKey of RFC 8017 with a 2048-bit modulus: two headers, then 256 bytes, then 65537.
                let der = pair.public_key().as_ref();
                let (n, e) = (&der[9..265], &der[der.len() - 3..]);
                let jwk = json!({"kty": "RSA", "n": BASE64URL.encode(n), "e": BASE64URL.encode(e)});
                (Pair::Rsa(pair), jwk)
            }
            other => panic!("no key for {other}"),
        };
        Self { alg, pair: Arc::new(pair), jwk }
    }

    /// The public half.
    pub fn jwk(&self) -> Value {
        self.jwk.clone()
    }

    /// Both halves, of a P-256 key.
    pub fn private_jwk(&self) -> Value {
        let Pair::Ecdsa(pair) = &*self.pair else { panic!("only of an EC key") };
        let secret = pair.private_key().as_be_bytes().unwrap();
        let mut jwk = self.jwk();
        jwk["d"] = json!(BASE64URL.encode(secret.as_ref()));
        jwk
    }

    /// RFC 7638.
    pub fn thumbprint(&self) -> String {
        let of = |name: &str| self.jwk[name].as_str().unwrap();
        let text = match of("kty") {
            "EC" => format!(r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#, of("crv"), of("x"), of("y")),
            "OKP" => format!(r#"{{"crv":"{}","kty":"OKP","x":"{}"}}"#, of("crv"), of("x")),
            _ => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, of("e"), of("n")),
        };
        BASE64URL.encode(Sha256::digest(text))
    }

    pub fn alg(&self) -> &'static str {
        self.alg
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &*self.pair {
            Pair::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = match self.alg {
                    "PS256" => pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature),
                    _ => pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature),
                };
                signed.unwrap();
                signature
            }
        }
    }
}

/// A compact JWS in the making: a proof or a token.
#[derive(Clone)]
pub struct Jws {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    header_text: Option<String>,
    claims_text: Option<String>,
    key: Key,
    spoiled: bool,
}

impl Jws {
    pub fn new(key: &Key, header: Value, claims: Value) -> Self {
        let (Value::Object(header), Value::Object(claims)) = (header, claims) else { panic!("two objects") };
        Self { header, claims, header_text: None, claims_text: None, key: key.clone(), spoiled: false }
    }

    /// A proof as RFC 9449 section 4.2 wants it, dated now.
    pub fn proof(key: &Key, method: &str, url: &str) -> Self {
        Self::new(
            key,
            json!({"typ": "dpop+jwt", "alg": key.alg(), "jwk": key.jwk()}),
            json!({"jti": random(), "htm": method, "htu": url, "iat": now()}),
        )
    }

    /// Sets a member of the header.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.into(), value.into());
        self
    }

    /// Sets a claim.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// Removes a member, wherever it stands.
    pub fn without(mut self, name: &str) -> Self {
        self.header.remove(name);
        self.claims.remove(name);
        self
    }

    /// Signs with another key than the one it names.
    pub fn signed_by(mut self, key: &Key) -> Self {
        self.key = key.clone();
        self
    }

    /// Flips one bit of the signature.
    pub fn spoiled(mut self) -> Self {
        self.spoiled = true;
        self
    }

    /// Rewrites the header's JSON text.
    pub fn header_text(mut self, rewrite: impl FnOnce(String) -> String) -> Self {
        self.header_text = Some(rewrite(Value::Object(self.header.clone()).to_string()));
        self
    }

    /// Rewrites the claims' JSON text.
    pub fn claims_text(mut self, rewrite: impl FnOnce(String) -> String) -> Self {
        self.claims_text = Some(rewrite(Value::Object(self.claims.clone()).to_string()));
        self
    }

    /// Signs.
    pub fn compact(self) -> String {
        let header = self.header_text.unwrap_or_else(|| Value::Object(self.header).to_string());
        let claims = self.claims_text.unwrap_or_else(|| Value::Object(self.claims).to_string());
        let input = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let mut signature = self.key.sign(input.as_bytes());
        if self.spoiled {
            signature[10] ^= 1;
        }
        format!("{input}.{}", BASE64URL.encode(signature))
    }
}
