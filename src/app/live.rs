//! A checked configuration becomes rules, upstreams and issuers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::{Clock, Timestamp};
use crate::config::{Config, IdentityConfig, NonceConfig, RouteConfig};
use crate::gate::{AssertionOptions, Gate, IdentityOptions};
use crate::issuer::{Bounds, Issuers};
use crate::journal::{Recent, Tracer};
use crate::metrics::Metrics;
use crate::nonce::{NonceOptions, Nonces, ProcessTag};
use crate::policy::{Route, Routes};
use crate::proxy::upstream::Upstream;
use crate::replay::{MemoryOptions, MemoryStore, RedisMetrics, RedisOptions, RedisStore, ReplayStore};
use crate::secret::Secret;
use crate::verifier::{self, Verifier};
use crate::{forward_auth, proxy};

/// How often the memory lets go of what has expired.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// The label of requests that match no route.
const UNROUTED: &str = "none";

/// What a configuration is built upon.
pub(super) struct Context<'a> {
    pub(super) clock: &'a Clock,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) recent: &'a Arc<Recent>,
    pub(super) started: Timestamp,
    pub(super) nonce_secret: &'a Secret,
    pub(super) process: ProcessTag,
    pub(super) replay: &'a Arc<ReplayStore>,
    /// Who traces requests, if anybody does.
    pub(super) tracer: Option<Arc<Tracer>>,
    /// What issuers are reached with.
    pub(super) issuer_tls: &'a Arc<rustls::ClientConfig>,
    /// The gate of the configuration before: issuers that did not change keep their keys, and so do tables.
    pub(super) old: Option<&'a Gate>,
}

/// What it becomes; nothing runs yet.
pub(super) struct Parts {
    pub(super) proxy: proxy::Live,
    pub(super) forward_auth: forward_auth::Live,
    pub(super) tasks: Tasks,
}

/// What is to run beside the requests.
pub(super) struct Tasks {
    issuers: Arc<Issuers>,
    upstreams: Vec<Arc<Upstream>>,
    memory: Arc<MemoryStore>,
    clock: Clock,
}

/// Builds, starts nothing, cannot fail.
pub(super) fn build(config: Config, context: &Context<'_>) -> Parts {
    let metrics = context.metrics;
    let unrouted = metrics.route(UNROUTED);
    let verifier = verifier(config.key_tables, context);
    let issuers = Arc::new(Issuers::new(
        config.issuers,
        Bounds::default(),
        context.clock.clone(),
        Arc::clone(metrics),
        Arc::clone(context.issuer_tls),
        Arc::clone(&verifier),
        context.old.map(|old| &*old.issuers),
    ));
    let upstreams: HashMap<Arc<str>, Arc<Upstream>> = config
        .upstreams
        .into_iter()
        .map(|options| {
            let (name, counters) = (Arc::clone(&options.name), metrics.upstream(&options.name));
            (name, Arc::new(Upstream::new(options, counters)))
        })
        .collect();
    let tasks = Tasks {
        issuers: Arc::clone(&issuers),
        upstreams: upstreams.values().map(Arc::clone).collect(),
        memory: Arc::clone(context.replay.memory()),
        clock: context.clock.clone(),
    };
    let gate = Arc::new(Gate {
        trust: config.trust,
        routes: Routes::new(config.routes.into_iter().map(|options| route(options, metrics)).collect()),
        nonces: config.nonce.map(|options| nonces(options, config.proof.clock_skew, context)),
        proof: config.proof,
        replay: Arc::clone(context.replay),
        verifier,
        issuers,
        identity: identity(config.identity),
        metrics: Arc::clone(metrics),
    });
    Parts {
        forward_auth: forward_auth::Live {
            gate: Arc::clone(&gate),
            trust: config.forward_auth_trust,
            unrouted: Arc::clone(&unrouted),
            recent: Arc::clone(context.recent),
            tracer: context.tracer.clone(),
        },
        proxy: proxy::Live {
            gate,
            upstreams,
            body_bytes: config.body_bytes,
            body_pause: config.limits.idle_timeout,
            unrouted,
            recent: Arc::clone(context.recent),
            tracer: context.tracer.clone(),
        },
        tasks,
    }
}

