//! Whoever runs the gate changes everything while requests come in, and none of them fails.

use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use super::harness::{Authority, Client, Gate, Gates, Issuer, Load, Upstream, push, settings, until, yes};

/// A gate with TLS that shares its address, follows its files, and leaves with grace.
fn shared(issuer: &Issuer, upstream: &Upstream, service: &str, address: &str) -> Value {
    let mut settings = settings(issuer, upstream);
    settings["listen"] = json!([{"address": address, "reuse_port": true,
                                 "tls": {"certificate": "tls.crt", "key": "tls.key"}}]);
    settings["upstreams"]["orders"]["urls"] = json!([service]);
    settings["dpop"]["nonce"]["secret_file"] = json!("nonce.key");
    // So long after its own start a gate takes no nonce of another's, which may be its predecessor.
    settings["dpop"]["clock_skew"] = json!("1s");
    settings["limits"] = json!({"shutdown_grace": "1s"});
    settings
}

struct Changing {
    issuer: Issuer,
    upstream: Upstream,
    service: String,
    authority: Authority,
}

impl Changing {
    async fn new() -> Self {
        let service = format!("http://{}", yes().await);
        Self { issuer: Issuer::start().await, upstream: Upstream::start().await, service, authority: Authority::new() }
    }

    async fn gate(&self, address: &str) -> (Gates, Gate, Value) {
        let settings = shared(&self.issuer, &self.upstream, &self.service, address);
        let gates = Gates::new(&settings).watching().environment("RUST_LOG", "warn,dpop_gate::app=info");
        self.renew_certificate(&gates);
        let gate = gates.start().await;
        (gates, gate, settings)
    }

    fn renew_certificate(&self, gates: &Gates) {
        let (certificate, key) = self.authority.issue("localhost");
        gates.write("tls.key", &key);
        gates.write("tls.crt", &certificate);
    }
}

/// `rounds` reloads and as many rotations of certificate and key under `rate` requests a second, and then another process
/// in this one's place.
async fn change_everything(rate: u32, rounds: usize) {
    let scene = Changing::new().await;
    let (gates, mut gate, mut settings) = scene.gate("127.0.0.1:0").await;
    let address = gate.address();
    let client = Client::of(&gate, &scene.issuer).naming(&format!("https://localhost:{}", address.port()));
    let load = Load::start(&client, &scene.authority.trusted(), rate);
    let began = Instant::now();
    until("traffic", || async { (load.tally.good.load(Ordering::Relaxed) > 0).then_some(()) }).await;
    for round in 1..=rounds {
        let (reloads, certificates) = (gate.log_of("reloaded").len(), load.tally.certificates.lock().unwrap().len());
        scene.renew_certificate(&gates);
        let route = json!({"match": {"path": format!("/round/{round}/")}, "upstream": "orders"});
        push(&mut settings["routes"], route);
        gates.configure(&settings);
        if round % 2 == 0 {
            gate.signal("HUP");
        }
        until("the reload", || async { (gate.log_of("reloaded").len() > reloads).then_some(()) }).await;
        let seen = || load.tally.certificates.lock().unwrap().len() > certificates;
        until("the new certificate", || async { seen().then_some(()) }).await;
    }
    let (_gates, successor, _) = scene.gate(&address.to_string()).await;
    assert_eq!(successor.address(), address, "two processes on one port");
    gate.signal("TERM");
    assert_eq!(gate.ended().await.code(), Some(0));
    let before = load.tally.good.load(Ordering::Relaxed);
    until("traffic to the new process", || async {
        (load.tally.good.load(Ordering::Relaxed) > before + u64::from(rate)).then_some(())
    })
    .await;
    let tally = load.stop().await;
    let seconds = began.elapsed().as_secs_f64();
    let good = tally.good.load(Ordering::Relaxed);
    eprintln!("{rounds} reloads, {rounds} certificate rotations, 1 replacement in {seconds:.1} s: {tally}");
    eprintln!("{:.0} requests a second", good as f64 / seconds);
    let failures = tally.failures.lock().unwrap().clone();
    assert_eq!(failures, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_while_everything_changes() {
    change_everything(200, 2).await;
}

/// `bash tests/changes`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute and both cores: bash tests/changes"]
async fn nothing_fails_at_2000_requests_a_second_while_everything_changes_20_times() {
    change_everything(2000, 20).await;
}
