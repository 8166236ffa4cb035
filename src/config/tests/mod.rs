#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod damaged;
mod shared_store;
mod traces;

use std::path::Path;

use super::*;
use crate::target::Account;

const GOOD: &str = "\
listen:
  - address: 127.0.0.1:8080
issuers:
  - issuer: https://id.example.com
    audiences: [api://orders]
    discovery: true
upstreams:
  orders:
    urls: [http://127.0.0.1:9000]
routes:
  - match: {path: /orders/}
    upstream: orders
";

fn lookup(name: &str) -> Option<String> {
    match name {
        "NUMBER" => Some("12345".to_owned()),
        "NOTHING" => Some(String::new()),
        "SECRET" => Some("s3cr3t-value".to_owned()),
        "PORT" => Some("8080".to_owned()),
        _ => None,
    }
}

fn load_text(text: &str) -> Result<Config, Vec<Problem>> {
    read(Path::new("gate.yaml"), text.as_bytes(), &lookup, &mut BTreeSet::new())
}

/// `gate.yaml:` is left out of every line.
fn lines(text: &str) -> Vec<String> {
    let problems = match load_text(text) {
        Ok(config) => config.warnings,
        Err(problems) => {
            assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
            problems
        }
    };
    render(&problems).lines().map(|line| line.strip_prefix("gate.yaml:").unwrap().to_owned()).collect()
}

/// One problem for each change to a good file.
#[track_caller]
fn refused(rows: &[(&str, &str, &str)]) {
    let mut failures = String::new();
    for (from, to, expected) in rows {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let lines = lines(&text);
        if lines.len() != 1 || !lines[0].starts_with(expected) {
            failures += &format!("{to}\nexpected {expected}\nfound    {lines:#?}\n");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn the_good_file_is_good_and_has_the_defaults() {
    let config = load_text(GOOD).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.proof.lifetime, Duration::from_secs(60));
    assert_eq!(config.proof.clock_skew, Duration::from_secs(15));
    assert_eq!(config.proof.algorithms, crate::jose::Algorithm::ALL);
    assert_eq!(config.nonce.unwrap().lifetime, Duration::from_secs(300));
    assert_eq!(config.replay_capacity, 1_000_000);
    assert_eq!((config.key_tables.entries, config.key_tables.after), (50_000, 2));
    assert_eq!(config.identity.headers.len(), 5);
    assert_eq!(config.limits.header_bytes, 32 * 1024);
    assert_eq!((config.body_bytes, config.limits.connections), (0, 10_000));
    assert_eq!(config.routes[0].label, "/orders/");
    assert!(config.upstreams[0].preserve_host);
    assert!(config.traces.is_none());
    assert!(config.trust.proxies.is_empty());
    assert_eq!(config.forward_auth_trust.proxies.len(), 2);
}

#[test]
fn structure() {
    refused(&[
        ("upstream:", "upstreem:", "12:5: routes[0].upstreem: unknown key `upstreem`; did you mean `upstream`?"),
        ("issuers:", "zzz: 1\nissuers:", "3:1: zzz: unknown key `zzz`; expected one of `admin`, `dpop`"),
        // A name that looks like a path is no part of what it looks like.
        (
            "issuers:",
            "dpop.nonce: {mode: off}\nissuers:",
            "3:1: dpop.nonce: unknown key `dpop.nonce`; did you mean `dpop`?",
        ),
        ("routes:", "routes[0]: 1\nroutes:", "10:1: routes[0]: unknown key `routes[0]`; did you mean `routes`?"),
        ("routes:", "rotues: 1\nroutes:", "10:1: rotues: unknown key `rotues`; did you mean `routes`?"),
        ("8080\n", "8080\n    original: x_original\n", "3:5: listen[0].original: only a forward_auth listener is told"),
        ("    upstream: orders\n", "    upstream: [orders]\n", "12:5: routes[0].upstream: a list; expected text"),
        (
            "    upstream: orders\n",
            "    upstream: 5\n",
            "12:5: routes[0].upstream: a number without quotes; expected text",
        ),
        ("{path: /orders/}", "{}", "11:5: routes[0].match.path: missing; expected text"),
        ("discovery: true", "discovery: yes", "6:5: issuers[0].discovery: text; expected true or false"),
        ("discovery: true", "discovery: 'true'", "6:5: issuers[0].discovery: text; expected true or false"),
        (
            "8080\n",
            "8080\n    mode: prox\n",
            "3:5: listen[0].mode: unknown word `prox` (did you mean `proxy`?); expected `proxy`, `forward_auth` or `ext_authz`",
        ),
        ("8080\n", "8080\n    tls:\n", "3:5: listen[0].tls: no value; expected a mapping of `certificate`, "),
        (
            "issuers:",
            "limits: {header_bytes: 64KB}\nissuers:",
            "3:10: limits.header_bytes: `64KB` cannot be read; expected a size",
        ),
        (
            "issuers:",
            "limits: {idle_timeout: 5}\nissuers:",
            "3:10: limits.idle_timeout: a number without quotes; expected a duration",
        ),
        (
            "issuers:",
            "limits: {idle_timeout: 1h30m}\nissuers:",
            "3:10: limits.idle_timeout: `1h30m` cannot be read; expected a duration",
        ),
        ("issuers:", "limits: {connections: -1}\nissuers:", "3:10: limits.connections: out of range"),
        ("issuers:", "dpop: {nonce: {mode: required, mode: off}}\nissuers:", "3:32: dpop.nonce.mode: written twice"),
        ("[api://orders]", "[]", "5:5: issuers[0].audiences: empty; expected a list of text, one or more"),
        (
            "discovery: true",
            "discovery: true\n    token_types: [dpop+jwt]",
            "7:19: issuers[0].token_types[0]: a proof is never",
        ),
        (
            "discovery: true",
            "discovery: true\n    token_types: all",
            "7:5: issuers[0].token_types: text; expected `any`, or a list of text",
        ),
    ]);
}

#[test]
fn environment() {
    refused(&[
        (
            "http://127.0.0.1:9000",
            "'${UPSTREAM}'",
            "9:12: upstreams.orders.urls[0]: environment variable `UPSTREAM` is not set",
        ),
        ("127.0.0.1:8080", "${HOST}:${PORT}", "2:5: listen[0].address: environment variable `HOST` is not set"),
        ("127.0.0.1:8080", "${SECRET}", "2:5: listen[0].address: the variable's value is no address to listen on"),
        (
            "issuers:",
            "limits: {idle_timeout: '${SECRET}'}\nissuers:",
            "3:10: limits.idle_timeout: the variable's value cannot be read",
        ),
        ("8080\n", "8080\n    mode: ${SECRET}\n", "3:5: listen[0].mode: unknown word the variable's value; expected"),
    ]);
    let config = load_text(&GOOD.replace("127.0.0.1:8080", "127.0.0.1:${PORT}")).unwrap();
    assert_eq!(config.listeners[0].address, crate::server::ListenAddress::Tcp("127.0.0.1:8080".parse().unwrap()));
    // A number from the environment is a number where one is expected, and text where that is.
    let text = GOOD
        .replace("issuers:", "dpop:\n  replay:\n    capacity: ${NUMBER}\nissuers:")
        .replace("[api://orders]", "[\"${NUMBER}\"]");
    let config = load_text(&text).unwrap();
    assert_eq!((config.replay_capacity, config.issuers[0].audiences[0].as_str()), (12_345, "12345"));
    let config = load_text(
        &GOOD
            .replace("https://id.example.com", "${NUMBER:-https://id.example.com}")
            .replace("discovery: true", "jwks_uri: http://[::1]/keys"),
    )
    .unwrap();
    assert_eq!(config.issuers[0].issuer, "12345");
}

#[test]
fn listeners_and_trust() {
    refused(&[
        (
            "127.0.0.1:8080",
            "localhost:8080",
            "2:5: listen[0].address: `localhost:8080` is no address to listen on; expected IP:PORT",
        ),
        ("127.0.0.1:8080", "'unix:'", "2:5: listen[0].address: no path"),
        (
            "issuers:",
            "  - address: 127.0.0.1:8080\nissuers:",
            "3:5: listen[1].address: another listener has this address",
        ),
        ("issuers:", "admin: {address: 127.0.0.1:8080}\nissuers:", "3:9: admin.address: a listener has this address"),
        ("issuers:", "admin: {address: '9901'}\nissuers:", "3:9: admin.address: `9901` is no address"),
        (
            "8080\n",
            "8080\n    jti: check\n",
            "3:5: listen[0].jti: `check` on a proxy listener would let every proof be replayed",
        ),
        (
            "127.0.0.1:8080\n",
            "unix:gate.sock\n    reuse_port: true\n",
            "3:5: listen[0].reuse_port: a Unix socket has one listener",
        ),
        ("issuers:", "public_url: ftp://x\nissuers:", "3:1: public_url: not the URL of an origin"),
        ("issuers:", "public_url: []\nissuers:", "3:1: public_url: empty"),
        (
            "issuers:",
            "public_url: [https://a.example, https://a.example]\nissuers:",
            "3:33: public_url[1]: listed twice",
        ),
        ("issuers:", "trusted_proxies: [ingress]\nissuers:", "3:19: trusted_proxies[0]: `ingress` is no address"),
        (
            "issuers:",
            "trusted_proxies: [10.0.0.0/8, 0.0.0.0/0]\nissuers:",
            "3:31: trusted_proxies[1]: trusts everybody",
        ),
    ]);
    let text = GOOD
        .replace("8080\n", "8080\n    mode: forward_auth\n    jti: check\n    original: x_original\n")
        .replace("    upstream: orders\n", "");
    let text = text.replace(
        "upstreams:\n  orders:\n    urls: [http://127.0.0.1:9000]\n",
        "trusted_proxies: [10.1.2.3/8, '::1']\n",
    );
    let config = load_text(&text).unwrap();
    assert_eq!(
        config.listeners[0].door,
        crate::server::Door::ForwardAuth(crate::gate::Spend::Check, Account::XOriginal)
    );
    assert_eq!(config.trust.proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(config.trust.proxies, config.forward_auth_trust.proxies);
    let text = text.replace("    original: x_original\n", "");
    let config = load_text(&text.replace("forward_auth", "ext_authz")).unwrap();
    assert_eq!(config.listeners[0].door, crate::server::Door::ExtAuthz(crate::gate::Spend::Check));
}

#[test]
fn issuers() {
    refused(&[
        ("    discovery: true\n", "", "4:5: issuers[0]: no way to verify its tokens; expected exactly one of"),
        (
            "discovery: true",
            "discovery: true\n    jwks_uri: https://id.example.com/jwks",
            "6:5: issuers[0].discovery: `jwks_uri` is there already; expected exactly one of",
        ),
        ("https://id.example.com", "http://id.example.com", "4:5: issuers[0].issuer: plain http beyond loopback"),
        ("discovery: true", "jwks_uri: http://10.0.0.1/jwks", "6:5: issuers[0].jwks_uri: plain http beyond loopback"),
        (
            "discovery: true",
            "jwks_uri: https://u:p@id.example.com",
            "6:5: issuers[0].jwks_uri: a user name or password in it",
        ),
        ("https://id.example.com", "https://id.example.com?x=1", "4:5: issuers[0].issuer: a query in it"),
        ("https://id.example.com", "''", "4:5: issuers[0].issuer: empty"),
        ("[api://orders]", "['']", "5:17: issuers[0].audiences[0]: empty"),
        (
            "discovery: true",
            "discovery: true\n    algorithms: [HS256]",
            "7:18: issuers[0].algorithms[0]: `HS256` is symmetric",
        ),
        (
            "discovery: true",
            "discovery: true\n    algorithms: [none]",
            "7:18: issuers[0].algorithms[0]: `none` means no signature",
        ),
        (
            "discovery: true",
            "discovery: true\n    algorithms: [es256]",
            "7:18: issuers[0].algorithms[0]: `es256` is not an algorithm known here (did you mean `ES256`?)",
        ),
        ("discovery: true", "jwks_file: /no/such/file", "6:5: issuers[0].jwks_file: /no/such/file: No such file"),
        (
            "upstreams:",
            "  - {issuer: https://id.example.com, audiences: [a], discovery: true}\nupstreams:",
            "7:6: issuers[1].issuer: listed twice",
        ),
        (
            "discovery: true",
            "introspection: {url: https://id.example.com/i, client_id: gate}",
            "6:5: issuers[0].introspection: no client secret",
        ),
        (
            "discovery: true",
            "introspection: {url: https://id.example.com/i, client_id: gate, client_secret: hunter2}",
            "6:69: issuers[0].introspection.client_secret: a secret that stands in the file",
        ),
        (
            "discovery: true",
            "introspection: {url: https://id.example.com/i, client_id: gate, client_secret: '${X:-hunter2}'}",
            "6:69: issuers[0].introspection.client_secret: a secret that stands in the file",
        ),
        (
            "discovery: true",
            "introspection: {url: https://id.example.com/i, client_id: gate, client_secret: '${NOTHING}'}",
            "6:69: issuers[0].introspection.client_secret: the variable is empty",
        ),
        (
            "discovery: true",
            "introspection: {url: http://id.example.com/i, client_id: gate, client_secret: '${SECRET}'}",
            "6:21: issuers[0].introspection.url: plain http beyond loopback",
        ),
    ]);
    for text in [
        GOOD.replace("https://id.example.com", "http://127.0.0.1:9999"),
        GOOD.replace("https://id.example.com", "http://id.example.com\n    insecure_http: true"),
        GOOD.replace(
            "discovery: true",
            "introspection: {url: https://id.example.com/i, client_id: g, client_secret: \"${SECRET}\"}",
        ),
    ] {
        load_text(&text).unwrap();
    }
}

#[test]
fn proofs_nonces_replay_limits() {
    refused(&[
        ("issuers:", "dpop: {algorithms: []}\nissuers:", "3:8: dpop.algorithms: empty"),
        ("issuers:", "dpop: {algorithms: [HS512]}\nissuers:", "3:21: dpop.algorithms[0]: `HS512` is symmetric"),
        (
            "issuers:",
            "dpop: {proof_lifetime: 500ms}\nissuers:",
            "3:8: dpop.proof_lifetime: `500ms` is out of bounds; expected 1s to 10m",
        ),
        (
            "issuers:",
            "dpop: {clock_skew: 6m}\nissuers:",
            "3:8: dpop.clock_skew: `6m` is out of bounds; expected 0s to 5m",
        ),
        ("issuers:", "dpop: {nonce: {lifetime: 25h}}\nissuers:", "3:16: dpop.nonce.lifetime: `25h` is out of bounds"),
        (
            "issuers:",
            "dpop: {nonce: {mode: off}}\nissuers:",
            "3:16: warning: dpop.nonce.mode: off: after a restart the memory store",
        ),
        (
            "issuers:",
            "dpop: {nonce: {secret_file: /no/such/file}}\nissuers:",
            "3:16: dpop.nonce.secret_file: /no/such/file: No such file",
        ),
        ("issuers:", "dpop: {replay: {capacity: 0}}\nissuers:", "3:17: dpop.replay.capacity: out of range"),
        (
            "issuers:",
            "dpop: {key_tables: {entries: 1000001}}\nissuers:",
            "3:21: dpop.key_tables.entries: out of bounds; expected 0 to 1000000 tables",
        ),
        ("issuers:", "dpop: {key_tables: {after: 0}}\nissuers:", "3:21: dpop.key_tables.after: out of range"),
        (
            "issuers:",
            "limits: {header_bytes: 1KiB}\nissuers:",
            "3:10: limits.header_bytes: out of bounds; expected 4KiB to 1MiB",
        ),
        ("issuers:", "limits: {connections: 0}\nissuers:", "3:10: limits.connections: out of range"),
    ]);
}

#[test]
fn upstreams() {
    refused(
        &[
            (
                "[http://127.0.0.1:9000]",
                "[]",
                "9:5: upstreams.orders.urls: empty; expected a list of text, one or more",
            ),
            ("http://127.0.0.1:9000", "127.0.0.1:9000", "9:12: upstreams.orders.urls[0]: no"),
            (
                "http://127.0.0.1:9000",
                "http://127.0.0.1:9000/api",
                "9:12: upstreams.orders.urls[0]: a path or query in it",
            ),
            (
                "http://127.0.0.1:9000",
                "http://u:p@127.0.0.1:9000",
                "9:12: upstreams.orders.urls[0]: a user name or password in it",
            ),
            ("http://127.0.0.1:9000", "http://h:80, http://h", "9:25: upstreams.orders.urls[1]: listed twice"),
            ("http://127.0.0.1:9000", "'unix:'", "9:12: upstreams.orders.urls[0]: no path behind unix:"),
            ("9000]\n", "9000]\n    tls: {server_name: x}\n", "10:5: upstreams.orders.tls: no https address in `urls`"),
            (
                "9000]\n",
                "9000]\n    health_check: {path: healthz}\n",
                "10:20: upstreams.orders.health_check.path: no path",
            ),
            ("9000]\n", "9000]\n    protocol: h2\n", "10:5: upstreams.orders.protocol: unknown word `h2`"),
            (
                "9000]\n",
                "9000]\n    balance: round-robin\n",
                "10:5: upstreams.orders.balance: unknown word `round-robin` (did you mean `round_robin`?)",
            ),
            (
                "9000]\n",
                "9000]\n  spare: {urls: [unix:/run/s.sock]}\n",
                "10:3: warning: upstreams.spare: no route uses it",
            ),
            (
                "upstream: orders",
                "upstream: order",
                "12:5: routes[0].upstream: no upstream is called `order`; did you mean `orders`?",
            ),
            (
                "    upstream: orders\n",
                "    upstream: x\n  - {match: {path: /}, upstream: orders}\n",
                "12:5: routes[0].upstream: no upstream is called `x`; expected one of `orders`",
            ),
        ]
        .map(|row| row),
    );
    let config =
        load_text(&GOOD.replace("http://127.0.0.1:9000", "http://h, 'unix:s.sock', 'http://[::1]:81'")).unwrap();
    use crate::proxy::upstream::Endpoint;
    let expected = [
        Endpoint::Http("h:80".parse().unwrap()),
        Endpoint::Unix("s.sock".into()),
        Endpoint::Http("[::1]:81".parse().unwrap()),
    ];
    assert_eq!(config.upstreams[0].endpoints, expected);
}

#[test]
fn routes() {
    refused(&[
        ("/orders/}", "orders/}", "11:13: routes[0].match.path: no `/` at its start"),
        ("/orders/}", "/orders/*}", "11:13: routes[0].match.path: a query, a fragment or a `*`"),
        ("/orders/}", "/a/../b}", "11:13: routes[0].match.path: ambiguous"),
        ("/orders/}", "/a//b}", "11:13: routes[0].match.path: ambiguous"),
        ("/orders/}", "/a%2fb}", "11:13: routes[0].match.path: ambiguous"),
        (
            "/orders/}",
            "/a%2Etxt}",
            "11:13: routes[0].match.path: never matches, since paths are normalised first; expected `/a.txt`",
        ),
        (
            "/orders/}",
            "/orders/, methods: [get]}",
            "11:39: routes[0].match.methods[0]: methods are case-sensitive, and `get` is none; expected `GET`",
        ),
        ("/orders/}", "/orders/, methods: ['G T']}", "11:39: routes[0].match.methods[0]: `G T` is no method"),
        ("/orders/}", "/orders/, methods: []}", "11:29: routes[0].match.methods: empty"),
        ("/orders/}", "/orders/, host: 'api.example.com:443'}", "11:29: routes[0].match.host: no host name"),
        ("upstream: orders", "upstream: orders\n    name: none", "13:5: routes[0].name: `none` is the label"),
        (
            "upstream: orders",
            "upstream: orders\n    name: a\n  - {name: a, match: {path: /}, upstream: orders}",
            "14:6: routes[1].name: another route is called `a`",
        ),
        (
            "upstream: orders",
            "upstream: orders\n  - {match: {path: /orders/1}, upstream: orders}",
            "13:5: warning: routes[1]: never reached: routes[0]",
        ),
        (
            "upstream: orders",
            "upstream: orders\n    auth: public\n  - {match: {path: /orders/1}, upstream: orders}",
            "14:5: routes[1]: never reached: routes[0] takes every request that it is for, and that one is public",
        ),
        (
            "upstream: orders",
            "upstream: orders\n    auth: public\n    require: {scopes: [a]}",
            "14:5: routes[0].require: no token is looked at here",
        ),
        (
            "upstream: orders",
            "upstream: orders\n    require: {scopes: ['a b']}",
            "13:24: routes[0].require.scopes[0]: no scope",
        ),
        (
            "upstream: orders",
            "upstream: orders\n    require: {claims: {tenant: []}}",
            "13:24: routes[0].require.claims.tenant: an empty list",
        ),
        (
            "upstream: orders",
            "upstream: orders\n    require: {claims: {tenant: {a: 1}}}",
            "13:24: routes[0].require.claims.tenant: a value that no claim can equal",
        ),
        (
            "upstream: orders",
            "upstream: orders\n    cors: {origins: [\"*\", \"https://a.example\"]}",
            "13:12: routes[0].cors.origins: `*` beside others",
        ),
        (
            "upstream: orders",
            "upstream: orders\n    cors: {origins: [https://a.example/]}",
            "13:22: routes[0].cors.origins[0]: no host, or a path behind it",
        ),
        (
            "    upstream: orders\n",
            "    upstream: orders\n  - match: {path: /x}\n",
            "13:5: routes[1].upstream: missing, and a proxy listener",
        ),
    ]);
    let no_issuer = "listen: [{address: '127.0.0.1:0'}]\nupstreams: {a: {urls: [http://h]}}\nroutes:\n  - {match: {path: /}, upstream: a}\n";
    assert!(lines(no_issuer)[0].starts_with("4:5: routes[0]: needs an access token, and nobody could vouch for one"));
    assert_eq!(lines(&no_issuer.replace("upstream: a}", "upstream: a, auth: public}")), [""; 0]);
}

#[test]
fn identity() {
    refused(&[
        ("issuers:", "identity: {headers: {X-A: ''}}\nissuers:", "3:22: identity.headers.X-A: empty"),
        ("issuers:", "identity: {headers: {'X A': sub}}\nissuers:", "3:22: identity.headers.X A: no header's name"),
        (
            "issuers:",
            "identity: {headers: {Authorization: sub}}\nissuers:",
            "3:22: identity.headers.Authorization: a header that means something else",
        ),
        (
            "issuers:",
            "identity: {headers: {X_Forwarded_For: sub}}\nissuers:",
            "3:22: identity.headers.X_Forwarded_For: a header that means something else",
        ),
        (
            "issuers:",
            "identity: {headers: {Transfer-Encoding: sub}}\nissuers:",
            "3:22: identity.headers.Transfer-Encoding: a header that",
        ),
        (
            "issuers:",
            "identity: {headers: {X-Sub: sub, x_sub: iss}}\nissuers:",
            "3:34: identity.headers.x_sub: reads like `X-Sub`",
        ),
        ("issuers:", "identity: {headers: {'___': sub}}\nissuers:", "3:22: identity.headers.___: no letter in it"),
        (
            "issuers:",
            "identity: {forward_token: maybe}\nissuers:",
            "3:12: identity.forward_token: text; expected true or false, or `bearer`",
        ),
        (
            "issuers:",
            "identity: {assertion: {key_file: /no/such/file}}\nissuers:",
            "3:24: identity.assertion.key_file: /no/such/file: No such file",
        ),
    ]);
    let text = GOOD
        .replace("issuers:", "identity: {headers: {X-Sub: sub}}\nissuers:")
        .replace("upstream: orders\n", "upstream: orders\n    auth: token_endpoint\n");
    assert!(lines(&text)[0].contains("warning: routes[0].auth: no identity header has the claim cnf.jkt"));
}

#[test]
fn every_problem_at_once_in_the_order_of_the_file() {
    let text = "\
listen:
  - adress: 127.0.0.1:8080
issuers:
  - issuer: https://id.example.com
    discovery: true
upstreams:
  orders:
    urls: [ftp://x]
    timeout: soon
routes:
  - match: {path: /a//b, methods: [get]}
    upstream: ordrs
";
    let lines = lines(text);
    let starts = [
        "2:5: listen[0].adress: unknown key",
        "4:5: issuers[0].audiences: missing",
        "8:12: upstreams.orders.urls[0]: a scheme other than",
        "9:5: upstreams.orders.timeout: `soon` cannot be read",
        "11:13: routes[0].match.path: ambiguous",
        "11:36: routes[0].match.methods[0]: methods are",
        "12:5: routes[0].upstream: no upstream is called `ordrs`",
    ];
    assert_eq!(lines.len(), starts.len(), "{lines:#?}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}\n{start}");
    }
}

#[test]
fn an_empty_file_says_what_is_missing() {
    for text in ["", "# nothing\n", "---\n", "{}"] {
        let lines = lines(text);
        assert_eq!(lines.len(), 2, "{text:?}: {lines:#?}");
        assert!(lines[0].contains(": listen: missing") && lines[1].contains(": routes: missing"), "{lines:#?}");
    }
    assert!(lines("just text")[0].starts_with("1:1: the file: text; expected a mapping"));
}

#[test]
fn what_the_environment_holds_is_never_told() {
    // Put where each message could quote it.
    for to in ["8080\n    mode: ${SECRET}\n", "8080\n    address2: ${SECRET}\n", "8080\n    jti: '${SECRET}'\n"] {
        let text = GOOD.replacen("8080\n", to, 1);
        assert!(lines(&text).iter().all(|line| !line.contains("s3cr3t")), "{:#?}", lines(&text));
    }
    for from in ["127.0.0.1:8080", "https://id.example.com", "http://127.0.0.1:9000", "/orders/", "true"] {
        let text = GOOD.replacen(from, "\"${SECRET}\"", 1);
        let lines = lines(&text);
        assert!(lines.iter().all(|line| !line.contains("s3cr3t")), "{lines:#?}");
    }
}
