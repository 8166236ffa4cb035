//! Which keys verify which tokens.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn every_algorithm_verifies_and_each_key_only_its_own() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new("k", algorithm);
        let (_stub, world) = keyed(&[signer.jwk()]).await;
        let token = signer.token(ISS);
        assert_eq!(
            world.verify(&token).await.unwrap().claim("sub").map(crate::token::Claim::value),
            Some(json!("u")),
            "{algorithm}"
        );
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

/// RFC 7515 section 4.1.4: `kid` is a hint, and a key may do without.
#[tokio::test]
async fn a_token_that_names_its_key_may_be_of_one_without_a_name() {
    let (named, nameless) = (Signer::new("named", Algorithm::Es256), Signer::new("x", Algorithm::Es256));
    let mut bare = nameless.jwk();
    bare.as_object_mut().unwrap().remove("kid");
    let (stub, world) = keyed(&[named.jwk(), bare]).await;
    world.tick().await;
    assert!(world.verify(&nameless.token(ISS)).await.is_ok(), "a name that no key has");
    assert_eq!(stub.count("/jwks"), 1);
    let lying = nameless.sign(json!({"typ": "at+jwt", "kid": "named"}), &claims(ISS));
    assert_eq!(world.refusal(&lying).await, TokenError::Signature, "a name that another key has");
    let stranger = Signer::new("y", Algorithm::Es256);
    assert_eq!(world.refusal(&stranger.token(ISS)).await, TokenError::Signature);
    assert_eq!(stub.count("/jwks"), 2, "a newer set may have it");
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
