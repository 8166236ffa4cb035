//! Origins on loopback, and an upstream in front of them.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;

use super::super::*;
use crate::metrics::Metrics;

pub(in crate::proxy::upstream) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(in crate::proxy::upstream) type OriginBody = UnsyncBoxBody<Bytes, BoxError>;
pub(in crate::proxy::upstream) type Piece = Result<Frame<Bytes>, BoxError>;

/// A server and what it has seen.
#[derive(Clone)]
pub(in crate::proxy::upstream) struct Origin {
    pub(in crate::proxy::upstream) authority: Authority,
    pub(in crate::proxy::upstream) connections: Arc<AtomicUsize>,
    pub(in crate::proxy::upstream) requests: Arc<AtomicUsize>,
}

impl Origin {
    pub(in crate::proxy::upstream) fn http(&self) -> Endpoint {
        Endpoint::Http(self.authority.clone())
    }

    pub(in crate::proxy::upstream) fn https(&self) -> Endpoint {
        Endpoint::Https(self.authority.clone())
    }

    pub(in crate::proxy::upstream) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(in crate::proxy::upstream) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A server of bytes: `serve` gets each connection and its number, from 0.
pub(in crate::proxy::upstream) async fn raw<F, S>(serve: F) -> Origin
where
    F: Fn(TcpStream, usize, Arc<AtomicUsize>) -> S + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Origin {
        authority: listener.local_addr().unwrap().to_string().parse().unwrap(),
        connections: Arc::default(),
        requests: Arc::default(),
    };
    let seen = origin.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let number = seen.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream, number, Arc::clone(&seen.requests)));
        }
    });
    origin
}

/// Reads to the end of a request head; `None` at the stream's end.
pub(in crate::proxy::upstream) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        read.push(byte[0]);
        if read.ends_with(b"\r\n\r\n") {
            return Some(String::from_utf8(read).unwrap());
        }
    }
}

/// Reads to the end of a request head and of a body of known length, and counts it; `None` at the stream's end.
pub(in crate::proxy::upstream) async fn read_request(stream: &mut TcpStream, requests: &AtomicUsize) -> Option<String> {
    let head = read_head(stream).await?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    requests.fetch_add(1, Ordering::SeqCst);
    Some(head + &String::from_utf8(body).unwrap())
}

/// What an origin speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy::upstream) enum Speaks {
    Http1,
    Http2,
    /// HTTP/2 with extended CONNECT.
    Http2Connect,
}

/// A server of requests.
pub(in crate::proxy::upstream) async fn origin<H, R>(speaks: Speaks, handle: H) -> Origin
where
    H: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<OriginBody>> + Send + 'static,
{
    raw(move |stream, _, requests| serve(stream, speaks, requests, handle.clone())).await
}

pub(in crate::proxy::upstream) async fn serve<I, H, R>(io: I, speaks: Speaks, requests: Arc<AtomicUsize>, handle: H)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<OriginBody>> + Send + 'static,
{
    let service = service_fn(move |request| {
        requests.fetch_add(1, Ordering::SeqCst);
        let handle = handle.clone();
        async move { Ok::<_, Infallible>(handle(request).await) }
    });
    let io = TokioIo::new(io);
    if speaks == Speaks::Http1 {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await;
        return;
    }
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    if speaks == Speaks::Http2Connect {
        builder.enable_connect_protocol();
    }
    let _ = builder.serve_connection(io, service).await;
}

/// The same over a Unix socket.
pub(in crate::proxy::upstream) fn unix_origin<H, R>(path: &std::path::Path, handle: H)
where
    H: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<OriginBody>> + Send + 'static,
{
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, Speaks::Http1, Arc::default(), handle.clone()));
        }
    });
}

/// The same over TLS for `localhost`, with these ALPN protocols; also what a client needs to believe it.
pub(in crate::proxy::upstream) async fn tls_origin<H, R>(
    alpn: &[&str],
    handle: H,
) -> (Origin, Arc<rustls::ClientConfig>)
where
    H: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<OriginBody>> + Send + 'static,
{
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = rustls_pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let origin = raw(move |stream, _, requests| {
        let (acceptor, handle) = (acceptor.clone(), handle.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            serve(stream, if http2 { Speaks::Http2 } else { Speaks::Http1 }, requests, handle).await;
        }
    })
    .await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (origin, Arc::new(client))
}

