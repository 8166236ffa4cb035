//! The way through: what an upstream reads, what a client gets back, and nothing between them that is not meant.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{AUDIENCE, Client, Key, Raw, World, exchange, push, until};

/// A gate that clients know as `http://api.test`.
async fn api_test(change: impl FnOnce(&mut Value)) -> (World, Client) {
    let world = World::with(|settings| {
        settings["public_url"] = json!("http://api.test");
        change(settings);
    })
    .await;
    let client = world.stranger().naming("http://api.test").greeted().await;
    (world, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_id_and_trace_pass_and_forwarding_headers_of_strangers_do_not() {
    let world = World::start().await;
    let client = world.client().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let call = client.get("/orders/1").header("x-request-id", "ticket-4711").header("traceparent", trace);
    let call = call.header("x-forwarded-for", "6.6.6.6").header("x-forwarded-host", "evil.example");
    let call = call.header("forwarded", "for=6.6.6.6;host=evil.example").header("x-forwarded-proto", "https");
    assert_eq!(call.send().await.status, 200);
    let seen = world.upstream.last();
    assert_eq!(seen.header("x-request-id"), Some("ticket-4711"));
    assert_eq!(seen.header("traceparent").unwrap()[3..35], trace[3..35], "the same trace");
    let everything = format!("{:?}", seen.headers);
    assert!(!everything.contains("6.6.6.6") && !everything.contains("evil.example"), "{everything}");
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
}

/// RFC 3986 sections 6.2.2 and 6.2.3; RFC 9449 section 4.3: without query and fragment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_uris_are_equal_however_they_are_spelled() {
    let (world, client) = api_test(|_| {}).await;
    for (path, htu) in [
        ("/orders/~alice", "http://api.test/orders/~alice"),
        ("/orders/~alice", "HTTP://API.TEST/orders/~alice"),
        ("/orders/~alice", "http://api.test:80/orders/~alice"),
        ("/orders/~alice", "http://api.test:/orders/~alice"),
        ("/orders/~alice", "http://api.test/orders/%7Ealice"),
        ("/orders/%7ealice", "http://api.test/orders/~alice"),
        ("/orders/~alice", "http://api.test/orders/x/../~alice"),
        ("/orders/~alice", "http://api.test/orders/~alice?any=query"),
        ("/orders/~alice", "http://api.test/orders/~alice#fragment"),
        ("/orders/~alice?q=1", "http://api.test/orders/~alice?q=1"),
        ("/orders/%c3%a9", "http://api.test/orders/%C3%A9"),
    ] {
        let answer = client.get(path).proof(move |proof| proof.claim("htu", htu)).send().await;
        assert_eq!(answer.status, 200, "{path} as {htu}: {answer:?}");
    }
    client
        .get("/orders/%7Ealice/a%2Etxt?q=%7E")
        .proof(|p| p.claim("htu", "http://api.test/orders/~alice/a.txt"))
        .send()
        .await;
    assert_eq!(world.upstream.last().uri, "/orders/~alice/a.txt?q=%7E", "what was matched is what is forwarded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_public_urls_the_one_with_the_requests_authority_counts() {
    let world = World::with(|settings| {
        settings["public_url"] = json!(["https://api.example", "https://api.example.org:8443"]);
    })
    .await;
    let client = world.stranger().naming("https://api.example").greeted().await;
    let other = client.naming("https://api.example.org:8443");
    assert_eq!(client.get("/orders/1").send().await.status, 200);
    assert_eq!(other.get("/orders/1").send().await.status, 200);
    let crossed = client.get("/orders/1").header("host", "api.example.org:8443").send().await;
    assert_eq!(crossed.error(), "invalid_dpop_proof");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_believed_proxy_says_how_the_client_addressed_it() {
    let world = World::with(|settings| settings["trusted_proxies"] = json!(["127.0.0.1"])).await;
    let client = world.stranger();
    let plain = client.greeted().await;
    let outside = plain.naming("https://api.example");
    for headers in [
        &[("x-forwarded-proto", "https"), ("x-forwarded-host", "api.example"), ("x-forwarded-for", "192.0.2.7")][..],
        &[("forwarded", "for=192.0.2.7;proto=https;host=api.example")],
    ] {
        let mut call = outside.get("/orders/1").header("host", "internal.example");
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let answer = call.send().await;
        assert_eq!(answer.status, 200, "{headers:?}: {answer:?}");
        let seen = world.upstream.last();
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"), "{headers:?}");
        assert_eq!(seen.header("x-forwarded-host"), Some("api.example"), "{headers:?}");
        assert!(seen.header("x-forwarded-for").unwrap().contains("192.0.2.7"), "{headers:?}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migration_takes_unbound_tokens_as_bearer_and_bound_ones_with_proof() {
    let world = World::with(|settings| settings["routes"][0]["auth"] = json!("dpop_or_bearer")).await;
    let client = world.client().await;
    assert_eq!(client.get("/orders/1").send().await.status, 200, "bound, with a proof");
    let token = world.issuer.token(&client.key).without("cnf").compact();
    let answer = client.get("/orders/1").token(token.clone()).bearer().send().await;
    assert_eq!(answer.status, 200, "unbound, as Bearer: {answer:?}");
    let seen = world.upstream.last();
    assert_eq!((seen.header("x-auth-subject"), seen.header("x-auth-jkt")), (Some("alice"), None));
    assert_eq!(seen.header("authorization"), None);
    let lower = client.get("/orders/1").authorization(&[&format!("bearer {token}")]).proofs(&[]).send().await;
    assert_eq!(lower.status, 200, "schemes have no case (RFC 9110 section 11.1): {lower:?}");
    let scoped = client.get("/orders/1").authorization(&[&format!("dpop {}", client.token)]).send().await;
    assert_eq!(scoped.status, 200, "{scoped:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn report_mode_lets_through_what_it_would_have_refused_and_says_so() {
    let world = World::with(|settings| settings["routes"][0]["mode"] = json!("report")).await;
    let client = world.client_of_report_mode();
    let answer = client.get("/orders/1").authorization(&["Bearer legacy"]).proofs(&[]).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = world.upstream.last();
    assert_eq!(seen.header("authorization"), Some("Bearer legacy"), "as it came");
    assert_eq!(seen.header("x-auth-subject"), None);
    let answer = client.get("/orders/1").proof(|proof| proof.claim("htm", "POST")).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(world.gate.refusals("htm_mismatch").await, 1.0);
    assert_eq!(world.gate.metric("dpop_gate_requests_total", &[("outcome", "reported")]).await, 2.0);
    assert_eq!(world.gate.metric("dpop_gate_requests_total", &[("outcome", "refused")]).await, 0.0);
    let line = until("its line in the log", || async {
        world.gate.requests_logged().into_iter().find(|line| line["reason"] == "htm_mismatch")
    })
    .await;
    assert_eq!(line["outcome"], "reported", "{line}");
    // What no credentials could mend is refused all the same.
    assert_eq!(client.get("/orders/../x").send().await.status, 400);
    assert_eq!(client.get("/elsewhere").send().await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_match_in_order_by_host_path_and_method() {
    let world = World::with(|settings| {
        settings["routes"] = json!([
            {"name": "write", "match": {"path": "/orders/", "methods": ["POST", "PUT"]}, "upstream": "orders",
             "require": {"scopes": ["orders.write"]}},
            {"name": "host", "match": {"path": "/orders/", "host": "public.example"}, "upstream": "orders",
             "auth": "public"},
            {"name": "exact", "match": {"path": "/orders"}, "upstream": "orders"},
            {"name": "acme", "match": {"path": "/orders/acme/"}, "upstream": "orders",
             "require": {"claims": {"tenant": ["acme", "umbrella"], "staff": true}}},
            {"name": "rest", "match": {"path": "/orders/"}, "upstream": "orders"},
        ]);
    })
    .await;
    let client = world.client().await;
    let acme = world.issuer.token(&client.key).claim("tenant", "acme").claim("staff", true).compact();
    let scp = world.issuer.token(&client.key).without("scope").claim("scp", json!(["orders.write"])).compact();
    for (call, label) in [
        (client.post("/orders/1", "x"), "write"),
        (client.post("/orders/1", "x").token(scp), "write"),
        (client.get("/orders/1").header("host", "PUBLIC.example").authorization(&[]).proofs(&[]), "host"),
        (client.get("/orders"), "exact"),
        (client.get("/orders/acme/1").token(acme), "acme"),
        (client.get("/orders/1"), "rest"),
        (client.call("PURGE", "/orders/1"), "rest"),
    ] {
        let labels = [("route", label), ("outcome", "allowed")];
        let before = world.gate.metric("dpop_gate_requests_total", &labels).await;
        let answer = call.send().await;
        assert_eq!(answer.status, 200, "{label}: {answer:?}");
        assert_eq!(world.gate.metric("dpop_gate_requests_total", &labels).await, before + 1.0, "{label}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_endpoint_learns_the_key_and_keeps_the_clients_own_authentication() {
    let world = World::with(|settings| {
        settings["routes"] = json!([
            {"match": {"path": "/orders/"}, "upstream": "orders"},
            {"match": {"path": "/oauth/token"}, "upstream": "orders", "auth": "token_endpoint"},
        ]);
    })
    .await;
    let client = world.client().await;
    let call = client.post("/oauth/token", "grant_type=client_credentials").proof(|proof| proof.without("ath"));
    let answer = call.authorization(&["Basic c2hvcDpzZWNyZXQ="]).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = world.upstream.last();
    assert_eq!(seen.header("authorization"), Some("Basic c2hvcDpzZWNyZXQ="));
    assert_eq!(seen.header("x-auth-jkt"), Some(client.key.thumbprint().as_str()));
    assert_eq!(seen.header("x-auth-subject"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_endpoint_demands_a_nonce_in_the_words_that_okta_uses() {
    let world = World::with(|settings| {
        let token = json!({"match": {"path": "/token"}, "upstream": "orders", "auth": "token_endpoint"});
        push(&mut settings["routes"], token);
    })
    .await;
    let client = world.client().await;
    let basic = ["Basic c2hvcDpzZWNyZXQ="];
    let call = client.post("/token", "grant_type=client_credentials").authorization(&basic);
    let challenged = call.proof(|proof| proof.without("ath").without("nonce")).send().await;
    assert_eq!(challenged.status, 400, "{challenged:?}");
    let expected = json!({
        "error": "use_dpop_nonce",
        "error_description": "Authorization server requires nonce in DPoP proof.",
    });
    assert_eq!(challenged.json(), expected);
    assert_eq!(challenged.headers_of("content-type"), "application/json");
    assert_eq!(challenged.headers_of("cache-control"), "no-store");
    assert_eq!(challenged.headers_of("www-authenticate"), "", "JSON alone (RFC 9449 section 8)");
    let nonce = challenged.headers_of("dpop-nonce");
    assert_eq!(world.upstream.count(), 0);

    let call = client.post("/token", "grant_type=client_credentials").authorization(&basic);
    let answer = call.proof(move |proof| proof.without("ath").claim("nonce", nonce)).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gate_describes_itself_as_rfc_9728_wants() {
    let (world, client) = api_test(|_| {}).await;
    let answer = client.get("/.well-known/oauth-protected-resource").authorization(&[]).proofs(&[]).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let document = answer.json();
    assert_eq!(document["resource"], "http://api.test");
    assert_eq!(document["authorization_servers"], json!([world.issuer.url()]));
    let algorithms = document["dpop_signing_alg_values_supported"].as_array().unwrap();
    assert!(algorithms.contains(&json!("ES256")), "{document}");
    assert_eq!(world.upstream.count(), 0);
    assert_eq!(world.gate.metric("dpop_gate_requests_total", &[("outcome", "answered")]).await, 1.0);

    let refused = client.get("/orders/1").authorization(&[]).proofs(&[]).send().await;
    let challenge = refused.headers_of("www-authenticate");
    let metadata = r#"resource_metadata="http://api.test/.well-known/oauth-protected-resource""#;
    assert!(challenge.contains(metadata), "{challenge}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_of_named_origins_may_call_and_read_the_nonce() {
    let world =
        World::with(|settings| settings["routes"][0]["cors"] = json!({"origins": ["https://app.example"]})).await;
    let client = world.client().await;
    let before = world.upstream.count();
    let preflight = |origin: &'static str| {
        let call = client.call("OPTIONS", "/orders/1").authorization(&[]).proofs(&[]).header("origin", origin);
        let call = call.header("access-control-request-method", "POST");
        call.header("access-control-request-headers", "authorization, dpop, content-type").send()
    };
    let answer = preflight("https://app.example").await;
    assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    let allowed = answer.headers_of("access-control-allow-headers").to_lowercase();
    assert!(allowed.contains("authorization") && allowed.contains("dpop"), "{allowed}");
    assert!(answer.headers_of("access-control-allow-methods").contains("POST"), "{answer:?}");
    let answer = preflight("https://evil.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), None, "{answer:?}");
    assert_eq!(world.upstream.count(), before, "a preflight is the gate's to answer");

    for (call, status) in
        [(client.get("/orders/1"), 200), (client.get("/orders/1").authorization(&[]).proofs(&[]), 401)]
    {
        let answer = call.header("origin", "https://app.example").send().await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"), "{answer:?}");
        let exposed = answer.headers_of("access-control-expose-headers").to_lowercase();
        assert!(exposed.contains("dpop-nonce") && exposed.contains("www-authenticate"), "{exposed}");
        assert!(answer.headers_of("vary").to_lowercase().contains("origin"), "{answer:?}");
    }
    let answer = client.get("/orders/1").header("origin", "https://evil.example").send().await;
    assert_eq!(answer.header("access-control-allow-origin"), None, "{answer:?}");
}

/// RFC 9449 section 8.2: a client in steady use gets its next nonce before the old one runs out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_in_steady_use_is_challenged_once_and_never_again() {
    let world = World::with(|settings| settings["dpop"]["nonce"]["lifetime"] = json!("2s")).await;
    let client = world.client().await;
    let (start, mut nonces) = (Instant::now(), BTreeSet::new());
    // Two whole lifetimes: that cannot be told in less.
    while start.elapsed() < Duration::from_secs(5) {
        let answer = client.get("/orders/1").send().await;
        assert_eq!(answer.status, 200, "after {:?}: {answer:?}", start.elapsed());
        if let Some(nonce) = answer.header("dpop-nonce") {
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            nonces.insert(nonce.to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!((2..=6).contains(&nonces.len()), "{} nonces in five seconds", nonces.len());
    assert_eq!(world.gate.metric("dpop_gate_nonce_challenges_total", &[]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstreams_own_nonce_never_reaches_the_client() {
    let world = World::start().await;
    let client = world.client().await;
    let answer = client.get("/orders/nonce").send().await;
    assert_eq!((answer.status, answer.header("dpop-nonce")), (200, None), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_algorithm_of_the_contract_is_taken() {
    let world = World::start().await;
    let nonce = world.client().await.nonce().unwrap();
    for alg in ["ES256", "ES384", "EdDSA", "Ed25519", "RS256", "PS256"] {
        let key = Key::of(alg);
        let token = world.issuer.token(&key).compact();
        let client = Client::with(&world.gate, key, token);
        client.remember(&nonce);
        let answer = client.get("/orders/1").proof(move |proof| proof.header("alg", alg)).send().await;
        assert_eq!(answer.status, 200, "{alg}: {answer:?}");
        assert_eq!(world.upstream.last().header("x-auth-jkt"), Some(client.key.thumbprint().as_str()), "{alg}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstreams_failure_is_named_and_its_errors_pass() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::with(|settings| {
        settings["upstreams"]["orders"]["timeout"] = json!("300ms");
        settings["upstreams"]["gone"] = json!({"urls": [format!("http://{closed}")], "connect_timeout": "500ms"});
        push(&mut settings["routes"], json!({"match": {"path": "/gone/"}, "upstream": "gone"}));
    })
    .await;
    let client = world.client().await;
    let answer = client.get("/orders/teapot").send().await;
    assert_eq!((answer.status, answer.text().as_str()), (418, "short and stout"));
    for (path, status, error, upstream, kind) in [
        ("/orders/held", 504, "gateway_timeout", "orders", "timeout"),
        ("/gone/1", 502, "bad_gateway", "gone", "connect"),
    ] {
        let answer = client.get(path).send().await;
        assert_eq!((answer.status, answer.error().as_str()), (status, error), "{answer:?}");
        assert!(!answer.text().contains("127.0.0.1"), "an upstream's address: {answer:?}");
        let labels = [("upstream", upstream), ("kind", kind)];
        assert!(world.gate.metric("dpop_gate_upstream_errors_total", &labels).await >= 1.0, "{kind}");
    }
    assert_eq!(world.gate.metric("dpop_gate_requests_total", &[("outcome", "failed")]).await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opaque_tokens_pass_by_introspection_and_are_remembered() {
    let world = World::prepared(
        |settings| {
            let url = settings["issuers"][0]["issuer"].as_str().unwrap().to_owned();
            settings["issuers"] = json!([{"issuer": url, "audiences": [AUDIENCE], "introspection": {
                "url": format!("{url}/introspect"), "client_id": "gate", "client_secret_file": "s", "cache": "30s"}}]);
        },
        |gates| {
            gates.write("s", "a:secret\n");
            gates
        },
    )
    .await;
    let mut client = world.client().await;
    client.token = world.issuer.opaque_token(&client.key);
    for _ in 0..3 {
        let answer = client.get("/orders/1").send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(world.upstream.last().header("x-auth-subject"), Some("alice"));
    assert_eq!(world.issuer.asked("/introspect"), 1, "an answer is kept");
    let forged = client.get("/orders/1").token("a-token-that-nobody-knows").proof(|proof| proof.spoiled()).send().await;
    assert_eq!((forged.status, forged.error().as_str()), (401, "invalid_dpop_proof"), "{forged:?}");
    assert_eq!(world.issuer.asked("/introspect"), 1, "nobody without a key gets to ask");
    // RFC 6749 section 2.3.1: `gate:a%3Asecret`, form-encoded before it is base64.
    assert_eq!(world.issuer.authorization().as_deref(), Some("Basic Z2F0ZTphJTNBc2VjcmV0"));
    assert_eq!(world.gate.metric("dpop_gate_token_cache_total", &[("result", "hit")]).await, 2.0);
}

/// The sub-requests of nginx, Traefik and Caddy, and Envoy's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forward_auth_decides_on_the_original_request() {
    let world = World::with(|settings| {
        settings["listen"] = json!([{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "mode": "forward_auth"}]);
    })
    .await;
    let client = world.client().await.naming("https://api.example").at_address(world.gate.forward_auth());
    let traefik = [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "api.example"),
        ("x-forwarded-uri", "/orders/1?q=1"),
    ];
    let nginx = [("x-original-method", "POST"), ("x-original-url", "https://api.example/orders/1?q=1")];
    for headers in [&traefik[..], &nginx[..]] {
        let ask = |also: &'static [(&'static str, &'static str)]| {
            let mut call = client.get("/auth").header("host", "gate.internal");
            call = call.proof(|proof| proof.claim("htm", "POST").claim("htu", "https://api.example/orders/1"));
            for (name, value) in headers.iter().chain(also) {
                call = call.header(name, value);
            }
            call.prepare()
        };
        let request = ask(&[]);
        let answer = client.send(&request).await;
        assert_eq!(answer.status, 200, "{headers:?}: {answer:?}");
        assert_eq!(answer.header("x-auth-subject"), Some("alice"));
        assert_eq!(answer.header("x-auth-jkt"), Some(client.key.thumbprint().as_str()));
        let again = client.send(&request).await;
        assert_eq!((again.status, again.error().as_str()), (401, "invalid_dpop_proof"), "{headers:?}");
        assert!(again.headers.contains_key("www-authenticate") && again.headers.contains_key("dpop-nonce"));
        let other = if headers.len() == 4 { &NGINX_OF_ANOTHER_PATH[..] } else { &TRAEFIK_OF_ANOTHER_PATH[..] };
        let torn = client.send(&ask(other)).await;
        assert_eq!((torn.status, torn.error().as_str()), (400, "invalid_request"), "{headers:?}: {torn:?}");
    }
    let envoy = client.post("/orders/2", "").send().await;
    assert_eq!(envoy.error(), "invalid_dpop_proof", "https was not said: {envoy:?}");
    let envoy = client.naming("http://api.example").post("/orders/2", "").send().await;
    assert_eq!(envoy.status, 200, "the request line itself: {envoy:?}");
    assert_eq!(world.upstream.count(), 0, "only the decision was asked for");
}

/// Envoy over HTTP passes on what it is told to let pass; the words of another proxy are then the client's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_told_who_asks_hears_no_other_proxys_words() {
    for (original, status) in [("any", 200), ("x_original", 200), ("x_forwarded", 401), ("request_line", 401)] {
        let world = World::with(|settings| {
            let asked = json!({"address": "127.0.0.1:0", "mode": "forward_auth", "original": original});
            settings["listen"] = json!([{"address": "127.0.0.1:0"}, asked]);
            let public = json!({"match": {"path": "/public/"}, "upstream": "orders", "auth": "public"});
            push(&mut settings["routes"], public);
        })
        .await;
        let client = world.client().await.at_address(world.gate.forward_auth());
        let call = client.call("DELETE", "/orders/1").authorization(&[]).proofs(&[]);
        let call = call.header("x-original-method", "GET").header("x-original-url", "/public/1");
        let answer = call.send().await;
        assert_eq!(answer.status, status, "{original}: {answer:?}");
    }
}

const TRAEFIK_OF_ANOTHER_PATH: [(&str, &str); 2] = [("x-forwarded-uri", "/public/1"), ("x-forwarded-method", "POST")];

const NGINX_OF_ANOTHER_PATH: [(&str, &str); 1] = [("x-original-url", "https://api.example/public/1")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forward_auth_that_only_checks_spends_no_jti() {
    let world = World::with(|settings| {
        settings["listen"] = json!([{"address": "127.0.0.1:0"},
                                    {"address": "127.0.0.1:0", "mode": "forward_auth", "jti": "check"}]);
    })
    .await;
    let client = world.client().await;
    let asking = client.at_address(world.gate.forward_auth());
    let request = client.get("/orders/1").prepare();
    for _ in 0..2 {
        assert_eq!(asking.send(&request).await.status, 200, "asked twice");
    }
    assert_eq!(client.send(&request).await.status, 200, "spent by the proxy");
    assert_eq!(asking.send(&request).await.error(), "invalid_dpop_proof", "and known as spent to both");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_type_of_token_is_taken_unless_the_operator_names_some() {
    for (types, typ, status) in [
        (json!("any"), Some("okta-internal-at+jwt"), 200),
        (json!("any"), Some("JWT"), 200),
        (json!("any"), None, 200),
        (json!(["at+jwt"]), Some("application/AT+jwt"), 200),
        (json!(["at+jwt"]), Some("JWT"), 401),
        (json!(["at+jwt"]), None, 401),
    ] {
        let world = World::with(|settings| settings["issuers"][0]["token_types"] = types.clone()).await;
        let client = world.client().await;
        let token = match typ {
            Some(typ) => world.issuer.token(&client.key).header("typ", typ),
            None => world.issuer.token(&client.key).without("typ"),
        };
        let answer = client.get("/orders/1").token(token.compact()).send().await;
        assert_eq!(answer.status, status, "{types} {typ:?}: {answer:?}");
    }
}

/// Keep-alive: one connection, many requests, refusals among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_requests_share_a_connection() {
    let world = World::start().await;
    let client = world.client().await;
    let mut raw = Raw::connect(client.address()).await;
    for expected in ["200 OK", "401 Unauthorized", "200 OK"] {
        let mut call = client.get("/orders/teapot");
        if expected.starts_with("401") {
            call = call.proofs(&[]);
        }
        raw.write(format!("{}\r\n", call.prepare().head())).await;
        let head = raw.read_until("\r\n\r\n").await;
        let expected = expected.replace("200 OK", "418");
        assert!(head.starts_with(&format!("HTTP/1.1 {expected}")), "{head}");
        let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        match length {
            Some(length) => drop(raw.read_exact(length).await),
            None => drop(raw.read_until("0\r\n\r\n").await),
        }
    }
}

impl World {
    /// Report mode challenges nobody, so its clients get no nonce; theirs is made up.
    fn client_of_report_mode(&self) -> Client {
        let client = self.stranger();
        client.remember("made-up");
        client
    }
}

/// The admin listener is for operators; what it says of itself is not for clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_pages_are_not_on_the_proxy() {
    let world = World::start().await;
    for path in ["/metrics", "/livez", "/readyz", "/"] {
        let request = http::Request::get(path).header("host", "x").body(Vec::new()).unwrap();
        assert_eq!(exchange(world.gate.address(), request).await.status, 404, "{path}");
        assert_eq!(world.gate.admin(path).await.status, 200, "{path}");
    }
}
