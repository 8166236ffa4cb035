//! Stateless nonces (RFC 9449 sections 8 and 9; design section 3).
//!
//! A nonce is its issue time, the [`Life`] of the replay store that it was issued under, and a truncated HMAC-SHA-256
//! over both. Any process with the secret can check one; nothing is stored, so a flood of challenges costs no memory,
//! and any number of a client's requests may carry the same one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// 8 bytes of time, 8 of the life, 16 of the HMAC.
const NONCE_BYTES: usize = 32;
/// What the HMAC is taken over.
const STAMP_BYTES: usize = 16;
/// A nonce from a replica whose clock is a little ahead is taken.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// How nonces are made and judged.
#[derive(Debug, Clone)]
pub struct NonceOptions {
    /// How long one is taken after it was issued.
    pub lifetime: Duration,
    /// What new ones are made with: 32 bytes or more.
    pub secret: Secret,
    /// What is still taken, while secrets rotate.
    pub previous: Option<Secret>,
    /// Nonces issued before this are refused: set where the replay store does not remember what came before the start.
    pub not_before: Option<Timestamp>,
}

/// One life of a replay store: as long as it has forgotten nothing. A proof whose nonce is from another life is refused,
/// since the store cannot know what was spent then; no clock has a part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Life(u64);

impl Life {
    /// Of a store in this process' memory: which nonces are from before it, [`NonceOptions::not_before`] says.
    pub const MEMORY: Self = Self(0);
    /// While a shared store cannot be reached and each process decides by itself.
    pub const FALLBACK: Self = Self(u64::MAX);

    /// Of a shared store, by its random number; `None` for the two that mean something else.
    pub const fn shared(number: u64) -> Option<Self> {
        match Self(number) {
            Self::MEMORY | Self::FALLBACK => None,
            life => Some(life),
        }
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Issues and checks nonces.
#[derive(Debug, Clone)]
pub struct Nonces {
    options: NonceOptions,
}

/// Why a nonce is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NonceError {
    /// Not one of ours.
    #[error("the nonce is unknown")]
    Unknown,
    /// Older than its lifetime, or from before the replay store's memory begins.
    #[error("the nonce is too old")]
    TooOld,
}

/// A nonce that is ours and in its lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Past half its lifetime (or under the previous secret): the response should carry a new one.
    pub renew: bool,
    /// When it was issued, by the clock of whoever did.
    pub issued: Timestamp,
    /// The replay store's life at that time.
    pub life: Life,
}

impl Nonces {
    /// Takes the options as they are; `config` has checked them.
    pub fn new(options: NonceOptions) -> Self {
        Self { options }
    }

    /// A fresh nonce, for proofs that the store in this life will be asked about.
    pub fn issue(&self, now: Timestamp, life: Life) -> String {
        let mut stamp = [0; STAMP_BYTES];
        write(&mut stamp, now.as_micros().to_be_bytes().into_iter().chain(life.0.to_be_bytes()));
        let mac = authenticate(&self.options.secret, &stamp).finalize().into_bytes();
        let mut nonce = [0; NONCE_BYTES];
        write(&mut nonce, stamp.into_iter().chain(mac));
        URL_SAFE_NO_PAD.encode(nonce)
    }

