//! What points add up to on the way, as multiples: under which key one meets another can then be computed.

use super::field::Field;
use super::point::Jacobian;
use super::scalar::Scalar;

/// A multiple of the key and one of the generator.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) key: Scalar,
    pub(super) generator: Scalar,
}

pub(super) fn zero() -> Scalar {
    Scalar::reduced(&[0; 32])
}

/// `a * b`, by inversions: nothing else makes a factor.
pub(super) fn product(a: &Scalar, b: &Scalar) -> Scalar {
    if b.is_zero() { *b } else { a.times(&Scalar::ONE.times(&b.inverted()).inverted()) }
}

impl Part {
    pub(super) fn add(&self, other: &Self) -> Self {
        Self { key: self.key.add(&other.key), generator: self.generator.add(&other.generator) }
    }

    pub(super) fn negate(&self) -> Self {
        Self { key: zero().sub(&self.key), generator: zero().sub(&self.generator) }
    }

    /// The key, as a multiple of the generator, under which this is the other; `None` where it is under none, or under
    /// that which is no key.
    pub(super) fn meets(&self, other: &Self) -> Option<Scalar> {
        let (key, generator) = (self.key.sub(&other.key), other.generator.sub(&self.generator));
        (!key.is_zero() && !generator.is_zero()).then(|| generator.times(&key.inverted()))
    }
}

/// Whether a point with that x and z, or with the opposite y, is the expected one.
pub(super) fn is((x, z): &(Field, Field), expected: &Jacobian) -> bool {
    if expected.is_infinity() || z.is_zero() {
        return expected.is_infinity() && z.is_zero();
    }
    x.mul(&expected.z.square()) == expected.x.mul(&z.square())
}
