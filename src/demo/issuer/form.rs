//! `application/x-www-form-urlencoded`: bodies, and the query of `/authorize`.

use std::collections::{BTreeMap, BTreeSet};

/// A form. An empty parameter counts as absent, as RFC 6749 section 3.2 has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    members: BTreeMap<String, String>,
    doubled: BTreeSet<String>,
}

impl Form {
    /// Reads a body or a query; `None` where it is no form.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut form = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if form.members.insert(name.clone(), decode(value)?).is_some() {
                form.doubled.insert(name);
            }
        }
        Some(form)
    }

    /// RFC 6749 sections 3.1 and 3.2: "Request and response parameters MUST NOT be included more than once."
    pub(super) fn is_doubled(&self) -> bool {
        !self.doubled.is_empty()
    }

    /// A parameter's value. One that came twice has none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.members.get(name).map(String::as_str).filter(|value| !value.is_empty() && !self.doubled.contains(name))
    }
}

/// A name or value as it was before encoding; `None` where that is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
        for body in [&b"a=\xff"[..], b"a=%ff"] {
            assert_eq!(Form::parse(body), None, "{body:?}");
        }
        for body in [&b"a=1&a=1&b=2"[..], b"a=1&%61=2&b=2", b"a&a&b=2"] {
            let form = Form::parse(body).unwrap();
            assert_eq!((form.is_doubled(), form.get("a"), form.get("b")), (true, None, Some("2")), "{body:?}");
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
