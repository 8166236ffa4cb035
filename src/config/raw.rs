//! The file as it is written. These types are the only place where a key is spelled and a default stands; the JSON
//! Schema, and with it the check for unknown keys, is derived from them. Doc comments are the schema's descriptions.

mod defaults;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Size, Span};

use defaults::{
    assertion_header, assertion_lifetime, connect_timeout, health_interval, introspection_cache, introspection_timeout,
    service_name, token_algorithms, upstream_timeout, whole, yes,
};

/// Configuration of dpop-gate.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "dpop-gate")]
pub(super) struct File {
    /// Where clients come in; one or more.
    #[schemars(length(min = 1))]
    pub(super) listen: Vec<Listen>,
    /// Where operators come in.
    pub(super) admin: Option<Admin>,
    /// How clients address the gate; `htu` is compared with this. May be a list: the one with the request's authority
    /// counts. Absent: scheme and authority of the request itself.
    pub(super) public_url: Option<OneOrMany>,
    /// Only these peers' `Forwarded` and `X-Forwarded-*` are believed; forward_auth and ext_authz listeners answer
    /// nobody else. Addresses or CIDR ranges. Absent: loopback for those two, nobody for proxy.
    pub(super) trusted_proxies: Option<Vec<String>>,
    /// Who vouches for access tokens.
    #[serde(default)]
    pub(super) issuers: Vec<Issuer>,
    /// What is demanded of proofs.
    #[serde(default)]
    pub(super) dpop: Dpop,
    /// Where requests go, by name.
    #[serde(default)]
    pub(super) upstreams: BTreeMap<String, Upstream>,
    /// Which requests are for which upstream, and what they need. The first match wins; nothing matched: 404.
    #[schemars(length(min = 1))]
    pub(super) routes: Vec<Route>,
    /// What upstreams are told of the caller.
    #[serde(default)]
    pub(super) identity: Identity,
    /// Bounds.
    #[serde(default)]
    pub(super) limits: Limits,
    /// Traces over OpenTelemetry. Absent: none.
    pub(super) traces: Option<Traces>,
}

/// One or a list.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A listener.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    /// `IP:PORT`, or `unix:` and a path.
    pub(super) address: String,
    /// Who answers.
    #[serde(default)]
    pub(super) mode: Door,
    /// Whether a proof's `jti` is spent.
    #[serde(default)]
    pub(super) jti: Jti,
    /// By whose account a `forward_auth` listener knows the original request.
    #[serde(default)]
    pub(super) original: Account,
    /// Whether another process may listen there too (`SO_REUSEPORT`): a new gate takes over before the old one goes.
    #[serde(default)]
    pub(super) reuse_port: bool,
    /// TLS towards clients; ALPN h2 and http/1.1. Files are watched, rotation drops nothing.
    pub(super) tls: Option<ListenTls>,
}

/// Who answers on a listener.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Door {
    /// The reverse proxy.
    #[default]
    Proxy,
    /// Forward authentication over HTTP, for Traefik, Caddy, nginx, Envoy.
    ForwardAuth,
    /// Envoy's external authorization over gRPC.
    ExtAuthz,
}

/// What becomes of a `jti`.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Jti {
    /// It is spent.
    #[default]
    Consume,
    /// It is looked at without spending: for a caller that asks twice, or whose upstream verifies the proof again.
    Check,
}

/// By whose account the original request's method and URI are known. Where another proxy would say them stands the
/// client's own word, passed on: it is not heard.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Account {
    /// Whichever there is; two that disagree are refused.
    #[default]
    Any,
    /// `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`: Traefik, Caddy.
    XForwarded,
    /// `X-Original-Method` and `X-Original-URL`: nginx.
    XOriginal,
    /// The request itself: Envoy over HTTP.
    RequestLine,
}

/// TLS towards clients.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenTls {
    /// PEM, leaf first.
    pub(super) certificate: String,
    /// PEM: PKCS #8, PKCS #1 or SEC1.
    pub(super) key: String,
    /// PEM: who signs client certificates. Present: mutual TLS.
    pub(super) client_ca: Option<String>,
    /// Whether a client must have a certificate; with `client_ca` only. Absent: `optional`.
    pub(super) client_auth: Option<ClientAuth>,
}

