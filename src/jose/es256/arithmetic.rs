//! Numbers and points against a plain reference and against `p256`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "a test")]

use std::collections::BTreeSet;

use p256::ProjectivePoint;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::elliptic_curve::{Group as _, PrimeField as _};
use proptest::prelude::*;

use super::comb::Comb;
use super::field::{self, Field};
use super::limbs::{self, Limbs};
use super::point::{Affine, Jacobian};
use super::scalar::{N, Scalar};
use super::table::is_on_curve;

const P: Limbs = [u64::MAX, 0xffff_ffff, 0, 0xffff_ffff_0000_0001];

/// Limbs at which carries begin and end, and any other.
fn limb() -> impl Strategy<Value = u64> {
    let edges = [0, 1, 2, u64::MAX, u64::MAX - 1, 0xffff_ffff, 1 << 32, P[3], P[3] - 1, P[3] + 1, N[0], N[1], N[3]];
    prop_oneof![prop::sample::select(edges.to_vec()), any::<u64>()]
}

fn number() -> impl Strategy<Value = Limbs> {
    prop_oneof![
        [limb(), limb(), limb(), limb()],
        // Around the moduli, and around 2^256.
        (prop::sample::select(vec![P, N, [0; 4]]), -4i64..4).prop_map(|(near, by)| {
            let by = [
                by.cast_unsigned(),
                (by >> 63).cast_unsigned(),
                (by >> 63).cast_unsigned(),
                (by >> 63).cast_unsigned(),
            ];
            limbs::add(&near, &by).0
        }),
    ]
}

fn bytes(limbs: &Limbs) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, limb) in bytes.chunks_exact_mut(8).zip(limbs.iter().rev()) {
        to.copy_from_slice(&limb.to_be_bytes());
    }
    bytes
}

/// `a * b` modulo `modulus`, bit by bit.
fn plain_product(a: &Limbs, b: &Limbs, modulus: &Limbs) -> Limbs {
    let a = reduced(a, modulus);
    (0..256).rev().fold([0; 4], |sum, bit| {
        let sum = limbs::add_mod(&sum, &sum, modulus);
        if b[bit / 64] >> (bit % 64) & 1 == 1 { limbs::add_mod(&sum, &a, modulus) } else { sum }
    })
}

fn reduced(number: &Limbs, modulus: &Limbs) -> Limbs {
    limbs::reduce_once(0, number, modulus)
}

/// Any limbs as a field element's own, and the number that it then is.
fn raw(number: &Limbs) -> (Field, Limbs) {
    // Division by 2^256, 256 halvings.
    let value = (0..256).fold(reduced(number, &P), |value, _| {
        let ([l0, l1, l2, l3], top) = if value[0] & 1 == 1 { limbs::add(&value, &P) } else { (value, 0) };
        [l0 >> 1 | l1 << 63, l1 >> 1 | l2 << 63, l2 >> 1 | l3 << 63, l3 >> 1 | top << 63]
    });
    (Field::from_raw(*number), value)
}

