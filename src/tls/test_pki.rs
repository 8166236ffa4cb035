//! Certificates for tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{ClientTls, ServerTls, client_config};

/// A CA, and what it signed, in a folder of its own.
pub(crate) struct Pki {
    folder: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { folder: tempfile::tempdir().unwrap(), ca };
        fs::write(pki.ca_file(), pki.ca.pem()).unwrap();
        pki.renew();
        pki
    }

    /// A new server certificate and key in the place of the old ones.
    pub(crate) fn renew(&self) {
        let (certificate, key, _) = self.sign("gate.test");
        fs::write(self.certificate_file(), certificate).unwrap();
        fs::write(self.key_file(), key).unwrap();
    }

    fn sign(&self, name: &str) -> (String, String, [u8; 32]) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.ca).unwrap();
        (certificate.pem(), key.serialize_pem(), Sha256::digest(certificate.der()).into())
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    /// Trusts this CA, shows nothing.
    pub(crate) fn client(&self) -> Arc<rustls::ClientConfig> {
        client_config(&ClientTls { ca: Some(self.ca_file()), identity: None }).unwrap()
    }

    /// Trusts this CA and shows a certificate of it, with that SHA-256.
    pub(crate) fn client_with_certificate(&self) -> (Arc<rustls::ClientConfig>, [u8; 32]) {
        self.client_with_certificate_trusting(self)
    }

    /// Trusts `other` and shows a certificate of this CA.
    pub(crate) fn client_with_certificate_trusting(&self, other: &Self) -> (Arc<rustls::ClientConfig>, [u8; 32]) {
        let (certificate, key, fingerprint) = self.sign("client.test");
        let files = (self.folder.path().join("client.crt"), self.folder.path().join("client.key"));
        fs::write(&files.0, certificate).unwrap();
        fs::write(&files.1, key).unwrap();
        let options = ClientTls { ca: Some(other.ca_file()), identity: Some(files) };
        (client_config(&options).unwrap(), fingerprint)
    }
}

/// Of a [`Pki`]'s server certificate.
pub(crate) fn server_tls(pki: &Pki) -> ServerTls {
    ServerTls { certificate: pki.certificate_file(), key: pki.key_file(), client: None }
}
