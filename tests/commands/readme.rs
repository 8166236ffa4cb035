//! The README's reference says what the code does: every table is compared with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::binary;

const README: &str = include_str!("../../README.md");

/// The rows of the table under `<!-- name: ... -->`, cells without their backquotes.
fn table(name: &str) -> Vec<Vec<String>> {
    let start = README.find(&format!("<!-- {name}: ")).unwrap_or_else(|| panic!("no table {name}"));
    README[start..]
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

fn first_column(name: &str) -> BTreeSet<String> {
    table(name).into_iter().map(|row| row[0].clone()).collect()
}

#[test]
fn every_reason_is_in_the_table_and_no_other() {
    let reasons: BTreeSet<String> =
        dpop_gate::metrics::Reason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
    assert_eq!(first_column("reasons"), reasons);
}

#[test]
fn every_metric_is_in_the_table_with_its_labels() {
    let source = include_str!("../../src/metrics.rs");
    let declared: BTreeSet<String> = source
        .split('"')
        .filter(|text| text.starts_with("dpop_gate_") && !text.contains(|c: char| !c.is_ascii_lowercase() && c != '_'))
        .map(str::to_owned)
        .collect();
    assert_eq!(first_column("metrics"), declared);
}

#[test]
fn every_key_of_the_schema_is_in_the_table_with_its_default() {
    let schema = dpop_gate::config::schema();
    let mut keys = BTreeMap::new();
    collect(&schema, &schema, "", &mut keys);
    let rows = table("keys");
    let documented: BTreeSet<String> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(documented, keys.keys().cloned().collect(), "README (left) and schema (right)");
    for row in rows {
        let Some(default) = keys[&row[0]].as_ref().and_then(written) else { continue };
        assert_eq!(row[1], default, "the default of {}", row[0]);
    }
}

/// A default as the README writes it; `None` where it explains instead: absent, an empty list, a map.
fn written(default: &Value) -> Option<String> {
    Some(match default {
        Value::Null | Value::Object(_) => return None,
        Value::Array(items) if items.is_empty() => return None,
        Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(written).collect();
            format!("[{}]", items.join(", "))
        }
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => default.to_string(),
    })
}

/// Every leaf of the schema by the path that the README gives it, with its default.
fn collect(root: &Value, node: &Value, path: &str, keys: &mut BTreeMap<String, Option<Value>>) {
    collect_with_default(root, node, path, None, keys);
}

fn collect_with_default(
    root: &Value,
    node: &Value,
    path: &str,
    inherited: Option<&Value>,
    keys: &mut BTreeMap<String, Option<Value>>,
) {
    let default = node.get("default").or(inherited).cloned();
    let node = resolve(root, node);
    let default = default.or_else(|| node.get("default").cloned());
    if let Some(members) = node.get("properties").and_then(Value::as_object) {
        for (name, member) in members {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let default = default.as_ref().and_then(|default| default.get(name));
            collect_with_default(root, member, &path, default, keys);
        }
        return;
    }
    if let Some(items) = node.get("items").filter(|items| resolve(root, items).get("properties").is_some()) {
        return collect_with_default(root, items, &format!("{path}[]"), None, keys);
    }
    if let Some(values) =
        node.get("additionalProperties").filter(|values| resolve(root, values).get("properties").is_some())
    {
        return collect_with_default(root, values, &format!("{path}.NAME"), None, keys);
    }
    keys.insert(path.to_owned(), default);
}

/// Through `$ref`, and `anyOf` of a reference and null.
fn resolve<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.trim_start_matches('#')).expect("a reference that leads somewhere");
        return resolve(root, target);
    }
    if let Some(choices) = node.get("anyOf").and_then(Value::as_array) {
        let real: Vec<&Value> = choices.iter().filter(|choice| choice.get("type") != Some(&"null".into())).collect();
        if let [only] = real[..] {
            return resolve(root, only);
        }
    }
    node
}

#[test]
fn every_command_is_in_the_table_and_its_help_has_an_example() {
    let help = output(&["--help"]);
    let listed: BTreeSet<String> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .map(str::to_owned)
        .collect();
    let documented: BTreeSet<String> = README
        .lines()
        .filter_map(|line| line.strip_prefix("| `dpop-gate "))
        .map(|line| line.split([' ', '`']).next().unwrap().to_owned())
        .filter(|command| cfg!(feature = "demo") || command != "demo")
        .collect();
    assert_eq!(documented, listed);
    for command in &listed {
        let help = output(&[command, "--help"]);
        assert!(help.contains(&format!("dpop-gate {command}")) && help.contains("Example"), "{command}:\n{help}");
    }
}

fn output(arguments: &[&str]) -> String {
    let output = Command::new(binary()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// `benches/run` knows its rows without a build.
#[test]
fn the_page_of_the_benches_explains_every_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let help = Command::new(root.join("benches/run")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let rows = help.split_once("rows: ").unwrap_or_else(|| panic!("{help}")).1;
    let rows: BTreeSet<&str> = rows.split([',', ' ', '\n']).filter(|row| !row.is_empty()).collect();
    let page = std::fs::read_to_string(root.join("benches/README.md")).unwrap();
    let explained = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    let explained: BTreeSet<&str> = explained.flat_map(|(names, _)| names.split(['`', ',', ' '])).collect();
    for row in &rows {
        assert!(explained.contains(row), "benches/README.md does not say what {row} is");
    }
    assert!(rows.len() > 10, "{rows:?}");
}

#[test]
fn the_yaml_of_the_guide_is_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).unwrap();
    std::fs::write(folder.path().join("tls.crt"), certified.cert.pem()).unwrap();
    std::fs::write(folder.path().join("tls.key"), certified.signing_key.serialize_pem()).unwrap();
    let blocks: Vec<&str> = README.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let indent = block.len() - block.trim_start().len();
        let yaml: String = block.lines().map(|line| format!("{}\n", line.get(indent..).unwrap_or(""))).collect();
        let path = folder.path().join("gate.yaml");
        std::fs::write(&path, yaml).unwrap();
        let loaded = dpop_gate::config::load(&path);
        assert!(loaded.is_ok(), "{:?}\n{block}", loaded.err());
    }
}

#[test]
fn bounds_are_those_of_the_code() {
    use dpop_gate::issuer::Bounds;
    let bounds = Bounds::default();
    let rows: BTreeMap<String, String> =
        table("bounds").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
    assert_eq!(rows["proof"], kib(dpop_gate::dpop::MAX_PROOF_BYTES));
    assert_eq!(rows["jti"], format!("{} bytes", dpop_gate::dpop::MAX_JTI_BYTES));
    assert_eq!(rows["verified tokens cached"].replace(',', ""), bounds.cached_tokens.to_string());
    let fetched = format!("every {} s, in the background;", bounds.refresh_after.as_secs());
    assert!(rows["keys fetched again"].starts_with(&fetched));
    let refetch = format!("one in {} s for each issuer", bounds.refetch_interval.as_secs());
    assert_eq!(rows["fetches for an unknown kid, or after a failure"], refetch);
    let fetch = format!("{} s, {}", bounds.fetch_timeout.as_secs(), kib(bounds.document_bytes));
    assert_eq!(rows["a fetch from an issuer"], fetch);
}

#[test]
fn every_file_that_is_linked_exists_and_every_anchor_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let anchors: BTreeSet<String> = README
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-").replace(['`', ',', '?'], ""))
        .collect();
    for link in README.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        match link.strip_prefix('#') {
            Some(anchor) => assert!(anchors.contains(anchor), "no heading {anchor}"),
            None => assert!(root.join(link).exists(), "no file {link}"),
        }
    }
}
