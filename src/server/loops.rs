//! Event loops: a thread with a runtime of its own for each core, and connections dealt out to them.
//!
//! A connection stays on its loop, with all that is done for it (its upstream's connections are kept by loop too), so
//! that no request wakes another thread or waits for one.
//!
//! One task accepts for all, and gives each connection to the loop that has the fewest. The kernel's own dealing
//! (`SO_REUSEPORT`, a socket a loop) goes by a hash of the addresses: two connections land on one core of two half of
//! the time, and eight are dealt out evenly in one case of four. It would also take the error from whoever starts a
//! second process on an address by mistake.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
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

    /// As many loops as this process may use processors: affinity and control groups count.
    pub fn one_a_core() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let loops = (0..cores).map(Loop::start).collect::<io::Result<_>>()?;
        Ok(Self { loops })
    }

    /// Runs a connection on the loop that has the fewest; `connection` is called there.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(&self, connection: impl FnOnce(Seat) -> F) {
        let fewest = self.loops.iter().min_by_key(|each| each.connections.load(Ordering::Relaxed));
        match fewest {
            Some(each) => drop(each.runtime.spawn(connection(Seat::take(&each.connections)))),
            None => drop(tokio::spawn(connection(Seat(None)))),
        }
    }
}

impl Loop {
    fn start(index: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new().name(format!("loop-{index}")).spawn(move || {
            // Ends when its other half is dropped.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
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
