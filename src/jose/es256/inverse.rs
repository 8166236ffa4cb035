//! Division modulo an odd number, by divsteps (Bernstein and Yang, "Fast constant-time gcd computation and modular
//! inversion", 2019), in their variable-time form: 62 steps at a time on the lowest limbs only, then one matrix times
//! the whole numbers.

use super::limbs::{self, Limbs};

/// Bits a limb; the rest of the 64 is room for signs and sums.
const BITS: u32 = 62;
const MASK: u64 = u64::MAX >> (64 - BITS);

/// A number between -2^311 and 2^311: all limbs but the last are below 2^62, the last one has the sign.
type Signed = [i64; 5];

/// An odd modulus above 2^255 and below 2^256.
#[derive(Debug)]
pub(super) struct Modulus {
    limbs: Limbs,
    signed: Signed,
    /// 1 divided by the modulus, modulo 2^62.
    inverse: u64,
}

/// What some divsteps do, as a matrix: `f' = (u f + v g) / 2^62`, `g' = (q f + r g) / 2^62`. The absolute values of a
/// row add up to 2^62 at most.
#[derive(Clone, Copy)]
struct Matrix {
    u: i64,
    v: i64,
    q: i64,
    r: i64,
}

impl Modulus {
    pub(super) const fn new(modulus: &Limbs) -> Self {
        // Newton's iteration doubles the bits that are right; an odd number is its own inverse modulo 8.
        let mut inverse = modulus[0];
        let mut bits = 3;
        while bits < BITS {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(modulus[0].wrapping_mul(inverse)));
            bits *= 2;
        }
        Self { limbs: *modulus, signed: to_signed(modulus), inverse: inverse & MASK }
    }

    /// 1 divided by `number`, which is below the modulus; zero for zero.
    pub(super) fn invert(&self, number: &Limbs) -> Limbs {
        // Invariants: d * number = f and e * number = g, modulo the modulus.
        let (mut f, mut g) = (self.signed, to_signed(number));
        let (mut d, mut e): (Signed, Signed) = ([0; 5], [1, 0, 0, 0, 0]);
        let mut eta = -1;
        let mut used = 5;
        while g.iter().any(|limb| *limb != 0) {
            let matrix = divsteps(&mut eta, f[0].cast_unsigned(), g[0].cast_unsigned());
            (d, e) = self.combine(&matrix, &d, &e);
            shift(&matrix, &mut f, &mut g, used);
            used = shrink(&mut f, &mut g, used);
        }
        // Now f is 1 or -1 (or number was 0, and so is d), and d within twice the modulus of zero.
        let negative = f.get(used - 1).is_some_and(|top| *top < 0);
        self.to_limbs(&d, negative)
    }

    /// The matrix times (d, e), divided by 2^62 modulo the modulus: a multiple of the modulus is added that makes the
    /// lowest 62 bits zero. Both stay between -2 and 1 times the modulus.
    #[inline(always)]
    fn combine(&self, &Matrix { u, v, q, r }: &Matrix, d: &Signed, e: &Signed) -> (Signed, Signed) {
        // The modulus is added once to each of d and e that is negative, so that the result stays in the range.
        let (negative_d, negative_e) = (d[4] >> 63, e[4] >> 63);
        let multiple = |a: i64, b: i64| {
            let start = (a & negative_d) + (b & negative_e);
            let lowest = product(a, d[0]) + product(b, e[0]);
            let wanted = self.inverse.wrapping_mul(low(lowest)).wrapping_add(start.cast_unsigned()) & MASK;
            (lowest, start - wanted.cast_signed())
        };
        let (lowest_d, times_d) = multiple(u, v);
        let (lowest_e, times_e) = multiple(q, r);
        let mut carry_d = (lowest_d + product(self.signed[0], times_d)) >> BITS;
        let mut carry_e = (lowest_e + product(self.signed[0], times_e)) >> BITS;
        let limb = |at: usize, carry_d: &mut i128, carry_e: &mut i128| {
            #[allow(clippy::indexing_slicing, reason = "constants below 5")]
            let (d, e, modulus) = (d[at], e[at], self.signed[at]);
            *carry_d += product(u, d) + product(v, e) + product(modulus, times_d);
            *carry_e += product(q, d) + product(r, e) + product(modulus, times_e);
            (pop(carry_d), pop(carry_e))
        };
        let (d0, e0) = limb(1, &mut carry_d, &mut carry_e);
        let (d1, e1) = limb(2, &mut carry_d, &mut carry_e);
        let (d2, e2) = limb(3, &mut carry_d, &mut carry_e);
        let (d3, e3) = limb(4, &mut carry_d, &mut carry_e);
        ([d0, d1, d2, d3, narrow(carry_d)], [e0, e1, e2, e3, narrow(carry_e)])
    }

    /// A number within -2 and 1 times the modulus, or the negative of it, as it is modulo the modulus.
    fn to_limbs(&self, number: &Signed, negate: bool) -> Limbs {
        let mut number = *number;
        if number[4] < 0 {
            number = carried(number, &self.signed, 1);
        }
        if negate {
            number = carried([0; 5], &number, -1);
        }
        while number[4] < 0 {
            number = carried(number, &self.signed, 1);
        }
        let [l0, l1, l2, l3, l4] = number.map(i64::cast_unsigned);
        let limbs = [l0 | l1 << 62, l1 >> 2 | l2 << 60, l2 >> 4 | l3 << 58, l3 >> 6 | l4 << 56];
        limbs::reduce_once(0, &limbs, &self.limbs)
    }
}

