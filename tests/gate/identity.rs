//! What an upstream is told of who calls, and that nobody else can tell it.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};

use super::harness::{Key, World, now};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verified_caller_is_announced_and_its_credentials_stay_behind() {
    let world = World::start().await;
    let client = world.client().await;
    let call = client.post("/orders/1?state=open&x=%2F", "an order").header("content-type", "text/plain");
    let answer = call.header("accept", "application/json").send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("dpop-nonce"), None, "a nonce before its half-life");

    let seen = world.upstream.last();
    assert_eq!((seen.method.as_str(), seen.uri.as_str(), seen.body_bytes), ("POST", "/orders/1?state=open&x=%2F", 8));
    for (name, expected) in [
        ("x-auth-issuer", Some(world.issuer.url().as_str())),
        ("x-auth-subject", Some("alice")),
        ("x-auth-client-id", Some("shop")),
        ("x-auth-scope", Some("orders.read orders.write")),
        ("x-auth-jkt", Some(client.key.thumbprint().as_str())),
        ("authorization", None),
        ("dpop", None),
        ("content-type", Some("text/plain")),
        ("accept", Some("application/json")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some(world.gate.address().to_string().as_str())),
        ("host", Some(world.gate.address().to_string().as_str())),
    ] {
        assert_eq!(seen.header(name), expected, "{name} in {seen:?}");
    }
    assert!(seen.header("x-request-id").is_some_and(|id| id.len() >= 8), "{seen:?}");
    let traceparent = seen.header("traceparent").unwrap();
    assert!(traceparent.starts_with("00-") && traceparent.len() == 55, "{traceparent}");
    assert!(seen.header("forwarded").is_some(), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identity_headers_of_a_client_are_removed_in_every_spelling_on_every_route() {
    let world = World::prepared(
        |settings| {
            settings["routes"] = json!([
                {"match": {"path": "/orders/"}, "upstream": "orders"},
                {"match": {"path": "/mixed/"}, "upstream": "orders", "auth": "dpop_or_bearer"},
                {"match": {"path": "/public/"}, "upstream": "orders", "auth": "public"},
                {"match": {"path": "/trial/"}, "upstream": "orders", "mode": "report"},
                {"match": {"path": "/token"}, "upstream": "orders", "auth": "token_endpoint"},
            ]);
            settings["identity"] = json!({"assertion": {"header": "X-Auth-Assertion", "key_file": "assertion.jwk"}});
        },
        |gates| {
            gates.write("assertion.jwk", &Key::es256().private_jwk().to_string());
            gates
        },
    )
    .await;
    let client = world.client().await;
    let spellings = [
        "X-Auth-Subject",
        "x-auth-subject",
        "X-AUTH-SUBJECT",
        "X_Auth_Subject",
        "x_auth-subject",
        "X.Auth.Subject",
        "x-auth.subject",
        "x~auth~subject",
        "x!auth_subject",
        "X-Auth-Scope",
        "x_auth_jkt",
        "x.auth.client.id",
        "X-Auth-Client_Id",
        "x_auth_issuer",
        "X-Auth-Assertion",
        "x_auth_assertion",
    ];
    for path in ["/orders/1", "/mixed/1", "/public/1", "/trial/1", "/token"] {
        let mut call = match path {
            "/token" => client.post(path, "grant_type=x").authorization(&[]).proof(|proof| proof.without("ath")),
            "/trial/1" => client.get(path).authorization(&[]).proofs(&[]),
            "/mixed/1" => {
                let token = world.issuer.token(&client.key).without("cnf").compact();
                client.get(path).token(token).bearer()
            }
            _ => client.get(path),
        };
        for spelling in spellings {
            call = call.header(spelling, "mallory");
        }
        let answer = call.send().await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let seen = world.upstream.last();
        for (name, value) in &seen.headers {
            assert_ne!(value, "mallory", "{path}: {name} came through");
        }
        let known = matches!(path, "/orders/1" | "/mixed/1");
        assert_eq!(seen.header("x-auth-subject"), known.then_some("alice"), "{path}");
        if path != "/token" {
            assert_eq!(seen.header("x-auth-assertion").is_some(), known, "{path}");
        }
    }
}

/// Hop-by-hop removal takes what `Connection` names: of the client's headers, never of the gate's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_cannot_name_an_identity_header_away() {
    let world = World::start().await;
    let client = world.client().await;
    let call = client.get("/orders/1").header("connection", "X-Auth-Subject, x-auth-jkt, X-Hop, authorization, dpop");
    let call = call.header("x-hop", "1").header("te", "trailers").header("proxy-authorization", "Basic eA==");
    let answer = call.header("keep-alive", "timeout=5").send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = world.upstream.last();
    assert_eq!(seen.header("x-auth-subject"), Some("alice"));
    assert_eq!(seen.header("x-auth-jkt"), Some(client.key.thumbprint().as_str()));
    for gone in ["x-hop", "proxy-authorization", "keep-alive", "authorization", "dpop"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_become_safe_header_values() {
    let world = World::with(|settings| {
        settings["identity"]["headers"] = json!({
            "X-User": "sub", "X-Level": "level", "X-Staff": "staff", "X-Groups": "groups", "X-Scopes": "scope",
            "X-City": "address.city", "X-Dotted": "https://claims.example/tenant", "X-Null": "nothing",
        });
    })
    .await;
    let client = world.client().await;
    for (claim, value, header, expected) in [
        ("sub", json!("José\r\nX-Evil: 1"), "x-user", Some("Jos%C3%A9%0D%0AX-Evil: 1")),
        ("sub", json!("100%"), "x-user", Some("100%25")),
        ("sub", json!("tab\there"), "x-user", Some("tab%09here")),
        ("sub", json!("DEL\u{7f}"), "x-user", Some("DEL%7F")),
        ("level", json!(3), "x-level", Some("3")),
        ("staff", json!(true), "x-staff", Some("true")),
        ("groups", json!(["a", "b,c"]), "x-groups", Some("a,b%2Cc")),
        ("scope", json!(["orders.read", "orders.write"]), "x-scopes", Some("orders.read orders.write")),
        ("address", json!({"city": "Genève"}), "x-city", Some("Gen%C3%A8ve")),
        ("https://claims.example/tenant", json!("acme"), "x-dotted", Some("acme")),
        ("other", json!("x"), "x-null", None),
        ("other", json!("x"), "x-level", None),
    ] {
        let token = world.issuer.token(&client.key).claim(claim, value.clone()).compact();
        let answer = client.get("/orders/1").token(token).send().await;
        assert_eq!(answer.status, 200, "{claim}: {value}: {answer:?}");
        let seen = world.upstream.last();
        assert_eq!(seen.header(header), expected, "{claim}: {value}");
        assert_eq!(seen.header("x-evil"), None);
        assert_eq!(seen.header("x-auth-subject"), None, "the default set was replaced");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_go_upstream_only_as_the_operator_says() {
    for (setting, authorization, proof) in
        [(json!(false), None, false), (json!(true), Some("DPoP"), true), (json!("bearer"), Some("Bearer"), false)]
    {
        let world = World::with(|settings| settings["identity"]["forward_token"] = setting.clone()).await;
        let client = world.client().await;
        assert_eq!(client.get("/orders/1").send().await.status, 200);
        let seen = world.upstream.last();
        let expected = authorization.map(|scheme| format!("{scheme} {}", client.token));
        assert_eq!(seen.header("authorization"), expected.as_deref(), "{setting}");
        assert_eq!(seen.header("dpop").is_some(), proof, "{setting}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_route_passes_authorization_and_tells_no_identity() {
    let world = World::with(|settings| settings["routes"][0]["auth"] = json!("public")).await;
    let client = world.stranger();
    let answer = client.get("/orders/1").authorization(&["Basic c2hvcDpzZWNyZXQ="]).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = world.upstream.last();
    assert_eq!(seen.header("authorization"), Some("Basic c2hvcDpzZWNyZXQ="));
    assert_eq!(seen.header("x-auth-jkt"), None, "nothing was verified");
}

/// A claim of that very name is the issuer's word about something; whose key it is, the proof says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jkt_that_goes_upstream_is_the_key_that_was_proved() {
    let world = World::with(|settings| settings["routes"][0]["auth"] = json!("dpop_or_bearer")).await;
    let client = world.client().await;
    let token = || world.issuer.token(&client.key).claim("cnf.jkt", "the key of somebody else");
    let answer = client.get("/orders/1").token(token().compact()).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(world.upstream.last().header("x-auth-jkt"), Some(client.key.thumbprint().as_str()));
    let answer = client.get("/orders/1").token(token().without("cnf").compact()).bearer().send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(world.upstream.last().header("x-auth-jkt"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_assertion_can_be_verified_with_the_published_key() {
    let key = Key::es256();
    let private = key.private_jwk().to_string();
    let world = World::prepared(
        |settings| {
            settings["identity"]["headers"] = json!({
                "X-User": "sub", "X-Jkt": "cnf.jkt", "X-City": "address.city", "X-Country": "address.country",
                "X-Tenant": "https://claims.example/tenant", "X-None": "https://claims.example/none",
            });
            settings["identity"]["assertion"] =
                json!({"header": "X-Auth-Assertion", "key_file": "assertion.jwk", "lifetime": "30s"});
        },
        |gates| {
            gates.write("assertion.jwk", &private);
            gates
        },
    )
    .await;
    let client = world.client().await;
    let token = world.issuer.token(&client.key).claim("https://claims.example/tenant", "acme");
    let token = token.claim("address", json!({"city": "Bern", "country": "CH", "street": "x"})).compact();
    assert_eq!(client.get("/orders/1").token(token).send().await.status, 200);
    let assertion = world.upstream.last().header("x-auth-assertion").unwrap().to_owned();

    let published = client.get("/.well-known/dpop-gate/jwks.json").authorization(&[]).proofs(&[]).send().await.json();
    let jwk = &published["keys"][0];
    assert_eq!((&jwk["x"], &jwk["y"], jwk.get("d")), (&key.jwk()["x"], &key.jwk()["y"], None), "{published}");
    let (input, signature) = assertion.rsplit_once('.').unwrap();
    let decode = |text: &Value| BASE64URL.decode(text.as_str().unwrap()).unwrap();
    let point = [vec![4], decode(&jwk["x"]), decode(&jwk["y"])].concat();
    let signature = BASE64URL.decode(signature).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(input.as_bytes(), &signature).unwrap();

    let (header, claims) = input.split_once('.').unwrap();
    let part = |text: &str| serde_json::from_slice::<Value>(&BASE64URL.decode(text).unwrap()).unwrap();
    let (header, claims) = (part(header), part(claims));
    assert_eq!(header["alg"], "ES256");
    assert_eq!(header["kid"], jwk["kid"], "{header} {jwk}");
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("alice"), &json!("orders")), "{claims}");
    assert_eq!(claims["https://claims.example/tenant"], "acme", "a name with dots is one name: {claims}");
    assert_eq!(claims["address"], json!({"city": "Bern", "country": "CH"}), "{claims}");
    assert_eq!(claims["cnf"]["jkt"], json!(client.key.thumbprint()), "{claims}");
    // No other: neither one that the token lacks, nor the first part of a name that has dots.
    let mut names: Vec<&str> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = ["address", "aud", "cnf", "exp", "https://claims.example/tenant", "iat", "jti", "sub"];
    assert_eq!(names, expected, "{claims}");
    let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert_eq!(expires - issued, 30, "{claims}");
    assert!(issued.abs_diff(now()) <= 5, "{claims}");
}
