//! A loopback HTTP/1.1 server for the demo's own services. The gate in front of them is the real one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// Largest body that the demo's services read, in bytes.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// How long a request's head may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that answers a request that was read whole.
pub(super) trait Answer: Send + Sync + 'static {
    /// The response.
    fn answer(&self, request: Request<Bytes>) -> Response<Bytes>;
}

/// A server that ends when this is dropped.
pub(super) struct Served {
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `service` on `listener` until the result is dropped.
pub(super) fn serve(listener: TcpListener, service: Arc<dyn Answer>) -> Served {
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, most likely; a pause lets some connections end.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            let service = Arc::clone(&service);
            connections.spawn(async move {
                let handler = service_fn(move |request| respond(Arc::clone(&service), request));
                // A connection that breaks is the client's affair.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), handler)
                    .await;
            });
        }
    });
    Served { task }
}

async fn respond(service: Arc<dyn Answer>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let response = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => service.answer(Request::from_parts(head, body.to_bytes())),
        Err(_) => plain(StatusCode::PAYLOAD_TOO_LARGE, "The demo's services read bodies of up to 256 KiB.\n"),
    };
    Ok(response.map(Full::new))
}

/// A text.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<Bytes> {
    with_type(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

/// Of methods, only these.
pub(super) fn not_allowed(allowed: &'static str) -> Response<Bytes> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Not with this method.\n");
    response.headers_mut().insert(http::header::ALLOW, http::HeaderValue::from_static(allowed));
    response
}

/// A JSON document, indented for human eyes.
pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Bytes> {
    with_type(status, "application/json", Bytes::from(format!("{value:#}\n")))
}

/// A page.
pub(super) fn html(status: StatusCode, page: String) -> Response<Bytes> {
    with_type(status, "text/html; charset=utf-8", Bytes::from(page))
}

/// A body of that type.
pub(super) fn with_type(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    response
}
