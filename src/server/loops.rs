//! Event loops: a thread with a runtime of its own for each core, and connections dealt out to them.
//!
//! A connection stays on its loop, with all that is done for it (its upstream's connections are kept by loop too), so
//! that no request wakes another thread or waits for one.
//!
//! One task accepts for all, and gives each connection to the loop that has the fewest. The kernel's own dealing
//! (`SO_REUSEPORT`, a socket a loop) goes by a hash of the addresses: of a thousand times two connections on two cores,
//! both were on one in 504, and eight were dealt out evenly in 273. It would also take the error from whoever starts a
//! second process on an address by mistake.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::sync::oneshot;

/// Where connections are served. Dropped, the loops end, and what runs on them ends with them.
#[derive(Debug)]
pub struct Loops {
    /// None: on the runtime that accepts.
    loops: Vec<Loop>,
}

#[derive(Debug)]
struct Loop {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// Never sent, only dropped.
    _stop: oneshot::Sender<()>,
}

/// A connection's place on its loop.
#[derive(Debug)]
pub(super) struct Seat(Option<Arc<AtomicUsize>>);

impl Loops {
    /// The runtime that accepts serves, too.
    pub const fn here() -> Self {
        Self { loops: Vec::new() }
    }

    /// As many loops as this process may use processors: affinity and control groups count. `idle` is called on each of
    /// them whenever it has nothing left to do but to wait.
    pub fn one_a_core(idle: fn()) -> io::Result<Self> {
        Self::start(std::thread::available_parallelism().map_or(1, std::num::NonZero::get), idle)
    }

    /// Until the guard is dropped, what is spawned runs on a loop: for what every request talks to, so that on one core
    /// that wakes no other thread, and on several at least not always.
    pub fn enter(&self) -> Option<EnterGuard<'_>> {
        self.loops.first().map(|first| first.runtime.enter())
    }

    fn start(count: usize, idle: fn()) -> io::Result<Self> {
        let loops = (0..count).map(|index| Loop::start(index, idle)).collect::<io::Result<_>>()?;
        Ok(Self { loops })
    }

    /// Runs a connection on the loop that has the fewest.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(&self, connection: impl FnOnce(Seat) -> F) {
        let fewest = self.loops.iter().min_by_key(|each| each.connections.load(Ordering::Relaxed));
        match fewest {
            Some(each) => drop(each.runtime.spawn(connection(Seat::take(&each.connections)))),
            None => drop(tokio::spawn(connection(Seat(None)))),
        }
    }
}

impl Loop {
    fn start(index: usize, idle: fn()) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().on_thread_park(idle).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new().name(format!("loop-{index}")).spawn(move || {
            // Ends when its other half is dropped.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
            idle();
        })?;
        Ok(Self { runtime: handle, connections: Arc::default(), _stop: stop })
    }
}

impl Seat {
    fn take(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(Some(Arc::clone(connections)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(connections) = &self.0 {
            connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A connection that ends when told to.
    struct Held {
        on: String,
        end: oneshot::Sender<()>,
        ended: mpsc::Receiver<()>,
    }

    fn hold(loops: &Loops) -> Held {
        let (end, told) = oneshot::channel();
        let (tell, ended) = mpsc::channel();
        let (say, on) = mpsc::channel();
        loops.spawn(|seat| async move {
            say.send(std::thread::current().name().unwrap_or_default().to_owned()).unwrap();
            let _ = told.await;
            drop(seat);
            let _ = tell.send(());
        });
        Held { on: on.recv().unwrap(), end, ended }
    }

    #[test]
    fn two_connections_or_eight_are_dealt_out_evenly_and_so_are_those_that_come_after_some_have_ended() {
        let loops = Loops::start(2, || {}).unwrap();
        let held: Vec<Held> = (0..8).map(|_| hold(&loops)).collect();
        let on: Vec<&str> = held.iter().map(|held| held.on.as_str()).collect();
        assert_eq!(on, ["loop-0", "loop-1"].repeat(4));

        let (ending, staying): (Vec<_>, Vec<_>) = held.into_iter().partition(|held| held.on == "loop-1");
        for Held { end, ended, .. } in ending {
            end.send(()).unwrap();
            ended.recv().unwrap();
        }
        let next: Vec<Held> = (0..5).map(|_| hold(&loops)).collect();
        let on: Vec<&str> = next.iter().map(|held| held.on.as_str()).collect();
        assert_eq!(on, ["loop-1", "loop-1", "loop-1", "loop-1", "loop-0"]);
        drop(staying);
    }

    #[test]
    fn a_loop_says_when_it_is_idle() {
        static IDLE: AtomicUsize = AtomicUsize::new(0);
        let loops = Loops::start(1, || {
            IDLE.fetch_add(1, Ordering::SeqCst);
        });
        let loops = loops.unwrap();
        let before = IDLE.load(Ordering::SeqCst);
        let Held { end, ended, .. } = hold(&loops);
        // It waits to be told, and then for its end.
        while IDLE.load(Ordering::SeqCst) == before {
            std::thread::yield_now();
        }
        end.send(()).unwrap();
        ended.recv().unwrap();
    }

    #[test]
    fn what_runs_on_a_loop_ends_with_it() {
        let loops = Loops::start(1, || {}).unwrap();
        let Held { end: _end, ended, .. } = hold(&loops);
        drop(loops);
        assert!(ended.recv().is_err(), "it ended without being told to");
    }
}
