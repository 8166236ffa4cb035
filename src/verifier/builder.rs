//! Makes tables beside the requests: a thread of its own, started when the first one is due.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use crate::jose::{Curve, KeyTable, PublicKey, TableSize};
use crate::metrics::KeyTableMetrics;

use super::Pinned;
use super::tables::Tables;

/// Tables that may be due at once: some 20 ms of work. Whoever comes while it is full asks again with the next request.
const QUEUE: usize = 256;

/// A table that is due.
pub(super) enum Job {
    /// The generator's.
    Curve(Arc<OnceLock<Curve>>),
    /// For a client's key.
    Client(Box<PublicKey>),
    /// For an issuer's.
    Pinned(Arc<Pinned>, Box<PublicKey>),
}

/// Where tables are made.
pub(super) enum Builder {
    /// In a thread, which ends with the sender. `None`: the system gave no thread, so there are no tables.
    Thread(OnceLock<Option<SyncSender<Job>>>),
    /// Where it is asked for.
    #[cfg(test)]
    Inline,
}

impl Builder {
    pub(super) fn thread() -> Self {
        Self::Thread(OnceLock::new())
    }

    /// Takes a job, or gives it back; never waits.
    pub(super) fn build(&self, job: Job, tables: &Arc<Tables<KeyTable>>, metrics: &KeyTableMetrics) -> Result<(), Job> {
        match self {
            Self::Thread(sender) => {
                let sender = sender.get_or_init(|| start(Arc::clone(tables), metrics.clone()));
                let Some(sender) = sender else { return Err(job) };
                sender.try_send(job).map_err(|error| match error {
                    TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
                })
            }
            #[cfg(test)]
            Self::Inline => {
                make(job, tables, metrics);
                Ok(())
            }
        }
    }
}

fn start(tables: Arc<Tables<KeyTable>>, metrics: KeyTableMetrics) -> Option<SyncSender<Job>> {
    let (sender, jobs): (_, Receiver<Job>) = sync_channel(QUEUE);
    let work = move || jobs.into_iter().for_each(|job| make(job, &tables, &metrics));
    thread::Builder::new().name("key-tables".to_owned()).spawn(work).ok()?;
    Some(sender)
}

fn make(job: Job, tables: &Tables<KeyTable>, metrics: &KeyTableMetrics) {
    match job {
        Job::Curve(curve) => {
            // Asked for once: nobody else sets it.
            let _ = curve.set(Curve::prepare());
        }
        Job::Client(key) => match key.table(tables.size()) {
            Some(table) => {
                metrics.built.inc();
                tables.install(key.thumbprint(), table);
            }
            None => tables.give_up(key.thumbprint()),
        },
        Job::Pinned(pinned, key) => {
            if let Some(table) = key.table(TableSize::Large) {
                metrics.built.inc();
                // Asked for once: nobody else sets it.
                let _ = pinned.table.set(table);
            }
        }
    }
}
