//! The field of the curve: numbers modulo p = 2^256 - 2^224 + 2^192 + 2^96 - 1.

use std::hint::cold_path;

use super::inverse::Modulus;
use super::limbs::{self, Limbs, adc, sbb};

const P: Limbs = [0xffff_ffff_ffff_ffff, 0x0000_0000_ffff_ffff, 0, 0xffff_ffff_0000_0001];
const INVERSE: Modulus = Modulus::new(&P);
/// 2^512 modulo p.
const SQUARE: Field = Field(limbs::montgomery_square(&P));
/// 2^768 modulo p.
const CUBE: Field = SQUARE.mul(&SQUARE);

/// A number modulo p in Montgomery form (times 2^256).
///
/// Invariant: below 2^256, not always below p. So a sum or product is reduced by looking at its carry alone; that two
/// forms of a small number differ by p is the concern of the comparisons.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field(Limbs);

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for Field {}

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

    #[inline(always)]
    pub(super) const fn is_zero(&self) -> bool {
        let [l0, l1, l2, l3] = self.0;
        l0 | l1 | l2 | l3 == 0 || (l0 ^ P[0]) | (l1 ^ P[1]) | l2 | (l3 ^ P[3]) == 0
    }

    /// The number itself.
    #[cfg(test)]
    pub(super) fn number(&self) -> Limbs {
        reduce(&[self.0[0], self.0[1], self.0[2], self.0[3], 0, 0, 0, 0]).canonical()
    }

    /// From its limbs in Montgomery form.
    #[cfg(any(test, target_arch = "x86_64"))]
    #[inline(always)]
    pub(super) const fn from_raw(limbs: Limbs) -> Self {
        Self(limbs)
    }

    #[cfg(any(test, target_arch = "x86_64"))]
    #[inline(always)]
    pub(super) const fn raw(&self) -> Limbs {
        self.0
    }

    /// Below p.
    const fn canonical(&self) -> Limbs {
        limbs::reduce_once(0, &self.0, &P)
    }

    #[inline(always)]
    pub(super) const fn add(&self, other: &Self) -> Self {
        let (sum, carry) = limbs::add(&self.0, &other.0);
        let (sum, borrow) = limbs::sub(&sum, &p_if(carry));
        // Only where both were within 2^224 of 2^256 is the sum still too large.
        if carry != borrow {
            cold_path();
            return Self(limbs::sub(&sum, &P).0);
        }
        Self(sum)
    }

    #[cfg(test)]
    pub(super) const fn double(&self) -> Self {
        self.add(self)
    }

    #[inline(always)]
    pub(super) const fn sub(&self, other: &Self) -> Self {
        let (difference, borrow) = limbs::sub(&self.0, &other.0);
        let (sum, carry) = limbs::add(&difference, &p_if(borrow));
        // Only where it was below -p is it still negative.
        if borrow != carry {
            cold_path();
            return Self(limbs::add(&sum, &P).0);
        }
        Self(sum)
    }

    /// Half of it: an odd number becomes even by adding p, which is odd.
    #[inline(always)]
    pub(super) const fn half(&self) -> Self {
        let ([l0, l1, l2, l3], top) = limbs::add(&self.0, &p_if(self.0[0] & 1));
        Self([l0 >> 1 | l1 << 63, l1 >> 1 | l2 << 63, l2 >> 1 | l3 << 63, l3 >> 1 | top << 63])
    }

    #[inline(always)]
    pub(super) const fn negate(&self) -> Self {
        Self::ZERO.sub(self)
    }

    /// Without a branch: which it is, nobody can guess.
    #[inline(always)]
    pub(super) fn negate_if(&self, condition: bool) -> Self {
        let mask = 0u64.wrapping_sub(u64::from(condition));
        let ([l0, l1, l2, l3], [n0, n1, n2, n3]) = (self.0, self.negate().0);
        Self([l0 ^ (l0 ^ n0) & mask, l1 ^ (l1 ^ n1) & mask, l2 ^ (l2 ^ n2) & mask, l3 ^ (l3 ^ n3) & mask])
    }

    #[inline(always)]
    pub(super) const fn mul(&self, other: &Self) -> Self {
        reduce(&limbs::product(&self.0, &other.0))
    }

    #[inline(always)]
    pub(super) const fn square(&self) -> Self {
        reduce(&limbs::square(&self.0))
    }

    /// The product before its reduction.
    #[inline(always)]
    pub(super) const fn wide_mul(&self, other: &Self) -> Wide {
        Wide(limbs::product(&self.0, &other.0))
    }

    /// The square before its reduction.
    #[inline(always)]
    pub(super) const fn wide_square(&self) -> Wide {
        Wide(limbs::square(&self.0))
    }

    /// 1 divided by it; zero for zero.
    pub(super) fn invert(&self) -> Self {
        // The inverse of a * 2^256 is a^-1 * 2^-256; times 2^768 / 2^256 that is a^-1 * 2^256.
        Self(INVERSE.invert(&self.canonical())).mul(&CUBE)
    }
}

