//! What happens to it, in which order, and what must come of it.

use proptest::prelude::*;

use super::*;

/// Without nonces the store's own clock has to be right: `iat` is all there is.
fn needs_nonces(step: &Step) -> bool {
    matches!(step, Step::Clock(None, _))
}

/// Every sequence of so many steps between a proof and a replay of it; how many proofs were granted.
fn every_sequence(with_nonces: bool, depth: u32) -> usize {
    let allowed: Vec<Step> = STEPS.into_iter().filter(|step| with_nonces || !needs_nonces(step)).collect();
    let mut granted = 0;
    for (first, last) in [(Step::Sign(0, 0), Step::Again(1, false)), (Step::Sign(1, SKEW), Step::Again(0, false))] {
        for number in 0..allowed.len().pow(depth) {
            let between = (0..depth).map(|place| allowed[number / allowed.len().pow(place) % allowed.len()]);
            // Without nonces nothing is granted until the skew after the store's start is over.
            let wait = (!with_nonces).then_some(Step::Wait(SKEW + 3));
            let steps: Vec<Step> = wait.into_iter().chain([first]).chain(between).chain([last]).collect();
            let world = run(with_nonces, OnUnavailable::Reject, &steps);
            assert_eq!(world.twice(), (0, 0), "nonces: {with_nonces} {steps:?} {:?}", world.proofs);
            granted += world.proofs.iter().map(|proof| proof.granted.len()).sum::<usize>();
        }
    }
    granted
}

#[test]
fn no_short_sequence_grants_a_proof_twice() {
    for with_nonces in [true, false] {
        let granted = every_sequence(with_nonces, 2);
        assert!(granted > 400, "only {granted} were granted: the model refuses too much to show anything");
    }
}

/// `tests/faults` asks for this one.
#[test]
#[ignore = "takes a minute"]
fn no_longer_sequence_grants_a_proof_twice() {
    for with_nonces in [true, false] {
        every_sequence(with_nonces, 3);
    }
}

#[test]
fn a_flush_between_two_claims_and_a_replica_that_is_behind_are_what_the_model_can_do() {
    let lost = [Step::Copy, Step::Sign(0, 0), Step::FailOver];
    let world = run(true, OnUnavailable::Reject, &lost);
    assert_eq!(world.proofs[0].granted, [0]);
    assert!(!world.server.data().keys.keys().any(|key| key.len() == 34), "the proof is lost");
    let world = run(true, OnUnavailable::Reject, &[Step::Sign(0, 0), Step::Flush, Step::Sign(1, 0), Step::Sign(1, 0)]);
    let granted: Vec<usize> = world.proofs.iter().map(|proof| proof.granted.len()).collect();
    assert_eq!(granted, [1, 1, 1], "an honest client goes on: the keeper has heard of the new life");
}

#[test]
fn what_a_clock_forgot_that_was_ahead_for_a_while_is_refused() {
    for with_nonces in [true, false] {
        let mut steps = vec![Step::Wait(SKEW + 3), Step::Sign(0, 0), Step::Wait(40), Step::Clock(None, 30)];
        steps.extend([Step::Clock(None, 0), Step::Again(1, false)]);
        let world = run(with_nonces, OnUnavailable::Reject, &steps);
        assert_eq!(world.proofs[0].granted, [0], "nonces: {with_nonces}");
    }
}

/// All gates are cut off meanwhile; the same when it is only just enough; or the gates have seen it and are restarted.
#[test]
fn what_a_clock_forgot_that_was_ahead_while_no_gate_looked_is_refused() {
    let unseen = [Step::Leave, Step::Clock(None, 90), Step::Clock(None, 0), Step::Return];
    let short = [Step::Wait(50), Step::Leave, Step::Clock(None, 14), Step::Clock(None, 0), Step::Return];
    let seen: Vec<Step> = (1..=9).map(|tens| Step::Clock(None, tens * 10)).collect();
    let restarted = [Step::Leave, Step::RestartGate(0), Step::RestartGate(1), Step::Clock(None, 0), Step::Return];
    for between in [&unseen[..], &short, &[&seen[..], &restarted].concat()] {
        for with_nonces in [true, false] {
            let steps = [&[Step::Wait(SKEW + 3), Step::Sign(0, 0)], between, &[Step::RestartGate(0)]].concat();
            for gate in [0, 1] {
                let world = run(with_nonces, OnUnavailable::Reject, &[&steps[..], &[Step::Again(gate, true)]].concat());
                assert_eq!(world.proofs[0].granted, [0], "nonces: {with_nonces} {steps:?}");
            }
        }
    }
}

#[test]
fn gates_with_different_terms_are_of_one_life_and_keep_proofs_for_the_longest() {
    for with_nonces in [true, false] {
        let mixed = [Step::Lifetime(1, 300), Step::Wait(SKEW + 3), Step::Sign(0, 0), Step::Sign(1, 0)];
        let later = [Step::Wait(100), Step::Again(1, false), Step::Lifetime(1, 60), Step::Sign(1, 0), Step::Sign(0, 0)];
        let world = run(with_nonces, OnUnavailable::Reject, &[&mixed[..], &later].concat());
        let granted: Vec<_> = world.proofs.iter().map(|proof| proof.granted.clone()).collect();
        assert_eq!(granted, [[0], [1], [1], [0]], "nonces: {with_nonces}");
    }
}

