//! Rules, runbook and dashboard, each by itself; `tests/gate/observability.rs` asks a real Prometheus.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::tools::{deployed, output, tool};

fn alerts() -> BTreeSet<String> {
    let rules: Value =
        serde_yaml::from_str(&fs::read_to_string(deployed("observability/rules.yaml")).unwrap()).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.filter_map(|rule| rule["alert"].as_str().map(str::to_owned)).collect()
}

#[test]
fn rules_are_rules_and_each_alert_is_shown_to_fire_and_not_to_fire() {
    let folder = deployed("observability");
    output(tool("promtool").args(["check", "rules", "rules.yaml"]).current_dir(&folder));
    output(tool("promtool").args(["test", "rules", "rules.test.yaml"]).current_dir(&folder));
    let tests: Value = serde_yaml::from_str(&fs::read_to_string(folder.join("rules.test.yaml")).unwrap()).unwrap();
    let cases = tests["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap());
    let tested = |fires: bool| -> BTreeSet<String> {
        let cases = cases.clone().filter(|case| case["exp_alerts"].as_array().unwrap().is_empty() != fires);
        cases.map(|case| case["alertname"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(tested(true), alerts(), "shown to fire (left)");
    assert_eq!(tested(false), alerts(), "shown not to fire (left)");
}

#[test]
fn every_alert_has_its_entry_in_the_runbook_and_no_other() {
    let runbook = fs::read_to_string(deployed("RUNBOOK.md")).unwrap();
    let entries: Vec<&str> = runbook.split("\n## ").skip(1).collect();
    let names: BTreeSet<String> = entries.iter().map(|entry| entry.lines().next().unwrap().to_owned()).collect();
    assert_eq!(names, alerts());
    for entry in entries {
        for part in ["**Means**", "**Look at**", "**Do**"] {
            assert!(entry.contains(part), "{part} is missing in {}", entry.lines().next().unwrap());
        }
    }
    let rules = fs::read_to_string(deployed("observability/rules.yaml")).unwrap();
    for alert in alerts() {
        assert!(
            rules.contains(&format!("RUNBOOK.md#{}\n", alert.to_lowercase())),
            "{alert} does not link to its entry"
        );
    }
}
