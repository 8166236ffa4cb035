//! Sums of four points at a time.
//!
//! None of the formulas looks at what it adds, and none but the doubling is right for all: equal points, opposite
//! ones and those at infinity have ways of their own, which lanes cannot go one by one. But where two of them meet,
//! the sum's z becomes a multiple of a difference that is zero, and every z that follows is a multiple of that one.
//! So a sum of all is right if its z is not zero in the end.

use super::fields::{Affines, Fields, Lanes};

/// Four points in Jacobian coordinates.
#[derive(Clone, Copy)]
pub(super) struct Jacobians {
    pub(super) x: Fields,
    pub(super) y: Fields,
    pub(super) z: Fields,
}

impl Lanes {
    #[inline(always)]
    pub(super) fn start(self, Affines { x, y }: Affines) -> Jacobians {
        Jacobians { x, y, z: self.one() }
    }

    /// Twice the points. No point has y = 0, for the group's order is odd.
    #[inline(always)]
    pub(super) fn double_points(self, Jacobians { x, y, z }: &Jacobians) -> Jacobians {
        let (zz, yy) = (self.square(z), self.square(y));
        let xyy = self.mul(x, &yy);
        let slope = self.triple(&self.mul(&self.sub(x, &zz), &self.add(x, &zz)));
        let x3 = self.sub_eight_times(&self.square(&slope), &xyy);
        let down = self.mul(&slope, &self.sub(&self.four_times(&xyy), &x3));
        let y3 = self.sub_eight_times(&down, &self.square(&yy));
        Jacobians { x: x3, y: y3, z: self.double(&self.mul(y, z)) }
    }

    /// z of the sum is z times the difference of the two x, made equal in scale.
    #[inline(always)]
    pub(super) fn add_points(self, Jacobians { x, y, z }: &Jacobians, other: &Affines) -> Jacobians {
        let zz = self.square(z);
        let h = self.sub(&self.mul(&other.x, &zz), x);
        let r = self.sub(&self.mul(&other.y, &self.mul(&zz, z)), y);
        let hh = self.square(&h);
        let hhh = self.mul(&hh, &h);
        let v = self.mul(x, &hh);
        let x3 = self.sub_and_twice(&self.square(&r), &hhh, &v);
        let y3 = self.sub(&self.mul(&r, &self.sub(&v, &x3)), &self.mul(y, &hhh));
        Jacobians { x: x3, y: y3, z: self.mul(z, &h) }
    }

    /// To each lane's point its partner's. Partners come to the same sum, by opposite h, r and z.
    #[inline(always)]
    pub(super) fn add_partner(self, Jacobians { x, y, z }: &Jacobians, distance: i64) -> Jacobians {
        let zz = self.square(z);
        let zzz = self.mul(&zz, z);
        let (x, y) = (self.mul(x, &self.of_partner(distance, &zz)), self.mul(y, &self.of_partner(distance, &zzz)));
        let (h, r) = (self.sub(&self.of_partner(distance, &x), &x), self.sub(&self.of_partner(distance, &y), &y));
        let hh = self.square(&h);
        let hhh = self.mul(&hh, &h);
        let v = self.mul(&x, &hh);
        let x3 = self.sub_and_twice(&self.square(&r), &hhh, &v);
        let y3 = self.sub(&self.mul(&r, &self.sub(&v, &x3)), &self.mul(&y, &hhh));
        Jacobians { x: x3, y: y3, z: self.mul(&self.mul(z, &self.of_partner(distance, z)), &h) }
    }
}
