//! Whoever runs the gate changes everything while requests come in, and none of them fails.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use super::harness::{
    Authority, Channel, Client, Gate, Gates, Issuer, Key, Load, Upstream, World, http2, push, settings, soon, until,
    yes,
};

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

/// `rounds` reloads and as many rotations of certificate and key under `rate` requests a second, and then another
/// process in this one's place.
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

/// The folder of a ConfigMap: what is named is a link through `..data`, which is exchanged whole.
fn mount(gates: &Gates, version: &str, settings: &Value) {
    let folder = gates.path(version);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("gate.yaml"), serde_yaml::to_string(settings).unwrap()).unwrap();
    symlink(version, gates.path("..data_tmp")).unwrap();
    fs::rename(gates.path("..data_tmp"), gates.path("..data")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_configuration_names_is_followed() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let mut settings = settings(&issuer, &upstream);
    settings["issuers"][0].as_object_mut().unwrap().remove("jwks_uri");
    settings["issuers"][0]["jwks_file"] = json!("issuer.jwks");
    settings["dpop"]["nonce"]["secret_file"] = json!("nonce.key");
    // What another process may have issued, this one takes at once.
    settings["dpop"]["clock_skew"] = json!("0s");
    let gates = Gates::new(&settings).watching();
    gates.write("issuer.jwks", &issuer.jwks().to_string());
    fs::remove_file(gates.path("gate.yaml")).unwrap();
    mount(&gates, "..1", &settings);
    symlink("..data/gate.yaml", gates.path("gate.yaml")).unwrap();
    let gate = gates.start().await;
    let client = Client::of(&gate, &issuer).greeted().await;
    assert_eq!(client.get("/orders/1").send().await.status, 200);

    push(&mut settings["routes"], json!({"match": {"path": "/new/"}, "upstream": "orders"}));
    mount(&gates, "..2", &settings);
    until("the new route", || async { (client.get("/new/1").send().await.status == 200).then_some(()) }).await;

    let mut bad = settings.clone();
    bad["routes"][0]["upstream"] = json!("nowhere");
    mount(&gates, "..3", &bad);
    let refused = "reload refused; the old configuration keeps serving";
    until("the refusal", || async { (!gate.log_of(refused).is_empty()).then_some(()) }).await;
    assert_eq!(client.get("/new/1").send().await.status, 200, "the old one serves");
    mount(&gates, "..4", &settings);

    issuer.rotate("k2", Key::es256());
    gates.write("issuer.jwks", &issuer.jwks().to_string());
    let token = issuer.token(&client.key).compact();
    until("the issuer's new key", || async {
        (client.get("/orders/1").token(token.clone()).send().await.status == 200).then_some(())
    })
    .await;

    let nonce = client.nonce().unwrap();
    gates.write("nonce.key", "another secret of more than 32 bytes, for tests alone\n");
    until("the new secret", || async {
        client.remember(&nonce);
        (client.get("/orders/1").send().await.error() == "use_dpop_nonce").then_some(())
    })
    .await;
    assert_eq!(client.get("/orders/1").send().await.status, 200, "with a nonce under the new one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_come_and_go_and_what_is_in_flight_ends() {
    let mut world = World::start().await;
    let client = world.client().await;
    let mut changed = settings(&world.issuer, &world.upstream);
    push(&mut changed["listen"], json!({"address": "127.0.0.1:0", "mode": "forward_auth"}));
    world.gates.configure(&changed);
    world.gate.signal("HUP");
    let asked = until("the new listener", || async { world.gate.logged_address("forward_auth") }).await;
    assert_eq!(client.at_address(asked).get("/orders/1").send().await.status, 200, "the new one decides");

    let held = world.held(&client).await;
    changed["listen"].as_array_mut().unwrap().remove(0);
    world.gates.configure(&changed);
    world.gate.signal("HUP");
    until("the old listener to close", || async {
        tokio::net::TcpStream::connect(client.address()).await.is_err().then_some(())
    })
    .await;
    world.upstream.release();
    assert_eq!(held.await.unwrap().text(), "released");
    assert_eq!(client.at_address(asked).get("/orders/1").send().await.status, 200, "and the other goes on");
    world.gate.signal("TERM");
    assert_eq!(world.gate.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_is_told_to_probes_first_and_to_clients_while_they_are_served() {
    let mut world = World::with(|settings| settings["limits"]["shutdown_grace"] = json!("10m")).await;
    let client = world.client().await;
    let stream = tokio::net::TcpStream::connect(client.address()).await.unwrap();
    let mut kept = http2(stream).await;
    world.gate.signal("TERM");
    until("503", || async { (world.gate.admin("/readyz").await.status == 503).then_some(()) }).await;
    let answer = client.get("/orders/1").send().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "on a new connection: {answer:?}");
    let request = client.get("/orders/1").prepare().over_http2("http").body(Channel::empty()).unwrap();
    assert_eq!(soon("an answer", kept.send_request(request)).await.unwrap().status(), 200, "on an old one");
    world.gate.signal("TERM");
    assert_eq!(world.gate.ended().await.code(), Some(0), "a second one ends it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_while_everything_changes() {
    change_everything(200, 2).await;
}

/// `bash tests/changes`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half a minute and both cores: bash tests/changes"]
async fn nothing_fails_at_2000_requests_a_second_while_everything_changes_20_times() {
    change_everything(2_200, 20).await;
}
