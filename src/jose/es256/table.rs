//! ECDSA (FIPS 186-5 section 6.4.2) under a key that has a table.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use super::comb::{Comb, Digits};
use super::field::Field;
use super::limbs;
use super::point::{Affine, Jacobian};
use super::scalar::{N, Scalar};

type Generator = Comb<11, 2>;
type Small = Comb<6, 2>;
type Large = Comb<8, 2>;

/// 128 KiB, made when the first key gets a table.
static GENERATOR: LazyLock<Generator> = LazyLock::new(|| Comb::new(&Affine::GENERATOR));

/// How much memory a key's table may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableSize {
    /// 4 KiB: for keys of which there are many.
    Small,
    /// 16 KiB, and a sixth faster: for the few.
    Large,
}

/// A P-256 key's table. It says nothing about whose key it is.
#[derive(Debug)]
pub struct KeyTable(Table);

#[derive(Debug)]
enum Table {
    Small(Small),
    Large(Large),
}

impl KeyTable {
    /// Of a key `04 || x || y`; `None` if that is no point of the curve. Costs about as much as a verification by the
    /// library.
    pub fn new(point: &[u8; 65], size: TableSize) -> Option<Self> {
        let [4, coordinates @ ..] = point else { return None };
        let (x, y) = (coordinates.first_chunk()?, coordinates.last_chunk()?);
        let point = Affine::from_coordinates(x, y)?;
        LazyLock::force(&GENERATOR);
        Some(Self(match size {
            TableSize::Small => Table::Small(Comb::new(&point)),
            TableSize::Large => Table::Large(Comb::new(&point)),
        }))
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
        let of_generator = Generator::digits(&u1);
        let sum = match &self.0 {
            Table::Small(key) => sum(&of_generator, key, &Small::digits(&u2)),
            Table::Large(key) => sum(&of_generator, key, &Large::digits(&u2)),
        };
        has_x(&sum, r.limbs())
    }
}

/// The generator times one scalar and the key times another, which share the doublings.
fn sum<const TEETH: usize, const BLOCKS: usize>(
    of_generator: &Digits,
    key: &Comb<TEETH, BLOCKS>,
    of_key: &Digits,
) -> Jacobian {
    let generator = &*GENERATOR;
    key.fetch(of_key);
    generator.fetch(of_generator);
    let mut sum = Jacobian::INFINITY;
    for at in (0..Generator::WIDTH.max(Comb::<TEETH, BLOCKS>::WIDTH)).rev() {
        sum = sum.double();
        sum = key.add_column(&sum, of_key, at);
        sum = generator.add_column(&sum, of_generator, at);
    }
    sum
}

/// Whether the point's x is r modulo n: r itself, or r + n where that is below p. Compared times z^2, which spares the
/// division.
fn has_x(point: &Jacobian, r: &[u64; 4]) -> bool {
    if point.is_infinity() {
        return false;
    }
    let zz = point.z.square();
    let is = |x: &[u64; 4]| Field::from_limbs(x).is_some_and(|x| x.mul(&zz) == point.x);
    let (above, carry) = limbs::add(r, &N);
    is(r) || carry == 0 && is(&above)
}
