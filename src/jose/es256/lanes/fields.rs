//! Four numbers modulo p at a time, one in each lane of a word of 256 bits.

use std::arch::x86_64::__m256i;

use super::super::field::Field;
use super::super::limbs::Limbs;

pulp::simd_type! {
    /// That this processor multiplies numbers of 52 bits in each lane of a word (AVX-512 IFMA, for words of 256 bits).
    pub(in crate::jose::es256) struct Lanes {
        avx: "avx",
        avx2: "avx2",
        avx512: "avx512f",
        narrow: "avx512vl",
        products: "avx512ifma",
    }
}

/// Bits a limb: what one multiplication takes.
const BITS: i32 = 52;
const MASK: u64 = (1 << BITS) - 1;
/// p = 2^256 - 2^224 + 2^192 + 2^96 - 1, limb by limb: 2^52 - 1, 2^44 - 1, 0, 2^36, 2^48 - 2^16.
const P: [u64; 5] = [MASK, (1 << 44) - 1, 0, 1 << 36, (1 << 48) - (1 << 16)];

/// Four numbers modulo p in Montgomery form (times 2^260), limb by limb.
///
/// Invariant: each is below 2^257, its limbs below 2^52. So the product of two is below 2^514 / 2^260 + p, which is
/// below 2^257 again.
#[derive(Clone, Copy)]
pub(super) struct Fields([__m256i; 5]);

/// A point of a table: x and y in Montgomery form (times 2^260), both below 2^256.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct Entry([u64; 8]);

/// Four points that are not at infinity.
#[derive(Clone, Copy)]
pub(super) struct Affines {
    pub(super) x: Fields,
    pub(super) y: Fields,
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test")]
impl Fields {
    /// From the limbs of each lane.
    pub(super) fn from_limbs(lanes: &[[u64; 5]; 4]) -> Self {
        Self(std::array::from_fn(|at| pulp::cast(lanes.map(|limbs| limbs[at]))))
    }

    pub(super) fn limbs(&self) -> [[u64; 5]; 4] {
        let words: [[u64; 4]; 5] = self.0.map(pulp::cast);
        std::array::from_fn(|lane| words.map(|word| word[lane]))
    }
}

impl Entry {
    pub(super) fn new(x: &Field, y: &Field) -> Self {
        const SIXTEEN: Field = Field::small(16);
        let ([x0, x1, x2, x3], [y0, y1, y2, y3]) = (x.mul(&SIXTEEN).raw(), y.mul(&SIXTEEN).raw());
        Self([x0, x1, x2, x3, y0, y1, y2, y3])
    }

    /// Any part of it: all of it lies in one line of the cache.
    #[inline(always)]
    pub(super) fn touch(&self) -> u64 {
        let [part, ..] = self.0;
        part
    }

    #[inline(always)]
    fn words(&self) -> (__m256i, __m256i) {
        let [x0, x1, x2, x3, y0, y1, y2, y3] = self.0;
        (pulp::cast([x0, x1, x2, x3]), pulp::cast([y0, y1, y2, y3]))
    }

    /// Its coordinates as they were.
    pub(super) fn coordinates(&self) -> (Field, Field) {
        let [x0, x1, x2, x3, y0, y1, y2, y3] = self.0;
        (a_sixteenth(&[x0, x1, x2, x3]), a_sixteenth(&[y0, y1, y2, y3]))
    }
}

/// From the Montgomery form of the lanes (times 2^260) to that of [`Field`] (times 2^256).
fn a_sixteenth(number: &Limbs) -> Field {
    Field::from_raw(*number).mul(&Field::from_raw([0, 0, 0, 1 << 60]))
}

impl Lanes {
    #[inline(always)]
    fn all(self, number: u64) -> __m256i {
        self.avx._mm256_set1_epi64x(number.cast_signed())
    }

    #[inline(always)]
    fn plus(self, a: __m256i, b: __m256i) -> __m256i {
        self.avx2._mm256_add_epi64(a, b)
    }

    #[inline(always)]
    fn minus(self, a: __m256i, b: __m256i) -> __m256i {
        self.avx2._mm256_sub_epi64(a, b)
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        self.avx2._mm256_or_si256(a, b)
    }

