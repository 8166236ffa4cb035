//! The module against real HTTP servers, on a clock that stands still until it is moved.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::jose::PrivateKey;

use super::stub::{Canned, Stub};
use super::*;

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
        let issuers = Issuers::new(options, bounds, clock, Arc::clone(&metrics), tls(), None);
        Self { issuers: Arc::new(issuers), micros, metrics }
    }

    fn reload(&mut self, options: Vec<IssuerOptions>) {
        let clock = Clock::Manual(Arc::clone(&self.micros));
        let metrics = Arc::clone(&self.metrics);
        let new = Issuers::new(options, Bounds::default(), clock, metrics, tls(), Some(&self.issuers));
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
    Source::Introspection {
        url: stub.uri("/introspect"),
        client_id: "gate:1".into(),
        client_secret: Secret::new(b"p@ss w%rd".to_vec()),
        cache: Duration::from_secs(30),
        timeout: Duration::from_secs(5),
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

#[tokio::test]
async fn every_algorithm_verifies_and_each_key_only_its_own() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new("k", algorithm);
        let (_stub, world) = keyed(&[signer.jwk()]).await;
        let token = signer.token(ISS);
        assert_eq!(world.verify(&token).await.unwrap().claim("sub"), Some(&json!("u")), "{algorithm}");
        let stranger = Signer::new("k", algorithm);
        assert_eq!(world.refusal(&stranger.token(ISS)).await, TokenError::Signature, "{algorithm}");
        let (input, signature) = token.rsplit_once('.').unwrap();
        let flipped = if signature.starts_with('A') { "B" } else { "A" };
        let tampered = format!("{input}.{flipped}{}", &signature[1..]);
        assert_eq!(world.refusal(&tampered).await, TokenError::Signature, "{algorithm}");
        assert_eq!(world.refusal(&format!("{input}.")).await, TokenError::Signature, "{algorithm}");
    }
}

