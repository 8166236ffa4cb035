//! What stands for a key that is left out.

use super::*;

impl Default for TokenTypes {
    fn default() -> Self {
        Self::Word(AnyType::Any)
    }
}

impl Default for Dpop {
    fn default() -> Self {
        Self {
            algorithms: words(&["ES256", "ES384", "EdDSA", "RS256", "PS256"]),
            proof_lifetime: Span::of("60s"),
            clock_skew: Span::of("15s"),
            nonce: Nonce::default(),
            replay: Replay::default(),
            key_tables: KeyTables::default(),
        }
    }
}

impl Default for Nonce {
    fn default() -> Self {
        Self { mode: NonceMode::Required, lifetime: Span::of("5m"), secret_file: None, previous_secret_file: None }
    }
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            store: Store::Memory,
            capacity: 1_000_000,
            redis: Redis::default(),
            on_unavailable: OnUnavailable::Reject,
        }
    }
}

impl Default for KeyTables {
    fn default() -> Self {
        Self { entries: 50_000, after: 2 }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379/0".to_owned(),
            password_file: None,
            key_prefix: "dpop-gate:jti:".to_owned(),
            timeout: Span::of("50ms"),
            tls: None,
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        let set = [
            ("X-Auth-Issuer", "iss"),
            ("X-Auth-Subject", "sub"),
            ("X-Auth-Client-Id", "client_id"),
            ("X-Auth-Scope", "scope"),
            ("X-Auth-Jkt", "cnf.jkt"),
        ];
        Self {
            headers: set.map(|(header, claim)| (header.to_owned(), claim.to_owned())).into(),
            forward_token: ForwardToken::Flag(false),
            assertion: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: Size::of("32KiB"),
            body_bytes: Size::bytes_of(0),
            header_timeout: Span::of("10s"),
            idle_timeout: Span::of("75s"),
            shutdown_grace: Span::of("0s"),
            drain_timeout: Span::of("30s"),
            connections: 10_000,
        }
    }
}

pub(super) fn token_algorithms() -> Vec<String> {
    words(&["RS256", "ES256", "PS256", "EdDSA"])
}

pub(super) fn introspection_cache() -> Span {
    Span::of("30s")
}

pub(super) fn introspection_timeout() -> Span {
    Span::of("2s")
}

pub(super) fn connect_timeout() -> Span {
    Span::of("1s")
}

pub(super) fn upstream_timeout() -> Span {
    Span::of("30s")
}

pub(super) fn health_interval() -> Span {
    Span::of("5s")
}

pub(super) fn assertion_header() -> String {
    "X-Auth-Assertion".to_owned()
}

pub(super) fn assertion_lifetime() -> Span {
    Span::of("60s")
}

pub(super) fn service_name() -> String {
    "dpop-gate".to_owned()
}

pub(super) fn whole() -> f64 {
    1.0
}

pub(super) fn yes() -> bool {
    true
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
