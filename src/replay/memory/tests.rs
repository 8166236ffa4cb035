//! The memory store by its rules.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;
use crate::jose::Thumbprint;

const START: u64 = 1_800_000_000;
const LIFETIME: u64 = 60;

fn store(capacity: usize, floor: Option<u64>) -> MemoryStore {
    let options = MemoryOptions { capacity, proof_lifetime: Duration::from_secs(LIFETIME), floor };
    MemoryStore::new(options, IntGauge::new("entries", "entries").unwrap())
}

fn proof(key: u8, jti: u32, iat: u64) -> ProofId {
    ProofId::new(&Thumbprint::from_bytes([key; 32]), &jti.to_string(), iat, None)
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_secs(second)
}

#[test]
fn a_proof_is_granted_once_and_another_keys_jti_is_its_own() {
    let store = store(100, None);
    assert_eq!(store.claim(&proof(1, 1, START), at(START)), Ok(()));
    assert_eq!(store.claim(&proof(1, 1, START), at(START)), Err(ReplayError::Replayed));
    assert_eq!(store.claim(&proof(2, 1, START), at(START)), Ok(()));
    assert_eq!(store.claim(&proof(1, 2, START), at(START)), Ok(()));
    assert_eq!(store.claim(&proof(1, 2, START + 1), at(START)), Err(ReplayError::Replayed), "under another iat");
    assert_eq!(store.len(), 3);
}

#[test]
fn looking_spends_nothing() {
    let store = store(100, None);
    assert_eq!(store.check(&proof(1, 1, START), at(START)), Ok(()));
    assert_eq!(store.claim(&proof(1, 1, START), at(START)), Ok(()));
    assert_eq!(store.check(&proof(1, 1, START), at(START)), Err(ReplayError::Replayed));
}

#[test]
fn it_is_remembered_to_the_last_second_in_which_it_would_be_accepted_and_then_forgotten() {
    let store = store(100, None);
    store.claim(&proof(1, 1, START), at(START)).unwrap();
    assert_eq!(store.check(&proof(1, 1, START), at(START + LIFETIME)), Err(ReplayError::Replayed));
    assert_eq!(store.len(), 1);
    // Forgotten, and refused all the same: also when the clock is set back.
    assert_eq!(store.check(&proof(1, 1, START), at(START + LIFETIME + 1)), Err(ReplayError::BeforeFloor));
    assert_eq!(store.len(), 0);
    assert_eq!(store.claim(&proof(1, 1, START), at(START)), Err(ReplayError::BeforeFloor));
    assert_eq!(store.claim(&proof(1, 2, START + 1), at(START + 1)), Ok(()));
}

#[test]
fn days_of_a_steady_clock_are_no_matter() {
    let store = store(100, None);
    for hour in 0..200 {
        let (before, now) = (START + hour * 3_600 - 30, START + hour * 3_600);
        for iat in [before, now] {
            assert_eq!(store.claim(&proof(1, iat as u32, iat), at(now)), Ok(()), "hour {hour}");
            assert_eq!(store.claim(&proof(1, iat as u32, iat), at(now)), Err(ReplayError::Replayed), "hour {hour}");
        }
    }
}

#[test]
fn what_is_live_when_a_base_moves_is_still_known() {
    // Every shard counts from a base before START, and has to move it: up, as the hours pass, and down, as a clock is
    // set back by more than the room there is.
    for (claimed, moving) in [(START + 49_150, START + 49_190), (START, START - 20_000), (START, START - 40_000)] {
        let store = store(10_000, None);
        for jti in 0..1_000 {
            store.claim(&proof(1, jti, START), at(START)).unwrap();
        }
        for jti in 2_000..3_000 {
            store.claim(&proof(2, jti, claimed), at(claimed)).unwrap();
        }
        for jti in 4_000..5_000 {
            assert_eq!(store.claim(&proof(3, jti, moving), at(moving)), Ok(()), "{jti} to {moving}");
        }
        for jti in 0..1_000 {
            let now = at(claimed.max(moving));
            assert_eq!(
                store.claim(&proof(2, 2_000 + jti, claimed), now),
                Err(ReplayError::Replayed),
                "{jti}, {moving}"
            );
            if moving > claimed || claimed == START {
                let again = store.claim(&proof(3, 4_000 + jti, moving), at(moving));
                assert!(matches!(again, Err(ReplayError::Replayed | ReplayError::BeforeFloor)), "{jti}: {again:?}");
            }
        }
        let live: usize = store.shards.iter().map(|shard| lock(shard).tags().count()).sum();
        assert_eq!((store.len(), store.entries.get()), (live, i64::try_from(live).unwrap()), "to {moving}");
    }
}

