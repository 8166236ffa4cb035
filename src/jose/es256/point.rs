//! Points of the curve y^2 = x^3 - 3x + b, and their sums.

use std::hint::cold_path;

use super::field::Field;

/// b of the curve's equation.
const B: Field =
    constant(&[0x3bce_3c3e_27d2_604b, 0x651d_06b0_cc53_b0f6, 0xb3eb_bd55_7698_86bc, 0x5ac6_35d8_aa3a_93e7]);

/// A point that is not at infinity. As large as a line of the processor's cache, and aligned like one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub(super) struct Affine {
    pub(super) x: Field,
    pub(super) y: Field,
}

/// A point in Jacobian coordinates: `x / z^2` and `y / z^3`; at infinity where z is zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jacobian {
    pub(super) x: Field,
    pub(super) y: Field,
    pub(super) z: Field,
}

impl Affine {
    /// The generator of the group.
    pub(super) const GENERATOR: Self = Self {
        x: constant(&[0xf4a1_3945_d898_c296, 0x7703_7d81_2deb_33a0, 0xf8bc_e6e5_63a4_40f2, 0x6b17_d1f2_e12c_4247]),
        y: constant(&[0xcbb6_4068_37bf_51f5, 0x2bce_3357_6b31_5ece, 0x8ee7_eb4a_7c0f_9e16, 0x4fe3_42e2_fe1a_7f9b]),
    };

    /// From `04 || x || y` (SEC 1 section 2.3.3); `None` if that is no point of the curve, with coordinates below p.
    pub(super) fn from_sec1(point: &[u8; 65]) -> Option<Self> {
        let [4, coordinates @ ..] = point else { return None };
        Self::from_coordinates(coordinates.first_chunk()?, coordinates.last_chunk()?)
    }

    /// From its coordinates, big-endian; `None` if they are not below p or not on the curve.
    pub(super) fn from_coordinates(x: &[u8; 32], y: &[u8; 32]) -> Option<Self> {
        let (x, y) = (Field::from_bytes(x)?, Field::from_bytes(y)?);
        (y.square() == Self::right_side(&x)).then_some(Self { x, y })
    }

    /// Of the curve's equation.
    pub(super) fn right_side(x: &Field) -> Field {
        x.square().sub(&Field::small(3)).mul(x).add(&B)
    }

    #[inline(always)]
    pub(super) fn negate_if(&self, condition: bool) -> Self {
        Self { x: self.x, y: self.y.negate_if(condition) }
    }

    /// The sum with a point of another x; `inverse` is 1 divided by the difference of the two, `other.x - self.x`. Half
    /// the price of [`Jacobian::add`], if many inverses are made at once.
    #[inline(always)]
    pub(super) fn add(&self, other: &Self, inverse: &Field) -> Self {
        let slope = other.y.sub(&self.y).mul(inverse);
        let x = slope.square().sub(&self.x).sub(&other.x);
        Self { x, y: slope.mul(&self.x.sub(&x)).sub(&self.y) }
    }
}

impl Jacobian {
    pub(super) const INFINITY: Self = Self { x: Field::ONE, y: Field::ONE, z: Field::ZERO };

    pub(super) fn is_infinity(&self) -> bool {
        self.z.is_zero()
    }

    /// Twice the point. Right at infinity too: z stays zero. No point has y = 0, for the group's order is odd.
    ///
    /// With three halves of x^2 - z^4 for the slope, z is half of what the textbooks have, and nothing has to be
    /// doubled on the way.
    #[inline(always)]
    pub(super) fn double_inlined(&self) -> Self {
        let Self { x, y, z } = self;
        let (zz, yy) = (z.square(), y.square());
        let xyy = x.mul(&yy);
        let third = x.sub(&zz).mul(&x.add(&zz));
        let slope = third.add(&third.half());
        let x3 = slope.wide_square().less(&xyy).less(&xyy).reduced();
        let y3 = slope.wide_mul(&xyy.sub(&x3)).minus(&yy.wide_square()).reduced();
        Self { x: x3, y: y3, z: y.mul(z) }
    }

    /// The sum with a point that is not at infinity.
    #[inline(always)]
    pub(super) fn add_inlined(&self, other: &Affine) -> Self {
        if self.is_infinity() {
            return Self { x: other.x, y: other.y, z: Field::ONE };
        }
        let Self { x: x1, y: y1, z: z1 } = self;
        let zz = z1.square();
        let h = other.x.wide_mul(&zz).less(x1).reduced();
        let r = other.y.wide_mul(&zz.mul(z1)).less(y1).reduced();
        if h.is_zero() {
            // The same x: the same point, or its opposite.
            cold_path();
            return if r.is_zero() { self.double() } else { Self::INFINITY };
        }
        let hh = h.square();
        let hhh = hh.mul(&h);
        let v = x1.mul(&hh);
        let x3 = r.wide_square().less(&hhh).less(&v).less(&v).reduced();
        let y3 = r.wide_mul(&v.sub(&x3)).minus(&y1.wide_mul(&hhh)).reduced();
        Self { x: x3, y: y3, z: z1.mul(&h) }
    }

    /// The same as a function of its own: each takes some 7 KiB of instructions.
    #[inline(never)]
    pub(super) fn double(&self) -> Self {
        self.double_inlined()
    }

    /// The same as a function of its own.
    #[inline(never)]
    pub(super) fn add(&self, other: &Affine) -> Self {
        self.add_inlined(other)
    }
}

/// A coordinate that is known to be below p.
const fn constant(number: &[u64; 4]) -> Field {
    match Field::from_limbs(number) {
        Some(field) => field,
        None => Field::ZERO,
    }
}
