//! The same sum where the processor multiplies numbers of 52 bits in each lane of a word (AVX-512 IFMA: Intel's servers
//! since Ice Lake, AMD's since Zen 4): in half the time.
//!
//! A comb of four blocks has a block for each lane: the four entries that a column chooses are added and doubled side
//! by side, without one inversion, and the lanes' sums are added at last. What such a sum cannot do it shows (see
//! [`points`]), and is done again by additions that can do everything.
//!
//! Four lanes, not the eight that there are: words of 512 bits take a sixth less time for the sum, but lower the core's
//! frequency for most of a millisecond, by 8 % where this was measured, for whatever else runs there; and Zen 4 does
//! them in two halves.
//!
//! No `unsafe` here: [`Lanes`] exists only where the processor has been asked, and `pulp` takes it for a proof.

mod fields;
mod points;

#[cfg(test)]
mod meetings;
#[cfg(test)]
mod tests;

use std::hint::black_box;
use std::sync::LazyLock;

use pulp::NullaryFnOnce;

use super::comb::{Comb, Digits, add_completely, to_affine};
use super::field::Field;
use super::point::{Affine, Jacobian};
use super::scalar::Scalar;
use super::table::TableSize;
use fields::{Affines, Entry};

pub(super) use fields::Lanes;

const LANES: usize = 4;

type Generator = Comb<10, LANES>;
type Tiny = Comb<3, LANES>;
type Small = Comb<5, LANES>;
type Large = Comb<7, LANES>;

// What `Sum` counts on.
const _: () =
    assert!(Generator::WIDTH < Tiny::WIDTH && Generator::WIDTH < Small::WIDTH && Generator::WIDTH < Large::WIDTH);

/// 128 KiB, made when the first key gets a table; beside those of [`Curve`](super::Curve).
static GENERATOR: LazyLock<Box<[Entry]>> = LazyLock::new(|| entries(&Generator::new(&Affine::GENERATOR)));

/// A key's table.
#[derive(Debug)]
pub(super) struct Table {
    lanes: Lanes,
    size: TableSize,
    entries: Box<[Entry]>,
}

impl Table {
    pub(super) fn new(lanes: Lanes, key: &Affine, size: TableSize) -> Self {
        LazyLock::force(&GENERATOR);
        let entries = match size {
            TableSize::Tiny => entries(&Tiny::new(key)),
            TableSize::Small => entries(&Small::new(key)),
            TableSize::Large => entries(&Large::new(key)),
        };
        Self { lanes, size, entries }
    }

    /// How a scalar is read by this table, and the columns of a block.
    fn digits(&self, scalar: &Scalar) -> (Digits, usize) {
        match self.size {
            TableSize::Tiny => (Tiny::digits(scalar), Tiny::WIDTH),
            TableSize::Small => (Small::digits(scalar), Small::WIDTH),
            TableSize::Large => (Large::digits(scalar), Large::WIDTH),
        }
    }

    /// x and z of u1 times the generator and u2 times the key; z is zero at infinity.
    pub(super) fn sum(&self, u1: &Scalar, u2: &Scalar) -> (Field, Field) {
        let (digits, width) = self.digits(u2);
        let of_key = Multiple { entries: &self.entries, digits, width };
        let of_generator = Multiple { entries: &GENERATOR, digits: Generator::digits(u1), width: Generator::WIDTH };
        of_key.touch();
        of_generator.touch();
        let (x, z) = self.lanes.vectorize(Sum { lanes: self.lanes, of_key: &of_key, of_generator: &of_generator });
        if z.is_zero() {
            let (of_key, of_generator) = (of_key.completely(), of_generator.completely());
            let sum = if of_generator.is_infinity() { of_key } else { of_key.add(&to_affine(&of_generator)) };
            return (sum.x, sum.z);
        }
        (x, z)
    }
}

fn entries<const TEETH: usize>(comb: &Comb<TEETH, LANES>) -> Box<[Entry]> {
    comb.entries().iter().map(|Affine { x, y }| Entry::new(x, y)).collect()
}

/// One point times one scalar.
struct Multiple<'a> {
    /// Block by block.
    entries: &'a [Entry],
    digits: Digits,
    /// Columns of a block.
    width: usize,
}

impl Multiple<'_> {
    /// Looks at all entries that will be wanted, so that those which are not in the cache come at the same time.
    fn touch(&self) {
        let blocks = self.entries.chunks_exact(self.entries.len() / LANES).zip(self.digits.blocks(self.width));
        for (entries, digits) in blocks {
            for (at, _) in digits {
                black_box(entries.get(at).map(Entry::touch));
            }
        }
    }

    /// What that column chooses in each block, and in which of them it is to be negated.
    #[inline(always)]
    fn chosen(&self, column: usize) -> ([Entry; LANES], u8) {
        let (mut chosen, mut negative) = ([Entry::default(); LANES], 0);
        let blocks = self.entries.chunks_exact(self.entries.len() / LANES);
        for (lane, (to, entries)) in chosen.iter_mut().zip(blocks).enumerate() {
            let (at, minus) = self.digits.at(lane * self.width + column);
            *to = entries.get(at).copied().unwrap_or_default();
            negative |= u8::from(minus) << lane;
        }
        (chosen, negative)
    }

    #[inline(always)]
    fn column(&self, lanes: Lanes, column: usize) -> Affines {
        let (chosen, negative) = self.chosen(column);
        let Affines { x, y } = lanes.points(&chosen);
        Affines { x, y: lanes.negate_where(negative, &y) }
    }

    /// By additions that can do everything.
    #[cold]
    fn completely(&self) -> Jacobian {
        add_completely(self.width, LANES, |lane, column| {
            let (chosen, negative) = self.chosen(column);
            let (x, y) = chosen.get(lane).copied().unwrap_or_default().coordinates();
            Affine { x, y }.negate_if(negative >> lane & 1 == 1)
        })
    }
}

/// x and z of the sum of both, if z is not zero.
struct Sum<'a> {
    lanes: Lanes,
    of_key: &'a Multiple<'a>,
    of_generator: &'a Multiple<'a>,
}

impl NullaryFnOnce for Sum<'_> {
    type Output = (Field, Field);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { lanes, of_key, of_generator } = self;
        // The generator's comb is the narrower one. One loop for both, so that there is one addition in it: each takes
        // 7 KiB of instructions.
        let top = of_key.width - 1;
        let mut sum = lanes.start(of_key.column(lanes, top));
        for step in 0..top * 2 {
            let (column, multiple) = (top - 1 - step / 2, if step % 2 == 0 { of_key } else { of_generator });
            if step % 2 == 0 {
                sum = lanes.double_points(&sum);
            }
            if column < multiple.width {
                sum = lanes.add_points(&sum, &multiple.column(lanes, column));
            }
        }
        for distance in [2, 1] {
            sum = lanes.add_partner(&sum, distance);
        }
        (lanes.first(&sum.x), lanes.first(&sum.z))
    }
}