#[tokio::test]
async fn headers_are_judged_before_any_key_is_used() {
    let signer = Signer::new("k", Algorithm::Es256);
    let other = Signer::new("k", Algorithm::Es384);
    let (stub, _) = keyed(&[signer.jwk()]).await;
    let mut options = issuer(ISS, Source::JwksUri(stub.uri("/jwks")));
    options.algorithms = vec![Algorithm::Es256];
    options.token_types = TokenTypes::Only(vec!["at+jwt".into()]);
    let world = World::new(vec![options]);
    let good = claims(ISS);
    let own_key = signer.jwk();
    for (case, token, expected) in [
        ("alg not allowed", other.sign(json!({"typ": "at+jwt", "kid": "k"}), &good), TokenError::Malformed),
        ("alg none", unsigned(&json!({"typ": "at+jwt", "alg": "none"}), &good), TokenError::Malformed),
        ("alg HS256", unsigned(&json!({"typ": "at+jwt", "alg": "HS256"}), &good), TokenError::Malformed),
        ("alg missing", unsigned(&json!({"typ": "at+jwt"}), &good), TokenError::Malformed),
        ("alg no string", unsigned(&json!({"typ": "at+jwt", "alg": ["ES256"]}), &good), TokenError::Malformed),
        ("typ of a proof", signer.sign(json!({"typ": "dpop+jwt", "kid": "k"}), &good), TokenError::Malformed),
        ("typ JWT", signer.sign(json!({"typ": "JWT", "kid": "k"}), &good), TokenError::Malformed),
        ("typ missing", signer.sign(json!({"kid": "k"}), &good), TokenError::Malformed),
        ("typ no string", signer.sign(json!({"typ": 1, "kid": "k"}), &good), TokenError::Malformed),
        ("kid no string", signer.sign(json!({"typ": "at+jwt", "kid": 1}), &good), TokenError::Malformed),
        ("crit", signer.sign(json!({"typ": "at+jwt", "kid": "k", "crit": []}), &good), TokenError::Malformed),
        (
            "a jwk of its own",
            Signer::new("x", Algorithm::Es256).sign(json!({"typ": "at+jwt", "jwk": own_key}), &good),
            TokenError::Signature,
        ),
        ("payload no object", signer.sign(json!({"typ": "at+jwt", "kid": "k"}), &json!([])), TokenError::Malformed),
        ("no iss", signer.sign(json!({"typ": "at+jwt", "kid": "k"}), &json!({"aud": AUDIENCE})), TokenError::Malformed),
        ("another iss", signer.token("https://other.example.com"), TokenError::UnknownIssuer),
        ("iss with a slash", signer.token("https://id.example.com/"), TokenError::UnknownIssuer),
        ("opaque", "2YotnFZFEjr1zCsicMWpAA".into(), TokenError::Malformed),
        ("empty", String::new(), TokenError::Malformed),
        ("too long", format!("{}{}", signer.token(ISS), "A".repeat(TOKEN_BYTES)), TokenError::Malformed),
    ] {
        assert_eq!(world.refusal(&token).await, expected, "{case}");
    }
    let doubled = format!(r#"{{"iss":"{ISS}","iss":"{ISS}","aud":"{AUDIENCE}","exp":{}}}"#, START + 100);
    let token = unsigned_text(r#"{"alg":"ES256","typ":"at+jwt","kid":"k"}"#, &doubled);
    assert_eq!(world.refusal(&token).await, TokenError::Malformed);
    let far = stub.uri("/elsewhere").to_string();
    let header = json!({"typ": "application/AT+JWT", "kid": "k", "jku": far, "x5u": far, "jwk": other.jwk()});
    assert!(world.verify(&signer.sign(header, &good)).await.is_ok());
    assert_eq!(stub.count("/elsewhere"), 0);
}

fn unsigned(header: &Value, claims: &Value) -> String {
    unsigned_text(&header.to_string(), &claims.to_string())
}

fn unsigned_text(header: &str, claims: &str) -> String {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", encode(header), encode(claims), encode("signature"))
}

#[tokio::test]
async fn a_key_of_one_issuer_is_never_used_for_another() {
    let (a, b) = (Signer::new("same", Algorithm::Es256), Signer::new("same", Algorithm::Es256));
    let only_a = Signer::new("only-a", Algorithm::Es256);
    let stub = Stub::start().await;
    stub.answer("/a", jwks(&[a.jwk(), only_a.jwk()]));
    stub.answer("/b", jwks(&[b.jwk()]));
    let world = World::new(vec![
        issuer("https://a.example.com", Source::JwksUri(stub.uri("/a"))),
        issuer("https://b.example.com", Source::JwksUri(stub.uri("/b"))),
    ]);
    world.tick().await;
    for (token, expected) in [
        (a.token("https://b.example.com"), Some(TokenError::Signature)),
        (b.token("https://a.example.com"), Some(TokenError::Signature)),
        (only_a.token("https://b.example.com"), Some(TokenError::Signature)),
        (only_a.token("https://a.example.com"), None),
        (a.token("https://a.example.com"), None),
        (b.token("https://b.example.com"), None),
    ] {
        assert_eq!(world.verify(&token).await.err(), expected);
    }
}

#[tokio::test]
async fn rotation_needs_no_restart_and_an_unknown_kid_one_fetch_a_period() {
    let (old, new) = (Signer::new("old", Algorithm::Es256), Signer::new("new", Algorithm::EdDsa));
    let (stub, world) = keyed(&[old.jwk()]).await;
    world.tick().await;
    assert!(world.verify(&old.token(ISS)).await.is_ok());
    assert_eq!(stub.count("/jwks"), 1);
    stub.answer("/jwks", jwks(&[old.jwk(), new.jwk()]));
    assert!(world.verify(&new.token(ISS)).await.is_ok());
    assert_eq!(stub.count("/jwks"), 2);
    // A flood of made-up names: no fetch until the period is over, then one.
    let flood = |round: usize| (0..50).map(move |i| json!({"kid": format!("{round}-{i}")}));
    for header in flood(1) {
        assert_eq!(world.refusal(&old.sign(header, &claims(ISS))).await, TokenError::Signature);
    }
    assert_eq!(stub.count("/jwks"), 2);
    world.pass(10);
    for header in flood(2) {
        assert_eq!(world.refusal(&old.sign(header, &claims(ISS))).await, TokenError::Signature);
    }
    assert_eq!(stub.count("/jwks"), 3);
    assert!(world.verify(&old.token(ISS)).await.is_ok());
}

#[tokio::test]
async fn those_who_wait_share_one_fetch_and_known_keys_do_not_wait() {
    let (old, new) = (Signer::new("old", Algorithm::Es256), Signer::new("new", Algorithm::Es256));
    let slow = Stub::holding().await;
    slow.answer("/jwks", jwks(&[old.jwk(), new.jwk()]));
    let world = Arc::new(World::new(vec![issuer(ISS, Source::JwksUri(slow.uri("/jwks")))]));
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (world, token) = (Arc::clone(&world), new.token(ISS));
            tokio::spawn(async move { world.verify(&token).await.is_ok() })
        })
        .collect();
    slow.asked("/jwks", 1).await;
    slow.release();
    for wait in waiting {
        assert!(wait.await.unwrap());
    }
    assert_eq!(slow.count("/jwks"), 1);

    // The same once keys are there: the unknown one waits for a fetch that hangs, the known one does not.
    let (stub, world) = keyed(&[old.jwk()]).await;
    world.tick().await;
    stub.hold();
    let world = Arc::new(world);
    let unknown = {
        let (world, token) = (Arc::clone(&world), new.token(ISS));
        tokio::spawn(async move { world.refusal(&token).await })
    };
    stub.asked("/jwks", 2).await;
    assert!(world.verify(&old.token(ISS)).await.is_ok());
    assert!(!unknown.is_finished());
    stub.release();
    assert_eq!(unknown.await.unwrap(), TokenError::Signature);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_end_the_fetch() {
    let signer = Signer::new("k", Algorithm::Es256);
    let stub = Stub::holding().await;
    stub.answer("/jwks", jwks(&[signer.jwk()]));
    let world = Arc::new(World::new(vec![issuer(ISS, Source::JwksUri(stub.uri("/jwks")))]));
    let first = {
        let (world, token) = (Arc::clone(&world), signer.token(ISS));
        tokio::spawn(async move { drop(world.verify(&token).await) })
    };
    stub.asked("/jwks", 1).await;
    first.abort();
    stub.release();
    assert!(world.verify(&signer.token(ISS)).await.is_ok());
    assert_eq!(stub.count("/jwks"), 1);
}

#[tokio::test]
async fn the_last_good_keys_outlive_the_issuer() {
    let signer = Signer::new("k", Algorithm::Es256);
    let (stub, world) = keyed(&[signer.jwk()]).await;
    world.tick().await;
    for broken in [
        Canned::status(500),
        Canned::status(302).with("location", stub.url("/elsewhere")),
        Canned::json("not json"),
        Canned::json(r#"{"keys":{}}"#),
        Canned::json(r#"{"keys":[],"keys":[]}"#),
        Canned::json(json!({"keys": [], "padding": "x".repeat(300 * 1024)})),
    ] {
        stub.answer("/jwks", broken);
        stub.answer("/elsewhere", jwks(&[]));
        world.pass(1000);
        world.tick().await;
        let token = signer.sign(json!({"kid": "k"}), &json!({"iss": ISS, "aud": AUDIENCE, "exp": START + 100_000}));
        assert!(world.verify(&token).await.is_ok());
        assert_eq!(world.refusal(&Signer::new("x", Algorithm::Es256).token(ISS)).await, TokenError::Signature);
    }
    assert_eq!(stub.count("/elsewhere"), 0);
    assert!(world.metric(&format!("dpop_gate_jwks_refresh_total{{issuer=\"{ISS}\",result=\"failed\"}} 6")));
    assert!(world.metric(&format!("dpop_gate_jwks_refresh_total{{issuer=\"{ISS}\",result=\"ok\"}} 1")));
    assert!(world.issuers.ready());
}

#[tokio::test]
async fn without_any_keys_ever_the_issuer_is_unavailable_and_asked_once_a_period() {
    let signer = Signer::new("k", Algorithm::Es256);
    let (stub, world) = keyed(&[]).await;
    stub.answer("/jwks", Canned::status(503));
    assert!(!world.issuers.ready());
    for _ in 0..10 {
        assert_eq!(world.refusal(&signer.token(ISS)).await, TokenError::IssuerUnavailable);
    }
    assert_eq!(stub.count("/jwks"), 1);
    stub.answer("/jwks", jwks(&[signer.jwk()]));
    world.pass(10);
    assert!(world.verify(&signer.token(ISS)).await.is_ok());
    assert!(world.issuers.ready());
    let status = &world.issuers.status()[0];
    assert_eq!((status.keys, status.refreshed), (Some(1), Some(world.now())));
}

#[tokio::test]
async fn a_slow_issuer_is_given_up_in_time() {
    let stub = Stub::holding().await;
    let bounds = Bounds { fetch_timeout: Duration::from_millis(50), ..Bounds::default() };
    let world = World::bounded(vec![issuer(ISS, Source::JwksUri(stub.uri("/jwks")))], bounds);
    let token = Signer::new("k", Algorithm::Es256).token(ISS);
    assert_eq!(world.refusal(&token).await, TokenError::IssuerUnavailable);
}

#[tokio::test]
async fn plain_http_beyond_loopback_is_not_even_tried() {
    let source = Source::JwksUri("http://192.0.2.1/jwks".parse().unwrap());
    let world = World::new(vec![issuer(ISS, source)]);
    let token = Signer::new("k", Algorithm::Es256).token(ISS);
    assert_eq!(world.refusal(&token).await, TokenError::IssuerUnavailable);
}

#[tokio::test]
async fn keys_are_refreshed_before_they_grow_old() {
    let signer = Signer::new("k", Algorithm::Es256);
    // (Cache-Control, seconds after which the next fetch comes)
    for (header, age) in [("public", 300), ("max-age=3600", 300), ("max-age=120", 120), ("no-store", 60)] {
        let (stub, world) = keyed(&[]).await;
        stub.answer("/jwks", jwks(&[signer.jwk()]).with("cache-control", header));
        world.tick().await;
        world.pass(age - 1);
        world.tick().await;
        assert_eq!(stub.count("/jwks"), 1, "{header}");
        world.pass(1);
        world.tick().await;
        assert_eq!(stub.count("/jwks"), 2, "{header}");
        stub.answer("/jwks", Canned::status(500));
        world.pass(age);
        for _ in 0..3 {
            world.tick().await;
        }
        assert_eq!(stub.count("/jwks"), 3, "{header}: a failed one waits too");
        world.pass(10);
        world.tick().await;
        assert_eq!(stub.count("/jwks"), 4, "{header}: but not as long");
    }
}

#[tokio::test]
async fn keep_fresh_fetches_at_the_start_and_ends_when_dropped() {
    let signer = Signer::new("k", Algorithm::Es256);
    let (stub, world) = keyed(&[signer.jwk()]).await;
    let task = tokio::spawn(Arc::clone(&world.issuers).keep_fresh());
    until(|| world.issuers.ready()).await;
    world.pass(300);
    stub.asked("/jwks", 2).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // The tasks that it had made are gone with it: nobody but the world holds the issuers' keys.
    let source = world.issuers.sources().next().unwrap();
    until(|| Arc::strong_count(source) == 1).await;
}

/// Waits for something that other tasks bring about.
async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), met).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_gone_ends_its_tokens_in_the_cache_too() {
    let (one, two) = (Signer::new("one", Algorithm::Es256), Signer::new("two", Algorithm::Es256));
    let (stub, world) = keyed(&[one.jwk(), two.jwk()]).await;
    let token = one.token(ISS);
    assert!(world.verify(&token).await.is_ok());
    assert!(world.verify(&token).await.is_ok());
    assert!(world.metric("dpop_gate_token_cache_total{result=\"hit\"} 1"));
    stub.answer("/jwks", jwks(&[two.jwk()]));
    world.pass(10);
    assert_eq!(world.refusal(&Signer::new("x", Algorithm::Es256).token(ISS)).await, TokenError::Signature);
    assert_eq!(world.refusal(&token).await, TokenError::Signature);
    // All keys withdrawn is an answer too.
    stub.answer("/jwks", jwks(&[]));
    world.pass(10);
    assert_eq!(world.refusal(&token).await, TokenError::Signature);
    assert_eq!(world.refusal(&two.token(ISS)).await, TokenError::Signature);
    assert!(!world.issuers.ready());
}

#[tokio::test]
async fn a_cached_token_ends_with_its_exp() {
    let signer = Signer::new("k", Algorithm::Es256);
    let (_stub, world) = keyed(&[signer.jwk()]).await;
    let token = signer.token(ISS);
    assert!(world.verify(&token).await.is_ok());
    world.pass(114);
    assert!(world.verify(&token).await.is_ok());
    world.pass(1);
    assert_eq!(world.refusal(&token).await, TokenError::Expired);
}

#[tokio::test]
async fn keys_that_do_not_fit_are_not_used() {
    let signer = Signer::new("k", Algorithm::Rs256);
    let with = |name: &str, value: Value| {
        let mut jwk = signer.jwk();
        jwk[name] = value;
        jwk
    };
    for (jwk, usable) in [
        (with("use", json!("enc")), false),
        (with("use", json!(null)), false),
        (with("alg", json!("PS256")), false),
        (with("alg", json!("RSA-OAEP")), false),
        (with("key_ops", json!(["encrypt"])), false),
        (with("kid", json!("other")), false),
        (with("kid", json!(7)), false),
        (with("d", json!("AQAB")), false),
        (with("kty", json!("EC")), false),
        (with("use", json!("sig")), true),
        (with("alg", json!("RS256")), true),
        (with("key_ops", json!(["verify"])), true),
        (with("x5c", json!(["ignored"])), true),
    ] {
        // Beside it: what a set may hold and the gate does not use.
        let company = [json!("no object"), json!({"kty": "oct", "k": "AQAB", "kid": "k"}), json!({"kty": "new"})];
        let keys: Vec<Value> = company.into_iter().chain([jwk.clone()]).collect();
        let (_stub, world) = keyed(&keys).await;
        assert_eq!(world.verify(&signer.token(ISS)).await.is_ok(), usable, "{jwk}");
    }
}

#[tokio::test]
async fn a_doubled_kid_means_either_key_and_no_kid_one_of_the_first_four() {
    let signers: Vec<_> = (0..5).map(|_| Signer::new("same", Algorithm::Es256)).collect();
    let jwks: Vec<Value> = signers.iter().map(Signer::jwk).collect();
    let (_stub, world) = keyed(&jwks).await;
    for (place, signer) in signers.iter().enumerate() {
        for header in [json!({"kid": "same"}), json!({})] {
            let verified = world.verify(&signer.sign(header.clone(), &claims(ISS))).await;
            assert_eq!(verified.is_ok(), place < 4, "{place} {header}");
        }
    }
}

#[tokio::test]
async fn an_issuer_without_kids_may_rotate_too() {
    let (old, new) = (Signer::new("", Algorithm::Es256), Signer::new("", Algorithm::Es256));
    let (stub, world) = keyed(&[old.key.public().to_jwk()]).await;
    world.tick().await;
    assert!(world.verify(&old.sign(json!({}), &claims(ISS))).await.is_ok());
    stub.answer("/jwks", jwks(&[new.key.public().to_jwk()]));
    assert!(world.verify(&new.sign(json!({}), &claims(ISS))).await.is_ok());
    assert_eq!(stub.count("/jwks"), 2);
}

#[tokio::test]
async fn a_jwks_file_is_read_again() {
    let (old, new) = (Signer::new("old", Algorithm::Es256), Signer::new("new", Algorithm::Es256));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let world = World::new(vec![issuer(ISS, Source::JwksFile(path.clone()))]);
    assert_eq!(world.refusal(&old.token(ISS)).await, TokenError::IssuerUnavailable);
    std::fs::write(&path, json!({"keys": [old.jwk()]}).to_string()).unwrap();
    world.pass(10);
    assert!(world.verify(&old.token(ISS)).await.is_ok());
    std::fs::write(&path, json!({"keys": [new.jwk()]}).to_string()).unwrap();
    world.pass(10);
    assert!(world.verify(&new.token(ISS)).await.is_ok());
    assert_eq!(world.refusal(&old.token(ISS)).await, TokenError::Signature);
    std::fs::write(&path, " ".repeat(256 * 1024 + 1)).unwrap();
    world.pass(300);
    world.tick().await;
    assert!(world.verify(&new.sign(json!({"kid": "new"}), &far_claims())).await.is_ok());
}

fn far_claims() -> Value {
    json!({"iss": ISS, "aud": AUDIENCE, "exp": START + 100_000})
}

#[tokio::test]
async fn discovery_goes_to_rfc_8414_then_openid_and_believes_only_its_own_issuer() {
    let signer = Signer::new("k", Algorithm::Es256);
    let oauth = "/.well-known/oauth-authorization-server/tenant";
    let openid = "/tenant/.well-known/openid-configuration";
    for (case, first, second, expected) in [
        ("the first", Some("right"), None, None),
        ("the second", None, Some("right"), None),
        ("the first is another's", Some("wrong"), Some("right"), None),
        ("both are another's", Some("wrong"), Some("wrong"), Some(TokenError::IssuerUnavailable)),
        ("neither", None, None, Some(TokenError::IssuerUnavailable)),
        ("keys in the clear", Some("far"), Some("far"), Some(TokenError::IssuerUnavailable)),
    ] {
        let stub = Stub::start().await;
        stub.answer("/keys", jwks(&[signer.jwk()]));
        let iss = stub.url("/tenant");
        let metadata = |kind: &str| match kind {
            "right" => Canned::json(json!({"issuer": iss, "jwks_uri": stub.url("/keys")})),
            "wrong" => Canned::json(json!({"issuer": stub.url("/other"), "jwks_uri": stub.url("/keys")})),
            _ => Canned::json(json!({"issuer": iss, "jwks_uri": "http://192.0.2.1/keys"})),
        };
        for (place, kind) in [(oauth, first), (openid, second)] {
            if let Some(kind) = kind {
                stub.answer(place, metadata(kind));
            }
        }
        let world = World::new(vec![issuer(&iss, Source::Discovery)]);
        assert_eq!(world.verify(&signer.token(&iss)).await.err(), expected, "{case}");
        assert_eq!(stub.count(openid), usize::from(first != Some("right")), "{case}");
    }
}

#[tokio::test]
async fn an_opaque_token_is_asked_once_and_its_answer_kept() {
    let stub = Stub::start().await;
    let answer = json!({"active": true, "aud": [AUDIENCE], "exp": START + 100, "sub": "u", "scope": "a b"});
    stub.answer("/introspect", Canned::json(&answer));
    let world = World::new(vec![issuer(ISS, introspection(&stub))]);
    let token = "opaque+token/with=&odd~chars";
    let verified = world.verify(token).await.unwrap();
    assert_eq!(verified.scopes().collect::<Vec<_>>(), ["a", "b"]);
    assert!(world.verify(token).await.is_ok());
    let seen = stub.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].body, "token=opaque%2Btoken%2Fwith%3D%26odd~chars&token_type_hint=access_token");
    assert_eq!(seen[0].headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(seen[0].headers["accept"], "application/json");
    // gate%3A1:p%40ss%20w%25rd
    assert_eq!(seen[0].headers["authorization"], "Basic Z2F0ZSUzQTE6cCU0MHNzJTIwdyUyNXJk");
    world.pass(30);
    stub.answer("/introspect", Canned::json(json!({"active": false})));
    assert_eq!(world.refusal(token).await, TokenError::Inactive);
    assert!(world.issuers.ready());
    assert_eq!(world.issuers.status()[0].keys, None);
}

