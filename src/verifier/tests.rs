//! Who gets a table, with real keys and signatures; tables are there as soon as they are due, unless a test says
//! otherwise.
#![allow(clippy::unwrap_used)]

use std::sync::mpsc::sync_channel;
use std::thread;

use serde_json::Value;

use super::*;
use crate::jose::{PrivateKey, StrictValue};
use crate::metrics::Metrics;

const MESSAGE: &[u8] = b"a proof";

fn metrics() -> KeyTableMetrics {
    Metrics::new().unwrap().key_tables
}

fn verifier(entries: usize, after: u32) -> Verifier {
    Verifier::building_at_once(Options { entries, after }, metrics())
}

fn key(algorithm: Algorithm) -> (PublicKey, Vec<u8>) {
    let key = PrivateKey::generate(algorithm).unwrap();
    let signature = key.sign(MESSAGE).unwrap();
    (key.public().clone(), signature)
}

/// Tables made, checks by table, checks without.
fn counts(verifier: &Verifier) -> (u64, u64, u64) {
    let (by_curve, by_library) = without_table(verifier);
    (verifier.metrics.built.get(), verifier.metrics.by_table.get(), by_curve + by_library)
}

/// Checks without a table: by the curve's arithmetic, and by the library.
fn without_table(verifier: &Verifier) -> (u64, u64) {
    (verifier.metrics.by_curve.get(), verifier.metrics.by_library.get())
}

#[test]
fn the_first_check_is_the_librarys_and_those_of_other_strangers_are_the_curves() {
    let verifier = verifier(10, 100);
    for number in 0..5 {
        let (key, signature) = key(Algorithm::Es256);
        assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
        assert_eq!(without_table(&verifier), (number * 7, 1));
        assert!(!verifier.verify(&key, Algorithm::Es256, b"another", &signature));
        for wrong in [signature.get(1..).unwrap(), &[0; 64], &[1; 64], &[]] {
            assert!(!verifier.verify(&key, Algorithm::Es256, MESSAGE, wrong));
        }
        assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
    }
}

#[test]
fn a_key_gets_its_table_with_the_signature_that_is_asked_for() {
    let (verifier, (key, signature)) = (verifier(10, 3), key(Algorithm::Es256));
    let check = || assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
    check();
    check();
    assert_eq!(counts(&verifier), (0, 0, 2));
    check();
    assert_eq!(counts(&verifier), (1, 0, 3));
    check();
    check();
    assert_eq!(counts(&verifier), (1, 2, 3));
    assert_eq!(verifier.metrics.held.get(), 1);
}

#[test]
fn signatures_that_are_wrong_count_for_nothing() {
    let (verifier, (key, signature)) = (verifier(10, 1), key(Algorithm::Es256));
    for _ in 0..10 {
        assert!(!verifier.verify(&key, Algorithm::Es256, b"another", &signature));
        assert!(!verifier.verify(&key, Algorithm::Es256, MESSAGE, &[1; 64]));
    }
    assert_eq!(counts(&verifier), (0, 0, 20));
}

#[test]
fn a_wrong_signature_under_a_known_key_is_refused_by_the_table() {
    let (verifier, (key, signature)) = (verifier(10, 1), key(Algorithm::Es256));
    assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
    for wrong in [signature.get(1..).unwrap(), &[0; 64], &[1; 64], &[]] {
        assert!(!verifier.verify(&key, Algorithm::Es256, MESSAGE, wrong));
    }
    assert!(!verifier.verify(&key, Algorithm::Es256, b"another", &signature));
    assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
    assert_eq!(counts(&verifier), (1, 6, 1));
}

#[test]
fn a_table_answers_for_its_own_key_only() {
    let (verifier, (key, signature), (other, _)) = (verifier(10, 1), key(Algorithm::Es256), key(Algorithm::Es256));
    assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
    assert!(!verifier.verify(&other, Algorithm::Es256, MESSAGE, &signature));
    assert_eq!(counts(&verifier), (1, 0, 2));
}

#[test]
fn a_key_is_for_what_its_own_alg_says_with_a_table_or_without() {
    let (key, signature) = key(Algorithm::Es256);
    let mut jwk = key.to_jwk();
    jwk.as_object_mut().unwrap().insert("alg".to_owned(), Value::from("ES256"));
    let same = PublicKey::from_jwk(&StrictValue::from_value(jwk)).unwrap();
    let verifier = verifier(10, 1);
    assert!(verifier.verify(&same, Algorithm::Es256, MESSAGE, &signature));
    assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
    for other in Algorithm::ALL.into_iter().filter(|other| *other != Algorithm::Es256) {
        assert!(!verifier.verify(&key, other, MESSAGE, &signature), "{other:?}");
    }
}

#[test]
fn other_algorithms_are_the_librarys() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es384, Algorithm::Rs256, Algorithm::Ps256] {
        let (verifier, (key, signature)) = (verifier(10, 1), key(algorithm));
        for _ in 0..3 {
            assert!(verifier.verify(&key, algorithm, MESSAGE, &signature));
        }
        assert_eq!((counts(&verifier), without_table(&verifier)), ((0, 0, 3), (0, 3)), "{algorithm:?}");
    }
}

