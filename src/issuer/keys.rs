//! An issuer's key set (RFC 7517 section 5), and which of its keys a token may be verified with.

use std::sync::Arc;

use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use crate::jose::{Algorithm, JwkError, PublicKey, StrictValue, Thumbprint};
use crate::verifier::{Pinned, Verifier};

/// Keys tried for a token that names none.
const KEYS_TRIED: usize = 4;
/// What only the owner of an asymmetric key should hold (RFC 7518 section 6), and `k`.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A JWKS as `config` checks it: the number of usable keys, or what is wrong with it.
///
/// Keys of other types, sizes or uses are skipped; symmetric ones too. A private key is refused outright: a file
/// that the gate reads to verify must not be able to sign.
pub fn check_jwks(json: &[u8]) -> Result<usize, &'static str> {
    let set = KeySet::parse(json)?;
    if set.private > 0 {
        return Err("it holds a private key; expected the public members only");
    }
    if set.keys.is_empty() {
        return Err(
            "it holds no usable key; expected an EC P-256 or P-384, OKP Ed25519, or RSA key of 2048 bits or more \
                    for signatures",
        );
    }
    Ok(set.keys.len())
}

/// The usable keys of one issuer.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Keys left out because a private member was published with them.
    pub(super) private: usize,
    /// Counts the changes of an issuer's set, so that what an older set vouched for can be told.
    pub(super) generation: u64,
}

struct Key {
    kid: Option<String>,
    /// The JWK's own `alg`: where present, the only one that it may be used with (RFC 7517 section 4.4).
    algorithm: Option<Algorithm>,
    public: PublicKey,
    decoding: DecodingKey,
    /// An issuer's key comes back with every token.
    table: Arc<Pinned>,
}

/// What a key set says of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One of the keys made it.
    Verified,
    /// The key that the token names did not make it.
    Wrong,
    /// The set has no such key: perhaps a newer one has.
    UnknownKey,
}

/// What is to be verified.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) kid: Option<&'a str>,
    pub(super) algorithm: Algorithm,
    pub(super) input: &'a [u8],
    /// base64url, as it stands in the token.
    pub(super) signature: &'a str,
    /// The same, decoded.
    pub(super) signature_bytes: &'a [u8],
}

impl KeySet {
    /// Reads a JWKS; keys that cannot be used are left out (RFC 7517 section 5).
    pub(super) fn parse(json: &[u8]) -> Result<Self, &'static str> {
        let document = StrictValue::parse(json).ok_or("it is not JSON, or has a member twice")?;
        let mut members = document.into_object().ok_or("it is not a JSON object; expected a JWK Set")?;
        let Some(Value::Array(jwks)) = members.remove("keys") else {
            return Err("it has no list `keys`; expected a JWK Set");
        };
        let mut set = Self::default();
        for jwk in jwks {
            match Key::read(jwk) {
                Ok(key) => set.keys.push(key),
                Err(Unusable::Private) => set.private += 1,
                Err(Unusable::Skipped) => {}
            }
        }
        Ok(set)
    }

    /// How many keys can be used.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether both hold the same keys under the same names.
    pub(super) fn same_keys(&self, other: &Self) -> bool {
        self.keys.len() == other.keys.len()
            && self.keys.iter().zip(&other.keys).all(|(a, b)| a.identity() == b.identity())
    }

    /// Checks a signature with the keys that its token may name, and no others.
    pub(super) fn verify(&self, signed: Signed<'_>, verifier: &Verifier) -> Verdict {
        match signed.kid {
            Some(kid) => {
                let called = |name: Option<&str>, key: &Key| key.kid.as_deref() == name;
                let is_named = self.keys.iter().any(|key| called(Some(kid), key));
                // `kid` is a hint, and optional on either side (RFC 7515 section 4.1.4): where no key has that name,
                // one without a name may be meant.
                let name = is_named.then_some(kid);
                let mut candidates =
                    self.keys.iter().filter(|key| called(name, key) && key.fits(signed.algorithm)).take(KEYS_TRIED);
                match (candidates.any(|key| key.verify(signed, verifier)), is_named) {
                    (true, _) => Verdict::Verified,
                    (false, true) => Verdict::Wrong,
                    // A newer set may have it.
                    (false, false) => Verdict::UnknownKey,
                }
            }
            None => {
                let mut candidates = self.keys.iter().filter(|key| key.fits(signed.algorithm)).take(KEYS_TRIED);
                // Without a name a new key looks like a wrong signature, so a newer set is worth a look.
                if candidates.any(|key| key.verify(signed, verifier)) { Verdict::Verified } else { Verdict::UnknownKey }
            }
        }
    }
}

