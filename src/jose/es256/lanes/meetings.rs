//! Wherever points can meet in the lanes, z must tell, and the complete additions must come to the right sum.
#![allow(clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

use std::array::from_fn;

use pulp::NullaryFnOnce as _;

use super::{GENERATOR, Generator, LANES, Lanes, Multiple, Sum, Table};
use crate::jose::es256::comb::{Comb, to_affine};
use crate::jose::es256::parts::{Part, is, product, zero};
use crate::jose::es256::point::Affine;
use crate::jose::es256::scalar::Scalar;
use crate::jose::es256::table::TableSize;

struct Meetings {
    lanes: Lanes,
    size: TableSize,
    u1: Scalar,
    u2: Scalar,
    multiples: Comb<6, 2>,
    seen: usize,
}

impl Meetings {
    /// Under that multiple of the generator as the key: whether z tells, and the sum.
    fn check(&mut self, key: Option<Scalar>, meet: bool, place: &str) {
        let Some(key) = key else { return };
        let Self { lanes, size, u1, u2, .. } = *self;
        let table = Table::new(lanes, &to_affine(&self.multiples.times(&key)), size);
        let (digits, width) = table.digits(&u2);
        let of_key = Multiple { entries: &table.entries, digits, width };
        let of_generator = Multiple { entries: &GENERATOR, digits: Generator::digits(&u1), width: Generator::WIDTH };
        let (_, z) = Sum { lanes, of_key: &of_key, of_generator: &of_generator }.call();
        assert_eq!(z.is_zero(), meet, "{size:?}: {place}");
        // u1 + u2 * key.
        let of_u2 = product(&u2, &key);
        assert!(is(&table.sum(&u1, &u2), &self.multiples.times(&u1.add(&of_u2))), "{size:?}: {place}");
        self.seen += 1;
    }

    fn everywhere<const TEETH: usize>(&mut self) {
        let (of_u2, of_u1) = (Comb::<TEETH, LANES>::digits(&self.u2), Generator::digits(&self.u1));
        let width = Comb::<TEETH, LANES>::WIDTH;
        let of_key =
            |lane, column| Part { key: Comb::<TEETH, LANES>::multiple_of(&of_u2, lane, column), generator: zero() };
        let of_generator = |lane, column| Part {
            key: zero(),
            generator: if column < Generator::WIDTH { Generator::multiple_of(&of_u1, lane, column) } else { zero() },
        };
        let sums: [Part; LANES] = from_fn(|lane| {
            let mut sum = of_key(lane, width - 1);
            for column in (0..width - 1).rev() {
                for (name, next) in [("key", of_key(lane, column)), ("generator", of_generator(lane, column))] {
                    if name == "key" || column < Generator::WIDTH {
                        let place = format!("lane {lane}, column {column} of the {name}");
                        self.check(sum.meets(&next), true, &place);
                        self.check(sum.meets(&next.negate()), true, &place);
                    }
                    sum = sum.add(&next);
                }
            }
            sum
        });
        let [a, b, c, d] = sums;
        for (one, other, meet) in
            [(a, c, true), (b, d, true), (a.add(&c), b.add(&d), true), (a, b, false), (a, d, false)]
        {
            self.check(one.meets(&other), meet, "partners that are equal");
            self.check(one.meets(&other.negate()), meet, "partners that are opposite");
        }
        self.check(Some(Scalar::ONE), false, "nowhere");
    }
}

#[test]
fn wherever_points_meet_the_sum_is_right() {
    let Some(lanes) = Lanes::try_new() else { return println!("this processor has no lanes") };
    let mut random = fastrand::Rng::with_seed(7);
    let mut scalar = || Scalar::reduced(&from_fn(|_| random.u8(..)));
    let u1s = [scalar(), zero()];
    for (size, u1) in TableSize::ALL.into_iter().flat_map(|size| u1s.map(|u1| (size, u1))) {
        let (u2, multiples) = (scalar(), Comb::new(&Affine::GENERATOR));
        let mut meetings = Meetings { lanes, size, u1, u2, multiples, seen: 0 };
        match size {
            TableSize::Tiny => meetings.everywhere::<3>(),
            TableSize::Small => meetings.everywhere::<5>(),
            TableSize::Large => meetings.everywhere::<7>(),
        }
        // Two at each column of each lane, but for those of a key before the generator is added.
        assert!(meetings.seen > 2 * LANES * Generator::WIDTH, "{size:?}: {}", meetings.seen);
    }
}