#[test]
fn no_entries_means_that_the_library_checks_every_signature() {
    let (verifier, (key, signature)) = (verifier(0, 1), key(Algorithm::Es256));
    let pinned = Arc::new(Pinned::default());
    for _ in 0..3 {
        assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
        assert!(verifier.verify_pinned(&pinned, &key, Algorithm::Es256, (MESSAGE, &signature), || true));
    }
    assert_eq!((counts(&verifier), without_table(&verifier)), ((0, 0, 6), (0, 6)));
}

#[test]
fn an_issuers_key_has_a_place_that_no_client_takes() {
    let (verifier, (key, signature)) = (verifier(1, 1), key(Algorithm::Es256));
    let pinned = Arc::new(Pinned::default());
    let check = |message, good| verifier.verify_pinned(&pinned, &key, Algorithm::Es256, (message, &signature), || good);
    assert!(!check(b"another", false));
    assert!(check(MESSAGE, true));
    assert_eq!(counts(&verifier), (1, 0, 2));
    for _ in 0..20 {
        let (client, signature) = self::key(Algorithm::Es256);
        (0..3).for_each(|_| assert!(verifier.verify(&client, Algorithm::Es256, MESSAGE, &signature)));
    }
    let (_, by_table, _) = counts(&verifier);
    assert!(check(MESSAGE, false), "the library is not asked any more");
    assert!(!check(b"another", true));
    assert_eq!(counts(&verifier).1, by_table + 2);
    assert_eq!(verifier.metrics.held.get(), 1, "of clients' keys");
}

#[test]
fn an_issuers_key_gets_its_table_where_a_reload_asks_for_fewer_signatures_than_were_counted() {
    let ((key, signature), pinned) = (key(Algorithm::Es256), Arc::new(Pinned::default()));
    let check = |verifier: &Verifier| {
        assert!(verifier.verify_pinned(&pinned, &key, Algorithm::Es256, (MESSAGE, &signature), || true));
    };
    let before = verifier(10, 50);
    (0..5).for_each(|_| check(&before));
    let after = verifier(10, 2);
    check(&after);
    check(&after);
    assert_eq!(counts(&after), (1, 1, 1));
}

#[test]
fn where_no_builder_takes_it_a_key_asks_again() {
    // A thread that could not be had.
    let builder = Builder::Thread(OnceLock::from(None));
    let verifier = Verifier::with(Options { entries: 10, after: 2 }, metrics(), builder);
    let ((key, signature), pinned) = (key(Algorithm::Es256), Arc::new(Pinned::default()));
    for _ in 0..10 {
        assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
        assert!(verifier.verify_pinned(&pinned, &key, Algorithm::Es256, (MESSAGE, &signature), || true));
    }
    assert_eq!((counts(&verifier), without_table(&verifier)), ((0, 0, 20), (0, 20)));
    assert_eq!(pinned.good.load(Ordering::Relaxed), 0);
}

#[test]
fn what_a_full_queue_refused_is_asked_for_again() {
    let (sender, jobs) = sync_channel(1);
    assert!(sender.try_send(Job::Curve(Arc::default())).is_ok());
    let builder = Builder::Thread(OnceLock::from(Some(sender)));
    let verifier = Verifier::with(Options { entries: 10, after: 100 }, metrics(), builder);
    let (key, signature) = key(Algorithm::Es256);
    let check = || assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
    check();
    assert!(jobs.try_recv().is_ok() && jobs.try_recv().is_err(), "the queue was full");
    check();
    assert!(matches!(jobs.try_recv(), Ok(Job::Curve(_))));
    check();
    assert!(jobs.try_recv().is_err(), "once is enough");
    assert_eq!(without_table(&verifier), (0, 3));
}

#[test]
fn the_thread_prepares_the_curve_beside_the_requests() {
    let verifier = Verifier::new(Options { entries: 10, after: 1000 }, metrics());
    let (key, signature) = key(Algorithm::Es256);
    while verifier.metrics.by_curve.get() == 0 {
        assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
        assert!(!verifier.verify(&key, Algorithm::Es256, b"another", &signature));
        thread::yield_now();
    }
    assert_eq!((verifier.metrics.built.get(), verifier.metrics.held.get()), (0, 0));
}

#[test]
fn the_thread_makes_tables_beside_the_requests_and_ends_with_the_verifier() {
    let metrics = metrics();
    let verifier = Verifier::new(Options { entries: 10, after: 1 }, metrics.clone());
    let (key, signature) = key(Algorithm::Es256);
    while metrics.by_table.get() == 0 {
        assert!(verifier.verify(&key, Algorithm::Es256, MESSAGE, &signature));
        thread::yield_now();
    }
    assert_eq!((metrics.built.get(), metrics.held.get()), (1, 1));
    drop(verifier);
    // The thread lets go of the tables when it ends.
    while metrics.held.get() > 0 {
        thread::yield_now();
    }
}