#[test]
fn set_back_by_a_day_it_refuses_what_it_cannot_keep_beside_the_live_ones_and_forgets_none_of_them() {
    let store = store(10_000, None);
    let day = 86_400;
    for jti in 0..1_000 {
        store.claim(&proof(1, jti, START), at(START)).unwrap();
    }
    for jti in 1_000..2_000 {
        let claim = store.claim(&proof(1, jti, START - day), at(START - day));
        assert_eq!(claim, Err(ReplayError::BeforeFloor));
    }
    for jti in 0..1_000 {
        assert_eq!(store.claim(&proof(1, jti, START), at(START)), Err(ReplayError::Replayed));
    }
    // An hour back is kept beside them.
    assert_eq!(store.claim(&proof(1, 5_000, START - 3_600), at(START - 3_600)), Ok(()));
    assert_eq!(store.claim(&proof(1, 5_000, START - 3_600), at(START - 3_600)), Err(ReplayError::Replayed));
}

#[test]
fn what_is_dated_before_the_start_is_refused() {
    let store = store(100, Some(START));
    assert_eq!(store.claim(&proof(1, 1, START), at(START)), Err(ReplayError::BeforeFloor));
    assert_eq!(store.claim(&proof(1, 1, START + 1), at(START)), Ok(()));
}

#[test]
fn full_it_forgets_from_the_oldest_on_and_refuses_what_is_as_old() {
    let store = store(20, None);
    let now = at(START + 10);
    for key in 0..20 {
        store.claim(&proof(key, 0, START + u64::from(key) / 4), now).unwrap();
    }
    assert_eq!(store.claim(&proof(100, 0, START + 10), now), Ok(()));
    assert_eq!(store.len(), 17, "the oldest second went whole");
    assert_eq!(store.claim(&proof(0, 0, START), now), Err(ReplayError::BeforeFloor));
    assert_eq!(store.claim(&proof(101, 0, START), now), Err(ReplayError::BeforeFloor));
    assert_eq!(store.claim(&proof(4, 0, START + 1), now), Err(ReplayError::Replayed));
}

#[test]
fn full_of_fresh_proofs_it_says_so_rather_than_shrink_the_window_under_two_seconds() {
    let store = store(20, None);
    for key in 0..20 {
        store.claim(&proof(key, 0, START), at(START)).unwrap();
    }
    assert!(matches!(store.claim(&proof(100, 0, START), at(START)), Err(ReplayError::Full(_))));
    assert!(matches!(store.claim(&proof(100, 0, START + 1), at(START + 1)), Err(ReplayError::Full(_))));
    assert_eq!(store.claim(&proof(100, 0, START + 2), at(START + 2)), Ok(()));
}

#[test]
fn full_it_refuses_first_who_holds_more_than_a_tenth() {
    let store = store(20, None);
    for jti in 0..3 {
        store.claim(&proof(200, jti, START + 5), at(START + 5)).unwrap();
    }
    for key in 0..17 {
        store.claim(&proof(key, 0, START), at(START + 5)).unwrap();
    }
    assert!(matches!(store.claim(&proof(200, 9, START + 5), at(START + 5)), Err(ReplayError::KeyQuota(_))));
    assert_eq!(store.claim(&proof(201, 0, START + 5), at(START + 5)), Ok(()), "others are not pressed out");
    assert_eq!(store.claim(&proof(200, 9, START + 5), at(START + 5)), Ok(()), "no longer full");
}

#[test]
fn a_key_that_dates_its_proofs_ahead_makes_room_for_the_others_and_is_refused_itself() {
    let store = store(100, None);
    let now = at(START);
    for jti in 0..100 {
        store.claim(&proof(200, jti, START + 15), now).unwrap();
    }
    assert!(matches!(store.claim(&proof(200, 200, START), now), Err(ReplayError::KeyQuota(_))));
    for key in 0..60 {
        assert_eq!(store.claim(&proof(key, 0, START), now), Ok(()), "pressed out");
    }
    assert_eq!(store.len(), 60);
    // What it was made to forget of that key it refuses, until the last of it is past.
    for (jti, iat) in [(0, START + 15), (99, START + 15), (300, START), (301, START + 15)] {
        let refused = store.claim(&proof(200, jti, iat), at(START + 10));
        assert_eq!(refused, Err(ReplayError::KeyQuota(Duration::from_secs(6))));
    }
    assert_eq!(store.claim(&proof(200, 302, START + 16), at(START + 16)), Ok(()));
    assert!(store.claim(&proof(200, 1, START + 15), at(START + 16)).is_err());
}

#[test]
fn another_capacity_forgets_nothing() {
    let store = store(100, None);
    for key in 0..100 {
        store.claim(&proof(key, 0, START), at(START)).unwrap();
    }
    for capacity in [100_000, 100, 10] {
        let lifetime = Duration::from_secs(LIFETIME);
        store.reconfigure(MemoryOptions { capacity, proof_lifetime: lifetime, floor: None });
        for key in 0..100 {
            assert_eq!(store.claim(&proof(key, 0, START), at(START)), Err(ReplayError::Replayed), "{capacity}");
        }
    }
    assert!(matches!(store.claim(&proof(101, 0, START), at(START)), Err(ReplayError::Full(_))));
    assert_eq!(store.claim(&proof(101, 0, START + 3), at(START + 3)), Ok(()));
    assert_eq!(store.len(), 1);
}

