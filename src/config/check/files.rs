//! The files that the file names.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::config::raw;
use crate::secret::Secret;
use crate::tls::{ClientTls, ServerTls, TlsError, client_config, client_problems, server_config, server_problems};

use super::Checker;

/// Keys, certificates and JWKS are far smaller.
const MAX_BYTES: u64 = 1 << 20;

impl Checker<'_> {
    /// A file's content.
    pub(super) fn read(&mut self, key: &str, path: &Path) -> Option<Zeroizing<Vec<u8>>> {
        self.report.names(path);
        let mut bytes = Zeroizing::new(Vec::new());
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Err(error) => self.error(key, format!("{}: {error}; expected a file that can be read", path.display())),
            Ok(_) if bytes.len() as u64 > MAX_BYTES => {
                self.error(key, format!("{}: larger than 1 MiB; expected a smaller file", path.display()));
            }
            Ok(_) => return Some(bytes),
        }
        None
    }

    /// A secret's file: its content without the last newline, which an editor or `echo` added.
    pub(super) fn read_secret(&mut self, key: &str, text: &str) -> Option<Secret> {
        let path = self.path(text);
        let bytes = self.read(key, &path)?;
        self.private(key, &path);
        let content = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let content = content.strip_suffix(b"\r").filter(|_| content.len() < bytes.len()).unwrap_or(content);
        if content.is_empty() {
            self.error(key, format!("{}: empty; expected a secret", path.display()));
            return None;
        }
        Some(Secret::new(content.to_vec()))
    }

    /// Warns where every user of the machine can read a secret.
    pub(super) fn private(&mut self, key: &str, path: &Path) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let Ok(metadata) = std::fs::metadata(path) else { return };
            if metadata.permissions().mode() & 0o007 != 0 {
                let path = path.display();
                self.warn(key, format!("{path}: every user of this machine can reach it; expected mode 0600 or 0640"));
            }
        }
    }

    /// Reads certificate and key, and whether they fit.
    pub(super) fn server_tls(&mut self, key: &str, options: &ServerTls) {
        options.files().iter().for_each(|file| self.report.names(file));
        self.private(&format!("{key}.key"), &options.key);
        let Err(together) = server_config(options) else { return };
        let ca = options.client.as_ref().map(|client| &client.ca);
        let files = [("certificate", Some(&options.certificate)), ("key", Some(&options.key)), ("client_ca", ca)];
        for error in server_problems(options, together) {
            self.tls_error(key, &files, &error);
        }
    }

    /// TLS towards somebody who has a section `tls` of these three files; without one, the system's roots.
    pub(super) fn tls_towards(&mut self, key: &str, tls: Option<&raw::ClientTls>) -> Option<Arc<rustls::ClientConfig>> {
        let file = |file: fn(&raw::ClientTls) -> &Option<String>| tls.and_then(|tls| file(tls).as_deref());
        let ca = file(|tls| &tls.ca);
        self.client_tls_files(key, ca, file(|tls| &tls.client_certificate), file(|tls| &tls.client_key))
    }

    /// The same of files as they are written: a certificate and its key come together.
    pub(super) fn client_tls_files(
        &mut self,
        key: &str,
        ca: Option<&str>,
        certificate: Option<&str>,
        client_key: Option<&str>,
    ) -> Option<Arc<rustls::ClientConfig>> {
        let identity = match (certificate, client_key) {
            (Some(certificate), Some(client_key)) => Some((self.path(certificate), self.path(client_key))),
            (None, None) => None,
            (Some(_), None) => {
                self.error(&format!("{key}.client_certificate"), "its key is missing; expected `client_key` beside it");
                None
            }
            (None, Some(_)) => {
                let message = "its certificate is missing; expected `client_certificate` beside it";
                self.error(&format!("{key}.client_key"), message);
                None
            }
        };
        let parts = ["ca", "client_certificate", "client_key"].map(|part| format!("{key}.{part}"));
        if parts.iter().any(|part| self.report.is_broken(part)) {
            return None;
        }
        let ca = ca.map(|ca| self.path(ca));
        self.client_tls(key, &ClientTls { ca, identity })
    }

    /// Reads roots and the gate's own certificate, and whether it fits its key.
    fn client_tls(&mut self, key: &str, options: &ClientTls) -> Option<Arc<rustls::ClientConfig>> {
        options.files().for_each(|file| self.report.names(file));
        let identity = options.identity.as_ref();
        if let Some((_, key_file)) = identity {
            self.private(&format!("{key}.client_key"), key_file);
        }
        let together = match client_config(options) {
            Ok(config) => return Some(config),
            Err(together) => together,
        };
        let files = [
            ("ca", options.ca.as_ref()),
            ("client_certificate", identity.map(|(certificate, _)| certificate)),
            ("client_key", identity.map(|(_, key)| key)),
        ];
        for error in client_problems(options, together) {
            self.tls_error(key, &files, &error);
        }
        None
    }

    pub(super) fn tls_error(&mut self, key: &str, files: &[(&str, Option<&PathBuf>)], error: &TlsError) {
        let (path, expected) = match error {
            TlsError::Read { path, .. } => (Some(path), "a file that can be read"),
            TlsError::NoCertificate(path) => (Some(path), "PEM with a BEGIN CERTIFICATE, the leaf first"),
            TlsError::NoKey(path) => (Some(path), "PEM with a private key: PKCS #8, PKCS #1 or SEC1"),
            TlsError::Rejected { path, .. } => (Some(path), "certificates that rustls takes, and the leaf's own key"),
            TlsError::NoSystemRoots => (None, "a `ca`, or the system's package of root certificates"),
            TlsError::Setup(_) => (None, "a build of dpop-gate with its TLS library"),
        };
        let member = files.iter().find(|(_, file)| path.is_some() && *file == path).map(|(member, _)| *member);
        let key = member.map_or_else(|| key.to_owned(), |member| format!("{key}.{member}"));
        self.error(&key, format!("{error}; expected {expected}"));
    }
}
