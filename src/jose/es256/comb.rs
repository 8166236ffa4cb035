//! Multiples of one point by a table made for it: a comb with signed digits (Lim and Lee, CRYPTO 1994; Hamburg,
//! "Fast and compact elliptic-curve cryptography", 2012).

use super::field::{self, Field};
use super::point::{Affine, Jacobian};
use super::scalar::Scalar;

/// A scalar has this many bits.
const BITS: usize = 256;
/// No comb has more columns.
const MAX_COLUMNS: usize = 64;

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
            [others @ .., top] => others.iter().fold(*top, |sum, tooth| sum.add(&to_affine(tooth).negate())),
            [] => Jacobian::INFINITY,
        });
        entries.extend(normalise(&lowest.collect::<Vec<_>>()));
        let doubled = normalise(&teeth.iter().map(Jacobian::double).collect::<Vec<_>>());
        // Each further tooth doubles the table: all entries so far with this digit 1 instead of -1.
        for tooth in 0..TEETH - 1 {
            let known = 1 << tooth;
            let sums = entries.chunks_exact(known).zip(doubled.chunks_exact(TEETH));
            let sums = sums.flat_map(|(entries, teeth)| entries.iter().zip(std::iter::repeat(teeth)));
            let pairs: Vec<(Affine, Affine)> =
                sums.filter_map(|(entry, teeth)| Some((*entry, *teeth.get(tooth)?))).collect();
            let added = add_pairs(&pairs);
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

    /// The digits of a scalar k: L bits of b = (k + 2^L - 1) / 2 modulo n, where a bit of 1 is a digit of 1 and a bit of
    /// 0 is a digit of -1. For the sum of (2 b_i - 1) 2^i is 2b - (2^L - 1) = k modulo n.
    pub(super) fn digits(scalar: &Scalar) -> Digits {
        let number = scalar.add(&Self::ONES).half();
        let mut columns = [0; MAX_COLUMNS];
        for tooth in 0..TEETH {
            let bits = window(number.limbs(), tooth * Self::COLUMNS);
            for (at, column) in columns.iter_mut().enumerate().take(Self::COLUMNS) {
                *column |= u16::from(bits >> at & 1 == 1) << tooth;
            }
        }
        // Under a top digit of -1 the others are those of the negative entry.
        let top = 1 << (TEETH - 1);
        for column in columns.iter_mut().take(Self::COLUMNS) {
            *column = if *column & top == 0 { (!*column & (top - 1)) | NEGATIVE } else { *column & (top - 1) };
        }
        Digits(columns)
    }

    /// Reads of every entry that will be needed, so that those which are not in the cache come at the same time.
    pub(super) fn fetch(&self, digits: &Digits) {
        let entries = self.chosen(digits);
        std::hint::black_box(entries.fold(0, |seen, (entry, _)| seen | entry.x.low()));
    }

    /// Adds what that column chooses in each block; nothing where there is no such column.
    #[inline(always)]
    pub(super) fn add_column(&self, sum: &Jacobian, digits: &Digits, at: usize) -> Jacobian {
        let mut sum = *sum;
        if at >= Self::WIDTH {
            return sum;
        }
        for (block, entries) in self.entries.chunks_exact(Self::ENTRIES).enumerate() {
            let column = digits.0.get(block * Self::WIDTH + at).copied().unwrap_or_default();
            if let Some(entry) = entries.get(usize::from(column & !NEGATIVE)) {
                sum = sum.add(&if column & NEGATIVE == 0 { *entry } else { entry.negate() });
            }
        }
        sum
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> &[Affine] {
        &self.entries
    }

    /// The multiple by one scalar alone.
    #[cfg(test)]
    pub(super) fn times(&self, scalar: &Scalar) -> Jacobian {
        let digits = Self::digits(scalar);
        (0..Self::WIDTH).rev().fold(Jacobian::INFINITY, |sum, at| self.add_column(&sum.double(), &digits, at))
    }

    /// The entry of each column, and whether it is to be negated.
    fn chosen(&self, digits: &Digits) -> impl Iterator<Item = (&Affine, bool)> {
        let blocks = self.entries.chunks_exact(Self::ENTRIES).zip(digits.0.chunks_exact(Self::WIDTH));
        blocks.flat_map(|(entries, columns)| {
            columns
                .iter()
                .filter_map(|column| Some((entries.get(usize::from(column & !NEGATIVE))?, column & NEGATIVE != 0)))
        })
    }
}

/// 64 bits of a number, from that bit on.
fn window(number: &[u64; 4], from: usize) -> u64 {
    let limb = |at: usize| number.get(at).copied().unwrap_or_default();
    let (at, shift) = (from / 64, from % 64);
    let low = limb(at) >> shift;
    if shift == 0 { low } else { low | limb(at + 1) << (64 - shift) }
}

fn to_affine(point: &Jacobian) -> Affine {
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
    field::invert_all(&mut inverses);
    points.iter().zip(&inverses).map(|(point, inverse)| scaled(point, inverse)).collect()
}

/// The sums of pairs whose points have different x, for one inversion in all.
fn add_pairs(pairs: &[(Affine, Affine)]) -> Vec<Affine> {
    let mut inverses: Vec<Field> = pairs.iter().map(|(a, b)| b.x.sub(&a.x)).collect();
    field::invert_all(&mut inverses);
    let sum = |((a, b), inverse): (&(Affine, Affine), &Field)| {
        let slope = b.y.sub(&a.y).mul(inverse);
        let x = slope.square().sub(&a.x).sub(&b.x);
        Affine { x, y: slope.mul(&a.x.sub(&x)).sub(&a.y) }
    };
    pairs.iter().zip(&inverses).map(sum).collect()
}