    /// Judges a nonce; the comparison is constant-time. Which life it is from is for the replay store to judge.
    pub fn check(&self, nonce: &str, now: Timestamp) -> Result<Accepted, NonceError> {
        let mut bytes = [0; NONCE_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes).map_err(|_| NonceError::Unknown)?;
        let (Some((stamp, mac)), NONCE_BYTES) = (bytes.split_first_chunk::<STAMP_BYTES>(), length) else {
            return Err(NonceError::Unknown);
        };
        let current = authenticate(&self.options.secret, stamp).verify_truncated_left(mac).is_ok();
        let previous = || {
            let previous = self.options.previous.as_ref();
            previous.is_some_and(|secret| authenticate(secret, stamp).verify_truncated_left(mac).is_ok())
        };
        if !current && !previous() {
            return Err(NonceError::Unknown);
        }

        let stamp = u128::from_be_bytes(*stamp);
        #[allow(clippy::cast_possible_truncation, reason = "the two halves")]
        let (issued, life) = (Timestamp::from_micros((stamp >> 64) as u64), Life(stamp as u64));
        if issued > now + CLOCK_TOLERANCE {
            // Ours, but from a time to come: the clock was set back. It would outlive its lifetime.
            return Err(NonceError::Unknown);
        }
        let age = now.since(issued);
        if age > self.options.lifetime || self.options.not_before.is_some_and(|start| issued < start) {
            return Err(NonceError::TooOld);
        }
        Ok(Accepted { renew: !current || age > self.options.lifetime / 2, issued, life })
    }
}

fn write(to: &mut [u8], from: impl Iterator<Item = u8>) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from;
    }
}

fn authenticate(secret: &Secret, stamp: &[u8; STAMP_BYTES]) -> Hmac<Sha256> {
    // HMAC takes a key of any length (RFC 2104), so this cannot fail.
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal()).expect("HMAC takes a key of any length");
    mac.update(stamp);
    mac
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    const LIFE: Life = Life(7);

    fn accepted(renew: bool) -> Accepted {
        Accepted { renew, issued: NOW, life: LIFE }
    }

    fn nonces(secret: u8) -> NonceOptions {
        NonceOptions {
            lifetime: Duration::from_secs(300),
            secret: Secret::new(vec![secret; 32]),
            previous: None,
            not_before: None,
        }
    }

    #[test]
    fn lives_to_the_end_of_its_lifetime_and_asks_for_renewal_past_half() {
        let nonces = Nonces::new(nonces(1));
        let nonce = nonces.issue(NOW, LIFE);
        for (age, expected) in [
            (0, Ok(accepted(false))),
            (150, Ok(accepted(false))),
            (151, Ok(accepted(true))),
            (300, Ok(accepted(true))),
            (301, Err(NonceError::TooOld)),
        ] {
            assert_eq!(nonces.check(&nonce, NOW + Duration::from_secs(age)), expected, "{age} s");
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let nonces = Nonces::new(nonces(1));
        let nonce = nonces.issue(NOW, LIFE);
        for at in 0..nonce.len() {
            let mut changed = nonce.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(nonces.check(std::str::from_utf8(&changed).unwrap(), NOW), Err(NonceError::Unknown), "{at}");
        }
        for foreign in ["", "A", &nonce[1..], &format!("{nonce}A"), &format!("{nonce}="), "\u{e9}"] {
            assert_eq!(nonces.check(foreign, NOW), Err(NonceError::Unknown), "{foreign:?}");
        }
    }

    #[test]
    fn the_previous_secret_is_taken_and_renewed_and_the_one_before_is_not() {
        let old = Nonces::new(nonces(1)).issue(NOW, LIFE);
        let rotated = Nonces::new(NonceOptions { previous: Some(Secret::new(vec![1; 32])), ..nonces(2) });
        assert_eq!(rotated.check(&old, NOW), Ok(accepted(true)));
        let twice = Nonces::new(NonceOptions { previous: Some(Secret::new(vec![2; 32])), ..nonces(3) });
        assert_eq!(twice.check(&old, NOW), Err(NonceError::Unknown));
    }

    #[test]
    fn one_from_before_the_start_or_from_the_future_is_refused() {
        let start = NOW + Duration::from_micros(1);
        let restarted = Nonces::new(NonceOptions { not_before: Some(start), ..nonces(1) });
        assert_eq!(restarted.check(&restarted.issue(NOW, LIFE), start), Err(NonceError::TooOld));
        assert!(restarted.check(&restarted.issue(start, LIFE), start).is_ok());
        assert_eq!(
            restarted.check(&restarted.issue(NOW + Duration::from_secs(30), LIFE), NOW),
            Err(NonceError::Unknown)
        );
    }
}
