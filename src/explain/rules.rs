//! What a request is judged by: a configuration, or the RFC alone.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use thiserror::Error;

use crate::app;
use crate::clock::Clock;
use crate::config::{Config, NonceConfig, RouteConfig};
use crate::dpop::ProofPolicy;
use crate::forward_auth::Original;
use crate::gate::{ForwardToken, Gate, IdentityOptions};
use crate::issuer::{Bounds, IssuerOptions, Issuers};
use crate::jose::Algorithm;
use crate::metrics::Metrics;
use crate::nonce::{NonceOptions, Nonces, ProcessTag};
use crate::policy::{Auth, Mode, PathMatch, Requirement, RouteMatch, Routes};
use crate::replay::{MemoryOptions, MemoryStore, ReplayStore};
use crate::secret::Secret;
use crate::server::Door;
use crate::target::{Account, Scheme, Trust};
use crate::tls::{self, TlsError};
use crate::verifier::{self, Verifier};

/// Bytes of a secret that stands in for the one that nobody knows.
const SECRET_BYTES: usize = 32;

/// Why there are no rules to judge by.
#[derive(Debug, Error)]
pub enum RulesError {
    /// What issuers would be reached with.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The counters that a gate has.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system gives no randomness.
    #[error("the system gives no randomness: {0}")]
    Random(#[from] getrandom::Error),
}

/// A gate that serves nobody, and what is known beside it. Its replay store is empty and its own.
pub struct Rules {
    pub(super) gate: Gate,
    pub(super) source: Source,
    pub(super) nonces: NonceKnowledge,
    pub(super) body_bytes: u64,
    /// As the issuers are configured, for what was expected of a token.
    pub(super) issuers: Vec<IssuerOptions>,
    /// By which schemes the proxy listeners are reached.
    schemes: Vec<Scheme>,
    /// Whose word counts at forward_auth listeners, where there are any, and by whose account each knows a request.
    pub(super) forward_auth: Option<(Trust, Vec<Account>)>,
}

/// Where the rules come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// RFC 9449: no issuer, no nonce is known.
    Rfc,
    /// A configuration.
    Config,
}

/// What can be known of a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NonceKnowledge {
    /// Nothing: they are the affair of some server.
    Theirs,
    /// None is demanded.
    Off,
    /// One is demanded; the secret is that of a running process.
    Random,
    /// All of it: the secret is in a file.
    Secret,
}

impl Rules {
    /// By the RFC: the scheme is https, `iat` may be as old as the gate takes it by default.
    pub fn of_rfc(auth: Auth) -> Result<Self, RulesError> {
        let route = RouteConfig {
            label: "the RFC".to_owned(),
            matches: RouteMatch { path: PathMatch::Prefix("/".to_owned()), methods: Vec::new(), host: None },
            upstream: String::new(),
            auth,
            mode: Mode::Enforce,
            require: Requirement::default(),
            cors: None,
        };
        let proof = ProofPolicy {
            algorithms: Algorithm::ALL.to_vec(),
            lifetime: Duration::from_secs(60),
            clock_skew: Duration::from_secs(15),
        };
        let gate = gate(Trust::default(), vec![route], proof, None, Vec::new(), Clock::System)?;
        Ok(Self {
            gate,
            source: Source::Rfc,
            nonces: NonceKnowledge::Theirs,
            body_bytes: 0,
            issuers: Vec::new(),
            schemes: vec![Scheme::Https],
            forward_auth: None,
        })
    }

    /// By a configuration, at the time that `clock` shows.
    pub fn of(config: Config, clock: Clock) -> Result<Self, RulesError> {
        let (nonces, knowledge) = match config.nonce {
            None => (None, NonceKnowledge::Off),
            Some(options) => {
                let knowledge = if options.secret.is_some() { NonceKnowledge::Secret } else { NonceKnowledge::Random };
                (Some(nonces(options)?), knowledge)
            }
        };
        let proxies = config.listeners.iter().filter(|listener| listener.door == Door::Proxy);
        let schemes =
            proxies.map(|listener| if listener.tls.is_some() { Scheme::Https } else { Scheme::Http }).collect();
        let accounts = config.listeners.iter().filter_map(|listener| match listener.door {
            Door::ForwardAuth(_, account) => Some(account),
            Door::Proxy | Door::ExtAuthz(_) => None,
        });
        let accounts: Vec<_> = accounts.collect();
        let issuers = config.issuers.clone();
        Ok(Self {
            gate: gate(config.trust, config.routes, config.proof, nonces, config.issuers, clock)?,
            source: Source::Config,
            nonces: knowledge,
            body_bytes: config.body_bytes,
            issuers,
            schemes,
            forward_auth: (!accounts.is_empty()).then_some((config.forward_auth_trust, accounts)),
        })
    }

    /// Whose word counts, and by whose account, where these headers are of a proxy's question at a forward_auth
    /// listener.
    pub(super) fn question(&self, headers: &HeaderMap) -> Option<(&Trust, Account)> {
        let (trust, accounts) = self.forward_auth.as_ref()?;
        accounts.iter().find(|account| Original::is_told_by(headers, **account)).map(|account| (trust, *account))
    }

    /// By which scheme a request comes to the gate: that of its URL if a listener has it, else the first listener's. A
    /// gate that is only asked by proxies hears from them how clients call: https, if nothing else is known.
    pub(super) fn scheme(&self, called: Option<Scheme>) -> Scheme {
        match (self.source, self.schemes.as_slice()) {
            (Source::Rfc, _) | (Source::Config, []) => called.unwrap_or(Scheme::Https),
            (Source::Config, [first, ..]) => called.filter(|called| self.schemes.contains(called)).unwrap_or(*first),
        }
    }
}

fn nonces(options: NonceConfig) -> Result<Nonces, RulesError> {
    let mut stand_in = vec![0; SECRET_BYTES];
    getrandom::fill(&mut stand_in)?;
    Ok(Nonces::new(NonceOptions {
        lifetime: options.lifetime,
        secret: options.secret.unwrap_or_else(|| Secret::new(stand_in)),
        previous: options.previous,
        process: ProcessTag::default(),
        // When the gate was started, nobody knows here.
        others_not_before: None,
    }))
}

fn gate(
    trust: Trust,
    routes: Vec<RouteConfig>,
    proof: ProofPolicy,
    nonces: Option<Nonces>,
    issuers: Vec<IssuerOptions>,
    clock: Clock,
) -> Result<Gate, RulesError> {
    let metrics = Arc::new(Metrics::new()?);
    let memory = MemoryOptions { capacity: 1, proof_lifetime: proof.lifetime, floor: None };
    let memory = MemoryStore::new(memory, metrics.replay_entries.clone());
    let replay = Arc::new(ReplayStore::Memory(Arc::new(memory)));
    // One request is judged: nothing comes back.
    let tables = verifier::Options { entries: 0, after: 1 };
    let verifier = Arc::new(Verifier::new(tables, metrics.key_tables.clone()));
    let issuers = Issuers::new(
        issuers,
        Bounds::default(),
        clock,
        Arc::clone(&metrics),
        tls::issuer_config()?,
        Arc::clone(&verifier),
        None,
    );
    Ok(Gate {
        trust,
        routes: Routes::new(routes.into_iter().map(|options| app::route(options, &metrics)).collect()),
        proof,
        nonces,
        replay,
        verifier,
        issuers: Arc::new(issuers),
        identity: IdentityOptions { headers: Vec::new(), forward_token: ForwardToken::No, assertion: None },
        metrics,
    })
}
