//! Traces over OTLP: what a collector is told of a request, and what an upstream is told of the trace.

use std::net::TcpListener;

use http_body_util::BodyExt as _;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::harness::{
    AUDIENCE, Authority, Channel, Client, Collector, Gate, Gates, Issuer, Key, Told, Upstream, World, http1, push,
    settings, soon, until,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn sampled() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

async fn world(collector: &Collector, change: impl FnOnce(&mut Value)) -> World {
    World::with(|settings| {
        settings["traces"] = json!({"otlp": collector.url()});
        change(settings);
    })
    .await
}

/// Lets the gate go, which exports what is left, and returns all that the collector was told.
async fn told(collector: &Collector, gate: &mut Gate) -> Vec<Told> {
    gate.signal("TERM");
    assert!(gate.ended().await.success());
    collector.spans()
}

fn named<'a>(spans: &'a [Told], name: &str) -> &'a Told {
    let mut found = spans.iter().filter(|span| span.name == name);
    let first = found.next().unwrap_or_else(|| panic!("no span {name} in {spans:#?}"));
    assert!(found.next().is_none(), "two spans {name} in {spans:#?}");
    first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allowed_request_is_a_span_of_its_callers_trace_with_its_parts_below() {
    let collector = Collector::start().await;
    let mut world = world(&collector, |_| {}).await;
    // A challenge's trace begins at the gate.
    let client = world.client().await;
    let call = client.get("/orders/1?secret=query").header("traceparent", &sampled()).header("tracestate", "vendor=7");
    assert_eq!(call.send().await.status, 200);
    let seen = world.upstream.last();

    let spans = told(&collector, &mut world.gate).await;
    let spans: Vec<Told> = spans.into_iter().filter(|span| span.trace == TRACE).collect();
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let server = named(&spans, "GET /orders/");
    assert_eq!((server.parent.as_str(), server.kind, server.failed), (CALLER, SpanKind::Server, false));
    assert_eq!((server.service.as_str(), server.state.as_str()), ("dpop-gate", "vendor=7"));
    for (key, value) in [
        ("http.request.method", Some("GET")),
        ("http.response.status_code", Some("200")),
        ("http.route", Some("/orders/")),
        ("url.path", Some("/orders/1")),
        ("url.scheme", Some("http")),
        ("server.address", Some("127.0.0.1")),
        ("dpop_gate.route", Some("orders")),
        ("dpop_gate.outcome", Some("allowed")),
        ("dpop_gate.reason", None),
        ("error.type", None),
    ] {
        assert_eq!(server.attribute(key).as_deref(), value, "{key}");
    }
    let (decision, claim, upstream) = (named(&spans, "decision"), named(&spans, "claim proof"), named(&spans, "GET"));
    for (span, parent, kind) in [
        (decision, server, SpanKind::Internal),
        (claim, decision, SpanKind::Internal),
        (upstream, server, SpanKind::Client),
    ] {
        assert_eq!((&span.parent, span.kind), (&parent.id, kind), "{span:#?}");
        assert!(span.is_within(parent), "{span:#?} is not within {parent:#?}");
    }
    assert!(decision.ended <= upstream.began, "decided before it was forwarded");
    assert_eq!(claim.attribute("dpop_gate.store").as_deref(), Some("memory"));
    assert_eq!(upstream.attribute("peer.service").as_deref(), Some("orders"));
    assert_eq!(upstream.attribute("http.response.status_code").as_deref(), Some("200"));

    let onward = format!("00-{TRACE}-{}-01", upstream.id);
    assert_eq!(seen.header("traceparent"), Some(onward.as_str()), "the upstream's parent is our span of it");
    assert_eq!(seen.header("tracestate"), Some("vendor=7"));
    until("its line in the log", || async {
        let logged = world.gate.requests_logged();
        logged.iter().any(|line| line["trace_id"] == TRACE && line["status"] == 200).then_some(())
    })
    .await;
    for post in collector.posts() {
        assert_eq!((post.path.as_str(), post.header("content-type")), ("/v1/traces", Some("application/x-protobuf")));
        let text = String::from_utf8_lossy(&post.bytes);
        for secret in world.gate.secrets().lock().unwrap().iter().map(String::as_str).chain(["secret=query", "alice"]) {
            assert!(!text.contains(secret), "{secret} stands in a span");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_says_why_and_has_no_span_of_an_upstream() {
    let collector = Collector::start().await;
    let mut world = world(&collector, |settings| settings["traces"]["service_name"] = "orders-gate".into()).await;
    let client = world.client().await;
    let good = client.get("/orders/1").header("traceparent", &sampled()).prepare();
    assert_eq!(client.send(&good).await.status, 200);
    assert_eq!(client.send(&good).await.error(), "invalid_dpop_proof", "replayed");
    assert_eq!(client.get("/nowhere").send().await.status, 404);
    let served = world.upstream.count();

    let spans = told(&collector, &mut world.gate).await;
    let refused = |reason: &str| {
        let reasoned = |span: &&Told| span.attribute("dpop_gate.reason").as_deref() == Some(reason);
        spans.iter().find(reasoned).unwrap_or_else(|| panic!("no {reason} in {spans:#?}"))
    };
    let replayed = refused("replayed");
    assert_eq!(
        (replayed.trace.as_str(), replayed.parent.as_str(), replayed.service.as_str()),
        (TRACE, CALLER, "orders-gate")
    );
    assert_eq!(replayed.attribute("dpop_gate.outcome").as_deref(), Some("refused"));
    assert_eq!(replayed.attribute("http.response.status_code").as_deref(), Some("401"));
    assert!(!replayed.failed, "a caller's fault is no error of the server's");
    let below = |parent: &Told| spans.iter().filter(|span| span.parent == parent.id).collect::<Vec<_>>();
    let [decision] = below(replayed)[..] else { panic!("{spans:#?}") };
    let [claim] = below(decision)[..] else { panic!("{spans:#?}") };
    assert_eq!((decision.name.as_str(), claim.name.as_str()), ("decision", "claim proof"));
    assert!(decision.is_within(replayed) && claim.is_within(decision));

    let challenged = refused("nonce_missing");
    assert_eq!(challenged.parent, "", "its trace begins here");
    let [decision] = below(challenged)[..] else { panic!("{spans:#?}") };
    assert!(below(decision).is_empty(), "nothing was claimed");
    let lost = refused("no_route");
    assert_eq!((lost.name.as_str(), lost.attribute("http.route")), ("GET", None));
    assert!(below(lost).is_empty(), "nothing was decided");
    assert_eq!(spans.iter().filter(|span| span.kind == SpanKind::Client).count(), served);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_caller_does_not_record_is_not_exported_and_its_trace_passes_as_it_came() {
    let collector = Collector::start().await;
    let mut world = world(&collector, |settings| settings["traces"]["sample"] = 0.into()).await;
    let client = world.client().await;
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    assert_eq!(client.get("/orders/1").header("traceparent", &unsampled).send().await.status, 200);
    assert_eq!(world.upstream.last().header("traceparent"), Some(unsampled.as_str()));
    // Nor what nobody asked for, with a share of nothing: the upstream is told so.
    assert_eq!(client.get("/orders/2").send().await.status, 200);
    let made = world.upstream.last().header("traceparent").unwrap().to_owned();
    assert!(made.starts_with("00-") && made.ends_with("-00") && made.len() == 55, "{made}");
    // A caller's word counts, whatever the share is.
    assert_eq!(client.get("/orders/3").header("traceparent", &sampled()).send().await.status, 200);

    let spans = told(&collector, &mut world.gate).await;
    assert!(spans.len() == 4 && spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    assert_eq!(named(&spans, "GET /orders/").attribute("url.path").as_deref(), Some("/orders/3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_traces_nothing_changes_in_what_the_upstream_is_told() {
    let world = World::start().await;
    let client = world.client().await;
    for came in [sampled(), format!("00-{TRACE}-{CALLER}-00"), format!("cc-{TRACE}-{CALLER}-09-more")] {
        let call = client.get("/orders/1").header("traceparent", &came).header("tracestate", "vendor=7");
        assert_eq!(call.send().await.status, 200);
        let seen = world.upstream.last();
        assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (Some(came.as_str()), Some("vendor=7")));
    }
    assert_eq!(client.get("/orders/1").send().await.status, 200);
    assert!(world.upstream.last().header("traceparent").unwrap().ends_with("-01"));
    assert!(!world.gate.admin("/metrics").await.text().contains("dpop_gate_traces_total{"), "nobody traces");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_to_an_issuer_is_a_span_where_one_was_asked() {
    let (collector, issuer, upstream) = (Collector::start().await, Issuer::start().await, Upstream::start().await);
    let mut settings = settings(&issuer, &upstream);
    let url = issuer.url();
    settings["traces"] = json!({"otlp": collector.url()});
    settings["issuers"] = json!([{"issuer": url, "audiences": [AUDIENCE], "introspection":
        {"url": format!("{url}/introspect"), "client_id": "gate", "client_secret_file": "nonce.key"}}]);
    let mut gate = Gates::new(&settings).start().await;
    let key = Key::es256();
    let token = issuer.opaque_token(&key);
    let client = Client::with(&gate, key, token).greeted().await;
    for path in ["/orders/asked", "/orders/remembered"] {
        assert_eq!(client.get(path).send().await.status, 200);
    }
    let spans = told(&collector, &mut gate).await;
    let asked = named(&spans, "ask issuer");
    let parent = |of: &Told| spans.iter().find(|span| span.id == of.parent).unwrap();
    let (decision, server) = (parent(asked), parent(parent(asked)));
    assert_eq!((asked.kind, decision.name.as_str()), (SpanKind::Client, "decision"));
    assert!(asked.is_within(decision));
    assert_eq!(server.attribute("url.path").as_deref(), Some("/orders/asked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doors_of_other_proxies_are_traced_too() {
    let collector = Collector::start().await;
    let mut world = world(&collector, |settings| {
        push(&mut settings["listen"], json!({"address": "127.0.0.1:0", "mode": "forward_auth"}));
    })
    .await;
    let client = world.client().await.at_address(world.gate.forward_auth());
    assert_eq!(client.get("/orders/1").header("traceparent", &sampled()).send().await.status, 200);
    let spans = told(&collector, &mut world.gate).await;
    let spans: Vec<Told> = spans.into_iter().filter(|span| span.trace == TRACE).collect();
    let server = named(&spans, "GET /orders/");
    assert_eq!((server.parent.as_str(), server.attribute("dpop_gate.outcome").as_deref()), (CALLER, Some("allowed")));
    assert_eq!(named(&spans, "decision").parent, server.id);
    assert_eq!(spans.len(), 3, "nothing was forwarded: {spans:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_a_span_of_the_upstream_that_was_asked() {
    let collector = Collector::start().await;
    let mut world = world(&collector, |_| {}).await;
    let client = world.client().await;
    let waiting = world.held(&client).await;
    let onward = world.upstream.last().header("traceparent").unwrap().to_owned();
    waiting.abort();
    until("the end of the record", || async {
        world.gate.requests_logged().iter().any(|line| line["status"] == 499).then_some(())
    })
    .await;
    let spans = told(&collector, &mut world.gate).await;
    let upstream = spans.iter().find(|span| onward.contains(&span.id)).expect("the span that the upstream was told of");
    let server = spans.iter().find(|span| span.id == upstream.parent).unwrap();
    for span in [upstream, server] {
        assert!(span.failed && span.is_within(server), "{span:#?}");
        assert_eq!(span.attribute("error.type").as_deref(), Some("client_gone"));
        assert_eq!(span.attribute("http.response.status_code"), None, "nobody was answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_come_by_themselves_over_https_with_the_headers_that_the_collector_wants() {
    let authority = Authority::new();
    let collector = Collector::over_tls(&authority.issue("localhost")).await;
    let world = World::prepared(
        |settings| {
            let url = format!("https://localhost:{}/", collector.port());
            settings["traces"] = json!({"otlp": url, "headers_file": "collector.headers", "tls": {"ca": "ca.crt"}});
        },
        |gates| {
            gates.write("ca.crt", &authority.certificate());
            gates.write("collector.headers", "X-Api-Key: the key of an account\nX-Tenant: acme\n");
            gates
        },
    )
    .await;
    world.client().await;
    collector.wait_for(2).await;
    let post = &collector.posts()[0];
    assert_eq!((post.header("x-api-key"), post.header("x-tenant")), (Some("the key of an account"), Some("acme")));
    until("the count of what was exported", || async {
        (world.gate.metric("dpop_gate_traces_total", &[("result", "exported")]).await == 1.0).then_some(())
    })
    .await;
    assert!(!world.gate.log().join("\n").contains("the key of an account"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_holds_up_no_request_and_what_it_cannot_take_is_counted() {
    // Takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut world = World::with(|settings| {
        settings["traces"] = json!({"otlp": format!("http://{}", silent.local_addr().unwrap())});
        settings["limits"]["drain_timeout"] = "1s".into();
    })
    .await;
    // One batch on its way, and a full queue.
    let held = 512 + 2048;
    let more = 200;
    let mut sender = http1(TcpStream::connect(world.gate.address()).await.unwrap()).await;
    for _ in 0..held + more {
        let request = http::Request::get("/nowhere").header("host", "api.example").body(Channel::empty()).unwrap();
        soon("the connection to be free", sender.ready()).await.unwrap();
        let response = soon("a response", sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 404);
        soon("its body", response.into_body().collect()).await.unwrap();
    }
    let dropped = world.gate.metric("dpop_gate_traces_total", &[("result", "dropped")]).await;
    assert_eq!(dropped, f64::from(more), "no more than what found no room");
    let client = world.client().await;
    assert_eq!(client.get("/orders/1").send().await.status, 200);
    world.gate.signal("TERM");
    assert!(world.gate.ended().await.success());
    assert_eq!(world.gate.log_of("the last traces were not exported: the collector did not answer in time").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_moves_traces_to_another_collector_and_loses_none() {
    let (old, new) = (Collector::start().await, Collector::start().await);
    let mut world = world(&old, |_| {}).await;
    let client = world.client().await;
    assert_eq!(client.get("/orders/1").send().await.status, 200);
    let mut settings = settings(&world.issuer, &world.upstream);
    for (traces, reloads) in [(json!({"otlp": new.url()}), 1), (Value::Null, 2)] {
        match traces {
            Value::Null => settings.as_object_mut().unwrap().remove("traces"),
            traces => settings.as_object_mut().unwrap().insert("traces".to_owned(), traces),
        };
        world.gates.configure(&settings);
        world.gate.signal("HUP");
        until("the reload", || async { (world.gate.log_of("reloaded").len() == reloads).then_some(()) }).await;
        assert_eq!(client.get(&format!("/orders/after-{reloads}")).send().await.status, 200);
    }
    // Neither had to wait for its time: whom nobody feeds any more posts what he has and ends.
    let servers = |spans: Vec<Told>| -> Vec<String> {
        let servers = spans.iter().filter(|span| span.kind == SpanKind::Server);
        servers.map(|span| span.attribute("url.path").unwrap()).collect()
    };
    assert_eq!(servers(old.wait_for(6).await), ["/orders/greeting", "/orders/1"]);
    assert_eq!(servers(new.wait_for(4).await), ["/orders/after-1"]);
    world.gate.signal("TERM");
    assert!(world.gate.ended().await.success());
    assert_eq!((old.spans().len(), new.spans().len()), (6, 4), "nothing twice, and nothing of the last request");
}
