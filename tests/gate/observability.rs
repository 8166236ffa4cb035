//! A real Prometheus scrapes the gate under a little load, with the rules of `deploy/`: every panel's query and every
//! alert's expression finds data.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::harness::{AUDIENCE, Client, Collector, Key, Redis, SOON, World, exchange, now, push};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_and_every_alert_finds_data_in_a_real_prometheus() {
    let (redis, collector) = (Redis::start().await, Collector::start().await);
    let world = World::with(|settings| {
        settings["dpop"]["replay"] = json!({"store": "redis", "redis": {"url": redis.url(), "timeout": "2s"}});
        settings["traces"] = json!({"otlp": collector.url()});
        // Opaque tokens of an issuer that never answers, and a route that only reports.
        push(
            &mut settings["issuers"],
            json!({"issuer": "http://127.0.0.1:1", "audiences": [AUDIENCE], "introspection":
                   {"url": "http://127.0.0.1:1/", "client_id": "gate", "client_secret_file": "nonce.key"}}),
        );
        push(
            &mut settings["routes"],
            json!({"name": "old", "match": {"path": "/old/"}, "upstream": "orders", "mode": "report"}),
        );
    })
    .await;
    let client = world.client().await;
    let prometheus = Prometheus::start(world.gate.admin_address());
    let mut missing = queries();
    assert!(missing.len() > 30, "{missing:#?}");
    let end = Instant::now() + 3 * SOON;
    while !missing.is_empty() {
        assert!(Instant::now() < end, "no data for {missing:#?}\n{}", prometheus.log());
        // Rates want requests between two scrapes, and quotients requests all the time.
        load(&world, &client).await;
        let mut still = Vec::new();
        for (name, query) in missing {
            if !prometheus.finds(&query).await {
                still.push((name, query));
            }
        }
        missing = still;
        // It scrapes once a second: asked more often, it would only take the cores from others.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let rules = prometheus.get("/api/v1/rules").await;
    let groups = rules["data"]["groups"].as_array().unwrap();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() > 15 && rules.iter().all(|rule| rule["health"] == "ok"), "{rules:#?}");
}

/// A request for each thing that alerts look at.
async fn load(world: &World, client: &Client) {
    let good = client.get("/orders/1").prepare();
    assert_eq!(client.send(&good).await.status, 200);
    assert_eq!(client.send(&good).await.error(), "invalid_dpop_proof", "replayed");
    let early = client.get("/orders/1").proof(|proof| proof.claim("iat", now() + 3600)).send().await;
    assert_eq!(early.error(), "invalid_dpop_proof", "dated ahead");
    let thief = Client::with(&world.gate, Key::es256(), client.token.clone());
    thief.remember(&client.nonce().unwrap());
    assert_eq!(thief.get("/orders/1").send().await.error(), "invalid_token", "another's token");
    let opaque = client.get("/orders/1").token("an-opaque-token-of-nobody-0123456789").send().await;
    assert_eq!(opaque.status, 503, "{opaque:?}");
    assert_eq!(client.get("/old/1").proofs(&[]).send().await.status, 200, "reported");
    assert_eq!(client.get("/nowhere").send().await.status, 404, "under the label of no route");
}

/// What a person or an alert asks: name and query.
fn queries() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability");
    let dashboard: Value = serde_json::from_slice(&fs::read(folder.join("dashboard.json")).unwrap()).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m").replace("$job", ".*");
            assert!(!query.contains('$'), "a variable that Grafana would fill in: {query}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    let rules: Value = serde_yaml::from_slice(&fs::read(folder.join("rules.yaml")).unwrap()).unwrap();
    for rule in rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let expr = rule["expr"].as_str().unwrap();
        match rule["alert"].as_str() {
            None => queries.push((rule["record"].as_str().unwrap().to_owned(), expr.to_owned())),
            // An alert that does not fire finds nothing; asked for yes or no, it finds what it compares.
            Some(alert) => {
                let asked = expr.replace(" > ", " > bool ").replace(" == ", " == bool ");
                assert!(asked.contains(" bool "), "{alert} compares nothing: {expr}");
                queries.push((alert.to_owned(), asked));
            }
        }
    }
    queries
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(gate: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability/rules.yaml");
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "dpop-gate", "static_configs": [{"targets": [gate.to_string()]}]}],
        });
        fs::write(folder.path().join("prometheus.yml"), config.to_string()).unwrap();
        // It cannot say which port it took.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("no Prometheus ({error}); `bash tests/run` installs it"));
        Self { child, address, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        // It takes a moment to listen, and another to be ready.
        if tokio::net::TcpStream::connect(self.address).await.is_err() {
            return Value::Null;
        }
        let request = http::Request::get(path).header("host", self.address.to_string());
        let answer = exchange(self.address, request.body(Vec::new()).unwrap()).await;
        if answer.status == 503 { Value::Null } else { answer.json() }
    }

    /// Whether the query has a result, and numbers in all of it.
    async fn finds(&self, query: &str) -> bool {
        let encoded = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let answer = self.get(&format!("/api/v1/query?query={encoded}")).await;
        assert_ne!(answer["status"], "error", "{query}: {answer}");
        let Some(series) = answer["data"]["result"].as_array() else { return false };
        !series.is_empty() && series.iter().all(|series| series["value"][1] != "NaN")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
