//! Bodies that stream: never held whole, cut off where they are too large, read to their end where nobody wants them.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Sleep, timeout};

use crate::gate::{Gate, tokens};

use super::upstream::{RequestBody, ResponseBody};

/// A response body towards the client.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// How long the rest of an unwanted upload is read, so that its sender gets to read the answer.
const DRAIN_TOTAL: Duration = Duration::from_secs(30);
/// How long an unwanted upload may pause before it is given up.
const DRAIN_IDLE: Duration = Duration::from_secs(5);

/// Nothing.
pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Bytes at hand.
pub(super) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body that streams from elsewhere.
pub(super) fn streaming<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A response's body; its trailers are cleaned like its headers.
pub(super) fn from_upstream(body: ResponseBody) -> Body {
    streaming(UpstreamBody(body))
}

struct UpstreamBody(ResponseBody);

impl HttpBody for UpstreamBody {
    type Data = Bytes;
    type Error = <ResponseBody as HttpBody>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut polled = Pin::new(&mut self.0).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            super::headers::clean_response_trailers(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// What is wrong with a client's body: the client's fault, not the upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum BodyFault {
    /// It went past the limit.
    #[error("the request's body is larger than this gate allows")]
    TooLarge,
    /// Its framing is malformed, or the client went away.
    #[error("the request's body is malformed or was cut short")]
    Broken,
    /// The client stopped in the middle of it, and nobody has answered yet.
    #[error("the request's body did not come in time")]
    Stalled,
}

/// What bounds a client's body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    /// Bytes; 0 for no limit.
    pub(super) bytes: u64,
    /// How long the client may pause before there is a response head. After that the exchange is the upstream's to end.
    pub(super) pause: Duration,
}

