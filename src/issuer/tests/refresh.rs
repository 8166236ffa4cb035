//! When keys are fetched, where from, and what becomes of those that are gone.

use serde_json::json;

use super::*;

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

/// Whoever takes a key out and reloads expects it to be gone.
#[tokio::test]
async fn a_reload_fetches_keys_at_once() {
    let (old, new) = (Signer::new("old", Algorithm::Es256), Signer::new("new", Algorithm::Es256));
    let (stub, mut world) = keyed(&[old.jwk()]).await;
    world.tick().await;
    assert!(world.verify(&old.token(ISS)).await.is_ok());
    stub.answer("/jwks", jwks(&[new.jwk()]));
    world.tick().await;
    assert!(world.verify(&old.token(ISS)).await.is_ok(), "not due yet");
    world.reload(vec![issuer(ISS, Source::JwksUri(stub.uri("/jwks")))]);
    world.tick().await;
    assert_eq!(world.refusal(&old.token(ISS)).await, TokenError::Signature);
    assert!(world.verify(&new.token(ISS)).await.is_ok());
}

/// The set that a fetch brings which began before the reload may be the one from which the key was taken.
#[tokio::test]
async fn a_fetch_that_runs_when_a_reload_comes_is_not_the_last_word() {
    let (old, new) = (Signer::new("old", Algorithm::Es256), Signer::new("new", Algorithm::Es256));
    let (stub, mut world) = keyed(&[old.jwk()]).await;
    world.tick().await;
    stub.hold();
    let unknown = {
        let (issuers, token, now) = (Arc::clone(&world.issuers), AccessToken::new(&new.token(ISS)), world.now());
        tokio::spawn(async move { issuers.verify(&token, &token.digest(), now, SKEW).await.is_ok() })
    };
    stub.asked("/jwks", 2).await;
    world.reload(vec![issuer(ISS, Source::JwksUri(stub.uri("/jwks")))]);
    stub.release();
    assert!(!unknown.await.unwrap());
    stub.answer("/jwks", jwks(&[new.jwk()]));
    world.tick().await;
    assert_eq!(stub.count("/jwks"), 3);
    assert_eq!(world.refusal(&old.token(ISS)).await, TokenError::Signature);
    world.tick().await;
    assert_eq!(stub.count("/jwks"), 3, "and then it is");
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