/// An endpoint where nobody listens: bound for as long as the tests run, so that no other test can get the port.
pub(in crate::proxy::upstream) async fn dead() -> Endpoint {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let authority = socket.local_addr().unwrap().to_string().parse().unwrap();
    std::mem::forget(socket);
    Endpoint::Http(authority)
}

pub(in crate::proxy::upstream) fn options(endpoints: Vec<Endpoint>) -> UpstreamOptions {
    UpstreamOptions {
        name: "orders".into(),
        endpoints,
        protocol: Protocol::Auto,
        balance: Balance::RoundRobin,
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(10),
        health_check: None,
        tls: None,
        server_name: None,
        preserve_host: true,
    }
}

/// An upstream and its metrics.
pub(in crate::proxy::upstream) struct Subject {
    pub(in crate::proxy::upstream) upstream: Arc<Upstream>,
    metrics: Metrics,
}

impl Subject {
    pub(in crate::proxy::upstream) fn new(options: UpstreamOptions) -> Self {
        let metrics = Metrics::new().unwrap();
        let handles = metrics.upstream("orders");
        Self { upstream: Arc::new(Upstream::new(options, handles)), metrics }
    }

    pub(in crate::proxy::upstream) async fn send(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        self.upstream.send(request).await
    }

    /// Sends and reads to the end: the body as text.
    pub(in crate::proxy::upstream) async fn text(
        &self,
        request: Request<RequestBody>,
    ) -> Result<String, UpstreamError> {
        let body = self.send(request).await?.into_body().collect().await.unwrap();
        Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }

    /// The counted failures: `connect`, `timeout`, `reset`, `protocol`, `unhealthy`.
    pub(in crate::proxy::upstream) fn failures(&self) -> Vec<(&'static str, u64)> {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        UpstreamErrorKind::ALL
            .iter()
            .filter_map(|kind| {
                let kind = kind.as_str();
                let line = format!("dpop_gate_upstream_errors_total{{kind=\"{kind}\",upstream=\"orders\"}} ");
                let count = text.lines().find_map(|row| row.strip_prefix(&line))?.parse().unwrap();
                (count > 0).then_some((kind, count))
            })
            .collect()
    }

    pub(in crate::proxy::upstream) fn in_flight(&self) -> Vec<usize> {
        self.upstream.status().iter().map(|endpoint| endpoint.in_flight).collect()
    }

    pub(in crate::proxy::upstream) fn healthy(&self) -> Vec<bool> {
        self.upstream.status().iter().map(|endpoint| endpoint.healthy).collect()
    }
}

/// Waits for what must come true soon.
pub(in crate::proxy::upstream) async fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never came true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(in crate::proxy::upstream) fn get(path: &str) -> Request<RequestBody> {
    request("GET", path, Bytes::new())
}

pub(in crate::proxy::upstream) fn post(path: &str, body: impl Into<Bytes>) -> Request<RequestBody> {
    request("POST", path, body.into())
}

fn request(method: &str, path: &str, body: Bytes) -> Request<RequestBody> {
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    Request::builder().method(method).uri(path).header("host", "api.example.com").body(body).unwrap()
}

pub(in crate::proxy::upstream) fn text(text: impl Into<Bytes>) -> Response<OriginBody> {
    Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed_unsync())
}

/// A body that a test feeds piece by piece.
pub(in crate::proxy::upstream) fn piped() -> (mpsc::Sender<Piece>, UnsyncBoxBody<Bytes, BoxError>) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Piped(receiver).boxed_unsync())
}

pub(in crate::proxy::upstream) fn data(text: &'static str) -> Piece {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

pub(in crate::proxy::upstream) fn trailer(name: &'static str, value: &'static str) -> Piece {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, value.parse().unwrap());
    Ok(Frame::trailers(trailers))
}

struct Piped(mpsc::Receiver<Piece>);

impl Body for Piped {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.0.poll_recv(cx)
    }
}
