//! Credentials, in types that print redacted and compare in constant time where it matters.

use std::fmt;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// An access token as the client sent it. Prints redacted.
#[derive(Clone)]
pub struct AccessToken {
    text: Box<str>,
    /// Once somebody has asked.
    digest: OnceLock<TokenDigest>,
}

impl AccessToken {
    /// Takes a token68 string; its form is checked by who reads the header.
    pub fn new(token: &str) -> Self {
        Self { text: token.into(), digest: OnceLock::new() }
    }

    /// The token itself, for verification only: never for a log.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the token: what `ath` is compared with (RFC 9449 section 4.2) and the key of the token cache.
    pub fn digest(&self) -> TokenDigest {
        *self.digest.get_or_init(|| TokenDigest(Sha256::digest(self.text.as_bytes()).into()))
    }
}

impl PartialEq for AccessToken {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for AccessToken {}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(..)")
    }
}

/// SHA-256 of an access token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

/// A credential for people to read: enough to tell it from another one, too little to use. The first quarter, 8
/// characters at most, and the length.
pub fn shortened(credential: &str) -> String {
    let length = credential.chars().count();
    let shown = credential.chars().take((length / 4).min(8));
    let shown: String = shown.map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
    format!("{shown}... ({length} characters)")
}

/// Secret bytes: wiped when dropped, printed redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for use only.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_credential_is_of_no_use() {
        for (whole, expected) in [
            ("", "... (0 characters)"),
            ("abc", "... (3 characters)"),
            ("abcdefgh", "ab... (8 characters)"),
            ("a\u{1b}\u{e9}defghijkl", "a??... (12 characters)"),
            ("eyJhbGciOiJFUzI1NiJ9.eyJhIjoxfQ.signature", "eyJhbGci... (41 characters)"),
        ] {
            assert_eq!(shortened(whole), expected);
        }
    }
}
