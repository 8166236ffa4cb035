//! The headers that tell an upstream who calls, and the care that nobody else writes them (design section 5).

use std::borrow::Cow;
use std::fmt::Write as _;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::dpop::DPOP;
use crate::policy::{Auth, Route};
use crate::token::Claim;

use super::admit::Caller;
use super::{Admission, AssertionOptions, Gate};

/// The claim that stands for the proven key: what the caller has shown, whatever a token has under such a name.
pub(super) const JKT_CLAIM: &str = "cnf.jkt";

/// What an upstream is told.
#[derive(Debug)]
pub struct IdentityOptions {
    /// Header and claim (a name or a dotted path).
    pub headers: Vec<(HeaderName, String)>,
    /// What becomes of the client's own credentials.
    pub forward_token: ForwardToken,
    /// The same, signed.
    pub assertion: Option<AssertionOptions>,
}

/// What becomes of the client's own credentials on their way upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardToken {
    /// They are removed.
    No,
    /// They go as they came.
    Yes,
    /// The token goes alone, as `Authorization: Bearer`.
    Bearer,
}

impl Gate {
    /// Removes every header that an upstream could take for an identity header, in any spelling that a legacy
    /// framework folds into one. On every route, admitted or not; for trailers too.
    pub fn strip_identity(&self, headers: &mut HeaderMap) {
        let spoofed: Vec<HeaderName> =
            headers.keys().filter(|name| self.is_identity_name(name.as_str())).cloned().collect();
        for name in spoofed {
            headers.remove(name);
        }
    }

    /// The headers that tell an upstream who calls, the assertion's included.
    pub fn identity_names(&self) -> impl Iterator<Item = &HeaderName> {
        let assertion = self.identity.assertion.as_ref().map(|assertion| &assertion.header);
        self.identity.headers.iter().map(|(name, _)| name).chain(assertion)
    }

    /// Whether an upstream could take that header for an identity header of ours.
    pub fn is_identity_name(&self, name: &str) -> bool {
        self.identity_names().any(|ours| folds_alike(ours.as_str(), name))
    }

    /// Sets the identity headers of an admission, the assertion included, in place of whatever bears their names: to
    /// be done last.
    pub fn set_identity(&self, admission: &Admission, route: &Route, headers: &mut HeaderMap, now: Timestamp) {
        for (name, claim) in &self.identity.headers {
            let value = if claim == JKT_CLAIM {
                admission.jkt().and_then(|jkt| HeaderValue::from_bytes(&jkt.to_text()).ok())
            } else {
                admission.token().and_then(|token| encode_claim(claim, token.claim(claim)?))
            };
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        if let Some((name, value)) = self.assertion(admission, route, now) {
            headers.insert(name, value);
        }
    }

    /// Rewrites the client's credentials for the upstream: removed, kept or turned into Bearer, as route and
    /// configuration say.
    pub fn forward_credentials(&self, admission: &Admission, route: &Route, headers: &mut HeaderMap) {
        match &admission.caller {
            // A public route's credentials are the upstream's business; in report mode the request goes as it came.
            Caller::Anyone => {}
            // The client's own authentication towards the authorization server.
            Caller::Key(_) => {
                debug_assert_eq!(route.auth, Auth::TokenEndpoint);
                if self.identity.forward_token != ForwardToken::Yes {
                    headers.remove(DPOP);
                }
            }
            Caller::Token { text, .. } => match self.identity.forward_token {
                ForwardToken::Yes => {}
                ForwardToken::No => {
                    headers.remove(AUTHORIZATION);
                    headers.remove(DPOP);
                }
                ForwardToken::Bearer => {
                    headers.remove(AUTHORIZATION);
                    headers.remove(DPOP);
                    if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", text.reveal())) {
                        value.set_sensitive(true);
                        headers.insert(AUTHORIZATION, value);
                    }
                }
            },
        }
    }
}

