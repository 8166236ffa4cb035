//! 256-bit numbers as four limbs, least significant first: what the field and the scalars share.

/// Four limbs, least significant first.
pub(super) type Limbs = [u64; 4];

/// `a + b * c + carry`, as low and high limb; it cannot overflow.
#[allow(clippy::cast_possible_truncation, reason = "the halves of it")]
#[inline(always)]
pub(super) const fn mac(a: u64, b: u64, c: u64, carry: u64) -> (u64, u64) {
    let wide = a as u128 + b as u128 * c as u128 + carry as u128;
    (wide as u64, (wide >> 64) as u64)
}

/// `a + b + carry`, and the carry: 0 or 1, as the one that goes in.
#[inline(always)]
pub(super) const fn adc(a: u64, b: u64, carry: u64) -> (u64, u64) {
    let (sum, one) = a.overflowing_add(b);
    let (sum, other) = sum.overflowing_add(carry);
    (sum, one as u64 | other as u64)
}

/// `a - b - borrow`, and the borrow: 0 or 1.
#[inline(always)]
pub(super) const fn sbb(a: u64, b: u64, borrow: u64) -> (u64, u64) {
    let (difference, one) = a.overflowing_sub(b);
    let (difference, other) = difference.overflowing_sub(borrow);
    (difference, one as u64 | other as u64)
}

/// `a + b`, and the carry.
#[inline(always)]
pub(super) const fn add(a: &Limbs, b: &Limbs) -> (Limbs, u64) {
    let (l0, carry) = adc(a[0], b[0], 0);
    let (l1, carry) = adc(a[1], b[1], carry);
    let (l2, carry) = adc(a[2], b[2], carry);
    let (l3, carry) = adc(a[3], b[3], carry);
    ([l0, l1, l2, l3], carry)
}

/// `a - b`, and the borrow.
#[inline(always)]
pub(super) const fn sub(a: &Limbs, b: &Limbs) -> (Limbs, u64) {
    sub_with(a, b, 0)
}

/// `a - b - borrow`, and the borrow.
#[inline(always)]
pub(super) const fn sub_with(a: &Limbs, b: &Limbs, borrow: u64) -> (Limbs, u64) {
    let (l0, borrow) = sbb(a[0], b[0], borrow);
    let (l1, borrow) = sbb(a[1], b[1], borrow);
    let (l2, borrow) = sbb(a[2], b[2], borrow);
    let (l3, borrow) = sbb(a[3], b[3], borrow);
    ([l0, l1, l2, l3], borrow)
}

/// A number below twice the modulus, its 257th bit apart, made smaller than the modulus.
#[inline(always)]
pub(super) const fn reduce_once(top: u64, number: &Limbs, modulus: &Limbs) -> Limbs {
    let (reduced, borrow) = sub(number, modulus);
    if top >= borrow { reduced } else { *number }
}

/// `a + b` modulo `modulus`; both are below it.
#[inline(always)]
pub(super) const fn add_mod(a: &Limbs, b: &Limbs, modulus: &Limbs) -> Limbs {
    let (sum, carry) = add(a, b);
    reduce_once(carry, &sum, modulus)
}

/// `a * b`.
#[inline(always)]
pub(super) const fn product(a: &Limbs, b: &Limbs) -> [u64; 8] {
    let t = [0; 4];
    let (t0, t) = row(&t, a, b[0]);
    let (t1, t) = row(&t, a, b[1]);
    let (t2, t) = row(&t, a, b[2]);
    let (t3, [t4, t5, t6, t7]) = row(&t, a, b[3]);
    [t0, t1, t2, t3, t4, t5, t6, t7]
}

/// `t + a * b`: the lowest limb and the four above it.
///
/// All low halves first, then all high halves: two chains of carries, instead of one that starts anew with each limb.
#[inline(always)]
const fn row(&[t0, t1, t2, t3]: &Limbs, a: &Limbs, b: u64) -> (u64, Limbs) {
    let (l0, h0) = mac(0, a[0], b, 0);
    let (l1, h1) = mac(0, a[1], b, 0);
    let (l2, h2) = mac(0, a[2], b, 0);
    let (l3, h3) = mac(0, a[3], b, 0);
    let (t0, carry) = adc(t0, l0, 0);
    let (t1, carry) = adc(t1, l1, carry);
    let (t2, carry) = adc(t2, l2, carry);
    let (t3, t4) = adc(t3, l3, carry);
    let (t1, carry) = adc(t1, h0, 0);
    let (t2, carry) = adc(t2, h1, carry);
    let (t3, carry) = adc(t3, h2, carry);
    let (t4, _) = adc(t4, h3, carry);
    (t0, [t1, t2, t3, t4])
}

/// `a * a`: each product of two different limbs counts twice.
#[inline(always)]
pub(super) const fn square(a: &Limbs) -> [u64; 8] {
    let [a0, a1, a2, a3] = *a;
    let (t1, carry) = mac(0, a0, a1, 0);
    let (t2, carry) = mac(0, a0, a2, carry);
    let (t3, t4) = mac(0, a0, a3, carry);
    let (t3, carry) = mac(t3, a1, a2, 0);
    let (t4, t5) = mac(t4, a1, a3, carry);
    let (t5, t6) = mac(t5, a2, a3, 0);
    let (t1, carry) = adc(t1, t1, 0);
    let (t2, carry) = adc(t2, t2, carry);
    let (t3, carry) = adc(t3, t3, carry);
    let (t4, carry) = adc(t4, t4, carry);
    let (t5, carry) = adc(t5, t5, carry);
    let (t6, t7) = adc(t6, t6, carry);
    let (t0, h0) = mac(0, a0, a0, 0);
    let (l1, h1) = mac(0, a1, a1, 0);
    let (l2, h2) = mac(0, a2, a2, 0);
    let (l3, h3) = mac(0, a3, a3, 0);
    let (t1, carry) = adc(t1, h0, 0);
    let (t2, carry) = adc(t2, l1, carry);
    let (t3, carry) = adc(t3, h1, carry);
    let (t4, carry) = adc(t4, l2, carry);
    let (t5, carry) = adc(t5, h2, carry);
    let (t6, carry) = adc(t6, l3, carry);
    let (t7, _) = adc(t7, h3, carry);
    [t0, t1, t2, t3, t4, t5, t6, t7]
}

/// 64 bits of a number, from that bit on.
#[inline(always)]
pub(super) fn window(number: &Limbs, from: usize) -> u64 {
    let limb = |at: usize| number.get(at).copied().unwrap_or_default();
    let (at, shift) = (from / 64, from % 64);
    let low = limb(at) >> shift;
    if shift == 0 { low } else { low | limb(at + 1) << (64 - shift) }
}

/// From 32 bytes, big-endian.
pub(super) const fn from_bytes(bytes: &[u8; 32]) -> Limbs {
    let mut limbs = [0; 4];
    let mut at = 0;
    while at < 32 {
        #[allow(clippy::indexing_slicing, reason = "at < 32")]
        {
            limbs[3 - at / 8] = limbs[3 - at / 8] << 8 | bytes[at] as u64;
        }
        at += 1;
    }
    limbs
}

/// 2^512 modulo `modulus`, which is above 2^255: what takes a number into Montgomery form.
pub(super) const fn montgomery_square(modulus: &Limbs) -> Limbs {
    let (mut power, _) = sub(&[0; 4], modulus);
    let mut doublings = 0;
    while doublings < 256 {
        power = add_mod(&power, &power, modulus);
        doublings += 1;
    }
    power
}
