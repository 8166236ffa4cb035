//! base64url without padding (RFC 7515 section 2), quickly: most of what a request brings is in this form.
//!
//! As strict as the library, which does the same wherever speed is no matter: no padding, no line
//! breaks, and no bits at the end that an encoder would not set, so that one content has one text (RFC 4648 section
//! 3.5).

#[cfg(target_arch = "x86_64")]
mod wide;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The character for 0.
const ZERO: u8 = b'A';
/// What a character stands for as the first, second, third and last of four: 6 bits of 24; [`NONE`] where it stands for
/// nothing.
const VALUES: [[u32; 256]; 4] = [values(18), values(12), values(6), values(0)];
/// No value has this bit, and what has it keeps it.
const NONE: u32 = 1 << 31;

const fn values(shift: u32) -> [u32; 256] {
    let mut values = [NONE; 256];
    let (mut rest, mut value): (&[u8], u32) = (ALPHABET, 0);
    while let [character, others @ ..] = rest {
        let [place, ..] = values.split_at_mut(*character as usize).1 else { break };
        *place = value << shift;
        (rest, value) = (others, value + 1);
    }
    values
}

/// The bytes that a text stands for; `None` if it is no base64url, or not the one text for them.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    append(text.as_bytes(), &mut bytes).map(|()| bytes)
}

/// The same, behind what is there already.
pub(super) fn append(text: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    let start = bytes.len();
    bytes.resize(start + text.len() / 4 * 3 + (text.len() % 4).saturating_sub(1), 0);
    decode_into(text, bytes.get_mut(start..)?).then_some(())
}

/// The same where it is known how many bytes there must be.
pub(crate) fn decode_fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (text.len() == (N * 4).div_ceil(3) && decode_into(text.as_bytes(), &mut bytes)).then_some(bytes)
}

/// `bytes` has the length that the text asks for.
fn decode_into(text: &[u8], bytes: &mut [u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if text.len() >= wide::CHARACTERS
        && let Some(wide) = wide::Wide::try_new()
    {
        let (groups, end) = text.split_at(text.len() / wide::CHARACTERS * wide::CHARACTERS);
        let Some((of_groups, of_end)) = bytes.split_at_mut_checked(groups.len() / 4 * 3) else { return false };
        return wide.decode(groups, of_groups) & decode_by_table(end, of_end);
    }
    decode_by_table(text, bytes)
}

/// The same on any processor.
fn decode_by_table(text: &[u8], bytes: &mut [u8]) -> bool {
    let (fours, end) = text.as_chunks::<4>();
    let (threes, last) = bytes.as_chunks_mut::<3>();
    // One look at the end, instead of a branch for each character.
    let mut seen = 0;
    for (four, three) in fours.iter().zip(threes) {
        let bits = together(four);
        seen |= bits;
        let [_, bytes @ ..] = bits.to_be_bytes();
        *three = bytes;
    }
    match (end, last) {
        ([], []) => {}
        ([a, b], [one]) => {
            let bits = together(&[*a, *b, ZERO, ZERO]);
            // Bits that belong to no byte.
            seen |= bits | if bits & 0xffff == 0 { 0 } else { NONE };
            [_, *one, ..] = bits.to_be_bytes();
        }
        ([a, b, c], [one, two]) => {
            let bits = together(&[*a, *b, *c, ZERO]);
            seen |= bits | if bits & 0xff == 0 { 0 } else { NONE };
            [_, *one, *two, _] = bits.to_be_bytes();
        }
        // One character alone is less than a byte.
        _ => return false,
    }
    seen & NONE == 0
}

/// The text of a SHA-256 digest, or of a coordinate of P-256.
pub(crate) fn encode_32(bytes: &[u8; 32]) -> [u8; 43] {
    let mut text = [0; 43];
    let (threes, last) = bytes.as_chunks::<3>();
    let (fours, end) = text.as_chunks_mut::<4>();
    for ([a, b, c], four) in threes.iter().zip(fours) {
        *four = [a >> 2, a << 4 | b >> 4, b << 2 | c >> 6, *c].map(character);
    }
    // 32 is two more than ten times three.
    if let ([a, b], [first, second, third]) = (last, end) {
        (*first, *second, *third) = (character(a >> 2), character(a << 4 | b >> 4), character(b << 2));
    }
    text
}

/// Of the lower six bits.
fn character(value: u8) -> u8 {
    // There are as many as six bits tell apart.
    ALPHABET.get(usize::from(value & 63)).copied().unwrap_or(b'A')
}

/// The 24 bits of four characters.
fn together(four: &[u8; 4]) -> u32 {
    let value = |(character, values): (&u8, &[u32; 256])| {
        // A table of all bytes: the place is always there.
        values.get(usize::from(*character)).copied().unwrap_or(NONE)
    };
    four.iter().zip(&VALUES).map(value).fold(0, |all, one| all | one)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_pair_of_characters_is_read_as_the_library_reads_it() {
        for one in 0..=u8::MAX {
            for other in 0..=u8::MAX {
                for text in [vec![one, other], vec![b'A', one, other], vec![one, b'A', b'A', other]] {
                    let Ok(text) = std::str::from_utf8(&text) else { continue };
                    assert_eq!(decode(text), URL_SAFE_NO_PAD.decode(text).ok(), "{text:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_digest_is_written_as_the_library_writes_it(bytes: [u8; 32]) {
            prop_assert_eq!(encode_32(&bytes).to_vec(), URL_SAFE_NO_PAD.encode(bytes).into_bytes());
        }

        #[test]
        fn what_was_written_is_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&URL_SAFE_NO_PAD.encode(&bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_read_as_the_library_reads_it(text in "[A-Za-z0-9_-]{0,40}|[A-Za-z0-9_=+/. -]{0,20}|\\PC{0,12}") {
            let wanted = URL_SAFE_NO_PAD.decode(&text).ok();
            let six = wanted.as_ref().and_then(|bytes| <[u8; 6]>::try_from(bytes.as_slice()).ok());
            prop_assert_eq!(decode_fixed(&text), six);
            prop_assert_eq!(decode(&text), wanted);
        }
    }
}
