//! ECDSA under a key that has a table.

use sha2::{Digest as _, Sha256};

use super::comb::Comb;
use super::curve::{Curve, Generator};
use super::ecdsa;
use super::field::{self, Field};
#[cfg(target_arch = "x86_64")]
use super::lanes;
use super::mulx::{self, Computation};
use super::point::{Affine, Jacobian};
use super::scalar::Scalar;

type Tiny = Comb<4, 2>;
type Small = Comb<6, 2>;
type Large = Comb<8, 2>;

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
    Tiny(Curve, Tiny),
    Small(Curve, Small),
    Large(Curve, Large),
    #[cfg(target_arch = "x86_64")]
    Lanes(lanes::Table),
}

/// Whether `04 || x || y` is a point of the curve, with coordinates below p.
pub(in crate::jose) fn is_on_curve(point: &[u8; 65]) -> bool {
    Affine::from_sec1(point).is_some()
}

impl KeyTable {
    /// Of a key `04 || x || y`; `None` if that is no point of the curve. Costs as much as one or two verifications by
    /// the library.
    pub fn new(point: &[u8; 65], size: TableSize) -> Option<Self> {
        let point = Affine::from_sec1(point)?;
        #[cfg(target_arch = "x86_64")]
        if let Some(lanes) = lanes::Lanes::try_new() {
            return Some(Self(Table::Lanes(lanes::Table::new(lanes, &point, size))));
        }
        Some(Self::by_pairs(&point, size))
    }

    /// For any processor.
    pub(super) fn by_pairs(point: &Affine, size: TableSize) -> Self {
        let curve = Curve::prepare();
        Self(match size {
            TableSize::Tiny => Table::Tiny(curve, Comb::new(point)),
            TableSize::Small => Table::Small(curve, Comb::new(point)),
            TableSize::Large => Table::Large(curve, Comb::new(point)),
        })
    }

    /// Whether `signature` (r || s, RFC 7518 section 3.4) is one of the key's over `message`.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verify_digest(&Sha256::digest(message).into(), signature)
    }

    pub(super) fn verify_digest(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        ecdsa::verify(digest, signature, |u1, u2| match &self.0 {
            Table::Tiny(curve, key) => mulx::compute(Pairs { curve: *curve, u1, key, u2 }),
            Table::Small(curve, key) => mulx::compute(Pairs { curve: *curve, u1, key, u2 }),
            Table::Large(curve, key) => mulx::compute(Pairs { curve: *curve, u1, key, u2 }),
            #[cfg(target_arch = "x86_64")]
            Table::Lanes(key) => key.sum(u1, u2),
        })
    }
}

/// The generator times one scalar and the key times another, which share the doublings: x and z of the sum.
///
/// What a column chooses in the two blocks of a comb is added first, by the cheaper formula for affine points, which
/// needs inverses: of all columns at once. That reads all entries in a row, too, so that those which are not in the
/// cache come at the same time.
struct Pairs<'a, const TEETH: usize> {
    curve: Curve,
    u1: &'a Scalar,
    key: &'a Comb<TEETH, 2>,
    u2: &'a Scalar,
}

impl<const TEETH: usize> Computation for Pairs<'_, TEETH> {
    type Output = (Field, Field);

    #[inline(always)]
    fn compute(self) -> Self::Output {
        let (width, widest) = (Comb::<TEETH, 2>::WIDTH, Comb::<TEETH, 2>::WIDTH.max(Generator::WIDTH));
        let mut pairs = Vec::with_capacity(MAX_PAIRS);
        pairs.extend(self.key.chosen(&Comb::<TEETH, 2>::digits(self.u2)));
        pairs.extend(self.curve.generator().chosen(&Generator::digits(self.u1)));
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
            sum = sum.double_inlined();
            for (pairs, inverses) in [(of_key, key_inverses), (of_generator, generator_inverses)] {
                if let (Some(pair), Some(inverse)) = (pairs.get(at), inverses.get(at)) {
                    sum = sum.add_inlined(&pair.sum(inverse));
                }
            }
        }
        (sum.x, sum.z)
    }
}
