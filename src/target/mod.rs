//! The URI that the client meant, and its comparison with `htu` (RFC 9449 section 4.3, RFC 3986 section 6.2).

use std::net::IpAddr;

use http::{HeaderMap, Uri};
use ipnet::IpNet;
use thiserror::Error;

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// Who sent the request, as the connection tells: nothing here comes from a header.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end's address; loopback for a Unix socket.
    pub ip: IpAddr,
    /// Whether the connection has TLS.
    pub scheme: Scheme,
    /// SHA-256 of the DER client certificate that mutual TLS verified: `x5t#S256` of RFC 8705.
    pub client_certificate: Option<[u8; 32]>,
}

/// An origin under which clients address the gate (`public_url`), with the path prefix in front of every path, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    scheme: Scheme,
    authority: String,
    prefix: String,
}

impl PublicUrl {
    /// An absolute http or https URL without query, fragment or user information; `None` for anything else.
    pub fn parse(url: &str) -> Option<Self> {
        let _ = url;
        todo!()
    }
}

/// Whose forwarding headers are believed, and how clients address the gate.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Peers whose `Forwarded` and `X-Forwarded-*` count.
    pub proxies: Vec<IpNet>,
    /// Empty: scheme and authority of the request itself. Several: the one with the request's authority, else the first.
    pub public_urls: Vec<PublicUrl>,
}

impl Trust {
    /// Whether this peer's forwarding headers are believed.
    pub fn believes(&self, peer: &Peer) -> bool {
        let _ = peer;
        todo!()
    }
}

/// Why no target could be made of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Two sources of the original request, or members of a forwarding list, disagree.
    #[error("two sources of the original request disagree")]
    Conflicting,
    /// The path could be read in two ways: `.` or `..` in any spelling, `//`, `\`, an encoded `/`, `\` or NUL, a bad escape.
    #[error("the path is ambiguous")]
    AmbiguousPath,
    /// No authority, or one that is none.
    #[error("the request names no valid host")]
    NoAuthority,
}

/// The URI that the client addressed, normalised once (RFC 3986 sections 6.2.2 and 6.2.3). Its path is what routes
/// are matched with and what goes upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    host: String,
    port: Option<u16>,
    public: Option<PublicUrl>,
    path: String,
    query: Option<String>,
}

impl Target {
    /// The target of a request that `peer` sent: its own URI and `Host`, and where `trust` believes the peer, its
    /// forwarding headers.
    pub fn of(uri: &Uri, headers: &HeaderMap, peer: &Peer, trust: &Trust) -> Result<Self, TargetError> {
        let _ = (uri, headers, peer, trust);
        todo!()
    }

    /// From parts already known: for `forward_auth`, `explain`, tests. `path_and_query` is as on the request line.
    pub fn new(scheme: Scheme, authority: &str, path_and_query: &str, trust: &Trust) -> Result<Self, TargetError> {
        let _ = (scheme, authority, path_and_query, trust);
        todo!()
    }

    /// The scheme by which the client came (before `public_url`).
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, lower case, without a port; IPv6 in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host, and port where it is not the scheme's default: as the client addressed it.
    pub fn authority(&self) -> String {
        todo!()
    }

    /// The normalised path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path and query to send upstream: the normalised path, the query as it came.
    pub fn path_and_query(&self) -> String {
        todo!()
    }

    /// The query, as it came, without `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// `scheme://authority` (or the `public_url`) under which this client addresses the gate: RFC 9728's `resource`.
    pub fn resource(&self) -> String {
        todo!()
    }

    /// Whether `htu` names this target: both sides normalised, query and fragment ignored.
    #[must_use]
    pub fn matches_htu(&self, htu: &str) -> bool {
        let _ = htu;
        todo!()
    }
}
