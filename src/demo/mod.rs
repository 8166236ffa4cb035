//! `demo`: a development authorization server, a legacy service that knows nothing of OAuth, and the real gate in front
//! of both, in one process. For development only.
//!
//! The services listen on free loopback ports; clients meet them at one origin, the gate's, which is the authorization
//! server's issuer identifier too. The gate gets the same configuration file that a user would write, so what the demo
//! shows is what `run` does.

mod configuration;
mod folder;
mod guide;
mod issuer;
mod page;
mod reserve;
mod serve;
mod upstream;

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{self, Listening, Running, StartError};
use crate::clock::Clock;
use crate::config::{self, Config, Problem};
use crate::jose::PrivateKeyError;
use crate::metrics::Metrics;
use crate::server::ListenAddress;

use configuration::Places;
use folder::Folder;
use issuer::{Issuer, IssuerOptions};
use page::{Page, StaleNonces};
use reserve::Reserved;
use serve::Served;
use upstream::Legacy;

/// Why there is no demo.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The gate's address is taken, or not this machine's.
    #[error("{address} cannot be listened on ({source}); name another with --listen, such as --listen 127.0.0.1:9090")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No free port on loopback, no temporary file, no signals.
    #[error("the demo cannot be set up: {0}")]
    Setup(#[from] io::Error),
    /// No key.
    #[error("the demo's keys: {0}")]
    Key(#[from] PrivateKeyError),
    /// The demo's own configuration is refused: a bug here.
    #[error("the demo's configuration is refused: {0}")]
    Config(Box<Problem>),
    /// The gate does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The metrics cannot be set up.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The demo, running.
pub struct Demo {
    gate: Running,
    places: Places,
    issuer: Arc<Issuer>,
    terminate: Signal,
    interrupt: Signal,
    // They serve until they are dropped.
    _services: [Served; 3],
    _folder: Folder,
}

impl Demo {
    /// Starts all of it; the gate listens on `listen`, the rest on free loopback ports.
    pub async fn start(listen: SocketAddr) -> Result<Self, DemoError> {
        let reserved = Reserved::new(listen).map_err(|source| DemoError::Listen { address: listen, source })?;
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (legacy_socket, issuer_socket, page_socket) = (loopback().await?, loopback().await?, loopback().await?);
        let mut places = Places {
            listen: reserved.address(),
            admin: (Ipv4Addr::LOCALHOST, 0).into(),
            issuer: issuer_socket.local_addr()?,
            legacy: legacy_socket.local_addr()?,
            page: page_socket.local_addr()?,
        };
        let issuer = Arc::new(Issuer::new(IssuerOptions {
            origin: places.origin(),
            audience: configuration::AUDIENCE,
            redirect_uris: redirect_uris(&places),
            clock: Clock::System,
        })?);

        let folder = Folder::create()?;
        let config = load(&folder, &places)?;
        let lifetime = config.nonce.as_ref().map_or(Duration::ZERO, |nonce| nonce.lifetime);
        // Elsewhere two sockets may not have one address, even if only one of them listens.
        #[cfg(not(target_os = "linux"))]
        drop(reserved);
        let gate = app::start(config, Clock::System, Arc::new(Metrics::new()?)).await?;
        for Listening { door, address } in gate.listening() {
            if let (ListenAddress::Tcp(address), "admin") = (address, door) {
                places.admin = address;
            }
        }
        let stale = StaleNonces::new(gate.nonces(lifetime), lifetime, Clock::System);
        let services = [
            serve::serve(legacy_socket, Arc::new(Legacy)),
            serve::serve(issuer_socket, Arc::<Issuer>::clone(&issuer)),
            serve::serve(page_socket, Arc::new(Page::new(stale))),
        ];
        Ok(Self { gate, places, issuer, terminate, interrupt, _services: services, _folder: folder })
    }

    /// Where everything is, and calls to paste; `executable` is this program.
    pub fn guide(&self, executable: &Path) -> String {
        guide::text(&self.places, self.issuer.clients(), executable)
    }

    /// Writes the gate's configuration for a real start. An existing file is never overwritten: somebody may have
    /// changed it since.
    pub fn write_config(&self, path: &Path) -> io::Result<()> {
        let listen = Reserved::new((self.places.listen.ip(), 0).into())?;
        let admin = Reserved::new((Ipv4Addr::LOCALHOST, 0).into())?;
        let yaml = configuration::for_a_real_start(&self.places, listen.address(), admin.address());
        File::create_new(path)?.write_all(yaml.as_bytes())
    }

    /// Serves until SIGINT or SIGTERM; a second one cuts off what is still in flight.
    pub async fn run(mut self) {
        either(&mut self.interrupt, &mut self.terminate).await;
        tokio::select! {
            () = self.gate.shutdown() => {}
            () = either(&mut self.interrupt, &mut self.terminate) => {}
        }
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Where the page is shown, and codes are sent: under every name that a browser on this machine uses.
fn redirect_uris(places: &Places) -> Vec<String> {
    let by_name = format!("http://localhost:{}", places.listen.port());
    [places.origin(), by_name].iter().map(|origin| format!("{origin}/callback")).collect()
}

async fn loopback() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

fn load(folder: &Folder, places: &Places) -> Result<Config, DemoError> {
    let path = folder.path().join("gate.yaml");
    std::fs::write(&path, configuration::of_the_demo(places))?;
    config::load(&path).map_err(|problems| match problems.into_iter().next() {
        Some(problem) => DemoError::Config(Box::new(problem)),
        None => DemoError::Setup(io::Error::other("no reason given")),
    })
}