enum Unusable {
    Private,
    Skipped,
}

impl Key {
    fn read(jwk: Value) -> Result<Self, Unusable> {
        let members = jwk.as_object().ok_or(Unusable::Skipped)?;
        if members.get("kty").and_then(Value::as_str) == Some("oct") {
            return Err(Unusable::Skipped);
        }
        if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
            return Err(Unusable::Private);
        }
        if !signs(members) {
            return Err(Unusable::Skipped);
        }
        let algorithm = match members.get("alg") {
            None => None,
            Some(alg) => Some(alg.as_str().and_then(Algorithm::from_name).ok_or(Unusable::Skipped)?),
        };
        let kid = match members.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(Unusable::Skipped)?.to_owned()),
        };
        let public = PublicKey::from_jwk(&StrictValue::from_value(jwk)).map_err(|error| match error {
            JwkError::Private => Unusable::Private,
            JwkError::Unsupported | JwkError::Malformed => Unusable::Skipped,
        })?;
        let decoding = decoding_key(&public).ok_or(Unusable::Skipped)?;
        Ok(Self { kid, algorithm, public, decoding, table: Arc::default() })
    }

    /// The key's type decides which algorithms it may be used with, and its own `alg` narrows that.
    fn fits(&self, algorithm: Algorithm) -> bool {
        self.public.allows(algorithm) && self.algorithm.is_none_or(|own| own == algorithm)
    }

    fn verify(&self, signed: Signed<'_>, verifier: &Verifier) -> bool {
        let Signed { algorithm, input, signature_bytes, .. } = signed;
        let library = || self.verify_by_library(signed);
        verifier.verify_pinned(&self.table, &self.public, algorithm, (input, signature_bytes), library)
    }

    fn verify_by_library(&self, signed: Signed<'_>) -> bool {
        let algorithm = match signed.algorithm {
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        };
        jsonwebtoken::crypto::verify(signed.signature, signed.input, &self.decoding, algorithm).unwrap_or(false)
    }

    fn identity(&self) -> (Option<&str>, Option<Algorithm>, &Thumbprint) {
        (self.kid.as_deref(), self.algorithm, self.public.thumbprint())
    }
}

/// Whether the key is meant for verifying signatures (RFC 7517 sections 4.2 and 4.3).
fn signs(jwk: &Map<String, Value>) -> bool {
    let used = jwk.get("use").is_none_or(|usage| usage == "sig");
    let operations = jwk.get("key_ops").is_none_or(|operations| {
        let mut operations = operations.as_array().into_iter().flatten();
        operations.any(|operation| operation == "verify")
    });
    used && operations
}

/// The key as `jsonwebtoken` takes it, from canonical members.
fn decoding_key(public: &PublicKey) -> Option<DecodingKey> {
    let jwk = public.to_jwk();
    let member = |name: &str| jwk.get(name).and_then(Value::as_str);
    match member("kty")? {
        "EC" => DecodingKey::from_ec_components(member("x")?, member("y")?).ok(),
        "OKP" => DecodingKey::from_ed_components(member("x")?).ok(),
        "RSA" => DecodingKey::from_rsa_components(member("n")?, member("e")?).ok(),
        _ => None,
    }
}
