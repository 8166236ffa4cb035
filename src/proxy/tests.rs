//! The journey over real sockets: a raw client, the proxy, an upstream that says what it was sent.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::upstream::{Balance, Endpoint, Protocol, UpstreamOptions};
use super::*;
use crate::dpop::ProofPolicy;
use crate::gate::{ForwardToken, IdentityOptions};
use crate::issuer::{Bounds, Issuers};
use crate::jose::Algorithm;
use crate::nonce::{NonceOptions, Nonces, ProcessTag};
use crate::policy::{Auth, Cors, Mode, PathMatch, Requirement, Route, RouteMatch, Routes};
use crate::replay::{MemoryOptions, MemoryStore, ReplayStore};
use crate::secret::Secret;
use crate::target::{Peer, Scheme, Trust};
use crate::verifier::{self, Verifier};

const APP: &str = "https://app.example.com";
const SECONDS: Duration = Duration::from_secs(20);

/// What the upstream was asked, and how often.
#[derive(Debug, Default)]
struct Seen {
    requests: AtomicUsize,
    last: Mutex<Option<(Method, String, HeaderMap)>>,
}

impl Seen {
    fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn last(&self) -> (Method, String, HeaderMap) {
        self.last.lock().unwrap().take().unwrap()
    }
}

/// The proxy with an upstream behind it.
struct Stage {
    address: SocketAddr,
    seen: Arc<Seen>,
    metrics: Arc<Metrics>,
}

/// Starts both; bodies may have 100,000 bytes.
async fn stage() -> Stage {
    let seen = Arc::new(Seen::default());
    let upstream = upstream(Arc::clone(&seen)).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let upstreams = [("legacy", upstream), ("gone", gone)].map(|(name, address)| {
        let upstream = Upstream::new(upstream_options(name, address), metrics.upstream(name));
        (Arc::from(name), Arc::new(upstream))
    });
    let live = Live {
        gate: Arc::new(gate(&metrics)),
        upstreams: HashMap::from(upstreams),
        body_bytes: 100_000,
        body_pause: Duration::from_secs(60),
        unrouted: metrics.route("none"),
        recent: Arc::default(),
        tracer: None,
    };
    let live = Arc::new(ArcSwap::from_pointee(live));
    let proxy = Arc::new(Proxy::new(live, Clock::System, Arc::clone(&metrics)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let proxy = Arc::clone(&proxy);
            let service = service_fn(move |request| {
                let proxy = Arc::clone(&proxy);
                async move {
                    let peer = Peer { ip: [192, 0, 2, 1].into(), scheme: Scheme::Http, client_certificate: None };
                    Ok::<_, Infallible>(proxy.handle(request, &peer).await)
                }
            });
            tokio::spawn(async move {
                let mut builder = auto::Builder::new(TokioExecutor::new());
                builder.http2().enable_connect_protocol();
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    Stage { address, seen, metrics }
}

fn upstream_options(name: &str, address: SocketAddr) -> UpstreamOptions {
    UpstreamOptions {
        name: name.into(),
        endpoints: vec![Endpoint::Http(address.to_string().parse().unwrap())],
        protocol: Protocol::Auto,
        balance: Balance::LeastRequests,
        connect_timeout: SECONDS,
        timeout: SECONDS,
        health_check: None,
        tls: None,
        server_name: None,
        preserve_host: true,
    }
}

fn gate(metrics: &Arc<Metrics>) -> Gate {
    let route = |path: &str, upstream: &str, auth: Auth, cors: &[&str]| Route {
        matches: RouteMatch { path: PathMatch::Prefix(path.into()), methods: Vec::new(), host: None },
        upstream: upstream.into(),
        auth,
        mode: if path == "/report/" { Mode::Report } else { Mode::Enforce },
        require: Requirement::default(),
        cors: (!cors.is_empty()).then(|| Cors { origins: cors.iter().map(|origin| (*origin).to_owned()).collect() }),
        metrics: metrics.route(path),
    };
    let memory = MemoryOptions { capacity: 100, proof_lifetime: Duration::from_secs(60), floor: None };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = Arc::new(tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    let tables = verifier::Options { entries: 10, after: 2 };
    let verifier = Arc::new(Verifier::new(tables, metrics.key_tables.clone()));
    Gate {
        trust: Trust::default(),
        routes: Routes::new(vec![
            route("/guarded/", "legacy", Auth::Dpop, &[APP]),
            route("/report/", "legacy", Auth::Dpop, &[]),
            route("/gone/", "gone", Auth::Public, &[]),
            route("/open/", "legacy", Auth::Public, &[APP]),
        ]),
        proof: ProofPolicy {
            algorithms: vec![Algorithm::Es256],
            lifetime: Duration::from_secs(60),
            clock_skew: Duration::from_secs(15),
        },
        nonces: Some(Nonces::new(NonceOptions {
            lifetime: Duration::from_secs(300),
            secret: Secret::new(vec![1; 32]),
            previous: None,
            process: ProcessTag([0; 8]),
            others_not_before: None,
        })),
        replay: Arc::new(ReplayStore::Memory(Arc::new(MemoryStore::new(memory, metrics.replay_entries.clone())))),
        verifier: Arc::clone(&verifier),
        issuers: Arc::new(Issuers::new(
            Vec::new(),
            Bounds::default(),
            Clock::System,
            Arc::clone(metrics),
            tls,
            verifier,
            None,
        )),
        identity: IdentityOptions {
            headers: vec![(http::HeaderName::from_static("x-auth-subject"), "sub".to_owned())],
            forward_token: ForwardToken::No,
            assertion: None,
        },
        metrics: Arc::clone(metrics),
    }
}

/// An upstream that knows nothing of DPoP.
async fn upstream(seen: Arc<Seen>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            let service = service_fn(move |request| legacy(request, Arc::clone(&seen)));
            let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(served.with_upgrades());
        }
    });
    address
}

async fn legacy(mut request: Request<Incoming>, seen: Arc<Seen>) -> Result<Response<Body>, Infallible> {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let uri = request.uri().to_string();
    *seen.last.lock().unwrap() = Some((request.method().clone(), uri.clone(), request.headers().clone()));
    let reply = Response::builder().header("dpop-nonce", "theirs").header("connection", "x-hop").header("x-hop", "1");
    if request.headers().contains_key("sec-websocket-key") {
        let accept = upgrade::accept_of(&request.headers()["sec-websocket-key"]);
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        });
        let reply = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        return Ok(reply.header("sec-websocket-accept", accept).body(body::empty()).unwrap());
    }
    match request.uri().path() {
        // The request's body comes back as it goes in.
        "/open/echo" => Ok(reply.header("trailer", "x-sum").body(body::streaming(request.into_body())).unwrap()),
        "/open/early" => {
            // As a good server does: one that closed on unread bytes would have its kernel take the answer back.
            tokio::spawn(body::drain(request.into_body()));
            Ok(reply.status(StatusCode::PAYLOAD_TOO_LARGE).body(body::full("too much".into())).unwrap())
        }
        "/open/never" => std::future::pending().await,
        _ => {
            let length = request.into_body().collect().await.map(|read| read.to_bytes().len());
            Ok(reply.body(body::full(format!("{length:?}").into())).unwrap())
        }
    }
}

