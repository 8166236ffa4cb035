//! Multiples of one point by a table made for it: a comb with signed digits (Lim and Lee, CRYPTO 1994; Hamburg,
//! "Fast and compact elliptic-curve cryptography", 2012).

use super::field::{self, Field};
use super::limbs;
use super::point::{Affine, Jacobian};
use super::scalar::Scalar;

/// A scalar has this many bits.
const BITS: usize = 256;
/// No comb has more columns.
const MAX_COLUMNS: usize = 88;

/// The table of one point.
///
/// A scalar is written as L = `TEETH` * `COLUMNS` digits that are 1 or -1. The comb's teeth stand `COLUMNS` digits
/// apart: the digits of one column, one under each tooth, choose one entry of the table, and the sign of the top one
/// is the sign of the entry, so 2^(`TEETH` - 1) entries do. `BLOCKS` combs stand side by side, each `COLUMNS` /
/// `BLOCKS` wide with a table of its own: so many doublings are enough.
#[derive(Debug)]
pub(super) struct Comb<const TEETH: usize, const BLOCKS: usize> {
    /// Block by block.
    entries: Box<[Affine]>,
}

/// The columns of a scalar: which entry of its block each one chooses, and whether it is [`NEGATIVE`].
pub(super) struct Digits([u16; MAX_COLUMNS]);

const NEGATIVE: u16 = 1 << 15;

impl<const TEETH: usize, const BLOCKS: usize> Comb<TEETH, BLOCKS> {
    /// Columns of one block: doublings of a multiplication.
    pub(super) const WIDTH: usize = BITS.div_ceil(TEETH).div_ceil(BLOCKS);
    /// Columns of all blocks: additions of a multiplication.
    const COLUMNS: usize = Self::WIDTH * BLOCKS;
    /// Entries of a block.
    const ENTRIES: usize = 1 << (TEETH - 1);
    /// 2^L - 1: all digits are 1.
    const ONES: Scalar = Scalar::power_of_two(TEETH * Self::COLUMNS).sub(&Scalar::ONE);
    const FITS: () = assert!(TEETH <= 15 && Self::COLUMNS <= MAX_COLUMNS);

    /// Makes the table of `point`.
    pub(super) fn new(point: &Affine) -> Self {
        let () = Self::FITS;
        let teeth = Self::teeth(point);
        let mut entries = Vec::with_capacity(BLOCKS * Self::ENTRIES);
        // The entry of a block whose digits but the top one are all -1.
        let lowest = teeth.chunks_exact(TEETH).map(|teeth| match teeth {
            [others @ .., top] => others.iter().fold(*top, |sum, tooth| sum.add(&to_affine(tooth).negate_if(true))),
            [] => Jacobian::INFINITY,
        });
        entries.extend(normalise(&lowest.collect::<Vec<_>>()));
        let doubled = normalise(&teeth.iter().map(Jacobian::double).collect::<Vec<_>>());
        // Each further tooth doubles the table: all entries so far with this digit 1 instead of -1.
        for tooth in 0..TEETH - 1 {
            let known = 1 << tooth;
            let tooths = doubled.chunks_exact(TEETH).filter_map(|teeth| teeth.get(tooth));
            let added = add_to_each(&entries, known, tooths);
            let merged = entries.chunks_exact(known).zip(added.chunks_exact(known));
            entries = merged.flat_map(|(old, new)| [old, new]).flatten().copied().collect();
        }
        Self { entries: entries.into() }
    }

    /// The point times 2^(position of the tooth), tooth by tooth, block by block.
    fn teeth(point: &Affine) -> Vec<Jacobian> {
        let mut teeth = vec![Jacobian::INFINITY; TEETH * BLOCKS];
        let mut power = Jacobian::INFINITY.add(point);
        for tooth in 0..TEETH {
            for block in 0..BLOCKS {
                if let Some(place) = teeth.get_mut(block * TEETH + tooth) {
                    *place = power;
                }
                for _ in 0..Self::WIDTH {
                    power = power.double();
                }
            }
        }
        teeth
    }

    /// The digits of a scalar k: L bits of b = (k + 2^L - 1) / 2 modulo n, where a bit of 1 is a digit of 1 and a bit
    /// of 0 is a digit of -1. For the sum of (2 b_i - 1) 2^i is 2b - (2^L - 1) = k modulo n.
    pub(super) fn digits(scalar: &Scalar) -> Digits {
        let number = scalar.add(&Self::ONES).half();
        let mut columns = [0; MAX_COLUMNS];
        for tooth in 0..TEETH {
            for (part, columns) in columns.chunks_mut(64).enumerate().take(Self::COLUMNS.div_ceil(64)) {
                let bits = limbs::window(number.limbs(), tooth * Self::COLUMNS + part * 64);
                for (at, column) in columns.iter_mut().enumerate().take(Self::COLUMNS - part * 64) {
                    *column |= u16::from(bits >> at & 1 == 1) << tooth;
                }
            }
        }
        // Under a top digit of -1 the others are those of the negative entry.
        let top = 1 << (TEETH - 1);
        for column in columns.iter_mut().take(Self::COLUMNS) {
            *column = if *column & top == 0 { (!*column & (top - 1)) | NEGATIVE } else { *column & (top - 1) };
        }
        Digits(columns)
    }

    #[cfg(any(test, target_arch = "x86_64"))]
    pub(super) fn entries(&self) -> &[Affine] {
        &self.entries
    }

    /// Which multiple of the point that column adds, all blocks together.
    #[cfg(test)]
    pub(super) fn multiple(digits: &Digits, at: usize) -> Scalar {
        (0..BLOCKS).fold(Scalar::reduced(&[0; 32]), |sum, block| sum.add(&Self::multiple_of(digits, block, at)))
    }

