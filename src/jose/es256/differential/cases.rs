//! Where the cases come from.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};

use super::super::comb::Comb;
use super::super::curve::{Curve, Generator};
use super::super::field::Field;
use super::super::limbs::{self, Limbs};
use super::super::parts::product;
use super::super::point::Affine;
use super::super::scalar::{N, Scalar};
use super::super::windows::Windows;
use super::super::{KeyTable, TableSize};
use super::{Key, Kind, Seen, Signed, affine, bytes, flip, x_of};

const P: Limbs = [u64::MAX, 0xffff_ffff, 0, 0xffff_ffff_0000_0001];
/// p - n: an x from n on is less than this above it.
const GAP: Limbs = limbs::sub(&P, &N).0;
/// Cases of each kind a key: building its table is the costly part.
const ROUNDS: usize = 4;

/// A source of cases; the same seed gives the same ones, but for AWS-LC's own signatures.
pub(super) struct Cases {
    state: u64,
    pub(super) generator: Comb<6, 2>,
    random: SystemRandom,
    pub(super) seen: Seen,
}

impl Cases {
    pub(super) fn new(seed: u64) -> Self {
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

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn scalar(&mut self) -> Scalar {
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
    pub(super) fn round(&mut self) {
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
        for kind in [Kind::LastDoubled, Kind::InfinityBeforeLast, Kind::DigitDoubled, Kind::DigitOpposite] {
            self.meeting_without_a_table(kind, size);
        }
        for kind in [Kind::LaneDoubled, Kind::LaneOpposite, Kind::PartnersEqual, Kind::PartnersOpposite] {
            self.meeting_in_lanes(kind, size);
        }
        for kind in [Kind::HighX, Kind::WrappedX, Kind::OverflownX, Kind::SmallX] {
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
        let affine = Affine::from_sec1(&point).unwrap();
        let (tables, curve) =
            ([KeyTable::new(&point, size), Some(KeyTable::by_pairs(&affine, size))], Curve::prepare());
        for _ in 0..ROUNDS {
            let message = self.next().to_be_bytes();
            let signature = pair.sign(&self.random, &message).unwrap();
            let library = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).verify(&message, signature.as_ref());
            let [fastest, by_pairs] = tables.each_ref().map(|table| {
                let table = table.as_ref().unwrap();
                table.verify(&message, signature.as_ref())
            });
            let without = curve.verify(&point, &message, signature.as_ref());
            for (way, own) in [("the fastest", fastest), ("by pairs", by_pairs), ("without a table", without)] {
                assert!(own == library.is_ok(), "{own} {way} under {point:02x?} for {message:02x?}");
            }
            self.seen.count(Kind::Signed, library.is_ok());
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
        self.under_multiple(kind, &multiple, (&u1, &u2), size);
    }

    /// The last three additions without a table: the key's last digit times the key, then what the last column of each
    /// block of the generator's comb chooses.
    fn meeting_without_a_table(&mut self, kind: Kind, size: TableSize) {
        let (u1, u2) = (self.scalar(), if self.below(2) == 0 { self.scalar() } else { self.special() });
        let [first, last] = [0, 1].map(|block| Generator::multiple_of(&Generator::digits(&u1), block, 0));
        // An odd one has a last digit.
        let u2 = if u2.bits(0, 1) == 0 { u2.add(&Scalar::ONE) } else { u2 };
        let digit = Windows::of(&u2).digit(0);
        let (of_key, of_generator) = match kind {
            // The sum before the last: (u2 Q + u1 G) - last = last.
            Kind::LastDoubled => (u2, last.add(&last).sub(&u1)),
            Kind::InfinityBeforeLast => (u2, last.sub(&u1)),
            // The sum before the last three: (u2 - digit) Q + (u1 - first - last) G = digit Q, or -digit Q.
            Kind::DigitDoubled => (u2.sub(&digit).sub(&digit), first.add(&last).sub(&u1)),
            _ => (u2, first.add(&last).sub(&u1)),
        };
        if !of_key.is_zero() {
            self.under_multiple(kind, &of_generator.times(&of_key.inverted()), (&u1, &u2), size);
        }
    }

    /// A lane's sum is m times a multiple of the key and another one of the generator. So there is an m with which one
    /// lane's sum meets what is added to it, and one with which two lanes' sums meet.
    fn meeting_in_lanes(&mut self, kind: Kind, size: TableSize) {
        let (u1, u2) = (self.scalar(), if self.below(2) == 0 { self.scalar() } else { self.special() });
        let lane = usize::try_from(self.below(4)).unwrap_or_default();
        let [of_key, other_of_key] = [lane, lane ^ 2].map(|lane| match size {
            TableSize::Tiny => lane_of::<3>(&u2, lane, 0),
            TableSize::Small => lane_of::<5>(&u2, lane, 0),
            TableSize::Large => lane_of::<7>(&u2, lane, 0),
        });
        let [of_generator, other_of_generator] = [lane, lane ^ 2].map(|lane| lane_of::<10>(&u1, lane, 0));
        let before_last = lane_of::<10>(&u1, lane, 1);
        let last = of_generator.sub(&before_last);
        let zero = Scalar::reduced(&[0; 32]);
        let (wanted, of_key) = match kind {
            Kind::LaneDoubled => (last.sub(&before_last), of_key),
            Kind::LaneOpposite => (zero.sub(&last).sub(&before_last), of_key),
            Kind::PartnersEqual => (other_of_generator.sub(&of_generator), of_key.sub(&other_of_key)),
            _ => (zero.sub(&of_generator).sub(&other_of_generator), of_key.add(&other_of_key)),
        };
        if !of_key.is_zero() {
            let multiple = wanted.times(&of_key.inverted());
            self.under_multiple(kind, &multiple, (&u1, &u2), size);
        }
    }

    /// Under the key that is this multiple of the generator.
    fn under_multiple(&mut self, kind: Kind, multiple: &Scalar, (u1, u2): (&Scalar, &Scalar), size: TableSize) {
        let Some(point) = affine(&self.generator.times(multiple)) else { return };
        let key = Key::new(point, size);
        if let (Some(r), false) = (x_of(&key.sum(&self.generator, u1, u2)), u2.is_zero()) {
            let signed = Signed::with(u1, u2, &r);
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
                // r + n = 2^256 + offset.
                Kind::OverflownX => (offset, limbs::add(&limbs::sub(&[0; 4], &N).0, &offset).0),
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

/// What a lane sums up, from that column on.
fn lane_of<const TEETH: usize>(scalar: &Scalar, lane: usize, from: usize) -> Scalar {
    let digits = Comb::<TEETH, 4>::digits(scalar);
    (from..Comb::<TEETH, 4>::WIDTH)
        .fold(Scalar::reduced(&[0; 32]), |sum, column| sum.add(&Comb::<TEETH, 4>::multiple_of(&digits, lane, column)))
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
