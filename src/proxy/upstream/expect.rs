//! `Expect: 100-continue` (RFC 9110 section 10.1.1), where the upstream speaks HTTP/1.1: the head goes out, the body
//! waits for the upstream's word, and with it the client, which is told to go on when its body is first asked for.
//!
//! An upstream that knows nothing of it says nothing, and waits for the body: it gets it after a second, as curl and Go
//! do it. Many such services stand behind a gate, and some clients ask with every POST: an endpoint that has once let
//! that second pass is not asked for a while, and its clients are told at once.
//!
//! An upstream that answers first has most often no use for the body, but may begin its answer before it reads: where
//! the response still goes on after that second, a client that sends without having been asked is heard.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::EXPECT;
use http::{HeaderValue, Request, StatusCode};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::body::Upload;

/// How long an upstream has to say that it wants the body.
const WAIT: Duration = Duration::from_secs(1);
/// How long an endpoint that said nothing is not asked.
const SILENCE: Duration = Duration::from_mins(10);

/// What the header says; in this spelling only where the client waits.
pub(in crate::proxy) const CONTINUE: HeaderValue = HeaderValue::from_static("100-continue");

/// A request that waits for the upstream's word, seen by its sender.
pub(super) struct Expectation(Arc<Shared>);

struct Shared {
    stage: Mutex<Stage>,
    told: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing has come.
    Waiting,
    /// 100 has, and the body may go.
    Told,
    /// The body goes, since 100 has come or nothing has.
    Gone { told: bool },
    /// The response came first.
    Answered,
}

/// How it ended, once there is a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The upstream asked for the body.
    Met,
    /// It said nothing of it.
    Ignored,
    /// It answered first: whether the body ever comes is open, so that the connection can carry nothing else.
    Answered,
}

/// What keeps a body back.
pub(super) type Hold = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Expectation {
    /// Keeps the body of a request back that expects `100 Continue`.
    pub(super) fn of(request: &mut Request<Upload>) -> Self {
        let shared = Arc::new(Shared { stage: Mutex::new(Stage::Waiting), told: Notify::new() });
        let (teller, held) = (Arc::clone(&shared), Arc::clone(&shared));
        hyper::ext::on_informational(request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                teller.tell();
            }
        });
        request.body_mut().hold(Box::pin(async move {
            let _ = timeout(WAIT, held.told.notified()).await;
            if !held.let_go() {
                tokio::time::sleep(WAIT).await;
            }
        }));
        Self(shared)
    }

    /// The head of the response came.
    pub(super) fn answered(&self) -> Ending {
        let mut stage = self.0.stage();
        match *stage {
            Stage::Gone { told: true } => Ending::Met,
            Stage::Gone { told: false } => Ending::Ignored,
            Stage::Waiting | Stage::Told | Stage::Answered => {
                *stage = Stage::Answered;
                Ending::Answered
            }
        }
    }
}

impl Shared {
    fn tell(&self) {
        let mut stage = self.stage();
        match *stage {
            Stage::Waiting => *stage = Stage::Told,
            // Later than we had the patience for, and yet it knows how.
            Stage::Gone { .. } => *stage = Stage::Gone { told: true },
            Stage::Told | Stage::Answered => {}
        }
        // Stores a permit: a body that is asked for later goes at once.
        self.told.notify_one();
    }

    /// Whether the body goes with the upstream's leave, or for want of its word.
    fn let_go(&self) -> bool {
        let mut stage = self.stage();
        *stage = match *stage {
            Stage::Waiting => Stage::Gone { told: false },
            Stage::Told => Stage::Gone { told: true },
            Stage::Gone { .. } => return true,
            Stage::Answered => return false,
        };
        true
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request's client waits.
pub(super) fn is_of(request: &Request<Upload>) -> bool {
    request.headers().get(EXPECT) == Some(&CONTINUE)
}

/// Lets the body go as it is wanted: nobody says 100 where this request goes.
pub(super) fn waive(request: &mut Request<Upload>) {
    request.headers_mut().remove(EXPECT);
    request.body_mut().let_go();
}

/// Polls what keeps a body back, if anything does.
pub(super) fn poll_hold(hold: &mut Option<Hold>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(held) = hold else { return Poll::Ready(()) };
    let polled = held.as_mut().poll(cx);
    if polled.is_ready() {
        *hold = None;
    }
    polled
}

/// Whether an endpoint was asked, and said nothing.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<Option<Instant>>);

impl Silence {
    pub(super) fn begins(&self) {
        *self.until() = Some(Instant::now() + SILENCE);
    }

    pub(super) fn lasts(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }

    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn expecting() -> Request<Upload> {
        let body = http_body_util::Full::new(bytes::Bytes::from_static(b"body"));
        let body = Upload::new(body.map_err(|never| match never {}).boxed_unsync());
        Request::post("/").header(EXPECT, CONTINUE).body(body).unwrap()
    }

    /// How long the body takes to come.
    async fn body(request: &mut Request<Upload>) -> Duration {
        let start = Instant::now();
        let frame = request.body_mut().frame().await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "body");
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_body_goes_when_it_is_asked_for() {
        let mut request = expecting();
        let expectation = Expectation::of(&mut request);
        expectation.0.tell();
        assert_eq!(body(&mut request).await, Duration::ZERO);
        assert_eq!(expectation.answered(), Ending::Met);
    }

    #[tokio::test(start_paused = true)]
    async fn the_body_goes_after_a_second_of_silence() {
        for (late, ending) in [(false, Ending::Ignored), (true, Ending::Met)] {
            let mut request = expecting();
            let expectation = Expectation::of(&mut request);
            let waited = body(&mut request).await;
            assert!(waited >= WAIT && waited < 2 * WAIT, "{waited:?}");
            if late {
                expectation.0.tell();
            }
            assert_eq!(expectation.answered(), ending);
        }
    }

    /// A second after the answer whoever sends it nevertheless is heard.
    #[tokio::test(start_paused = true)]
    async fn the_body_stays_for_a_while_where_an_answer_came_first() {
        for told in [false, true] {
            let mut request = expecting();
            let expectation = Expectation::of(&mut request);
            if told {
                expectation.0.tell();
            }
            assert_eq!(expectation.answered(), Ending::Answered, "{told}");
            let waited = body(&mut request).await;
            assert!(waited >= WAIT && waited < 3 * WAIT, "{told}: {waited:?}");
            assert_eq!(expectation.answered(), Ending::Answered, "{told}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_expects_nothing_waits_for_nothing() {
        let mut request = expecting();
        assert!(is_of(&request));
        let _ = Expectation::of(&mut request);
        waive(&mut request);
        assert!(!is_of(&request) && !request.headers().contains_key(EXPECT));
        assert_eq!(body(&mut request).await, Duration::ZERO);
        // Another expectation is the upstream's to meet or refuse.
        request.headers_mut().insert(EXPECT, HeaderValue::from_static("something-else"));
        assert!(!is_of(&request));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_forgiven() {
        let silence = Silence::default();
        assert!(!silence.lasts());
        silence.begins();
        assert!(silence.lasts());
        tokio::time::advance(SILENCE).await;
        assert!(!silence.lasts());
    }
}