#[tokio::test]
async fn an_answer_is_never_kept_beyond_exp() {
    let stub = Stub::start().await;
    stub.answer("/introspect", Canned::json(json!({"active": true, "aud": AUDIENCE, "exp": START + 5})));
    let world = World::new(vec![issuer(ISS, introspection(&stub))]);
    assert!(world.verify("t").await.is_ok());
    world.pass(4);
    assert!(world.verify("t").await.is_ok());
    assert_eq!(stub.count("/introspect"), 1);
    world.pass(1);
    stub.answer("/introspect", Canned::json(json!({"active": false})));
    assert_eq!(world.refusal("t").await, TokenError::Inactive);
    assert_eq!(stub.count("/introspect"), 2);
}

#[tokio::test]
async fn what_the_endpoint_says_decides_between_the_client_and_us() {
    use TokenError::{Expired, Inactive, IssuerUnavailable, NotBound, UnknownIssuer, WrongAudience};
    for (canned, expected) in [
        (Canned::json(json!({"active": false})), Some(Inactive)),
        (Canned::json(json!({"active": false, "aud": AUDIENCE})), Some(Inactive)),
        (Canned::json(json!({"active": "true", "aud": AUDIENCE})), Some(IssuerUnavailable)),
        (Canned::json(json!({"active": 1, "aud": AUDIENCE})), Some(IssuerUnavailable)),
        (Canned::json(json!({"aud": AUDIENCE})), Some(IssuerUnavailable)),
        (Canned::json(r#"{"active":false,"active":true}"#), Some(IssuerUnavailable)),
        (Canned::json("[]"), Some(IssuerUnavailable)),
        (Canned::json(""), Some(IssuerUnavailable)),
        (Canned::json(json!({"active": true, "x": "x".repeat(300 * 1024)})), Some(IssuerUnavailable)),
        (Canned::status(401), Some(IssuerUnavailable)),
        (Canned::status(400), Some(IssuerUnavailable)),
        (Canned::status(404), Some(IssuerUnavailable)),
        (Canned::status(500), Some(IssuerUnavailable)),
        (Canned::status(307).with("location", "/introspect"), Some(IssuerUnavailable)),
        (Canned::json(json!({"active": true})), Some(WrongAudience)),
        (Canned::json(json!({"active": true, "aud": "api://other"})), Some(WrongAudience)),
        (Canned::json(json!({"active": true, "aud": AUDIENCE, "iss": "https://evil"})), Some(UnknownIssuer)),
        (Canned::json(json!({"active": true, "aud": AUDIENCE, "exp": 1})), Some(Expired)),
        (Canned::json(json!({"active": true, "aud": AUDIENCE, "cnf": {}})), Some(NotBound)),
        (Canned::json(json!({"active": true, "aud": AUDIENCE})), None),
        (Canned::json(json!({"active": true, "aud": AUDIENCE, "iss": ISS})), None),
    ] {
        let stub = Stub::start().await;
        let body = canned.body.chars().take(80).collect::<String>();
        let status = canned.status;
        stub.answer("/introspect", canned);
        let world = World::new(vec![issuer(ISS, introspection(&stub))]);
        assert_eq!(world.verify("t").await.err(), expected, "{status} {body}");
        // A refusal is kept for a moment, an outage is not.
        assert_eq!(world.verify("t").await.err(), expected, "{status} {body}");
        let asked = if expected == Some(IssuerUnavailable) { 2 } else { 1 };
        assert_eq!(stub.count("/introspect"), asked, "{status} {body}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_down_or_slow_is_our_fault_and_cached_answers_still_hold() {
    let stub = Stub::start().await;
    stub.answer("/introspect", Canned::json(json!({"active": true, "aud": AUDIENCE})));
    let world = World::new(vec![issuer(ISS, introspection(&stub))]);
    assert!(world.verify("t").await.is_ok());
    drop(stub);
    assert_eq!(world.refusal("other").await, TokenError::IssuerUnavailable);
    assert!(world.verify("t").await.is_ok());
    world.pass(30);
    assert_eq!(world.refusal("t").await, TokenError::IssuerUnavailable);

    let slow = Stub::holding().await;
    let Source::Introspection { url, client_id, client_secret, cache, .. } = introspection(&slow) else { panic!() };
    let timeout = Duration::from_millis(50);
    let source = Source::Introspection { url, client_id, client_secret, cache, timeout };
    let world = World::new(vec![issuer(ISS, source)]);
    assert_eq!(world.refusal("t").await, TokenError::IssuerUnavailable);
}

#[tokio::test]
async fn an_inactive_token_is_asked_again_after_a_moment() {
    let stub = Stub::start().await;
    stub.answer("/introspect", Canned::json(json!({"active": false})));
    let world = World::new(vec![issuer(ISS, introspection(&stub))]);
    for _ in 0..100 {
        assert_eq!(world.refusal("t").await, TokenError::Inactive);
    }
    assert_eq!(stub.count("/introspect"), 1);
    stub.answer("/introspect", Canned::json(json!({"active": true, "aud": AUDIENCE})));
    world.pass(5);
    assert!(world.verify("t").await.is_ok());
}

#[tokio::test]
async fn the_same_token_at_once_is_one_question() {
    let stub = Stub::holding().await;
    stub.answer("/introspect", Canned::json(json!({"active": true, "aud": AUDIENCE})));
    let world = Arc::new(World::new(vec![issuer(ISS, introspection(&stub))]));
    let verify = |token: &'static str| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.verify(token).await.is_ok() })
    };
    let first = verify("t");
    stub.asked("/introspect", 1).await;
    let mut others: Vec<_> = (0..20).map(|_| verify("t")).collect();
    others.push(verify("another"));
    stub.asked("/introspect", 2).await;
    // The one who asked goes away; the others still get the answer.
    first.abort();
    stub.release();
    for other in others {
        assert!(other.await.unwrap());
    }
    assert_eq!(stub.count("/introspect"), 2);
}

#[tokio::test]
async fn who_is_asked_depends_on_what_the_token_looks_like() {
    let signer = Signer::new("k", Algorithm::Es256);
    let (one, two) = (Stub::start().await, Stub::start().await);
    one.answer("/jwks", jwks(&[signer.jwk()]));
    one.answer("/introspect", Canned::json(json!({"active": false})));
    two.answer("/introspect", Canned::json(json!({"active": true, "aud": AUDIENCE})));
    let keyed = issuer(ISS, Source::JwksUri(one.uri("/jwks")));
    let first = issuer("https://one.example.com", introspection(&one));
    let second = issuer("https://two.example.com", introspection(&two));

    let world = World::new(vec![keyed.clone(), first.clone(), second.clone()]);
    assert!(world.verify("opaque").await.is_ok());
    assert_eq!((one.count("/introspect"), two.count("/introspect")), (1, 1));
    assert!(world.verify(&signer.token(ISS)).await.is_ok());
    assert_eq!((one.count("/introspect"), two.count("/introspect")), (1, 1));
    assert!(world.verify(&signer.token("https://two.example.com")).await.is_ok());
    assert_eq!((one.count("/introspect"), two.count("/introspect")), (1, 2));
    assert_eq!(world.refusal(&signer.token("https://x.example.com")).await, TokenError::UnknownIssuer);
    assert_eq!((one.count("/introspect"), two.count("/introspect")), (1, 2));

    let world = World::new(vec![first.clone(), second]);
    assert!(world.verify(&signer.token("https://x.example.com")).await.is_ok());
    // One says no, the other cannot be asked: nobody knows.
    drop(two);
    assert_eq!(world.refusal("opaque").await, TokenError::IssuerUnavailable);
    let world = World::new(vec![first]);
    assert_eq!(world.refusal("opaque").await, TokenError::Inactive);
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_an_issuer_that_is_down() {
    let signer = Signer::new("k", Algorithm::Es256);
    let (stub, mut world) = keyed(&[signer.jwk()]).await;
    let options = issuer(ISS, Source::JwksUri(stub.uri("/jwks")));
    let token = signer.token(ISS);
    assert!(world.verify(&token).await.is_ok());
    drop(stub);
    world.reload(vec![options.clone()]);
    assert!(world.verify(&token).await.is_ok());
    assert!(world.metric("dpop_gate_token_cache_total{result=\"hit\"} 1"));
    // Another audience: the keys stay, what the old rules let in does not.
    let narrowed = IssuerOptions { audiences: vec!["api://other".into()], ..options.clone() };
    world.reload(vec![narrowed]);
    assert_eq!(world.refusal(&token).await, TokenError::WrongAudience);
    // Another source: other keys.
    let source = Source::JwksUri("http://127.0.0.1:1/jwks".parse().unwrap());
    world.reload(vec![IssuerOptions { source, ..options }]);
    assert_eq!(world.refusal(&token).await, TokenError::IssuerUnavailable);
    assert!(!world.issuers.ready());
}

#[test]
fn a_jwks_is_checked_before_it_is_used() {
    let signer = Signer::new("k", Algorithm::Es256);
    let private: Value = serde_json::from_str(&signer.key.to_jwk_json()).unwrap();
    let symmetric = json!({"kty": "oct", "k": "AQAB"});
    for (document, usable) in [
        (json!({"keys": [signer.jwk()]}), Some(1)),
        (json!({"keys": [signer.jwk(), symmetric, {"kty": "new"}, signer.jwk()]}), Some(2)),
        (json!({"keys": [signer.jwk(), private]}), None),
        (json!({"keys": [symmetric]}), None),
        (json!({"keys": []}), None),
        (json!({"keys": {}}), None),
        (signer.jwk(), None),
        (json!([]), None),
    ] {
        assert_eq!(check_jwks(document.to_string().as_bytes()).ok(), usable, "{document}");
    }
    assert!(check_jwks(b"{\"keys\":[],\"keys\":[]}").is_err());
    assert!(check_jwks(b"").is_err());
}

#[test]
fn nothing_secret_prints() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stub = runtime.block_on(Stub::start());
    let options = issuer(ISS, introspection(&stub));
    let header = introspection::basic("gate", &Secret::new(b"s3cret".to_vec()));
    let text = format!("{options:?} {:?} {header:?}", World::new(vec![options.clone()]).issuers);
    assert!(text.contains(ISS));
    assert!(!text.contains("p@ss") && !text.contains("s3cret") && !text.contains("Basic"), "{text}");
}

proptest! {
    #[test]
    fn a_key_set_never_panics(json in "\\PC{0,60}|[{]\"keys\":\\[[{]\"kty\":\"(EC|RSA|OKP)\",\"(x|n|d|crv)\":\"[a-zA-Z0-9]{0,9}\"[}]\\][}]") {
        prop_assert!(check_jwks(json.as_bytes()).is_err());
    }

    #[test]
    fn a_text_is_a_jwt_or_opaque(token in "[A-Za-z0-9._~+/=-]{0,80}|eyJ[A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,20}\\.[A-Za-z0-9_-]{0,8}") {
        if let Some(jwt) = Jwt::parse(&token) {
            prop_assert_eq!(token.matches('.').count(), 2);
            prop_assert_eq!(jwt.issuer(), None, "so short a payload names nobody");
        }
    }
}
