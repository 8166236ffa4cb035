//! Files that may change while the process runs: noticed by their content, once they have settled.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

/// Files that belong together are seldom written in the same instant: so long nothing has to happen ...
const SETTLE: Duration = Duration::from_millis(200);
/// ... but no longer than this is waited for it.
const SETTLE_AT_MOST: Duration = Duration::from_secs(2);
/// The files are compared this often whatever the system reports: network file systems report nothing.
const COMPARE_EVERY: Duration = Duration::from_secs(15);

/// Files, and their content as it was last seen.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    seen: [u8; 32],
    changes: mpsc::Receiver<()>,
    /// Absent where the system reports nothing.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// From the content that they have now. Reads them: not on a runtime's thread.
    pub fn of(files: Vec<PathBuf>) -> Self {
        let (changed, changes) = mpsc::channel(1);
        let watcher = watcher(&files, changed);
        if let Err(error) = &watcher {
            warn!(%error, "file changes are not reported; files are compared every {COMPARE_EVERY:?}");
        }
        Self { seen: digest(&files), files, changes, _watcher: watcher.ok() }
    }

    /// What is watched.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Waits until one of them has another content, is gone, or is there again.
    pub async fn changed(&mut self) {
        loop {
            // A closed channel (no watcher) must not turn this into a busy loop.
            if let Ok(None) = timeout(COMPARE_EVERY, self.changes.recv()).await {
                sleep(COMPARE_EVERY).await;
            }
            let end = Instant::now() + SETTLE_AT_MOST;
            while let Ok(Ok(Some(()))) = timeout_at(end, timeout(SETTLE, self.changes.recv())).await {}
            let files = self.files.clone();
            // Reading files blocks.
            let Ok(now) = tokio::task::spawn_blocking(move || digest(&files)).await else { continue };
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

/// Watches folders, not files: Kubernetes and certbot exchange symbolic links.
fn watcher(files: &[PathBuf], changed: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
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
    let mut folders: Vec<PathBuf> = files.iter().filter_map(|file| folder(file)).collect();
    folders.sort();
    folders.dedup();
    for folder in folders {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

fn folder(file: &Path) -> Option<PathBuf> {
    file.parent().map(|folder| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
}

/// Of all of them, in their order; one that cannot be read counts as such.
pub fn digest(files: &[PathBuf]) -> [u8; 32] {
    let add = |digest: Sha256, path: &PathBuf| match std::fs::read(path).map(zeroize::Zeroizing::new) {
        Ok(content) => digest.chain_update([1]).chain_update(Sha256::digest(&*content)),
        Err(_) => digest.chain_update([0]),
    };
    files.iter().fold(Sha256::new(), add).finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Longest wait for an event of the system's; it comes in milliseconds.
    const SOON: Duration = Duration::from_secs(10);

    /// As Kubernetes mounts a ConfigMap: the file is a link through `..data`, which is exchanged whole.
    #[tokio::test]
    async fn a_folder_that_is_exchanged_by_its_link_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let version = |name: &str, content: &str| {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("gate.yaml"), content).unwrap();
            symlink(name, folder.path().join("..data_tmp")).unwrap();
            fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
        };
        version("..1", "one");
        let file = folder.path().join("gate.yaml");
        symlink("..data/gate.yaml", &file).unwrap();
        let mut watch = Watch::of(vec![file.clone()]);
        version("..2", "two");
        timeout(SOON, watch.changed()).await.unwrap();
        version("..3", "two");
        fs::remove_file(&file).unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        assert_eq!(watch.files(), [file]);
    }
}
