//! A `CheckRequest`, read.
//!
//! Method, scheme, host and path are those that Envoy itself goes by. What the client said in `X-Forwarded-*` or
//! `Forwarded` does not count here: Envoy passes much of it on as it came.

use std::collections::HashMap;
use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::{Address, HeaderMap as RawHeaders, address};
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use tonic::Status;

use crate::forward_auth::original::{Original, Source};
use crate::target::{Peer, Scheme, Target, TargetError, Trust};

/// The context extension that names a route of ours.
const ROUTE: &str = "route";

/// W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What Envoy asks about.
pub(super) struct Question {
    pub(super) method: Method,
    /// For the log, until there is a target.
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// Who is connected to Envoy, by address (Envoy's own where it names none) and certificate.
    pub(super) peer: Peer,
    pub(super) route: Option<String>,
    scheme: Scheme,
    host: String,
    path: String,
}

impl Question {
    /// A message without an HTTP request, or with one that no HTTP client could have sent, is the caller's mistake.
    pub(super) fn read(check: CheckRequest, asking: &Peer) -> Result<Self, Status> {
        let attributes = check.attributes.ok_or_else(|| Status::invalid_argument("no attributes"))?;
        let http = attributes.request.and_then(|request| request.http);
        let http = http.ok_or_else(|| Status::invalid_argument("no HTTP request"))?;
        let source = attributes.source.unwrap_or_default();
        let client = address(source.address);
        let certificate = source.certificate;
        let scheme = match http.scheme.as_str() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err(Status::invalid_argument("a scheme other than http and https")),
        };
        let HttpRequest { method, headers, header_map, path, host, .. } = http;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| Status::invalid_argument("no method"))?;
        let headers = read_headers(headers, header_map).ok_or_else(|| Status::invalid_argument("no header"))?;
        let mut route = attributes.context_extensions;
        Ok(Self {
            uri: path.parse().unwrap_or_default(),
            peer: Peer { ip: client.unwrap_or(asking.ip), scheme, client_certificate: fingerprint(&certificate) },
            route: route.remove(ROUTE),
            method,
            headers,
            scheme,
            host,
            path,
        })
    }

    /// The same, within the trace that the call itself belongs to: where Envoy traces, its own span of this question is
    /// nearer than what its client sent.
    pub(super) fn within(mut self, call: &HeaderMap) -> Self {
        if let Some(parent) = call.get(TRACEPARENT) {
            self.headers.insert(TRACEPARENT, parent.clone());
            self.headers.remove(TRACESTATE);
            self.headers.extend(call.get(TRACESTATE).map(|state| (TRACESTATE, state.clone())));
        }
        self
    }

    /// The request as the client addressed it.
    pub(super) fn original(&self, trust: &Trust) -> Result<Original, TargetError> {
        let target = Target::new(self.scheme, &self.host, &self.path, trust)?;
        // Envoy passes on whatever the answer is, a success included.
        Ok(Original { method: self.method.clone(), target, source: Source::Itself })
    }
}

/// `header_map` (`encode_raw_headers`) has every header as often as it came; `headers` has them joined by commas.
fn read_headers(joined: HashMap<String, String>, raw: Option<RawHeaders>) -> Option<HeaderMap> {
    let raw = raw.map(|raw| raw.headers).unwrap_or_default();
    let rows: Vec<(String, Vec<u8>)> = if raw.is_empty() {
        joined.into_iter().map(|(name, value)| (name, value.into_bytes())).collect()
    } else {
        let value = |text: String, bytes: Vec<u8>| if bytes.is_empty() { text.into_bytes() } else { bytes };
        raw.into_iter().map(|header| (header.key, value(header.value, header.raw_value))).collect()
    };
    let mut headers = HeaderMap::with_capacity(rows.len());
    for (name, value) in rows.into_iter().filter(|(name, _)| !name.starts_with(':')) {
        headers.try_append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?).ok()?;
    }
    Some(headers)
}

/// Where somebody is connected from; `None` for a Unix socket.
fn address(address: Option<Address>) -> Option<IpAddr> {
    match address?.address? {
        address::Address::SocketAddress(socket) => socket.address.parse().ok(),
        address::Address::Pipe(_) | address::Address::EnvoyInternalAddress(_) => None,
    }
}

/// SHA-256 of a client certificate that came percent-encoded in PEM; `None` for none, and for what is none.
fn fingerprint(certificate: &str) -> Option<[u8; 32]> {
    let pem: Vec<u8> = percent_encoding::percent_decode_str(certificate).collect();
    let der = CertificateDer::from_pem_slice(&pem).ok()?;
    Some(Sha256::digest(&der).into())
}
