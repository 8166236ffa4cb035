//! Without a configuration; with one, `tests/gate/explain.rs` plays every refusal.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Uri};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::jose::{Algorithm, PrivateKey};
use crate::secret::AccessToken;

const NOW: u64 = 1_800_000_000;
const HTU: &str = "https://api.example.com/orders/1";
const CANARY: &str = "canary-0123456789-canary-0123456789";

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate(Algorithm::Es256).unwrap());

fn token(claims: &Value) -> String {
    KEY.sign_compact(json!({"typ": "at+jwt"}), claims).unwrap()
}

fn bound() -> String {
    token(&json!({"exp": NOW + 60, "cnf": {"jkt": KEY.public().thumbprint().to_string()}}))
}

fn proof(change: impl FnOnce(&mut Value), token: Option<&str>) -> String {
    let mut claims = json!({"jti": CANARY, "htm": "GET", "htu": HTU, "iat": NOW});
    if let Some(token) = token {
        claims["ath"] = URL_SAFE_NO_PAD.encode(AccessToken::new(token).digest().as_bytes()).into();
    }
    change(&mut claims);
    KEY.sign_compact(json!({"typ": "dpop+jwt", "jwk": KEY.public().to_jwk()}), &claims).unwrap()
}

fn raw(lines: &[&str]) -> String {
    format!("GET /orders/1?q={CANARY} HTTP/1.1\r\nHost: api.example.com\r\n{}\r\n\r\n", lines.join("\r\n"))
}

/// The reason, and what is said.
fn said(capture: &Capture) -> (Option<&'static str>, String) {
    let mut rules = Rules::of_rfc(addressee(capture)).unwrap();
    let explained = explain(capture, &mut rules, None, Timestamp::from_secs(NOW));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let explained = runtime.block_on(explained);
    assert_eq!(explained.passed(), explained.refusal().is_none());
    (explained.refusal().map(|refusal| refusal.reason().as_str()), explained.to_string())
}

