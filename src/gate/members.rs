//! What headers hold: members between commas (RFC 9110 section 5.6.1), and numbers.

use http::{HeaderMap, HeaderName};

/// Whether a comma-separated header has this member, whatever its case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
}

/// The members of a comma-separated header, all its lines together.
pub fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// A number: digits and nothing else, in 64 bits.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// The same without a zero in front, which some read as octal: everybody reads it alike.
pub fn plain_decimal(digits: &[u8]) -> Option<u64> {
    decimal(digits).filter(|_| digits.len() == 1 || digits.first() != Some(&b'0'))
}