/// Whether a client must have a certificate.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClientAuth {
    /// It may.
    Optional,
    /// It must.
    Required,
}

/// Where operators come in.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    /// `IP:PORT` of `/metrics`, `/livez`, `/readyz` and the status page at `/`.
    pub(super) address: String,
}

/// An issuer of access tokens. Exactly one of `jwks_file`, `jwks_uri`, `discovery` and `introspection`.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Issuer {
    /// `iss`, to the letter.
    pub(super) issuer: String,
    /// Any one of them must be in `aud`.
    #[schemars(length(min = 1))]
    pub(super) audiences: Vec<String>,
    /// Algorithms of its tokens. `EdDSA` stands for Ed25519 under either name (RFC 9864).
    #[serde(default = "token_algorithms")]
    #[schemars(length(min = 1))]
    pub(super) algorithms: Vec<String>,
    /// `typ` headers of its tokens. `any`: every one but `dpop+jwt`.
    #[serde(default)]
    pub(super) token_types: TokenTypes,
    /// Keys from a file (JWKS).
    pub(super) jwks_file: Option<String>,
    /// Keys from a URL (JWKS).
    pub(super) jwks_uri: Option<String>,
    /// Keys from where the issuer's metadata says: RFC 8414, then OpenID Connect Discovery.
    #[serde(default)]
    pub(super) discovery: bool,
    /// Opaque tokens, by introspection (RFC 7662).
    pub(super) introspection: Option<Introspection>,
    /// Takes plain `http` beyond loopback too, for keys, discovery and introspection.
    #[serde(default)]
    pub(super) insecure_http: bool,
}

/// `any`, or a list of `typ` values.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum TokenTypes {
    Word(AnyType),
    Only(Vec<String>),
}

/// Every `typ` but `dpop+jwt`.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum AnyType {
    Any,
}

/// The introspection endpoint. Exactly one of `client_secret_file` and `client_secret`.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Introspection {
    /// The endpoint.
    pub(super) url: String,
    /// The gate's own client at the issuer.
    pub(super) client_id: String,
    /// Its secret: a file; the last newline does not count.
    pub(super) client_secret_file: Option<String>,
    /// Its secret: `${VAR}` and nothing else, never the secret itself.
    pub(super) client_secret: Option<String>,
    /// How long an answer is kept; never beyond `exp`.
    #[serde(default = "introspection_cache")]
    pub(super) cache: Span,
    /// How long an answer may take.
    #[serde(default = "introspection_timeout")]
    pub(super) timeout: Span,
}

/// What is demanded of proofs.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Dpop {
    /// Algorithms of proofs; symmetric ones and `none` never. `EdDSA` stands for Ed25519 under either name (RFC 9864).
    #[schemars(length(min = 1))]
    pub(super) algorithms: Vec<String>,
    /// `iat` no older than this.
    pub(super) proof_lifetime: Span,
    /// `iat` no further ahead than this; also granted to a token's `exp` and `nbf`.
    pub(super) clock_skew: Span,
    /// Nonces of the gate's own.
    pub(super) nonce: Nonce,
    /// How a proof is refused the second time.
    pub(super) replay: Replay,
    /// Tables that make checks of ES256 signatures cheaper, for keys that come back.
    pub(super) key_tables: KeyTables,
}

/// Tables for keys that come back.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct KeyTables {
    /// Clients' keys that may have one, 1 KiB each, the first more; 0: none, not for issuers' keys either, and all
    /// signatures are checked by AWS-LC.
    #[schemars(range(max = 1_000_000))]
    pub(super) entries: u64,
    /// Good signatures after which a key gets one.
    #[schemars(range(min = 1, max = 60))]
    pub(super) after: u64,
}

/// Nonces of the gate's own.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Nonce {
    /// Whether proofs need one.
    pub(super) mode: NonceMode,
    /// How long one is taken.
    pub(super) lifetime: Span,
    /// 32 bytes or more, the same on every replica; the last newline does not count. Absent: random at start.
    pub(super) secret_file: Option<String>,
    /// Still accepted, while secrets rotate.
    pub(super) previous_secret_file: Option<String>,
}