fn said_of(text: &str) -> (Option<&'static str>, String) {
    said(&Capture::read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[test]
fn by_the_rfc_alone_each_credential_is_judged_as_far_as_it_can_be() {
    let jwt = bound();
    let unbound = token(&json!({"exp": NOW + 60}));
    let other = token(&json!({"exp": NOW + 60, "cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}));
    let old = token(&json!({"exp": NOW - 60, "cnf": {"jkt": KEY.public().thumbprint().to_string()}}));
    let request = |scheme: &str, token: &str, change: fn(&mut Value)| {
        raw(&[&format!("Authorization: {scheme} {token}"), &format!("DPoP: {}", proof(change, Some(token)))])
    };
    for (text, reason, part) in [
        (raw(&[]), Some("missing_token"), "failed       7.1"),
        (request("Bearer", &jwt, |_| ()), Some("bound_token_as_bearer"), "failed       7.1"),
        (request("Bearer", &unbound, |_| ()), Some("token_not_bound"), "failed       7.1"),
        (request("DPoP", &unbound, |_| ()), Some("token_not_bound"), "failed       7.1"),
        (request("DPoP", &other, |_| ()), Some("key_mismatch"), "failed       4.3 (12)"),
        (request("DPoP", &old, |_| ()), Some("token_expired"), "failed       7.1"),
        (
            request("DPoP", &jwt, |claims| claims["htu"] = "http://api.example.com/orders/1".into()),
            Some("htu_mismatch"),
            "so https is taken",
        ),
        (request("DPoP", &jwt, |claims| claims["iat"] = (NOW - 61).into()), Some("iat_expired"), "--at 1799999939"),
        (request("DPoP", &jwt, |_| ()), None, "unknown   whether signature, issuer and audience are right"),
        (
            request("DPoP", &jwt, |claims| claims["nonce"] = CANARY.into()),
            None,
            "unknown   whether that server gave this nonce",
        ),
        (request("DPoP", "opaque-opaque-opaque", |_| ()), None, "unknown   to which key"),
    ] {
        let (found, told) = said_of(&text);
        assert_eq!(found, reason, "{text}\n{told}");
        assert!(told.contains(part), "{part}:\n{told}");
    }
}

#[test]
fn a_form_that_is_posted_without_a_token_goes_to_a_token_endpoint() {
    let url = "https://id.example.com/token";
    let proof = proof(|claims| (claims["htm"], claims["htu"]) = ("POST".into(), url.into()), None);
    let command = format!("curl -u c:{CANARY} -d grant_type=client_credentials -H 'DPoP: {proof}' {url}");
    let (reason, told) = said_of(&command);
    assert_eq!(reason, None, "{told}");
    assert!(told.contains("token endpoint (section 5)") && !told.contains("7.1"), "{told}");
    let (reason, told) = said_of(&command.replace("https://id", "http://id"));
    assert_eq!(reason, Some("htu_mismatch"), "the capture names the scheme: {told}");
}

/// What `Step::of` promises is what happens, in that order.
#[test]
fn a_good_request_takes_the_steps_in_their_order() {
    let jwt = bound();
    let resource = raw(&[&format!("Authorization: DPoP {jwt}"), &format!("DPoP: {}", proof(|_| (), Some(&jwt)))]);
    let endpoint = proof(|claims| claims["htm"] = "POST".into(), None);
    let endpoint = format!("curl -d a=b -H 'DPoP: {endpoint}' {HTU}");
    for (text, auth) in [(resource, Auth::Dpop), (endpoint, Auth::TokenEndpoint)] {
        let capture = Capture::read(text.as_bytes()).unwrap();
        let mut rules = Rules::of_rfc(auth).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let explained = runtime.block_on(explain(&capture, &mut rules, None, Timestamp::from_secs(NOW)));
        let doors = |step: &Step| !matches!(step, Step::Route | Step::Size);
        let expected: Vec<Step> = Step::of(auth).into_iter().filter(doors).collect();
        let mut reached = explained.walk.steps.clone();
        reached.retain(doors);
        if auth == Auth::TokenEndpoint {
            // Nothing is required of a key alone.
            reached.retain(|step| *step != Step::Granted);
        }
        assert_eq!((explained.failed(), reached), (None, expected));
    }
}

#[test]
fn no_credential_is_told_wherever_it_stands() {
    let secret = token(&json!({"secret": CANARY}));
    let parts: Vec<&str> = secret.split('.').collect();
    let proof = |change: fn(&mut Value)| format!("DPoP: {}", proof(change, Some(&secret)));
    for lines in [
        vec![format!("Authorization: {secret}")],
        vec![format!("Authorization: DPoP {secret}"), format!("DPoP: {secret}")],
        vec![format!("Authorization: DPoP {secret}, {secret}")],
        vec![format!("Authorization: Basic {CANARY}"), format!("Cookie: {CANARY}"), format!("X-Key: {CANARY}")],
        vec![format!("Authorization: DPoP {secret}"), proof(|claims| claims["nonce"] = CANARY.into())],
        vec![format!("Authorization: DPoP {secret}"), proof(|claims| claims["ath"] = CANARY.into())],
        vec![
            format!("Authorization: DPoP {secret}"),
            proof(|claims| claims["htu"] = format!("{HTU}?t={CANARY}").into()),
        ],
        vec![
            format!("Authorization: DPoP {secret}"),
            proof(|claims| claims["htu"] = format!("https://a.example/b#{CANARY}").into()),
        ],
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (_, told) = said_of(&raw(&lines));
        for credential in [CANARY].iter().chain(&parts[1..]) {
            assert!(!told.contains(credential), "{credential} of {lines:?} in\n{told}");
        }
    }
}

proptest! {
    #[test]
    fn no_request_panics_or_moves_a_cursor(
        target in "(/|/a|\\*|/a/../b|//)[a-z%2e?=;.]{0,8}",
        authorization in prop::option::of("(DPoP |Bearer |\\PC{0,5}) ?([A-Za-z0-9._-]{0,40}|\\PC{0,20})"),
        proofs in prop::collection::vec("[A-Za-z0-9_.-]{0,60}|\\PC{0,20}", 0..3),
        claims in prop::option::of(r#"\{("(jti|htm|htu|iat|ath|nonce|x)":("a"|"GET"|"https://h/a"|1800000000|-1|1e300|null|\[\]|\{\}),?){0,7}\}"#),
        extra in prop::option::of(("(host|forwarded|x-forwarded-proto|content-length|content-type)", "\\PC{0,20}")),
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("h"));
        let mut add = |name: &str, value: &str| {
            let (name, value) =
                (http::HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()));
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        };
        if let Some(value) = &authorization {
            add("authorization", value);
        }
        for value in &proofs {
            add("dpop", value);
        }
        if let Some(claims) = claims {
            let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.public().to_jwk()}).to_string();
            add("dpop", &format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims)));
        }
        if let Some((name, value)) = &extra {
            add(name, value);
        }
        if let Ok(uri) = target.parse::<Uri>() {
            let capture = Capture { method: Method::GET, uri, scheme: None, headers, body_bytes: 0, form: Form::Raw };
            let (_, told) = said(&capture);
            prop_assert!(told.chars().all(|c| c == '\n' || !c.is_control()), "{told:?}");
        }
    }
}
