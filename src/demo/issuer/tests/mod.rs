#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod codes;
mod credentials;
mod introspection;
mod refresh;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::engine::general_purpose::STANDARD;
use http::header::{ALLOW, LOCATION, WWW_AUTHENTICATE};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::clock::Timestamp;
use crate::jose::{Compact, PublicKey, StrictValue, Thumbprint};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const ORIGIN: &str = "http://127.0.0.1:8080";
const CALLBACK: &str = "http://127.0.0.1:8080/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// The server, its time, and what clients do with it.
struct World {
    issuer: Issuer,
    time: Arc<AtomicU64>,
    secret: String,
}

/// Two keys that were proved at the gate.
fn key(number: u8) -> String {
    Thumbprint::from_bytes([number; 32]).to_string()
}

impl World {
    fn new() -> Self {
        let time = Arc::new(AtomicU64::new(NOW.as_micros()));
        let issuer = Issuer::new(IssuerOptions {
            origin: ORIGIN.into(),
            audience: "api://orders",
            redirect_uris: vec![CALLBACK.into(), "http://localhost:8080/callback?from=server".into()],
            clock: Clock::Manual(Arc::clone(&time)),
        })
        .unwrap();
        let secret = issuer.clients().confidential.secret.clone().unwrap();
        Self { issuer, time, secret }
    }

    fn pass(&self, seconds: u64) {
        self.time.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    fn get(&self, uri: &str) -> Response<Bytes> {
        self.issuer.answer(Request::get(uri).body(Bytes::new()).unwrap())
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.issuer.answer(request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap())
    }

    /// A form, as the gate sends it on.
    fn form(&self, path: &str, jkt: &str, form: &str) -> Response<Bytes> {
        self.post(path, &[("content-type", "application/x-www-form-urlencoded"), ("x-auth-jkt", jkt)], form)
    }

    /// The same by the client that has a secret.
    fn confidential(&self, path: &str, jkt: &str, form: &str) -> Response<Bytes> {
        self.form(path, jkt, &format!("{form}&client_id=demo-client&client_secret={}", self.secret))
    }

    /// The user opens the page and clicks.
    fn decide(&self, query: &str, decision: &str) -> Response<Bytes> {
        let page = self.get(&format!("/authorize?{query}"));
        assert_eq!(page.status(), 200, "{query}: {page:?}");
        let page = String::from_utf8(page.body().to_vec()).unwrap();
        let request = page.split("name=\"request\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        self.form("/authorize", "", &format!("request={request}&decision={decision}"))
    }

    /// A code of the public client, with what else the request said.
    fn code(&self, more: &str) -> String {
        let back = sent_back(&self.decide(&format!("{}{more}", request_of("demo-app")), "approve"));
        back.get("code").unwrap().to_owned()
    }

    fn redeem(&self, code: &str, jkt: &str) -> Response<Bytes> {
        self.form("/token", jkt, &redemption("demo-app", code))
    }

    fn introspected(&self, token: &str) -> Value {
        let answer = self.confidential("/introspect", "", &format!("token={token}"));
        assert_eq!(answer.status(), 200);
        body(&answer)
    }

    /// Header and claims of a token whose signature one of the published keys made.
    fn verified(&self, token: &str) -> (Value, Value) {
        let mut jwk = body(&self.get("/jwks"))["keys"][0].clone();
        let kid = jwk["kid"].take();
        let jwk = StrictValue::parse(jwk.to_string().as_bytes()).unwrap();
        let compact = Compact::parse(token, 4096).unwrap();
        let header: Value = serde_json::from_slice(compact.header()).unwrap();
        assert_eq!(header["kid"], kid);
        assert_eq!(header["alg"], "ES256");
        let key = PublicKey::from_jwk(&jwk).unwrap();
        assert!(key.verify(Algorithm::Es256, compact.signing_input(), compact.signature()));
        (header, serde_json::from_slice(compact.payload()).unwrap())
    }
}

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))
}

/// A good authorization request.
fn request_of(client: &str) -> String {
    format!(
        "client_id={client}&response_type=code&redirect_uri={CALLBACK}&state=a%20b&scope=orders.read\
         &code_challenge={}&code_challenge_method=S256",
        challenge()
    )
}

/// What a client sends for a code.
fn redemption(client: &str, code: &str) -> String {
    format!(
        "grant_type=authorization_code&client_id={client}&code={code}&redirect_uri={CALLBACK}&code_verifier={VERIFIER}"
    )
}

/// The parameters that a client is sent back with.
fn sent_back(answer: &Response<Bytes>) -> form::Form {
    assert_eq!(answer.status(), 303, "{answer:?}");
    let location = answer.headers()[LOCATION].to_str().unwrap();
    form::Form::parse(location.split_once('?').unwrap().1.as_bytes()).unwrap()
}

fn body(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

/// Status and `error`.
fn refused(answer: &Response<Bytes>) -> (u16, String) {
    let document = body(answer);
    assert!(document["error_description"].is_string(), "{document}");
    (answer.status().as_u16(), document["error"].as_str().unwrap().to_owned())
}

#[test]
fn metadata_names_what_there_is_at_the_gates_origin() {
    let world = World::new();
    let metadata = body(&world.get("/.well-known/oauth-authorization-server"));
    assert_eq!(metadata["issuer"], ORIGIN);
    for (member, path) in [
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("jwks_uri", "/jwks"),
        ("introspection_endpoint", "/introspect"),
        ("revocation_endpoint", "/revoke"),
    ] {
        assert_eq!(metadata[member], format!("{ORIGIN}{path}"), "{member}");
        assert_ne!(world.get(path).status(), 404, "{path}");
    }
    assert_eq!(metadata["code_challenge_methods_supported"], serde_json::json!(["S256"]));
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    assert_eq!(metadata["dpop_signing_alg_values_supported"][0], "ES256");
}

#[test]
fn only_what_there_is_answers() {
    let world = World::new();
    for (method, path, status, allow) in [
        ("GET", "/token", 405, Some("POST")),
        ("GET", "/introspect", 405, Some("POST")),
        ("DELETE", "/revoke", 405, Some("POST")),
        ("POST", "/jwks", 405, Some("GET, HEAD")),
        ("HEAD", "/jwks", 200, None),
        ("PUT", "/authorize", 405, Some("GET, POST")),
        ("GET", "/userinfo", 404, None),
    ] {
        let request = Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        let response = world.issuer.answer(request);
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers().get(ALLOW).map(|value| value.to_str().unwrap()), allow);
    }
}
