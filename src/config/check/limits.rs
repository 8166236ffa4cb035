//! `limits`.

use crate::config::raw;
use crate::server::Limits;

use super::Checker;

/// A token and a proof alone can need more than 4 KiB less than this.
const HEADER_BYTES: std::ops::RangeInclusive<u64> = 4096..=1 << 20;
/// More than any process may have open.
const MAX_CONNECTIONS: u64 = 1_000_000;

impl Checker<'_> {
    /// Bounds on connections, and on bodies.
    pub(super) fn limits(&mut self, limits: &raw::Limits) -> (Limits, u64) {
        let header_bytes = limits.header_bytes.bytes();
        if !HEADER_BYTES.contains(&header_bytes) {
            self.error("limits.header_bytes", "out of bounds; expected 4KiB to 1MiB");
        }
        if !(1..=MAX_CONNECTIONS).contains(&limits.connections) {
            self.error("limits.connections", format!("out of bounds; expected 1 to {MAX_CONNECTIONS}"));
        }
        let connections = Limits {
            header_bytes: usize::try_from(header_bytes).unwrap_or(usize::MAX),
            header_timeout: self.span("limits.header_timeout", &limits.header_timeout, "100ms", "5m"),
            idle_timeout: self.span("limits.idle_timeout", &limits.idle_timeout, "100ms", "1h"),
            shutdown_grace: self.span("limits.shutdown_grace", &limits.shutdown_grace, "0s", "1h"),
            drain_timeout: self.span("limits.drain_timeout", &limits.drain_timeout, "0s", "1h"),
            connections: usize::try_from(limits.connections).unwrap_or(usize::MAX),
        };
        (connections, limits.body_bytes.bytes())
    }
}
