//! Envoy's questions, asked without Envoy: what its file cannot bring about.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use envoy_types::pb::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, HeaderValueOption, SocketAddress, address,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, DeniedHttpResponse, OkHttpResponse};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::harness::{Authority, Client, Collector, Prepared, World, push, soon, until};

async fn world(change: impl FnOnce(&mut Value)) -> World {
    World::with(|settings| {
        settings["listen"] = json!([{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "mode": "ext_authz"}]);
        change(settings);
    })
    .await
}

async fn channel(world: &World) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", world.gate.ext_authz())).unwrap();
    soon("a connection", endpoint.connect()).await.unwrap()
}

/// The question that Envoy would ask about it.
fn question(prepared: &Prepared) -> CheckRequest {
    let header = |(name, value): &(String, String)| HeaderValue {
        key: name.to_lowercase(),
        raw_value: value.clone().into_bytes(),
        ..HeaderValue::default()
    };
    let http = HttpRequest {
        method: prepared.method.clone(),
        scheme: "https".into(),
        host: "api.example".into(),
        path: prepared.path.clone(),
        header_map: Some(HeaderMap { headers: prepared.headers.iter().map(header).collect() }),
        ..HttpRequest::default()
    };
    let request = Request { http: Some(http), ..Request::default() };
    let source = Peer { principal: "client".into(), ..Peer::default() };
    let attributes = AttributeContext { request: Some(request), source: Some(source), ..AttributeContext::default() };
    CheckRequest { attributes: Some(attributes) }
}

struct Asking {
    world: World,
    envoy: AuthorizationClient<Channel>,
    client: Client,
}

impl Asking {
    async fn with(change: impl FnOnce(&mut Value)) -> Self {
        let world = world(change).await;
        let client = world.client().await.naming("https://api.example");
        Self { envoy: AuthorizationClient::new(channel(&world).await), world, client }
    }

    async fn ask(&self, question: CheckRequest) -> HttpResponse {
        let answer = soon("an answer", self.envoy.clone().check(question)).await.unwrap().into_inner();
        let response = answer.http_response.unwrap();
        let ok = matches!(response, HttpResponse::OkResponse(_));
        assert_eq!(answer.status.unwrap().code == 0, ok, "{response:?}");
        response
    }

