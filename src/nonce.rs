//! Stateless nonces (RFC 9449 sections 8 and 9; design section 3).
//!
//! A nonce is its issue time, whose memory it is for (the process that issued it, or a [`Life`] of the store that
//! replicas share), and a truncated HMAC-SHA-256 over both. Any process with the secret can check one; nothing is
//! stored, so a flood of challenges costs no memory, and any number of a client's requests may carry the same one.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::jose::{decode_fixed, encode_32};
use crate::secret::Secret;

/// Of these, the last [`MAC_BYTES`] authenticate the others.
const NONCE_BYTES: usize = 32;
const TIME_BYTES: usize = 8;
/// Random at each start of a process or a store: no two are likely to share it.
const MEMORY_BYTES: usize = 8;
const MAC_BYTES: usize = NONCE_BYTES - TIME_BYTES - MEMORY_BYTES;
/// A nonce from a replica whose clock is a little ahead is taken.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);
/// So long the same one is issued to whoever asks: a flood of challenges costs no MAC each. A hundredth of the shortest
/// lifetime that can be configured.
const SHARED_FOR: Duration = Duration::from_millis(10);

/// How nonces are made and judged.
#[derive(Debug, Clone)]
pub struct NonceOptions {
    /// How long one is taken after it was issued.
    pub lifetime: Duration,
    /// What new ones are made with: 32 bytes or more.
    pub secret: Secret,
    /// What is still taken, while secrets rotate.
    pub previous: Option<Secret>,
    /// Who issues: random at each start, and kept for as long as the process runs.
    pub process: ProcessTag,
    /// Nonces that another process issued before this are refused: set where the replay store does not remember what
    /// was spent before the start. What this process issued is after its start whatever the clock says.
    pub others_not_before: Option<Timestamp>,
}

/// Tells a process from the one that ran before it with the same secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessTag(pub [u8; MEMORY_BYTES]);

/// One life of a store that replicas share: as long as it has forgotten nothing. A proof whose nonce is from another
/// life is refused, since the store cannot know what was spent then; no clock has a part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Life(u64);

impl Life {
    /// While a shared store cannot be reached and each process decides by itself.
    pub const FALLBACK: Self = Self(u64::MAX);