/// 62 divsteps: as many low zeros of g as there are at once, then f and g change places if that makes g smaller, and a
/// multiple of f is added to g that makes several of its low bits zero.
#[inline(always)]
fn divsteps(eta: &mut i32, mut f: u64, mut g: u64) -> Matrix {
    let (mut u, mut v, mut q, mut r) = (1u64, 0u64, 0u64, 1u64);
    let mut left = BITS;
    loop {
        let zeros = (g | u64::MAX << left).trailing_zeros();
        g >>= zeros;
        u <<= zeros;
        v <<= zeros;
        *eta -= zeros.cast_signed();
        left -= zeros;
        if left == 0 {
            return Matrix { u: u.cast_signed(), v: v.cast_signed(), q: q.cast_signed(), r: r.cast_signed() };
        }
        if *eta < 0 {
            *eta = -*eta;
            (f, g) = (g, f.wrapping_neg());
            (u, q) = (q, u.wrapping_neg());
            (v, r) = (r, v.wrapping_neg());
        }
        // Steps before f and g would change places again, and before this round is over.
        let steps = (eta.cast_unsigned() + 1).min(left);
        // -1/f modulo 64: exact modulo 8 by f itself, then one iteration of Newton's.
        let inverse = f.wrapping_mul(f.wrapping_mul(f).wrapping_sub(2));
        let multiple = g.wrapping_mul(inverse) & (u64::MAX >> (64 - steps)) & 63;
        g = g.wrapping_add(f.wrapping_mul(multiple));
        q = q.wrapping_add(u.wrapping_mul(multiple));
        r = r.wrapping_add(v.wrapping_mul(multiple));
    }
}

/// The matrix times (f, g), divided by 2^62, which leaves no rest. Only `used` limbs are not zero.
#[inline(always)]
fn shift(&Matrix { u, v, q, r }: &Matrix, f: &mut Signed, g: &mut Signed, used: usize) {
    let mut carry_f = (product(u, f[0]) + product(v, g[0])) >> BITS;
    let mut carry_g = (product(q, f[0]) + product(r, g[0])) >> BITS;
    for at in 1..used.min(5) {
        #[allow(clippy::indexing_slicing, reason = "1 <= at < 5")]
        {
            carry_f += product(u, f[at]) + product(v, g[at]);
            carry_g += product(q, f[at]) + product(r, g[at]);
            f[at - 1] = pop(&mut carry_f);
            g[at - 1] = pop(&mut carry_g);
        }
    }
    if let (Some(f), Some(g)) = (f.get_mut(used - 1), g.get_mut(used - 1)) {
        (*f, *g) = (narrow(carry_f), narrow(carry_g));
    }
}

/// How many limbs are used, once those are left out that say nothing but the sign: it moves into the limb below.
#[inline(always)]
fn shrink(f: &mut Signed, g: &mut Signed, used: usize) -> usize {
    let mut used = used.min(5);
    #[allow(clippy::indexing_slicing, reason = "2 <= used <= 5")]
    while used > 1 {
        let (top_f, top_g) = (f[used - 1], g[used - 1]);
        if (top_f ^ top_f >> 1) | (top_g ^ top_g >> 1) != 0 {
            break;
        }
        f[used - 2] |= top_f << BITS;
        g[used - 2] |= top_g << BITS;
        (f[used - 1], g[used - 1]) = (0, 0);
        used -= 1;
    }
    used
}

/// `a + sign * b`, carried.
fn carried(a: Signed, b: &Signed, sign: i64) -> Signed {
    let mut carry = 0;
    let mut sum = [0; 5];
    for ((to, a), b) in sum.iter_mut().zip(a).zip(b) {
        carry += a + sign * b;
        *to = carry & MASK.cast_signed();
        carry >>= BITS;
    }
    // The last limb keeps its sign.
    sum[4] |= carry << BITS;
    sum
}

const fn to_signed(limbs: &Limbs) -> Signed {
    let [l0, l1, l2, l3] = *limbs;
    [
        (l0 & MASK).cast_signed(),
        ((l0 >> 62 | l1 << 2) & MASK).cast_signed(),
        ((l1 >> 60 | l2 << 4) & MASK).cast_signed(),
        ((l2 >> 58 | l3 << 6) & MASK).cast_signed(),
        (l3 >> 56).cast_signed(),
    ]
}

#[inline(always)]
fn product(a: i64, b: i64) -> i128 {
    i128::from(a) * i128::from(b)
}

/// Takes the lowest limb.
#[inline(always)]
fn pop(carry: &mut i128) -> i64 {
    let limb = low(*carry) & MASK;
    *carry >>= BITS;
    limb.cast_signed()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low half of it")]
#[inline(always)]
fn low(wide: i128) -> u64 {
    wide as u64
}

/// What is known to fit.
#[allow(clippy::cast_possible_truncation, reason = "the caller's bounds")]
#[inline(always)]
fn narrow(wide: i128) -> i64 {
    wide as i64
}
