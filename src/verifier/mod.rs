//! Checks signatures, and knows the keys that come back: those get a table ([`KeyTable`]), with which a check costs a
//! quarter of what the library's costs, or an eighth (design section 6). ES256 under a client's key that has none is
//! checked by the same arithmetic ([`Curve`]) for three quarters of that, once the generator's table is there; under an
//! issuer's, of which there are few, by the library.
//!
//! Which keys get one is decided by good signatures only: whoever sends signatures that are wrong, or keys that are not
//! their own, changes nothing about that. What clients can reach is bounded: tables by [`Options::entries`], the memory
//! of keys that have none yet by a multiple of it, the queue of the builder by a constant. The keys of issuers have a
//! place of their own ([`Pinned`]), which no client can take from them.
//!
//! Other algorithms go to the library at once: RSA is cheap to check; Ed25519 (three quarters of ES256's cost in
//! AWS-LC) would gain by tables too, and has none yet.

mod builder;
mod sightings;
mod tables;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::dpop::SignatureCheck;
use crate::jose::{Algorithm, Curve, KeyTable, PublicKey};
use crate::metrics::KeyTableMetrics;

use builder::{Builder, Job};
use tables::{Sighting, Tables};

/// Which keys get tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Tables of clients' keys held at once, 1 KiB each; a quarter of them 4 KiB, a sixty-fourth 16 KiB. 0: no tables
    /// at all, not for issuers either, and every signature is checked by the library.
    pub entries: usize,
    /// Good signatures after which a key gets one.
    pub after: u32,
}

/// Checks signatures.
pub struct Verifier {
    options: Options,
    tables: Arc<Tables<KeyTable>>,
    /// What a check under any key takes: made beside the first of them.
    curve: Arc<OnceLock<Curve>>,
    /// It was asked for.
    curve_asked: AtomicBool,
    builder: Builder,
    metrics: KeyTableMetrics,
}

/// The place of a table that stays as long as its owner does: an issuer's key.
#[derive(Debug, Default)]
pub struct Pinned {
    /// Good signatures so far, while there is no table.
    good: AtomicU32,
    /// It was asked for.
    asked: AtomicBool,
    table: OnceLock<KeyTable>,
}

impl Verifier {
    /// Without any table, and without a thread until the first signature under a key that may get one.
    pub fn new(options: Options, metrics: KeyTableMetrics) -> Self {
        Self::with(options, metrics, Builder::thread())
    }

    /// The same, with tables that are there as soon as they are due.
    #[cfg(test)]
    fn building_at_once(options: Options, metrics: KeyTableMetrics) -> Self {
        Self::with(options, metrics, Builder::Inline)
    }

    fn with(options: Options, metrics: KeyTableMetrics, builder: Builder) -> Self {
        let tables = Arc::new(Tables::new(options.entries, options.after, metrics.held.clone()));
        let curve = Arc::default();
        Self { options, tables, curve, curve_asked: AtomicBool::new(false), builder, metrics }
    }

    /// What decides who gets a table.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Whether `signature` is one of the key's over `message`. False too where [`PublicKey::allows`] is.
    #[must_use]
    pub fn verify(&self, key: &PublicKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.has_tables_for(key, algorithm) {
            self.metrics.by_library.inc();
            return key.verify(algorithm, message, signature);
        }
        if let Some(known) = self.tables.find(key.thumbprint()) {
            self.metrics.by_table.inc();
            let good = known.table().verify(message, signature);
            if good {
                known.used();
            }
            return good;
        }
        let good = match self.curve.get() {
            Some(curve) => {
                self.metrics.by_curve.inc();
                key.verify_on(*curve, algorithm, message, signature)
            }
            None => {
                self.prepare_curve();
                self.metrics.by_library.inc();
                key.verify(algorithm, message, signature)
            }
        };
        if good && self.tables.seen(key.thumbprint()) == Sighting::Due {
            self.build(Job::Client(Box::new(key.clone())));
        }
        good
    }

    /// The same for a key with a place of its own; `library` is asked while there is no table.
    #[must_use]
    pub fn verify_pinned(
        &self,
        pinned: &Arc<Pinned>,
        key: &PublicKey,
        algorithm: Algorithm,
        (message, signature): (&[u8], &[u8]),
        library: impl FnOnce() -> bool,
    ) -> bool {
        let returns = self.has_tables_for(key, algorithm);
        if let Some(table) = pinned.table.get().filter(|_| returns) {
            self.metrics.by_table.inc();
            return table.verify(message, signature);
        }
        self.metrics.by_library.inc();
        let good = library();
        // Not `==`: a reload may lower `after` below what was counted.
        if good
            && returns
            && pinned.good.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= self.options.after
            && !pinned.asked.swap(true, Ordering::Relaxed)
        {
            self.build(Job::Pinned(Arc::clone(pinned), Box::new(key.clone())));
        }
        good
    }

    fn has_tables_for(&self, key: &PublicKey, algorithm: Algorithm) -> bool {
        self.options.entries > 0 && algorithm == Algorithm::Es256 && key.allows(algorithm)
    }

    /// Asks for it once; where the builder has too much to do already, the next signature asks again.
    #[cold]
    fn prepare_curve(&self) {
        if !self.curve_asked.swap(true, Ordering::Relaxed) {
            self.build(Job::Curve(Arc::clone(&self.curve)));
        }
    }

    /// Asks for a table; where the builder has too much to do already, a later signature asks again.
    fn build(&self, job: Job) {
        if let Err(job) = self.builder.build(job, &self.tables, &self.metrics) {
            match job {
                Job::Curve(_) => self.curve_asked.store(false, Ordering::Relaxed),
                Job::Client(key) => self.tables.give_up(key.thumbprint()),
                Job::Pinned(pinned, _) => {
                    pinned.good.store(0, Ordering::Relaxed);
                    pinned.asked.store(false, Ordering::Relaxed);
                }
            }
        }
    }
}

impl SignatureCheck for Verifier {
    fn check(&self, key: &PublicKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.verify(key, algorithm, message, signature)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