fn value(field: &Field) -> Limbs {
    raw(&field.raw()).1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_field_is_that_of_integers_modulo_p(a in number(), b in number()) {
        let ((x, a), (y, b)) = (raw(&a), raw(&b));
        prop_assert_eq!(value(&x.mul(&y)), plain_product(&a, &b, &P));
        prop_assert_eq!(value(&x.square()), plain_product(&a, &a, &P));
        prop_assert_eq!(value(&x.add(&y)), limbs::add_mod(&a, &b, &P));
        prop_assert_eq!(value(&x.sub(&y)), {
            let minus = limbs::sub(&P, &b).0;
            limbs::add_mod(&a, &reduced(&minus, &P), &P)
        });
        prop_assert_eq!(x.half().double(), x);
        prop_assert_eq!(x.negate().add(&x), Field::ZERO);
        prop_assert_eq!(x.is_zero(), a == [0; 4]);
        prop_assert_eq!(x == y, a == b);
        let inverse = x.invert();
        prop_assert_eq!(inverse.mul(&x), if x.is_zero() { Field::ZERO } else { Field::ONE });
    }

    #[test]
    fn differences_before_the_reduction_are_those_after_it(
        a in number(), b in number(), c in number(), d in number(),
    ) {
        let ((x, _), (y, _), (v, _), (w, _)) = (raw(&a), raw(&b), raw(&c), raw(&d));
        prop_assert_eq!(x.wide_mul(&y).reduced(), x.mul(&y));
        prop_assert_eq!(x.wide_square().reduced(), x.square());
        prop_assert_eq!(x.wide_mul(&y).less(&v).reduced(), x.mul(&y).sub(&v));
        prop_assert_eq!(x.wide_square().less(&v).less(&v).less(&w).reduced(), x.square().sub(&v).sub(&v).sub(&w));
        prop_assert_eq!(x.wide_mul(&y).minus(&v.wide_mul(&w)).reduced(), x.mul(&y).sub(&v.mul(&w)));
        prop_assert_eq!(x.wide_mul(&y).minus(&x.wide_mul(&y)).reduced(), Field::ZERO);
        prop_assert_eq!(x.wide_square().minus(&v.wide_square()).reduced(), x.square().sub(&v.square()));
    }

    #[test]
    fn a_number_from_p_on_is_no_field_element(a in number()) {
        let below = a.iter().rev().lt(P.iter().rev());
        prop_assert_eq!(Field::from_bytes(&bytes(&a)).is_some(), below);
        if let Some(field) = Field::from_limbs(&a) {
            prop_assert_eq!(value(&field), a);
        }
    }

    #[test]
    fn scalars_are_those_of_p256(a in number(), b in number()) {
        let (x, y) = (Scalar::reduced(&bytes(&a)), Scalar::reduced(&bytes(&b)));
        let own = Option::<p256::Scalar>::from(p256::Scalar::from_repr(bytes(&a).into()));
        prop_assert_eq!(Scalar::from_bytes(&bytes(&a)).is_some(), own.is_some());
        let theirs = |scalar: &Scalar| p256::Scalar::from_repr(bytes(scalar.limbs()).into()).unwrap();
        let repr = |scalar: p256::Scalar| <[u8; 32]>::from(scalar.to_repr());
        prop_assert_eq!(bytes(x.add(&y).limbs()), repr(theirs(&x) + theirs(&y)));
        prop_assert_eq!(bytes(x.sub(&y).limbs()), repr(theirs(&x) - theirs(&y)));
        prop_assert_eq!(x.half().add(&x.half()), x);
        let inverse = Option::<p256::Scalar>::from(theirs(&y).invert()).unwrap_or_default();
        prop_assert_eq!(bytes(x.times(&y.inverted()).limbs()), repr(theirs(&x) * inverse));
    }
}

/// A difference of products that is below -p * 2^256, for which p has to be added twice.
#[test]
fn the_least_difference_of_products_is_right_too() {
    let largest = raw(&[u64::MAX; 4]).0;
    for (x, y) in [(Field::ZERO, Field::ZERO), (Field::ONE, Field::ZERO), (raw(&[1, 0, 0, 0]).0, raw(&[1, 0, 0, 0]).0)]
    {
        assert_eq!(x.wide_mul(&y).minus(&largest.wide_square()).reduced(), x.mul(&y).sub(&largest.square()));
        assert_eq!(largest.wide_square().minus(&x.wide_mul(&y)).reduced(), largest.square().sub(&x.mul(&y)));
    }
}

#[test]
fn all_inverses_at_once_are_those_one_by_one() {
    let mut numbers: Vec<Field> = (1..50).map(Field::small).collect();
    let single: Vec<Field> = numbers.iter().map(Field::invert).collect();
    let mut space = numbers.clone();
    assert!(field::invert_all(&mut numbers, &mut space));
    assert_eq!(numbers, single);
    assert!(!field::invert_all(&mut [Field::ONE, Field::ZERO], &mut [Field::ONE; 2]));
}

fn times_generator(scalar: &Scalar) -> ProjectivePoint {
    ProjectivePoint::GENERATOR * p256::Scalar::from_repr(bytes(scalar.limbs()).into()).unwrap()
}

fn own(point: &ProjectivePoint) -> Jacobian {
    let encoded = point.to_affine().to_sec1_point(false);
    match (encoded.x(), encoded.y()) {
        (Some(x), Some(y)) => {
            let (x, y): ([u8; 32], [u8; 32]) = (x.as_slice().try_into().unwrap(), y.as_slice().try_into().unwrap());
            Jacobian::INFINITY.add(&Affine::from_coordinates(&x, &y).unwrap())
        }
        _ => Jacobian::INFINITY,
    }
}

fn same(a: &Jacobian, b: &Jacobian) -> bool {
    let (aa, bb) = (a.z.square(), b.z.square());
    a.is_infinity() == b.is_infinity()
        && (a.is_infinity() || a.x.mul(&bb) == b.x.mul(&aa) && a.y.mul(&bb).mul(&b.z) == b.y.mul(&aa).mul(&a.z))
}

#[test]
fn sums_of_points_are_those_of_p256_in_every_exceptional_case() {
    // Each point with a z that is not 1, too.
    let multiples: Vec<ProjectivePoint> = (-5i64..=5)
        .map(|k| {
            let of = ProjectivePoint::GENERATOR * p256::Scalar::from(k.unsigned_abs());
            if k < 0 { -of } else { of }
        })
        .collect();
    for a in &multiples {
        let detour = |point: &ProjectivePoint| {
            let far = own(&(*point - ProjectivePoint::GENERATOR * p256::Scalar::from(1000u64)));
            let back = own(&(ProjectivePoint::GENERATOR * p256::Scalar::from(1000u64)));
            far.add(&Affine { x: back.x, y: back.y })
        };
        for start in [own(a), detour(a)] {
            assert!(same(&start, &own(a)));
            assert!(same(&start.double(), &own(&a.double())));
            for b in multiples.iter().filter(|b| **b != ProjectivePoint::IDENTITY) {
                let other = own(b);
                assert!(same(&start.add(&Affine { x: other.x, y: other.y }), &own(&(a + b))));
            }
        }
    }
}

