//! Stateless nonces (RFC 9449 sections 8 and 9; design section 3).
//!
//! A nonce is its issue time and a truncated HMAC-SHA-256 over it. Any process with the secret can check one; nothing
//! is stored, so a flood of challenges costs no memory, and any number of a client's requests may carry the same one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// 8 bytes of time, 16 of the HMAC.
const NONCE_BYTES: usize = 24;
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
}

impl Nonces {
    /// Takes the options as they are; `config` has checked them.
    pub fn new(options: NonceOptions) -> Self {
        Self { options }
    }

    /// A fresh nonce.
    pub fn issue(&self, now: Timestamp) -> String {
        let time = now.as_micros().to_be_bytes();
        let mac = authenticate(&self.options.secret, &time).finalize().into_bytes();
        let mut nonce = [0; NONCE_BYTES];
        for (to, from) in nonce.iter_mut().zip(time.iter().chain(mac.iter())) {
            *to = *from;
        }
        URL_SAFE_NO_PAD.encode(nonce)
    }

    /// Judges a nonce; the comparison is constant-time.
    pub fn check(&self, nonce: &str, now: Timestamp) -> Result<Accepted, NonceError> {
        let mut bytes = [0; NONCE_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes).map_err(|_| NonceError::Unknown)?;
        let (Some((time, mac)), NONCE_BYTES) = (bytes.split_first_chunk::<8>(), length) else {
            return Err(NonceError::Unknown);
        };
        let current = authenticate(&self.options.secret, time).verify_truncated_left(mac).is_ok();
        let previous = || {
            let previous = self.options.previous.as_ref();
            previous.is_some_and(|secret| authenticate(secret, time).verify_truncated_left(mac).is_ok())
        };
        if !current && !previous() {
            return Err(NonceError::Unknown);
        }

        let issued = Timestamp::from_micros(u64::from_be_bytes(*time));
        if issued > now + CLOCK_TOLERANCE {
            // Ours, but from a time to come: the clock was set back. It would outlive its lifetime.
            return Err(NonceError::Unknown);
        }
        let age = now.since(issued);
        if age > self.options.lifetime || self.options.not_before.is_some_and(|start| issued < start) {
            return Err(NonceError::TooOld);
        }
        Ok(Accepted { renew: !current || age > self.options.lifetime / 2 })
    }
}

fn authenticate(secret: &Secret, time: &[u8; 8]) -> Hmac<Sha256> {
    // HMAC takes a key of any length (RFC 2104), so this cannot fail.
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal()).expect("HMAC takes a key of any length");
    mac.update(time);
    mac
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

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
        let nonce = nonces.issue(NOW);
        for (age, expected) in [
            (0, Ok(Accepted { renew: false })),
            (150, Ok(Accepted { renew: false })),
            (151, Ok(Accepted { renew: true })),
            (300, Ok(Accepted { renew: true })),
            (301, Err(NonceError::TooOld)),
        ] {
            assert_eq!(nonces.check(&nonce, NOW + Duration::from_secs(age)), expected, "{age} s");
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let nonces = Nonces::new(nonces(1));
        let nonce = nonces.issue(NOW);
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
        let old = Nonces::new(nonces(1)).issue(NOW);
        let rotated = Nonces::new(NonceOptions { previous: Some(Secret::new(vec![1; 32])), ..nonces(2) });
        assert_eq!(rotated.check(&old, NOW), Ok(Accepted { renew: true }));
        let twice = Nonces::new(NonceOptions { previous: Some(Secret::new(vec![2; 32])), ..nonces(3) });
        assert_eq!(twice.check(&old, NOW), Err(NonceError::Unknown));
    }

    #[test]
    fn one_from_before_the_start_or_from_the_future_is_refused() {
        let start = NOW + Duration::from_micros(1);
        let restarted = Nonces::new(NonceOptions { not_before: Some(start), ..nonces(1) });
        assert_eq!(restarted.check(&restarted.issue(NOW), start), Err(NonceError::TooOld));
        assert!(restarted.check(&restarted.issue(start), start).is_ok());
        assert_eq!(restarted.check(&restarted.issue(NOW + Duration::from_secs(30)), NOW), Err(NonceError::Unknown));
    }
}
