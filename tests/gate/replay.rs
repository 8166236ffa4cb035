//! A proof is accepted once, or not at all: at once, under pressure, across a restart.

use http_body_util::BodyExt as _;
use hyper::client::conn::http2::SendRequest;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::harness::{Channel, Client, Gates, Issuer, Prepared, Upstream, World, http2, now, settings, soon, until};

/// Sends all of them at once, each on a connection of its own; the statuses in their order.
async fn at_once(client: &Client, requests: Vec<Prepared>) -> Vec<u16> {
    let tasks = requests.into_iter().map(|request| {
        let client = client.clone();
        tokio::spawn(async move { client.send(&request).await.status })
    });
    all(tasks).await
}

/// The same over one HTTP/2 connection: for thousands.
async fn as_streams(sender: &SendRequest<Channel>, requests: &[Prepared]) -> Vec<u16> {
    let tasks = requests.iter().map(|request| {
        let mut sender = sender.clone();
        let request = request.over_http2("http").body(Channel::empty()).unwrap();
        tokio::spawn(async move {
            let response = soon("a response", sender.send_request(request)).await.unwrap();
            let status = response.status().as_u16();
            // A stream left unread would be reset, and hyper ends a connection after 1024 of those.
            soon("its body", response.into_body().collect()).await.unwrap();
            status
        })
    });
    all(tasks).await
}

async fn all(tasks: impl Iterator<Item = JoinHandle<u16>>) -> Vec<u16> {
    let mut statuses = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        statuses.push(task.await.unwrap());
    }
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_identical_requests_at_once_exactly_one_passes() {
    let world = World::start().await;
    let client = world.client().await;
    let before = world.upstream.count();
    let statuses = at_once(&client, vec![client.get("/orders/1").prepare(); 200]).await;
    assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|&&status| status == 401).count(), 199, "{statuses:?}");
    assert_eq!(world.upstream.count(), before + 1);
    assert_eq!(world.gate.refusals("replayed").await, 199.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_may_use_the_same_jti() {
    let world = World::start().await;
    for client in [world.client().await, world.client().await] {
        let answer = client.get("/orders/1").proof(|proof| proof.claim("jti", "the very same")).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// The nonce secret is in a file, so the nonce outlives the process; the memory of its proofs does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_after_a_crash_is_refused_and_an_honest_client_mends_itself() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let mut settings = settings(&issuer, &upstream);
    settings["public_url"] = json!("http://api.test");
    settings["dpop"]["nonce"]["secret_file"] = json!("nonce.key");
    let gates = Gates::new(&settings);
    let first = gates.start().await;
    let client = Client::of(&first, &issuer).naming("http://api.test").greeted().await;
    let spent = client.get("/orders/1").prepare();
    let unspent = client.get("/orders/2").prepare();
    assert_eq!(client.send(&spent).await.status, 200);
    first.killed().await;

    let second = gates.start().await;
    let client = client.at(&second);
    let contacted = upstream.count();
    for request in [&spent, &unspent] {
        let answer = client.send(request).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, "use_dpop_nonce"), "{answer:?}");
    }
    assert_eq!(upstream.count(), contacted);
    assert_eq!(client.get("/orders/1").send().await.status, 200, "one round trip, and it is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_after_a_crash_is_refused_without_nonces_too() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let mut settings = settings(&issuer, &upstream);
    settings["public_url"] = json!("http://api.test");
    settings["dpop"]["nonce"]["mode"] = json!("off");
    let gates = Gates::new(&settings);
    let first = gates.start().await;
    let client = Client::of(&first, &issuer).naming("http://api.test");
    let spent = client.get("/orders/1").prepare();
    assert_eq!(client.send(&spent).await.status, 200);
    first.killed().await;

    let second = gates.start().await;
    let client = client.at(&second);
    let contacted = upstream.count();
    let answer = client.send(&spent).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_dpop_proof"), "{answer:?}");
    assert_eq!(upstream.count(), contacted);
    let served = || async { (client.get("/orders/1").send().await.status == 200).then_some(()) };
    until("a proof from after the start to be served", served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_reload_forgets_nothing() {
    let world = World::start().await;
    let client = world.client().await;
    let spent = client.get("/orders/1").prepare();
    assert_eq!(client.send(&spent).await.status, 200);
    world.gate.signal("HUP");
    until("the reload", || async { (!world.gate.log_of("reloaded").is_empty()).then_some(()) }).await;
    let answer = client.send(&spent).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_dpop_proof"), "{answer:?}");
    assert_eq!(client.get("/orders/1").send().await.status, 200, "with the nonce from before");
}

/// 5,000 proofs of 50 keys, dated over the whole window, through a store of 1,000: what it had to forget it refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pressure_makes_the_store_refuse_and_never_accept_twice() {
    let world = World::with(|settings| {
        settings["dpop"]["replay"]["capacity"] = json!(1000);
        settings["dpop"]["proof_lifetime"] = json!("60s");
    })
    .await;
    let greeted = world.client().await;
    let clients: Vec<Client> = (0..50)
        .map(|_| {
            let client = world.stranger();
            client.remember(&greeted.nonce().unwrap());
            client
        })
        .collect();
    let stream = TcpStream::connect(greeted.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let connection = http2(stream).await;
    // The oldest first: as they come, the store forgets from the oldest on, so that most of them fit.
    let mut sent = Vec::new();
    let mut accepted = Vec::new();
    for round in 0..100u64 {
        let iat = now() - 50 + round / 2;
        let batch: Vec<Prepared> = clients
            .iter()
            .map(|client| client.get("/orders/swallow").proof(move |proof| proof.claim("iat", iat)).prepare())
            .collect();
        let statuses = as_streams(&connection, &batch).await;
        assert!(statuses.iter().all(|status| matches!(status, 200 | 401 | 503)), "{statuses:?}");
        accepted.extend(batch.iter().zip(&statuses).filter(|(_, status)| **status == 200).map(|(one, _)| one.clone()));
        sent.extend(batch);
    }
    assert_eq!(sent.len(), 5000);
    assert!(accepted.len() >= 3000, "an honest crowd was served {} times only", accepted.len());
    assert!(world.gate.metric("dpop_gate_replay_entries", &[]).await <= 1000.0);

    let contacted = world.upstream.count();
    assert_eq!(contacted, accepted.len());
    let answer = greeted.send(&accepted[0]).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_dpop_proof"), "the first again: {answer:?}");
    let again: Vec<Prepared> = accepted.iter().step_by(10).cloned().collect();
    for batch in again.chunks(50) {
        let statuses = as_streams(&connection, batch).await;
        assert!(statuses.iter().all(|status| *status != 200), "a proof was accepted twice: {statuses:?}");
    }
    assert_eq!(world.upstream.count(), contacted, "nothing reached the upstream twice");
}

/// No single key can press the others out: it is told to wait, and they are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greedy_key_waits_and_the_others_do_not() {
    let world = World::with(|settings| settings["dpop"]["replay"]["capacity"] = json!(100)).await;
    let greedy = world.client().await;
    let honest = world.stranger();
    honest.remember(&greedy.nonce().unwrap());
    for _ in 0..100 {
        let answer = greedy.get("/orders/1").proof(|proof| proof.claim("iat", now() - 5)).send().await;
        assert_eq!(answer.status, 200, "until the store is full nobody is limited: {answer:?}");
    }
    let answer = greedy.get("/orders/1").send().await;
    assert_eq!((answer.status, answer.error().as_str()), (429, "too_many_requests"), "{answer:?}");
    let answer = honest.get("/orders/1").send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