/// A client has a nonce of that gate before the other has looked again.
#[test]
fn what_a_gate_that_came_just_now_would_take_for_longer_than_it_is_kept_is_refused() {
    for lifetime in [LIFETIME, 300] {
        runtime().block_on(async {
            let mut world = World::new(true, OnUnavailable::Reject);
            world.step(Step::Flush).await;
            world.gates[1] = world.gate(lifetime);
            sleep(Duration::from_millis(5)).await;
            for jti in [0, 1] {
                let nonces = world.nonces.as_ref().unwrap();
                let nonce = Some(nonces.issue(Timestamp::from_secs(world.now), world.gates[1].store.life()));
                world.proofs.push(Proof { jti, iat: world.now, nonce, granted: Vec::new() });
                world.send(0, world.proofs.len() - 1).await;
            }
            let granted: Vec<_> = world.proofs.iter().map(|proof| proof.granted.len()).collect();
            assert_eq!(granted, if lifetime == LIFETIME { [1, 1] } else { [0, 1] });
        });
    }
}

/// Data is lost, and a gate that takes proofs for less long claims before the other has looked.
#[test]
fn a_life_of_shorter_terms_is_none_for_a_gate_with_longer_ones() {
    for lifetime in [LIFETIME, 300] {
        runtime().block_on(async {
            let mut world = World::new(true, OnUnavailable::Reject);
            world.step(Step::Lifetime(1, lifetime)).await;
            // Between two looks.
            sleep(Duration::from_millis(5)).await;
            world.server.data().keys.clear();
            // The second has a nonce of the life that the first has begun, and so has the third, at the other gate.
            world.sign(0, 0).await;
            world.sign(0, 0).await;
            let nonce = world.proofs[1].nonce.clone();
            world.proofs.push(Proof { jti: 2, iat: world.now, nonce, granted: Vec::new() });
            world.send(1, 2).await;
            world.step(Step::Sign(1, 0)).await;
            let granted: Vec<_> = world.proofs.iter().map(|proof| proof.granted.len()).collect();
            assert_eq!(granted, [0, 1, usize::from(lifetime == LIFETIME), 1], "{lifetime}");
        });
    }
}

#[test]
fn a_clock_that_is_set_back_begins_one_life_however_many_gates_see_it() {
    for with_nonces in [true, false] {
        let before = run(with_nonces, OnUnavailable::Reject, &[Step::Wait(SKEW + 3)]).server.data().lives;
        let world = run(with_nonces, OnUnavailable::Reject, &[Step::Wait(SKEW + 3), Step::Clock(None, -30)]);
        assert_eq!(world.server.data().lives, before + 1);
        let world = run(with_nonces, OnUnavailable::Reject, &[Step::Wait(SKEW + 3), Step::Clock(None, -5)]);
        assert_eq!(world.server.data().lives, before + 1, "by less than the script can see");
    }
}

#[test]
fn a_life_that_was_to_end_and_could_not_ends_when_it_can() {
    for with_nonces in [true, false] {
        let set_back = [Step::Wait(SKEW + 3), Step::Sign(0, 0), Step::Full(true), Step::Clock(None, -5)];
        // The clock has caught up before there is room again.
        let mended = [Step::Wait(5), Step::Full(false), Step::Wait(SKEW + 7), Step::Sign(0, 0), Step::Sign(1, 0)];
        let world = run(with_nonces, OnUnavailable::Reject, &[&set_back[..], &mended].concat());
        let granted: Vec<usize> = world.proofs.iter().map(|proof| proof.granted.len()).collect();
        assert_eq!(granted, [1, 1, 1], "nonces: {with_nonces}");
    }
}

#[test]
fn what_was_granted_without_the_store_is_known_to_it_even_where_the_first_attempt_to_say_so_hangs() {
    let away = [Step::Wait(SKEW + 3), Step::Leave, Step::Wait(2), Step::Sign(0, 0)];
    let hung = [Step::Stuck(true), Step::Return, Step::Stuck(false), Step::Again(1, false), Step::Again(0, false)];
    let world = run(false, OnUnavailable::Memory, &[&away[..], &hung].concat());
    assert_eq!(world.proofs[0].granted, [0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_long_sequence_grants_a_proof_twice(steps in prop::collection::vec(0..STEPS.len(), 1..60)) {
        let steps: Vec<Step> = steps.into_iter().map(|index| STEPS[index]).collect();
        let world = run(true, OnUnavailable::Reject, &steps);
        prop_assert_eq!(world.twice(), (0, 0), "{:?}", world.proofs);
        let without: Vec<Step> = steps.iter().copied().filter(|step| !needs_nonces(step)).collect();
        let world = run(false, OnUnavailable::Reject, &without);
        prop_assert_eq!(world.twice(), (0, 0), "without nonces: {:?}", world.proofs);
    }

    /// Where memory may stand in: never twice by the same gate, whatever restarts; the clocks may not be wrong then.
    #[test]
    fn standing_in_no_gate_grants_a_proof_twice(steps in prop::collection::vec(0..STEPS.len(), 1..60)) {
        let steps: Vec<Step> = steps.into_iter().map(|index| STEPS[index]).collect();
        let steps: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Clock(..))).collect();
        let world = run(true, OnUnavailable::Memory, &steps);
        prop_assert_eq!(world.twice().1, 0, "{:?}", world.proofs);
    }
}
