//! The lanes against the field that is not in lanes. On a processor without them there is nothing to test, and nothing
//! that would use them.
#![allow(clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

use std::array::from_fn;

use proptest::prelude::*;

use super::fields::{Entry, Fields, Lanes};
use super::{GENERATOR, Generator, LANES, Large, Multiple, Small, Sum, Tiny, entries};
use crate::jose::es256::comb::{Comb, to_affine};
use crate::jose::es256::field::Field;
use crate::jose::es256::point::{Affine, Jacobian};
use crate::jose::es256::scalar::Scalar;
use pulp::NullaryFnOnce as _;

const MASK: u64 = (1 << 52) - 1;

/// Limbs that the invariant allows: at its bounds, at p's, and any.
fn limbs() -> impl Strategy<Value = [u64; 5]> {
    let limb = || {
        let edges = [0, 1, MASK, MASK - 1, (1 << 44) - 1, 1 << 44, 1 << 36, (1 << 48) - (1 << 16), 1 << 48, 1 << 51];
        prop_oneof![prop::sample::select(edges.to_vec()), 0..=MASK]
    };
    let p = [MASK, (1 << 44) - 1, 0, 1 << 36, (1 << 48) - (1 << 16)];
    prop_oneof![
        8 => [limb(), limb(), limb(), limb(), limb()].prop_map(|[l0, l1, l2, l3, l4]| [l0, l1, l2, l3, l4 & MASK >> 3]),
        1 => Just([MASK, MASK, MASK, MASK, MASK >> 3]),
        1 => Just([0; 5]),
        1 => Just(p),
        1 => Just(p.map(|limb| limb * 2)).prop_map(|[l0, l1, l2, l3, l4]| [l0 & MASK, l1 + 1, l2, l3, l4]),
    ]
}

fn four() -> impl Strategy<Value = [[u64; 5]; LANES]> {
    [limbs(), limbs(), limbs(), limbs()]
}

fn power_of_two(exponent: usize) -> Field {
    (0..exponent).fold(Field::ONE, |power, _| power.double())
}

/// Which number limbs in Montgomery form stand for.
fn number(limbs: &[u64; 5]) -> Field {
    let sum = limbs.iter().rev().fold(Field::ZERO, |sum, limb| sum.mul(&power_of_two(52)).add(&Field::small(*limb)));
    sum.mul(&power_of_two(260).invert())
}

