//! The gate's configuration in the demo: the same file that a user would write.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

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
    /// The page that shows it all.
    pub(super) page: SocketAddr,
}

impl Places {
    /// Where clients on this machine reach the gate, and the authorization server through it.
    pub(super) fn origin(&self) -> String {
        let mut listen = self.listen;
        if listen.ip().is_unspecified() {
            let loopback = if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            listen.set_ip(loopback);
        }
        format!("http://{listen}")
    }
}

/// What the demo's own gate runs with.
pub(super) fn of_the_demo(places: &Places) -> String {
    let route = |upstream: &str, name: &str, path: &str| {
        format!("  - {{name: {name}, match: {{path: {path}}}, upstream: {upstream}, auth: public}}\n")
    };
    let mut routes = String::from("  # The rest of the authorization server, and the page that shows it all.\n");
    for (name, path) in [
        ("metadata", "/.well-known/oauth-authorization-server"),
        ("jwks", "/jwks"),
        ("authorize", "/authorize"),
        // Other methods than POST: the server says that they are wrong.
        ("token-methods", "/token"),
        ("introspect", "/introspect"),
        ("revoke", "/revoke"),
    ] {
        routes.push_str(&route("issuer", name, path));
    }
    routes.push_str(&route("page", "page", "/"));
    yaml(places, places.listen, places.admin, &format!("  page: {{urls: [\"http://{}\"]}}\n", places.page), &routes)
}

/// The same gate for a user to start and to change, at other addresses since the demo holds its own.
pub(super) fn for_a_real_start(places: &Places, listen: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "# Written by `dpop-gate demo`: its gate, without the rest of the demo. There is no secret in it.\n\
         # While the demo runs it can be started as it is; for a real start change every line that says so.\n\
         #\n\
         #   dpop-gate check --config THIS-FILE && dpop-gate run --config THIS-FILE\n\n{}",
        yaml(places, listen, admin, "", "")
    )
}

fn yaml(places: &Places, listen: SocketAddr, admin: SocketAddr, upstreams: &str, routes: &str) -> String {
    let Places { issuer, legacy, .. } = places;
    let origin = places.origin();
    format!(
        r#"listen:
  - address: "{listen}"   # change: where clients come in, with tls: {{certificate: tls.crt, key: tls.key}}
admin:
  address: "{admin}"   # metrics, probes and the status page: for operators only
# public_url: https://api.example.com   # change, where something stands in front of the gate: how clients address it
issuers:
  - issuer: "{origin}"   # change: your authorization server
    audiences: ["{AUDIENCE}"]   # change: what its tokens are for
    algorithms: [ES256]
    token_types: [at+jwt]
    jwks_uri: "http://{issuer}/jwks"   # change: discovery: true
dpop:
  nonce:
    mode: required
upstreams:
  legacy: {{urls: ["http://{legacy}"]}}   # change: your API, which nobody may reach past the gate
  issuer: {{urls: ["http://{issuer}"]}}   # change: your authorization server, or remove it and its route
{upstreams}routes:   # first match wins
  - name: orders
    match: {{path: /api/}}   # change: the paths of your API
    upstream: legacy
    require:
      scopes: [orders.read]   # change, or remove
  - name: token   # proofs and nonces in front of a token endpoint; remove it where yours checks them by itself
    match: {{path: /token, methods: [POST]}}
    upstream: issuer
    auth: token_endpoint
{routes}"#
    )
}
