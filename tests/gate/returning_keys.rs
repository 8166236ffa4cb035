//! Keys that come back: checked by tables, with the same answers.

use serde_json::json;

use super::harness::{Gate, Jws, World, settings, until};

async fn checked(gate: &Gate, by: &str) -> f64 {
    gate.metric("dpop_gate_signatures_checked_total", &[("by", by)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_comes_back_gets_a_table_which_refuses_what_is_wrong_and_survives_a_reload() {
    let world = World::start().await;
    let client = world.client().await;
    let good = async || {
        assert_eq!(client.get("/orders/1").send().await.status, 200);
        // Another request with a new token: the issuer's key comes back as well.
        let token = world.issuer.token(&client.key).compact();
        assert_eq!(client.get("/orders/1").token(&token).send().await.status, 200);
    };
    until("the tables of the client's key and of the issuer's", || async {
        good().await;
        (world.gate.metric("dpop_gate_key_tables_built_total", &[]).await >= 2.0).then_some(())
    })
    .await;
    let before = (checked(&world.gate, "table").await, checked(&world.gate, "library").await);
    good().await;
    // Two proofs and a token.
    let after = (checked(&world.gate, "table").await, checked(&world.gate, "library").await);
    assert_eq!((after.0 - before.0, after.1 - before.1), (3.0, 0.0));

    let spoiled = client.get("/orders/1").proof(Jws::spoiled).send().await;
    assert_eq!((spoiled.status, spoiled.error().as_str()), (401, "invalid_dpop_proof"));
    let token = world.issuer.token(&client.key).spoiled().compact();
    let spoiled = client.get("/orders/1").token(&token).send().await;
    assert_eq!((spoiled.status, spoiled.error().as_str()), (401, "invalid_token"));
    assert_eq!(world.gate.refusals("bad_signature").await, 1.0);
    assert_eq!(world.gate.refusals("token_signature").await, 1.0);
    assert_eq!(checked(&world.gate, "library").await, after.1);

    // A reload that says nothing of tables leaves them; one that turns them off ends them.
    let mut file = settings(&world.issuer, &world.upstream);
    for entries in [50_000, 0] {
        file["routes"][0]["match"]["path"] = json!(format!("/orders-{entries}/"));
        file["dpop"]["key_tables"] = json!({"entries": entries});
        world.gates.configure(&file);
        world.gate.signal("HUP");
        let path = format!("/orders-{entries}/1");
        until("the new configuration", || async { (client.get(&path).send().await.status != 404).then_some(()) }).await;
        let library = checked(&world.gate, "library").await;
        assert_eq!(client.get(&path).send().await.status, 200);
        let by_library = checked(&world.gate, "library").await - library;
        assert_eq!(by_library, if entries == 0 { 1.0 } else { 0.0 }, "{entries} entries");
    }
    until("the tables to be gone", || async {
        (world.gate.metric("dpop_gate_key_tables", &[]).await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_without_a_table_is_checked_by_the_same_arithmetic() {
    let world = World::start().await;
    until("what a check under any key takes", || async {
        assert_eq!(world.client().await.get("/orders/1").send().await.status, 200);
        (checked(&world.gate, "curve").await > 0.0).then_some(())
    })
    .await;
    let (stranger, before) = (world.client().await, checked(&world.gate, "curve").await);
    let refused = stranger.get("/orders/1").proof(Jws::spoiled).send().await;
    assert_eq!((refused.status, refused.error().as_str()), (401, "invalid_dpop_proof"));
    assert_eq!(world.gate.refusals("bad_signature").await, 1.0);
    assert_eq!(stranger.get("/orders/1").send().await.status, 200);
    assert_eq!(checked(&world.gate, "curve").await - before, 2.0);
}
