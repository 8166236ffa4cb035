//! A server's TLS whose files may change under it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use rustls::ServerConfig;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::{ServerTls, TlsError, server_config};

/// Certificate and key are seldom written in the same instant.
const SETTLE: Duration = Duration::from_millis(200);
/// The files are compared this often whatever the system reports: network file systems report nothing.
const COMPARE_EVERY: Duration = Duration::from_secs(15);

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
        let digest = digest(&options);
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
        let digest = digest(&self.options);
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
        let (changed, mut changes) = mpsc::channel(1);
        let folders = self.folders();
        let watcher = watcher(&folders, changed);
        if let Err(error) = &watcher {
            warn!(%error, "file changes are not reported; TLS files are compared every {COMPARE_EVERY:?}");
        }
        loop {
            // A closed channel (no watcher) must not turn this into a busy loop.
            if let Ok(None) = timeout(COMPARE_EVERY, changes.recv()).await {
                sleep(COMPARE_EVERY).await;
            }
            sleep(SETTLE).await;
            let rotating = Arc::clone(&self);
            // Reading files blocks.
            let _ = tokio::task::spawn_blocking(move || rotating.refresh()).await;
        }
    }

    /// Folders, not files: Kubernetes and certbot exchange symbolic links.
    fn folders(&self) -> Vec<PathBuf> {
        let files =
            [Some(&self.options.certificate), Some(&self.options.key), self.options.client.as_ref().map(|c| &c.ca)];
        let parent = |file: &PathBuf| {
            file.parent().map(|folder| match folder.as_os_str().is_empty() {
                true => PathBuf::from("."),
                false => folder.to_owned(),
            })
        };
        let mut folders: Vec<PathBuf> = files.into_iter().flatten().filter_map(parent).collect();
        folders.sort();
        folders.dedup();
        folders
    }
}

fn watcher(folders: &[PathBuf], changed: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading of the files is an event too.
        let read = event.is_ok_and(|event| match event.kind {
            EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
            EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => {
                false
            }
        });
        if !read {
            // Full: a look is due already.
            let _ = changed.try_send(());
        }
    })?;
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn digest(options: &ServerTls) -> [u8; 32] {
    let add = |digest: Sha256, path: &Path| match std::fs::read(path).map(zeroize::Zeroizing::new) {
        Ok(content) => digest.chain_update([1]).chain_update(Sha256::digest(&*content)),
        Err(_) => digest.chain_update([0]),
    };
    let digest = add(add(Sha256::new(), &options.certificate), &options.key);
    let digest = match &options.client {
        Some(client) => add(digest, &client.ca),
        None => digest,
    };
    digest.finalize().into()
}
