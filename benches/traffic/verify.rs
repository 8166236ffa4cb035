//! One raw verification: what every ratio to "raw" is a ratio to.

use std::hint::black_box;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
};

use super::on_core::on_core;

const BATCHES: usize = 10;
const BATCH: u32 = 400;
/// As long as header and payload of a proof.
const MESSAGE_BYTES: usize = 420;

/// Of a signature under a key that AWS-LC has read before: the least that one can cost.
pub(crate) fn microseconds() -> f64 {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let random = SystemRandom::new();
    let signed = (0..BATCH).map(|number| {
        let mut message = number.to_be_bytes().to_vec();
        message.resize(MESSAGE_BYTES, b'x');
        let signature = pair.sign(&random, &message).unwrap();
        (message, signature)
    });
    let signed: Vec<_> = signed.collect();
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()).unwrap();
    let batch = || {
        let start = on_core();
        for (message, signature) in &signed {
            assert!(black_box(key.verify_sig(black_box(message), signature.as_ref())).is_ok());
        }
        on_core() - start
    };
    let lowest = (0..BATCHES).map(|_| batch()).min().unwrap();
    lowest.as_secs_f64() * 1e6 / f64::from(BATCH)
}
