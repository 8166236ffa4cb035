//! The tree against the schema: unknown and missing keys, wrong types, unknown words. All of them, not the first.
//!
//! What comes out always deserializes: a value that cannot be read is left out where it has a default, else something
//! stands in for it, and the report knows that its key is broken.

use serde_json::{Map, Value};

use super::document::{Entry, Kind, Node, Origin, Scalar, item, member};
use super::nearest::nearest;
use super::report::Report;
use super::units::{DURATION_PATTERN, SIZE_PATTERN, parse_duration, parse_size};

/// Fits `node` to the schema's root.
pub(super) fn fit(schema: &Value, node: &Node, report: &mut Report) -> Value {
    Walker { root: schema, report }.fit(schema, node, "").unwrap_or_else(|| stand_in(schema, schema))
}

struct Walker<'a> {
    root: &'a Value,
    report: &'a mut Report,
}

impl Walker<'_> {
    /// The value, or `None` (and a problem) where it does not fit.
    fn fit(&mut self, schema: &Value, node: &Node, path: &str) -> Option<Value> {
        let schema = resolve(self.root, schema);
        if let Some(words) = words_of(self.root, schema) {
            return self.word(&words, node, path);
        }
        if let Some(Value::Array(alternatives)) = schema.get("anyOf") {
            return self.alternative(alternatives, node, path);
        }
        match (schema.get("type").and_then(Value::as_str), &node.kind) {
            (None, _) => Some(self.anything(node, path)),
            (Some("object"), Kind::Map(entries)) => Some(self.object(schema, entries, node, path)),
            // A file without a single key is an empty mapping.
            (Some("object"), Kind::Scalar(scalar)) if path.is_empty() && is_null(scalar) => {
                Some(self.object(schema, &[], node, path))
            }
            (Some("array"), Kind::List(items)) => self.list(schema, items, node, path),
            (Some(kind), Kind::Scalar(scalar)) if accepts(kind, scalar) => {
                self.scalar(schema, kind, scalar, node, path)
            }
            (Some(_), _) => self.mismatch(&describe(self.root, schema), node, path),
        }
    }

    fn mismatch(&mut self, expected: &str, node: &Node, path: &str) -> Option<Value> {
        let found = found(node);
        self.broken(node, path, format!("{found}; expected {expected}"))
    }

    fn broken(&mut self, node: &Node, path: &str, message: String) -> Option<Value> {
        self.report.broken(path, node.place, message);
        None
    }

    /// `one of these words`.
    fn word(&mut self, words: &[&str], node: &Node, path: &str) -> Option<Value> {
        let expected = either(words);
        let Kind::Scalar(scalar) = &node.kind else { return self.mismatch(&expected, node, path) };
        if words.contains(&scalar.text.as_str()) {
            return Some(Value::String(scalar.text.clone()));
        }
        if is_null(scalar) {
            return self.mismatch(&expected, node, path);
        }
        let shown = self.report.shown(path, &scalar.text);
        let hint = nearest(&scalar.text, words.iter().copied()).filter(|_| scalar.origin == Origin::File);
        let hint = hint.map(|word| format!(" (did you mean `{word}`?)")).unwrap_or_default();
        self.broken(node, path, format!("unknown word {shown}{hint}; expected {expected}"))
    }

    /// The first alternative of the kind that was written.
    fn alternative(&mut self, alternatives: &[Value], node: &Node, path: &str) -> Option<Value> {
        let root = self.root;
        let suits = |schema: &&Value| {
            let schema = resolve(root, schema);
            match (&node.kind, schema.get("type").and_then(Value::as_str)) {
                (Kind::Map(_), kind) => kind == Some("object"),
                (Kind::List(_), kind) => kind == Some("array"),
                (Kind::Scalar(scalar), kind) => match words_of(root, schema) {
                    Some(words) => words.contains(&scalar.text.as_str()),
                    None => kind.is_some_and(|kind| accepts(kind, scalar)),
                },
            }
        };
        if let Some(schema) = alternatives.iter().find(suits) {
            return self.fit(schema, node, path);
        }
        let expected: Vec<_> = alternatives.iter().map(|schema| describe(root, resolve(root, schema))).collect();
        self.mismatch(&expected.join(", or "), node, path)
    }

    fn object(&mut self, schema: &Value, entries: &[Entry], node: &Node, path: &str) -> Value {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let others = schema.get("additionalProperties").filter(|schema| **schema != Value::Bool(false));
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();

        let mut object = Map::new();
        for entry in entries {
            let path_of_entry = member(path, &entry.key);
            let (schema, needed) = match (properties.get(&entry.key), others) {
                (Some(schema), _) => (schema, required.contains(&entry.key.as_str())),
                (None, Some(schema)) => (schema, true),
                (None, None) => {
                    self.unknown(properties, entries, entry, path);
                    continue;
                }
            };
            let value = self.fit(schema, &entry.value, &path_of_entry);
            if let Some(value) = value.or_else(|| needed.then(|| stand_in(self.root, schema))) {
                object.insert(entry.key.clone(), value);
            }
        }
        for key in required {
            if object.contains_key(key) {
                continue;
            }
            let Some(schema) = properties.get(key) else { continue };
            let expected = describe(self.root, resolve(self.root, schema));
            let place = node.place;
            let missing = member(path, key);
            if !self.report.is_broken(&missing) {
                self.report.missing(path, &missing, place, format!("missing; expected {expected}"));
            }
            object.insert(key.to_owned(), stand_in(self.root, schema));
        }
        Value::Object(object)
    }

    fn unknown(&mut self, properties: &Map<String, Value>, written: &[Entry], entry: &Entry, path: &str) {
        let path_of_entry = member(path, &entry.key);
        let key: String = entry.key.chars().take(80).collect();
        let is_free = |key: &&str| !written.iter().any(|entry| entry.key == **key);
        let known = || properties.keys().map(String::as_str);
        let free = nearest(&entry.key, known().filter(is_free));
        if let Some(known) = free {
            // Whoever wrote `upstreem` did not forget `upstream`.
            self.report.excuse(member(path, known));
        }
        let message = match free.or_else(|| nearest(&entry.key, known())) {
            Some(known) => {
                format!("unknown key `{key}`; did you mean `{known}`?")
            }
            None => {
                let known: Vec<_> = properties.keys().map(|key| format!("`{key}`")).collect();
                format!("unknown key `{key}`; expected one of {}", known.join(", "))
            }
        };
        self.report.unknown(path, &path_of_entry, entry.place, message);
    }

    fn list(&mut self, schema: &Value, items: &[Node], node: &Node, path: &str) -> Option<Value> {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        if least > 0 && items.is_empty() {
            let expected = describe(self.root, schema);
            return self.broken(node, path, format!("empty; expected {expected}, one or more"));
        }
        let any = Value::Bool(true);
        let schema = schema.get("items").unwrap_or(&any);
        let mut list = Vec::with_capacity(items.len());
        for (index, node) in items.iter().enumerate() {
            let value = self.fit(schema, node, &item(path, index));
            list.push(value.unwrap_or_else(|| stand_in(self.root, schema)));
        }
        Some(Value::Array(list))
    }

    fn scalar(&mut self, schema: &Value, kind: &str, scalar: &Scalar, node: &Node, path: &str) -> Option<Value> {
        let text = scalar.text.as_str();
        let fits = match schema.get("pattern").and_then(Value::as_str) {
            Some(DURATION_PATTERN) => parse_duration(text).is_some(),
            Some(SIZE_PATTERN) => parse_size(text).is_some(),
            // Other patterns help editors; the checks behind say it with a reason.
            Some(_) | None => true,
        };
        if !fits {
            let shown = self.report.shown(path, text);
            let expected = describe(self.root, schema);
            return self.broken(node, path, format!("{shown} cannot be read; expected {expected}"));
        }
        if kind == "string" {
            return Some(Value::String(text.to_owned()));
        }
        let value = typed(scalar);
        if kind == "integer" {
            let least = schema.get("minimum").and_then(Value::as_f64).unwrap_or(0.0);
            if value.as_u64().is_none() || value.as_f64().is_some_and(|number| number < least) {
                return self.broken(node, path, format!("out of range; expected a whole number from {least} on"));
            }
        }
        Some(value)
    }

    /// Where the schema has no opinion: the values of claims.
    fn anything(&mut self, node: &Node, path: &str) -> Value {
        match &node.kind {
            Kind::Scalar(scalar) => typed(scalar),
            Kind::List(items) => {
                let item = |(index, node)| self.anything(node, &item(path, index));
                Value::Array(items.iter().enumerate().map(item).collect())
            }
            Kind::Map(entries) => {
                let member =
                    |entry: &Entry| (entry.key.clone(), self.anything(&entry.value, &member(path, &entry.key)));
                Value::Object(entries.iter().map(member).collect())
            }
        }
    }
}

