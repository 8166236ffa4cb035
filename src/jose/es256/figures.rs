//! What the parts cost, beside AWS-LC: `cargo test --release --lib es256::figures -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test that prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use sha2::{Digest as _, Sha256};

use super::comb::Comb;
use super::field;
use super::point::{Affine, Jacobian};
use super::scalar::Scalar;
use super::{Curve, KeyTable, TableSize};

/// The least time of one call, in nanoseconds, of as many rounds as fit.
fn cost<T>(name: &str, mut call: impl FnMut() -> T) -> f64 {
    let mut timed = |calls: u32| {
        let start = Instant::now();
        (0..calls).for_each(|_| drop(black_box(call())));
        start.elapsed()
    };
    let mut calls = 1;
    while timed(calls) < Duration::from_micros(50) {
        calls *= 2;
    }
    let best = (0..500).map(|_| timed(calls)).min().unwrap_or_default().as_secs_f64() / f64::from(calls) * 1e9;
    println!("{name:<34} {best:>10.1} ns");
    best
}

#[test]
#[ignore = "measures; run it alone, in release"]
fn the_parts_and_the_whole_beside_the_library() {
    let (mut a, b) = (Affine::GENERATOR.x, Affine::GENERATOR.y);
    cost("field multiplication, each waits", || {
        a = a.mul(&b);
    });
    let mut lanes = [a, b, a.mul(&b), a.square()];
    let four = cost("4 field multiplications at once", || lanes.iter_mut().for_each(|lane| *lane = lane.mul(&b)));
    println!("{:<34} {:>10.1} ns", "  each", four / 4.0);
    black_box(lanes);
    cost("field squaring", || a = a.square());
    cost("field addition", || a = a.add(&b));
    cost("field subtraction", || a = a.sub(&b));
    cost("field inversion", || a = a.invert());
    let scalar = Scalar::reduced(&[0x57; 32]);
    cost("scalar inversion", || black_box(&scalar).inverted());
    cost("digits of a comb 6 x 2", || Comb::<6, 2>::digits(black_box(&scalar)));
    let mut point = Jacobian::INFINITY.add(&Affine::GENERATOR).double();
    cost("doubling", || point = point.double());
    cost("mixed addition", || point = point.add(&Affine::GENERATOR));

    let entries = Comb::<6, 2>::new(&Affine::GENERATOR);
    let mut xs: Vec<_> = entries.entries().iter().map(|entry| entry.x).take(34).collect();
    let mut space = xs.clone();
    cost("34 field inversions at once", || field::invert_all(&mut xs, &mut space));

    let message = [7; 700];
    cost("SHA-256 of 700 bytes, AWS-LC", || digest::digest(&digest::SHA256, black_box(&message)));
    cost("SHA-256 of 700 bytes, sha2", || Sha256::digest(black_box(&message)));
    let random = SystemRandom::new();
    let edwards = Ed25519KeyPair::generate().unwrap();
    let edwards_key = edwards.public_key().as_ref().to_vec();
    let edwards_signature = edwards.sign(&message);
    cost("Ed25519 verification, AWS-LC", || {
        UnparsedPublicKey::new(&ED25519, black_box(&edwards_key)).verify(&message, edwards_signature.as_ref()).unwrap();
    });
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let signature: [u8; 64] = pair.sign(&random, &message).unwrap().as_ref().try_into().unwrap();
    let key: [u8; 65] = pair.public_key().as_ref().try_into().unwrap();
    let library = cost("ES256 verification, AWS-LC", || {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, black_box(&key)).verify(&message, &signature).unwrap();
    });
    let curve = Curve::prepare();
    assert!(curve.verify(&key, &message, &signature) && !curve.verify(&key, b"another", &signature));
    let own = cost("ES256 verification, no table", || curve.verify(black_box(&key), &message, &signature));
    println!("{:<34} {:>10.3}", "  of AWS-LC's", own / library);
    cost("the generator's table", || Comb::<11, 2>::new(&Affine::GENERATOR));
    let affine = Affine::from_sec1(&key).unwrap();
    for size in TableSize::ALL {
        let table = KeyTable::new(&key, size).unwrap();
        assert!(table.verify(&message, &signature) && !table.verify(b"another", &signature));
        cost(&format!("a key's table, {size:?}"), || KeyTable::new(black_box(&key), size));
        let own =
            cost(&format!("ES256 verification, {size:?} table"), || table.verify(black_box(&message), &signature));
        println!("{:<34} {:>10.3}", "  of AWS-LC's", own / library);
        let table = KeyTable::by_pairs(&affine, size);
        let own = cost("  for any processor", || table.verify(black_box(&message), &signature));
        println!("{:<34} {:>10.3}", "  of AWS-LC's", own / library);
    }
    // As with thousands of clients, most of whose tables are not in the cache.
    for (count, size) in [(10_000, TableSize::Small), (30_000, TableSize::Tiny)] {
        let tables: Vec<KeyTable> = (0..count).filter_map(|_| KeyTable::new(&key, size)).collect();
        let mut next = 0;
        let own = cost(&format!("the next of {count} tables, {size:?}"), || {
            next = (next + 7919) % tables.len();
            tables.get(next).is_some_and(|table| table.verify(black_box(&message), &signature))
        });
        println!("{:<34} {:>10.3}", "  of AWS-LC's", own / library);
    }
}
