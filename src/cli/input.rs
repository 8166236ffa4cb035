//! What commands take in: keys, tokens and other things out of files, bounded, and each with a line that says which
//! option it came by if it is wrong.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use http::Method;
use zeroize::Zeroizing;

use crate::client::Url;
use crate::jose::PrivateKey;
use crate::secret::AccessToken;

/// Largest private JWK that is read, in bytes; one of a 4096-bit RSA key has about 3.2 KiB.
const MAX_KEY_BYTES: u64 = 16 * 1024;
/// Largest file that holds a token or another secret, in bytes: more fits in no request header.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A token, or the file that holds it. Prints redacted, since arguments may be printed.
#[derive(Clone)]
pub(super) enum TokenSource {
    Text(AccessToken),
    File(PathBuf),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(token) => token.fmt(f),
            Self::File(path) => path.fmt(f),
        }
    }
}

impl std::str::FromStr for TokenSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some(path) => Self::File(path.into()),
            None => Self::Text(AccessToken::new(text)),
        })
    }
}

/// `--key`.
pub(super) fn key(path: &Path) -> Result<PrivateKey, String> {
    let text = file(path, MAX_KEY_BYTES).map_err(|error| format!("--key {}: {error}", path.display()))?;
    PrivateKey::from_jwk_json(&text).map_err(|error| format!("--key {}: {error}", path.display()))
}

/// `--token`.
pub(super) fn token(source: &TokenSource) -> Result<AccessToken, String> {
    let token = match source {
        TokenSource::Text(token) => token.clone(),
        TokenSource::File(path) => {
            let bytes = secret(path).map_err(|error| format!("--token @{}: {error}", path.display()))?;
            AccessToken::new(&String::from_utf8_lossy(&bytes))
        }
    };
    let text = token.reveal();
    // RFC 9110 section 11.2, token68; the token itself is not repeated in the message.
    let token68 = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if text.is_empty() || !text.bytes().all(token68) {
        return Err("--token: not an access token; expected the value of access_token, or @FILE that holds it".into());
    }
    Ok(token)
}

/// A file's content without its last newline.
pub(super) fn secret(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = file(path, MAX_SECRET_BYTES)?;
    while bytes.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
        bytes.pop();
    }
    Ok(bytes)
}

/// A URL to call.
pub(super) fn url(option: &str, text: &str) -> Result<Url, String> {
    let wrong = || format!("{option}: not a URL to call; expected http:// or https://, a host, and a path");
    Url::parse(text).ok_or_else(wrong)
}

/// A method, to the letter.
pub(super) fn method(option: &str, text: &str) -> Result<Method, String> {
    let wrong = |_| format!("{option}: not a method; expected a token such as GET or POST");
    Method::from_bytes(text.as_bytes()).map_err(wrong)
}

/// A file, up to `limit` bytes.
pub(super) fn file(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    bounded(std::fs::File::open(path)?, limit)
}

/// All of a source, up to `limit` bytes.
pub(super) fn bounded(source: impl Read, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    source.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_token_is_not_repeated() {
        let source: TokenSource = "eyJ secret".parse().unwrap();
        let message = token(&source).unwrap_err();
        assert!(message.starts_with("--token: "), "{message}");
        assert!(!message.contains("secret"), "{message}");
        assert!(!format!("{source:?}").contains("secret"));
    }

    #[test]
    fn more_than_the_limit_is_an_error() {
        assert_eq!(*bounded(&b"1234"[..], 4).unwrap(), b"1234");
        assert!(bounded(&b"12345"[..], 4).unwrap_err().to_string().contains("larger than 4 bytes"));
    }
}
