//! TLS on both sides, with rustls and AWS-LC: versions 1.2 and 1.3.

mod lazy;
mod rotating;
#[cfg(test)]
pub(crate) mod test_pki;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use lazy::LazyRoots;
pub use rotating::Rotating;

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

impl ServerTls {
    /// The files that it is made of.
    pub fn files(&self) -> Vec<PathBuf> {
        let client_ca = self.client.as_ref().map(|client| &client.ca);
        [Some(&self.certificate), Some(&self.key), client_ca].into_iter().flatten().cloned().collect()
    }
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

impl ClientTls {
    /// The files that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca.iter().chain(identity)
    }
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
    /// The system has no root certificates, and no `ca` stands in for them.
    #[error("no root certificates found on this system; name a `ca` file")]
    NoSystemRoots,
    /// rustls itself could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`.
pub fn server_config(options: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&options.certificate)?;
    let key = private_key(&options.key)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
    let builder = match &options.client {
        None => builder.with_no_client_auth(),
        Some(client) => builder.with_client_cert_verifier(client_verifier(client)?),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|source| match &source {
        rustls::Error::InconsistentKeys(_) => TlsError::Rejected { path: options.key.clone(), source },
        _ => TlsError::Rejected { path: options.certificate.clone(), source },
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if options.client.is_some() {
        // A resumed session is not verified again: each handshake shows a client certificate that is valid today.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
    }
    Ok(Arc::new(config))
}

/// What is wrong with each of the files, not with the first alone: for whoever mends them. `together` is what
/// [`server_config`] said, which stands where each file is good by itself.
pub fn server_problems(options: &ServerTls, together: TlsError) -> Vec<TlsError> {
    let client_ca = options.client.as_ref().map(|client| &client.ca);
    let each = [
        certificates(&options.certificate).err(),
        private_key(&options.key).err(),
        client_ca.and_then(|ca| roots(ca).err()),
    ];
    each_or(each, together)
}

/// The same of the files towards an upstream, of which [`client_config`] said `together`.
pub fn client_problems(options: &ClientTls, together: TlsError) -> Vec<TlsError> {
    let (certificate, key) = options.identity.as_ref().map(|(certificate, key)| (certificate, key)).unzip();
    let each = [
        options.ca.as_ref().and_then(|ca| roots(ca).err()),
        certificate.and_then(|certificate| certificates(certificate).err()),
        key.and_then(|key| private_key(key).err()),
    ];
    each_or(each, together)
}

fn each_or(each: [Option<TlsError>; 3], together: TlsError) -> Vec<TlsError> {
    let problems: Vec<_> = each.into_iter().flatten().collect();
    if problems.is_empty() { vec![together] } else { problems }
}

/// Roots of the system (or `ca`); the caller sets ALPN.
pub fn client_config(options: &ClientTls) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &options.ca {
        Some(ca) => roots(ca)?,
        None => system_roots()?,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = verified_by(verifier_by(roots, &provider)?, provider)?;
    let config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|source| TlsError::Rejected { path: certificate.clone(), source })?,
    };
    Ok(Arc::new(config))
}

fn verifier_by(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))
}

fn verified_by(
    verifier: Arc<dyn ServerCertVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// What issuers are reached with: the system's roots, read when the first issuer behind `https` is asked. A system
/// without any still serves issuers on loopback; others then cannot be verified, so their tokens are refused.
pub fn issuer_config() -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = LazyRoots::new(Arc::clone(&provider), system_roots);
    Ok(Arc::new(verified_by(Arc::new(verifier), provider)?.with_no_client_auth()))
}

/// No roots: for whoever speaks plain http, and would be refused every certificate.
pub fn trusting_nobody() -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
    Ok(Arc::new(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()))
}

fn client_verifier(options: &ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&options.ca)?), provider);
    let builder = if options.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Rejected { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // One odd certificate among a system's hundred is no reason to do without the rest.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoSystemRoots) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    parsed.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| TlsError::NoCertificate(path.to_owned()))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = zeroize::Zeroizing::new(read(path)?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NoKey(path.to_owned()))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}