/// Whether proofs need a nonce.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum NonceMode {
    /// They do.
    #[default]
    Required,
    /// They do not, and none are issued.
    Off,
}

/// How a proof is refused the second time.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Replay {
    /// Where spent proofs are remembered.
    pub(super) store: Store,
    /// Proofs held at once, in memory.
    #[schemars(range(min = 1))]
    pub(super) capacity: u64,
    /// The shared store.
    pub(super) redis: Redis,
    /// What happens while the shared store is away.
    pub(super) on_unavailable: OnUnavailable,
}

/// Where spent proofs are remembered.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Store {
    /// In this process.
    #[default]
    Memory,
    /// In Redis or Valkey, shared by replicas.
    Redis,
}

/// The shared store.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Redis {
    /// `redis://`, `rediss://`, `unix:` and a path, `redis+sentinel://`, `redis+cluster://`; a password in it comes
    /// from `${VAR}`.
    pub(super) url: String,
    /// The password, instead of one in `url`.
    pub(super) password_file: Option<String>,
    /// In front of every key.
    pub(super) key_prefix: String,
    /// How long an answer may take, connecting included.
    pub(super) timeout: Span,
    /// TLS; with `rediss` only.
    pub(super) tls: Option<ClientTls>,
}

/// TLS towards the shared store, or a collector of traces.
#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ClientTls {
    /// PEM: roots instead of the system's.
    pub(super) ca: Option<String>,
    /// PEM: the gate's own certificate, for mutual TLS.
    pub(super) client_certificate: Option<String>,
    /// PEM: its key.
    pub(super) client_key: Option<String>,
}

/// What happens while the shared store is away.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnUnavailable {
    /// 503.
    #[default]
    Reject,
    /// This process's own store decides, and it is counted.
    Memory,
}

/// An upstream.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Upstream {
    /// `http://`, `https://` or `unix:` and a path; several are balanced.
    #[schemars(length(min = 1))]
    pub(super) urls: Vec<String>,
    /// Which HTTP it speaks.
    #[serde(default)]
    pub(super) protocol: Protocol,
    /// How requests are spread over several addresses.
    #[serde(default)]
    pub(super) balance: Balance,
    /// How long a connection may take, TLS included.
    #[serde(default = "connect_timeout")]
    pub(super) connect_timeout: Span,
    /// How long the response head may take; bodies stream without a limit.
    #[serde(default = "upstream_timeout")]
    pub(super) timeout: Span,
    /// Active checks. Absent: passive ejection only.
    pub(super) health_check: Option<HealthCheck>,
    /// TLS towards `https` addresses. Absent: the system's roots, no client certificate.
    pub(super) tls: Option<UpstreamTls>,
    /// The client's `Host` goes upstream; else the address's own.
    #[serde(default = "yes")]
    pub(super) preserve_host: bool,
}

/// Which HTTP an upstream speaks.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Protocol {
    /// https: by ALPN; http and unix: HTTP/1.1, but h2c for gRPC.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; h2c for http.
    Http2,
}

/// How requests are spread.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Balance {
    /// To the address with the fewest in flight.
    #[default]
    LeastRequests,
    /// In turn.
    RoundRobin,
}

/// Active checks.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthCheck {
    /// Path to GET; 2xx or 3xx is healthy.
    pub(super) path: String,
    /// Time between two checks of one address.
    #[serde(default = "health_interval")]
    pub(super) interval: Span,
}

/// TLS towards an upstream.
#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamTls {
    /// PEM: roots instead of the system's.
    pub(super) ca: Option<String>,
    /// PEM: the gate's own certificate, for mutual TLS.
    pub(super) client_certificate: Option<String>,
    /// PEM: its key.
    pub(super) client_key: Option<String>,
    /// The name that the certificate must have, and SNI. Absent: the address's host.
    pub(super) server_name: Option<String>,
}

/// A route.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    /// Label in metrics and logs. Absent: `match.path`.
    pub(super) name: Option<String>,
    /// Which requests it is for.
    #[serde(rename = "match")]
    pub(super) matches: Match,
    /// Name of an upstream. Needed wherever there is a proxy listener.
    pub(super) upstream: Option<String>,
    /// What a request must bring.
    #[serde(default)]
    pub(super) auth: Auth,
    /// What becomes of one that does not bring it.
    #[serde(default)]
    pub(super) mode: Mode,
    /// What the token must grant.
    #[serde(default)]
    pub(super) require: Require,
    /// Which browser origins may call.
    pub(super) cors: Option<Cors>,
}

