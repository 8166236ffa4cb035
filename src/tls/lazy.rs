//! The system's roots, read when the first certificate is to be verified by them.
//!
//! A hundred and fifty certificates in two hundred files take longer to read than the rest of a start, and half a
//! megabyte. A gate whose issuers are files, or on loopback, never needs one of them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::TlsError;

/// Verifies as rustls does, by roots that it reads at first use.
pub(super) struct LazyRoots<F> {
    provider: Arc<CryptoProvider>,
    read: F,
    /// `None`: there are no roots, so nobody is trusted.
    verifier: OnceLock<Option<Arc<WebPkiServerVerifier>>>,
}

impl<F> fmt::Debug for LazyRoots<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyRoots").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl<F: Fn() -> Result<RootCertStore, TlsError>> LazyRoots<F> {
    pub(super) fn new(provider: Arc<CryptoProvider>, read: F) -> Self {
        Self { provider, read, verifier: OnceLock::new() }
    }

    fn verifier(&self) -> Option<&WebPkiServerVerifier> {
        let read = || {
            let verifier = (self.read)().and_then(|roots| super::verifier_by(roots, &self.provider));
            verifier.inspect_err(|error| tracing::warn!(%error, "issuers behind https cannot be verified")).ok()
        };
        self.verifier.get_or_init(read).as_deref()
    }
}

impl<F: Fn() -> Result<RootCertStore, TlsError> + Send + Sync> ServerCertVerifier for LazyRoots<F> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.verifier() {
            Some(verifier) => verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
