//! ECDSA (FIPS 186-5 section 6.4.2) under a key that has a table.

use std::sync::LazyLock;

use super::comb::Comb;
use super::field::Field;
use super::limbs;
use super::point::{Affine, Jacobian};
use super::scalar::{N, Scalar};

type Generator = Comb<11, 2>;
static GENERATOR: LazyLock<Generator> = LazyLock::new(|| Comb::new(&Affine::GENERATOR));

/// A public key with its table.
#[derive(Debug)]
pub struct KeyTable<const TEETH: usize, const BLOCKS: usize>(Comb<TEETH, BLOCKS>);

impl<const TEETH: usize, const BLOCKS: usize> KeyTable<TEETH, BLOCKS> {
    /// From `04 || x || y`.
    pub fn new(point: &[u8; 65]) -> Option<Self> {
        let [4, coordinates @ ..] = point else { return None };
        let (x, y) = (coordinates.first_chunk()?, coordinates.last_chunk()?);
        Some(Self(Comb::new(&Affine::from_coordinates(x, y)?)))
    }

    /// Whether `signature` (r || s) is one over a message of that digest.
    #[must_use]
    pub fn verify(&self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let [r_bytes, s_bytes] = signature.as_chunks().0 else { return false };
        let (Some(r), Some(s)) = (Scalar::from_bytes(r_bytes), Scalar::from_bytes(s_bytes)) else { return false };
        if r.is_zero() || s.is_zero() {
            return false;
        }
        let w = s.inverted();
        let (u1, u2) = (Scalar::reduced(digest).times(&w), r.times(&w));
        let generator = &*GENERATOR;
        let (of_generator, of_key) = (Generator::digits(&u1), Comb::<TEETH, BLOCKS>::digits(&u2));
        self.0.fetch(&of_key);
        generator.fetch(&of_generator);
        let mut sum = Jacobian::INFINITY;
        for at in (0..Generator::WIDTH.max(Comb::<TEETH, BLOCKS>::WIDTH)).rev() {
            sum = sum.double();
            if at < Comb::<TEETH, BLOCKS>::WIDTH {
                sum = self.0.add_column(sum, &of_key, at);
            }
            if at < Generator::WIDTH {
                sum = generator.add_column(sum, &of_generator, at);
            }
        }
        has_x(&sum, r.limbs())
    }
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