/// Follows a `$ref` into `$defs`.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    target.and_then(|target| root.pointer(target)).unwrap_or(schema)
}

/// The words of an enumeration: `enum`, `const`, or a `oneOf` of them.
fn words_of<'a>(root: &'a Value, schema: &'a Value) -> Option<Vec<&'a str>> {
    if let Some(Value::Array(words)) = schema.get("enum") {
        return words.iter().map(Value::as_str).collect();
    }
    if let Some(word) = schema.get("const") {
        return Some(vec![word.as_str()?]);
    }
    let Some(Value::Array(alternatives)) = schema.get("oneOf") else { return None };
    let words: Option<Vec<_>> = alternatives.iter().map(|schema| words_of(root, resolve(root, schema))).collect();
    words.map(|words| words.concat())
}

/// What stands in for a value that cannot be read: the smallest that deserializes.
fn stand_in(root: &Value, schema: &Value) -> Value {
    let schema = resolve(root, schema);
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    if let Some(word) = words_of(root, schema).and_then(|words| words.first().copied()) {
        return Value::String(word.to_owned());
    }
    if let Some(first) = schema.get("anyOf").and_then(|alternatives| alternatives.get(0)) {
        return stand_in(root, first);
    }
    match (schema.get("pattern").and_then(Value::as_str), schema.get("type").and_then(Value::as_str)) {
        (Some(DURATION_PATTERN), _) => "1s".into(),
        (Some(SIZE_PATTERN), _) => "1KiB".into(),
        (_, Some("array")) => Value::Array(Vec::new()),
        (_, Some("integer" | "number")) => 1.into(),
        (_, Some("boolean")) => false.into(),
        (_, Some("object")) => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let member = |key: &Value| {
                let key = key.as_str()?;
                Some((key.to_owned(), stand_in(root, schema.get("properties")?.get(key)?)))
            };
            Value::Object(required.filter_map(member).collect())
        }
        _ => "".into(),
    }
}