impl Stage {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `head` (lines, without the last empty one) and `body` whole, then reads until the proxy closes.
    async fn ask(&self, head: &str, body: &[u8]) -> String {
        let mut stream = self.connect().await;
        let head =
            format!("{}\r\nhost: api.example.com\r\nconnection: close\r\n\r\n", head.trim().replace('\n', "\r\n"));
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut reply = Vec::new();
        tokio::time::timeout(SECONDS, stream.read_to_end(&mut reply)).await.unwrap().unwrap();
        String::from_utf8(reply).unwrap()
    }

    fn counted(&self, line: &str) -> bool {
        String::from_utf8(self.metrics.render().unwrap()).unwrap().lines().any(|counted| counted == line)
    }
}

#[tokio::test]
async fn what_is_refused_never_reaches_the_upstream_and_each_says_why() {
    let stage = stage().await;
    let large = "content-length: 100001";
    for (head, body, expected, error) in [
        ("GET /nowhere HTTP/1.1", &b""[..], "404", "not_found"),
        ("GET /open/../guarded/ HTTP/1.1", b"", "400", "invalid_request"),
        ("GET /open//x HTTP/1.1", b"", "400", "invalid_request"),
        ("CONNECT db.internal:5432 HTTP/1.1", b"", "405", "invalid_request"),
        ("TRACE /open/ HTTP/1.1", b"", "405", "invalid_request"),
        ("GET /guarded/ HTTP/1.1", b"", "401", "unauthorized"),
        (&format!("POST /open/ HTTP/1.1\n{large}"), &vec![b'x'; 100_001], "413", "invalid_request"),
        (&format!("POST /open/ HTTP/1.1\n{large}\nexpect: 100-continue"), b"", "413", "invalid_request"),
        ("POST /open/ HTTP/1.1\ncontent-length: 3\nexpect: 100-continue, x", b"", "417", "invalid_request"),
        ("POST /open/ HTTP/1.1\ncontent-length: 3\nexpect: 100-continue\nexpect: x", b"", "417", "invalid_request"),
        ("POST /open/ HTTP/1.1\ncontent-length: 3\nexpect: x\nexpect: 100-continue", b"", "417", "invalid_request"),
    ] {
        let reply = stage.ask(head, body).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {expected} ")), "{head}: {reply}");
        assert!(reply.contains(&format!("\"error\":\"{error}\"")), "{head}: {reply}");
        assert!(reply.contains("x-request-id: "), "{head}: {reply}");
    }
    assert_eq!(stage.seen.count(), 0);
    for line in [
        "dpop_gate_refusals_total{reason=\"no_route\",route=\"none\"} 1",
        "dpop_gate_refusals_total{reason=\"ambiguous_path\",route=\"none\"} 2",
        "dpop_gate_refusals_total{reason=\"malformed_request\",route=\"none\"} 2",
        "dpop_gate_refusals_total{reason=\"malformed_request\",route=\"/open/\"} 3",
        "dpop_gate_refusals_total{reason=\"missing_token\",route=\"/guarded/\"} 1",
        "dpop_gate_refusals_total{reason=\"too_large\",route=\"/open/\"} 2",
        "dpop_gate_requests_total{outcome=\"refused\",route=\"/open/\"} 5",
        "dpop_gate_decision_seconds_count 1",
    ] {
        assert!(stage.counted(line), "{line}");
    }
}

