//! `dpop.replay`: where spent proofs are remembered.

use std::sync::Arc;

use crate::config::raw;
use crate::dpop::ProofPolicy;
use crate::replay::{OnUnavailable, Place, RedisOptions, Topology, suits_a_cluster};
use crate::secret::Secret;

use super::Checker;

/// 15 bytes each: beyond this a shared store is meant.
const MAX_CAPACITY: u64 = 100_000_000;
const FORMS: &str = "expected redis://[USER:PASSWORD@]HOST[:PORT][/DB] (rediss:// for TLS), unix:/PATH, \
                     redis+sentinel://HOST:PORT,HOST:PORT/SERVICE or redis+cluster://HOST:PORT,HOST:PORT";

impl Checker<'_> {
    /// The memory store's capacity.
    pub(super) fn replay_capacity(&mut self, replay: &raw::Replay) -> usize {
        match usize::try_from(replay.capacity) {
            Ok(capacity) if (1..=MAX_CAPACITY).contains(&replay.capacity) => capacity,
            Ok(_) | Err(_) => {
                self.error("dpop.replay.capacity", format!("out of bounds; expected 1 to {MAX_CAPACITY} proofs"));
                1
            }
        }
    }

    /// The shared store; `None` where none is asked for: then its form is checked, and no file of it is read.
    pub(super) fn redis(&mut self, replay: &raw::Replay, proof: &ProofPolicy) -> Option<RedisOptions> {
        let redis = &replay.redis;
        let timeout = self.span("dpop.replay.redis.timeout", &redis.timeout, "1ms", "10s");
        self.key_prefix(&redis.key_prefix);
        let place = self.place(redis);
        let on_unavailable = match replay.on_unavailable {
            raw::OnUnavailable::Reject => OnUnavailable::Reject,
            raw::OnUnavailable::Memory => OnUnavailable::Memory,
        };
        if replay.store == raw::Store::Memory {
            if on_unavailable == OnUnavailable::Memory {
                let message = "not used: `store` is `memory`; expected `store: redis`, or no `on_unavailable`";
                self.warn("dpop.replay.on_unavailable", message);
            }
            return None;
        }
        let place = self.with_password(place?, redis);
        if matches!(place.topology, Topology::Cluster(_)) && !suits_a_cluster(&redis.key_prefix) {
            let message = "braces that are no hash tag; expected none, or some text between `{` and `}`: in a cluster \
                           all keys have to be in one slot";
            self.error("dpop.replay.redis.key_prefix", message);
        }
        let tls = self.redis_tls(&place, redis.tls.as_ref());
        if on_unavailable == OnUnavailable::Memory {
            let message = "memory: while the store cannot be reached, a proof passes once at each replica; expected \
                           `reject`, or that risk";
            self.warn("dpop.replay.on_unavailable", message);
        }
        Some(RedisOptions {
            place,
            tls,
            key_prefix: redis.key_prefix.clone(),
            timeout,
            on_unavailable,
            proof_lifetime: proof.lifetime,
            clock_skew: proof.clock_skew,
        })
    }

    fn key_prefix(&mut self, prefix: &str) {
        let key = "dpop.replay.redis.key_prefix";
        self.filled(key, prefix, "a prefix such as dpop-gate:jti:");
        if prefix.len() > 128 {
            self.error(key, "longer than 128 bytes; expected a short one, since it stands in front of every proof");
        }
    }

    fn place(&mut self, redis: &raw::Redis) -> Option<Place> {
        let key = "dpop.replay.redis.url";
        if self.report.is_broken(key) {
            return None;
        }
        let place = match Place::parse(&redis.url) {
            Ok(place) => place,
            Err(reason) => {
                self.error(key, format!("{reason}; {FORMS}"));
                return None;
            }
        };
        let has_password = place.credentials.password.is_some() || place.sentinel_credentials.password.is_some();
        if has_password && !self.report.is_from_environment(key) {
            let message = "a password that stands in the file; expected `password_file: PATH` beside it, or `${VAR}` \
                           in its place";
            self.error(key, message);
        }
        Some(place)
    }

    fn with_password(&mut self, mut place: Place, redis: &raw::Redis) -> Place {
        if let Some(password) = self.password(redis) {
            if place.credentials.password.is_some() {
                self.error("dpop.replay.redis.password_file", "`url` has a password already; expected one of the two");
            }
            place.credentials.password = Some(password);
        }
        place
    }

    fn password(&mut self, redis: &raw::Redis) -> Option<Secret> {
        let key = "dpop.replay.redis.password_file";
        let file = redis.password_file.as_deref().filter(|_| !self.report.is_broken(key))?;
        let password = self.read_secret(key, file)?;
        if std::str::from_utf8(password.reveal()).is_err() {
            self.error(key, "not UTF-8; expected a password");
            return None;
        }
        Some(password)
    }

    fn redis_tls(&mut self, place: &Place, tls: Option<&raw::ClientTls>) -> Option<Arc<rustls::ClientConfig>> {
        let key = "dpop.replay.redis.tls";
        if !place.is_tls {
            if tls.is_some() {
                self.error(key, "nothing is encrypted with this `url`; expected rediss://, or no `tls`");
            }
            return None;
        }
        self.tls_towards(key, tls)
    }
}