#[test]
fn only_points_of_the_curve_are_taken() {
    let encoded = (ProjectivePoint::GENERATOR).to_affine().to_sec1_point(false);
    let x: [u8; 32] = encoded.x().unwrap().as_slice().try_into().unwrap();
    let y: [u8; 32] = encoded.y().unwrap().as_slice().try_into().unwrap();
    assert_eq!(Affine::from_coordinates(&x, &y), Some(Affine::GENERATOR));
    assert_eq!(Affine::from_coordinates(&y, &x), None);
    assert_eq!(Affine::from_coordinates(&[0; 32], &[0; 32]), None);
    assert_eq!(Affine::from_coordinates(&[0xff; 32], &y), None);
}

proptest! {
    /// What a client says to be a point: numbers at the edges, points, and points of which one bit is wrong.
    #[test]
    fn what_is_on_the_curve_is_what_p256_takes(
        (x, y) in (number(), number()), multiple in 1_u64.., first in prop_oneof![30 => Just(4_u8), 1 => any::<u8>()],
        flipped in prop::option::of(0_usize..512), of_curve: bool,
    ) {
        let mut point = [first; 65];
        point[1..33].copy_from_slice(&bytes(&x));
        point[33..].copy_from_slice(&bytes(&y));
        if of_curve {
            let encoded = (ProjectivePoint::GENERATOR * p256::Scalar::from(multiple)).to_affine().to_sec1_point(false);
            point[1..].copy_from_slice(&encoded.as_bytes()[1..]);
            if let Some(bit) = flipped {
                point[1 + bit / 8] ^= 1 << (bit % 8);
            }
        }
        prop_assert_eq!(is_on_curve(&point), p256::PublicKey::from_sec1_bytes(&point).is_ok());
    }
}

/// Which multiples of the point the entries are does not depend on the point: where they are right for the generator,
/// no sum on the way was one of equal or opposite points, nor is it for any other. The same goes for two entries with
/// the same x, which the formula for pairs could not add.
fn entries_are_right<const TEETH: usize, const BLOCKS: usize>() {
    let comb = Comb::<TEETH, BLOCKS>::new(&Affine::GENERATOR);
    let width = Comb::<TEETH, BLOCKS>::WIDTH;
    let entries = comb.entries();
    assert_eq!(entries.len(), BLOCKS << (TEETH - 1));
    let different: BTreeSet<Limbs> = entries.iter().map(|entry| entry.x.number()).collect();
    assert_eq!(different.len(), entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let (block, signs) = (at >> (TEETH - 1), at & ((1 << (TEETH - 1)) - 1));
        let multiple = (0..TEETH).fold(Scalar::reduced(&[0; 32]), |sum, tooth| {
            let power = Scalar::power_of_two(tooth * width * BLOCKS + block * width);
            if tooth == TEETH - 1 || signs >> tooth & 1 == 1 { sum.add(&power) } else { sum.sub(&power) }
        });
        assert!(same(&own(&times_generator(&multiple)), &Jacobian::INFINITY.add(entry)), "{TEETH} x {BLOCKS}: {at}");
    }
}

#[test]
fn every_entry_of_every_shape_is_the_multiple_that_it_stands_for() {
    entries_are_right::<4, 2>();
    entries_are_right::<6, 2>();
    entries_are_right::<8, 2>();
    entries_are_right::<11, 2>();
    entries_are_right::<3, 4>();
    entries_are_right::<5, 4>();
    entries_are_right::<7, 4>();
    entries_are_right::<10, 4>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn multiples_by_a_comb_are_those_of_p256(scalar in number()) {
        let scalar = Scalar::reduced(&bytes(&scalar));
        let expected = own(&times_generator(&scalar));
        prop_assert!(same(&Comb::<4, 2>::new(&Affine::GENERATOR).times(&scalar), &expected));
        prop_assert!(same(&Comb::<6, 2>::new(&Affine::GENERATOR).times(&scalar), &expected));
        prop_assert!(same(&Comb::<3, 4>::new(&Affine::GENERATOR).times(&scalar), &expected));
        prop_assert!(same(&Comb::<7, 4>::new(&Affine::GENERATOR).times(&scalar), &expected));
        prop_assert!(same(&Comb::<5, 3>::new(&Affine::GENERATOR).times(&scalar), &expected));
    }
}
