//! Base64url where the processor looks at 32 characters at a time (AVX2: nearly every server of the last ten years).
//!
//! No `unsafe` here: [`Wide`] exists only where the processor has been asked, and `pulp` takes it for a proof.

use std::arch::x86_64::__m256i;

use pulp::NullaryFnOnce;

pulp::simd_type! {
    /// That this processor has AVX2.
    pub(super) struct Wide {
        avx: "avx",
        avx2: "avx2",
    }
}

/// Characters at a time, and the bytes that they stand for.
pub(super) const CHARACTERS: usize = 32;
const BYTES: usize = CHARACTERS / 4 * 3;

/// What is taken from a character to get its value, by the classes of the alphabet: first, last, and that.
const RANGES: [(u8, u8, u8); 3] = [(b'A', b'Z', b'A'), (b'a', b'z', b'a' - 26), (b'0', b'9', b'0'.wrapping_sub(52))];
const SINGLES: [(u8, u8); 2] = [(b'-', b'-'.wrapping_sub(62)), (b'_', b'_' - 63)];

impl Wide {
    /// Decodes as many whole groups of [`CHARACTERS`] as there are, and says whether all of those characters are of the
    /// alphabet. The rest of both is as it was.
    pub(super) fn decode(self, text: &[u8], bytes: &mut [u8]) -> bool {
        self.vectorize(Groups { wide: self, text, bytes })
    }

    #[inline(always)]
    fn all(self, byte: u8) -> __m256i {
        self.avx._mm256_set1_epi8(byte.cast_signed())
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        self.avx2._mm256_and_si256(a, b)
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        self.avx2._mm256_or_si256(a, b)
    }

    /// The values of the characters (0 to 63), and for which of them there is one: all bits of that byte.
    #[inline(always)]
    fn values(self, characters: __m256i) -> (__m256i, __m256i) {
        let (mut subtrahends, mut known) = (self.all(0), self.all(0));
        let mut take = |is: __m256i, subtrahend: u8| {
            subtrahends = self.or(subtrahends, self.and(is, self.all(subtrahend)));
            known = self.or(known, is);
        };
        for (first, last, subtrahend) in RANGES {
            // Compared with signs: what is no ASCII is below all of it.
            let above = self.avx2._mm256_cmpgt_epi8(characters, self.all(first - 1));
            let below = self.avx2._mm256_cmpgt_epi8(self.all(last + 1), characters);
            take(self.and(above, below), subtrahend);
        }
        for (character, subtrahend) in SINGLES {
            take(self.avx2._mm256_cmpeq_epi8(characters, self.all(character)), subtrahend);
        }
        (self.avx2._mm256_sub_epi8(characters, subtrahends), known)
    }

    /// The bytes of 32 values in the first 24 places.
    #[inline(always)]
    fn pack(self, values: __m256i) -> __m256i {
        // Twelve bits of two values, then 24 bits of four.
        let twos = self.avx2._mm256_maddubs_epi16(values, pulp::cast([[0x40_u8, 0x01]; 16]));
        let fours = self.avx2._mm256_madd_epi16(twos, pulp::cast([[0x1000_u16, 0x0001]; 8]));
        // Most significant first, without the byte that each has left over; then both halves together.
        const HALF: [u8; 16] = [2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 0x80, 0x80, 0x80, 0x80];
        let halves = self.avx2._mm256_shuffle_epi8(fours, pulp::cast([HALF; 2]));
        self.avx2._mm256_permutevar8x32_epi32(halves, pulp::cast([0_u32, 1, 2, 4, 5, 6, 3, 7]))
    }
}

struct Groups<'a> {
    wide: Wide,
    text: &'a [u8],
    bytes: &'a mut [u8],
}

impl NullaryFnOnce for Groups<'_> {
    type Output = bool;

    #[inline(always)]
    fn call(self) -> bool {
        let Self { wide, text, bytes } = self;
        let mut known = wide.all(u8::MAX);
        for (characters, bytes) in text.as_chunks::<CHARACTERS>().0.iter().zip(bytes.as_chunks_mut::<BYTES>().0) {
            let (values, among) = wide.values(pulp::cast(*characters));
            known = wide.and(known, among);
            let packed: [u8; 32] = pulp::cast(wide.pack(values));
            if let Some(packed) = packed.first_chunk() {
                *bytes = *packed;
            }
        }
        wide.avx2._mm256_movemask_epi8(known) == -1
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::super::{ALPHABET, decode_by_table};
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_processor_that_can_is_known_to() {
        let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags: Vec<_> =
            told.lines().find(|line| line.starts_with("flags")).unwrap_or_default().split(' ').collect();
        assert_eq!(Wide::is_available(), ["avx", "avx2"].iter().all(|flag| flags.contains(flag)));
    }

    #[test]
    fn every_character_in_every_place_is_read_as_the_table_reads_it() {
        let Some(wide) = Wide::try_new() else { return };
        for character in 0..=u8::MAX {
            for place in 0..2 * CHARACTERS {
                let mut text: Vec<u8> = ALPHABET.iter().copied().cycle().skip(place).take(2 * CHARACTERS).collect();
                text[place] = character;
                let (mut by_wide, mut by_table) = ([0; 2 * BYTES], [0; 2 * BYTES]);
                let read = wide.decode(&text, &mut by_wide);
                assert_eq!(read, decode_by_table(&text, &mut by_table), "{character} at {place}");
                assert!(!read || by_wide == by_table, "{character} at {place}");
            }
        }
    }

    #[test]
    fn what_is_no_whole_group_is_left_as_it_was() {
        let Some(wide) = Wide::try_new() else { return };
        for length in 0..3 * CHARACTERS {
            let mut bytes = vec![0x5a; length];
            assert!(wide.decode(&vec![b'A'; length], &mut bytes[..length / 4 * 3]));
            let decoded = length / CHARACTERS * BYTES;
            assert!(
                bytes[..decoded].iter().all(|byte| *byte == 0) && bytes[decoded..].iter().all(|byte| *byte == 0x5a)
            );
        }
    }
}