/// What a schema expects, in words.
fn describe(root: &Value, schema: &Value) -> String {
    if let Some(words) = words_of(root, schema) {
        return either(&words);
    }
    if let Some(Value::Array(alternatives)) = schema.get("anyOf") {
        let all: Vec<_> = alternatives.iter().map(|schema| describe(root, resolve(root, schema))).collect();
        return all.join(", or ");
    }
    match (schema.get("pattern").and_then(Value::as_str), schema.get("type").and_then(Value::as_str)) {
        (Some(DURATION_PATTERN), _) => "a duration: one number and ms, s, m or h, such as 15s".to_owned(),
        (Some(SIZE_PATTERN), _) => "a size such as 64KiB or 1MiB".to_owned(),
        (_, Some("array")) => match schema.get("items").map(|items| resolve(root, items)) {
            Some(items) if items.get("type").is_some_and(|kind| kind == "string") => "a list of text".to_owned(),
            _ => "a list".to_owned(),
        },
        (_, Some("integer")) => "a whole number".to_owned(),
        (_, Some("number")) => "a number".to_owned(),
        (_, Some("boolean")) => "true or false".to_owned(),
        (_, Some("string")) => "text".to_owned(),
        (_, Some("object")) => match schema.get("properties").and_then(Value::as_object) {
            Some(properties) => {
                let keys: Vec<_> = properties.keys().map(|key| format!("`{key}`")).collect();
                format!("a mapping of {}", keys.join(", "))
            }
            None => "a mapping".to_owned(),
        },
        _ => "a value".to_owned(),
    }
}

fn either(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// What was written, in words; never the value itself.
fn found(node: &Node) -> &'static str {
    match &node.kind {
        Kind::List(_) => "a list",
        Kind::Map(_) => "a mapping",
        Kind::Scalar(scalar) => match typed(scalar) {
            Value::Null => "no value",
            Value::Bool(_) => "true or false without quotes",
            Value::Number(_) => "a number without quotes",
            Value::String(_) | Value::Array(_) | Value::Object(_) => "text",
        },
    }
}

/// Whether a scalar can be of that type. One from the environment has no quotes to tell: it is text where text is
/// expected, and a number where that is.
fn accepts(kind: &str, scalar: &Scalar) -> bool {
    match typed(scalar) {
        Value::String(_) => kind == "string",
        Value::Bool(_) => kind == "boolean" || (kind == "string" && scalar.origin != Origin::File),
        Value::Number(_) => matches!(kind, "integer" | "number") || (kind == "string" && scalar.origin != Origin::File),
        Value::Null => kind == "string" && scalar.origin != Origin::File,
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn is_null(scalar: &Scalar) -> bool {
    typed(scalar).is_null()
}

/// YAML 1.2's core schema (section 10.3.2): `off`, `yes` and `no` are words.
fn typed(scalar: &Scalar) -> Value {
    let text = scalar.text.as_str();
    if !scalar.plain {
        return text.into();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x")
        && let Ok(number) = u64::from_str_radix(digits, 16)
    {
        return number.into();
    }
    if let Some(digits) = text.strip_prefix("0o")
        && let Ok(number) = u64::from_str_radix(digits, 8)
    {
        return number.into();
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !unsigned.contains(|c: char| c.is_ascii_digit())
    {
        return text.into();
    }
    let integer = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = integer.parse::<u64>() {
        return number.into();
    }
    if let Ok(number) = integer.parse::<i64>() {
        return number.into();
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => number.into(),
        Ok(_) | Err(_) => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_have_the_types_of_yaml_1_2() {
        for (text, expected) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("off", json!("off")),
            ("yes", json!("yes")),
            ("true", json!(true)),
            ("5", json!(5)),
            ("-5", json!(-5)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("1:30", json!("1:30")),
            ("127.0.0.1:80", json!("127.0.0.1:80")),
            ("5m", json!("5m")),
            (".", json!(".")),
            ("inf", json!("inf")),
            ("1e999", json!("1e999")),
        ] {
            let scalar = |plain| Scalar { text: text.to_owned(), plain, origin: Origin::File };
            assert_eq!(typed(&scalar(true)), expected, "{text:?}");
            assert_eq!(typed(&scalar(false)), json!(text), "{text:?}, quoted");
        }
    }
}
