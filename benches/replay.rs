//! What does it cost to remember spent proofs? `cargo bench --bench replay`; with `-- memory`, the first of these only.
//!
//! - memory of a million live proofs, each by a key of its own;
//! - time of one claim into a store of a million, on one core and on all, and the longest single claim;
//! - the same where the store is full and a greedy key is refused;
//! - ten million claims, every proof tried again at once and near the end of its life: how many pass twice, and whether
//!   memory stays level.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, missing_docs, reason = "a bench")]

#[path = "traffic/on_core.rs"]
mod on_core;

use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dpop_gate::clock::Timestamp;
use dpop_gate::jose::Thumbprint;
use dpop_gate::replay::{MemoryOptions, MemoryStore, ProofId, ReplayError};
use on_core::on_core;
use prometheus::IntGauge;

const START: u64 = 1_800_000_000;
const LIFETIME: u64 = 60;
const MILLION: u64 = 1_000_000;

fn main() {
    let cores = thread::available_parallelism().unwrap().get();
    memory();
    if std::env::args().any(|argument| argument == "memory") {
        return;
    }
    for threads in [1, cores] {
        claims(threads);
    }
    pressure();
    ten_million();
}

fn store(capacity: u64) -> MemoryStore {
    let options = MemoryOptions {
        capacity: usize::try_from(capacity).unwrap(),
        proof_lifetime: Duration::from_secs(LIFETIME),
        floor: None,
    };
    MemoryStore::new(options, IntGauge::new("entries", "entries").unwrap())
}

fn proof(key: u64, jti: u64, iat: u64) -> ProofId {
    let mut thumbprint = [0; 32];
    thumbprint[..8].copy_from_slice(&key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    ProofId::new(&Thumbprint::from_bytes(thumbprint), &jti.to_string(), iat, None)
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn memory() {
    const TENTH: u64 = MILLION / 10;
    let nth = |number: u64| {
        let iat = START + number * LIFETIME / MILLION;
        (proof(number, number, iat), Timestamp::from_secs(iat))
    };
    // Resident before the store is, and used again for each tenth.
    let mut proofs: Vec<_> = (0..TENTH).map(nth).collect();
    let before = resident();
    let store = store(MILLION);
    let mut tenths = Vec::new();
    for tenth in 0..MILLION / TENTH {
        proofs.clear();
        proofs.extend((tenth * TENTH..(tenth + 1) * TENTH).map(nth));
        let start = on_core();
        for (proof, now) in &proofs {
            store.claim(proof, *now).unwrap();
        }
        tenths.push((on_core() - start).as_secs_f64());
    }
    assert_eq!(store.len(), usize::try_from(MILLION).unwrap());
    let each = (resident() - before) as f64 / MILLION as f64;
    let grown = tenths.last().unwrap() / tenths.first().unwrap();
    println!(
        "a million live proofs of a million keys: {each:.1} bytes each, resident; \
         the last hundred thousand claims took {grown:.2} of the first"
    );
}

/// A million proofs over a minute, claimed by all threads; then once more, which is refused.
fn claims(threads: usize) {
    let store = Arc::new(store(MILLION));
    let share = MILLION / threads as u64;
    let run = |what: &str| {
        let workers = (0..threads as u64).map(|thread| {
            let store = Arc::clone(&store);
            let proofs: Vec<_> = (0..share)
                .map(|number| proof(number % 10_000, thread * share + number, START + number * LIFETIME / share))
                .collect();
            thread::spawn(move || {
                let (start, mut longest) = (on_core(), Duration::ZERO);
                for (number, proof) in (0..).zip(&proofs) {
                    let now = Timestamp::from_secs(START + number * LIFETIME / share);
                    // Every hundredth, so that the clock does not cost more than the claim.
                    let claim = (number % 100 == 0).then(on_core);
                    let _ = black_box(store.claim(proof, now));
                    longest = longest.max(claim.map_or(Duration::ZERO, |claim| on_core() - claim));
                }
                (on_core() - start, longest)
            })
        });
        let workers: Vec<_> = workers.collect();
        let times: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        let each = times.iter().map(|(time, _)| time.as_nanos()).max().unwrap() as f64 / share as f64;
        let longest = times.iter().map(|(_, longest)| *longest).max().unwrap();
        println!("{what}, {threads} at once: {each:.0} ns each on each core, the longest {longest:?}");
    };
    run("claims into a store of a million");
    run("replays refused by it");
}

/// Three times as many as fit, one key in two greedy.
fn pressure() {
    let store = store(100_000);
    let (mut granted, mut quota, mut other) = (0, 0, 0);
    let proofs: Vec<_> = (0..300_000)
        .map(|number| proof(if number % 2 == 0 { 0 } else { number }, number, START + number * 30 / 300_000))
        .collect();
    let (start, mut longest) = (on_core(), Duration::ZERO);
    for proof in &proofs {
        let number = granted + quota + other;
        let claim = on_core();
        match store.claim(proof, Timestamp::from_secs(START + number * 30 / 300_000)) {
            Ok(()) => granted += 1,
            Err(ReplayError::KeyQuota(_)) => quota += 1,
            Err(_) => other += 1,
        }
        longest = longest.max(on_core() - claim);
    }
    let each = (on_core() - start).as_nanos() as f64 / proofs.len() as f64;
    println!(
        "under pressure: {each:.0} ns each, the longest {longest:?}; \
         {granted} granted, {quota} refused for the key's quota, {other} else"
    );
}

fn ten_million() {
    const RATE: u64 = 12_500;
    const TOTAL: u64 = 10 * MILLION;
    let store = store(MILLION);
    let (mut granted, mut replayed) = (0_u64, 0_u64);
    let mut levels = Vec::new();
    let nth = |number: u64| proof(number % 10_000, number, START + number / RATE);
    let start = Instant::now();
    for number in 0..TOTAL {
        let now = Timestamp::from_secs(START + number / RATE);
        granted += u64::from(store.claim(&nth(number), now).is_ok());
        replayed += u64::from(store.claim(&nth(number), now).is_ok());
        if let Some(old) = number.checked_sub(RATE * (LIFETIME - 1)) {
            replayed += u64::from(store.claim(&nth(old), now).is_ok());
        }
        if (number + 1) % (2 * MILLION) == 0 {
            levels.push(format!("{} MiB", resident() >> 20));
        }
    }
    println!(
        "ten million claims in {:.1?}: {granted} granted, {replayed} replays accepted of {}; resident {}",
        start.elapsed(),
        2 * TOTAL - RATE * (LIFETIME - 1),
        levels.join(", ")
    );
    assert_eq!((granted, replayed), (TOTAL, 0));
}
