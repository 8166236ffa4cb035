//! JSON that refuses duplicate members, so that no two readers can see two different values (RFC 7515 section 4).

use serde_json::{Map, Value};

/// A JSON value in which no object, at any depth, had two members of one name, and which is at most 16 levels deep.
#[derive(Debug, Clone, PartialEq)]
pub struct StrictValue(Value);

impl StrictValue {
    /// Parses UTF-8 JSON; `None` for anything else, duplicates and trailing text included.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let _ = json;
        todo!()
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