/// A product before its reduction: to subtract here costs less than afterwards.
#[derive(Clone, Copy)]
pub(super) struct Wide([u64; 8]);

impl Wide {
    /// Less a number. Of the upper half, which the reduction leaves as it is, so that the processor does both at once.
    #[inline(always)]
    pub(super) const fn less(&self, other: &Field) -> Self {
        let [t0, t1, t2, t3, t4, t5, t6, t7] = self.0;
        let Field([t4, t5, t6, t7]) = Field([t4, t5, t6, t7]).sub(other);
        Self([t0, t1, t2, t3, t4, t5, t6, t7])
    }

    /// Less another product, with one reduction for both.
    ///
    /// Bounds: a difference that is negative is above -2^512, and with p * 2^256 it is above -2^480. Where that is
    /// negative still, once in 2^32 times at most, p * 2^256 once more makes it positive, and below 2^512.
    #[inline(always)]
    pub(super) const fn minus(&self, other: &Self) -> Self {
        let ([t0, t1, t2, t3, t4, t5, t6, t7], [o0, o1, o2, o3, o4, o5, o6, o7]) = (self.0, other.0);
        let ([t0, t1, t2, t3], borrow) = limbs::sub(&[t0, t1, t2, t3], &[o0, o1, o2, o3]);
        let ([t4, t5, t6, t7], borrow) = limbs::sub_with(&[t4, t5, t6, t7], &[o4, o5, o6, o7], borrow);
        let ([t4, t5, t6, t7], carry) = limbs::add(&[t4, t5, t6, t7], &p_if(borrow));
        if borrow != carry {
            cold_path();
            let ([t4, t5, t6, t7], _) = limbs::add(&[t4, t5, t6, t7], &P);
            return Self([t0, t1, t2, t3, t4, t5, t6, t7]);
        }
        Self([t0, t1, t2, t3, t4, t5, t6, t7])
    }

    #[inline(always)]
    pub(super) const fn reduced(&self) -> Field {
        reduce(&self.0)
    }
}

/// The inverses of all, for one inversion and three multiplications each (Montgomery's trick), with as much space
/// beside them; false, and nothing said of any, if one of them is zero.
#[inline(always)]
pub(super) fn invert_all(numbers: &mut [Field], space: &mut [Field]) -> bool {
    let mut product = Field::ONE;
    for (number, before) in numbers.iter().zip(space.iter_mut()) {
        *before = product;
        product = product.mul(number);
    }
    if product.is_zero() {
        return false;
    }
    let mut inverse = product.invert();
    for (number, before) in numbers.iter_mut().zip(space.iter()).rev() {
        let own = inverse.mul(before);
        inverse = inverse.mul(number);
        *number = own;
    }
    true
}

/// One step of Montgomery's reduction: adds t0 * p, which makes the lowest limb zero since -1/p = 1 modulo 2^64, and
/// returns the limbs above it.
///
/// t0 * p = t0 * 2^96 - t0 + t0 * (2^256 - 2^224 + 2^192): the first by shifts, the second is what the lowest limb was,
/// the third is (t0 - t0 * 2^-32 + t0 * 2^-64) * 2^256, two limbs.
#[inline(always)]
const fn step(t0: u64, t1: u64, t2: u64, t3: u64) -> (u64, u64, u64, u64) {
    let (low, borrow) = sbb(t0, t0 << 32, 0);
    let (high, _) = sbb(t0, t0 >> 32, borrow);
    let (t1, carry) = adc(t1, t0 << 32, 0);
    let (t2, carry) = adc(t2, t0 >> 32, carry);
    let (t3, carry) = adc(t3, low, carry);
    (t1, t2, t3, high.wrapping_add(carry))
}

/// Montgomery's reduction of any eight limbs: divided by 2^256, modulo p.
///
/// Bounds: the low four limbs alone become at most p, since (2^256 - 1) * (1 + p) / 2^256 is below p + 1. With the high
/// four the sum is below 2^256 + p, so that one p less is below 2^256.
#[inline(always)]
const fn reduce(&[t0, t1, t2, t3, t4, t5, t6, t7]: &[u64; 8]) -> Field {
    let (t0, t1, t2, t3) = step(t0, t1, t2, t3);
    let (t0, t1, t2, t3) = step(t0, t1, t2, t3);
    let (t0, t1, t2, t3) = step(t0, t1, t2, t3);
    let (t0, t1, t2, t3) = step(t0, t1, t2, t3);
    let (sum, carry) = limbs::add(&[t0, t1, t2, t3], &[t4, t5, t6, t7]);
    let (sum, _) = limbs::sub(&sum, &p_if(carry));
    Field(sum)
}

/// p or zero, without a branch that could be guessed wrong.
#[inline(always)]
const fn p_if(condition: u64) -> Limbs {
    let mask = 0u64.wrapping_sub(condition);
    [mask, mask & P[1], 0, mask & P[3]]
}