    #[inline(always)]
    fn left<const BY: i32>(self, a: __m256i) -> __m256i {
        self.avx2._mm256_slli_epi64::<{ BY }>(a)
    }

    #[inline(always)]
    fn right<const BY: i32>(self, a: __m256i) -> __m256i {
        self.avx2._mm256_srli_epi64::<BY>(a)
    }

    /// Keeps the sign.
    #[inline(always)]
    fn signed_right<const BY: u32>(self, a: __m256i) -> __m256i {
        self.avx512._mm256_srai_epi64::<BY>(a)
    }

    #[inline(always)]
    fn low(self, a: __m256i) -> __m256i {
        self.avx2._mm256_and_si256(a, self.all(MASK))
    }

    /// Adds `a * b` at this place and the next: 52 bits of the product each, of the low 52 bits of both factors.
    #[allow(clippy::indexing_slicing, reason = "at < 9, wherever it is called")]
    #[inline(always)]
    fn accumulate(self, sums: &mut [__m256i; 10], at: usize, a: __m256i, b: __m256i) {
        sums[at] = self.products._mm256_madd52lo_epu64(sums[at], a, b);
        sums[at + 1] = self.products._mm256_madd52hi_epu64(sums[at + 1], a, b);
    }

    /// 1 in each lane.
    #[inline(always)]
    pub(super) fn one(self) -> Fields {
        let [l0, l1, l2, l3] = const { Field::small(16).raw() };
        let [l0, l1, l2, l3, l4] = split(&[l0, l1, l2, l3]);
        Fields([self.all(l0), self.all(l1), self.all(l2), self.all(l3), self.all(l4)])
    }

    /// Limbs with signs, as such of a field element: carries what is above 2^256 into a multiple of p that is taken
    /// away, then each limb's rest into the next.
    ///
    /// Bounds: the limbs are between -2^60 and 2^60, the number of all of them v is not negative and below 2^262. With
    /// q = floor(l4 / 2^48), v - qp = (v - q * 2^256) + q * (2^224 - 2^192 - 2^96 + 1). The first part is at least what
    /// the four low limbs are, more than -2^218, and below 2^256 + 2^218; the second one is more than 2^223 for q > 0,
    /// and below 2^231. So the sum is below 2^257, and not negative: with q = 0 it is v. No l4 that comes here is
    /// negative; if one were (where v >= 0 needs low limbs that make up for it, so that q is -1 and l4 above -2^10), it
    /// would be near 2^256.
    #[inline(always)]
    fn settle(self, [l0, l1, l2, l3, l4]: [__m256i; 5]) -> Fields {
        let q = self.signed_right::<48>(l4);
        let l0 = self.plus(l0, q);
        let l1 = self.minus(l1, self.left::<44>(q));
        let l3 = self.minus(l3, self.left::<36>(q));
        let l4 = self.avx2._mm256_and_si256(l4, self.all((1 << 48) - 1));
        let l4 = self.plus(l4, self.left::<16>(q));
        let l1 = self.plus(l1, self.signed_right::<52>(l0));
        let l2 = self.plus(l2, self.signed_right::<52>(l1));
        let l3 = self.plus(l3, self.signed_right::<52>(l2));
        let l4 = self.plus(l4, self.signed_right::<52>(l3));
        Fields([self.low(l0), self.low(l1), self.low(l2), self.low(l3), l4])
    }

    #[inline(always)]
    pub(super) fn add(self, Fields(a): &Fields, Fields(b): &Fields) -> Fields {
        let mut sum = *a;
        for (limb, b) in sum.iter_mut().zip(b) {
            *limb = self.plus(*limb, *b);
        }
        self.settle(sum)
    }

    #[inline(always)]
    pub(super) fn double(self, a: &Fields) -> Fields {
        self.add(a, a)
    }

    #[inline(always)]
    pub(super) fn triple(self, Fields(a): &Fields) -> Fields {
        let mut triple = *a;
        for limb in &mut triple {
            *limb = self.plus(*limb, self.left::<1>(*limb));
        }
        self.settle(triple)
    }

