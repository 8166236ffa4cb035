//! Numbers modulo the order of the curve's group.

use super::inverse::Modulus;
use super::limbs::{self, Limbs, adc, mac};

/// The order.
pub(super) const N: Limbs =
    [0xf3b9_cac2_fc63_2551, 0xbce6_faad_a717_9e84, 0xffff_ffff_ffff_ffff, 0xffff_ffff_0000_0000];
const INVERSE: Modulus = Modulus::new(&N);
/// -1/n modulo 2^64.
const NEGATIVE_INVERSE: u64 = 0xccd1_c8aa_ee00_bc4f;
/// 2^512 modulo n.
const SQUARE: Limbs = limbs::montgomery_square(&N);

/// A number below the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scalar(Limbs);

impl Scalar {
    pub(super) const ONE: Self = Self([1, 0, 0, 0]);

    /// From 32 bytes, big-endian; `None` from n on.
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let number = limbs::from_bytes(bytes);
        let (_, below) = limbs::sub(&number, &N);
        (below == 1).then_some(Self(number))
    }

    /// From 32 bytes, big-endian, modulo n: one subtraction does it, since 2^256 < 2n.
    pub(super) const fn reduced(bytes: &[u8; 32]) -> Self {
        Self(limbs::reduce_once(0, &limbs::from_bytes(bytes), &N))
    }

    /// 2^`exponent`.
    pub(super) const fn power_of_two(exponent: usize) -> Self {
        let mut power = Self::ONE;
        let mut doublings = 0;
        while doublings < exponent {
            power = power.add(&power);
            doublings += 1;
        }
        power
    }

    pub(super) const fn limbs(&self) -> &Limbs {
        &self.0
    }

    /// So many bits from that one on, fewer than 64; those that there are not are zero.
    #[inline(always)]
    pub(super) fn bits(&self, from: usize, count: usize) -> u64 {
        limbs::window(&self.0, from) & ((1 << count) - 1)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0 == [0; 4]
    }

    pub(super) const fn add(&self, other: &Self) -> Self {
        Self(limbs::add_mod(&self.0, &other.0, &N))
    }

    pub(super) const fn sub(&self, other: &Self) -> Self {
        let (difference, borrow) = limbs::sub(&self.0, &other.0);
        let (sum, _) = limbs::add(&difference, &N);
        Self(if borrow == 1 { sum } else { difference })
    }

    /// Half of it: an odd number becomes even by adding n, which is odd.
    pub(super) const fn half(&self) -> Self {
        let ([l0, l1, l2, l3], top) = if self.0[0] & 1 == 1 { limbs::add(&self.0, &N) } else { (self.0, 0) };
        Self([l0 >> 1 | l1 << 63, l1 >> 1 | l2 << 63, l2 >> 1 | l3 << 63, l3 >> 1 | top << 63])
    }

    /// 1 divided by it, times 2^256: what [`Scalar::times`] takes. Zero for zero.
    pub(super) fn inverted(&self) -> Factor {
        Factor(montgomery(&INVERSE.invert(&self.0), &SQUARE))
    }

    pub(super) fn times(&self, factor: &Factor) -> Self {
        Self(montgomery(&self.0, &factor.0))
    }
}

/// A number modulo n in Montgomery form: what others are multiplied by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor(Limbs);

/// `a * b / 2^256` modulo n.
fn montgomery(a: &Limbs, b: &Limbs) -> Limbs {
    let [t0, t1, t2, t3, t4] = b.iter().fold([0; 5], |t, b| row(&t, a, *b));
    limbs::reduce_once(t4, &[t0, t1, t2, t3], &N)
}

/// `(t + a * b)` and one step of Montgomery's reduction.
///
/// Bounds: a < n. If t < 2n then t + a * b < 2^257 + n * 2^64 < 2^320, five limbs; with at most (2^64 - 1) * n added
/// and divided by 2^64 it is below 2n again.
#[inline(always)]
fn row(t: &[u64; 5], a: &Limbs, b: u64) -> [u64; 5] {
    let (t0, carry) = mac(t[0], a[0], b, 0);
    let (t1, carry) = mac(t[1], a[1], b, carry);
    let (t2, carry) = mac(t[2], a[2], b, carry);
    let (t3, carry) = mac(t[3], a[3], b, carry);
    let t4 = t[4].wrapping_add(carry);
    let m = t0.wrapping_mul(NEGATIVE_INVERSE);
    let (_, carry) = mac(t0, m, N[0], 0);
    let (t1, carry) = mac(t1, m, N[1], carry);
    let (t2, carry) = mac(t2, m, N[2], carry);
    let (t3, carry) = mac(t3, m, N[3], carry);
    let (t4, t5) = adc(t4, carry, 0);
    [t1, t2, t3, t4, t5]
}
