//! ECDSA (FIPS 186-5 section 6.4.2) under a key that has a table.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use super::comb::Comb;
use super::field::{self, Field};
#[cfg(target_arch = "x86_64")]
use super::lanes;
use super::limbs;
use super::point::{Affine, Jacobian};
use super::scalar::{N, Scalar};

type Generator = Comb<11, 2>;
type Tiny = Comb<4, 2>;
type Small = Comb<6, 2>;
type Large = Comb<8, 2>;

/// 128 KiB, made when the first key gets a table.
static GENERATOR: LazyLock<Generator> = LazyLock::new(|| Comb::new(&Affine::GENERATOR));

/// Columns of two combs together.
const MAX_PAIRS: usize = Tiny::WIDTH + Generator::WIDTH;

/// How much memory a key's table may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableSize {
    /// 1 KiB: for keys of which there are very many.
    Tiny,
    /// 4 KiB, and a fifth to a third faster: for some.
    Small,
    /// 16 KiB, and faster by another seventh: for the few.
    Large,
}

impl TableSize {
    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Self; 3] = [Self::Tiny, Self::Small, Self::Large];
}

/// A P-256 key's table. It says nothing about whose key it is.
#[derive(Debug)]
pub struct KeyTable(Table);

#[derive(Debug)]
enum Table {
    Tiny(Tiny),
    Small(Small),
    Large(Large),
    #[cfg(target_arch = "x86_64")]
    Lanes(lanes::Table),
}

/// Whether `04 || x || y` is a point of the curve, with coordinates below p.
pub(in crate::jose) fn is_on_curve(point: &[u8; 65]) -> bool {
    affine(point).is_some()
}

fn affine(point: &[u8; 65]) -> Option<Affine> {
    let [4, coordinates @ ..] = point else { return None };
    Affine::from_coordinates(coordinates.first_chunk()?, coordinates.last_chunk()?)
}

impl KeyTable {
    /// Of a key `04 || x || y`; `None` if that is no point of the curve. Costs as much as one or two verifications by
    /// the library.
    pub fn new(point: &[u8; 65], size: TableSize) -> Option<Self> {
        let point = affine(point)?;
        #[cfg(target_arch = "x86_64")]
        if let Some(lanes) = lanes::Lanes::try_new() {
            return Some(Self(Table::Lanes(lanes::Table::new(lanes, &point, size))));
        }
        Some(Self::by_pairs(&point, size))
    }

    /// For any processor.
    pub(super) fn by_pairs(point: &Affine, size: TableSize) -> Self {
        LazyLock::force(&GENERATOR);
        Self(match size {
            TableSize::Tiny => Table::Tiny(Comb::new(point)),
            TableSize::Small => Table::Small(Comb::new(point)),
            TableSize::Large => Table::Large(Comb::new(point)),
        })
    }

    /// Whether `signature` (r || s, RFC 7518 section 3.4) is one of the key's over `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verify_digest(&Sha256::digest(message).into(), signature)
    }

    pub(super) fn verify_digest(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        let ([r, s], []) = signature.as_chunks() else { return false };
        let (Some(r), Some(s)) = (Scalar::from_bytes(r), Scalar::from_bytes(s)) else { return false };
        if r.is_zero() || s.is_zero() {
            return false;
        }
        let inverse = s.inverted();
        let (u1, u2) = (Scalar::reduced(digest).times(&inverse), r.times(&inverse));
        let (x, z) = match &self.0 {
            Table::Tiny(key) => sum(&u1, key, &u2),
            Table::Small(key) => sum(&u1, key, &u2),
            Table::Large(key) => sum(&u1, key, &u2),
            #[cfg(target_arch = "x86_64")]
            Table::Lanes(key) => key.sum(&u1, &u2),
        };
        has_x(&x, &z, r.limbs())
    }
}

/// x and z of the generator times one scalar and the key times another, which share the doublings.
///
/// What a column chooses in the two blocks of a comb is added first, by the cheaper formula for affine points, which
/// needs inverses: of all columns at once. That reads all entries in a row, too, so that those which are not in the
/// cache come at the same time.
fn sum<const TEETH: usize>(u1: &Scalar, key: &Comb<TEETH, 2>, u2: &Scalar) -> (Field, Field) {
    let (width, widest) = (Comb::<TEETH, 2>::WIDTH, Comb::<TEETH, 2>::WIDTH.max(Generator::WIDTH));
    let mut pairs = Vec::with_capacity(MAX_PAIRS);
    pairs.extend(key.chosen(&Comb::<TEETH, 2>::digits(u2)));
    pairs.extend(GENERATOR.chosen(&Generator::digits(u1)));
    let (mut inverses, mut space) = ([Field::ONE; MAX_PAIRS], [Field::ONE; MAX_PAIRS]);
    for (difference, pair) in inverses.iter_mut().zip(&pairs) {
        *difference = pair.difference();
    }
    let (used, _) = inverses.split_at_mut(pairs.len().min(MAX_PAIRS));
    if !field::invert_all(used, &mut space) {
        // No two entries of a table have the same x, whatever the key; if they had, nothing would be accepted here.
        return (Field::ONE, Field::ZERO);
    }
    let (of_key, of_generator) = pairs.split_at(width);
    let (key_inverses, generator_inverses) = inverses.split_at(width);
    let mut sum = Jacobian::INFINITY;
    for at in (0..widest).rev() {
        sum = sum.double();
        for (pairs, inverses) in [(of_key, key_inverses), (of_generator, generator_inverses)] {
            if let (Some(pair), Some(inverse)) = (pairs.get(at), inverses.get(at)) {
                sum = sum.add(&pair.sum(inverse));
            }
        }
    }
    (sum.x, sum.z)
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
}
