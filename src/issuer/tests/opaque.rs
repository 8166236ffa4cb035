//! Opaque tokens.

use serde_json::json;

use super::*;

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
    let world = World::new(vec![issuer(ISS, introspection_within(&slow, Duration::from_millis(50)))]);
    assert_eq!(world.refusal("t").await, TokenError::IssuerUnavailable);
}

#[tokio::test]
async fn a_kept_connection_that_nobody_is_at_the_end_of_is_no_outage() {
    let stub = Stub::start().await;
    stub.answer("/introspect", Canned::json(json!({"active": true, "aud": AUDIENCE})));
    let world = World::new(vec![issuer(ISS, introspection_within(&stub, Duration::from_secs(2)))]);
    assert!(world.verify("first").await.is_ok());
    stub.forget_connections();
    // Half of the time is for the kept one, the other half for a new one.
    assert!(world.verify("second").await.is_ok());
    assert_eq!(stub.lost(), 1);
    // One that was idle for long is not tried at all.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(15)).await;
    tokio::time::resume();
    assert!(world.verify("third").await.is_ok());
    assert_eq!((stub.count("/introspect"), stub.lost()), (3, 1));
}

/// The kept connection goes on being waited for, and a new one is asked beside it.
#[tokio::test]
async fn an_endpoint_that_takes_more_than_half_of_its_time_still_answers() {
    let stub = Stub::start().await;
    stub.answer("/introspect", Canned::json(json!({"active": true, "aud": AUDIENCE})));
    let world = Arc::new(World::new(vec![issuer(ISS, introspection_within(&stub, Duration::from_secs(2)))]));
    assert!(world.verify("first").await.is_ok());
    stub.hold();
    let slow = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.verify("second").await.is_ok() })
    };
    stub.asked("/introspect", 3).await;
    stub.release();
    assert!(slow.await.unwrap());
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_no_answer_last_longer() {
    let stub = Stub::start().await;
    let world = World::new(vec![issuer(ISS, introspection(&stub))]);
    stub.answer("/introspect", Canned::json(json!({"active": true, "aud": AUDIENCE})));
    assert!(world.verify("opaque").await.is_ok());
    stub.answer("/introspect", Canned::json(json!({"active": false})));
    assert_eq!(world.refusal("another").await, TokenError::Inactive);
    world.micros.fetch_sub(600 * 1_000_000, Ordering::SeqCst);
    assert_eq!(world.refusal("opaque").await, TokenError::Inactive, "revoked meanwhile");
    stub.answer("/introspect", Canned::json(json!({"active": true, "aud": AUDIENCE})));
    assert!(world.verify("another").await.is_ok());
}

#[tokio::test]
async fn whether_somebody_must_be_asked_is_known_before() {
    let signer = Signer::new("k", Algorithm::Es256);
    let (stub, keyed) = keyed(&[signer.jwk()]).await;
    assert!(!keyed.must_ask("opaque"), "there is nobody to ask");
    stub.answer("/introspect", Canned::json(json!({"active": true, "aud": AUDIENCE})));
    let world = World::new(vec![
        issuer(ISS, Source::JwksUri(stub.uri("/jwks"))),
        issuer("https://opaque.example.com", introspection(&stub)),
    ]);
    for (token, asked) in [
        ("opaque", true),
        (&signer.token(ISS), false),
        (&signer.token("https://opaque.example.com"), true),
        (&signer.token("https://nobody.example.com"), false),
    ] {
        assert_eq!(world.must_ask(token), asked, "{token}");
    }
    assert!(world.verify("opaque").await.is_ok());
    assert!(!world.must_ask("opaque"), "the answer is kept");
}

/// Two issuers share a server, which names the right one whoever is asked.
#[tokio::test]
async fn an_answer_about_another_issuers_token_is_not_the_last_word() {
    let stub = Stub::start().await;
    let two = "https://two.example.com";
    let world = World::new(vec![issuer(ISS, introspection(&stub)), issuer(two, introspection(&stub))]);
    stub.answer("/introspect", Canned::json(json!({"active": true, "aud": AUDIENCE, "iss": two})));
    assert_eq!(world.verify("opaque").await.unwrap().claim("iss").unwrap().value(), two);
    stub.answer(
        "/introspect",
        Canned::json(json!({"active": true, "aud": AUDIENCE, "iss": "https://three.example.com"})),
    );
    assert_eq!(world.refusal("foreign").await, TokenError::UnknownIssuer);
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