#[tokio::test]
async fn a_body_that_grows_past_the_limit_is_cut_off_and_the_client_hears_of_it() {
    let stage = stage().await;
    let mut chunks = Vec::new();
    for _ in 0..200 {
        chunks.extend_from_slice(b"1000\r\n");
        chunks.resize(chunks.len() + 0x1000, b'x');
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    let reply = stage.ask("POST /open/ HTTP/1.1\ntransfer-encoding: chunked", &chunks).await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    let broken = stage.ask("POST /open/ HTTP/1.1\ntransfer-encoding: chunked", b"1\r\nx\r\nzz\r\n").await;
    assert!(broken.starts_with("HTTP/1.1 400 "), "{broken}");
    assert!(stage.counted("dpop_gate_upstream_errors_total{kind=\"reset\",upstream=\"legacy\"} 0"), "not its fault");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_and_an_early_answer_reach_a_client_that_sends_everything_first() {
    let stage = stage().await;
    let body = vec![b'x'; 8 << 20];
    let head = format!("POST /guarded/ HTTP/1.1\ncontent-length: {}", body.len());
    assert!(stage.ask(&head, &body).await.starts_with("HTTP/1.1 413 "));
    let head = "POST /guarded/ HTTP/1.1\ncontent-length: 99999";
    assert!(stage.ask(head, &body[..99_999]).await.starts_with("HTTP/1.1 401 "));
    let head = "POST /open/early HTTP/1.1\ncontent-length: 99999";
    assert!(stage.ask(head, &body[..99_999]).await.ends_with("too much"));
}

#[tokio::test]
async fn the_upstream_gets_what_was_matched_and_nothing_forged() {
    let stage = stage().await;
    let reply = stage
        .ask(
            "POST /open/a%2Etxt?q=%2F..&r HTTP/1.1\ncontent-length: 2\nexpect: 100-continue\nx-auth-subject: root\n\
             X_Auth_Subject: root\nx-forwarded-for: 1.1.1.1\nforwarded: for=1.1.1.1\nx-original-url: /admin\n\
             te: trailers, gzip\nkeep-alive: 5\nx-hop: 1\nconnection: x-hop, x-request-id\nx-request-id: mine\n\
             accept: */*",
            b"ab",
        )
        .await;
    assert!(reply.contains("HTTP/1.1 200 OK") && reply.ends_with("Ok(2)"), "{reply}");
    assert!(!reply.contains("theirs") && !reply.contains("x-hop"), "{reply}");
    let (method, uri, headers) = stage.seen.last();
    assert_eq!((method, uri.as_str()), (Method::POST, "/open/a.txt?q=%2F..&r"));
    for gone in ["x-auth-subject", "x_auth_subject", "x-original-url", "keep-alive", "x-hop"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    for (name, value) in [
        ("host", "api.example.com"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "api.example.com"),
        ("forwarded", "for=192.0.2.1;host=\"api.example.com\";proto=http"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("accept", "*/*"),
    ] {
        assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
    }
    assert!(headers.contains_key("traceparent"));
    assert_eq!(headers["x-request-id"], "mine", "read before Connection took it, and set after");
}

#[tokio::test]
async fn report_mode_forwards_and_says_what_would_have_been_refused() {
    let stage = stage().await;
    assert!(stage.ask("GET /report/ HTTP/1.1", b"").await.starts_with("HTTP/1.1 200 "));
    assert!(stage.counted("dpop_gate_requests_total{outcome=\"reported\",route=\"/report/\"} 1"));
    assert!(stage.counted("dpop_gate_refusals_total{reason=\"missing_token\",route=\"/report/\"} 1"));
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_a_502_that_names_no_address() {
    let stage = stage().await;
    let reply = stage.ask("GET /gone/ HTTP/1.1", b"").await;
    assert!(reply.starts_with("HTTP/1.1 502 ") && reply.contains("\"error\":\"bad_gateway\""), "{reply}");
    assert!(!reply.contains("127.0.0.1"), "{reply}");
    assert!(stage.counted("dpop_gate_requests_total{outcome=\"failed\",route=\"/gone/\"} 1"));
}

#[tokio::test]
async fn browsers_are_told_what_they_may_read() {
    let stage = stage().await;
    let ask = "access-control-request-method: PUT\naccess-control-request-headers: authorization,dpop";
    let preflight = stage.ask(&format!("OPTIONS /guarded/ HTTP/1.1\norigin: {APP}\n{ask}"), b"").await;
    assert!(preflight.starts_with("HTTP/1.1 204 "), "{preflight}");
    assert!(preflight.contains("access-control-allow-headers: authorization, dpop\r\n"), "{preflight}");
    assert!(stage.counted("dpop_gate_requests_total{outcome=\"answered\",route=\"/guarded/\"} 1"));
    let stranger = stage.ask(&format!("OPTIONS /guarded/ HTTP/1.1\norigin: https://evil.example\n{ask}"), b"").await;
    assert!(stranger.starts_with("HTTP/1.1 401 ") && !stranger.contains("access-control-"), "{stranger}");
    for method in ["OPTIONS", "GET"] {
        let document = format!("{method} /.well-known/oauth-protected-resource HTTP/1.1\norigin: https://any.example");
        let ask = if method == "OPTIONS" { "\naccess-control-request-method: GET" } else { "" };
        let reply = stage.ask(&format!("{document}{ask}"), b"").await;
        assert!(reply.starts_with("HTTP/1.1 20") && reply.contains("access-control-allow-origin: *\r\n"), "{reply}");
    }
    assert_eq!(stage.seen.count(), 0);
    for (path, status) in [("/guarded/", "401"), ("/open/", "200")] {
        let reply = stage.ask(&format!("GET {path} HTTP/1.1\norigin: {APP}"), b"").await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
        assert!(reply.contains(&format!("access-control-allow-origin: {APP}\r\n")), "{reply}");
        assert!(reply.contains("access-control-expose-headers: DPoP-Nonce, WWW-Authenticate"), "{reply}");
    }
}

#[tokio::test]
async fn bytes_come_back_before_the_last_ones_go_in_and_trailers_after_them() {
    let stage = stage().await;
    let mut stream = stage.connect().await;
    let head = "POST /open/echo HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntrailer: x-sum\r\n\
                transfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = String::new();
    read_until(&mut stream, &mut reply, "first\r\n").await;
    stream.write_all(b"4\r\nlast\r\n0\r\nx-sum: 9\r\n\r\n").await.unwrap();
    read_until(&mut stream, &mut reply, "last\r\n0\r\nx-sum: 9\r\n\r\n").await;
}

#[tokio::test]
async fn a_head_request_keeps_its_length_and_has_no_body() {
    let stage = stage().await;
    for path in ["/open/", "/nowhere"] {
        let reply = stage.ask(&format!("HEAD {path} HTTP/1.1"), b"").await;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(body.is_empty(), "{reply}");
        let line = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        assert!(line.parse::<u64>().unwrap() > 0, "{reply}");
    }
}

#[tokio::test]
async fn a_websocket_passes_over_http_1() {
    let stage = stage().await;
    let mut stream = stage.connect().await;
    let head = "GET /open/ws HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nsent at once";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = String::new();
    read_until(&mut stream, &mut reply, "sent at once").await;
    assert!(reply.starts_with("HTTP/1.1 101 ") && reply.contains("upgrade: websocket\r\n"), "{reply}");
    assert!(reply.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{reply}");
    stream.write_all(b"and more").await.unwrap();
    read_until(&mut stream, &mut reply, "and more").await;
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_websocket_in_http_2_goes_upstream_as_an_upgrade() {
    let stage = stage().await;
    let io = TokioIo::new(stage.connect().await);
    let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    // An exchange first, so that the server's settings (RFC 8441 section 3) have come.
    let plain = Request::builder().uri("http://a/open/").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(send.send_request(plain).await.unwrap().status(), 200);
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://a/open/ws")
        .header("sec-websocket-version", "13")
        .body(Empty::<Bytes>::new())
        .unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    let response = send.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    let (method, uri, headers) = stage.seen.last();
    assert_eq!((method, uri.as_str(), &headers["upgrade"]), (Method::GET, "/open/ws", &"websocket".parse().unwrap()));
    let mut socket = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    socket.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    socket.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");
}

#[tokio::test]
async fn a_client_that_goes_away_is_counted_all_the_same() {
    let stage = stage().await;
    let mut stream = stage.connect().await;
    stream.write_all(b"GET /open/never HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    eventually(|| stage.seen.count() == 1).await;
    drop(stream);
    eventually(|| stage.counted("dpop_gate_requests_total{outcome=\"failed\",route=\"/open/\"} 1")).await;
}

/// Keeps what the access log says, field by field.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<HashMap<&'static str, String>>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Fields(HashMap<&'static str, String>);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.insert(field.name(), format!("{value:?}"));
            }
            fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
                self.0.insert(field.name(), value.to_owned());
            }
        }
        if event.metadata().target() == "dpop_gate::access" {
            let mut fields = Fields(HashMap::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

#[tokio::test]
async fn every_request_is_one_line_with_the_contracts_fields_and_no_secret() {
    use tracing_subscriber::layer::SubscriberExt as _;
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    let stage = stage().await;
    stage.ask("GET /open/a?token=secret HTTP/1.1\nx-request-id: mine\nauthorization: DPoP secret", b"").await;
    stage.ask("GET /guarded/?q=secret HTTP/1.1\nauthorization: DPoP secret\ndpop: secret", b"").await;
    stage.ask("GET /open//x?secret HTTP/1.1", b"").await;
    let lines = lines.0.lock().unwrap();
    let names = |line: &HashMap<&'static str, String>| {
        let mut names: Vec<_> = line.keys().copied().collect();
        names.sort_unstable();
        names.join(" ")
    };
    let [allowed, refused, ambiguous] = &lines[..] else { panic!("{lines:?}") };
    let always = "method outcome path";
    assert_eq!(
        names(allowed),
        format!("client_addr decision_us {always} request_id route status trace_id upstream_ms")
    );
    assert_eq!(names(refused), format!("client_addr decision_us {always} reason request_id route status trace_id"));
    for (name, value) in [("request_id", "mine"), ("client_addr", "192.0.2.1"), ("path", "/open/a"), ("status", "200")]
    {
        assert_eq!(allowed[name], value, "{name}");
    }
    assert_eq!((refused["outcome"].as_str(), refused["status"].as_str()), ("refused", "401"));
    assert_eq!((ambiguous["path"].as_str(), ambiguous["route"].as_str()), ("/open//x", "none"));
    assert!(lines.iter().flat_map(HashMap::values).all(|value| !value.contains("secret")), "{lines:?}");
}

async fn read_until(stream: &mut TcpStream, text: &mut String, end: &str) {
    let mut buffer = [0; 1024];
    while !text.ends_with(end) {
        let read = tokio::time::timeout(SECONDS, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(read, 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
}

async fn eventually(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SECONDS, met).await.unwrap();
}

#[test]
fn a_requests_future_is_small_enough_to_be_moved() {
    fn size<'a, F>(_: impl Fn(&'a Proxy, Request<Incoming>, &'a Peer) -> F) -> usize {
        size_of::<F>()
    }
    // hyper moves it several times a request; what is rare in it is in boxes.
    let bytes = size(|proxy, request, peer| proxy.handle(request, peer));
    assert!(bytes <= 4 * 1024, "{bytes} bytes");
}
