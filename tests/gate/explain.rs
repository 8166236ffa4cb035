//! `explain --config` says of a captured request what the gate says of the request itself, and names the check.

use std::collections::BTreeSet;

use dpop_gate::explain::cannot_show;
use dpop_gate::metrics::Reason;
use serde_json::{Value, json};

use super::harness::{AUDIENCE, Authority, Key, Prepared, World, run, run_with};
use super::refusals::{ROWS, Requests, Row, STAGES, Stage, scene};

/// Where each reason fails: the rule, and a word of the step.
const FAILS: &[(&str, &[(&str, &str)])] = &[
    ("conflicting_sources", &[("request", "which URI")]),
    ("malformed_request", &[("request", "which URI")]),
    ("ambiguous_path", &[("request", "which URI")]),
    ("no_route", &[("gate", "a route")]),
    ("too_large", &[("gate", "the body")]),
    ("missing_token", &[("7.1", "one access token")]),
    ("multiple_credentials", &[("7.1", "one access token"), ("gate", "one Authorization header at most")]),
    ("missing_proof", &[("4.3 (1)", "one DPoP header")]),
    ("multiple_proofs", &[("4.3 (1)", "one DPoP header")]),
    ("malformed_proof", &[("4.3 (2)", "well-formed JWT"), ("4.3 (3)", "required claims")]),
    ("wrong_typ", &[("4.3 (4)", "typ")]),
    ("unsupported_alg", &[("4.3 (5)", "alg")]),
    ("private_jwk", &[("4.3 (7)", "private key")]),
    ("invalid_jwk", &[("4.3 (6)", "public key"), ("4.3 (6)", "point of its curve")]),
    ("htm_mismatch", &[("4.3 (8)", "htm")]),
    ("htu_mismatch", &[("4.3 (9)", "htu")]),
    ("iat_expired", &[("4.3 (11)", "iat")]),
    ("iat_in_future", &[("4.3 (11)", "iat")]),
    ("nonce_missing", &[("4.3 (10)", "nonce")]),
    ("nonce_invalid", &[("4.3 (10)", "nonce")]),
    ("ath_mismatch", &[("4.3 (12)", "ath")]),
    ("malformed_token", &[("7.1", "one access token"), ("7.1", "token is good")]),
    ("token_signature", &[("7.1", "token is good")]),
    ("token_expired", &[("7.1", "token is good")]),
    ("token_not_yet_valid", &[("7.1", "token is good")]),
    ("unknown_issuer", &[("7.1", "token is good")]),
    ("wrong_audience", &[("7.1", "token is good")]),
    ("token_inactive", &[("7.1", "token is good")]),
    ("issuer_unavailable", &[("7.1", "token is good")]),
    ("token_not_bound", &[("7.1", "bound to a key")]),
    ("bound_token_as_bearer", &[("7.1", "bound to a key")]),
    ("key_mismatch", &[("4.3 (12)", "bound to")]),
    ("insufficient_scope", &[("gate", "grants")]),
    ("claim_mismatch", &[("gate", "grants")]),
    ("bad_signature", &[("4.3 (6)", "signature verifies")]),
];

/// As a proxy in front of the gate, or the gate's operator, would see it.
fn raw(request: &Prepared) -> Vec<u8> {
    let mut text = request.head().into_bytes();
    text.extend(b"\r\n");
    text.extend(&request.body);
    text
}

/// Exit code, and what was said.
fn explain(arguments: &[&str], capture: &[u8]) -> (Option<i32>, String) {
    let output = run_with(&[&["explain"], arguments].concat(), capture);
    assert!(output.stderr.is_empty(), "{output:?}");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn lines<'a>(said: &'a str, status: &str) -> Vec<&'a str> {
    said.lines().filter(|line| line.starts_with(status)).collect()
}

