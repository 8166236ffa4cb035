//! A server's TLS whose files may change under it.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tracing::{error, info};

use crate::watch::{Watch, digest};

use super::{ServerTls, TlsError, server_config};

/// The TLS of a listener: each handshake takes what is current, and connections keep what they began with.
///
/// Certificate, key and client CA change together or not at all; session tickets of before are void.
#[derive(Debug)]
pub struct Rotating {
    options: ServerTls,
    current: ArcSwap<ServerConfig>,
    /// Digest of the files as they were last tried, so that a bad one is reported once.
    tried: Mutex<[u8; 32]>,
}

impl Rotating {
    /// Reads the files.
    pub fn new(options: ServerTls) -> Result<Arc<Self>, TlsError> {
        let digest = digest(&options.files());
        let current = ArcSwap::new(server_config(&options)?);
        Ok(Arc::new(Self { options, current, tried: Mutex::new(digest) }))
    }

    /// What it was made of.
    pub fn options(&self) -> &ServerTls {
        &self.options
    }

    /// For the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Takes the files if they have changed; what is wrong with them is logged, and the old ones stay in use.
    pub fn refresh(&self) {
        let digest = digest(&self.options.files());
        {
            let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
            if *tried == digest {
                return;
            }
            *tried = digest;
        }
        let certificate = self.options.certificate.display();
        match server_config(&self.options) {
            Ok(config) => {
                self.current.store(config);
                info!(%certificate, "new TLS certificate in use");
            }
            Err(error) => error!(%certificate, %error, "TLS files changed and cannot be used; the old ones stay"),
        }
    }

    /// Follows the files until dropped. A task of the caller's.
    pub async fn watch(self: Arc<Self>) {
        let files = self.options.files();
        // Reading files blocks.
        let Ok(mut watch) = tokio::task::spawn_blocking(move || Watch::of(files)).await else { return };
        loop {
            let rotating = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || rotating.refresh()).await;
            watch.changed().await;
        }
    }
}
