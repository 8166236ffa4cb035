//! Gates that share a store: a proof passes once at all of them together, whatever happens to the store.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{Answer, Authority, Client, Gate, Gates, Issuer, Prepared, Redis, Upstream, settings, until};

const ORIGIN: &str = "http://api.test";

/// Some gates with one store between them, and the rest of the scene.
struct Replicas {
    issuer: Issuer,
    upstream: Upstream,
    settings: Value,
    folder: Gates,
    gates: Vec<Gate>,
}

impl Replicas {
    async fn start(url: &str) -> Self {
        Self::with(url, |_| {}).await
    }

    /// Two of them, with the usual configuration, changed.
    async fn with(url: &str, change: impl FnOnce(&mut Value)) -> Self {
        let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
        let mut settings = settings(&issuer, &upstream);
        settings["public_url"] = json!(ORIGIN);
        settings["dpop"]["nonce"]["secret_file"] = json!("nonce.key");
        // The machine is shared: an answer may take longer than in production.
        settings["dpop"]["replay"] = json!({"store": "redis", "redis": {"url": url, "timeout": "2s"}});
        change(&mut settings);
        let folder = Gates::new(&settings);
        let gates = vec![folder.start().await, folder.start().await];
        Self { issuer, upstream, settings, folder, gates }
    }

    /// A client that has a nonce.
    async fn client(&self) -> Client {
        Client::of(&self.gates[0], &self.issuer).naming(ORIGIN).greeted().await
    }

    /// The same client at another gate.
    fn at(&self, client: &Client, gate: usize) -> Client {
        client.at(&self.gates[gate])
    }

    /// Sends it to every gate; none may let it through.
    async fn refused_everywhere(&self, client: &Client, request: &Prepared) {
        let contacted = self.upstream.count();
        for gate in 0..self.gates.len() {
            let answer = self.at(client, gate).send(request).await;
            assert_ne!(answer.status, 200, "gate {gate} took a proof twice");
        }
        assert_eq!(self.upstream.count(), contacted);
    }

    /// Sends as an honest client does: one more round trip where the gate asks for it.
    async fn honest(&self, client: &Client, gate: usize) -> Answer {
        let client = self.at(client, gate);
        let answer = client.get("/orders/1").send().await;
        if answer.error() == "use_dpop_nonce" { client.get("/orders/1").send().await } else { answer }
    }

    async fn served_again(&self, client: &Client) {
        for gate in 0..self.gates.len() {
            let served = || async { (self.honest(client, gate).await.status == 200).then_some(()) };
            until("requests to be served again", served).await;
        }
    }
}