    /// Of a shared store, by its random number; `None` for the two that mean something else.
    pub const fn shared(number: u64) -> Option<Self> {
        if number == 0 || number == Self::FALLBACK.0 { None } else { Some(Self(number)) }
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Issues and checks nonces.
#[derive(Debug, Clone)]
pub struct Nonces {
    /// Unlike that of all others in this process.
    number: u64,
    lifetime: Duration,
    current: Authority,
    previous: Option<Authority>,
    process: ProcessTag,
    others_not_before: Option<Timestamp>,
}

/// The nonce that a thread issued last.
struct Issued {
    /// By whom.
    number: u64,
    at: Timestamp,
    memory: [u8; MEMORY_BYTES],
    text: String,
}

thread_local! {
    /// Without a lock between the event loops.
    static LAST: RefCell<Option<Issued>> = const { RefCell::new(None) };
}

/// A secret, as HMAC begins with it: half of the work is done once.
#[derive(Clone)]
struct Authority(Hmac<Sha256>);

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
    /// The shared store's life at that time; of a process' own memory, a number that no store has.
    pub life: Life,
}

impl Nonces {
    /// Takes the options as they are; `config` has checked them.
    #[allow(clippy::needless_pass_by_value, reason = "the secrets are handed over, and wiped")]
    pub fn new(options: NonceOptions) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            lifetime: options.lifetime,
            current: Authority::new(&options.secret),
            previous: options.previous.as_ref().map(Authority::new),
            process: options.process,
            others_not_before: options.others_not_before,
        }
    }

    /// How long one is taken after it was issued.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Whether the secret before the current one is still taken.
    pub fn is_rotating(&self) -> bool {
        self.previous.is_some()
    }

    /// A fresh nonce; for this process' own memory, or for a life of the shared store.
    pub fn issue(&self, now: Timestamp, life: Option<Life>) -> String {
        let memory = life.map_or(self.process.0, |life| life.0.to_be_bytes());
        LAST.with_borrow_mut(|last| {
            if let Some(last) = last
                && (last.number, last.memory) == (self.number, memory)
                && (last.at..last.at + SHARED_FOR).contains(&now)
            {
                return last.text.clone();
            }
            let text = self.make(now, memory);
            *last = Some(Issued { number: self.number, at: now, memory, text: text.clone() });
            text
        })
    }

    fn make(&self, now: Timestamp, memory: [u8; MEMORY_BYTES]) -> String {
        let time = now.as_micros().to_be_bytes();
        let mac = self.current.over(&time, &memory).finalize().into_bytes();
        let mut nonce = [0; NONCE_BYTES];
        let (to_time, to_rest) = nonce.split_at_mut(TIME_BYTES);
        let (to_memory, to_mac) = to_rest.split_at_mut(MEMORY_BYTES);
        to_time.copy_from_slice(&time);
        to_memory.copy_from_slice(&memory);
        to_mac.copy_from_slice(mac.split_at(MAC_BYTES).0);
        // Base64url is text.
        std::str::from_utf8(&encode_32(&nonce)).unwrap_or_default().to_owned()
    }

    /// Judges a nonce; the comparison is constant-time. Which life of a shared store it is from is for the store to
    /// judge.
    pub fn check(&self, nonce: &str, now: Timestamp) -> Result<Accepted, NonceError> {
        let bytes = decode_fixed(nonce).ok_or(NonceError::Unknown)?;
        let Some((time, (memory, mac))) = parts(&bytes) else { return Err(NonceError::Unknown) };
        let fits = |authority: &Authority| authority.over(time, memory).verify_truncated_left(mac).is_ok();
        let current = fits(&self.current);
        let previous = || self.previous.as_ref().is_some_and(fits);
        if !current && !previous() {
            return Err(NonceError::Unknown);
        }

        let issued = Timestamp::from_micros(u64::from_be_bytes(*time));
        if issued > now + CLOCK_TOLERANCE {
            // Ours, but from a time to come: the clock was set back. It would outlive its lifetime.
            return Err(NonceError::Unknown);
        }
        let age = now.since(issued);
        let anothers = ProcessTag(*memory) != self.process;
        let forgotten = anothers && self.others_not_before.is_some_and(|start| issued < start);
        if age > self.lifetime || forgotten {
            return Err(NonceError::TooOld);
        }
        let life = Life(u64::from_be_bytes(*memory));
        Ok(Accepted { renew: !current || age > self.lifetime / 2, issued, life })
    }
}

type Parts<'a> = (&'a [u8; TIME_BYTES], (&'a [u8; MEMORY_BYTES], &'a [u8; MAC_BYTES]));

fn parts(nonce: &[u8; NONCE_BYTES]) -> Option<Parts<'_>> {
    let (time, rest) = nonce.split_first_chunk()?;
    let (memory, mac) = rest.split_first_chunk()?;
    Some((time, (memory, mac.try_into().ok()?)))
}

impl Authority {
    fn new(secret: &Secret) -> Self {
        // HMAC takes a key of any length (RFC 2104), so this cannot fail.
        #[allow(clippy::expect_used)]
        let begun = Hmac::new_from_slice(secret.reveal()).expect("HMAC takes a key of any length");
        Self(begun)
    }

