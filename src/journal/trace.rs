//! What a trace tells of a request, from its record: handed over when the request has ended, to whoever exports it.
//!
//! Nothing waits here: a trace for which the queue has no room is dropped and counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method};
use prometheus::IntCounter;
use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::gate::Waits;
use crate::metrics::{Outcome, Reason};
use crate::policy::Route;
use crate::target::Target;

use super::identifiers::{Context, Identifiers, SAMPLED};
use super::{Lap, Record, identifiers};

/// Finished traces that wait for their export, at most: some hundred bytes each, and the request's URI.
pub const QUEUED: usize = 2048;

/// Decides which requests are traced, and takes what they leave.
#[derive(Debug)]
pub struct Tracer {
    share: f64,
    queue: mpsc::Sender<Trace>,
    dropped: IntCounter,
}

/// One request, finished.
#[derive(Debug)]
pub struct Trace {
    /// Where it belongs.
    pub context: Context,
    /// The caller's `tracestate`, if it is one line.
    pub state: Option<HeaderValue>,
    /// The span of the request itself.
    pub server: [u8; 8],
    /// The span that the upstream was told of.
    pub upstream: [u8; 8],
    /// When the request's head was there.
    pub began: Timestamp,
    /// From then to the response's head.
    pub took: Duration,
    /// The decision.
    pub decided: Option<Part>,
    /// Of it: waiting for an issuer's keys, or its answer.
    pub issuer: Option<Part>,
    /// Of it: the claim of the `jti`.
    pub claimed: Option<Part>,
    /// Waiting for the upstream's response head.
    pub forwarded: Option<Part>,
    /// The method, as the client meant it.
    pub method: Method,
    /// What the client addressed, if that was clear.
    pub target: Option<Target>,
    /// The route that it matched.
    pub route: Option<Arc<Route>>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused, or would have been.
    pub reason: Option<Reason>,
    /// Answered with; `None` if the client had gone.
    pub status: Option<u16>,
}

/// A part of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// How long after the request's beginning it began.
    pub after: Duration,
    /// How long it took.
    pub took: Duration,
}

/// How a request ended.
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) reason: Option<Reason>,
    pub(super) status: Option<u16>,
}

/// A request that is being traced.
#[derive(Debug)]
pub struct Traced {
    /// Where the decision notes what it waited for.
    pub waits: Waits,
    tracer: Arc<Tracer>,
    context: Context,
    state: Option<HeaderValue>,
    server: [u8; 8],
    upstream: [u8; 8],
}

impl Tracer {
    /// A tracer of that share (0 to 1) of the requests whose callers do not say, and what comes out of it.
    pub fn new(share: f64, dropped: IntCounter) -> (Self, mpsc::Receiver<Trace>) {
        let (queue, finished) = mpsc::channel(QUEUED);
        (Self { share, queue, dropped }, finished)
    }

    /// Begins a trace if this request is to have one: its caller's word counts, else the share. Either way
    /// `identifiers` say from now on what the upstream is told.
    pub(super) fn begin(self: &Arc<Self>, headers: &HeaderMap, identifiers: &mut Identifiers) -> Option<Box<Traced>> {
        let context = identifiers.context()?;
        match context.parent {
            Some(_) if context.flags & SAMPLED == 0 => return None,
            None if !self.takes(&context.trace) => {
                identifiers.leave_unsampled();
                return None;
            }
            Some(_) | None => {}
        }
        let (server, upstream) = (identifiers::span_id(), identifiers::span_id());
        identifiers.continue_in(&upstream);
        let state = context.parent.and_then(|_| identifiers::state(headers)).cloned();
        Some(Box::new(Traced { waits: Waits::default(), tracer: Arc::clone(self), context, state, server, upstream }))
    }

    /// By the trace's own random digits: everybody who looks at the same share of them takes the same traces.
    #[allow(clippy::cast_precision_loss, reason = "a share needs no 64 bits")]
    fn takes(&self, trace: &[u8; 16]) -> bool {
        let (_, random) = trace.split_last_chunk::<8>().unwrap_or((&[], &[0; 8]));
        (u64::from_be_bytes(*random) as f64) < self.share * u64::MAX as f64
    }
}

impl Traced {
    /// Hands over what is known at the end.
    pub(super) fn finish(self, record: &mut Record, ending: &Ending) {
        let started = record.started;
        let took = started.elapsed();
        let part = |from: Instant, length: Option<Duration>| {
            let after = from.saturating_duration_since(started).min(took);
            Part { after, took: length.unwrap_or(took).min(took.saturating_sub(after)) }
        };
        let lap = |lap: &Lap| part(lap.began(), lap.took());
        let decision_ended = record.decision.as_ref().and_then(|lap| lap.took().map(|took| lap.began() + took));
        let until = |from: Instant, to: Option<Instant>| {
            part(from, to.or(decision_ended).map(|end| end.saturating_duration_since(from)))
        };
        let trace = Trace {
            context: self.context,
            state: self.state,
            server: self.server,
            upstream: self.upstream,
            began: record.now,
            took,
            decided: record.decision.as_ref().map(lap),
            issuer: self.waits.issuer().map(|(from, to)| until(from, to)),
            claimed: self.waits.store().map(|from| until(from, None)),
            forwarded: record.upstream.as_ref().map(lap),
            method: record.method.clone(),
            target: record.target.take(),
            route: record.route.clone(),
            outcome: ending.outcome,
            reason: ending.reason,
            status: ending.status,
        };
        if self.tracer.queue.try_send(trace).is_err() {
            self.tracer.dropped.inc();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn traced(share: f64, traceparent: Option<&'static str>) -> (bool, String) {
        let (tracer, _finished) = Tracer::new(share, IntCounter::new("dropped", "dropped").unwrap());
        let mut headers = HeaderMap::new();
        headers
            .extend(traceparent.map(|parent| (http::HeaderName::from_static("traceparent"), parent.parse().unwrap())));
        let mut identifiers = Identifiers::of(&headers);
        let began = Arc::new(tracer).begin(&headers, &mut identifiers).is_some();
        identifiers.write(&mut headers);
        (began, headers.get("traceparent").unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn a_callers_word_counts_and_else_the_share() {
        const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        for share in [0.0, 1.0] {
            let (began, onward) = traced(share, Some(SAMPLED));
            assert!(began && onward.ends_with("-01") && onward != SAMPLED, "{onward}");
            assert_eq!(traced(share, Some(UNSAMPLED)), (false, UNSAMPLED.to_owned()));
        }
        let (began, onward) = traced(1.0, None);
        assert!(began && onward.ends_with("-01"), "{onward}");
        let (began, onward) = traced(0.0, None);
        assert!(!began && onward.ends_with("-00"), "{onward}");
    }

    #[test]
    fn a_share_is_that_share_of_random_traces() {
        let (tracer, _finished) = Tracer::new(0.25, IntCounter::new("dropped", "dropped").unwrap());
        let mut taken = 0;
        for high in 0..=u8::MAX {
            let mut trace = [0; 16];
            trace[8] = high;
            taken += u32::from(tracer.takes(&trace));
        }
        assert_eq!(taken, 64, "the trace's last 8 bytes decide, the highest first");
    }
}
