//! The field of the curve: numbers modulo p = 2^256 - 2^224 + 2^192 + 2^96 - 1.

use super::inverse::Modulus;
use super::limbs::{self, Limbs, adc, mac};

const P: Limbs = [0xffff_ffff_ffff_ffff, 0x0000_0000_ffff_ffff, 0, 0xffff_ffff_0000_0001];
const INVERSE: Modulus = Modulus::new(&P);
/// 2^512 modulo p.
const SQUARE: Field = Field(limbs::montgomery_square(&P));
/// 2^768 modulo p.
const CUBE: Field = SQUARE.mul(&SQUARE);

/// A number modulo p in Montgomery form (times 2^256), always below p, so equal numbers are equal limbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field(Limbs);

impl Field {
    pub(super) const ZERO: Self = Self([0; 4]);
    pub(super) const ONE: Self = Self::small(1);

    /// From a number below p; `None` if it is not.
    pub(super) const fn from_limbs(number: &Limbs) -> Option<Self> {
        let (_, below) = limbs::sub(number, &P);
        if below == 1 { Some(Self(*number).mul(&SQUARE)) } else { None }
    }

    /// From 32 bytes, big-endian; `None` from p on.
    pub(super) const fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        Self::from_limbs(&limbs::from_bytes(bytes))
    }

    /// A small number.
    pub(super) const fn small(number: u64) -> Self {
        Self([number, 0, 0, 0]).mul(&SQUARE)
    }

    pub(super) const fn is_zero(&self) -> bool {
        let Self([l0, l1, l2, l3]) = self;
        *l0 | *l1 | *l2 | *l3 == 0
    }

    /// Its lowest limb, whatever that may mean.
    pub(super) const fn low(&self) -> u64 {
        self.0[0]
    }

    #[inline(always)]
    pub(super) const fn add(&self, other: &Self) -> Self {
        Self(limbs::add_mod(&self.0, &other.0, &P))
    }

    #[inline(always)]
    pub(super) const fn double(&self) -> Self {
        self.add(self)
    }

    #[inline(always)]
    pub(super) const fn sub(&self, other: &Self) -> Self {
        let (difference, borrow) = limbs::sub(&self.0, &other.0);
        // p, if the difference was negative.
        let mask = 0u64.wrapping_sub(borrow);
        let (sum, _) = limbs::add(&difference, &[mask, mask & P[1], 0, mask & P[3]]);
        Self(sum)
    }

    /// Half of it: an odd number becomes even by adding p, which is odd.
    #[inline(always)]
    pub(super) const fn half(&self) -> Self {
        let mask = 0u64.wrapping_sub(self.0[0] & 1);
        let ([l0, l1, l2, l3], top) = limbs::add(&self.0, &[mask, mask & P[1], 0, mask & P[3]]);
        Self([l0 >> 1 | l1 << 63, l1 >> 1 | l2 << 63, l2 >> 1 | l3 << 63, l3 >> 1 | top << 63])
    }

    #[inline(always)]
    pub(super) const fn negate(&self) -> Self {
        Self::ZERO.sub(self)
    }

    #[inline(always)]
    pub(super) const fn mul(&self, other: &Self) -> Self {
        let (a, [b0, b1, b2, b3]) = (&self.0, &other.0);
        let t = row(&[0; 5], a, *b0);
        let t = row(&t, a, *b1);
        let t = row(&t, a, *b2);
        let [t0, t1, t2, t3, t4] = row(&t, a, *b3);
        Self(limbs::reduce_once(t4, &[t0, t1, t2, t3], &P))
    }

    #[inline(always)]
    pub(super) const fn square(&self) -> Self {
        let [a0, a1, a2, a3] = self.0;
        // Each product of two different limbs counts twice.
        let (t1, carry) = mac(0, a0, a1, 0);
        let (t2, carry) = mac(0, a0, a2, carry);
        let (t3, t4) = mac(0, a0, a3, carry);
        let (t3, carry) = mac(t3, a1, a2, 0);
        let (t4, t5) = mac(t4, a1, a3, carry);
        let (t5, t6) = mac(t5, a2, a3, 0);
        let t7 = t6 >> 63;
        let t6 = t6 << 1 | t5 >> 63;
        let t5 = t5 << 1 | t4 >> 63;
        let t4 = t4 << 1 | t3 >> 63;
        let t3 = t3 << 1 | t2 >> 63;
        let t2 = t2 << 1 | t1 >> 63;
        let t1 = t1 << 1;
        let (t0, high) = mac(0, a0, a0, 0);
        let (t1, carry) = adc(t1, high, 0);
        let (low, high) = mac(0, a1, a1, 0);
        let (t2, carry) = adc(t2, low, carry);
        let (t3, carry) = adc(t3, high, carry);
        let (low, high) = mac(0, a2, a2, 0);
        let (t4, carry) = adc(t4, low, carry);
        let (t5, carry) = adc(t5, high, carry);
        let (low, high) = mac(0, a3, a3, 0);
        let (t6, carry) = adc(t6, low, carry);
        let t7 = t7.wrapping_add(high).wrapping_add(carry);
        reduce(&[t0, t1, t2, t3], &[t4, t5, t6, t7])
    }

    /// 1 divided by it; zero for zero.
    pub(super) fn invert(&self) -> Self {
        // The inverse of a * 2^256 is a^-1 * 2^-256; times 2^768 / 2^256 that is a^-1 * 2^256.
        Self(INVERSE.invert(&self.0)).mul(&CUBE)
    }
}

