//! JSON that refuses duplicate members, so that no two readers can see two different values (RFC 7515 section 4).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting that is read: arrays and objects inside one another. The outermost is the first.
const MAX_DEPTH: u8 = 16;

/// A JSON value in which no object, at any depth, had two members of one name, and which is at most 16 levels deep.
///
/// Numbers are as `serde_json` keeps them: integers that fit 64 bits exactly, others as the nearest double; one too
/// large for a double is refused.
#[derive(Debug, Clone, PartialEq)]
pub struct StrictValue(Value);

impl StrictValue {
    /// Parses UTF-8 JSON; `None` for anything else, duplicates and trailing text included.
    pub fn parse(json: &[u8]) -> Option<Self> {
        parse_strictly(json, StrictSeed::outermost()).map(Self)
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

/// Runs a seed over a whole text; `None` if it fails or anything but white space follows.
pub(crate) fn parse_strictly<'de, S: DeserializeSeed<'de>>(json: &'de [u8], seed: S) -> Option<S::Value> {
    // Checked once and whole: after this, strings are borrowed without another check.
    let mut deserializer = serde_json::Deserializer::from_str(std::str::from_utf8(json).ok()?);
    let value = seed.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(value)
}

/// Reads one value strictly, and keeps it.
#[derive(Clone, Copy)]
pub(crate) struct StrictSeed {
    depth_left: u8,
}

impl StrictSeed {
    /// For a value that nothing stands around.
    pub(crate) const fn outermost() -> Self {
        Self { depth_left: MAX_DEPTH }
    }

    fn inner<E: Error>(self) -> Result<Self, E> {
        Ok(Self { depth_left: deeper(self.depth_left)? })
    }
}

impl<'de> DeserializeSeed<'de> for StrictSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number too large"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(map))
    }
}

/// Reads a member's name, borrowed where it has no escapes.
#[derive(Clone, Copy)]
pub(crate) struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Reads one value strictly and keeps it only if it is a string, borrowed where it has no escapes.
#[derive(Clone, Copy)]
pub(crate) struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(TextVisitor { depth_left: MAX_DEPTH - 1 })
    }
}

/// Reads one value strictly and keeps nothing: for members that nobody asked for.
#[derive(Clone, Copy)]
pub(crate) struct IgnoredSeed;

impl<'de> DeserializeSeed<'de> for IgnoredSeed {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(TextVisitor { depth_left: MAX_DEPTH - 1 }).map(|_| ())
    }
}

/// [`TextSeed`] one level further in: for the members of a member.
#[derive(Clone, Copy)]
pub(super) struct InnerTextSeed;

impl<'de> DeserializeSeed<'de> for InnerTextSeed {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(TextVisitor { depth_left: MAX_DEPTH - 2 })
    }
}

struct TextVisitor {
    depth_left: u8,
}

impl<'de> DeserializeSeed<'de> for TextVisitor {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let depth_left = deeper(self.depth_left)?;
        while seq.next_element_seed(TextVisitor { depth_left })?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let depth_left = deeper(self.depth_left)?;
        let mut names = BTreeSet::new();
        while let Some(name) = members.next_key_seed(NameSeed)? {
            if !names.insert(name) {
                return Err(A::Error::custom("duplicate member"));
            }
            members.next_value_seed(TextVisitor { depth_left })?;
        }
        Ok(None)
    }
}

fn deeper<E: Error>(depth_left: u8) -> Result<u8, E> {
    depth_left.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))
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
            assert_eq!(parse_strictly(text.as_bytes(), IgnoredSeed), None, "{what}, ignored");
        }
        assert_eq!(StrictValue::parse(b"{\"a\":\"\xff\"}"), None, "not UTF-8");
        assert_eq!(StrictValue::parse(nested(17).as_bytes()), None, "too deep");
        assert_eq!(StrictValue::parse(nested(100_000).as_bytes()), None, "far too deep");
        assert_eq!(parse_strictly(nested(16).as_bytes(), IgnoredSeed), None, "as a member, one level is used up");
    }

    #[test]
    fn what_is_unambiguous_is_read_as_it_is() {
        let text = r#" {"a":[1,-2,2.5,18446744073709551615,true,null,"\u00e9"],"b":{"a":{}}} "#;
        let value = json!({"a": [1, -2, 2.5, u64::MAX, true, null, "\u{e9}"], "b": {"a": {}}});
        assert_eq!(StrictValue::parse(text.as_bytes()).unwrap().value(), &value);
        assert!(StrictValue::parse(nested(16).as_bytes()).is_some());
        assert!(parse_strictly(nested(15).as_bytes(), IgnoredSeed).is_some());
    }

    #[test]
    fn a_text_is_borrowed_and_nothing_else_is_one() {
        assert!(matches!(parse_strictly(br#""dpop+jwt""#, TextSeed), Some(Some(Cow::Borrowed("dpop+jwt")))));
        assert!(matches!(parse_strictly(br#""\u0061""#, TextSeed), Some(Some(Cow::Owned(a))) if a == "a"));
        for other in ["1", "-1", "1.5", "null", "true", "[]", "{}", r#"["a"]"#, r#"{"a":"b"}"#] {
            assert_eq!(parse_strictly(other.as_bytes(), TextSeed), Some(None), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = StrictValue::parse(&bytes);
        }

        #[test]
        fn json_like_text_reads_the_same_as_serde_json_or_not_at_all(text in r#"[\[\]{}:,"ab0-9.eE+\- \\ntrul]{0,40}"#) {
            let strict = StrictValue::parse(text.as_bytes());
            prop_assert_eq!(strict.is_some() , parse_strictly(text.as_bytes(), TextSeed).is_some());
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
            prop_assert!(parse_strictly(object(true).as_bytes(), IgnoredSeed).is_none());
        }
    }
}