/// Runs what is to run; dropping the set ends it.
pub(super) fn spawn(tasks: Tasks) -> JoinSet<()> {
    let mut set = JoinSet::new();
    set.spawn(tasks.issuers.keep_fresh());
    set.spawn(expire(tasks.memory, tasks.clock));
    for upstream in tasks.upstreams {
        set.spawn(upstream.watch());
    }
    set
}

/// Without traffic nobody else lets the memory go of what has expired.
async fn expire(memory: Arc<MemoryStore>, clock: Clock) {
    let mut ticks = tokio::time::interval(EXPIRE_EVERY);
    loop {
        ticks.tick().await;
        memory.expire(clock.now());
    }
}

/// With nonces, one from before the start tells a proof from before it. Without, only the proof's own `iat` can.
pub(super) fn memory_options(config: &Config, started: Timestamp) -> MemoryOptions {
    MemoryOptions {
        capacity: config.replay_capacity,
        proof_lifetime: config.proof.lifetime,
        // A shared store knows what is from before the start.
        floor: (config.nonce.is_none() && config.redis.is_none()).then(|| started.as_secs()),
    }
}

/// The store that a configuration asks for; the one that is there, if it will do.
pub(super) fn replay_store(
    redis: Option<RedisOptions>,
    memory: &Arc<MemoryStore>,
    clock: &Clock,
    metrics: &Metrics,
    old: Option<&Arc<ReplayStore>>,
) -> Arc<ReplayStore> {
    let store = match (redis, old.map(|old| (old, old.shared()))) {
        (None, Some((old, None))) => return Arc::clone(old),
        (Some(redis), Some((old, Some(shared)))) if *shared.options() == redis => return Arc::clone(old),
        (None, None | Some((_, Some(_)))) => ReplayStore::Memory(Arc::clone(memory)),
        (Some(redis), _) => {
            let counters =
                RedisMetrics { errors: metrics.replay_store_errors("redis"), up: metrics.replay_store_up("redis") };
            ReplayStore::Redis(RedisStore::start(redis, clock.clone(), Arc::clone(memory), counters))
        }
    };
    // A counter that is absent until it counts cannot be alerted on.
    let _ = metrics.replay_store_errors(store.name());
    Arc::new(store)
}

/// The one that is there, with its tables, if it will do.
fn verifier(options: verifier::Options, context: &Context<'_>) -> Arc<Verifier> {
    match context.old {
        Some(old) if old.verifier.options() == options => Arc::clone(&old.verifier),
        Some(_) | None => Arc::new(Verifier::new(options, context.metrics.key_tables.clone())),
    }
}

fn nonces(options: NonceConfig, clock_skew: Duration, context: &Context<'_>) -> Nonces {
    Nonces::new(NonceOptions {
        lifetime: options.lifetime,
        secret: options.secret.unwrap_or_else(|| context.nonce_secret.clone()),
        previous: options.previous,
        process: context.process,
        // The memory store knows nothing of what was spent before. Nor may the clock have been right: whoever shares
        // the secret was this process's predecessor or is its neighbour, and no nonce tells which.
        // A shared store says so itself, by its life.
        others_not_before: context.replay.shared().is_none().then_some(context.started + clock_skew),
    })
}

/// A route as it runs, with its counters.
pub fn route(options: RouteConfig, metrics: &Metrics) -> Route {
    Route {
        matches: options.matches,
        upstream: options.upstream.into(),
        auth: options.auth,
        mode: options.mode,
        require: options.require,
        cors: options.cors,
        metrics: metrics.route(&options.label),
    }
}

fn identity(options: IdentityConfig) -> IdentityOptions {
    IdentityOptions {
        headers: options.headers,
        forward_token: options.forward_token,
        assertion: options.assertion.map(|(header, key, audience, lifetime)| AssertionOptions {
            header,
            key,
            audience,
            lifetime,
        }),
    }
}
