//! Every way to be refused: what it is called, what the client reads, and that the upstream hears nothing of it.

use std::collections::BTreeSet;

use dpop_gate::metrics::Reason;
use serde_json::json;

use super::harness::{Answer, World};

mod rows;

pub use rows::{ROWS, Requests, Row, STAGES, Stage, scene};

use rows::{CANARY, PATH, Scene};

/// Plays one row and judges everything about the answer.
async fn judge(scene: &Scene, row: &Row) {
    let what = format!("{:?}: {}: {}", row.stage, row.reason, row.what);
    let Scene { world, client, .. } = scene;
    let mut requests = match row.requests {
        Requests::One(call) => vec![call(scene).prepare()],
        Requests::Many(calls) => calls(scene),
    };
    let last = requests.pop().unwrap();
    for request in &requests {
        let answer = client.send(request).await;
        assert_eq!(answer.status, 200, "{what}: what should pass: {answer:?}");
    }
    let contacted = world.upstream.count();
    let counted = world.gate.refusals(row.reason).await;
    let outcome = world.gate.metric("dpop_gate_requests_total", &[("outcome", "refused")]).await;

    let answer = client.send(&last).await;
    assert_eq!((answer.status, answer.error().as_str()), (row.status, row.error), "{what}: {answer:?}");
    assert_eq!(world.gate.refusals(row.reason).await, counted + 1.0, "{what}: the metric");
    let refused = world.gate.metric("dpop_gate_requests_total", &[("outcome", "refused")]).await;
    assert_eq!(refused, outcome + 1.0, "{what}: the outcome");
    assert_eq!(world.upstream.count(), contacted, "{what}: the upstream was contacted");
    judge_form(&what, row, &answer);
}

/// The contract's section 3, as far as it holds for every refusal.
fn judge_form(what: &str, row: &Row, answer: &Answer) {
    let body = answer.json();
    let members: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["error", "error_description"], "{what}");
    let description = body["error_description"].as_str().unwrap();
    assert!(!description.is_empty(), "{what}: no description");
    assert!(answer.header("content-type").unwrap().starts_with("application/json"), "{what}: {answer:?}");

    let challenge = answer.headers_of("www-authenticate");
    match (answer.status, row.error) {
        (401, "unauthorized") => {
            assert!(challenge.starts_with("DPoP "), "{what}: {challenge}");
            assert!(challenge.contains(r#"algs="ES256"#) && !challenge.contains("error"), "{what}: {challenge}");
        }
        (401 | 403, error) if error != "forbidden" => {
            assert!(challenge.contains("DPoP "), "{what}: {challenge}");
            assert!(challenge.contains(&format!(r#"error="{error}""#)), "{what}: {challenge}");
            assert!(challenge.contains(&format!(r#"error_description="{description}""#)), "{what}: {challenge}");
            assert!(challenge.contains(r#"algs="ES256"#), "{what}: {challenge}");
            assert!(challenge.contains("resource_metadata="), "{what}: {challenge}");
        }
        (400, "use_dpop_nonce" | "invalid_dpop_proof") => assert!(challenge.is_empty(), "{what}: {challenge}"),
        _ => {}
    }
    if row.reason == "insufficient_scope" {
        assert!(challenge.contains(r#"scope="orders.read orders.admin""#), "{what}: {challenge}");
    }
    if answer.status == 401 || row.error == "use_dpop_nonce" {
        assert!(answer.header("dpop-nonce").is_some(), "{what}: no nonce: {answer:?}");
    }
    if answer.header("dpop-nonce").is_some() {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}: {answer:?}");
    }
    if matches!(answer.status, 429 | 503) {
        let wait: u64 = answer.header("retry-after").unwrap_or_default().parse().unwrap_or(0);
        assert!(wait >= 1, "{what}: Retry-After: {answer:?}");
    }
    let everything = format!("{answer:?}");
    assert!(!everything.to_lowercase().contains(CANARY), "{what}: the client's own words came back: {everything}");
}

async fn play(stage: Stage) {
    let rows: Vec<&Row> = ROWS.iter().filter(|row| row.stage == stage).collect();
    let mut scenes = scene(stage).await;
    for row in rows {
        judge(&scenes, row).await;
        if stage == Stage::SmallStore {
            // It is full now, which is what the next row has to begin without.
            scenes = scene(stage).await;
        }
    }
    if !matches!(stage, Stage::Usual | Stage::Opaque) {
        return;
    }
    // A refusal is no ban, and spends nothing: the same client passes.
    let answer = scenes.get(PATH).send().await;
    assert_eq!(answer.status, 200, "after all refusals (opaque: {}): {answer:?}", scenes.opaque);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_is_named_counted_and_ends_at_the_gate() {
    play(Stage::Usual).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opaque_tokens_are_refused_by_what_introspection_says() {
    play(Stage::Opaque).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_is_down_is_not_the_clients_fault() {
    play(Stage::IssuerDown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_refuses_the_greedy_first_and_then_everybody() {
    play(Stage::SmallStore).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_believed_proxy_that_contradicts_itself_is_refused() {
    play(Stage::BehindProxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_may_not_ask_a_forward_auth_listener() {
    play(Stage::ForwardAuth).await;
}

#[test]
fn no_reason_is_without_a_row_and_no_row_without_a_stage() {
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.reason).collect();
    let reasons: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(rows, reasons);
    for stage in STAGES {
        assert!(ROWS.iter().any(|row| row.stage == stage), "{stage:?}");
    }
}

/// Without nonces a 401 carries none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_nonces_nothing_speaks_of_them() {
    let world = World::with(|settings| settings["dpop"]["nonce"]["mode"] = json!("off")).await;
    let client = world.stranger();
    let answer = client.get(PATH).proofs(&[]).send().await;
    assert_eq!((answer.status, answer.header("dpop-nonce")), (401, None), "{answer:?}");
    let answer = client.get(PATH).send().await;
    assert_eq!((answer.status, answer.header("dpop-nonce")), (200, None), "{answer:?}");
}

/// RFC 9449 section 7.2: where bearer tokens are taken, the challenge says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_takes_bearer_tokens_challenges_for_both() {
    let world = World::with(|settings| settings["routes"][0]["auth"] = json!("dpop_or_bearer")).await;
    let client = world.stranger();
    let challenge = client.get(PATH).authorization(&[]).proofs(&[]).send().await.headers_of("www-authenticate");
    assert!(challenge.contains("DPoP ") && challenge.contains("Bearer"), "{challenge}");
}

/// A proof whose request was refused for another reason is still good: a bad request burns no `jti`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_spends_no_jti() {
    let world = World::start().await;
    let client = world.client().await;
    let good = client.get(PATH).prepare();
    let mut bad = good.clone();
    for (name, value) in &mut bad.headers {
        if name == "authorization" {
            *value = format!("DPoP {}", world.issuer.token(&client.key).compact());
        }
    }
    for _ in 0..2 {
        assert_eq!(client.send(&bad).await.error(), "invalid_dpop_proof", "another token than ath says");
    }
    assert_eq!(client.send(&good).await.status, 200);
}
