//! Steady traffic that is counted: so many requests a second, whatever the gate does meanwhile.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::{Client, Prepared};

/// Connections at once, half of them HTTP/2.
const CONNECTIONS: u32 = 16;
/// Requests on one of them, then it is opened anew: certificates are seen, and listeners.
const REQUESTS_A_CONNECTION: usize = 50;
/// A client that waits longer gives up: a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Default)]
pub struct Tally {
    /// Requests that were answered as they should be.
    pub good: AtomicU64,
    /// How often `use_dpop_nonce` was answered first.
    pub challenges: AtomicU64,
    /// Connections opened.
    pub connections: AtomicU64,
    /// Certificates that were shown.
    pub certificates: Mutex<HashSet<Vec<u8>>>,
    /// Whatever else happened to a request.
    pub failures: Mutex<Vec<String>>,
    slowest: Mutex<Duration>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [good, challenges, connections] =
            [&self.good, &self.challenges, &self.connections].map(|count| count.load(Ordering::Relaxed));
        let (certificates, failures) = (self.certificates.lock().unwrap().len(), self.failures.lock().unwrap().len());
        let slowest = self.slowest.lock().unwrap().as_millis();
        write!(
            f,
            "{good} requests answered, {failures} failed; {connections} connections, {certificates} certificates seen, \
             {challenges} nonce challenges, slowest {slowest} ms"
        )
    }
}

/// Traffic until it is stopped.
pub struct Load {
    pub tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    /// `rate` requests a second by `client`, over TLS.
    pub fn start(client: &Client, tls: &rustls::ClientConfig, rate: u32) -> Self {
        let (tally, stop) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for number in 0..CONNECTIONS {
            let mut tls = tls.clone();
            let protocol = if number % 2 == 0 { "http/1.1" } else { "h2" };
            tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            let caller = Caller {
                client: client.clone(),
                tls: TlsConnector::from(Arc::new(tls)),
                http2: protocol == "h2",
                tally: Arc::clone(&tally),
                stop: Arc::clone(&stop),
            };
            tasks.spawn(caller.run(Duration::from_secs(1) * CONNECTIONS / rate));
        }
        Self { tally, stop, tasks }
    }

    /// Ends it when every request has its answer.
    pub async fn stop(self) -> Arc<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        self.tally
    }
}

struct Caller {
    client: Client,
    tls: TlsConnector,
    http2: bool,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Of a request: its status and nonce, or that the connection took no request any more, or what went wrong.
enum Outcome {
    Answered(u16, Option<String>),
    NotSent,
    Failed(String),
}

impl Caller {
    async fn run(self, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        let (mut sender, mut left) = (None, 0);
        while !self.stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let began = Instant::now();
            if let Err(failure) = tokio::time::timeout(PATIENCE, self.call(&mut sender, &mut left))
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
            {
                self.tally.failures.lock().unwrap().push(failure);
                sender = None;
            }
            let mut slowest = self.tally.slowest.lock().unwrap();
            *slowest = slowest.max(began.elapsed());
        }
    }

    /// One request: sent once more with the nonce of a challenge, and on another connection where this one ended before
    /// anything of it was sent.
    async fn call(&self, sender: &mut Option<Sender>, left: &mut usize) -> Result<(), String> {
        let mut challenged = false;
        loop {
            let open = match sender.take().filter(|_| *left > 0) {
                Some(open) => open,
                None => {
                    *left = REQUESTS_A_CONNECTION;
                    self.connect().await.map_err(|error| format!("no connection: {error}"))?
                }
            };
            *left -= 1;
            let request = self.client.get("/orders/1").prepare();
            match self.send(open, &request, sender).await {
                Outcome::Answered(200, _) => {
                    self.tally.good.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Outcome::Answered(401, Some(nonce)) if !challenged => {
                    self.client.remember(&nonce);
                    self.tally.challenges.fetch_add(1, Ordering::Relaxed);
                    challenged = true;
                }
                Outcome::Answered(status, _) => return Err(format!("status {status}")),
                Outcome::NotSent => {}
                Outcome::Failed(error) => return Err(error),
            }
        }
    }

    async fn send(&self, open: Sender, request: &Prepared, keep: &mut Option<Sender>) -> Outcome {
        let body = Full::default();
        let sent = match open {
            Sender::Http1(mut open) => {
                if open.ready().await.is_err() {
                    return Outcome::NotSent;
                }
                let sent = open.send_request(request.builder().body(body).unwrap()).await;
                (sent, Sender::Http1(open))
            }
            Sender::Http2(mut open) => {
                if open.ready().await.is_err() {
                    return Outcome::NotSent;
                }
                let sent = open.send_request(request.over_http2("https").body(body).unwrap()).await;
                (sent, Sender::Http2(open))
            }
        };
        match sent {
            (Ok(response), open) => {
                let nonce = response.headers().get("dpop-nonce").map(|nonce| nonce.to_str().unwrap().to_owned());
                let status = response.status().as_u16();
                if let Err(error) = response.into_body().collect().await {
                    return Outcome::Failed(format!("a response broke off: {error}"));
                }
                *keep = Some(open);
                Outcome::Answered(status, nonce)
            }
            (Err(error), _) if error.is_canceled() || refused_stream(&error) => Outcome::NotSent,
            (Err(error), _) => Outcome::Failed(format!("{error:?}")),
        }
    }

    async fn connect(&self) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.client.address()).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from("localhost")?, stream).await?;
        self.tally.connections.fetch_add(1, Ordering::Relaxed);
        if let Some([leaf, ..]) = stream.get_ref().1.peer_certificates() {
            self.tally.certificates.lock().unwrap().insert(leaf.to_vec());
        }
        let stream = TokioIo::new(stream);
        Ok(if self.http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        })
    }
}

/// RFC 9113 section 8.7: a stream beyond a GOAWAY's last one, or one that is refused, was not processed, and a client
/// may send it again.
fn refused_stream(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        cause.reason() == Some(h2::Reason::REFUSED_STREAM)
            || cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// A service that only says yes: nothing of many thousand requests is kept.
pub async fn yes() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer =
                |_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("yes")))) };
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    address
}
