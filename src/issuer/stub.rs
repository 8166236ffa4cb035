//! A real HTTP server on loopback that answers as an issuer would, for the tests of this module.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

/// An answer.
#[derive(Clone)]
pub(super) struct Canned {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Canned {
    pub(super) fn json(body: impl ToString) -> Self {
        Self { status: 200, headers: vec![], body: body.to_string() }
    }

    pub(super) fn status(status: u16) -> Self {
        Self { status, headers: vec![], body: "{}".into() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// What came in.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) method: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: String,
}

struct Shared {
    answers: Mutex<HashMap<String, Canned>>,
    seen: Mutex<Vec<Seen>>,
    arrived: Notify,
    /// Whether answers are held back.
    held: watch::Sender<bool>,
    /// Whether connections that were used before are dead, and nobody was told.
    forgotten: AtomicBool,
    lost: AtomicUsize,
}

/// The server; gone when dropped.
pub(super) struct Stub {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Stub {
    /// Answers at once.
    pub(super) async fn start() -> Self {
        let stub = Self::holding().await;
        stub.release();
        stub
    }

    /// Holds every answer back until [`Stub::release`].
    pub(super) async fn holding() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answers: Mutex::default(),
            seen: Mutex::default(),
            arrived: Notify::new(),
            held: watch::Sender::new(true),
            forgotten: AtomicBool::new(false),
            lost: AtomicUsize::new(0),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    pub(super) fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    pub(super) fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// From now on nothing comes back over a connection that was used before: what a firewall does that has forgotten
    /// it.
    pub(super) fn forget_connections(&self) {
        self.shared.forgotten.store(true, Ordering::SeqCst);
    }

    /// How many questions went over such a connection.
    pub(super) fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::SeqCst)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn uri(&self, path: &str) -> Uri {
        self.url(path).parse().unwrap()
    }

    pub(super) fn answer(&self, path: &str, canned: Canned) {
        self.shared.answers.lock().unwrap().insert(path.into(), canned);
    }

    /// How often `path` was asked for.
    pub(super) fn count(&self, path: &str) -> usize {
        self.shared.seen.lock().unwrap().iter().filter(|seen| seen.path == path).count()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until `path` was asked for `times`.
    pub(super) async fn asked(&self, path: &str, times: usize) {
        let enough = async {
            loop {
                let arrived = self.shared.arrived.notified();
                if self.count(path) >= times {
                    return;
                }
                arrived.await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), enough).await.unwrap();
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with the task, so that connections end with the server.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let used = Arc::new(AtomicBool::new(false));
            let service = service_fn(move |request| answer(request, Arc::clone(&shared), Arc::clone(&used)));
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    used: Arc<AtomicBool>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if used.swap(true, Ordering::SeqCst) && shared.forgotten.load(Ordering::SeqCst) {
        shared.lost.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }
    let (head, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let path = head.uri.path().to_owned();
    let method = head.method.to_string();
    shared.seen.lock().unwrap().push(Seen { path: path.clone(), method, headers: head.headers, body });
    shared.arrived.notify_waiters();
    drop(shared.held.subscribe().wait_for(|held| !held).await);
    let canned = shared.answers.lock().unwrap().get(&path).cloned().unwrap_or_else(|| Canned::status(404));
    let mut response = Response::builder().status(canned.status);
    for (name, value) in canned.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(canned.body.into())).unwrap())
}
