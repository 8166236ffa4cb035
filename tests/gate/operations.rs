//! What an operator does to a gate while it serves, and what it tells them.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{
    Authority, Channel, Client, Gates, Issuer, Jws, Key, Raw, Upstream, World, exchange_on, http2, push, run, settings,
    until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_in_the_middle_of_traffic_lose_no_request() {
    let world = World::start().await;
    let client = world.client().await;
    let (served, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let traffic: Vec<_> = (0..3)
        .map(|_| {
            let (client, served, stop) = (client.clone(), Arc::clone(&served), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.post("/orders/echo", "an order").send().await;
                    assert_eq!((answer.status, answer.text().as_str()), (200, "an order"), "{answer:?}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 1..=5 {
        let mut settings = settings(&world.issuer, &world.upstream);
        push(&mut settings["routes"], json!({"match": {"path": format!("/round/{round}/")}, "upstream": "orders"}));
        world.gates.configure(&settings);
        world.gate.signal("HUP");
        let path = format!("/round/{round}/x");
        let client = &client;
        let path = path.as_str();
        until("the new configuration to serve", || async move {
            (client.get(path).send().await.status == 200).then_some(())
        })
        .await;
        let before = served.load(Ordering::Relaxed);
        until("traffic to go on", || async { (served.load(Ordering::Relaxed) > before + 5).then_some(()) }).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in traffic {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_survives_a_reload() {
    let world = World::start().await;
    let client = world.client().await;
    let held = world.held(&client).await;
    let mut settings = settings(&world.issuer, &world.upstream);
    settings["routes"][0]["match"]["path"] = json!("/moved/");
    world.gates.configure(&settings);
    world.gate.signal("HUP");
    until("the new configuration", || async { (client.get("/orders/1").send().await.status == 404).then_some(()) })
        .await;
    world.upstream.release();
    assert_eq!(held.await.unwrap().text(), "released");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_new_file_is_refused_with_its_errors_and_the_old_one_serves() {
    let world = World::start().await;
    let client = world.client().await;
    let mut bad = settings(&world.issuer, &world.upstream);
    bad["routes"][0]["upstream"] = json!("nowhere");
    bad["routs"] = json!([]);
    world.gates.configure(&bad);
    world.gate.signal("HUP");
    until("the errors in the log", || async {
        let log = world.gate.log().join("\n");
        (log.contains("routes[0].upstream") && log.contains("routs")).then_some(())
    })
    .await;
    assert_eq!(client.get("/orders/1").send().await.status, 200);
    assert_eq!(world.gate.admin("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_and_sigint_drain_and_exit_0() {
    for signal in ["TERM", "INT"] {
        let mut world = World::start().await;
        let client = world.client().await;
        let held = world.held(&client).await;
        world.gate.signal(signal);
        until("the listener to close", || async {
            tokio::net::TcpStream::connect(client.address()).await.is_err().then_some(())
        })
        .await;
        assert_eq!(world.gate.admin("/readyz").await.status, 503, "probes are answered to the last");
        assert_eq!(world.gate.admin("/livez").await.status, 200);
        world.upstream.release();
        let answer = held.await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "released"), "SIG{signal}");
        assert_eq!(world.gate.ended().await.code(), Some(0), "SIG{signal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_has_an_end() {
    let mut world = World::with(|settings| settings["limits"]["drain_timeout"] = json!("300ms")).await;
    let client = world.client().await;
    tokio::spawn(async move { client.get("/orders/held").send().await });
    until("the request at the upstream", || async {
        world.upstream.seen().iter().any(|seen| seen.uri == "/orders/held").then_some(())
    })
    .await;
    world.gate.signal("TERM");
    assert_eq!(world.gate.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_what_is_wrong_and_where() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let good = settings(&issuer, &upstream);
    let gates = Gates::new(&good);
    let file = gates.path("gate.yaml");
    let file = file.to_str().unwrap();
    let output = run(&["check", "--config", file]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));

    let mut bad = good.clone();
    bad["routes"][0]["upstream"] = json!("nowhere");
    bad["dpop"]["proof_lifetme"] = json!("60s");
    bad["issuers"][0].as_object_mut().unwrap().remove("jwks_uri");
    bad["issuers"][0]["jwks_file"] = json!("missing.json");
    gates.configure(&bad);
    for command in ["check", "run"] {
        let output = run(&[command, "--config", file]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{command}: {errors}");
        for part in ["routes[0].upstream", "proof_lifetime", "jwks_file"] {
            assert!(errors.contains(part), "{command}: no {part} in {errors}");
        }
    }
    let output = run(&["check", "--config", file]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    for line in errors.lines() {
        let rest = line.strip_prefix(file).and_then(|rest| rest.strip_prefix(':')).unwrap_or_else(|| panic!("{line}"));
        let mut parts = rest.splitn(3, ':');
        let mut number = || parts.next().unwrap().parse::<usize>().unwrap_or(0);
        assert!(number() >= 1 && number() >= 1, "{line}");
    }
    for arguments in [&["check", "--config", "/nonexistent/gate.yaml"][..], &["run"], &["fly"], &["check", "--fast"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_ends_the_run_with_1() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings(&issuer, &upstream);
    settings["admin"]["address"] = json!(taken.local_addr().unwrap().to_string());
    let gates = Gates::new(&settings);
    let file = gates.path("gate.yaml");
    let output = tokio::task::spawn_blocking(move || run(&["run", "--config", file.to_str().unwrap()])).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(&taken.local_addr().unwrap().to_string()), "{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_alive_before_it_is_ready_and_ready_once_issuers_have_keys() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    issuer.take_down();
    let gates = Gates::new(&settings(&issuer, &upstream));
    let gate = gates.start_unready().await;
    assert_eq!(gate.admin("/livez").await.status, 200);
    assert_eq!(gate.admin("/readyz").await.status, 503);
    let client = Client::of(&gate, &issuer).greeted().await;
    let answer = client.get("/orders/1").send().await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "temporarily_unavailable"), "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(gate.refusals("issuer_unavailable").await, 1.0);
    issuer.bring_up();
    until("the gate to be ready", || async { (gate.admin("/readyz").await.status == 200).then_some(()) }).await;
    assert_eq!(client.get("/orders/1").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_of_the_contract_is_there() {
    let world = World::start().await;
    let client = world.client().await;
    assert_eq!(client.get("/orders/1").send().await.status, 200);
    assert_eq!(client.get("/orders/1").send().await.status, 200);
    let text = world.gate.admin("/metrics").await.text();
    for name in [
        r#"dpop_gate_requests_total{outcome="allowed",route="orders"} 2"#,
        r#"dpop_gate_requests_total{outcome="refused",route="orders"} 1"#,
        r#"dpop_gate_refusals_total{reason="nonce_missing",route="orders"} 1"#,
        "dpop_gate_decision_seconds_bucket{",
        r#"dpop_gate_request_seconds_bucket{route="orders""#,
        r#"dpop_gate_upstream_errors_total{kind="connect",upstream="orders"} 0"#,
        r#"dpop_gate_nonce_challenges_total{route="orders"} 1"#,
        "dpop_gate_replay_entries 2",
        r#"dpop_gate_replay_store_errors_total{store="memory"} 0"#,
        r#"dpop_gate_token_cache_total{result="hit"} 1"#,
        r#"dpop_gate_token_cache_total{result="miss"} 1"#,
        "dpop_gate_jwks_refresh_total{issuer=",
        "dpop_gate_connections ",
        "dpop_gate_build_info{version=",
    ] {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
    let page = world.gate.admin("/").await;
    assert!(page.header("content-type").unwrap().starts_with("text/html"), "{page:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_one_log_line_with_the_fields_of_the_contract() {
    let world = World::start().await;
    let client = world.client().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let call = client.get("/orders/1?secret=query").header("traceparent", trace).header("x-request-id", "ticket-4711");
    assert_eq!(call.send().await.status, 200);
    let line = until("the log line", || async {
        world.gate.requests_logged().into_iter().find(|line| line["request_id"] == "ticket-4711")
    })
    .await;
    for (field, expected) in [
        ("trace_id", json!("0af7651916cd43dd8448eb211c80319c")),
        ("method", json!("GET")),
        ("path", json!("/orders/1")),
        ("route", json!("orders")),
        ("status", json!(200)),
        ("outcome", json!("allowed")),
        ("sub", json!("alice")),
        ("client_id", json!("shop")),
        ("jkt", json!(client.key.thumbprint())),
    ] {
        assert_eq!(line[field], expected, "{field} in {line}");
    }
    assert!(line["client_addr"].as_str().unwrap().starts_with("127.0.0.1"), "{line}");
    assert!(line["decision_us"].is_number() && line["upstream_ms"].is_number(), "{line}");
    assert!(line["time"].as_str().unwrap().contains('T'), "{line}");
    assert!(!line.to_string().contains("secret=query"), "{line}");

    client.get("/orders/2").proofs(&[]).header("x-request-id", "ticket-4712").send().await;
    let line = until("the log line", || async {
        world.gate.requests_logged().into_iter().find(|line| line["request_id"] == "ticket-4712")
    })
    .await;
    let got = (&line["status"], &line["outcome"], &line["reason"]);
    assert_eq!(got, (&json!(401), &json!("refused"), &json!("missing_proof")), "{line}");
    let ids: Vec<Value> = world.gate.requests_logged().into_iter().map(|line| line["request_id"].clone()).collect();
    assert_eq!(ids.iter().filter(|id| **id == json!("ticket-4711")).count(), 1, "one line a request");
}

/// The harness searches the log for every token, proof and signature that a client sent; here there is a lot of log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_credential_is_logged_however_much_is_logged() {
    let world = World::prepared(
        |settings| {
            let url = settings["issuers"][0]["issuer"].as_str().unwrap().to_owned();
            push(
                &mut settings["issuers"],
                json!({"issuer": format!("{url}/opaque"), "audiences": ["api://orders"],
                "introspection": {"url": format!("{url}/introspect"), "client_id": "gate", "client_secret_file": "s"}}),
            );
            settings["identity"]["forward_token"] = json!(true);
        },
        |gates| {
            gates.write("s", "the-gates-own-secret\n");
            gates.environment("RUST_LOG", "trace")
        },
    )
    .await;
    let client = world.client().await;
    let opaque =
        world.issuer.opaque(json!({"active": true, "aud": "api://orders", "cnf": {"jkt": client.key.thumbprint()}}));
    for call in [
        client.get("/orders/1"),
        client.get("/orders/1").proof(Jws::spoiled),
        client.get("/orders/1").token(opaque.clone()),
        client.get("/orders/1").bearer(),
        client.get("/orders/1").proof(|proof| proof.claim("htm", "POST")),
        client.get("/orders/1").token(world.issuer.token(&client.key).spoiled().compact()),
    ] {
        call.send().await;
    }
    let stream = tokio::net::TcpStream::connect(client.address()).await.unwrap();
    let request = client.get("/orders/1").prepare().over_http2("http").body(Channel::empty()).unwrap();
    assert_eq!(http2(stream).await.send_request(request).await.unwrap().status(), 200);
    let nonce = client.nonce().unwrap();
    let secrets = world.gate.secrets();
    secrets.lock().unwrap().extend([
        opaque,
        nonce,
        "the-gates-own-secret".into(),
        "dGhlLWdhdGVzLW93bi1zZWNyZXQ".into(),
    ]);
    assert!(world.gate.log().len() > 10, "{:?}", world.gate.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_keys_of_an_issuer_are_learnt_without_a_restart_and_old_ones_forgotten() {
    let world = World::start().await;
    let client = world.client().await;
    let old = client.token.clone();
    assert_eq!(client.get("/orders/1").send().await.status, 200);
    world.issuer.rotate("k2", Key::of("PS256"));
    world.issuer.forget_old_keys();
    let token = world.issuer.token(&client.key).compact();
    until("a token under the new key to pass", || async {
        (client.get("/orders/1").token(token.clone()).send().await.status == 200).then_some(())
    })
    .await;
    let answer = client.get("/orders/1").token(old).send().await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_token"), "a withdrawn key: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_goes_down_does_not_stop_what_it_has_signed() {
    let world = World::start().await;
    world.issuer.take_down();
    let client = world.client().await;
    assert_eq!(client.get("/orders/1").send().await.status, 200, "a token never seen before, under known keys");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_keys_does_not_reach_the_issuer() {
    let world = World::start().await;
    let client = world.client().await;
    let start = std::time::Instant::now();
    let before = world.issuer.asked("/jwks");
    for number in 0..50 {
        let token = world.issuer.token(&client.key).header("kid", format!("unknown-{number}")).compact();
        let answer = client.get("/orders/1").token(token).send().await;
        assert_eq!(answer.error(), "invalid_token", "{answer:?}");
    }
    let periods = 1 + usize::try_from(start.elapsed().as_secs() / 10).unwrap();
    let asked = world.issuer.asked("/jwks") - before;
    assert!(asked <= periods, "asked {asked} times in {:?}", start.elapsed());
    assert_eq!(client.get("/orders/1").send().await.status, 200);
}

/// A `kid` of one issuer in a token of another: each has its own keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_of_one_issuer_vouches_for_a_token_of_another() {
    let other = Issuer::start().await;
    let world = World::with(|settings| push(&mut settings["issuers"], other.settings())).await;
    let client = world.client().await;
    assert_eq!(client.get("/orders/1").send().await.status, 200);
    assert_eq!(client.get("/orders/1").token(other.token(&client.key).compact()).send().await.status, 200);
    let crossed = other.token(&client.key).claim("iss", world.issuer.url()).compact();
    let answer = client.get("/orders/1").token(crossed).send().await;
    assert_eq!(answer.error(), "invalid_token", "{answer:?}");
    assert_eq!(world.gate.refusals("token_signature").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_come_from_a_file_or_by_discovery() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    for source in ["jwks_file", "discovery"] {
        let mut settings = settings(&issuer, &upstream);
        let entry = settings["issuers"][0].as_object_mut().unwrap();
        entry.remove("jwks_uri");
        entry.insert(source.into(), if source == "discovery" { json!(true) } else { json!("jwks.json") });
        let gates = Gates::new(&settings);
        gates.write("jwks.json", &issuer.jwks().to_string());
        let gate = gates.start().await;
        let client = Client::of(&gate, &issuer).greeted().await;
        assert_eq!(client.get("/orders/1").send().await.status, 200, "{source}");
    }
    assert_eq!(issuer.asked("/.well-known/oauth-authorization-server"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_served_without_losing_a_connection() {
    let authority = Authority::new();
    let world = World::over_tls(&authority).await;
    let address = world.gate.address();
    let served = |stream: &tokio_rustls::client::TlsStream<tokio::net::TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let old = authority.connect(address, "http/1.1", None).await;
    let before = served(&old);
    let (certificate, key) = authority.issue("localhost");
    world.gates.write("tls.key", &key);
    world.gates.write("tls.crt", &certificate);
    until("the new certificate", || async {
        (served(&authority.connect(address, "http/1.1", None).await) != before).then_some(())
    })
    .await;
    let client = world.stranger();
    let answer = exchange_on(old, client.get("/orders/1").prepare().request()).await;
    assert_eq!(answer.status, 401, "the old connection still serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_address_that_is_down_costs_no_request() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let second = Upstream::start().await;
    let world = World::with(|settings| {
        let urls = settings["upstreams"]["orders"]["urls"].as_array_mut().unwrap();
        urls.extend([json!(format!("http://{closed}")), json!(second.url())]);
    })
    .await;
    let client = world.client().await;
    for _ in 0..20 {
        let answer = client.get("/orders/1").send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(world.upstream.count() >= 5 && second.count() >= 5, "{} and {}", world.upstream.count(), second.count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unhealthy_address_gets_no_request() {
    let second = Upstream::start().await;
    let world = World::with(|settings| {
        let urls = settings["upstreams"]["orders"]["urls"].as_array_mut().unwrap();
        urls.push(json!(second.url()));
        // 418 at one path is what the upstream can do to look ill; both do, so both must be asked and none served.
        settings["upstreams"]["orders"]["health_check"] = json!({"path": "/teapot", "interval": "100ms"});
    })
    .await;
    let client = world.client().await;
    let refused = || async {
        let answer = client.get("/orders/1").send().await;
        (answer.status == 502).then(|| answer.error())
    };
    assert_eq!(until("nobody to be healthy", refused).await, "bad_gateway");
    let labels = [("upstream", "orders"), ("kind", "unhealthy")];
    assert!(world.gate.metric("dpop_gate_upstream_errors_total", &labels).await >= 1.0);
}

/// The commands' output is what the gate takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keygen_and_proof_make_what_the_gate_accepts() {
    let world = World::with(|settings| settings["dpop"]["nonce"]["mode"] = json!("off")).await;
    let client = world.stranger();
    for alg in ["ES256", "ES384", "EdDSA", "RS256", "PS256"] {
        let file = world.gates.path(&format!("{alg}.jwk"));
        let name = file.to_str().unwrap();
        let output = run(&["keygen", "--alg", alg, "--out", name]);
        assert_eq!(output.status.code(), Some(0), "{alg}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{alg}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let jkt = stderr.split_whitespace().last().unwrap();
        assert_eq!(jkt.len(), 43, "a thumbprint: {stderr}");
        let token = world.issuer.token(&client.key).claim("cnf", json!({"jkt": jkt})).compact();
        let url = format!("{}/orders/1", client.origin);
        let output =
            run(&["proof", "--key", name, "--method", "GET", "--url", &url, "--token", &token, "--count", "3"]);
        assert_eq!(output.status.code(), Some(0), "{alg}: {}", String::from_utf8_lossy(&output.stderr));
        let proofs = String::from_utf8(output.stdout).unwrap();
        assert_eq!(proofs.lines().count(), 3, "{alg}");
        for proof in proofs.lines() {
            let answer = client.get("/orders/1").token(token.clone()).proofs(&[proof]).send().await;
            assert_eq!(answer.status, 200, "{alg}: {answer:?}");
        }
    }
    let key = run(&["keygen"]);
    let jwk: Value = serde_json::from_slice(&key.stdout).unwrap();
    assert!(jwk["d"].is_string(), "a private JWK on standard output");
    let schema: Value = serde_json::from_slice(&run(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["routes"].is_object(), "{schema}");
    for command in ["run", "check", "demo", "keygen", "proof", "schema"] {
        let output = run(&[command, "--help"]);
        let help = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(help.contains(&format!("dpop-gate {command}")), "an example of {command}: {help}");
    }
}

/// What is slow to read does not hold up the drain for longer than it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_delay_the_end() {
    let mut world = World::start().await;
    let client = world.client().await;
    let mut idle = Raw::connect(client.address()).await;
    idle.write(client.get("/orders/1").prepare().head() + "\r\n").await;
    idle.read_until("\r\n\r\n").await;
    let start = std::time::Instant::now();
    world.gate.signal("TERM");
    assert_eq!(world.gate.ended().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
