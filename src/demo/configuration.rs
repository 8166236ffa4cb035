//! The gate's configuration in the demo: the same file that a user would write.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// What the demo's tokens are for.
pub(super) const AUDIENCE: &str = "api://orders";

/// Where the demo's pieces listen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// The gate.
    pub(super) listen: SocketAddr,
    /// The gate's metrics and probes.
    pub(super) admin: SocketAddr,
    /// The development authorization server.
    pub(super) issuer: SocketAddr,
    /// The legacy service.
    pub(super) legacy: SocketAddr,
}

/// The file.
pub(super) fn yaml(places: &Places) -> String {
    let Places { listen, admin, issuer, legacy } = places;
    let mut yaml = String::new();
    // Writing into a String cannot fail.
    let _ = write!(
        yaml,
        r#"# Written by `dpop-gate demo`.
listen:
  - address: "{listen}"
admin:
  address: "{admin}"
issuers:
  - issuer: "http://{issuer}"
    audiences: ["{AUDIENCE}"]
    algorithms: [ES256]
    token_types: [at+jwt]
    discovery: true
dpop:
  nonce:
    mode: required
upstreams:
  legacy:
    urls: ["http://{legacy}"]
  issuer:
    urls: ["http://{issuer}"]
routes:
  - name: token
    match: {{path: /token, methods: [POST]}}
    upstream: issuer
    auth: token_endpoint
  - name: orders
    match: {{path: /api/}}
    upstream: legacy
    require:
      scopes: [orders.read]
"#
    );
    yaml
}
