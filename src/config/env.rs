//! `${VAR}` and `${VAR:-default}` in values.

use super::document::{Kind, Node, Origin, Scalar, item, member};
use super::report::Report;

/// How a variable is looked up: the process' environment, or a test's.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces every reference. What cannot be replaced is a problem that names the variable, never a value.
pub(super) fn expand(node: &mut Node, path: &str, lookup: Lookup<'_>, report: &mut Report) {
    match &mut node.kind {
        Kind::Scalar(scalar) => {
            if let Err(message) = expand_scalar(scalar, lookup) {
                report.broken(path, node.place, message);
            }
        }
        Kind::List(items) => {
            for (index, node) in items.iter_mut().enumerate() {
                expand(node, &item(path, index), lookup, report);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                expand(&mut entry.value, &member(path, &entry.key), lookup, report);
            }
        }
    }
}

fn expand_scalar(scalar: &mut Scalar, lookup: Lookup<'_>) -> Result<(), String> {
    let mut expanded = String::new();
    let mut rest = scalar.text.as_str();
    let mut origin = Origin::File;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((reference, behind)) = after.split_once('}') else {
            return Err("`${` without `}`; expected `${VAR}` or `${VAR:-default}`".to_owned());
        };
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_name(name) {
            return Err("no variable's name between `${` and `}`; expected `${VAR}` or `${VAR:-default}`".to_owned());
        }
        // As a shell reads `:-`: an empty variable takes the default too.
        let value = match (lookup(name).filter(|value| default.is_none() || !value.is_empty()), default) {
            (Some(value), _) => value,
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                return Err(format!(
                    "environment variable `{name}` is not set; expected a value, or a default: `${{{name}:-...}}`"
                ));
            }
        };
        let whole = before.is_empty() && behind.is_empty() && default.is_none() && origin == Origin::File;
        origin = if whole { Origin::Variable } else { Origin::Mixed };
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = behind;
    }
    if origin != Origin::File {
        expanded.push_str(rest);
        scalar.text = expanded;
        scalar.origin = origin;
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("example.com".to_owned()),
            "EMPTY" => Some(String::new()),
            "ODD" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> Result<(String, Origin), String> {
        let mut scalar = Scalar { text: text.to_owned(), plain: true, origin: Origin::File };
        expand_scalar(&mut scalar, &lookup).map(|()| (scalar.text, scalar.origin))
    }

    #[test]
    fn references_are_replaced_once_and_the_rest_stays() {
        for (text, expected, origin) in [
            ("plain", "plain", Origin::File),
            ("$", "$", Origin::File),
            ("$$", "$$", Origin::File),
            ("$HOST", "$HOST", Origin::File),
            ("a$b{c}", "a$b{c}", Origin::File),
            ("${HOST}", "example.com", Origin::Variable),
            ("https://${HOST}/", "https://example.com/", Origin::Mixed),
            ("${HOST}${HOST}", "example.comexample.com", Origin::Mixed),
            ("${NONE:-x}", "x", Origin::Mixed),
            ("${NONE:-}", "", Origin::Mixed),
            ("${EMPTY:-x}", "x", Origin::Mixed),
            ("${EMPTY}", "", Origin::Variable),
            ("${NONE:-a:-b}", "a:-b", Origin::Mixed),
            ("${ODD}", "${HOST}", Origin::Variable),
        ] {
            assert_eq!(expanded(text), Ok((expected.to_owned(), origin)), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_a_problem() {
        for (text, expected) in [
            ("${NONE}", "`NONE` is not set"),
            ("a ${HOST} ${NONE}", "`NONE` is not set"),
            ("${HOST", "without `}`"),
            ("${}", "no variable's name"),
            ("${1A}", "no variable's name"),
            ("${A B}", "no variable's name"),
            ("${A-x}", "no variable's name"),
        ] {
            let message = expanded(text).err();
            assert!(message.as_ref().is_some_and(|m| m.contains(expected)), "{text:?}: {message:?}");
        }
    }

    proptest! {
        #[test]
        fn text_without_a_reference_stays(text in "[^{]{0,60}") {
            prop_assert_eq!(expanded(&text), Ok((text, Origin::File)));
        }

        #[test]
        fn no_text_panics(text in "[${}:\\-A-Z]{0,40}") {
            let _ = expanded(&text);
        }
    }
}
