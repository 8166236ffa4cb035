//! `proof`: compact DPoP proofs (RFC 9449 section 4.2), for scripts and tests.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Uri};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::jose::{PrivateKey, PrivateKeyError};
use crate::secret::AccessToken;

use super::output;

/// Random bytes of a `jti`: with 16, two are never alike.
const JTI_BYTES: usize = 16;
/// Largest private JWK that is read, in bytes; one of a 4096-bit RSA key has about 3.2 KiB.
const MAX_KEY_BYTES: u64 = 16 * 1024;
/// Largest token file that is read, in bytes: more fits in no request header.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// What `proof` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The private JWK to sign with, as `keygen` makes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The request's method, to the letter: `htm`
    #[arg(long, value_name = "M")]
    method: String,
    /// The request's URL: `htu` is this without query and fragment
    #[arg(long, value_name = "U")]
    url: String,
    /// The access token that goes along, or @FILE that holds it: its digest becomes `ath`
    #[arg(long, value_name = "T")]
    token: Option<TokenSource>,
    /// The nonce of the server's last DPoP-Nonce header
    #[arg(long, value_name = "N")]
    nonce: Option<String>,
    /// How many proofs, one a line, each with its own `jti`
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    count: u32,
}

/// A token, or the file that holds it. Prints redacted, since `Args` may be printed.
#[derive(Clone)]
enum TokenSource {
    Text(AccessToken),
    File(PathBuf),
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

/// What stands in every proof of one call.
struct Template {
    header: Value,
    claims: serde_json::Map<String, Value>,
}

/// Writes the proofs.
pub(super) fn run(args: Args) -> ExitCode {
    let (key, template) = match prepare(&args) {
        Ok(prepared) => prepared,
        Err(message) => return output::usage(&message),
    };
    match write_all(&key, &template, args.count, &Clock::System) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => output::unwritable(&error),
        Err(Failure::Signing(error)) => output::failed(&error),
    }
}

fn prepare(args: &Args) -> Result<(PrivateKey, Template), String> {
    let key = read_key(&args.key)?;
    let method = Method::from_bytes(args.method.as_bytes())
        .map_err(|_| "--method: not a method; expected a token such as GET or POST".to_owned())?;
    let mut claims = serde_json::Map::new();
    claims.insert("htm".into(), method.as_str().into());
    claims.insert("htu".into(), htu(&args.url)?.into());
    if let Some(source) = &args.token {
        let digest = read_token(source)?.digest();
        claims.insert("ath".into(), URL_SAFE_NO_PAD.encode(digest.as_bytes()).into());
    }
    if let Some(nonce) = &args.nonce {
        // RFC 9449 section 8.1: 1*NQCHAR.
        if nonce.is_empty() || !nonce.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            return Err("--nonce: not a nonce; expected the value of a DPoP-Nonce header".to_owned());
        }
        claims.insert("nonce".into(), nonce.as_str().into());
    }
    let header = json!({"typ": "dpop+jwt", "jwk": key.public().to_jwk()});
    Ok((key, Template { header, claims }))
}

fn read_key(path: &Path) -> Result<PrivateKey, String> {
    let text = read(path, MAX_KEY_BYTES).map_err(|error| format!("--key {}: {error}", path.display()))?;
    PrivateKey::from_jwk_json(&text).map_err(|error| format!("--key {}: {error}", path.display()))
}

fn read_token(source: &TokenSource) -> Result<AccessToken, String> {
    let token = match source {
        TokenSource::Text(token) => token.clone(),
        TokenSource::File(path) => {
            let bytes = read(path, MAX_TOKEN_BYTES).map_err(|error| format!("--token @{}: {error}", path.display()))?;
            AccessToken::new(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']))
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

fn read(path: &Path, limit: u64) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    use std::io::Read as _;
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    std::fs::File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// RFC 9449 section 4.2: the target URI "without query and fragment parts". An empty path is what goes on the wire,
/// `/`.
fn htu(url: &str) -> Result<String, String> {
    let wrong = || "--url: not a URL to call; expected http:// or https://, a host, and a path".to_owned();
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let base = url.get(..end).ok_or_else(wrong)?;
    let uri: Uri = base.parse().map_err(|_| wrong())?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https")).ok_or_else(wrong)?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
    if authority.host().is_empty() {
        return Err(wrong());
    }
    Ok(format!("{scheme}://{authority}{}", uri.path()))
}

enum Failure {
    Output(io::Error),
    Signing(PrivateKeyError),
}

fn write_all(key: &PrivateKey, template: &Template, count: u32, clock: &Clock) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    for _ in 0..count {
        let proof = sign(key, template, clock).map_err(Failure::Signing)?;
        writeln!(out, "{proof}").map_err(Failure::Output)?;
    }
    out.flush().map_err(Failure::Output)
}

fn sign(key: &PrivateKey, template: &Template, clock: &Clock) -> Result<String, PrivateKeyError> {
    let mut jti = [0; JTI_BYTES];
    getrandom::fill(&mut jti).map_err(|_| PrivateKeyError::Failed)?;
    let mut claims = template.claims.clone();
    claims.insert("jti".into(), URL_SAFE_NO_PAD.encode(jti).into());
    claims.insert("iat".into(), clock.now().as_secs().into());
    key.sign_compact(template.header.clone(), &Value::Object(claims))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn htu_is_the_url_without_query_and_fragment() {
        for (url, expected) in [
            ("https://api.example.com/orders/1", Some("https://api.example.com/orders/1")),
            ("https://api.example.com/orders/1?page=2#top", Some("https://api.example.com/orders/1")),
            ("https://api.example.com/orders#a?b", Some("https://api.example.com/orders")),
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080/")),
            ("http://[::1]:8080/a?b", Some("http://[::1]:8080/a")),
            ("https://api.example.com?x", Some("https://api.example.com/")),
            ("", None),
            ("/orders", None),
            ("api.example.com/orders", None),
            ("ftp://api.example.com/", None),
            ("https://", None),
            ("https://:443/", None),
            ("https://user:secret@api.example.com/", None),
            ("https://api.example.com/a b", None),
        ] {
            assert_eq!(htu(url).ok().as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_wrong_token_is_not_repeated() {
        let source: TokenSource = "eyJ secret".parse().unwrap();
        let message = read_token(&source).unwrap_err();
        assert!(message.starts_with("--token: "), "{message}");
        assert!(!message.contains("secret"), "{message}");
        assert!(!format!("{source:?}").contains("secret"));
    }
}
