//! The story as it happens: the eight steps of DPoP, each with what was sent and what came back.

use std::io::Write;

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, HeaderName, Request, Response};

use crate::dpop::DPOP;
use crate::secret::shortened;

use super::{Proof, Url};

/// Parts of header names whose values are for nobody's eyes.
const CONFIDENTIAL: [&str; 8] = ["auth", "cookie", "token", "key", "secret", "password", "nonce", "dpop"];

/// Whom the story is told to, if to anybody.
pub struct Story {
    out: Option<Box<dyn Write + Send>>,
}

impl Story {
    /// Told to `out`.
    pub fn told_to(out: Box<dyn Write + Send>) -> Self {
        Self { out: Some(out) }
    }

    /// Told to nobody.
    pub fn untold() -> Self {
        Self { out: None }
    }

    /// A step of the eight begins.
    pub(super) fn step(&mut self, number: u8, text: &str) {
        self.line(&format!("{number}  {text}"));
    }

    /// More about the step.
    pub(super) fn detail(&mut self, text: &str) {
        self.line(&format!("   {text}"));
    }

    /// A request, with the claims of its proof.
    pub(super) fn sent<B>(&mut self, url: &Url, request: &Request<B>, proof: &Proof, body: &str) {
        if self.out.is_none() {
            return;
        }
        let hidden = if request.uri().query().is_some() { "?..." } else { "" };
        self.line(&format!("   > {} {}{hidden}", request.method(), url.htu()));
        for (name, value) in readable(request.headers()) {
            self.line(&format!("   > {name}: {value}"));
            if name == DPOP {
                self.line(&format!("   >   it says: {}", proof.told()));
            }
        }
        if !body.is_empty() {
            self.line(&format!("   > {body}"));
        }
    }

    /// An answer's head.
    pub(super) fn received<B>(&mut self, response: &Response<B>) {
        if self.out.is_none() {
            return;
        }
        self.line(&format!("   < {}", response.status()));
        for (name, value) in readable(response.headers()) {
            self.line(&format!("   < {name}: {value}"));
        }
    }

    /// What a body is, where it is not told itself.
    pub(super) fn size(body: &Bytes) -> String {
        if body.is_empty() { String::new() } else { format!("(a body of {} bytes)", body.len()) }
    }

    fn line(&mut self, text: &str) {
        if let Some(out) = &mut self.out {
            // There is nobody left to tell where this fails.
            let _ = writeln!(out, "{text}");
        }
    }
}

/// Headers for people to read: credentials shortened, nothing in them that moves a cursor.
fn readable(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, String)> {
    headers.iter().map(|(name, value)| {
        let text = String::from_utf8_lossy(value.as_bytes());
        let confidential = CONFIDENTIAL.iter().any(|part| name.as_str().contains(part));
        let shown = match text.split_once(' ') {
            // A short name in front would let some of the password be read.
            Some(("Basic", pair)) if name == AUTHORIZATION => format!("Basic ... ({} characters)", pair.len()),
            Some((scheme, credentials)) if name == AUTHORIZATION => format!("{scheme} {}", shortened(credentials)),
            // A challenge is no credential.
            Some(_) | None if name.as_str() == "www-authenticate" => plain(&text),
            // Codes and tokens stand in the query of some.
            Some(_) | None if name == LOCATION => plain(text.split(['?', '#']).next().unwrap_or_default()),
            Some(_) | None if confidential => shortened(&text),
            Some(_) | None => plain(&text),
        };
        (name, shown)
    })
}

/// Without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_confidential_is_shortened() {
        for (name, value, shown) in [
            ("authorization", "DPoP canary-canary-canary", "DPoP canar... (20 characters)"),
            ("authorization", "Basic Y2FuYXJ5OmNhbmFyeQ==", "Basic ... (20 characters)"),
            ("authorization", "canary-canary", "can... (13 characters)"),
            ("dpop", "canary-canary-canary", "canar... (20 characters)"),
            ("dpop-nonce", "canary-canary", "can... (13 characters)"),
            ("x-api-key", "canary-canary", "can... (13 characters)"),
            ("set-cookie", "s=canary", "s=... (8 characters)"),
            ("location", "https://a.example/b?code=canary", "https://a.example/b"),
            ("www-authenticate", "DPoP algs=\"ES256\"", "DPoP algs=\"ES256\""),
            ("server", "a\tb", "a?b"),
        ] {
            let headers: HeaderMap =
                [(HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect();
            let shown_now: Vec<String> = readable(&headers).map(|(_, value)| value).collect();
            assert_eq!(shown_now, [shown], "{name}");
        }
    }
}