/// Whether two header names are one to a framework that folds what is no letter or digit together (CGI, WSGI, Rack,
/// PHP), or drops it.
fn folds_alike(one: &str, other: &str) -> bool {
    folded(one).eq(folded(other))
}

fn folded(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase())
}

fn encode_claim(name: &str, claim: Claim<'_>) -> Option<HeaderValue> {
    match claim.as_str() {
        // Most of them are, and need no more than a copy.
        Some(text) => HeaderValue::from_str(&escape(&text, None)).ok(),
        None => encode(name, &claim.value()),
    }
}

/// A claim as a header value: strings as they are, numbers and booleans as JSON, lists joined (scopes by a space,
/// others by a comma). What could be read in two ways is percent-encoded, `%` itself included, so that it can be
/// undone.
fn encode(claim: &str, value: &Value) -> Option<HeaderValue> {
    let text = match value {
        Value::Null => return None,
        Value::Array(members) => {
            let separator = if matches!(claim, "scope" | "scp") { ' ' } else { ',' };
            let members = members.iter().map(|member| escape(&scalar(member), Some(separator)).into_owned());
            members.collect::<Vec<_>>().join(&separator.to_string())
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            escape(&scalar(value), None).into_owned()
        }
    };
    HeaderValue::try_from(text).ok()
}

fn scalar(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Cow::Owned(other.to_string())
        }
    }
}

/// Percent-encodes control and non-ASCII characters and `%`, a member's own separator, and white space at either end,
/// which a parser of headers would trim: ` admin` must not arrive as `admin`.
fn escape(text: &str, separator: Option<char>) -> Cow<'_, str> {
    let plain = |c: char| (' '..='~').contains(&c) && c != '%' && Some(c) != separator;
    // Without a branch, so that many bytes are looked at at once: nearly all texts are plain.
    if text.bytes().fold(true, |all, byte| all & plain(char::from(byte)))
        && !text.starts_with(' ')
        && !text.ends_with(' ')
    {
        return Cow::Borrowed(text);
    }
    let inner = text.len() - text.trim_start_matches(' ').len()..text.trim_end_matches(' ').len();
    let mut escaped = String::with_capacity(text.len() + 16);
    for (at, c) in text.char_indices() {
        if plain(c) && (c != ' ' || inner.contains(&at)) {
            escaped.push(c);
        } else {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spellings_that_legacy_frameworks_fold_are_one_name() {
        for spelling in
            ["x-auth-subject", "X_AUTH_SUBJECT", "x.auth.subject", "X-Auth_Subject", "x~auth!subject", "xauthsubject"]
        {
            assert!(folds_alike("x-auth-subject", spelling), "{spelling}");
        }
        for other in ["x-auth-subjects", "x-auth-subjec", "authorization", "x-auth", ""] {
            assert!(!folds_alike("x-auth-subject", other), "{other}");
        }
    }

    #[test]
    fn claims_become_values_that_cannot_be_misread() {
        for (claim, value, expected) in [
            ("sub", json!("alice"), Some("alice")),
            ("sub", json!("Zo\u{eb} 100%"), Some("Zo%C3%AB 100%25")),
            ("sub", json!("a\r\nX-Auth-Subject: root"), Some("a%0D%0AX-Auth-Subject: root")),
            ("sub", json!(" admin "), Some("%20admin%20")),
            ("sub", json!("\u{7f}\u{0}"), Some("%7F%00")),
            ("sub", json!(""), Some("")),
            ("level", json!(3), Some("3")),
            ("admin", json!(true), Some("true")),
            ("gone", json!(null), None),
            ("scope", json!("a b"), Some("a b")),
            ("scp", json!(["a", "b"]), Some("a b")),
            ("groups", json!(["a", "b c", 3]), Some("a,b c,3")),
            ("groups", json!(["a,admin"]), Some("a%2Cadmin")),
            ("groups", json!([]), Some("")),
        ] {
            let found = encode(claim, &value);
            assert_eq!(found.as_ref().and_then(|value| value.to_str().ok()), expected, "{claim}: {value}");
        }
    }
}