/// Takes a request's body: what goes upstream, and what tells how it fares.
pub(super) fn from_client(
    incoming: Incoming,
    version: Version,
    headers: &HeaderMap,
    limits: BodyLimits,
    gate: &Arc<Gate>,
) -> (RequestBody, BodyWatch) {
    if incoming.is_end_stream() {
        return (empty(), BodyWatch(None));
    }
    let state = Arc::new(State::default());
    let http1 = version <= Version::HTTP_11;
    // As hyper reads it: then the first poll of the body sends `100 Continue`.
    let expects = version == Version::HTTP_11
        && headers
            .get_all(header::EXPECT)
            .iter()
            .next_back()
            .is_some_and(|expectation| expectation.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let body = ClientBody {
        incoming: Some(incoming),
        left: if limits.bytes == 0 { u64::MAX } else { limits.bytes },
        pause: limits.pause,
        patience: None,
        http1,
        awaits_continue: expects,
        state: Arc::clone(&state),
        gate: Arc::clone(gate),
    };
    state.awaits_continue.store(expects, Ordering::Relaxed);
    (streaming(body), BodyWatch(Some(state)))
}

/// How a request's body fares, seen from the journey.
#[derive(Debug)]
pub(super) struct BodyWatch(Option<Arc<State>>);

impl BodyWatch {
    /// Waits for a fault: for ever if there is none.
    pub(super) async fn fault(&self) -> BodyFault {
        let Some(state) = &self.0 else { return std::future::pending().await };
        loop {
            if let Some(fault) = state.fault() {
                return fault;
            }
            state.notify.notified().await;
        }
    }

    /// The fault, if there is one by now.
    pub(super) fn seen(&self) -> Option<BodyFault> {
        self.0.as_ref().and_then(|state| state.fault())
    }

    /// There is a response head: pauses are no longer counted.
    pub(super) fn answered(&self) {
        if let Some(state) = &self.0 {
            state.answered.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the client still waits for `100 Continue`: it will not get one, and must not take the connection for
    /// one that reads its body as the next request (RFC 9110 section 10.1.1).
    pub(super) fn awaits_continue(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.awaits_continue.load(Ordering::Relaxed))
    }

    /// Whether a client of HTTP/1.1 expects more than `100 Continue` (`100-continue, x`), which nobody could say to the
    /// upstream without that; hyper does not even take it for that, and neither side would begin (RFC 9110 section
    /// 10.1.1). Before the body was asked for.
    pub(super) fn expects_more(&self, version: Version, headers: &HeaderMap) -> bool {
        if self.0.is_none() || version != Version::HTTP_11 {
            return false;
        }
        let is_continue = |token: &[u8]| token.eq_ignore_ascii_case(b"100-continue");
        if self.awaits_continue() {
            tokens(headers, &header::EXPECT).any(|token| !is_continue(token))
        } else {
            tokens(headers, &header::EXPECT).any(is_continue)
        }
    }
}

#[derive(Debug, Default)]
struct State {
    fault: AtomicU8,
    awaits_continue: AtomicBool,
    answered: AtomicBool,
    notify: Notify,
}

impl State {
    fn fail(&self, fault: BodyFault) -> BodyFault {
        let code = match fault {
            BodyFault::TooLarge => 1,
            BodyFault::Broken => 2,
            BodyFault::Stalled => 3,
        };
        self.fault.store(code, Ordering::Release);
        // Stores a permit: who asks later is told, too.
        self.notify.notify_one();
        fault
    }

    fn fault(&self) -> Option<BodyFault> {
        match self.fault.load(Ordering::Acquire) {
            1 => Some(BodyFault::TooLarge),
            2 => Some(BodyFault::Broken),
            3 => Some(BodyFault::Stalled),
            _ => None,
        }
    }
}

/// A client's body on its way upstream, counted.
///
/// Dropped before its end on HTTP/1, its rest is read and thrown away for a while: hyper closes a connection whose
/// body nobody reads, and the kernel then resets it under a client that is still sending, which loses the answer. On
/// HTTP/2 a stream ends by itself.
struct ClientBody {
    /// `None` once it is at its end.
    incoming: Option<Incoming>,
    left: u64,
    pause: Duration,
    /// Runs while the client is being waited for.
    patience: Option<Pin<Box<Sleep>>>,
    http1: bool,
    awaits_continue: bool,
    state: Arc<State>,
    /// Knows which trailers would pass for identity headers.
    gate: Arc<Gate>,
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        // After an answer it is not asked to go on: it may send nevertheless.
        if self.awaits_continue && !self.state.answered.load(Ordering::Relaxed) {
            self.awaits_continue = false;
            self.state.awaits_continue.store(false, Ordering::Relaxed);
        }
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let Poll::Ready(polled) = Pin::new(incoming).poll_frame(cx) else {
            ready!(self.poll_patience(cx));
            return Poll::Ready(Some(Err(self.state.fail(BodyFault::Stalled))));
        };
        self.patience = None;
        match polled {
            Some(Ok(mut frame)) => {
                self.awaits_continue = false;
                if let Some(trailers) = frame.trailers_mut() {
                    super::headers::clean_trailers(&self.gate, trailers);
                }
                let length = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
                match self.left.checked_sub(length) {
                    Some(left) => {
                        self.left = left;
                        Poll::Ready(Some(Ok(frame)))
                    }
                    None => Poll::Ready(Some(Err(self.state.fail(BodyFault::TooLarge)))),
                }
            }
            Some(Err(_)) => {
                self.incoming = None;
                Poll::Ready(Some(Err(self.state.fail(BodyFault::Broken))))
            }
            None => {
                self.incoming = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl ClientBody {
    /// Ready when the client has paused for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.answered.load(Ordering::Relaxed) {
            self.patience = None;
            return Poll::Pending;
        }
        let pause = self.pause;
        let over = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause))).as_mut().poll(cx);
        ready!(over);
        // The head may have come while the clock ran.
        if self.state.answered.load(Ordering::Relaxed) { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        // To read a body that awaits `100 Continue` would ask for it.
        if !self.http1 || self.awaits_continue {
            return;
        }
        if let Some(rest) = self.incoming.take().filter(|rest| !rest.is_end_stream())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(drain(rest));
        }
    }
}

