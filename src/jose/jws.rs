//! Compact serialisation (RFC 7515 section 7.1).

use thiserror::Error;

/// A compact JWS split into its parts: decoded, bounded, not yet verified.
#[derive(Clone)]
pub struct Compact<'a> {
    /// `BASE64URL(header) . BASE64URL(payload)`: what is signed.
    pub signing_input: &'a [u8],
    /// The decoded header, JSON.
    pub header: Vec<u8>,
    /// The decoded payload.
    pub payload: Vec<u8>,
    /// The decoded signature.
    pub signature: Vec<u8>,
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
    pub fn parse(text: &'a str, limit: usize) -> Result<Self, CompactError> {
        let _ = (text, limit);
        todo!()
    }
}
