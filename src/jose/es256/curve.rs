//! ECDSA under a key that has no table.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use super::comb::Comb;
use super::ecdsa;
use super::mulx;
use super::point::Affine;
use super::windows::{Sum, Windows};

/// The generator's comb.
pub(super) type Generator = Comb<11, BLOCKS>;
/// Its blocks.
pub(super) const BLOCKS: usize = 2;

/// 128 KiB.
static GENERATOR: OnceLock<Generator> = OnceLock::new();

/// That the generator's table is there: with it, signatures can be checked under any key of the curve.
#[derive(Debug, Clone, Copy)]
pub struct Curve(&'static Generator);

impl Curve {
    /// Makes the table, which takes half a millisecond the first time.
    pub fn prepare() -> Self {
        Self(GENERATOR.get_or_init(|| Comb::new(&Affine::GENERATOR)))
    }

    /// Whether `signature` (r || s, RFC 7518 section 3.4) is one over `message` of the key `04 || x || y`. False too
    /// where that is no point of the curve.
    #[must_use]
    pub fn verify(self, point: &[u8; 65], message: &[u8], signature: &[u8]) -> bool {
        self.verify_digest(point, &Sha256::digest(message).into(), signature)
    }

    pub(super) fn verify_digest(self, point: &[u8; 65], digest: &[u8; 32], signature: &[u8]) -> bool {
        let Some(key) = Affine::from_sec1(point) else { return false };
        ecdsa::verify(digest, signature, |u1, u2| {
            let (u1, u2) = (Generator::digits(u1), Windows::of(u2));
            let sum = mulx::compute(Sum { generator: self.0, u1: &u1, key: &key, u2: &u2 });
            (sum.x, sum.z)
        })
    }

    pub(super) fn generator(self) -> &'static Generator {
        self.0
    }
}