fn error_of(answer: &Answer) -> (u16, String) {
    (answer.status, answer.error())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_passes_once_at_all_gates_together_and_a_nonce_at_each() {
    let redis = Redis::start().await;
    let replicas = Replicas::start(&redis.url()).await;
    let client = replicas.client().await;
    let spent = client.get("/orders/1").prepare();
    assert_eq!(replicas.at(&client, 1).send(&spent).await.status, 200, "with the nonce of the other gate");
    for gate in [0, 1] {
        let answer = replicas.at(&client, gate).send(&spent).await;
        assert_eq!(error_of(&answer), (401, "invalid_dpop_proof".into()), "{answer:?}");
    }
    assert_eq!(redis.proofs("dpop-gate:jti:"), 1);
    assert_eq!(replicas.gates[0].refusals("replayed").await, 1.0);
    assert_eq!(replicas.gates[0].metric("dpop_gate_replay_store_up", &[("store", "redis")]).await, 1.0);
    assert_eq!(replicas.gates[0].metric("dpop_gate_replay_store_errors_total", &[("store", "redis")]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_100_copies_at_two_gates_at_once_exactly_one_passes() {
    let redis = Redis::start().await;
    let replicas = Replicas::start(&redis.url()).await;
    let client = replicas.client().await;
    let before = replicas.upstream.count();
    let request = client.get("/orders/1").prepare();
    let copies = (0..100).map(|number| {
        let (client, request) = (replicas.at(&client, number % 2), request.clone());
        tokio::spawn(async move { client.send(&request).await.status })
    });
    let mut passed = 0;
    for copy in copies.collect::<Vec<_>>() {
        passed += usize::from(copy.await.unwrap() == 200);
    }
    assert_eq!((passed, replicas.upstream.count() - before), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lost_its_data_refuses_what_it_cannot_know() {
    let mut redis = Redis::start().await;
    let replicas = Replicas::start(&redis.url()).await;
    let client = replicas.client().await;
    for lose in ["FLUSHALL", "restart"] {
        let spent = client.get("/orders/1").prepare();
        assert_eq!(replicas.at(&client, 0).send(&spent).await.status, 200);
        if lose == "restart" {
            redis.kill();
            redis.run().await;
        } else {
            redis.cli(&[lose]);
        }
        let other = replicas.at(&client, 1);
        let asked = || async { Some(other.get("/orders/1").send().await).filter(|answer| answer.status != 503) };
        let answer = until("the store to be back", asked).await;
        assert_eq!(error_of(&answer), (401, "use_dpop_nonce".into()), "{lose}: {answer:?}");
        replicas.refused_everywhere(&client, &spent).await;
        assert_eq!(
            replicas.at(&client, 1).get("/orders/1").send().await.status,
            200,
            "one round trip, and it is served"
        );
        replicas.served_again(&client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lost_its_data_refuses_it_without_nonces_too() {
    let redis = Redis::start().await;
    let replicas = Replicas::with(&redis.url(), |settings| {
        settings["dpop"]["nonce"] = json!({"mode": "off"});
        settings["dpop"]["clock_skew"] = json!("1s");
    })
    .await;
    let client = Client::of(&replicas.gates[0], &replicas.issuer).naming(ORIGIN);
    replicas.served_again(&client).await;
    let spent = client.get("/orders/1").prepare();
    assert_eq!(client.send(&spent).await.status, 200);
    redis.cli(&["FLUSHALL"]);
    replicas.refused_everywhere(&client, &spent).await;
    replicas.served_again(&client).await;
    replicas.refused_everywhere(&client, &spent).await;
}

/// The model knows the rule; here is the script.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_ends_too_late_was_written_by_a_clock_that_is_set_back() {
    let redis = Redis::start().await;
    let replicas = Replicas::start(&redis.url()).await;
    let client = replicas.client().await;
    let epoch_key = redis.cli(&["KEYS", "dpop-gate:jti:epoch:*"]);
    let first = redis.cli(&["GET", &epoch_key]);
    assert!(first.ends_with(":60:15"), "LIFE:SINCE:LIFETIME:SKEW: {first}");
    assert!(redis.cli(&["TTL", &epoch_key]).parse::<u64>().unwrap() <= 15);
    let spent = client.get("/orders/1").prepare();
    assert_eq!(client.send(&spent).await.status, 200);
    for (change, other) in [(["PEXPIRE", "5000"], false), (["PEXPIRE", "60000"], true), (["SET", "another's"], true)] {
        let before = redis.cli(&["GET", &epoch_key]);
        let [command, value] = change;
        redis.cli(&[command, &epoch_key, value]);
        let looked = || async {
            let left = redis.cli(&["PTTL", &epoch_key]).parse::<u64>().ok()?;
            (13_000..=15_000).contains(&left).then_some(())
        };
        until("a gate to look", looked).await;
        assert_eq!(redis.cli(&["GET", &epoch_key]) != before, other, "{change:?}");
        replicas.served_again(&client).await;
        replicas.refused_everywhere(&client, &spent).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_with_different_lifetimes_share_a_life_and_keep_proofs_for_the_longest() {
    let redis = Redis::start().await;
    let mut replicas = Replicas::start(&redis.url()).await;
    replicas.settings["dpop"]["proof_lifetime"] = json!("5m");
    let longer = Gates::new(&replicas.settings);
    replicas.gates.push(longer.start().await);
    let client = replicas.client().await;
    replicas.served_again(&client).await;
    for key in redis.cli(&["KEYS", "dpop-gate:jti:*"]).lines().filter(|key| !key.contains("epoch")) {
        redis.cli(&["DEL", key]);
    }
    let spent = client.get("/orders/1").prepare();
    assert_eq!(client.send(&spent).await.status, 200, "of one life: no gate challenges another's clients");
    replicas.refused_everywhere(&client, &spent).await;
    assert_eq!(redis.proofs("dpop-gate:jti:"), 1);
    let keys = redis.cli(&["KEYS", "dpop-gate:jti:*"]);
    let proof = keys.lines().find(|key| key.len() == "dpop-gate:jti:".len() + 32).unwrap();
    let kept: u64 = redis.cli(&["TTL", proof]).parse().unwrap();
    assert!(kept > 290, "{kept} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_requests_are_refused_in_time_and_served_when_it_is_back() {
    let mut redis = Redis::start().await;
    let replicas = Replicas::with(&redis.url(), |settings| {
        settings["dpop"]["replay"]["redis"]["timeout"] = json!("300ms");
    })
    .await;
    let client = replicas.client().await;
    let spent = client.get("/orders/1").prepare();
    assert_eq!(client.send(&spent).await.status, 200);

    for fault in ["STOP", "kill"] {
        if fault == "kill" {
            redis.kill();
        } else {
            redis.signal(fault);
        }
        let start = Instant::now();
        let answer = client.get("/orders/1").send().await;
        assert_eq!(error_of(&answer), (503, "temporarily_unavailable".into()), "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(start.elapsed() < Duration::from_secs(10), "{fault}: the request hung");
        replicas.refused_everywhere(&client, &spent).await;
        let gate = &replicas.gates[0];
        assert!(gate.metric("dpop_gate_replay_store_errors_total", &[("store", "redis")]).await >= 1.0);
        assert!(gate.refusals("store_unavailable").await >= 1.0);
        assert_eq!(gate.metric("dpop_gate_replay_store_up", &[("store", "redis")]).await, 0.0);
        assert_eq!(gate.admin("/readyz").await.status, 200, "all replicas have lost it alike");
        assert!(gate.admin("/status.json").await.text().contains("requests are refused"));
        if fault == "kill" {
            redis.run().await;
        } else {
            redis.signal("CONT");
        }
        replicas.served_again(&client).await;
        replicas.refused_everywhere(&client, &spent).await;
    }
    let lines = replicas.gates[0].log_of("the replay store cannot be reached").len();
    assert!(lines < 12, "logged once a change, not once a request: {lines} lines");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_memory_may_stand_in_first_uses_pass_and_local_replays_do_not() {
    let mut redis = Redis::start().await;
    let replicas = Replicas::with(&redis.url(), |settings| {
        settings["dpop"]["replay"]["on_unavailable"] = json!("memory");
        settings["dpop"]["replay"]["redis"]["timeout"] = json!("300ms");
    })
    .await;
    let client = replicas.client().await;
    let before = client.get("/orders/1").prepare();
    assert_eq!(client.send(&before).await.status, 200);

    redis.kill();
    replicas.refused_everywhere(&client, &before).await;
    assert_eq!(replicas.honest(&client, 0).await.status, 200);
    let during = client.get("/orders/1").prepare();
    assert_eq!(client.send(&during).await.status, 200, "without another challenge");
    assert_eq!(error_of(&client.send(&during).await), (401, "invalid_dpop_proof".into()));
    let gate = &replicas.gates[0];
    assert!(gate.metric("dpop_gate_replay_store_errors_total", &[("store", "redis")]).await >= 2.0);
    assert!(gate.admin("/status.json").await.text().contains("this process decides by itself"));

    redis.run().await;
    for gate in &replicas.gates {
        let up = || async { (gate.metric("dpop_gate_replay_store_up", &[]).await == 1.0).then_some(()) };
        until("the store to be used again", up).await;
    }
    replicas.refused_everywhere(&client, &before).await;
    replicas.refused_everywhere(&client, &during).await;
    replicas.served_again(&client).await;
    let lines = gate.log_of("the replay store cannot be reached").len();
    assert!((1..=3).contains(&lines), "one line a reason, not one a request: {lines}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_never_reached_its_store_is_not_ready() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let mut redis = Redis::prepared(&[], &[]);
    let mut settings = settings(&issuer, &upstream);
    settings["dpop"]["replay"] = json!({"store": "redis", "redis": {"url": redis.url(), "timeout": "300ms"}});
    let gate = Gates::new(&settings).start_unready().await;
    let asked = || async {
        let text = gate.admin("/readyz").await.text();
        text.contains("replay store has not been reached yet").then_some(text)
    };
    until("the gate to say why it is not ready", asked).await;
    redis.run().await;
    until("the gate to be ready", || async { (gate.admin("/readyz").await.status == 200).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_may_evict_proofs_is_not_used() {
    let redis = Redis::with(&["--maxmemory", "10mb", "--maxmemory-policy", "volatile-lru"]).await;
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let mut settings = settings(&issuer, &upstream);
    settings["dpop"]["replay"] = json!({"store": "redis", "redis": {"url": redis.url(), "timeout": "300ms"}});
    let gate = Gates::new(&settings).start_unready().await;
    let asked = || async { gate.admin("/readyz").await.text().contains("volatile-lru").then_some(()) };
    until("the gate to say why it is not ready", asked).await;
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    until("the gate to be ready", || async { (gate.admin("/readyz").await.status == 200).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_with_a_password_from_a_file_and_over_a_unix_socket() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    let mut redis = Redis::prepared(
        &[
            "--requirepass",
            "hunter2",
            "--unixsocket",
            "{folder}/redis.sock",
            "--tls-cert-file",
            "{folder}/tls.crt",
            "--tls-key-file",
            "{folder}/tls.key",
            "--tls-ca-cert-file",
            "{folder}/ca.crt",
            "--tls-auth-clients",
            "no",
        ],
        &["-a", "hunter2"],
    );
    redis.write("tls.crt", &certificate);
    redis.write("tls.key", &key);
    redis.write("ca.crt", &authority.certificate());
    let tls_port = redis.with_tls_port();
    redis.run().await;

    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let over_tls = json!({"url": format!("rediss://localhost:{tls_port}/1"), "password_file": "password",
                          "timeout": "2s", "tls": {"ca": "ca.crt"}});
    let socket = redis.path("redis.sock");
    let over_unix =
        json!({"url": format!("redis+unix://:${{REDIS_PASSWORD}}@{}?db=1", socket.display()), "timeout": "2s"});
    for redis_settings in [over_tls, over_unix] {
        let mut settings = settings(&issuer, &upstream);
        settings["dpop"]["nonce"]["secret_file"] = json!("nonce.key");
        settings["dpop"]["replay"] = json!({"store": "redis", "redis": redis_settings});
        let folder = Gates::new(&settings).environment("REDIS_PASSWORD", "hunter2");
        folder.write("password", "hunter2\n");
        folder.write("ca.crt", &authority.certificate());
        let gate = folder.start().await;
        let client = Client::of(&gate, &issuer).greeted().await;
        let spent = client.get("/orders/1").prepare();
        assert_eq!(client.send(&spent).await.status, 200);
        assert_eq!(error_of(&client.send(&spent).await), (401, "invalid_dpop_proof".into()));
        assert!(!gate.log().join("\n").contains("hunter2"), "a password in the log");
    }
    let proofs = format!("dpop-gate:jti:{}", "?".repeat(32));
    assert_eq!(redis.cli(&["-n", "1", "KEYS", &proofs]).lines().count(), 2, "both gates used that database");
}

/// The replica is cut off, so that it misses a proof, and then takes over: what asynchronous replication loses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_loses_is_refused() {
    let mut master = Redis::start().await;
    let replica = Redis::replica_of(&master).await;
    let sentinel = Redis::sentinel_of(&master).await;
    let url = format!("redis+sentinel://127.0.0.1:{}/mymaster", sentinel.port());
    let replicas = Replicas::start(&url).await;
    let client = replicas.client().await;
    let known = client.get("/orders/1").prepare();
    assert_eq!(client.send(&known).await.status, 200);

    replica.signal("STOP");
    let lost = client.get("/orders/1").prepare();
    assert_eq!(client.send(&lost).await.status, 200);
    master.kill();
    replica.signal("CONT");
    until("the sentinel to make the replica master", || async {
        replica.cli(&["INFO", "replication"]).contains("role:master").then_some(())
    })
    .await;
    assert!(replica.proofs("dpop-gate:jti:") < 2, "the replica had everything: the test tests nothing");
    for request in [&known, &lost] {
        replicas.refused_everywhere(&client, request).await;
    }
    replicas.served_again(&client).await;
    for request in [&known, &lost] {
        replicas.refused_everywhere(&client, request).await;
    }
    assert!(replica.proofs("dpop-gate:jti:") > 0, "the new master is in use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_all_proofs_in_one_slot_and_a_moved_slot_is_followed() {
    let options = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"];
    let (one, two) = (Redis::with(&options).await, Redis::with(&options).await);
    let (addresses, port) = ([&one, &two].map(|node| format!("127.0.0.1:{}", node.port())), one.port().to_string());
    let slot: u16 = one.cli(&["CLUSTER", "KEYSLOT", "{dpop-gate:jti:}"]).parse().unwrap();
    one.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", &slot.to_string()]);
    two.cli(&["CLUSTER", "ADDSLOTSRANGE", &(slot + 1).to_string(), "16383"]);
    two.cli(&["CONFIG", "SET", "cluster-announce-ip", "127.0.0.1"]);
    one.cli(&["CLUSTER", "SET-CONFIG-EPOCH", "1"]);
    two.cli(&["CLUSTER", "SET-CONFIG-EPOCH", "2"]);
    two.cli(&["CLUSTER", "MEET", "127.0.0.1", &port]);
    for node in [&one, &two] {
        let formed = || async { node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(()) };
        until("the cluster to form", formed).await;
    }
    // The node that does not own the slot is asked first.
    let replicas = Replicas::start(&format!("redis+cluster://{},{}", addresses[1], addresses[0])).await;
    let client = replicas.client().await;
    let spent = client.get("/orders/1").prepare();
    assert_eq!(client.send(&spent).await.status, 200);
    replicas.refused_everywhere(&client, &spent).await;
    assert_eq!(one.proofs("{dpop-gate:jti:}"), 1);

    // As an operator moves a slot by force: its keys stay behind.
    let owner = two.cli(&["CLUSTER", "MYID"]);
    one.cli(&["FLUSHALL"]);
    for node in [&two, &one] {
        node.cli(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &owner]);
    }
    replicas.refused_everywhere(&client, &spent).await;
    replicas.served_again(&client).await;
    replicas.refused_everywhere(&client, &spent).await;
    assert!(two.proofs("{dpop-gate:jti:}") > 0, "the new owner is in use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_another_store_and_forgets_nothing() {
    let (redis, other) = (Redis::start().await, Redis::start().await);
    let replicas = Replicas::start(&redis.url()).await;
    let client = replicas.client().await;
    let gate = &replicas.gates[0];
    let mut spent = Vec::new();
    let to = |store: &str, url: String| json!({"store": store, "redis": {"url": url, "timeout": "2s"}});
    let stores = [to("redis", redis.url()), to("redis", other.url()), json!({}), to("redis", redis.url())];
    for (reloads, replay) in (1..).zip(stores) {
        let request = client.get("/orders/1").prepare();
        assert_eq!(client.send(&request).await.status, 200);
        spent.push(request);
        let mut settings = replicas.settings.clone();
        settings["dpop"]["replay"] = replay.clone();
        replicas.folder.configure(&settings);
        gate.signal("HUP");
        until("the reload", || async { (gate.log_of("reloaded").len() == reloads).then_some(()) }).await;
        for request in &spent {
            assert_ne!(client.send(request).await.status, 200, "a proof from before the reload: {replay}");
        }
        let answer = client.get("/orders/1").send().await;
        assert_eq!(answer.status, 200, "and the next one passes at once: {replay} {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_only_checks_spends_nothing_and_sees_what_another_gate_spent() {
    let redis = Redis::start().await;
    let replicas = Replicas::with(&redis.url(), |settings| {
        settings["listen"] = json!([{"address": "127.0.0.1:0"},
                                    {"address": "127.0.0.1:0", "mode": "forward_auth", "jti": "check"}]);
    })
    .await;
    let client = replicas.client().await;
    let asking = replicas.at(&client, 0).at_address(replicas.gates[0].forward_auth());
    // As Envoy asks: the request itself is the original, and its `Host` is what the client addressed.
    let request = client.get("/orders/1").prepare();
    for _ in 0..2 {
        assert_eq!(asking.send(&request).await.status, 200, "asked twice");
    }
    assert_eq!(replicas.at(&client, 1).send(&request).await.status, 200, "spent at the other gate");
    assert_eq!(error_of(&asking.send(&request).await), (401, "invalid_dpop_proof".into()));
}

/// As the README says: the new secret is known everywhere before anybody uses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_secret_is_rotated_at_one_gate_after_the_other_and_no_client_is_challenged() {
    let redis = Redis::start().await;
    let replicas = Replicas::start(&redis.url()).await;
    let client = replicas.client().await;
    replicas.folder.write("new.key", "another nonce secret of more than 32 bytes, for tests\n");
    let steps = [("nonce.key", Some("new.key")), ("new.key", Some("nonce.key")), ("new.key", None)];
    for (reloads, (secret, previous)) in (1..).zip(steps) {
        for gate in &replicas.gates {
            let mut settings = replicas.settings.clone();
            settings["dpop"]["nonce"]["secret_file"] = json!(secret);
            if let Some(previous) = previous {
                settings["dpop"]["nonce"]["previous_secret_file"] = json!(previous);
            }
            replicas.folder.configure(&settings);
            gate.signal("HUP");
            until("the reload", || async { (gate.log_of("reloaded").len() == reloads).then_some(()) }).await;
            for _ in 0..2 {
                for gate in 0..2 {
                    let answer = replicas.at(&client, gate).get("/orders/1").send().await;
                    assert_eq!(answer.status, 200, "{secret}, {previous:?}: {answer:?}");
                }
            }
        }
    }
}
