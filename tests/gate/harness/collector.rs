//! An OpenTelemetry collector: takes OTLP over HTTP, reads it with OpenTelemetry's own messages, and keeps it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::until;

/// The collector. It ends with the test's runtime.
pub struct Collector {
    address: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
}

/// What was posted.
#[derive(Clone)]
pub struct Post {
    pub path: String,
    headers: HeaderMap,
    pub bytes: Bytes,
}

impl Post {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A span, in words.
#[derive(Debug, Clone)]
pub struct Told {
    pub service: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub state: String,
    pub name: String,
    pub kind: SpanKind,
    pub failed: bool,
    /// In nanoseconds since the epoch.
    pub began: u64,
    pub ended: u64,
    attributes: Vec<KeyValue>,
}

impl Collector {
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Behind https, with that certificate and key (PEM).
    pub async fn over_tls((certificate, key): &(String, String)) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Self { address: listener.local_addr().unwrap(), posts: Arc::default() };
        let posts = Arc::clone(&collector.posts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (posts, tls) = (Arc::clone(&posts), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, posts).await,
                        // Whoever does not take the certificate is gone.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, posts).await;
                            }
                        }
                    }
                });
            }
        });
        collector
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Everything that was posted.
    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    /// Every span that came, in the order of its coming.
    pub fn spans(&self) -> Vec<Told> {
        self.posts().iter().flat_map(|post| spans(&post.bytes)).collect()
    }

    /// Waits for that many spans.
    pub async fn wait_for(&self, count: usize) -> Vec<Told> {
        until("spans at the collector", || async { Some(self.spans()).filter(|spans| spans.len() >= count) }).await
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, posts: Arc<Mutex<Vec<Post>>>) {
    let take = |request: Request<Incoming>| {
        let posts = Arc::clone(&posts);
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await?.to_bytes();
            posts.lock().unwrap().push(Post { path: parts.uri.path().to_owned(), headers: parts.headers, bytes });
            Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::default()))
        }
    };
    // The gate closes each connection.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(take)).await;
}

fn spans(bytes: &Bytes) -> Vec<Told> {
    let request = ExportTraceServiceRequest::decode(bytes.clone()).unwrap();
    let mut told = Vec::new();
    for of_resource in request.resource_spans {
        let service = text(&of_resource.resource.unwrap().attributes, "service.name").unwrap();
        for span in of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
            told.push(Told::of(&service, span));
        }
    }
    told
}

impl Told {
    fn of(service: &str, span: Span) -> Self {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Self {
            service: service.to_owned(),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            kind: span.kind(),
            failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
            state: span.trace_state,
            name: span.name,
            began: span.start_time_unix_nano,
            ended: span.end_time_unix_nano,
            attributes: span.attributes,
        }
    }

    /// An attribute, a number in digits.
    pub fn attribute(&self, key: &str) -> Option<String> {
        text(&self.attributes, key)
    }

    /// Whether all of it was within the other's time.
    pub fn is_within(&self, outer: &Told) -> bool {
        outer.began <= self.began && self.began <= self.ended && self.ended <= outer.ended
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}