    fn over(&self, time: &[u8; TIME_BYTES], memory: &[u8; MEMORY_BYTES]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(time);
        mac.update(memory);
        mac
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(..)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn accepted(renew: bool) -> Accepted {
        Accepted { renew, issued: NOW, life: Life(u64::from_be_bytes([7; 8])) }
    }

    #[test]
    fn a_life_is_carried_and_the_two_that_are_none_are_not_made() {
        let nonces = Nonces::new(nonces(1));
        let life = Life::shared(42).unwrap();
        assert_eq!(nonces.check(&nonces.issue(NOW, Some(life)), NOW).unwrap().life, life);
        assert_eq!((Life::shared(0), Life::shared(u64::MAX)), (None, None));
    }

    fn nonces(secret: u8) -> NonceOptions {
        NonceOptions {
            lifetime: Duration::from_secs(300),
            secret: Secret::new(vec![secret; 32]),
            previous: None,
            process: ProcessTag([7; 8]),
            others_not_before: None,
        }
    }

    #[test]
    fn lives_to_the_end_of_its_lifetime_and_asks_for_renewal_past_half() {
        let nonces = Nonces::new(nonces(1));
        let nonce = nonces.issue(NOW, None);
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
        let nonce = nonces.issue(NOW, None);
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
    fn who_asks_within_a_hundredth_of_a_second_gets_the_same_one_and_nobody_elses() {
        let (ours, others) = (Nonces::new(nonces(1)), Nonces::new(nonces(2)));
        let first = ours.issue(NOW, None);
        assert_eq!(ours.issue(NOW + Duration::from_micros(9_999), None), first);
        let later = ours.issue(NOW + SHARED_FOR, None);
        assert_ne!(later, first);
        assert_eq!(ours.issue(NOW, None), first, "the clock was set back: by that of now it would be from the future");
        let of_a_life = ours.issue(NOW, Life::shared(1));
        assert_ne!(of_a_life, first);
        assert_ne!(ours.issue(NOW, Life::shared(2)), of_a_life);
        assert_eq!(others.check(&others.issue(NOW, None), NOW), Ok(accepted(false)), "of its own secret");
        assert!(others.check(&ours.issue(NOW, None), NOW).is_err());
    }

    #[test]
    fn the_previous_secret_is_taken_and_renewed_and_the_one_before_is_not() {
        let old = Nonces::new(nonces(1)).issue(NOW, None);
        let rotated = Nonces::new(NonceOptions { previous: Some(Secret::new(vec![1; 32])), ..nonces(2) });
        assert_eq!(rotated.check(&old, NOW), Ok(accepted(true)));
        let twice = Nonces::new(NonceOptions { previous: Some(Secret::new(vec![2; 32])), ..nonces(3) });
        assert_eq!(twice.check(&old, NOW), Err(NonceError::Unknown));
    }

    #[test]
    fn one_of_another_process_from_before_the_start_is_refused_and_so_is_one_from_the_future() {
        let start = NOW + SHARED_FOR;
        let before = Nonces::new(NonceOptions { process: ProcessTag([8; 8]), ..nonces(1) });
        let restarted = Nonces::new(NonceOptions { others_not_before: Some(start), ..nonces(1) });
        assert_eq!(restarted.check(&before.issue(NOW, None), start), Err(NonceError::TooOld));
        assert!(restarted.check(&before.issue(start, None), start).is_ok(), "another replica's");
        assert_eq!(
            restarted.check(&restarted.issue(NOW + Duration::from_secs(30), None), NOW),
            Err(NonceError::Unknown)
        );
    }

    /// Started while the clock was ahead: once it is right, what is issued seems to be from before the start.
    #[test]
    fn a_clock_that_is_put_right_after_the_start_shuts_nobody_out() {
        let start = NOW + Duration::from_secs(120);
        let nonces = Nonces::new(NonceOptions { others_not_before: Some(start), ..nonces(1) });
        assert!(nonces.check(&nonces.issue(NOW, None), NOW).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_is_taken_but_our_own(text in "[A-Za-z0-9_=-]{0,60}|\\PC{0,60}", bytes in any::<[u8; NONCE_BYTES]>()) {
            let nonces = Nonces::new(nonces(1));
            for foreign in [text, URL_SAFE_NO_PAD.encode(bytes)] {
                prop_assert_eq!(nonces.check(&foreign, NOW), Err(NonceError::Unknown));
            }
        }
    }
}