    #[inline(always)]
    pub(super) fn four_times(self, Fields(a): &Fields) -> Fields {
        let mut product = *a;
        for limb in &mut product {
            *limb = self.left::<2>(*limb);
        }
        self.settle(product)
    }

    /// `a - b`; 3p is more than b may be.
    #[inline(always)]
    pub(super) fn sub(self, Fields(a): &Fields, Fields(b): &Fields) -> Fields {
        self.settle(self.less::<0, 3>(a, b))
    }

    /// `a - 8b`; 17p is more than 8b may be.
    #[inline(always)]
    pub(super) fn sub_eight_times(self, Fields(a): &Fields, Fields(b): &Fields) -> Fields {
        self.settle(self.less::<3, 17>(a, b))
    }

    /// `a - b - 2c`; 3p is more than b may be, 5p more than 2c.
    #[inline(always)]
    pub(super) fn sub_and_twice(self, Fields(a): &Fields, Fields(b): &Fields, Fields(c): &Fields) -> Fields {
        self.settle(self.less::<1, 5>(&self.less::<0, 3>(a, b), c))
    }

    /// `a - 2^SHIFT * b + MULTIPLE * p`, each limb by itself.
    #[inline(always)]
    fn less<const SHIFT: i32, const MULTIPLE: u64>(self, a: &[__m256i; 5], b: &[__m256i; 5]) -> [__m256i; 5] {
        let mut difference = *a;
        for ((limb, b), p) in difference.iter_mut().zip(b).zip(P) {
            *limb = self.minus(self.plus(*limb, self.all(MULTIPLE * p)), self.left::<SHIFT>(*b));
        }
        difference
    }

    /// The negative in those lanes whose bit is set; 3p is more than the number may be.
    #[inline(always)]
    pub(super) fn negate_where(self, lanes: u8, Fields(a): &Fields) -> Fields {
        let mut negated = *a;
        for (limb, p) in negated.iter_mut().zip(P) {
            *limb = self.avx512._mm256_mask_sub_epi64(*limb, lanes, self.all(3 * p), *limb);
        }
        self.settle(negated)
    }

    /// Bounds: a limb of the product is at most five low and five high halves of 52 bits; the reduction adds at most
    /// six more and a carry, so that all stay below 2^57.
    #[inline(always)]
    pub(super) fn mul(self, Fields(a): &Fields, Fields(b): &Fields) -> Fields {
        let mut sums = [self.avx._mm256_setzero_si256(); 10];
        for (from, a) in a.iter().enumerate() {
            for (by, b) in b.iter().enumerate() {
                self.accumulate(&mut sums, from + by, *a, *b);
            }
        }
        self.reduce(sums)
    }

    /// Each product of two different limbs counts twice.
    #[inline(always)]
    pub(super) fn square(self, Fields(a): &Fields) -> Fields {
        let mut sums = [self.avx._mm256_setzero_si256(); 10];
        for (from, limb) in a.iter().enumerate() {
            for (by, other) in a.iter().enumerate().skip(from + 1) {
                self.accumulate(&mut sums, from + by, *limb, *other);
            }
        }
        for sum in &mut sums {
            *sum = self.plus(*sum, *sum);
        }
        for (from, limb) in a.iter().enumerate() {
            self.accumulate(&mut sums, from + from, *limb, *limb);
        }
        self.reduce(sums)
    }

    /// Montgomery's reduction: five times the lowest limb times p is added, which makes its 52 bits zero since -1/p = 1
    /// modulo 2^52. Only what lies above them is carried on: `limb * p + limb = limb * (p + 1)`, and p + 1 has the
    /// limbs 0, 2^44, 0, 2^36, 2^48 - 2^16.
    #[inline(always)]
    fn reduce(self, mut sums: [__m256i; 10]) -> Fields {
        #[allow(clippy::indexing_slicing, reason = "constants below 6")]
        for at in 0..5 {
            let lowest = sums[at];
            sums[at + 1] = self.plus(sums[at + 1], self.right::<BITS>(lowest));
            self.accumulate(&mut sums, at + 1, lowest, self.all(P[1] + 1));
            self.accumulate(&mut sums, at + 3, lowest, self.all(P[3]));
            self.accumulate(&mut sums, at + 4, lowest, self.all(P[4]));
        }
        let [_, _, _, _, _, l0, l1, l2, l3, l4] = sums;
        let l1 = self.plus(l1, self.right::<BITS>(l0));
        let l2 = self.plus(l2, self.right::<BITS>(l1));
        let l3 = self.plus(l3, self.right::<BITS>(l2));
        let l4 = self.plus(l4, self.right::<BITS>(l3));
        Fields([self.low(l0), self.low(l1), self.low(l2), self.low(l3), l4])
    }

