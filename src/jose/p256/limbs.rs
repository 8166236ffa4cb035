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

/// `a + b + carry`, and the carry.
#[allow(clippy::cast_possible_truncation, reason = "the halves of it")]
#[inline(always)]
pub(super) const fn adc(a: u64, b: u64, carry: u64) -> (u64, u64) {
    let wide = a as u128 + b as u128 + carry as u128;
    (wide as u64, (wide >> 64) as u64)
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
    let (l0, borrow) = sbb(a[0], b[0], 0);
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