/// Nothing that a client could use again stands in what was said.
fn judge_credentials(what: &str, request: &Prepared, said: &str) {
    let credentials = request.headers.iter().filter(|(name, _)| name == "authorization" || name == "dpop");
    for (_, value) in credentials {
        let credential = value.rsplit(' ').next().unwrap();
        for part in credential.split('.').chain([credential]).filter(|part| part.len() > 12) {
            assert!(!said.contains(part), "{what}: a credential in\n{said}");
        }
    }
}

fn judge(row: &Row, request: &Prepared, said: &str) {
    let what = format!("{:?}: {}: {}", row.stage, row.reason, row.what);
    let (_, places) = FAILS.iter().find(|(reason, _)| *reason == row.reason).unwrap_or_else(|| panic!("{what}"));
    let failed = lines(said, "failed");
    let right = places.iter().any(|(rule, word)| failed.iter().all(|line| line.contains(rule) && line.contains(word)));
    assert!(failed.len() == 1 && right, "{what}:\n{said}");
    assert!(said.contains(&format!("reason    {}: ", row.reason)), "{what}:\n{said}");
    assert!(
        said.ends_with('\n') && said.contains(&format!("\nrefused: {}; the gate answers ", row.reason)),
        "{what}:\n{said}"
    );
    for name in ["expected  ", "found     ", "remedy    "] {
        let told = said.split(name).nth(1).unwrap_or_default().lines().next().unwrap_or_default();
        assert!(!told.trim().is_empty(), "{what}: no {name}in\n{said}");
    }
    judge_credentials(&what, request, said);
}

