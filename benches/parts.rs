//! Where a decision's time goes: each part by itself, then the whole. `cargo bench --bench parts`
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, dead_code, reason = "a bench")]

#[path = "traffic/client.rs"]
mod client;
#[path = "traffic/on_core.rs"]
mod on_core;

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dpop_gate::client::Url;
use dpop_gate::clock::{Clock, Timestamp};
use dpop_gate::dpop::{Proof, ProofPolicy};
use dpop_gate::gate::{Facts, ForwardToken, Gate, IdentityOptions, Spend};
use dpop_gate::issuer::{Bounds, IssuerOptions, Issuers, Source};
use dpop_gate::jose::{Algorithm, PrivateKey, PublicKey, StrictValue, TableSize, Thumbprint};
use dpop_gate::metrics::Metrics;
use dpop_gate::nonce::{NonceOptions, Nonces, ProcessTag};
use dpop_gate::policy::{Auth, Mode, PathMatch, Requirement, Route, RouteMatch, Routes};
use dpop_gate::replay::{MemoryOptions, MemoryStore, ProofId, ReplayStore};
use dpop_gate::secret::Secret;
use dpop_gate::target::{Peer, Scheme, Target, Trust};
use dpop_gate::token::TokenTypes;
use dpop_gate::verifier::{self, Verifier};
use http::{HeaderMap, Method};
use on_core::on_core;
use prometheus::IntGauge;
use serde_json::json;

const HTU: &str = "https://api.example.com/api/orders";
const LIFETIME: Duration = Duration::from_secs(60);

criterion_group! {
    name = parts;
    config = Criterion::default().with_measurement(OnCore);
    targets = proof, target, nonce, claim, verification, decision
}
criterion_main!(parts);

/// Of this thread's own clock.
struct OnCore;

