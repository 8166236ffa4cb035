//! A listener: a socket, and the service behind it, which may be exchanged without closing the socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::tls::Rotating;

use super::activity::Open;
use super::socket::{Accepted, Socket};
use super::{Bounds, Handler, ListenAddress, connection};

/// After an error of accept that time alone mends (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take to fall once they were told to.
const END_GRACE: Duration = Duration::from_millis(500);

/// What connections are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Serve.
    Serving,
    /// Serve, and ask clients of HTTP/1 to come on another connection: this one will end.
    Leaving,
    /// End after the requests in flight.
    Draining,
    /// End now.
    Ended,
}

/// Who answers the connections of a listener, and the TLS in front of it.
#[derive(Debug)]
pub struct Service<H> {
    /// Who answers.
    pub handler: Arc<H>,
    /// TLS, if any.
    pub tls: Option<Arc<Rotating>>,
}

/// A listener that accepts; dropped without [`Listener::drain`], it and its connections end at once.
#[derive(Debug)]
pub struct Listener<H> {
    address: ListenAddress,
    current: Arc<ArcSwap<Generation<H>>>,
    accept: JoinHandle<()>,
    /// Told to stop accepting.
    stop: watch::Sender<bool>,
}

/// A service and its connections.
#[derive(Debug)]
struct Generation<H> {
    service: Arc<Service<H>>,
    stage: watch::Sender<Stage>,
}

impl<H> Generation<H> {
    fn new(service: Service<H>) -> Arc<Self> {
        Arc::new(Self { service: Arc::new(service), stage: watch::Sender::new(Stage::Serving) })
    }

    async fn drain(&self, limit: Duration) {
        self.stage.send_replace(Stage::Draining);
        if timeout(limit, self.stage.closed()).await.is_err() {
            self.stage.send_replace(Stage::Ended);
            // What was upgraded is not driven here: it ends with the process.
            let _ = timeout(END_GRACE, self.stage.closed()).await;
        }
    }
}

impl<H: Handler> Listener<H> {
    /// Begins to accept. A task of the current runtime.
    pub fn start(socket: Socket, service: Service<H>, bounds: Arc<Bounds>) -> Self {
        let address = socket.address().clone();
        let current = Arc::new(ArcSwap::new(Generation::new(service)));
        let (stop, stopped) = watch::channel(false);
        let accept = tokio::spawn(accept(socket, Arc::clone(&current), bounds, stopped));
        Self { address, current, accept, stop }
    }

    /// The address that was bound.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The service that new connections get.
    pub fn service(&self) -> Arc<Service<H>> {
        Arc::clone(&self.current.load().service)
    }

    /// Exchanges the service: new connections get the new one, the others are drained. The socket stays open.
    pub fn replace(&self, service: Service<H>, drain_timeout: Duration) {
        let old = self.current.swap(Generation::new(service));
        tokio::spawn(async move { old.drain(drain_timeout).await });
    }

    /// Serves on, and asks clients of HTTP/1 to come on another connection.
    pub fn leave(&self) {
        self.current.load().stage.send_replace(Stage::Leaving);
    }

    /// Stops accepting, lets requests in flight end, and drops what is left after `drain_timeout`.
    pub async fn drain(mut self, drain_timeout: Duration) {
        self.stop.send_replace(true);
        let _ = (&mut self.accept).await;
        self.current.load_full().drain(drain_timeout).await;
    }
}

impl<H> Drop for Listener<H> {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept<H: Handler>(
    socket: Socket,
    current: Arc<ArcSwap<Generation<H>>>,
    bounds: Arc<Bounds>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => tokio::select! {
                biased;
                () = serve(accepted, &current, &bounds) => {}
                // All permits are taken, and those who wait are not served any more.
                _ = stopped.wait_for(|stopped| *stopped) => return,
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                warn!(address = %socket.address(), %error, "no connection could be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // They came while it was open: each gets an answer, as far as there are permits.
    for accepted in socket.close() {
        if timeout(Duration::ZERO, serve(accepted, &current, &bounds)).await.is_err() {
            return;
        }
    }
}

async fn serve<H: Handler>(accepted: Accepted, current: &ArcSwap<Generation<H>>, bounds: &Bounds) {
    // In this order: a listener that waited with a permit in its hand would keep it from the others. So at most one
    // connection a listener is accepted and not served; the others wait in the kernel's queue.
    let Ok(permit) = Arc::clone(&bounds.permits).acquire_owned().await else { return };
    let generation = current.load_full();
    let settings = bounds.settings.load_full();
    bounds.loops.spawn(|seat| {
        let open = Open::new(permit, bounds.open.clone(), seat, generation.stage.subscribe());
        connection::serve(accepted, open, Arc::clone(&generation.service), settings)
    });
}