    async fn allowed(&self, question: CheckRequest) -> OkHttpResponse {
        match self.ask(question).await {
            HttpResponse::OkResponse(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Status and `error`.
    async fn denied(&self, question: CheckRequest) -> (i32, String) {
        match self.ask(question).await {
            HttpResponse::DeniedResponse(DeniedHttpResponse { status, body, .. }) => {
                let body: Value = serde_json::from_str(&body).unwrap();
                (status.unwrap().code, body["error"].as_str().unwrap().to_owned())
            }
            other => panic!("{other:?}"),
        }
    }
}

fn public() -> Value {
    json!({"match": {"path": "/public/"}, "auth": "public", "upstream": "orders"})
}

fn value(rows: &[HeaderValueOption], name: &str) -> Option<String> {
    let headers = rows.iter().filter_map(|row| row.header.as_ref());
    headers.filter(|header| header.key == name).map(|header| header.value.clone()).next()
}

fn changed(prepared: &Prepared, change: impl FnOnce(&mut HttpRequest)) -> CheckRequest {
    let mut question = question(prepared);
    change(question.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap());
    question
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_names_what_is_set_and_what_is_removed() {
    let asking = Asking::with(|_| {}).await;
    let call = asking.client.get("/orders/1?q=1").header("X-Auth-Scope", "all").header("x.auth_subject", "root");
    let prepared = call.header("x-forwarded-host", "evil.example").header("Forwarded", "host=evil.example").prepare();
    let permit = asking.allowed(question(&prepared)).await;
    assert_eq!(value(&permit.headers, "x-auth-subject").as_deref(), Some("alice"));
    assert_eq!(value(&permit.headers, "x-auth-scope").as_deref(), Some("orders.read orders.write"));
    // OVERWRITE_IF_EXISTS_OR_ADD
    assert!(permit.headers.iter().all(|row| row.append_action == 2), "{permit:?}");
    let mut removed = permit.headers_to_remove.clone();
    removed.sort();
    assert_eq!(removed, ["authorization", "dpop", "x.auth_subject"]);
    assert_eq!(asking.denied(question(&prepared)).await, (401, "invalid_dpop_proof".into()), "spent");

    // Without `encode_raw_headers`, as Envoy asks by default: one value a name.
    let prepared = asking.client.get("/orders/2").prepare();
    let joined = changed(&prepared, |http| {
        let raw = http.header_map.take().unwrap().headers;
        let value = |header: HeaderValue| (header.key, String::from_utf8(header.raw_value).unwrap());
        http.headers = raw.into_iter().map(value).chain([(":path".to_owned(), "/orders/2".to_owned())]).collect();
    });
    assert_eq!(value(&asking.allowed(joined).await.headers, "x-auth-subject").as_deref(), Some("alice"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_envoy_says_of_a_request_is_what_counts() {
    let asking = Asking::with(|_| {}).await;
    let get = || asking.client.get("/orders/1").prepare();
    let http = changed(&get(), |http| http.scheme = "http".into());
    assert_eq!(asking.denied(http).await.1, "invalid_dpop_proof", "another scheme");
    let host = changed(&get(), |http| http.host = "other.example".into());
    assert_eq!(asking.denied(host).await.1, "invalid_dpop_proof", "another host");
    let method = changed(&get(), |http| http.method = "DELETE".into());
    assert_eq!(asking.denied(method).await.1, "invalid_dpop_proof", "another method");
    let path = changed(&get(), |http| http.path = "/orders/a/../1".into());
    assert_eq!(asking.denied(path).await, (400, "invalid_request".into()), "an ambiguous path");
    let token = format!("DPoP {}", asking.client.token);
    let doubled = asking.client.get("/orders/1").authorization(&[&token, &token]).prepare();
    assert_eq!(asking.denied(question(&doubled)).await, (400, "invalid_request".into()), "doubled, as it came");

    let mut named = question(&get());
    named.attributes.as_mut().unwrap().context_extensions.insert("route".into(), "nobody".into());
    assert_eq!(asking.denied(named).await, (404, "not_found".into()), "a route that is none of ours");

    for broken in [CheckRequest::default(), changed(&get(), |http| http.scheme = "gopher".into())] {
        let status = asking.envoy.clone().check(broken).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let large = changed(&get(), |http| http.body = "x".repeat(300 * 1024));
    assert_eq!(asking.envoy.clone().check(large).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(asking.world.gate.refusals("ambiguous_path").await, 1.0);
}

/// With `allowed_headers` Envoy shows some headers and forwards all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identity_headers_that_the_gate_does_not_see_are_removed_too() {
    let asking = Asking::with(|settings| push(&mut settings["routes"], public())).await;
    const NAMES: [&str; 5] = ["x-auth-client-id", "x-auth-issuer", "x-auth-jkt", "x-auth-scope", "x-auth-subject"];
    let removed = async |prepared: &Prepared| {
        let permit = asking.allowed(question(prepared)).await;
        let mut removed = permit.headers_to_remove;
        removed.sort();
        (removed, permit.headers)
    };
    let public = asking.client.get("/public/1").authorization(&[]).proofs(&[]).prepare();
    assert_eq!(removed(&public).await.0, NAMES);
    let token = asking.world.issuer.token(&asking.client.key).without("scope").compact();
    let (removed, set) = removed(&asking.client.get("/orders/1").token(token).prepare()).await;
    assert_eq!(removed, ["authorization", "dpop", "x-auth-scope"]);
    assert!(value(&set, "x-auth-subject").is_some() && value(&set, "x-auth-scope").is_none());
}

/// Its caller's address is Envoy's to say; of a forwarding list as much counts as trusted proxies have written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_has_the_address_that_envoy_saw() {
    let asking = Asking::with(|settings| {
        settings["trusted_proxies"] = json!(["127.0.0.1", "192.0.2.0/24"]);
        push(&mut settings["routes"], public());
    })
    .await;
    for (row, (source, told, logged)) in [
        (Some("203.0.113.7"), None, "203.0.113.7"),
        (Some("203.0.113.7"), Some("198.51.100.1"), "203.0.113.7"),
        (Some("192.0.2.1"), Some("198.51.100.1"), "198.51.100.1"),
        (None, None, "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/public/{row}");
        let mut call = asking.client.get(&path).authorization(&[]).proofs(&[]);
        if let Some(told) = told {
            call = call.header("x-forwarded-for", told);
        }
        let mut question = question(&call.prepare());
        let socket = |address: &str| SocketAddress { address: address.into(), ..SocketAddress::default() };
        question.attributes.as_mut().unwrap().source.as_mut().unwrap().address =
            source.map(|source| Address { address: Some(address::Address::SocketAddress(socket(source))) });
        asking.allowed(question).await;
        let line = until("the line of the log", || async {
            asking.world.gate.requests_logged().into_iter().find(|line| line["path"] == path.as_str())
        });
        assert_eq!(line.await["client_addr"], logged, "{source:?} {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jti_check_looks_and_spends_nothing() {
    let asking = Asking::with(|settings| settings["listen"][1]["jti"] = json!("check")).await;
    let prepared = asking.client.get("/orders/1").prepare();
    for _ in 0..2 {
        asking.allowed(question(&prepared)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preflight_and_the_metadata_are_answered_by_the_gate() {
    let asking = Asking::with(|settings| {
        settings["routes"][0]["cors"] = json!({"origins": ["https://app.example"]});
    })
    .await;
    let preflight = asking.client.call("OPTIONS", "/orders/1").authorization(&[]).proofs(&[]);
    let preflight = preflight.header("origin", "https://app.example").header("access-control-request-method", "PUT");
    let HttpResponse::DeniedResponse(answer) = asking.ask(question(&preflight.prepare())).await else { panic!() };
    assert_eq!(answer.status.unwrap().code, 204);
    assert_eq!(value(&answer.headers, "access-control-allow-methods").as_deref(), Some("PUT"));
    let metadata = asking.client.get("/.well-known/oauth-protected-resource").prepare();
    let HttpResponse::DeniedResponse(answer) = asking.ask(question(&metadata)).await else { panic!() };
    assert_eq!(answer.status.unwrap().code, 200);
    assert!(answer.body.contains("\"resource\":\"https://api.example\""), "{}", answer.body);
    assert_eq!(value(&answer.headers, "access-control-allow-origin").as_deref(), Some("*"), "for scripts, too");
    let allowed = asking.client.get("/orders/1").header("origin", "https://app.example").prepare();
    let permit = asking.allowed(question(&allowed)).await;
    let origin = value(&permit.response_headers_to_add, "access-control-allow-origin");
    assert_eq!(origin.as_deref(), Some("https://app.example"));
    let varies = |row: &&HeaderValueOption| row.header.as_ref().is_some_and(|header| header.key == "vary");
    let varies = permit.response_headers_to_add.iter().find(varies).unwrap();
    // APPEND_IF_EXISTS_OR_ADD: what the service's own response varies by stays.
    assert_eq!((varies.header.as_ref().unwrap().value.as_str(), varies.append_action), ("Origin", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused_before_its_question_is_read() {
    let world = world(|settings| settings["trusted_proxies"] = json!(["192.0.2.1"])).await;
    let client = world.client().await;
    let mut envoy = AuthorizationClient::new(channel(&world).await);
    let status = envoy.check(question(&client.get("/orders/1").prepare()));
    assert_eq!(soon("a status", status).await.unwrap_err().code(), Code::PermissionDenied);
    let plain = client.at_address(world.gate.ext_authz()).get("/orders/1").send().await;
    assert_eq!((plain.status, plain.error().as_str()), (403, "forbidden"));
    assert_eq!(world.gate.refusals("untrusted_peer").await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_what_readyz_says() {
    let world = world(|_| {}).await;
    let mut health = HealthClient::new(channel(&world).await);
    for (service, expected) in [
        ("", Ok(ServingStatus::Serving)),
        ("envoy.service.auth.v3.Authorization", Ok(ServingStatus::Serving)),
        ("elsewhere", Err(Code::NotFound)),
    ] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await;
        let found = answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code());
        assert_eq!(found, expected, "{service}");
    }
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let first = soon("the status now", watch.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
}

/// RFC 8705 beside RFC 9449: Envoy tells the client's certificate, percent-encoded PEM.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_bound_to_a_certificate_too_needs_the_one_that_envoy_saw() {
    let asking = Asking::with(|_| {}).await;
    let authority = Authority::new();
    let (mine, other) = (authority.client().0, authority.client().0);
    let digest = BASE64URL.encode(Sha256::digest(&mine));
    let cnf = json!({"jkt": asking.client.key.thumbprint(), "x5t#S256": digest});
    let token = asking.world.issuer.token(&asking.client.key).claim("cnf", cnf).compact();
    let told = |certificate: &[u8]| {
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(certificate));
        let mut question = question(&asking.client.get("/orders/1").token(token.clone()).prepare());
        let encoded = [("%", "%25"), ("\n", "%0A"), (" ", "%20"), ("+", "%2B"), ("/", "%2F"), ("=", "%3D")]
            .iter()
            .fold(pem, |pem, (plain, encoded)| pem.replace(plain, encoded));
        question.attributes.as_mut().unwrap().source.as_mut().unwrap().certificate = encoded;
        question
    };
    asking.allowed(told(&mine)).await;
    assert_eq!(asking.denied(told(&other)).await, (401, "invalid_token".into()));
    assert_eq!(asking.denied(told(b"")).await, (401, "invalid_token".into()));
}

/// The harness searches the log for every credential that was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_shows_no_credential_in_any_log() {
    let world = World::prepared(
        |settings| {
            settings["listen"] = json!([{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "mode": "ext_authz"}]);
        },
        |gates| gates.environment("RUST_LOG", "trace"),
    )
    .await;
    let client = world.client().await.naming("https://api.example");
    let asking = Asking { envoy: AuthorizationClient::new(channel(&world).await), world, client };
    asking.allowed(question(&asking.client.get("/orders/1").prepare())).await;
    asking.denied(question(&asking.client.get("/orders/1").bearer().prepare())).await;
    until("three lines of the log", || async { (asking.world.gate.requests_logged().len() == 3).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_traced_below_envoys_own_span_else_below_its_clients() {
    let collector = Collector::start().await;
    let mut asking = Asking::with(|settings| settings["traces"] = json!({"otlp": collector.url()})).await;
    let [client, envoy] = ["c", "e"].map(|digit| format!("00-{}-{}-01", "7".repeat(32), digit.repeat(16)));
    for envoys in [Some(&envoy), None] {
        let prepared = asking.client.get("/orders/1").header("traceparent", &client).prepare();
        let mut call = tonic::Request::new(question(&prepared));
        if let Some(envoys) = envoys {
            call.metadata_mut().insert("traceparent", envoys.parse().unwrap());
        }
        let answer = soon("an answer", asking.envoy.check(call)).await.unwrap().into_inner();
        assert!(matches!(answer.http_response, Some(HttpResponse::OkResponse(_))), "{answer:?}");
    }
    asking.world.gate.signal("TERM");
    assert!(asking.world.gate.ended().await.success());
    let spans = collector.spans();
    let servers = spans.iter().filter(|span| span.trace == "7".repeat(32) && span.name == "GET /orders/");
    assert_eq!(servers.map(|span| span.parent.clone()).collect::<Vec<_>>(), ["e".repeat(16), "c".repeat(16)]);
}