impl Measurement for OnCore {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        on_core()
    }

    fn end(&self, start: Duration) -> Duration {
        on_core() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn issuer() -> PrivateKey {
    PrivateKey::generate(Algorithm::Es256).unwrap()
}

fn client(issuer: PrivateKey, nonce: Option<String>) -> client::Client {
    client::World::new(issuer, Url::parse(HTU).unwrap(), nonce).client(1)
}

fn proof(c: &mut Criterion<OnCore>) {
    let text = client(issuer(), Some("n".repeat(43))).proof();
    c.bench_function("parse a proof, its key and thumbprint", |b| {
        b.iter(|| {
            let compact = Proof::split(black_box(&text)).unwrap();
            let proof = Proof::read(&compact, &[Algorithm::Es256], |_| {});
            black_box(proof.is_ok())
        });
    });
    let jwk = StrictValue::parse(issuer().public().to_jwk().to_string().as_bytes()).unwrap();
    c.bench_function("of that: a key is on its curve, and its thumbprint", |b| {
        b.iter(|| PublicKey::from_jwk(black_box(&jwk)).unwrap());
    });
}

fn target(c: &mut Criterion<OnCore>) {
    let target = Target::new(Scheme::Https, "api.example.com", "/api/orders", &Trust::default()).unwrap();
    c.bench_function("htu", |b| b.iter(|| assert!(black_box(&target).matches_htu(black_box(HTU)))));
}

fn nonces() -> Nonces {
    Nonces::new(NonceOptions {
        lifetime: LIFETIME,
        secret: Secret::new(vec![1; 32]),
        previous: None,
        process: ProcessTag([7; 8]),
        others_not_before: None,
    })
}

fn nonce(c: &mut Criterion<OnCore>) {
    let (nonces, now) = (nonces(), Clock::System.now());
    let nonce = nonces.issue(now, None);
    c.bench_function("check a nonce", |b| b.iter(|| nonces.check(black_box(&nonce), now).unwrap()));
}

fn store() -> MemoryStore {
    let options = MemoryOptions { capacity: 2_000_000, proof_lifetime: LIFETIME, floor: None };
    MemoryStore::new(options, IntGauge::new("entries", "entries").unwrap())
}

/// At 20,000 a second, so up to 1,200,000 are live.
fn claim(c: &mut Criterion<OnCore>) {
    let store = store();
    let key = Thumbprint::from_bytes([9; 32]);
    let mut number = 0_u64;
    let mut next = || {
        number += 1;
        let iat = 1_800_000_000 + number / 20_000;
        (ProofId::new(&key, &number.to_string(), iat, None), Timestamp::from_secs(iat))
    };
    c.bench_function("claim in the memory store", |b| {
        b.iter_batched(&mut next, |(id, now)| store.claim(&id, now).unwrap(), BatchSize::SmallInput);
    });
}

fn verification(c: &mut Criterion<OnCore>) {
    let pair = issuer();
    let (key, message) = (pair.public(), [b'x'; 420]);
    let signature = pair.sign(&message).unwrap();
    c.bench_function("verify under a key that was not seen before", |b| {
        b.iter(|| assert!(key.verify(Algorithm::Es256, black_box(&message), black_box(&signature))));
    });
    for size in [TableSize::Small, TableSize::Large] {
        let table = key.table(size).unwrap();
        c.bench_function(&format!("verify under a returning key, {size:?} table").to_lowercase(), |b| {
            b.iter(|| assert!(table.verify(black_box(&message), black_box(&signature))));
        });
    }
    c.bench_function("make a returning key's table", |b| b.iter(|| black_box(key).table(TableSize::Small)));
}

/// A gate with one issuer and one route, as `benches/run` configures it.
fn gate(jwks: &std::path::Path) -> Gate {
    let metrics = Arc::new(Metrics::new().unwrap());
    let route = Route {
        matches: RouteMatch { path: PathMatch::Prefix("/api/".to_owned()), methods: Vec::new(), host: None },
        upstream: "legacy".into(),
        auth: Auth::Dpop,
        mode: Mode::Enforce,
        require: Requirement { scopes: vec!["orders.read".to_owned()], claims: Vec::new() },
        cors: None,
        metrics: metrics.route("orders"),
    };
    let vouching = IssuerOptions {
        issuer: client::ISSUER.to_owned(),
        audiences: vec![client::AUDIENCE.to_owned()],
        algorithms: vec![Algorithm::Es256],
        token_types: TokenTypes::Any,
        source: Source::JwksFile(jwks.to_owned()),
        insecure_http: false,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = Arc::new(tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    let tables = verifier::Options { entries: 10_000, after: 2 };
    let verifier = Arc::new(Verifier::new(tables, metrics.key_tables.clone()));
    Gate {
        trust: Trust::default(),
        routes: Routes::new(vec![route]),
        proof: ProofPolicy {
            algorithms: vec![Algorithm::Es256],
            lifetime: LIFETIME,
            clock_skew: Duration::from_secs(15),
        },
        nonces: Some(nonces()),
        replay: Arc::new(ReplayStore::Memory(Arc::new(store()))),
        issuers: Arc::new(Issuers::new(
            vec![vouching],
            Bounds::default(),
            Clock::System,
            Arc::clone(&metrics),
            tls,
            Arc::clone(&verifier),
            None,
        )),
        verifier,
        identity: IdentityOptions { headers: Vec::new(), forward_token: ForwardToken::No, assertion: None },
        metrics,
    }
}

fn decision(c: &mut Criterion<OnCore>) {
    let issuer = issuer();
    let jwks = tempfile::NamedTempFile::new().unwrap();
    let mut key = issuer.public().to_jwk();
    key.as_object_mut().unwrap().insert("kid".to_owned(), client::KEY_ID.into());
    std::fs::write(jwks.path(), json!({"keys": [key]}).to_string()).unwrap();

    let gate = gate(jwks.path());
    let target = Target::new(Scheme::Https, "api.example.com", "/api/orders", &gate.trust).unwrap();
    let peer = Peer { ip: std::net::Ipv4Addr::LOCALHOST.into(), scheme: Scheme::Https, client_certificate: None };
    let route = Arc::clone(gate.route(&Method::GET, &target).unwrap());
    let now = Clock::System.now();
    let client = client(issuer, Some(gate.nonces.as_ref().unwrap().issue(now, None)));
    let request = || {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("DPoP {}", client.token).parse().unwrap());
        headers.insert("dpop", client.proof().parse().unwrap());
        headers
    };
    let admit = async |headers: HeaderMap| {
        let facts = Facts { methods: &["GET"], target: &target, headers: &headers, peer: &peer, spend: Spend::Consume };
        gate.admit(&route, &facts, now, None).await.unwrap();
    };
    // The first one fetches the issuer's keys; none after it waits for anything.
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(admit(request()));
    let at_once = |headers| match pin!(admit(headers)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(()) => {}
        Poll::Pending => panic!("a decision waits"),
    };
    c.bench_function("the whole decision for a returning client", |b| {
        b.iter_batched(request, at_once, BatchSize::SmallInput);
    });
}
