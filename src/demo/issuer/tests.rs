#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::jose::{Compact, PublicKey, StrictValue};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const GRANT: &str = "grant_type=client_credentials";
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn issuer() -> Issuer {
    let clock = Clock::Manual(std::sync::Arc::new(NOW.as_micros().into()));
    Issuer::new("http://127.0.0.1:4000".into(), "api://orders", clock).unwrap()
}

fn basic_header(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn post(headers: &[(&str, &str)], body: &str) -> Request<Bytes> {
    let mut request = Request::post("/token");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn body(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[test]
fn every_refusal_has_the_error_that_rfc_6749_names() {
    let issuer = issuer();
    let key = Thumbprint::from_bytes([7; 32]).to_string();
    let jkt = ("x-auth-jkt", key.as_str());
    let (good, wrong, other) = (
        basic_header("demo-client", &issuer.client.secret),
        basic_header("demo-client", "guess"),
        basic_header("other", &issuer.client.secret),
    );
    let (good, wrong, other) =
        (("authorization", good.as_str()), ("authorization", wrong.as_str()), ("authorization", other.as_str()));
    let twice = format!("{GRANT}&client_id=demo-client&client_secret={}", issuer.client.secret);
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, u16, &'a str);
    let rows: &[Row<'_>] = &[
        (&[good, jkt], GRANT, 400, "invalid_request"),
        (&[good, jkt, ("content-type", "application/json")], "{}", 400, "invalid_request"),
        (&[good, jkt, FORM], "", 400, "invalid_request"),
        (&[good, jkt, FORM], "grant_type=client_credentials&grant_type=password", 400, "invalid_request"),
        (&[good, jkt, FORM], &twice, 400, "invalid_request"),
        (&[good, good, jkt, FORM], GRANT, 400, "invalid_request"),
        (&[good, jkt, FORM], "grant_type=password", 400, "unsupported_grant_type"),
        (&[good, jkt, FORM], "grant_type=client_credentials&scope=admin", 400, "invalid_scope"),
        (&[good, jkt, FORM], "grant_type=client_credentials&scope=orders.read++orders.write", 400, "invalid_scope"),
        (&[jkt, FORM], GRANT, 401, "invalid_client"),
        (&[wrong, jkt, FORM], GRANT, 401, "invalid_client"),
        (&[other, jkt, FORM], GRANT, 401, "invalid_client"),
        (&[("authorization", "Bearer abc"), jkt, FORM], GRANT, 401, "invalid_client"),
        (&[("authorization", "Basic %%%"), jkt, FORM], GRANT, 401, "invalid_client"),
        (&[good, FORM], GRANT, 400, "invalid_dpop_proof"),
        (&[good, FORM, ("x-auth-jkt", "short")], GRANT, 400, "invalid_dpop_proof"),
        (&[good, FORM, jkt, jkt], GRANT, 400, "invalid_dpop_proof"),
    ];
    for (headers, form, status, error) in rows {
        let response = issuer.answer(post(headers, form));
        assert_eq!(response.status(), *status, "{headers:?} {form}");
        assert_eq!(body(&response)["error"], *error, "{headers:?} {form}");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(response.headers().contains_key(WWW_AUTHENTICATE), *status == 401);
        assert!(!String::from_utf8_lossy(response.body()).contains(&issuer.client.secret));
    }
}

#[test]
fn a_token_is_bound_to_the_key_whose_proof_was_checked() {
    let issuer = issuer();
    let key = Thumbprint::from_bytes([7; 32]).to_string();
    let basic = basic_header("demo-client", &issuer.client.secret);
    let by_basic = [FORM, ("x-auth-jkt", key.as_str()), ("authorization", basic.as_str())];
    let by_form = format!("{GRANT}&client_id=demo-client&client_secret={}", issuer.client.secret);
    for (request, scope) in [
        (post(&by_basic, "grant_type=client_credentials&scope=orders.read"), "orders.read"),
        (post(&by_basic[..2], &by_form), "orders.read orders.write"),
    ] {
        let response = issuer.answer(request);
        assert_eq!(response.status(), 200);
        let granted = body(&response);
        assert_eq!(granted["token_type"], "DPoP");
        assert_eq!(granted["expires_in"], 300);
        let (header, claims) = verified(&issuer, granted["access_token"].as_str().unwrap());
        assert_eq!(header["typ"], "at+jwt");
        assert_eq!(claims["cnf"], json!({"jkt": key}));
        assert_eq!(claims["iss"], "http://127.0.0.1:4000");
        assert_eq!(claims["aud"], "api://orders");
        assert_eq!(claims["client_id"], "demo-client");
        assert_eq!(claims["scope"], scope);
        assert_eq!(claims["iat"], NOW.as_secs());
        assert_eq!(claims["exp"], NOW.as_secs() + 300);
    }
}

/// Header and claims of a token whose signature one of the published keys made.
fn verified(issuer: &Issuer, token: &str) -> (Value, Value) {
    let published = issuer.answer(Request::get("/jwks").body(Bytes::new()).unwrap());
    let mut jwk = body(&published)["keys"][0].clone();
    let kid = jwk["kid"].take();
    let jwk = StrictValue::parse(jwk.to_string().as_bytes()).unwrap();
    let compact = Compact::parse(token, 4096).unwrap();
    let header: Value = serde_json::from_slice(&compact.header).unwrap();
    assert_eq!(header["kid"], kid);
    assert_eq!(header["alg"], "ES256");
    let key = PublicKey::from_jwk(&jwk).unwrap();
    assert!(key.verify(Algorithm::Es256, compact.signing_input, &compact.signature));
    (header, serde_json::from_slice(&compact.payload).unwrap())
}

#[test]
fn metadata_names_the_gates_token_endpoint_and_our_keys() {
    let issuer = issuer();
    issuer.announce("http://127.0.0.1:8080/token".into());
    let request = Request::get("/.well-known/oauth-authorization-server").body(Bytes::new()).unwrap();
    let metadata = body(&issuer.answer(request));
    assert_eq!(metadata["issuer"], "http://127.0.0.1:4000");
    assert_eq!(metadata["token_endpoint"], "http://127.0.0.1:8080/token");
    assert_eq!(metadata["jwks_uri"], "http://127.0.0.1:4000/jwks");
    assert_eq!(metadata["dpop_signing_alg_values_supported"][0], "ES256");
}

#[test]
fn only_what_there_is_answers() {
    let issuer = issuer();
    for (method, path, status, allow) in
        [("GET", "/token", 405, Some("POST")), ("POST", "/jwks", 405, Some("GET")), ("GET", "/authorize", 404, None)]
    {
        let request = Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        let response = issuer.answer(request);
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers().get(ALLOW).map(|value| value.to_str().unwrap()), allow);
    }
}
