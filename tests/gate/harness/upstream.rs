//! A service that knows nothing of OAuth: it records what it is sent and answers as the last segment of the path says.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub uri: String,
    pub version: Version,
    pub headers: HeaderMap,
    /// Known once the body has come.
    pub body_bytes: u64,
    pub trailers: HeaderMap,
    /// Its body came to its end, not to an error.
    pub complete: bool,
}

impl Seen {
    /// The only header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} stands twice in {self:?}");
        first
    }
}

/// The service. It speaks HTTP/1.1 and h2c and ends with the test's runtime.
///
/// Last segments with a meaning: `echo` (the body comes back as it arrives, trailers too), `held` (answers once
/// released), `events` (one server-sent event, the next once released), `download` (64 MiB), `swallow` (reads the body,
/// says how long it was), `grpc` (trailers), `nonce` (a `DPoP-Nonce` of its own), `teapot` (418), and any with
/// `Upgrade` (an echo of bytes). All others are answered with what was seen, as JSON.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    released: Semaphore,
}

/// What `download` sends.
pub const DOWNLOAD_BYTES: u64 = 64 * 1024 * 1024;

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared { seen: Mutex::default(), released: Semaphore::new(0) };
        let shared = Arc::new(shared);
        let of_server = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&of_server);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(request, Arc::clone(&shared)));
                    // A gate that goes away in the middle of a request is what some tests do.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that arrived.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// What arrived last.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request at the upstream")
    }

    /// Lets one held answer go.
    pub fn release(&self) {
        self.shared.released.add_permits(1);
    }
}

/// What feeds a [`Channel`].
pub type Sender = mpsc::Sender<Frame<Bytes>>;

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Channel>, io::Error> {
    let (mut parts, body) = request.into_parts();
    let number = {
        let mut seen = shared.seen.lock().unwrap();
        seen.push(Seen {
            method: parts.method.to_string(),
            uri: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            version: parts.version,
            headers: parts.headers.clone(),
            body_bytes: 0,
            trailers: HeaderMap::new(),
            complete: false,
        });
        seen.len() - 1
    };
    if parts.headers.contains_key("upgrade") {
        let accept = accept(parts.headers.get("sec-websocket-key").map_or(&[][..], |key| key.as_bytes()));
        let upgrade = hyper::upgrade::on(Request::from_parts(parts, body));
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                stream.write_all(&bytes[..length]).await.unwrap();
            }
        });
        let response = Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "websocket");
        return Ok(response.header("sec-websocket-accept", accept).body(Channel::empty()).unwrap());
    }
    let segment = parts.uri.path().rsplit('/').next().unwrap().to_owned();
    let response = Response::builder();
    match segment.as_str() {
        "echo" => {
            let (sender, channel) = Channel::new();
            tokio::spawn(drain(body, shared, number, Some(sender)));
            Ok(response.body(channel).unwrap())
        }
        "held" => {
            drain(body, Arc::clone(&shared), number, None).await;
            shared.released.acquire().await.unwrap().forget();
            Ok(response.body(Channel::of("released")).unwrap())
        }
        "events" => {
            let (sender, channel) = Channel::new();
            tokio::spawn(async move {
                sender.send(Frame::data(Bytes::from_static(b"data: first\n\n"))).await.unwrap();
                shared.released.acquire().await.unwrap().forget();
                sender.send(Frame::data(Bytes::from_static(b"data: last\n\n"))).await.unwrap();
            });
            Ok(response.header("content-type", "text/event-stream").body(channel).unwrap())
        }
        "download" => {
            let (sender, channel) = Channel::new();
            tokio::spawn(async move {
                let chunk = Bytes::from(vec![b'd'; 64 * 1024]);
                for _ in 0..DOWNLOAD_BYTES / 65_536 {
                    if sender.send(Frame::data(chunk.clone())).await.is_err() {
                        return;
                    }
                }
            });
            Ok(response.body(channel).unwrap())
        }
        "swallow" => {
            drain(body, Arc::clone(&shared), number, None).await;
            let length = shared.seen.lock().unwrap()[number].body_bytes;
            Ok(response.body(Channel::of(&length.to_string())).unwrap())
        }
        "grpc" => {
            let (sender, channel) = Channel::new();
            tokio::spawn(async move {
                for frame in [&b"an "[..], b"answer"] {
                    if sender.send(Frame::data(Bytes::from_static(frame))).await.is_err() {
                        return;
                    }
                }
                drain(body, shared, number, None).await;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                // The caller may be gone.
                let _ = sender.send(Frame::trailers(trailers)).await;
            });
            Ok(response.header("content-type", "application/grpc").body(channel).unwrap())
        }
        "nonce" => Ok(response.header("dpop-nonce", "the-upstreams-own").body(Channel::of("{}")).unwrap()),
        "teapot" => Ok(response.status(418).body(Channel::of("short and stout")).unwrap()),
        _ => {
            drain(body, shared, number, None).await;
            let headers = parts
                .headers
                .drain()
                .filter_map(|(name, value)| Some(json!([name?.as_str(), String::from_utf8_lossy(value.as_bytes())])));
            let body = json!({"method": parts.method.as_str(), "uri": parts.uri.to_string(),
                              "headers": headers.collect::<Vec<_>>()});
            Ok(response.header("content-type", "application/json").body(Channel::of(&body.to_string())).unwrap())
        }
    }
}

/// RFC 6455 section 4.2.2.
fn accept(key: &[u8]) -> String {
    let text = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// Reads a body to its end, counts it, and sends it back if there is somewhere to.
async fn drain(mut body: Incoming, shared: Arc<Shared>, number: usize, back: Option<Sender>) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return };
        if let Some(data) = frame.data_ref() {
            shared.seen.lock().unwrap()[number].body_bytes += data.len() as u64;
        }
        if let Some(trailers) = frame.trailers_ref() {
            shared.seen.lock().unwrap()[number].trailers = trailers.clone();
        }
        if let Some(back) = &back
            && back.send(frame).await.is_err()
        {
            return;
        }
    }
    shared.seen.lock().unwrap()[number].complete = true;
}

/// A body that is fed from elsewhere: of an upstream's answer, or of a client's request.
pub struct Channel(Option<mpsc::Receiver<Frame<Bytes>>>);

impl Channel {
    pub fn new() -> (Sender, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Self(Some(receiver)))
    }

    pub fn empty() -> Self {
        Self(None)
    }

    pub fn of(text: &str) -> Self {
        let (sender, channel) = Self::new();
        sender.try_send(Frame::data(Bytes::copy_from_slice(text.as_bytes()))).unwrap();
        channel
    }
}

impl Body for Channel {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some(receiver) => Poll::Ready(ready!(receiver.poll_recv(cx)).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