/// The inverses of numbers of which none is zero, for one inversion and three multiplications each (Montgomery's trick).
pub(super) fn invert_all(numbers: &mut [Field]) {
    let mut product = Field::ONE;
    let before: Vec<Field> = numbers
        .iter()
        .map(|number| {
            let before = product;
            product = product.mul(number);
            before
        })
        .collect();
    let mut inverse = product.invert();
    for (number, before) in numbers.iter_mut().zip(&before).rev() {
        let own = inverse.mul(before);
        inverse = inverse.mul(number);
        *number = own;
    }
}

/// `(t + a * b)` and one step of Montgomery's reduction: divided by 2^64 once a multiple of p has made that possible.
///
/// Bounds: a < p. If t < 2p then t + a * b < 2^257 + p * 2^64 < 2^320, five limbs; with at most (2^64 - 1) * p added
/// and divided by 2^64 it is below 2p again.
#[inline(always)]
const fn row(t: &[u64; 5], a: &Limbs, b: u64) -> [u64; 5] {
    let (t0, carry) = mac(t[0], a[0], b, 0);
    let (t1, carry) = mac(t[1], a[1], b, carry);
    let (t2, carry) = mac(t[2], a[2], b, carry);
    let (t3, carry) = mac(t[3], a[3], b, carry);
    let t4 = t[4].wrapping_add(carry);
    let (t1, t2, t3, high) = step(t0, t1, t2, t3);
    let (t4, t5) = adc(t4, high, 0);
    [t1, t2, t3, t4, t5]
}

/// Adds t0 * p, which makes the lowest limb zero since -1/p = 1 modulo 2^64; returns the limbs above it.
///
/// t0 * p = t0 * (2^256 - 2^224 + 2^192) + t0 * 2^96 - t0, and the last is what the lowest limb was.
#[inline(always)]
const fn step(t0: u64, t1: u64, t2: u64, t3: u64) -> (u64, u64, u64, u64) {
    let (t1, carry) = adc(t1, t0 << 32, 0);
    let (t2, carry) = adc(t2, t0 >> 32, carry);
    let (t3, t4) = mac(t3, t0, P[3], carry);
    (t1, t2, t3, t4)
}

/// Montgomery's reduction of eight limbs that are below p * p.
///
/// Bounds: the low limbs alone become at most p, since (2^256 - 1 + (2^256 - 1) * p) / 2^256 is; the high ones are
/// below p. So the sum is below 2p.
#[inline(always)]
const fn reduce(low: &Limbs, high: &Limbs) -> Field {
    let [t0, t1, t2, t3] = *low;
    let (t0, t1, t2, t3) = step(t0, t1, t2, t3);
    let (t0, t1, t2, t3) = step(t0, t1, t2, t3);
    let (t0, t1, t2, t3) = step(t0, t1, t2, t3);
    let (t0, t1, t2, t3) = step(t0, t1, t2, t3);
    let (sum, carry) = limbs::add(&[t0, t1, t2, t3], high);
    Field(limbs::reduce_once(carry, &sum, &P))
}