pub(super) async fn drain(mut rest: Incoming) {
    let read = async { while let Ok(Some(Ok(_))) = timeout(DRAIN_IDLE, rest.frame()).await {} };
    // Either way the connection ends, or is at the next request: nothing is left to do.
    let _ = timeout(DRAIN_TOTAL, read).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};

    use http::{Request, Response, StatusCode};
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;

    fn no_gate() -> Arc<Gate> {
        Arc::new(crate::gate::fixture::gate(crate::policy::Auth::Public))
    }

    /// A server that takes bodies as the proxy does, up to `limit`, and answers without or after reading them.
    async fn server(limit: u64, answer: Answer) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let limits = BodyLimits { bytes: limit, pause: Duration::from_secs(60) };
                let service = service_fn(move |request: Request<Incoming>| async move {
                    let (parts, body) = request.into_parts();
                    let (body, watch) = from_client(body, parts.version, &parts.headers, limits, &no_gate());
                    let (status, text) = match answer {
                        Answer::Unread => (StatusCode::PAYLOAD_TOO_LARGE, "unread".to_owned()),
                        Answer::Read => match body.collect().await {
                            Ok(read) => (StatusCode::OK, read.to_bytes().len().to_string()),
                            Err(_) => (StatusCode::PAYLOAD_TOO_LARGE, watch.fault().await.to_string()),
                        },
                    };
                    let mut response = Response::new(full(text.into()));
                    *response.status_mut() = status;
                    if watch.awaits_continue() {
                        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
                    }
                    Ok::<_, Infallible>(response)
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    #[derive(Clone, Copy)]
    enum Answer {
        Unread,
        Read,
    }

    /// Sends everything before it reads a byte, as many clients do; then a second request on the same connection.
    fn send_all_then_read(address: SocketAddr, head: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.ends_with("unread") && !text.ends_with("allows") {
            let length = stream.read(&mut buffer).unwrap();
            assert_ne!(length, 0, "closed after {text:?}");
            text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        text
    }

    async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_answer_in_the_middle_of_an_upload_reaches_a_client_that_sends_first() {
        let address = server(0, Answer::Unread).await;
        let reply = blocking(move || {
            let body = vec![b'x'; 32 << 20];
            send_all_then_read(
                address,
                &format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len()),
                &body,
            )
        });
        assert!(reply.await.starts_with("HTTP/1.1 413 "));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_body_of_unknown_length_is_cut_off_at_the_limit_and_the_client_hears_of_it() {
        let address = server(1 << 20, Answer::Read).await;
        let reply = blocking(move || {
            let mut body = Vec::new();
            for _ in 0..512 {
                body.extend_from_slice(b"10000\r\n");
                body.resize(body.len() + 0x10000, b'x');
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            send_all_then_read(address, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", &body)
        });
        let reply = reply.await;
        assert!(reply.starts_with("HTTP/1.1 413 ") && reply.ends_with("larger than this gate allows"), "{reply}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn bodies_at_and_past_the_limit() {
        let address = server(5, Answer::Read).await;
        for (framed, expected) in [
            ("content-length: 5\r\n\r\n12345", "200"),
            ("content-length: 6\r\n\r\n123456", "413"),
            ("transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n", "200"),
            ("transfer-encoding: chunked\r\n\r\n3\r\n123\r\n3\r\n456\r\n0\r\n\r\n", "413"),
        ] {
            let reply = blocking(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                write!(stream, "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{framed}").unwrap();
                let mut reply = String::new();
                stream.read_to_string(&mut reply).unwrap();
                reply
            })
            .await;
            assert!(reply.starts_with(&format!("HTTP/1.1 {expected} ")), "{framed:?}: {reply}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_client_that_awaits_100_continue_is_not_asked_for_a_body_that_nobody_wants() {
        for (answer, expected) in [(Answer::Unread, "HTTP/1.1 413 "), (Answer::Read, "HTTP/1.1 100 Continue\r\n\r\n")] {
            let address = server(0, answer).await;
            let reply = blocking(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                let mut reply = String::new();
                match answer {
                    // The connection ends: what follows cannot be mistaken for a request.
                    Answer::Unread => drop(stream.read_to_string(&mut reply).unwrap()),
                    Answer::Read => {
                        let mut buffer = [0; 256];
                        while !reply.contains("\r\n\r\n") {
                            let length = stream.read(&mut buffer).unwrap();
                            reply.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
                        }
                        stream.write_all(b"abc").unwrap();
                        while !reply.ends_with("\r\n\r\n3") {
                            let length = stream.read(&mut buffer).unwrap();
                            assert_ne!(length, 0, "{reply}");
                            reply.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
                        }
                    }
                }
                reply
            })
            .await;
            assert!(reply.starts_with(expected), "{reply}");
            assert_eq!(reply.contains("connection: close"), matches!(answer, Answer::Unread), "{reply}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_body_with_broken_chunks_is_the_clients_fault() {
        let address = server(0, Answer::Read).await;
        let reply = blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc").unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            reply
        });
        assert!(reply.await.ends_with("malformed or was cut short"));
    }
}
