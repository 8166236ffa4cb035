//! The JSON Schema, derived from the raw types.

use serde_json::{Map, Value, json};

use super::raw::File;

/// Draft 2020-12. An absent key is absent, never null: a `tls:` whose members were commented out must not turn TLS off.
pub(super) fn schema() -> Value {
    let mut schema = schemars::schema_for!(File).to_value();
    without_null(&mut schema);
    schema
}

/// The same for editors and validators, which see the file before `${VAR}` is replaced: where a word, a number or a
/// text of some form stands, a variable may.
pub(super) fn published() -> Value {
    let mut schema = schema();
    or_variable(&mut schema);
    if let Some(Value::Object(definitions)) = schema.get_mut("$defs") {
        definitions.insert(
            "Variable".to_owned(),
            json!({
                "type": "string",
                "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}",
                "description": "`${VAR}` or `${VAR:-default}`, from the environment.",
            }),
        );
    }
    schema
}

fn or_variable(schema: &mut Value) {
    match schema {
        Value::Object(members) if is_scalar(members) => {
            // Its name and what it is by default stay where readers look for them.
            let outer = ["description", "default", "examples", "title"];
            let (outside, inside): (Map<_, _>, Map<_, _>) =
                std::mem::take(members).into_iter().partition(|(key, _)| outer.contains(&key.as_str()));
            *members = outside;
            members.insert("anyOf".to_owned(), json!([inside, {"$ref": "#/$defs/Variable"}]));
        }
        Value::Object(members) => {
            members.iter_mut().filter(|(key, _)| *key != "default").for_each(|(_, value)| or_variable(value));
        }
        Value::Array(items) => items.iter_mut().for_each(or_variable),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether it is a value that a variable could stand for and that its own rule would not let be one.
fn is_scalar(members: &Map<String, Value>) -> bool {
    let words = members.get("oneOf").and_then(Value::as_array);
    if words.is_some_and(|words| words.iter().all(|word| word.get("const").is_some() || word.get("enum").is_some())) {
        return true;
    }
    match members.get("type").and_then(Value::as_str) {
        Some("integer" | "number" | "boolean") => true,
        Some("string") => ["pattern", "enum", "const", "format"].iter().any(|key| members.contains_key(*key)),
        _ => false,
    }
}

fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("default").is_some_and(Value::is_null) {
                members.remove("default");
            }
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|word| word != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(alternatives)) = members.get_mut("anyOf") {
                alternatives.retain(|alternative| alternative.get("type").is_none_or(|word| word != "null"));
                if let [Value::Object(only)] = alternatives.as_slice() {
                    let only = only.clone();
                    members.remove("anyOf");
                    for (key, value) in only {
                        members.entry(key).or_insert(value);
                    }
                }
            }
            // A default is data, not schema: what it holds is cleaned of absent members only.
            for (key, value) in members.iter_mut() {
                if key == "default" { drop_null_members(value) } else { without_null(value) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn drop_null_members(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, value| !value.is_null());
        members.values_mut().for_each(drop_null_members);
    }
}
