//! The module against real HTTP servers, on a clock that stands still until it is moved.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod keys;
mod opaque;
mod refresh;

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::jose::PrivateKey;
use crate::verifier;

use super::stub::{Canned, Stub};
use super::*;

/// Tables from the second good token on.
fn verifier(metrics: &Metrics) -> Arc<Verifier> {
    let tables = verifier::Options { entries: 1, after: 2 };
    Arc::new(Verifier::new(tables, metrics.key_tables.clone()))
}

const START: u64 = 1_700_000_000;
const SKEW: Duration = Duration::from_secs(15);
const AUDIENCE: &str = "api://orders";

/// One gate's view: issuers, a clock, metrics.
struct World {
    issuers: Arc<Issuers>,
    micros: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl World {
    fn new(options: Vec<IssuerOptions>) -> Self {
        Self::bounded(options, Bounds::default())
    }

    fn bounded(options: Vec<IssuerOptions>, bounds: Bounds) -> Self {
        let micros = Arc::new(AtomicU64::new(START * 1_000_000));
        let metrics = Arc::new(Metrics::new().unwrap());
        let clock = Clock::Manual(Arc::clone(&micros));
        let issuers = Issuers::new(options, bounds, clock, Arc::clone(&metrics), tls(), verifier(&metrics), None);
        Self { issuers: Arc::new(issuers), micros, metrics }
    }

    fn reload(&mut self, options: Vec<IssuerOptions>) {
        let clock = Clock::Manual(Arc::clone(&self.micros));
        let metrics = Arc::clone(&self.metrics);
        let new = Issuers::new(
            options,
            Bounds::default(),
            clock,
            Arc::clone(&metrics),
            tls(),
            verifier(&metrics),
            Some(&self.issuers),
        );
        self.issuers = Arc::new(new);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros.load(Ordering::SeqCst))
    }

    fn pass(&self, secs: u64) {
        self.micros.fetch_add(secs * 1_000_000, Ordering::SeqCst);
    }

    async fn verify(&self, token: &str) -> Result<Arc<VerifiedToken>, TokenError> {
        let token = AccessToken::new(token);
        self.issuers.verify(&token, &token.digest(), self.now(), SKEW).await
    }

    fn must_ask(&self, token: &str) -> bool {
        let token = AccessToken::new(token);
        self.issuers.must_ask(&token, self.now())
    }

    async fn refusal(&self, token: &str) -> TokenError {
        self.verify(token).await.map(|_| ()).unwrap_err()
    }

    /// What [`Issuers::keep_fresh`] does at every tick.
    async fn tick(&self) {
        for source in self.issuers.sources() {
            source.refresh_if_due(self.now()).await;
        }
    }

    fn metric(&self, line: &str) -> bool {
        String::from_utf8(self.metrics.render().unwrap()).unwrap().lines().any(|text| text == line)
    }
}

fn tls() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

fn issuer(name: &str, source: Source) -> IssuerOptions {
    IssuerOptions {
        issuer: name.into(),
        audiences: vec![AUDIENCE.into()],
        algorithms: Algorithm::ALL.to_vec(),
        token_types: TokenTypes::Any,
        source,
        insecure_http: false,
    }
}

fn introspection(stub: &Stub) -> Source {
    introspection_within(stub, Duration::from_secs(5))
}

fn introspection_within(stub: &Stub, timeout: Duration) -> Source {
    Source::Introspection {
        url: stub.uri("/introspect"),
        client_id: "gate:1".into(),
        client_secret: Secret::new(b"p@ss w%rd".to_vec()),
        cache: Duration::from_secs(30),
        timeout,
    }
}

/// A signing key under a name.
struct Signer {
    kid: &'static str,
    key: PrivateKey,
}

impl Signer {
    fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        Self { kid, key: PrivateKey::generate(algorithm).unwrap() }
    }

    fn jwk(&self) -> Value {
        let mut jwk = self.key.public().to_jwk();
        jwk["kid"] = self.kid.into();
        jwk
    }

    fn token(&self, iss: &str) -> String {
        self.sign(json!({"typ": "at+jwt", "kid": self.kid}), &claims(iss))
    }

    fn sign(&self, header: Value, claims: &Value) -> String {
        self.key.sign_compact(header, claims).unwrap()
    }
}

fn claims(iss: &str) -> Value {
    json!({"iss": iss, "aud": AUDIENCE, "exp": START + 100, "sub": "u"})
}

fn jwks(keys: &[Value]) -> Canned {
    Canned::json(json!({"keys": keys}))
}

const ISS: &str = "https://id.example.com";

/// One issuer with keys at `/jwks`.
async fn keyed(keys: &[Value]) -> (Stub, World) {
    let stub = Stub::start().await;
    stub.answer("/jwks", jwks(keys));
    let world = World::new(vec![issuer(ISS, Source::JwksUri(stub.uri("/jwks")))]);
    (stub, world)
}
