//! One connection, from TLS to its end.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::target::{Peer, Scheme};

use super::activity::{Activity, Counted, Cut, InFlight, Open, Watched};
use super::framing::Framed;
use super::listener::{Service, Stage};
use super::seldom::Seldom;
use super::socket::Accepted;
use super::{Handler, Limits};

/// Smallest buffer that hyper reads a head into, in bytes.
const MIN_HEADER_BYTES: usize = 8192;
/// Requests at once on one HTTP/2 connection, as nginx has it.
const STREAMS: u32 = 128;
/// Unread upload in memory, in bytes: a stream of HTTP/2, and a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Unsent download in memory, in bytes, a stream of HTTP/2.
const SEND_BUFFER: usize = 64 * 1024;
/// An HTTP/2 client that is gone without a word is noticed by a ping.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The limits, and hyper set up by them.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) limits: Limits,
    http: auto::Builder<TokioExecutor>,
}

impl Settings {
    pub(super) fn new(limits: Limits) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            // `Activity` times heads: this one cannot tell them from an idle connection.
            .header_read_timeout(None)
            // Above it, hyper answers 431 by itself.
            .max_buf_size(limits.header_bytes.max(MIN_HEADER_BYTES))
            .half_close(false)
            .keep_alive(true);
        http.http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            // RFC 8441: WebSocket over HTTP/2.
            .enable_connect_protocol();
        Self { limits, http }
    }
}

/// Serves an accepted connection to its end.
pub(super) async fn serve<H: Handler>(
    accepted: Accepted,
    open: Open,
    service: Arc<Service<H>>,
    settings: Arc<Settings>,
) {
    let ip = accepted.ip();
    let peer = Peer { ip, scheme: Scheme::Http, client_certificate: None };
    // Here, not where it was accepted: it is this loop that watches the socket from now on.
    match accepted {
        Accepted::Tcp(io, _) => match TcpStream::from_std(io) {
            Ok(io) => secure(io, open, peer, service, settings).await,
            Err(error) => warn!(client_addr = %ip, %error, "an accepted connection cannot be served"),
        },
        Accepted::Unix(io) => match UnixStream::from_std(io) {
            Ok(io) => secure(io, open, peer, service, settings).await,
            Err(error) => warn!(client_addr = %ip, %error, "an accepted connection cannot be served"),
        },
    }
}

async fn secure<IO, H>(io: IO, mut open: Open, peer: Peer, service: Arc<Service<H>>, settings: Arc<Settings>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let Some(tls) = &service.tls else {
        return drive(io, open, peer, &service.handler, &settings).await;
    };
    let handshake = timeout(settings.limits.header_timeout, TlsAcceptor::from(tls.current()).accept(io));
    let result = tokio::select! {
        result = handshake => result,
        _ = open.stage.wait_for(|stage| *stage == Stage::Ended) => return,
    };
    match result {
        Ok(Ok(io)) => {
            let leaf = io.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let client_certificate = leaf.map(|leaf| Sha256::digest(leaf).into());
            let peer = Peer { scheme: Scheme::Https, client_certificate, ..peer };
            drive(io, open, peer, &service.handler, &settings).await;
        }
        Ok(Err(error)) => debug!(client_addr = %peer.ip, %error, "TLS handshake failed"),
        Err(_elapsed) => debug!(client_addr = %peer.ip, "TLS handshake timed out"),
    }
}

async fn drive<IO, H>(io: IO, open: Open, peer: Peer, handler: &Arc<H>, settings: &Settings)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let limits = &settings.limits;
    let client_addr = peer.ip;
    let activity = Activity::new();
    let mut stage = open.stage.clone();
    let io = TokioIo::new(Watched::new(Framed::new(io), Arc::clone(&activity), open));
    let service = {
        let (activity, handler, peer) = (Arc::clone(&activity), Arc::clone(handler), Arc::new(peer));
        let stage = stage.clone();
        service_fn(move |request: Request<Incoming>| {
            let in_flight = activity.begin(!request.body().is_end_stream());
            answer(Arc::clone(&handler), request, Arc::clone(&peer), Arc::clone(&activity), in_flight, stage.clone())
        })
    };
    let mut connection = pin!(settings.http.serve_connection_with_upgrades(io, service));

    // No wait that begins from now on can end sooner than this, so looking that often misses no deadline.
    let step = limits.header_timeout.min(limits.idle_timeout);
    let mut timer = pin!(sleep(step));
    let mut closing = matches!(*stage.borrow_and_update(), Stage::Draining | Stage::Ended);
    if closing {
        connection.as_mut().graceful_shutdown();
    }
    loop {
        let event = {
            let mut seldom = pin!(Seldom::new(next_event(&mut stage, timer.as_mut())));
            poll_fn(|cx| match connection.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Event::Ended(result)),
                Poll::Pending => seldom.as_mut().poll(cx),
            })
            .await
        };
        match event {
            Event::Ended(result) => {
                if let Err(error) = result {
                    debug!(%client_addr, %error, "connection ended");
                }
                return;
            }
            Event::Stage(Stage::Ended) => return,
            Event::Stage(Stage::Serving | Stage::Leaving) => {}
            Event::Stage(Stage::Draining) => {
                closing = true;
                activity.forbid_linger();
                connection.as_mut().graceful_shutdown();
            }
            Event::Time => {
                let now = Instant::now();
                let deadline = activity.deadline(limits, closing);
                match deadline {
                    Some((at, Cut::Hard)) if at <= now => {
                        debug!(%client_addr, "connection timed out");
                        return;
                    }
                    Some((at, Cut::Graceful)) if at <= now => {
                        closing = true;
                        activity.forbid_linger();
                        connection.as_mut().graceful_shutdown();
                    }
                    Some(_) | None => {}
                }
                let next = deadline.map(|(at, _)| at).filter(|at| *at > now);
                timer.as_mut().reset(next.map_or(now + step, |at| at.min(now + step)));
            }
        }
    }
}

/// What a connection waits for.
enum Event<R> {
    /// Its end.
    Ended(R),
    /// Its listener's stage has changed.
    Stage(Stage),
    /// It is time to look at its deadlines.
    Time,
}

async fn next_event<R>(stage: &mut watch::Receiver<Stage>, timer: Pin<&mut Sleep>) -> Event<R> {
    tokio::select! {
        biased;
        changed = stage.changed() => Event::Stage(changed.map_or(Stage::Ended, |()| *stage.borrow())),
        () = timer => Event::Time,
    }
}

/// A client of HTTP/1 that is told with its answer opens another connection for its next request; one that is idle when
/// the connection ends may be sending just then. HTTP/2 has GOAWAY, which loses nothing at any time.
fn leave<B>(mut response: Response<B>, stage: Stage) -> Response<B> {
    if stage == Stage::Leaving && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer<H: Handler>(
    handler: Arc<H>,
    request: Request<Incoming>,
    peer: Arc<Peer>,
    activity: Arc<Activity>,
    in_flight: InFlight,
    stage: watch::Receiver<Stage>,
) -> Result<Response<Counted<H::Body>>, Infallible> {
    let connect = request.method() == Method::CONNECT;
    let response = handler.handle(request, &peer).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS || (connect && response.status().is_success()) {
        activity.tunnel();
    }
    let response = leave(response, *stage.borrow());
    Ok(response.map(|body| Counted::new(body, in_flight)))
}