/// Which requests a route is for.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Match {
    /// Exact, or a prefix where it ends in `/`.
    #[schemars(regex(pattern = "^/"))]
    pub(super) path: String,
    /// Absent: all.
    #[schemars(length(min = 1))]
    pub(super) methods: Option<Vec<String>>,
    /// Without a port. Absent: all.
    pub(super) host: Option<String>,
}

/// What a request must bring.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Auth {
    /// A DPoP-bound token under the `DPoP` scheme with a proof.
    #[default]
    Dpop,
    /// That, or an unbound token under `Bearer`: for migration.
    DpopOrBearer,
    /// Nothing: forwarded with identity headers stripped.
    Public,
    /// A proof alone: an authorization server's token endpoint.
    TokenEndpoint,
}

/// What becomes of a request that would be refused.
#[derive(Deserialize, Serialize, JsonSchema, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It goes upstream as it came, without identity headers, counted and logged.
    Report,
}

/// What the token must grant.
#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Require {
    /// All of them.
    pub(super) scopes: Vec<String>,
    /// Claim and value, by equality; a list means any one of them.
    pub(super) claims: BTreeMap<String, serde_json::Value>,
}

/// Which browser origins may call.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cors {
    /// `scheme://host[:port]`, to the letter; or `"*"` alone.
    #[schemars(length(min = 1))]
    pub(super) origins: Vec<String>,
}

/// What upstreams are told of the caller.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Identity {
    /// Header and claim (a name, or a dotted path). Given: instead of the default set.
    pub(super) headers: BTreeMap<String, String>,
    /// What becomes of `Authorization` and `DPoP`: `false` removes them, `true` passes them as they came, `bearer`
    /// passes the token alone, as `Authorization: Bearer`.
    pub(super) forward_token: ForwardToken,
    /// The same, signed, for upstreams that verify.
    pub(super) assertion: Option<Assertion>,
}

/// What becomes of the client's credentials.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Copy)]
#[serde(untagged)]
pub(super) enum ForwardToken {
    Flag(bool),
    Word(Bearer),
}

/// The token alone.
#[derive(Deserialize, Serialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bearer {
    Bearer,
}

/// The signed identity.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Assertion {
    /// The header that carries it.
    #[serde(default = "assertion_header")]
    pub(super) header: String,
    /// A private JWK, as `dpop-gate keygen` makes it.
    pub(super) key_file: String,
    /// `aud`. Absent: the upstream's name.
    pub(super) audience: Option<String>,
    /// How long it is valid.
    #[serde(default = "assertion_lifetime")]
    pub(super) lifetime: Span,
}

/// Bounds.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Largest request head.
    pub(super) header_bytes: Size,
    /// Largest request body; 0: no limit.
    pub(super) body_bytes: Size,
    /// How long a request head, or a TLS handshake, may take.
    pub(super) header_timeout: Span,
    /// How long a connection may be idle between requests.
    pub(super) idle_timeout: Span,
    /// How long connections are still accepted at shutdown, while `/readyz` says 503 already.
    pub(super) shutdown_grace: Span,
    /// How long requests in flight may take to end at shutdown.
    pub(super) drain_timeout: Span,
    /// Open connections; further ones wait until one is free.
    #[schemars(range(min = 1))]
    pub(super) connections: u64,
}

/// Traces over OpenTelemetry.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Traces {
    /// The collector: OTLP over HTTP, protobuf. `/v1/traces` is added unless it is there.
    pub(super) otlp: String,
    /// What this service is called there.
    #[serde(default = "service_name")]
    pub(super) service_name: String,
    /// Which share is traced of the requests whose callers do not say by a `traceparent`: 0 to 1.
    #[serde(default = "whole")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(super) sample: f64,
    /// What the collector wants to be sent besides, such as a key: one `Name: value` a line.
    pub(super) headers_file: Option<String>,
    /// TLS; for https only.
    pub(super) tls: Option<ClientTls>,
}
