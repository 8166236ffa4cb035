#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test")]

use std::array::from_fn;

use proptest::prelude::*;

use super::*;
use crate::jose::es256::comb::{Comb, to_affine};
use crate::jose::es256::curve::Curve;
use crate::jose::es256::mulx;
use crate::jose::es256::parts::{Part, is, product, zero};

fn small(number: u64) -> Scalar {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    Scalar::reduced(&bytes)
}

fn times(scalar: &Scalar) -> Jacobian {
    Comb::<6, 2>::new(&Affine::GENERATOR).times(scalar)
}

/// A key that is this multiple of the generator: whether its own multiple and the generator's come to the right sum.
fn check(key: &Scalar, u1: &Scalar, u2: &Scalar, place: &str) {
    let point = to_affine(&times(key));
    let (digits, windows) = (Generator::digits(u1), Windows::of(u2));
    let sum = Sum { generator: Curve::prepare().generator(), u1: &digits, key: &point, u2: &windows };
    let expected = times(&u1.add(&product(u2, key)));
    for sum in [mulx::compute(Sum { ..sum }), sum.compute()] {
        assert!(is(&(sum.x, sum.z), &expected), "{place}");
        // The opposite point has the same x.
        let (zz, ee) = (sum.z.square(), expected.z.square());
        let same = sum.y.mul(&ee.mul(&expected.z)) == expected.y.mul(&zz.mul(&sum.z));
        assert!(same || expected.is_infinity(), "{place}");
    }
}

#[test]
fn the_odd_multiples_are_those_that_they_stand_for() {
    for key in (1..40).map(small).chain([zero().sub(&Scalar::ONE), zero().sub(&small(15)), Scalar::power_of_two(200)]) {
        let multiples = Multiples::of(&to_affine(&times(&key)));
        for (digit, size) in (1_i8..16).step_by(2).zip((1..).step_by(2)) {
            let expected = product(&key, &small(size));
            assert_eq!(multiples.times(digit), Some(to_affine(&times(&expected))));
            assert_eq!(multiples.times(-digit), Some(to_affine(&times(&zero().sub(&expected)))));
        }
        assert_eq!(multiples.times(0), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn digits_add_up_to_the_scalar(number in any::<[u8; 32]>(), ones in any::<bool>(), from in 0_usize..256) {
        // Long runs of ones or zeros, too: that is where carries go far.
        let run = if ones { Scalar::power_of_two(from).sub(&Scalar::ONE) } else { Scalar::power_of_two(from) };
        for scalar in [Scalar::reduced(&number), run, zero().sub(&run)] {
            let windows = Windows::of(&scalar);
            let sum = (0..POSITIONS).rev().fold(zero(), |sum, place| sum.add(&sum).add(&windows.digit(place)));
            prop_assert_eq!(sum, scalar);
            let places: Vec<_> = (0..POSITIONS).filter(|place| windows.at(*place) != 0).collect();
            prop_assert!(places.iter().all(|place| windows.at(*place) & 1 == 1 && windows.at(*place).abs() < 16));
            prop_assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= WINDOW));
            prop_assert_eq!(places.last().copied().unwrap_or_default(), windows.top);
        }
    }
}

#[test]
fn scalars_at_their_bounds_are_added_up_right() {
    let edges = [0, 1, 2, 15, 16, 17, 31, 32, 33].map(small);
    let edges: Vec<_> = edges.into_iter().chain(edges.map(|edge| zero().sub(&edge))).collect();
    for (u1, u2) in edges.iter().flat_map(|u1| edges.iter().map(move |u2| (u1, u2))) {
        for key in [&small(1), &zero().sub(&small(1)), &small(2), &Scalar::power_of_two(77)] {
            check(key, u1, u2, "at the bounds");
        }
    }
}

/// At each place under the key with which what is added is the sum so far, or its opposite.
#[test]
fn wherever_points_meet_the_sum_is_right() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut scalar = || Scalar::reduced(&from_fn(|_| random.u8(..)));
    let mut seen = 0;
    for u1 in [scalar(), zero(), scalar()] {
        let u2 = scalar();
        let (of_u1, of_u2) = (Generator::digits(&u1), Windows::of(&u2));
        let mut sum = Part { key: zero(), generator: zero() };
        for place in (0..POSITIONS).rev() {
            // All of it times what the doublings that are left will make of it.
            let of_key = Part { key: product(&of_u2.digit(place), &Scalar::power_of_two(place)), generator: zero() };
            let of_generator = |block| Part { key: zero(), generator: Generator::multiple_of(&of_u1, block, place) };
            let blocks = if place < Generator::WIDTH { BLOCKS } else { 0 };
            for next in std::iter::once(of_key).chain((0..blocks).map(of_generator)) {
                for key in [sum.meets(&next), sum.meets(&next.negate())].into_iter().flatten() {
                    check(&key, &u1, &u2, &format!("place {place}"));
                    seen += 1;
                }
                sum = sum.add(&next);
            }
        }
        assert!(sum.key == u2 && sum.generator == u1);
    }
    assert!(seen > 3 * 2 * 2 * Generator::WIDTH, "{seen}");
}
