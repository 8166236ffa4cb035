//! ECDSA (FIPS 186-5 section 6.4.2), whichever way the sum of points is computed.

use super::field::Field;
use super::limbs;
use super::scalar::{N, Scalar};

/// Whether `signature` (r || s, RFC 7518 section 3.4) fits the digest under the key for which `sum` gives x and z of u1
/// times the generator and u2 times the key.
pub(super) fn verify(
    digest: &[u8; 32],
    signature: &[u8],
    sum: impl FnOnce(&Scalar, &Scalar) -> (Field, Field),
) -> bool {
    let ([r, s], []) = signature.as_chunks() else { return false };
    let (Some(r), Some(s)) = (Scalar::from_bytes(r), Scalar::from_bytes(s)) else { return false };
    if r.is_zero() || s.is_zero() {
        return false;
    }
    let inverse = s.inverted();
    let (u1, u2) = (Scalar::reduced(digest).times(&inverse), r.times(&inverse));
    let (x, z) = sum(&u1, &u2);
    has_x(&x, &z, r.limbs())
}

/// Whether the x of a sum is r modulo n: r itself, or r + n where that is below p. Compared times z^2, which spares the
/// division.
fn has_x(x: &Field, z: &Field, r: &[u64; 4]) -> bool {
    if z.is_zero() {
        // At infinity, which has no x; whatever x is here.
        return false;
    }
    let zz = z.square();
    let is = |wanted: &[u64; 4]| Field::from_limbs(wanted).is_some_and(|wanted| wanted.mul(&zz) == *x);
    let (above, carry) = limbs::add(r, &N);
    is(r) || carry == 0 && is(&above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_at_infinity_has_no_x() {
        let p = Field::from_raw([u64::MAX, 0xffff_ffff, 0, 0xffff_ffff_0000_0001]);
        for z in [Field::ZERO, p] {
            for x in [Field::ZERO, p, Field::ONE] {
                assert!(!has_x(&x, &z, &[1, 0, 0, 0]) && !has_x(&x, &z, &[0; 4]));
            }
        }
        assert!(has_x(&Field::small(7), &Field::ONE, &[7, 0, 0, 0]));
    }

    #[test]
    fn an_x_from_n_on_is_looked_for_below_p_only() {
        let has = |x: u64, r: &[u64; 4]| has_x(&Field::small(x), &Field::ONE, r);
        let p = [u64::MAX, 0xffff_ffff, 0, 0xffff_ffff_0000_0001];
        for (x, limit) in (0..10).flat_map(|x| [(x, p), (x, [0; 4])]) {
            // r + n is p + x, then 2^256 + x.
            let (r, _) = limbs::add(&limbs::sub(&limit, &N).0, &[x, 0, 0, 0]);
            assert!(!has(x, &r), "{x}");
        }
        let x = limbs::add(&N, &[3, 0, 0, 0]).0;
        let x = Field::from_limbs(&x).unwrap_or(Field::ZERO);
        assert!(has_x(&x, &Field::ONE, &[3, 0, 0, 0]) && !has_x(&x, &Field::ONE, &[4, 0, 0, 0]));
    }
}
