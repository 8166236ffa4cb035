//! Durations and sizes as they are written: one number, one unit.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a duration looks like, for the schema and for whoever reads it.
pub(super) const DURATION_PATTERN: &str = "^[0-9]{1,9}(ms|s|m|h)$";
/// What a size with a unit looks like; a plain integer is a number of bytes.
pub(super) const SIZE_PATTERN: &str = "^[0-9]{1,9}(KiB|MiB|GiB)$";

/// More digits than this mean a mistake, and nothing below can overflow.
const MAX_DIGITS: usize = 9;

/// `500ms`, `15s`, `5m`, `24h`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Span {
    text: Cow<'static, str>,
    duration: Duration,
}

impl Span {
    /// A default, as it is documented.
    pub(super) fn of(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), duration: parse_duration(text).unwrap_or_default() }
    }

    /// What it means.
    pub(super) fn duration(&self) -> Duration {
        self.duration
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration = parse_duration(&text).ok_or_else(|| de::Error::custom("not a duration"))?;
        Ok(Self { text: Cow::Owned(text), duration })
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": DURATION_PATTERN,
            "examples": ["500ms", "15s", "5m", "24h"],
        })
    }
}

/// `64KiB`, `1MiB`, or a plain number of bytes.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Size {
    text: Option<Cow<'static, str>>,
    bytes: u64,
}

impl Size {
    /// A default, as it is documented.
    pub(super) fn of(text: &'static str) -> Self {
        Self { text: Some(Cow::Borrowed(text)), bytes: parse_size(text).unwrap_or_default() }
    }

    /// A number of bytes.
    pub(super) fn bytes_of(bytes: u64) -> Self {
        Self { text: None, bytes }
    }

    /// What it means.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.text {
            Some(text) => serializer.serialize_str(text),
            None => serializer.serialize_u64(self.bytes),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Self { text: None, bytes }),
            Written::Text(text) => {
                let bytes = parse_size(&text).ok_or_else(|| de::Error::custom("not a size"))?;
                Ok(Self { text: Some(Cow::Owned(text)), bytes })
            }
        }
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 0, "description": "Bytes." },
                { "type": "string", "pattern": SIZE_PATTERN },
            ],
            "examples": ["64KiB", "1MiB", 0],
        })
    }
}

/// One number and one unit; `None` for anything else.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    Some(match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        "h" => Duration::from_secs(number * 3600),
        _ => return None,
    })
}

/// One number and one binary unit; `None` for anything else.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    if digits > MAX_DIGITS {
        return None;
    }
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_number_and_one_unit() {
        for (text, expected) in [
            ("", None),
            ("s", None),
            ("15", None),
            ("15 s", None),
            ("1h30m", None),
            ("1.5s", None),
            ("-1s", None),
            ("+1s", None),
            ("15S", None),
            ("1d", None),
            ("1234567890s", None),
            ("١s", None),
            ("0s", Some(Duration::ZERO)),
            ("500ms", Some(Duration::from_millis(500))),
            ("15s", Some(Duration::from_secs(15))),
            ("5m", Some(Duration::from_secs(300))),
            ("24h", Some(Duration::from_secs(86_400))),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
        for (text, expected) in [
            ("64KB", None),
            ("64K", None),
            ("64", None),
            ("64kib", None),
            ("1.5MiB", None),
            ("64KiB", Some(65_536)),
            ("1MiB", Some(1 << 20)),
            ("999999999GiB", Some(999_999_999 << 30)),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,20}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }

        #[test]
        fn what_is_written_is_what_is_meant(number in 0u64..1_000_000_000) {
            prop_assert_eq!(parse_duration(&format!("{number}ms")), Some(Duration::from_millis(number)));
            prop_assert_eq!(parse_duration(&format!("{number}h")), Some(Duration::from_secs(number * 3600)));
            prop_assert_eq!(parse_size(&format!("{number}MiB")), Some(number << 20));
        }
    }
}
