//! TLS on both sides, with rustls and AWS-LC.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
    /// Mutual TLS: who signs client certificates, and whether one is demanded.
    pub client: Option<ClientAuth>,
}

/// Mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// PEM: the roots that client certificates must lead to.
    pub ca: PathBuf,
    /// A client without a certificate is turned away.
    pub required: bool,
}

/// TLS towards upstreams and issuers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM: roots instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM certificate chain and key, for mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why TLS could not be set up: which file, and what is wrong with it.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file has no certificate.
    #[error("{0}: no PEM certificate in it")]
    NoCertificate(PathBuf),
    /// A file has no private key.
    #[error("{0}: no PEM private key in it")]
    NoKey(PathBuf),
    /// Certificate and key do not fit, or rustls does not take them.
    #[error("{path}: {source}")]
    Rejected {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`.
pub fn server_config(options: &ServerTls) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let _ = options;
    todo!()
}

/// Roots of the system (or `ca`); the caller sets ALPN.
pub fn client_config(options: &ClientTls) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let _ = options;
    todo!()
}
