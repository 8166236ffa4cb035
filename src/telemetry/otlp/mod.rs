//! Traces over OTLP (HTTP, protobuf): one task that gathers what requests leave, and posts it now and then.
//!
//! No request ever waits for it. What it holds is bounded: the tracer's queue and one batch; while the collector is
//! away both are full, and what comes then is counted as dropped.

mod collector;
mod message;
mod spans;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use crate::journal::{Trace, Tracer};
use crate::metrics::{Metrics, TraceResult};

use collector::Collector;

pub use collector::OtlpOptions;

/// Requests in one post, at most.
pub const BATCH: usize = 512;
/// How often a batch is tried before it is let go.
pub const TRIES: u32 = 5;
/// How long the last traces may hold up the process' end.
const FLUSH: Duration = Duration::from_secs(5);
const PACE: Pace = Pace { gather: Duration::from_secs(5), pause: Duration::from_secs(1) };

#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How long the first of a batch waits for others.
    gather: Duration,
    /// The pause after the first try that failed; doubled after each further one.
    pause: Duration,
}

/// The running export. Dropped, it exports what its tracer still brings, and ends once nobody holds that any more.
#[derive(Debug)]
pub struct Exporter {
    ending: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Starts the export on the current runtime. `store` is the replay store's name.
pub fn start(options: OtlpOptions, store: &'static str, metrics: &Metrics) -> (Arc<Tracer>, Exporter) {
    let [exported, dropped] = [TraceResult::Exported, TraceResult::Dropped].map(|result| metrics.traces(result));
    let (tracer, finished) = Tracer::new(options.share, dropped.clone());
    let (ending, ended) = oneshot::channel();
    let export = Export::new(Collector::new(options, store), exported, dropped, PACE);
    (Arc::new(tracer), Exporter { ending, task: tokio::spawn(export.run(finished, ended)) })
}

impl Exporter {
    /// Exports what is there, by `deadline` and within 5 s, and ends.
    pub async fn finish(self, deadline: Instant) {
        let Self { ending, mut task } = self;
        let deadline = deadline.min(Instant::now() + FLUSH);
        // It may have ended by itself.
        let _ = ending.send(());
        if timeout_at(deadline, &mut task).await.is_err() {
            task.abort();
            warn!("the last traces were not exported: the collector did not answer in time");
        }
    }
}

struct Export {
    collector: Collector,
    exported: IntCounter,
    dropped: IntCounter,
    batch: Vec<Trace>,
    /// Tries of this batch that failed.
    failures: u32,
    /// How many there may be.
    tries: u32,
    pace: Pace,
}

impl Export {
    fn new(collector: Collector, exported: IntCounter, dropped: IntCounter, pace: Pace) -> Self {
        Self { collector, exported, dropped, batch: Vec::new(), failures: 0, tries: TRIES, pace }
    }

    async fn run(mut self, mut finished: mpsc::Receiver<Trace>, mut ended: oneshot::Receiver<()>) {
        let mut due = Instant::now();
        let mut ending = false;
        loop {
            let room = BATCH.saturating_sub(self.batch.len());
            tokio::select! {
                biased;
                // An exporter that was let go of, not told to finish, goes on until its tracer is.
                told = &mut ended, if !ending => {
                    ending = true;
                    if told.is_ok() {
                        finished.close();
                        (self.tries, due) = (1, Instant::now());
                    }
                }
                came = finished.recv_many(&mut self.batch, room), if room > 0 => {
                    if came == 0 {
                        break;
                    }
                    if self.failures > 0 {
                        continue;
                    }
                    if self.batch.len() == BATCH {
                        due = Instant::now();
                    } else if self.batch.len() == came {
                        due = Instant::now() + self.pace.gather;
                    }
                }
                () = sleep_until(due), if !self.batch.is_empty() => {
                    self.post().await;
                    due = Instant::now() + self.pace.pause * 2_u32.saturating_pow(self.failures.saturating_sub(1));
                }
            }
        }
        if !self.batch.is_empty() {
            self.tries = 1;
            self.post().await;
        }
    }

    /// One try. Afterwards the batch is empty, or is to be tried again.
    async fn post(&mut self) {
        let traces = u64::try_from(self.batch.len()).unwrap_or(u64::MAX);
        match self.collector.post(&self.batch).await {
            Ok(()) => {
                if self.failures > 0 {
                    info!("traces are exported again");
                }
                self.exported.inc_by(traces);
            }
            Err(error) if error.may_pass() && self.failures + 1 < self.tries => {
                if self.failures == 0 {
                    warn!(%error, "traces are not exported; they are tried again, and no request waits for that");
                }
                self.failures += 1;
                return;
            }
            Err(error) => {
                warn!(%error, traces, "traces were not exported and are let go");
                self.dropped.inc_by(traces);
            }
        }
        self.failures = 0;
        self.batch.clear();
    }
}
