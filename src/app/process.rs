//! The process: a runtime, signals, a file that is read again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config::{self, Config, Problem, Reading};
use crate::metrics::Metrics;
use crate::server::{Inherited, Loops};
use crate::telemetry;
use crate::watch::Watch;

use super::{Running, StartError, start_on};

/// Why the process ends before it was asked to.
#[derive(Debug, Error)]
pub enum RunError {
    /// The configuration is wrong.
    #[error("the configuration has {} problems", .0.len())]
    Config(Vec<Problem>),
    /// The gate cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The metrics cannot be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// No threads, no signals.
    #[error("the runtime cannot start: {0}")]
    Runtime(#[from] io::Error),
}

/// Files that a connection may take (its own and its upstream's), and those that are open anyway.
const FILES_A_CONNECTION: u64 = 2;
const FILES_BESIDE: u64 = 64;

/// Takes as many files as the system allows: the usual soft limit of 1024 is half a thousand connections.
fn raise_file_limit(connections: usize) {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "the limit of open files cannot be raised");
    }
    let wanted = (connections as u64).saturating_mul(FILES_A_CONNECTION).saturating_add(FILES_BESIDE);
    if let Some(allowed) = getrlimit(Resource::Nofile).current.filter(|allowed| *allowed < wanted) {
        let enough_for = allowed.saturating_sub(FILES_BESIDE) / FILES_A_CONNECTION;
        warn!(
            allowed,
            wanted,
            enough_for,
            "fewer open files are allowed than limits.connections needs; raise the limit (ulimit -n), or lower \
             limits.connections to what it is enough for"
        );
    }
}

/// Whether files are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// They are read again at SIGHUP.
    OnSignal,
    /// And whenever one of them has changed.
    Changes,
}

/// Serves what the file says until SIGTERM or SIGINT.
pub fn run(path: &Path, follow: Follow) -> Result<(), RunError> {
    let (reading, watch) = read(path, follow);
    let config = reading.outcome.map_err(RunError::Config)?;
    let metrics = Arc::new(Metrics::new()?);
    // For all that is no client's connection: those have their own loops.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(path, config, metrics, watch));
    // What is left then is blocked in the system, or a tunnel: neither holds the exit up.
    runtime.shutdown_background();
    result
}

async fn serve(path: &Path, config: Config, metrics: Arc<Metrics>, mut watch: Option<Watch>) -> Result<(), RunError> {
    // Before the first address is announced: whoever waits for that may signal at once.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    warn_of(&config);
    raise_file_limit(config.limits.connections);
    let inherited = Inherited::from_environment()?;
    let mut running =
        start_on(config, Clock::System, metrics, Loops::one_a_core(telemetry::let_go)?, inherited).await?;
    info!(version = env!("CARGO_PKG_VERSION"), config = %path.display(), "serving");
    let follow = if watch.is_some() { Follow::Changes } else { Follow::OnSignal };
    loop {
        tokio::select! {
            () = either(&mut terminate, &mut interrupt) => break,
            _ = hangup.recv() => {}
            () = changed(&mut watch) => {}
        }
        watch = reload(path, &mut running, follow).await.or(watch);
    }
    info!("draining");
    tokio::select! {
        () = running.shutdown() => info!("stopped"),
        () = either(&mut terminate, &mut interrupt) => warn!("stopped before the drain was over"),
    }
    Ok(())
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Takes the file as it is now, and returns what follows it.
async fn reload(path: &Path, running: &mut Running, follow: Follow) -> Option<Watch> {
    let file: PathBuf = path.to_owned();
    // Reading a file, and the files it names, blocks.
    let (reading, watch) = match tokio::task::spawn_blocking(move || read(&file, follow)).await {
        Ok(read) => read,
        Err(error) => {
            error!(%error, "reload failed; the old configuration keeps serving");
            return None;
        }
    };
    match reading.outcome {
        Ok(config) => {
            warn_of(&config);
            match running.reload(config).await {
                Ok(()) => info!(config = %path.display(), "reloaded"),
                Err(error) => error!(%error, "reload failed; the old configuration keeps serving"),
            }
        }
        Err(problems) => {
            for problem in problems {
                error!(%problem, "reload refused; the old configuration keeps serving");
            }
        }
    }
    watch
}

/// What is followed is watched before it is read, so that no change falls between the two.
fn read(path: &Path, follow: Follow) -> (Reading, Option<Watch>) {
    let mut reading = config::reading(path);
    if follow == Follow::OnSignal {
        return (reading, None);
    }
    loop {
        let files = std::mem::take(&mut reading.files);
        let watch = Watch::of(files.iter().cloned().collect());
        reading = config::reading(path);
        if reading.files == files {
            return (reading, Some(watch));
        }
    }
}

fn warn_of(config: &Config) {
    for problem in &config.warnings {
        warn!(%problem, "configuration");
    }
}
