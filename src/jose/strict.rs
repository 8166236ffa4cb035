//! JSON that refuses duplicate members, so that no two readers can see two different values (RFC 7515 section 4).

use serde_json::{Map, Value};

use super::reader::{Reader, read};

/// A JSON value in which no object, at any depth, had two members of one name, and which is at most 16 levels deep.
///
/// Numbers are as `serde_json` keeps them: integers that fit 64 bits exactly, others as the nearest double; one too
/// large for a double is refused.
#[derive(Debug, Clone, PartialEq)]
pub struct StrictValue(Value);

impl StrictValue {
    /// Parses UTF-8 JSON; `None` for anything else, duplicates and trailing text included.
    pub fn parse(json: &[u8]) -> Option<Self> {
        read(json, tree).map(Self)
    }

    /// Takes a value that cannot hold duplicates, because a [`Map`] cannot.
    pub(crate) fn from_value(value: Value) -> Self {
        Self(value)
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The object's members, if it is one.
    pub fn into_object(self) -> Option<Map<String, Value>> {
        match self.0 {
            Value::Object(map) => Some(map),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }
}

fn tree(reader: &mut Reader<'_>) -> Option<Value> {
    Some(match reader.peek()? {
        b'{' => {
            let mut members = Map::new();
            reader.object(|reader, name| {
                let value = tree(reader)?;
                members.insert(name.into_owned(), value).is_none().then_some(())
            })?;
            Value::Object(members)
        }
        b'[' => {
            let mut elements = Vec::new();
            reader.array(|reader| {
                elements.push(tree(reader)?);
                Some(())
            })?;
            Value::Array(elements)
        }
        b'"' => Value::String(reader.text()??.into_owned()),
        b't' | b'f' | b'n' => reader.constant()?.into(),
        _ => Value::Number(reader.number()?),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for (what, text) in [
            ("nothing", ""),
            ("a duplicate", r#"{"a":1,"a":1}"#),
            ("a duplicate behind an escape", r#"{"a":1,"\u0061":2}"#),
            ("a duplicate deep inside", r#"{"a":[{"b":{"c":1,"d":2,"c":3}}]}"#),
            ("trailing text", r#"{"a":1} x"#),
            ("a second value", r#"{"a":1}{"a":2}"#),
            ("a comment", "{\"a\":1}//"),
            ("a trailing comma", r#"{"a":1,}"#),
            ("single quotes", "{'a':1}"),
            ("not a number", r#"{"a":NaN}"#),
            ("an endless number", r#"{"a":1e999}"#),
            ("a leading zero", r#"{"a":01}"#),
            ("a lone surrogate", r#"{"a":"\ud800"}"#),
            ("a control character", "{\"a\":\"\n\"}"),
            ("a byte order mark", "\u{feff}{}"),
            ("an unclosed object", r#"{"a":1"#),
        ] {
            assert_eq!(StrictValue::parse(text.as_bytes()), None, "{what}");
            assert_eq!(read(text.as_bytes(), Reader::pass), None, "{what}, passed over");
        }
        assert_eq!(StrictValue::parse(b"{\"a\":\"\xff\"}"), None, "not UTF-8");
        assert_eq!(StrictValue::parse(nested(17).as_bytes()), None, "too deep");
        assert_eq!(StrictValue::parse(nested(100_000).as_bytes()), None, "far too deep");
    }

    #[test]
    fn what_is_unambiguous_is_read_as_it_is() {
        let text = r#" {"a":[1,-2,2.5,18446744073709551615,true,null,"\u00e9"],"b":{"a":{}}} "#;
        let value = json!({"a": [1, -2, 2.5, u64::MAX, true, null, "\u{e9}"], "b": {"a": {}}});
        assert_eq!(StrictValue::parse(text.as_bytes()).unwrap().value(), &value);
        assert!(StrictValue::parse(nested(16).as_bytes()).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = StrictValue::parse(&bytes);
        }

        #[test]
        fn json_like_text_reads_the_same_as_serde_json_or_not_at_all(text in r#"[\[\]{}:,"ab0-9.eE+\- \\ntrul]{0,40}"#) {
            let strict = StrictValue::parse(text.as_bytes());
            prop_assert_eq!(strict.is_some(), read(text.as_bytes(), Reader::pass).is_some());
            if let Some(strict) = strict {
                prop_assert_eq!(strict.value(), &serde_json::from_str::<Value>(&text).unwrap());
            }
        }

        #[test]
        fn a_doubled_member_is_found_wherever_it_stands(
            before in proptest::collection::btree_set("[a-m]{1,4}", 0..5),
            after in proptest::collection::btree_set("[n-z]{1,4}", 0..5),
            depth in 0usize..10,
        ) {
            let member = |name: &String| format!("\"{name}\":0");
            let object = |twice: bool| {
                let doubled = if twice { vec!["\"A\":1".to_owned(), "\"A\":1".to_owned()] } else { vec!["\"A\":1".to_owned()] };
                let members = before.iter().map(member).chain(doubled).chain(after.iter().map(member));
                format!("{}{{{}}}{}", "[".repeat(depth), members.collect::<Vec<_>>().join(","), "]".repeat(depth))
            };
            prop_assert!(StrictValue::parse(object(false).as_bytes()).is_some());
            prop_assert!(StrictValue::parse(object(true).as_bytes()).is_none());
            prop_assert!(read(object(true).as_bytes(), Reader::pass).is_none());
        }
    }
}
