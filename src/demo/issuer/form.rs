//! `application/x-www-form-urlencoded`, with every parameter at most once (RFC 6749 section 3.2).

use std::collections::BTreeMap;

/// A form. An empty parameter counts as absent, as RFC 6749 section 3.2 has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads a body; `None` where it is no form, or a parameter comes twice.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let mut members = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if members.insert(decode(name)?, decode(value)?).is_some() {
                return None;
            }
        }
        Some(Self(members))
    }

    /// A parameter's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// A name or value as it was before encoding; `None` where that is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms() {
        for (body, name, expected) in [
            ("a=1&b=2", "b", Some("2")),
            ("a=x+y%20z", "a", Some("x y z")),
            ("a=%2B", "a", Some("+")),
            ("a=", "a", None),
            ("a", "a", None),
            ("", "a", None),
            ("a=b=c", "a", Some("b=c")),
        ] {
            let form = Form::parse(body.as_bytes());
            assert_eq!(form.as_ref().and_then(|form| form.get(name)), expected, "{body}");
        }
        for body in [&b"a=1&a=1"[..], b"a=1&%61=2", b"a=\xff", b"a=%ff"] {
            assert_eq!(Form::parse(body), None, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>) {
            let _ = Form::parse(&body);
        }

        #[test]
        fn what_was_encoded_comes_back(value in ".+") {
            let encoded = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC);
            let form = Form::parse(format!("x=1&value={encoded}").as_bytes());
            prop_assert_eq!(form.as_ref().and_then(|form| form.get("value")), Some(value.as_str()));
        }
    }
}
