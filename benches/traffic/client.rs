//! A client: a key, a token bound to it, proofs.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dpop_gate::client::{Prover, Statement, Url};
use dpop_gate::clock::Clock;
use dpop_gate::jose::{PrivateKey, Thumbprint};
use dpop_gate::secret::AccessToken;
use http::Method;
use serde_json::json;

pub(crate) const KEY_ID: &str = "bench";
/// What the gate's configuration of `benches/harness/servers.py` expects.
pub(crate) const ISSUER: &str = "https://issuer.bench";
pub(crate) const AUDIENCE: &str = "api://orders";
const SCOPE: &str = "orders.read orders.write";
const TOKEN_LIFETIME: u64 = 4 * 3600;
/// A memory store refuses proofs of the second it started in and before; a gate that has just been started takes these,
/// which are within its `clock_skew`.
const AHEAD: Duration = Duration::from_secs(2);

/// Where tokens come from, and what proofs say of the request.
pub(crate) struct World {
    issuer: PrivateKey,
    url: Url,
    nonce: Option<String>,
    now: u64,
}

/// A key and the token that is bound to it.
pub(crate) struct Client {
    prover: Prover,
    statement: Statement,
    pub(crate) token: String,
}

impl World {
    pub(crate) fn new(issuer: PrivateKey, url: Url, nonce: Option<String>) -> Self {
        Self { issuer, url, nonce, now: Clock::System.now().as_secs() }
    }

    /// The client of that number: its texts are as long as every other's.
    pub(crate) fn client(&self, number: u64) -> Client {
        let key = generate();
        let token = self.token(number, key.public().thumbprint());
        let mut statement = Statement::of(&Method::GET, &self.url).with_token(&AccessToken::new(&token));
        if let Some(nonce) = &self.nonce {
            statement = statement.with_nonce(nonce);
        }
        let micros = (Clock::System.now() + AHEAD).as_micros();
        let prover = Prover::new(key, Clock::Manual(Arc::new(AtomicU64::new(micros))));
        Client { prover, statement, token }
    }

    /// RFC 9068 section 2.2.
    fn token(&self, number: u64, jkt: &Thumbprint) -> String {
        let claims = json!({
            "iss": ISSUER,
            "sub": format!("user-{number:08}"),
            "aud": AUDIENCE,
            "client_id": format!("client-{number:08}"),
            "scope": SCOPE,
            "iat": self.now,
            "exp": self.now + TOKEN_LIFETIME,
            "jti": format!("token-{number:08}"),
            "cnf": {"jkt": jkt.to_string()},
        });
        self.issuer.sign_compact(json!({"typ": "at+jwt", "kid": KEY_ID}), &claims).unwrap()
    }
}

impl Client {
    /// A proof that was never sent.
    pub(crate) fn proof(&self) -> String {
        self.prover.prove(&self.statement).unwrap().compact().to_owned()
    }
}

/// By AWS-LC: a hundred thousand keys are made in seconds.
fn generate() -> PrivateKey {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (_, point) = pair.public_key().as_ref().split_first().unwrap();
    let (x, y) = point.split_at(32);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let scalar = pair.private_key().as_be_bytes().unwrap();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y), "d": encode(scalar.as_ref())});
    PrivateKey::from_jwk_json(jwk.to_string().as_bytes()).unwrap()
}