    /// Which multiple of the point that column of that block adds.
    #[cfg(test)]
    pub(super) fn multiple_of(digits: &Digits, block: usize, at: usize) -> Scalar {
        let (digit, negative) = digits.at(block * Self::WIDTH + at);
        (0..TEETH).fold(Scalar::reduced(&[0; 32]), |sum, tooth| {
            let power = Scalar::power_of_two(tooth * Self::COLUMNS + block * Self::WIDTH + at);
            let plus = tooth == TEETH - 1 || digit >> tooth & 1 == 1;
            if plus == negative { sum.sub(&power) } else { sum.add(&power) }
        })
    }

    /// The multiple by one scalar alone, by additions that can do everything.
    #[cfg(test)]
    pub(super) fn times(&self, scalar: &Scalar) -> Jacobian {
        let digits = Self::digits(scalar);
        add_completely(Self::WIDTH, BLOCKS, |block, column| {
            let (at, negative) = digits.at(block * Self::WIDTH + column);
            let entry = self.entries.get(block * Self::ENTRIES + at).copied().unwrap_or(Affine::GENERATOR);
            entry.negate_if(negative)
        })
    }

    /// What that column of a block chooses, which is always there.
    #[inline(always)]
    pub(super) fn entry(&self, block: usize, digits: &Digits, column: usize) -> Option<Affine> {
        let (at, negative) = digits.at(block * Self::WIDTH + column);
        self.entries.get(block * Self::ENTRIES + at).map(|entry| entry.negate_if(negative))
    }

    /// What each column chooses in the first block and in the second, column by column.
    pub(super) fn chosen<'a>(&'a self, digits: &Digits) -> impl Iterator<Item = Pair<'a>> {
        const { assert!(BLOCKS == 2) };
        let (first, second) = self.entries.split_at(Self::ENTRIES);
        let (some, others) = digits.0.split_at(Self::WIDTH);
        some.iter().zip(others).filter_map(move |(one, other)| {
            let ((one, minus_one), (other, minus_other)) = (read(*one), read(*other));
            Some(Pair { entries: [first.get(one)?, second.get(other)?], negative: [minus_one, minus_other] })
        })
    }
}

impl Digits {
    /// What that column chooses of its block; the columns are counted block by block.
    #[inline(always)]
    pub(super) fn at(&self, column: usize) -> (usize, bool) {
        read(self.0.get(column).copied().unwrap_or_default())
    }

    /// The same for all columns of each block.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn blocks(&self, width: usize) -> impl Iterator<Item = impl Iterator<Item = (usize, bool)>> {
        self.0.chunks_exact(width).map(|digits| digits.iter().copied().map(read))
    }
}

/// Which entry a digit chooses, and whether it is to be negated.
#[inline(always)]
fn read(digit: u16) -> (usize, bool) {
    (usize::from(digit & !NEGATIVE), digit & NEGATIVE != 0)
}

/// The sum of what each column of each block chooses, by additions that can do everything.
#[cfg(any(test, target_arch = "x86_64"))]
pub(super) fn add_completely(width: usize, blocks: usize, chosen: impl Fn(usize, usize) -> Affine) -> Jacobian {
    (0..width).rev().fold(Jacobian::INFINITY, |sum, column| {
        (0..blocks).fold(sum.double(), |sum, block| sum.add(&chosen(block, column)))
    })
}

/// Two entries to be added, and which of them are to be negated.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    entries: [&'a Affine; 2],
    negative: [bool; 2],
}

impl Pair<'_> {
    /// What [`Pair::sum`] wants the inverse of; zero where it cannot be used.
    #[inline(always)]
    pub(super) fn difference(&self) -> Field {
        let [one, other] = self.entries;
        other.x.sub(&one.x)
    }

    #[inline(always)]
    pub(super) fn sum(&self, inverse: &Field) -> Affine {
        let ([one, other], [minus_one, minus_other]) = (self.entries, self.negative);
        one.negate_if(minus_one).add(&other.negate_if(minus_other), inverse)
    }
}

pub(super) fn to_affine(point: &Jacobian) -> Affine {
    let inverse = point.z.invert();
    scaled(point, &inverse)
}

fn scaled(point: &Jacobian, inverse: &Field) -> Affine {
    let square = inverse.square();
    Affine { x: point.x.mul(&square), y: point.y.mul(&square).mul(inverse) }
}

/// Affine coordinates of points that are not at infinity, for one inversion in all.
fn normalise(points: &[Jacobian]) -> Vec<Affine> {
    let mut inverses: Vec<Field> = points.iter().map(|point| point.z).collect();
    let mut space = inverses.clone();
    field::invert_all(&mut inverses, &mut space);
    points.iter().zip(&inverses).map(|(point, inverse)| scaled(point, inverse)).collect()
}

/// Adds a point of its own to every entry of each chunk. No entry has the same x as that point: which multiples they
/// are does not depend on the key, and has been tried for every shape.
fn add_to_each<'a>(entries: &[Affine], chunk: usize, points: impl Iterator<Item = &'a Affine>) -> Vec<Affine> {
    let chunks = entries.chunks_exact(chunk).zip(points);
    let pairs: Vec<_> = chunks.flat_map(|(entries, point)| entries.iter().map(move |entry| (entry, point))).collect();
    let mut inverses: Vec<Field> = pairs.iter().map(|(entry, point)| point.x.sub(&entry.x)).collect();
    let mut space = inverses.clone();
    field::invert_all(&mut inverses, &mut space);
    pairs.iter().zip(&inverses).map(|((entry, point), inverse)| entry.add(point, inverse)).collect()
}
