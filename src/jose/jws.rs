//! Compact serialisation (RFC 7515 section 7.1).

use thiserror::Error;

use super::base64url;

/// A compact JWS split into its parts: decoded, bounded, not yet verified.
#[derive(Clone)]
pub struct Compact<'a> {
    signing_input: &'a [u8],
    /// Header, payload and signature, one behind the other.
    decoded: Vec<u8>,
    header_end: usize,
    payload_end: usize,
}

/// Why a text is no compact JWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CompactError {
    /// Longer than the caller allows.
    #[error("longer than the limit")]
    TooLong,
    /// Not three parts.
    #[error("not three parts separated by dots")]
    NotThreeParts,
    /// A part is not canonical base64url without padding.
    #[error("not base64url without padding")]
    NotBase64Url,
}

impl<'a> Compact<'a> {
    /// Splits and decodes `text`, which may have up to `limit` bytes.
    ///
    /// A part may be empty here; what its content has to be is for the caller to say. Nothing is verified.
    pub fn parse<T: AsRef<[u8]> + ?Sized>(text: &'a T, limit: usize) -> Result<Self, CompactError> {
        let text = text.as_ref();
        if text.len() > limit {
            return Err(CompactError::TooLong);
        }
        let mut dots = memchr::memchr_iter(b'.', text);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(CompactError::NotThreeParts);
        };
        let part = |range| text.get(range).ok_or(CompactError::NotThreeParts);
        let (signing_input, header) = (part(0..second)?, part(0..first)?);
        let (payload, signature) = (part(first + 1..second)?, part(second + 1..text.len())?);
        let mut decoded = Vec::with_capacity(text.len() / 4 * 3);
        let mut append = |part| {
            base64url::append(part, &mut decoded).ok_or(CompactError::NotBase64Url)?;
            Ok(decoded.len())
        };
        let (header_end, payload_end) = (append(header)?, append(payload)?);
        append(signature)?;
        Ok(Self { signing_input, decoded, header_end, payload_end })
    }

    /// `BASE64URL(header) . BASE64URL(payload)`: what is signed.
    pub fn signing_input(&self) -> &'a [u8] {
        self.signing_input
    }

    /// The decoded header, JSON.
    pub fn header(&self) -> &[u8] {
        self.decoded.get(..self.header_end).unwrap_or_default()
    }

    /// The decoded payload.
    pub fn payload(&self) -> &[u8] {
        self.decoded.get(self.header_end..self.payload_end).unwrap_or_default()
    }

    /// The decoded signature.
    pub fn signature(&self) -> &[u8] {
        self.decoded.get(self.payload_end..).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_three_canonical_parts_are_taken() {
        use CompactError::{NotBase64Url, NotThreeParts, TooLong};
        for (text, error) in [
            ("", NotThreeParts),
            ("e30", NotThreeParts),
            ("e30.e30", NotThreeParts),
            ("e30.e30.AA.AA", NotThreeParts),
            ("e30.e30.e30.e30.e30", NotThreeParts), // JWE has five
            ("e30=.e30.AA", NotBase64Url),
            ("e30.e30.AA==", NotBase64Url),
            ("e30.e30.A", NotBase64Url),
            ("e30.e30.AB", NotBase64Url), // trailing bits set
            ("e30.e30.A+", NotBase64Url),
            ("e30.e30.A/", NotBase64Url),
            ("e30.e3 0.AA", NotBase64Url),
            ("e30.e30.AA\n", NotBase64Url),
            (" e30.e30.AA", NotBase64Url),
            ("e30.e30.AA, e30.e30.AA", NotThreeParts),
            ("e30.e30.\u{e9}", NotBase64Url),
            ("e30.e30.AAAAAAAAAAAAAAAAAAAAAAAAA", TooLong),
        ] {
            assert_eq!(Compact::parse(text, 32).err(), Some(error), "{text:?}");
        }
    }

    #[test]
    fn the_parts_are_decoded_and_the_signed_bytes_are_those_that_came() {
        let compact = Compact::parse("e30.eyJhIjoxfQ.AQI", 18).unwrap();
        assert_eq!(compact.signing_input(), b"e30.eyJhIjoxfQ");
        assert_eq!(compact.header(), b"{}");
        assert_eq!(compact.payload(), b"{\"a\":1}");
        assert_eq!(compact.signature(), [1, 2]);
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_is_exactly_the_encoding_of_its_parts(text in "[A-Za-z0-9_.=+-]{0,40}") {
            if let Ok(compact) = Compact::parse(&text, 40) {
                let [header, payload, signature] =
                    [compact.header(), compact.payload(), compact.signature()].map(|part| URL_SAFE_NO_PAD.encode(part));
                prop_assert_eq!(format!("{header}.{payload}.{signature}"), text);
            }
        }
    }
}