async fn play(stage: Stage) {
    let scene = scene(stage).await;
    let config = scene.world.gates.path("gate.yaml");
    let mut arguments = vec!["--config", config.to_str().unwrap()];
    if stage == Stage::BehindProxy {
        arguments.extend(["--peer", "127.0.0.1"]);
    }
    for row in ROWS.iter().filter(|row| row.stage == stage) {
        match row.requests {
            Requests::One(call) => {
                let request = call(&scene).prepare();
                let (code, said) = explain(&arguments, &raw(&request));
                if row.reason == Reason::UntrustedPeer.as_str() {
                    continue;
                }
                assert_eq!(code, Some(1), "{:?}: {}: {}:\n{said}", row.stage, row.reason, row.what);
                judge(row, &request, &said);
            }
            // What the store would say: everything else is right.
            Requests::Many(calls) => {
                let request = calls(&scene).pop().unwrap();
                let (code, said) = explain(&arguments, &raw(&request));
                assert_eq!(code, Some(0), "{}:\n{said}", row.what);
                assert!(said.contains(row.reason), "{}:\n{said}", row.what);
                judge_credentials(row.what, &request, &said);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_is_explained_by_its_check() {
    for stage in STAGES {
        play(stage).await;
    }
}

#[test]
fn no_reason_is_without_a_place_or_a_ground_why_no_capture_shows_it() {
    let explained: BTreeSet<&str> = FAILS.iter().map(|(reason, _)| *reason).collect();
    for reason in Reason::ALL {
        let ground = cannot_show(*reason);
        assert_ne!(explained.contains(reason.as_str()), ground.is_some(), "{}", reason.as_str());
        let row = ROWS.iter().any(|row| row.reason == reason.as_str() && matches!(row.requests, Requests::One(_)));
        assert!(row || ground.is_some(), "{} is never played", reason.as_str());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_request_passes_every_check_and_is_not_spent() {
    let world = World::with(|settings| settings["dpop"]["nonce"]["secret_file"] = json!("nonce.key")).await;
    let client = world.client().await;
    let request = client.get("/orders/1?page=2").prepare();
    let config = world.gates.path("gate.yaml");
    for _ in 0..2 {
        let (code, said) = explain(&["--config", config.to_str().unwrap()], &raw(&request));
        assert_eq!((code, lines(&said, "not reached").len()), (Some(0), 0), "{said}");
        for check in 1..=12 {
            assert!(
                lines(&said, "passed").iter().any(|line| line.contains(&format!("4.3 ({check})"))),
                "{check}:\n{said}"
            );
        }
        assert!(said.contains("route orders, auth dpop"), "{said}");
        judge_credentials("good", &request, &said);
    }
    assert_eq!(client.send(&request).await.status, 200, "explain has spent nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_nonce_secret_is_said_to_be_unknown() {
    let world = World::start().await;
    let client = world.client().await;
    let config = world.gates.path("gate.yaml");
    let arguments = ["--config", config.to_str().unwrap()];
    let (code, said) = explain(&arguments, &raw(&client.get("/orders/1").prepare()));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("unknown   whether the gate gave this nonce"), "{said}");
    let without = client.get("/orders/1").proof(|proof| proof.without("nonce")).prepare();
    let (code, said) = explain(&arguments, &raw(&without));
    assert!(code == Some(1) && said.contains("nonce_missing"), "{said}");
    // What comes after the nonce is still judged.
    let spoiled = client.get("/orders/1").proof(super::harness::Jws::spoiled).prepare();
    let (code, said) = explain(&arguments, &raw(&spoiled));
    assert!(code == Some(1) && said.contains("bad_signature"), "{said}");
}

/// The issue's own example: TLS ends in front of the gate, which does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_nobody_told_the_gate_of_is_named_with_its_remedies() {
    let world = World::with(|settings| settings["trusted_proxies"] = json!(["10.0.0.0/8"])).await;
    let client = world.client().await;
    let outside = client.origin.replace("http://", "https://");
    let request = client.naming(&outside).get("/orders/1").header("x-forwarded-proto", "https").prepare();
    let config = world.gates.path("gate.yaml");
    let arguments = ["--config", config.to_str().unwrap()];
    let (code, said) = explain(&arguments, &raw(&request));
    assert_eq!(code, Some(1), "{said}");
    for part in ["htu_mismatch", "public_url", "trusted_proxies", "https://...", &outside, &client.origin, "--peer"] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
    let (_, said) = explain(&[&arguments[..], &["--peer", "10.1.2.3"]].concat(), &raw(&request));
    assert!(!said.contains("htu_mismatch"), "believed, it is no mismatch:\n{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_checked_is_said_and_report_mode_too() {
    let world = World::with(|settings| {
        settings["routes"] = json!([
            {"name": "public", "match": {"path": "/public/"}, "upstream": "orders", "auth": "public"},
            {"name": "tried", "match": {"path": "/tried/"}, "upstream": "orders", "mode": "report",
             "cors": {"origins": ["https://app.example.com"]}},
        ]);
    })
    .await;
    let client = world.stranger();
    let config = world.gates.path("gate.yaml");
    let arguments = ["--config", config.to_str().unwrap()];
    for (request, code, part) in [
        (client.get("/public/x").prepare(), 0, "the route is public"),
        (client.get("/.well-known/oauth-protected-resource").prepare(), 0, "answers by itself"),
        (client.get("/tried/x").authorization(&[]).prepare(), 1, "the route only reports"),
        (
            client
                .call("OPTIONS", "/tried/x")
                .header("origin", "https://app.example.com")
                .header("access-control-request-method", "GET")
                .prepare(),
            0,
            "preflight",
        ),
    ] {
        let (found, said) = explain(&arguments, &raw(&request));
        assert_eq!(found, Some(code), "{said}");
        assert!(said.contains(part), "{part}:\n{said}");
    }
}

/// What Traefik and its like ask: it is the original request that is judged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxys_question_is_judged_by_the_request_that_it_asks_about() {
    let world = World::with(|settings| {
        settings["trusted_proxies"] = json!(["10.0.0.0/8"]);
        settings["listen"] = json!([{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "mode": "forward_auth"}]);
    })
    .await;
    let client = world.client().await.naming("https://api.example.com");
    let proof = client.call("PUT", "/orders/1").prepare();
    let asking = |uri: &str| {
        let call = client.get("/auth").proofs(&[proof.value_of("dpop")]).header("host", "gate.internal");
        let call = call.header("x-forwarded-method", "PUT").header("x-forwarded-proto", "https");
        raw(&call.header("x-forwarded-host", "api.example.com").header("x-forwarded-uri", uri).prepare())
    };
    let config = world.gates.path("gate.yaml");
    let arguments = |peer| ["--config", config.to_str().unwrap(), "--peer", peer];
    let (code, said) = explain(&arguments("10.1.2.3"), &asking("/orders/1"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("PUT https://api.example.com/orders/1, "), "{said}");
    let (code, said) = explain(&arguments("10.1.2.3"), &asking("/orders/2"));
    assert!(code == Some(1) && said.contains("htu_mismatch"), "{said}");
    let (code, said) = explain(&arguments("192.0.2.7"), &asking("/orders/1"));
    assert!(code == Some(1) && said.contains("untrusted_peer"), "{said}");
    let (code, said) = explain(&arguments("192.0.2.7")[..2], &asking("/orders/1"));
    assert!(code == Some(0) && said.contains("unknown   who asked"), "{said}");
}

/// Where bearer tokens are still taken, one without `cnf` needs no proof.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bearer_token_passes_where_the_route_takes_them() {
    let world = World::with(|settings| settings["routes"][0]["auth"] = json!("dpop_or_bearer")).await;
    let client = world.stranger();
    let request =
        client.get("/orders/1").token(world.issuer.token(&client.key).without("cnf").compact()).bearer().prepare();
    let config = world.gates.path("gate.yaml");
    let (code, said) = explain(&["--config", config.to_str().unwrap()], &raw(&request));
    assert!(code == Some(0) && said.contains("needs no proof on this route"), "{said}");
    assert_eq!(lines(&said, "failed").len(), 0);
}

/// A capture is old when somebody asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_capture_is_judged_as_of_then() {
    let world = World::with(|settings| settings["dpop"]["nonce"]["mode"] = json!("off")).await;
    let client = world.stranger();
    let then = super::harness::now() - 86_400;
    let token = world.issuer.token(&client.key).claim("exp", then + 300).compact();
    let request = client.get("/orders/1").token(token).proof(move |proof| proof.claim("iat", then)).prepare();
    let config = world.gates.path("gate.yaml");
    let arguments = ["--config", config.to_str().unwrap()];
    let (code, said) = explain(&arguments, &raw(&request));
    assert_eq!(code, Some(1));
    let named = format!("--at {then}");
    assert!(said.contains("iat_expired") && said.contains(&named), "{said}");
    let (code, said) = explain(&[&arguments[..], &["--at", &then.to_string()]].concat(), &raw(&request));
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_calls_a_gate_over_tls_and_trusts_whom_it_is_told_to() {
    let authority = Authority::new();
    let world = World::over_tls(&authority).await;
    world.gates.write("ca.crt", &authority.certificate());
    let own = world.gates.path("client.jwk");
    let own = own.to_str().unwrap();
    let made = run(&["keygen", "--out", own]);
    let thumbprint = String::from_utf8(made.stderr).unwrap().trim().to_owned();
    let token = world.issuer.token(&Key::es256()).claim("cnf", json!({"jkt": thumbprint})).claim("aud", AUDIENCE);
    world.gates.write("token", &token.compact());
    let token = format!("@{}", world.gates.path("token").display());
    let url = format!("https://localhost:{}/orders/1", world.gate.address().port());
    let ca = world.gates.path("ca.crt");
    let arguments = ["request", "--key", own, "--token", &token, &url];

    let trusting = run(&[&arguments[..], &["--cacert", ca.to_str().unwrap()]].concat());
    assert_eq!(trusting.status.code(), Some(0), "{trusting:?}");
    let body: Value = serde_json::from_slice(&trusting.stdout).unwrap();
    assert_eq!(body["uri"], "/orders/1");
    let other = Authority::new();
    world.gates.write("other.crt", &other.certificate());
    let other = world.gates.path("other.crt");
    let wary = run(&[&arguments[..], &["--cacert", other.to_str().unwrap()]].concat());
    assert_eq!((wary.status.code(), wary.stdout.len()), (Some(60), 0), "{wary:?}");
}