#[test]
fn exactly_one_of_many_simultaneous_claims_is_granted() {
    let store = Arc::new(store(100_000, None));
    for jti in 0..50 {
        let barrier = Arc::new(std::sync::Barrier::new(8));
        let threads = (0..8).map(|_| {
            let (store, barrier) = (Arc::clone(&store), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                store.claim(&proof(1, jti, START), at(START)).is_ok()
            })
        });
        let threads: Vec<_> = threads.collect();
        assert_eq!(threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|won| *won).count(), 1);
    }
}

/// All sequences of seven small steps against a store of two, with a clock that steps both ways and restarts.
#[test]
fn no_short_sequence_grants_a_proof_twice() {
    const LENGTH: u32 = 6;
    const STEPS: usize = 7;
    let mut granted_in_all = 0;
    for number in 0..STEPS.pow(LENGTH) {
        let options = MemoryOptions { capacity: 2, proof_lifetime: Duration::from_secs(2), floor: None };
        let mut store = MemoryStore::new(options, IntGauge::new("entries", "entries").unwrap());
        let (mut now, mut latest) = (START, START);
        let mut granted = HashSet::new();
        for place in 0..LENGTH {
            match number / STEPS.pow(place) % STEPS {
                // Three proofs: of now, of a second ago, and one whose date no step moves.
                which @ 0..3 => {
                    let iat = [now, now - 1, START + 1][which];
                    // As the checklist does; without nonces, none from the future after a restart.
                    if iat <= now && iat + 2 >= now && store.claim(&proof(which as u8, 0, iat), at(now)).is_ok() {
                        assert!(granted.insert((which, iat)), "{number}: proof {which} of {iat} was granted twice");
                        granted_in_all += 1;
                    }
                }
                3 => now += 1,
                4 => now += 3,
                5 => now -= 2,
                _ => {
                    // A clock that is behind at the restart is more than a floor by the clock can cover.
                    now = latest;
                    let restarted = MemoryOptions { floor: Some(now), ..options };
                    store = MemoryStore::new(restarted, IntGauge::new("entries", "entries").unwrap());
                }
            }
            latest = latest.max(now);
        }
    }
    assert!(granted_in_all > 100_000, "only {granted_in_all}");
}

#[test]
fn threads_that_claim_expire_and_press_each_other_grant_nothing_twice_and_count_right() {
    const PROOFS: u32 = 4_000;
    let store = Arc::new(store(500, None));
    let granted: Arc<Vec<AtomicUsize>> = Arc::new((0..PROOFS).map(|_| AtomicUsize::new(0)).collect());
    let threads = (0..4).map(|thread| {
        let (store, granted) = (Arc::clone(&store), Arc::clone(&granted));
        std::thread::spawn(move || {
            for jti in 0..PROOFS {
                // Each thread's clock is off by another second, and all go on.
                let second = START + u64::from(jti) / 50;
                let claim = proof((jti % 20) as u8, jti, second);
                if store.claim(&claim, at(second + thread % 2)).is_ok() {
                    granted[jti as usize].fetch_add(1, Ordering::Relaxed);
                }
                assert!(store.len() <= 500);
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    assert!(granted.iter().all(|times| times.load(Ordering::Relaxed) <= 1));
    assert!(granted.iter().filter(|times| times.load(Ordering::Relaxed) == 1).count() > 1_000);
    let live: usize = store.shards.iter().map(|shard| lock(shard).tags().count()).sum();
    assert_eq!((store.len(), store.entries.get()), (live, i64::try_from(live).unwrap()));
    store.expire(at(START + 10_000));
    assert_eq!((store.len(), store.entries.get()), (0, 0));
}

/// Mostly seconds; now and then what no slot can tell apart, in either direction.
fn step() -> impl Strategy<Value = i64> {
    prop_oneof![30 => -40_i64..40, 1 => -70_000_i64..70_000]
}

proptest! {
    /// Whatever the clock, the pressure and the order: nothing is granted twice, the count is right, and a grant
    /// is refused only for a reason that holds.
    #[test]
    fn nothing_is_ever_granted_twice(
        capacity in 1_usize..12,
        steps in prop::collection::vec((0_u8..6, 0_u32..4, -70_i64..16, step()), 1..200),
    ) {
        let store = store(capacity, None);
        let mut granted = HashSet::new();
        let mut now = START;
        for (key, jti, age, step) in steps {
            now = now.saturating_add_signed(step);
            let iat = now.saturating_add_signed(age);
            let fresh = age >= -60;
            let claim = proof(key, jti, iat);
            match store.claim(&claim, at(now)) {
                // The checklist refuses stale ones before the store is asked; a grant of one is no harm.
                Ok(()) if fresh => prop_assert!(granted.insert((key, jti, iat)), "granted twice"),
                Ok(()) => { granted.insert((key, jti, iat)); }
                Err(ReplayError::Replayed) => {
                    prop_assert!(granted.iter().any(|(k, j, _)| (*k, *j) == (key, jti)));
                }
                Err(ReplayError::KeyQuota(wait) | ReplayError::Full(wait)) => {
                    prop_assert!(wait >= Duration::from_secs(1));
                }
                Err(ReplayError::BeforeFloor) => {}
                Err(other) => prop_assert!(false, "{other}"),
            }
            prop_assert!(store.len() <= capacity);
        }
    }
}