    /// To each lane what its partner has: the lane that is so many places away, 1 or 2.
    #[inline(always)]
    pub(super) fn of_partner(self, distance: i64, Fields([l0, l1, l2, l3, l4]): &Fields) -> Fields {
        let partners = self.avx._mm256_setr_epi64x(distance, 1 ^ distance, 2 ^ distance, 3 ^ distance);
        Fields([
            self.avx512._mm256_permutexvar_epi64(partners, *l0),
            self.avx512._mm256_permutexvar_epi64(partners, *l1),
            self.avx512._mm256_permutexvar_epi64(partners, *l2),
            self.avx512._mm256_permutexvar_epi64(partners, *l3),
            self.avx512._mm256_permutexvar_epi64(partners, *l4),
        ])
    }

    /// One point to each lane.
    #[inline(always)]
    pub(super) fn points(self, [e0, e1, e2, e3]: &[Entry; 4]) -> Affines {
        let ((x0, y0), (x1, y1), (x2, y2), (x3, y3)) = (e0.words(), e1.words(), e2.words(), e3.words());
        let (x, y) = (self.transposed([x0, x1, x2, x3]), self.transposed([y0, y1, y2, y3]));
        Affines { x: self.split(x), y: self.split(y) }
    }

    /// Four words of four numbers, as the first numbers of all, their second numbers and so on.
    #[inline(always)]
    fn transposed(self, [a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
        let (ab0, ab1) = (self.avx2._mm256_unpacklo_epi64(a, b), self.avx2._mm256_unpackhi_epi64(a, b));
        let (cd0, cd1) = (self.avx2._mm256_unpacklo_epi64(c, d), self.avx2._mm256_unpackhi_epi64(c, d));
        [
            self.avx2._mm256_permute2x128_si256::<0x20>(ab0, cd0),
            self.avx2._mm256_permute2x128_si256::<0x20>(ab1, cd1),
            self.avx2._mm256_permute2x128_si256::<0x31>(ab0, cd0),
            self.avx2._mm256_permute2x128_si256::<0x31>(ab1, cd1),
        ]
    }

    /// Numbers below 2^256 from four limbs of 64 bits to five of 52.
    #[inline(always)]
    fn split(self, [w0, w1, w2, w3]: [__m256i; 4]) -> Fields {
        Fields([
            self.low(w0),
            self.low(self.or(self.right::<52>(w0), self.left::<12>(w1))),
            self.low(self.or(self.right::<40>(w1), self.left::<24>(w2))),
            self.low(self.or(self.right::<28>(w2), self.left::<36>(w3))),
            self.right::<16>(w3),
        ])
    }

    /// What the first lane has.
    #[inline(always)]
    pub(super) fn first(self, Fields(a): &Fields) -> Field {
        joined(a.map(|limb| {
            let [first, ..]: [u64; 4] = pulp::cast(limb);
            first
        }))
    }
}

/// Four limbs of 64 bits as five of 52.
const fn split(&[w0, w1, w2, w3]: &Limbs) -> [u64; 5] {
    [w0 & MASK, (w0 >> 52 | w1 << 12) & MASK, (w1 >> 40 | w2 << 24) & MASK, (w2 >> 28 | w3 << 36) & MASK, w3 >> 16]
}

/// The limbs of a number below 2^257 as a field element of its own.
fn joined([l0, l1, l2, l3, l4]: [u64; 5]) -> Field {
    let number = [l0 | l1 << 52, l1 >> 12 | l2 << 40, l2 >> 24 | l3 << 28, l3 >> 36 | l4 << 16];
    // A sixteenth of 2^256 is 2^252.
    a_sixteenth(&number).add(&Field::from_raw([0, 0, 0, l4 >> 48 << 60]))
}
