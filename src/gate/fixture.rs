//! A gate for unit tests: one route, no issuers.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::clock::Clock;
use crate::dpop::ProofPolicy;
use crate::issuer::{Bounds, Issuers};
use crate::jose::Algorithm;
use crate::metrics::Metrics;
use crate::nonce::{NonceOptions, Nonces, ProcessTag};
use crate::policy::{Auth, Mode, PathMatch, Requirement, Route, RouteMatch, Routes};
use crate::replay::{MemoryOptions, MemoryStore, ReplayStore};
use crate::secret::Secret;
use crate::target::Trust;
use crate::verifier::{self, Verifier};

use super::{ForwardToken, Gate, IdentityOptions};

pub(crate) fn gate(auth: Auth) -> Gate {
    gate_with_paths(auth, &[PathMatch::Prefix("/".to_owned())])
}

/// A route a path.
pub(crate) fn gate_with_paths(auth: Auth, paths: &[PathMatch]) -> Gate {
    let metrics = Arc::new(Metrics::new().unwrap());
    let route = |path: &PathMatch| Route {
        matches: RouteMatch { path: path.clone(), methods: Vec::new(), host: None },
        upstream: "orders".into(),
        auth,
        mode: Mode::Enforce,
        require: Requirement { scopes: vec!["orders.read".to_owned(), "orders.write".to_owned()], claims: Vec::new() },
        cors: None,
        metrics: metrics.route("orders"),
    };
    let memory = MemoryOptions { capacity: 100, proof_lifetime: Duration::from_secs(60), floor: None };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = Arc::new(tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    let tables = verifier::Options { entries: 10, after: 2 };
    let verifier = Arc::new(Verifier::new(tables, metrics.key_tables.clone()));
    Gate {
        trust: Trust::default(),
        routes: Routes::new(paths.iter().map(route).collect()),
        proof: ProofPolicy {
            algorithms: vec![Algorithm::Es256, Algorithm::EdDsa],
            lifetime: Duration::from_secs(60),
            clock_skew: Duration::from_secs(15),
        },
        nonces: Some(Nonces::new(NonceOptions {
            lifetime: Duration::from_secs(300),
            secret: Secret::new(vec![1; 32]),
            previous: None,
            process: ProcessTag([0; 8]),
            others_not_before: None,
        })),
        replay: Arc::new(ReplayStore::Memory(Arc::new(MemoryStore::new(memory, metrics.replay_entries.clone())))),
        verifier: Arc::clone(&verifier),
        issuers: Arc::new(Issuers::new(
            Vec::new(),
            Bounds::default(),
            Clock::System,
            Arc::clone(&metrics),
            tls,
            verifier,
            None,
        )),
        identity: IdentityOptions {
            headers: vec![(HeaderName::from_static("x-auth-subject"), "sub".to_owned())],
            forward_token: ForwardToken::No,
            assertion: None,
        },
        metrics,
    }
}
