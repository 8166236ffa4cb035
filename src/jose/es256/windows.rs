//! Multiples of a point that has no table: the odd ones up to 15 are made at once, and the scalar is read by windows of
//! five bits, each with a digit that is zero, or odd and has a sign (Koyama and Tsuruoka, CRYPTO 1992). It costs up to
//! 257 doublings; the generator's multiple comes with the last of them.

use super::comb::Digits;
use super::curve::{BLOCKS, Generator};
use super::field::Field;
use super::mulx::Computation;
use super::point::{Affine, Jacobian};
use super::scalar::Scalar;

/// Bits of a window: with one more, the multiples would cost more than the additions that they spare.
const WINDOW: usize = 5;
/// 1, 3, 5 ... times the point.
const MULTIPLES: usize = 1 << (WINDOW - 2);
/// The bits of a scalar, and the carry out of the last window.
const POSITIONS: usize = 257;

/// A scalar as a sum of digits times powers of two. Digits are odd, between -15 and 15, and at least five places apart;
/// or zero.
pub(super) struct Windows {
    digits: [i8; POSITIONS],
    /// Where the highest digit is that is not zero.
    top: usize,
}

impl Windows {
    pub(super) fn of(scalar: &Scalar) -> Self {
        let (mut digits, mut top) = ([0; POSITIONS], 0);
        let (mut at, mut carry) = (0, 0);
        while let Some(digit) = digits.get_mut(at) {
            let window = scalar.bits(at, WINDOW);
            if window & 1 == carry {
                at += 1;
                continue;
            }
            // Odd, and at most 31; from 16 on, 32 less, with a carry into the next window.
            let odd = i8::try_from(window + carry).unwrap_or_default();
            carry = u64::from(odd >= 1 << (WINDOW - 1));
            *digit = if carry == 1 { odd - (1 << WINDOW) } else { odd };
            top = at;
            at += WINDOW;
        }
        Self { digits, top }
    }

    /// The digit at that place, as a number.
    #[cfg(test)]
    pub(super) fn digit(&self, place: usize) -> Scalar {
        let mut size = [0; 32];
        size[31] = self.at(place).unsigned_abs();
        let (zero, size) = (Scalar::reduced(&[0; 32]), Scalar::reduced(&size));
        if self.at(place) < 0 { zero.sub(&size) } else { size }
    }

    /// The digit at that place.
    #[inline(always)]
    fn at(&self, place: usize) -> i8 {
        self.digits.get(place).copied().unwrap_or_default()
    }
}

/// The odd multiples of a point.
struct Multiples([Affine; MULTIPLES]);

impl Multiples {
    /// Each is the one before plus twice the point. Both have the same z all the way, which makes sums cheap (Meloni,
    /// WAIFI 2007), and one inversion does for all. No sum is one of points of the same x, for the group's order is a
    /// prime, and larger than any of these multiples.
    #[inline(always)]
    fn of(point: &Affine) -> Self {
        let Affine { x, y } = point;
        let (xx, yy) = (x.square(), y.square());
        let third = xx.sub(&Field::ONE);
        let slope = third.add(&third.half());
        // Twice the point with z = y, and the point with the same z.
        let (mut x1, mut y1) = (x.mul(&yy), yy.square());
        let mut x2 = slope.wide_square().less(&x1).less(&x1).reduced();
        let mut y2 = slope.wide_mul(&x1.sub(&x2)).less(&y1).reduced();
        let mut z = *y;
        let mut multiples = [Affine { x: x1, y: y1 }; MULTIPLES];
        // What z was multiplied by on the way to each.
        let mut factors = [Field::ONE; MULTIPLES];
        for (multiple, factor) in multiples.iter_mut().zip(&mut factors).skip(1) {
            let (h, r) = (x2.sub(&x1), y2.sub(&y1));
            let hh = h.square();
            let v = x1.mul(&hh);
            // Twice the point, with the sum's z.
            x2 = x2.mul(&hh);
            y2 = y2.mul(&x2.sub(&v));
            x1 = r.wide_square().less(&v).less(&x2).reduced();
            y1 = r.wide_mul(&x2.sub(&x1)).less(&y2).reduced();
            z = z.mul(&h);
            *multiple = Affine { x: x1, y: y1 };
            *factor = h;
        }
        let mut inverse = z.invert();
        for (multiple, factor) in multiples.iter_mut().zip(&factors).rev() {
            let square = inverse.square();
            *multiple = Affine { x: multiple.x.mul(&square), y: multiple.y.mul(&square.mul(&inverse)) };
            inverse = inverse.mul(factor);
        }
        Self(multiples)
    }

    /// The point times a digit; `None` for zero.
    #[inline(always)]
    fn times(&self, digit: i8) -> Option<Affine> {
        if digit == 0 {
            return None;
        }
        self.0.get(usize::from(digit.unsigned_abs() / 2)).map(|multiple| multiple.negate_if(digit < 0))
    }
}

/// The generator times one scalar and a key times another, which share the doublings.
pub(super) struct Sum<'a> {
    pub(super) generator: &'a Generator,
    pub(super) u1: &'a Digits,
    pub(super) key: &'a Affine,
    pub(super) u2: &'a Windows,
}

impl Computation for Sum<'_> {
    type Output = Jacobian;

    #[inline(always)]
    fn compute(self) -> Jacobian {
        let Self { generator, u1, key, u2 } = self;
        let multiples = Multiples::of(key);
        let mut sum = Jacobian::INFINITY;
        for place in (0..=u2.top.max(Generator::WIDTH - 1)).rev() {
            sum = sum.double_inlined();
            // One loop for all that is to be added, so that the addition stands here once.
            let blocks = if place < Generator::WIDTH { BLOCKS } else { 0 };
            for which in 0..=blocks {
                let point = match which.checked_sub(1) {
                    None => multiples.times(u2.at(place)),
                    Some(block) => generator.entry(block, u1, place),
                };
                if let Some(point) = point {
                    sum = sum.add_inlined(&point);
                }
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests;