/// What the lanes have, once the invariant has been checked.
fn numbers(fields: &Fields) -> [Field; LANES] {
    let limbs = fields.limbs();
    for [l0, l1, l2, l3, l4] in &limbs {
        assert!([l0, l1, l2, l3].iter().all(|limb| **limb <= MASK) && *l4 <= MASK >> 3, "{limbs:x?}");
    }
    limbs.map(|limbs| number(&limbs))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn each_lane_is_the_field(a in four(), b in four(), c in four(), negative in 0u8..16) {
        let Some(lanes) = Lanes::try_new() else { return Ok(()) };
        let (x, y, z) = (Fields::from_limbs(&a), Fields::from_limbs(&b), Fields::from_limbs(&c));
        let (a, b, c) = (a.map(|a| number(&a)), b.map(|b| number(&b)), c.map(|c| number(&c)));
        let each = |number: fn(&Field, &Field, &Field) -> Field| from_fn(|at| number(&a[at], &b[at], &c[at]));
        prop_assert_eq!(numbers(&lanes.mul(&x, &y)), each(|a, b, _| a.mul(b)));
        prop_assert_eq!(numbers(&lanes.square(&x)), each(|a, _, _| a.square()));
        prop_assert_eq!(numbers(&lanes.add(&x, &y)), each(|a, b, _| a.add(b)));
        prop_assert_eq!(numbers(&lanes.sub(&x, &y)), each(|a, b, _| a.sub(b)));
        prop_assert_eq!(numbers(&lanes.double(&x)), each(|a, _, _| a.double()));
        prop_assert_eq!(numbers(&lanes.triple(&x)), each(|a, _, _| a.mul(&Field::small(3))));
        prop_assert_eq!(numbers(&lanes.four_times(&x)), each(|a, _, _| a.double().double()));
        prop_assert_eq!(numbers(&lanes.sub_eight_times(&x, &y)), each(|a, b, _| a.sub(&b.mul(&Field::small(8)))));
        prop_assert_eq!(numbers(&lanes.sub_and_twice(&x, &y, &z)), each(|a, b, c| a.sub(b).sub(&c.double())));
        let negated: [_; LANES] = from_fn(|at| if negative >> at & 1 == 1 { a[at].negate() } else { a[at] });
        prop_assert_eq!(numbers(&lanes.negate_where(negative, &x)), negated);
        prop_assert_eq!(numbers(&lanes.of_partner(2, &x)), [a[2], a[3], a[0], a[1]]);
        prop_assert_eq!(numbers(&lanes.of_partner(1, &x)), [a[1], a[0], a[3], a[2]]);
        prop_assert_eq!(numbers(&lanes.one()), [Field::ONE; LANES]);
        prop_assert_eq!(lanes.first(&x), a[0]);
    }

    #[test]
    fn entries_come_to_their_lanes(numbers_of in any::<[[u64; 8]; LANES]>()) {
        let Some(lanes) = Lanes::try_new() else { return Ok(()) };
        let coordinates = numbers_of.map(|[x0, x1, x2, x3, y0, y1, y2, y3]| {
            (Field::from_raw([x0, x1, x2, x3]), Field::from_raw([y0, y1, y2, y3]))
        });
        let entries = coordinates.map(|(x, y)| Entry::new(&x, &y));
        let points = lanes.points(&entries);
        prop_assert_eq!(numbers(&points.x), coordinates.map(|(x, _)| x));
        prop_assert_eq!(numbers(&points.y), coordinates.map(|(_, y)| y));
        prop_assert_eq!(entries.map(|entry| entry.coordinates()), coordinates);
    }
}

/// What does not meet by itself is never done twice; and what it comes to is what additions come to that can do
/// everything.
#[test]
fn sums_in_lanes_are_those_of_complete_additions() {
    fn of<const TEETH: usize>(lanes: Lanes, seed: u8) {
        let key = to_affine(&Jacobian::INFINITY.add(&Affine::GENERATOR).double());
        let table = entries(&Comb::<TEETH, LANES>::new(&key));
        let scalar = |by: u64| {
            let mut random = fastrand::Rng::with_seed(u64::from(seed) << 8 | by);
            Scalar::reduced(&from_fn(|_| random.u8(..)))
        };
        let (u1, u2) = (scalar(3), scalar(101));
        let digits = Comb::<TEETH, LANES>::digits(&u2);
        let of_key = Multiple { entries: &table, digits, width: Comb::<TEETH, LANES>::WIDTH };
        let of_generator = Multiple { entries: &GENERATOR, digits: Generator::digits(&u1), width: Generator::WIDTH };
        let complete = of_key.completely().add(&to_affine(&of_generator.completely()));
        let (x, z) = Sum { lanes, of_key: &of_key, of_generator: &of_generator }.call();
        assert!(!z.is_zero());
        assert_eq!(x.mul(&complete.z.square()), complete.x.mul(&z.square()));
    }
    let Some(lanes) = Lanes::try_new() else { return println!("this processor has no lanes") };
    for seed in 0..50 {
        of::<3>(lanes, seed);
        of::<5>(lanes, seed);
        of::<7>(lanes, seed);
    }
    assert_eq!([Tiny::WIDTH, Small::WIDTH, Large::WIDTH, Generator::WIDTH], [22, 13, 10, 7]);
}

/// What tests of the lanes are silent about: that there are lanes where the kernel says so.
#[test]
#[cfg(target_os = "linux")]
fn a_processor_that_has_lanes_is_known_to_have_them() {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags: Vec<_> = told.lines().find(|line| line.starts_with("flags")).unwrap_or_default().split(' ').collect();
    let has = |flag| flags.contains(&flag);
    assert_eq!(Lanes::is_available(), ["avx", "avx2", "avx512f", "avx512vl", "avx512ifma"].into_iter().all(has));
}
