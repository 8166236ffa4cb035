//! `dpop`: proofs, nonces, replay.

use crate::config::{NonceConfig, raw};
use crate::dpop::ProofPolicy;
use crate::secret::Secret;
use crate::verifier;

use super::Checker;

/// HMAC-SHA-256 is as strong as its key, up to its own width (RFC 2104 section 3).
const NONCE_SECRET_BYTES: usize = 32;
/// 1 KiB and more each: beyond this other processes are meant to help.
const MAX_KEY_TABLES: u64 = 1_000_000;
/// Signatures by one key are not counted further.
const MAX_SIGNATURES: u32 = 60;

impl Checker<'_> {
    /// What proofs must be.
    pub(super) fn proof(&mut self, dpop: &raw::Dpop) -> ProofPolicy {
        ProofPolicy {
            algorithms: self.algorithms("dpop.algorithms", &dpop.algorithms),
            lifetime: self.span("dpop.proof_lifetime", &dpop.proof_lifetime, "1s", "10m"),
            clock_skew: self.span("dpop.clock_skew", &dpop.clock_skew, "0s", "5m"),
        }
    }

    /// Which keys get tables.
    pub(super) fn key_tables(&mut self, tables: &raw::KeyTables) -> verifier::Options {
        let entries = usize::try_from(tables.entries).ok().filter(|_| tables.entries <= MAX_KEY_TABLES);
        if entries.is_none() {
            self.error("dpop.key_tables.entries", format!("out of bounds; expected 0 to {MAX_KEY_TABLES} tables"));
        }
        let after = u32::try_from(tables.after).ok().filter(|after| (1..=MAX_SIGNATURES).contains(after));
        if after.is_none() {
            let message = format!("out of bounds; expected 1 to {MAX_SIGNATURES} signatures");
            self.error("dpop.key_tables.after", message);
        }
        verifier::Options { entries: entries.unwrap_or_default(), after: after.unwrap_or(1) }
    }

    /// `None` where nonces are off.
    pub(super) fn nonce(&mut self, dpop: &raw::Dpop) -> Option<NonceConfig> {
        let nonce = &dpop.nonce;
        let lifetime = self.span("dpop.nonce.lifetime", &nonce.lifetime, "1s", "24h");
        if nonce.previous_secret_file.is_some() && nonce.secret_file.is_none() {
            let message = "without `secret_file` there is nothing to rotate to; expected `secret_file` beside it";
            self.error("dpop.nonce.previous_secret_file", message);
        }
        let secret = self.nonce_secret("dpop.nonce.secret_file", nonce.secret_file.as_deref());
        let previous = self.nonce_secret("dpop.nonce.previous_secret_file", nonce.previous_secret_file.as_deref());
        if previous.is_some() && previous == secret {
            let message = "holds the same secret as `secret_file`; expected the one before it, or no key at all";
            self.error("dpop.nonce.previous_secret_file", message);
        }
        let is_memory = dpop.replay.store == raw::Store::Memory;
        match nonce.mode {
            raw::NonceMode::Off => {
                if is_memory {
                    let message = "off: after a restart the memory store cannot know a proof that was dated ahead \
                                   (within clock_skew) and spent just before it; expected `required`, or that risk";
                    self.warn("dpop.nonce.mode", message);
                }
                None
            }
            raw::NonceMode::Required => {
                if is_memory && secret.is_some() {
                    let message = "a nonce secret that replicas share, and a memory store that they do not: a proof \
                                   spent at one replica is taken once more at each of the others; expected one \
                                   replica only, or no `secret_file`, or a shared `replay.store`";
                    self.warn("dpop.nonce.secret_file", message);
                }
                if !is_memory && nonce.secret_file.is_none() && !self.report.is_broken("dpop.nonce.secret_file") {
                    let message = "no secret: each replica makes its own, so that a client which meets another \
                                   replica is challenged again; expected the same file on every replica";
                    self.warn("dpop.nonce.secret_file", message);
                }
                Some(NonceConfig { lifetime, secret, previous })
            }
        }
    }

    fn nonce_secret(&mut self, key: &str, file: Option<&str>) -> Option<Secret> {
        let file = file.filter(|_| !self.report.is_broken(key))?;
        let secret = self.read_secret(key, file)?;
        let length = secret.reveal().len();
        if length < NONCE_SECRET_BYTES {
            let message = format!(
                "{}: {length} bytes; expected {NONCE_SECRET_BYTES} or more, such as `openssl rand -hex 32` writes",
                self.path(file).display()
            );
            self.error(key, message);
            return None;
        }
        Some(secret)
    }
}
