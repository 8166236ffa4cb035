//! The examples in `config/` load, and `reference.yaml` holds every key of the schema with its default.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dpop_gate::config::{self, Config, Problem, Severity, render};
use dpop_gate::issuer::Source;
use dpop_gate::jose::{Algorithm, PrivateKey};
use dpop_gate::policy::Mode;
use serde_json::Value;

const EXAMPLES: [&str; 10] = [
    "minimal.yaml",
    "gateway.yaml",
    "sidecar.yaml",
    "okta.yaml",
    "auth0.yaml",
    "keycloak.yaml",
    "entra.yaml",
    "mcp.yaml",
    "reference.yaml",
    "forward-auth/gate.yaml",
];
/// Other programs' files, which tests/gate/proxies.rs runs.
const OTHERS: [&str; 5] = ["nginx.conf", "envoy.yaml", "traefik.yaml", "traefik-routes.yaml", "Caddyfile"];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// The files that the examples name, made anew: no key stands in the repository.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let server = rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).unwrap();
        let certificate = server.cert.pem();
        for name in ["tls.crt", "partners-ca.crt", "internal-ca.crt", "gate.crt"] {
            files.write(name, &certificate);
        }
        for name in ["tls.key", "gate.key"] {
            files.write(name, &server.signing_key.serialize_pem());
        }
        let other = rcgen::generate_simple_self_signed(["other.example.com".to_owned()]).unwrap();
        files.write("other.key", &other.signing_key.serialize_pem());

        files.write("assertion.jwk", &PrivateKey::generate(Algorithm::Es256).unwrap().to_jwk_json());
        let issuer = PrivateKey::generate(Algorithm::EdDsa).unwrap();
        let mut jwk: Value = serde_json::from_str(&issuer.to_jwk_json()).unwrap();
        jwk.as_object_mut().unwrap().remove("d");
        jwk["kid"] = "1".into();
        files.write("machines.jwks.json", &serde_json::json!({ "keys": [jwk] }).to_string());
        files.write("partner.secret", "correct horse battery staple\n");
        files.write("nonce.key", &format!("{}\n", "n".repeat(32)));
        files.write("nonce.old", &"o".repeat(64));
        files.write("redis.password", "open sesame\n");
        files.write("collector.headers", "X-Api-Key: of an account\n");
        files
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn load(&self, path: &Path) -> Result<Config, Vec<Problem>> {
        config::load_with(path, &|name| (name == "GATE_FILES").then(|| self.0.path().to_str().unwrap().to_owned()))
    }

    /// The example with one change, loaded: its problems, one a line, without the file's name.
    fn changed(&self, example: &str, from: &str, to: &str) -> Vec<String> {
        let text = fs::read_to_string(examples().join(example)).unwrap();
        assert!(text.contains(from), "{example} has no {from:?}");
        let path = self.0.path().join("changed.yaml");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let problems = self.load(&path).map_or_else(|problems| problems, |config| config.warnings);
        let prefix = format!("{}:", path.display());
        render(&problems).lines().map(|line| line.strip_prefix(&prefix).unwrap().to_owned()).collect()
    }
}

#[test]
fn every_example_loads() {
    let files = Files::new();
    let names =
        |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let below = names(examples().join("forward-auth")).filter(|name| !OTHERS.contains(&name.as_str()));
    let below: Vec<String> = below.map(|name| format!("forward-auth/{name}")).collect();
    let mut found: Vec<String> = names(examples()).filter(|name| name != "forward-auth").chain(below).collect();
    let mut known = EXAMPLES.to_vec();
    found.sort();
    known.sort_unstable();
    assert_eq!(found, known, "config/ and the list in this test");
    for name in EXAMPLES {
        let config = files.load(&examples().join(name)).unwrap_or_else(|problems| panic!("{}", render(&problems)));
        let warnings: Vec<_> = config.warnings.iter().map(|problem| problem.key.as_str()).collect();
        // The reference shows every key, and so a shared nonce secret beside the memory store.
        let expected: &[&str] = if name == "reference.yaml" { &["dpop.nonce.secret_file"] } else { &[] };
        assert_eq!(warnings, expected, "{name}");
        assert!(config.warnings.iter().all(|problem| problem.severity == Severity::Warning));
    }
}

#[test]
fn what_the_examples_say_is_what_is_meant() {
    let files = Files::new();
    let gateway = files.load(&examples().join("gateway.yaml")).unwrap();
    assert!(gateway.listeners[0].tls.as_ref().unwrap().client.is_some());
    assert_eq!(gateway.upstreams.len(), 4);
    assert!(gateway.upstreams.iter().find(|upstream| &*upstream.name == "billing").unwrap().tls.is_some());
    assert_eq!(gateway.body_bytes, 10 << 20);
    assert!(gateway.identity.assertion.is_some());
    let Source::Introspection { client_secret, .. } = &gateway.issuers[2].source else { panic!() };
    assert_eq!(client_secret.reveal(), b"correct horse battery staple", "without the file's last newline");

    let okta = files.load(&examples().join("okta.yaml")).unwrap();
    assert_eq!(okta.issuers[0].issuer, "https://example.okta.com/oauth2/default");
    assert_eq!(okta.nonce.unwrap().lifetime.as_secs(), 86_400);

    let auth0 = files.load(&examples().join("auth0.yaml")).unwrap();
    assert_eq!(auth0.issuers[0].issuer, "https://example.eu.auth0.com/", "with the slash that Auth0 writes");
    let keycloak = files.load(&examples().join("keycloak.yaml")).unwrap();
    assert_eq!(keycloak.issuers[0].issuer, "https://sso.example.com/realms/shop");
    let entra = files.load(&examples().join("entra.yaml")).unwrap();
    assert!(entra.routes.iter().all(|route| route.mode == Mode::Report), "Entra's tokens are bound to nothing");
    let mcp = files.load(&examples().join("mcp.yaml")).unwrap();
    assert_eq!(mcp.issuers[0].audiences, ["https://mcp.example.com"], "the resource is the audience");

    let reference = files.load(&examples().join("reference.yaml")).unwrap();
    let nonce = reference.nonce.unwrap();
    assert_eq!((nonce.secret.unwrap().reveal().len(), nonce.previous.unwrap().reveal().len()), (32, 64));
    assert!(reference.redis.is_none(), "`store: memory`");
    let traces = reference.traces.unwrap();
    assert_eq!(traces.url.htu(), "https://collector.internal:4318/v1/traces");
    assert_eq!((traces.share, &traces.headers["x-api-key"]), (1.0, &http::HeaderValue::from_static("of an account")));
}

#[test]
fn every_file_that_is_named_is_read() {
    let files = Files::new();
    files.write("empty", "");
    files.write("short", &"x".repeat(31));
    files.write("public.jwk", "{\"kty\":\"EC\"}");
    for (example, from, to, expected) in [
        ("gateway.yaml", "/tls.crt", "/none", "listen[0].tls.certificate: "),
        ("gateway.yaml", "/tls.crt", "/empty", "listen[0].tls.certificate: "),
        ("gateway.yaml", "/tls.key", "/none", "listen[0].tls.key: "),
        ("gateway.yaml", "/tls.key", "/empty", "listen[0].tls.key: "),
        ("gateway.yaml", "/tls.key", "/other.key", "listen[0].tls."),
        ("gateway.yaml", "/partners-ca.crt", "/empty", "listen[0].tls.client_ca: "),
        ("gateway.yaml", "/internal-ca.crt", "/none", "upstreams.billing.tls.ca: "),
        ("gateway.yaml", "/partner.secret", "/empty", "issuers[2].introspection.client_secret_file: "),
        ("gateway.yaml", "/machines.jwks.json", "/empty", "issuers[1].jwks_file: "),
        ("gateway.yaml", "/machines.jwks.json", "/tls.crt", "issuers[1].jwks_file: "),
        ("gateway.yaml", "/assertion.jwk", "/public.jwk", "identity.assertion.key_file: "),
        ("reference.yaml", "/gate.key", "/other.key", "upstreams.orders.tls."),
        ("reference.yaml", "/nonce.key", "/short", "dpop.nonce.secret_file: "),
        ("reference.yaml", "store: memory", "store: redis", "dpop.replay.redis.tls: nothing is encrypted"),
        ("reference.yaml", "/collector.headers", "/nonce.key", "traces.headers_file: a line that is no header"),
        ("reference.yaml", "/nonce.old", "/nonce.key", "dpop.nonce.previous_secret_file: holds the same"),
    ] {
        let lines: Vec<_> =
            files.changed(example, from, to).into_iter().filter(|line| !line.contains(": warning: ")).collect();
        assert_eq!(lines.len(), 1, "{from} -> {to}: {lines:#?}");
        assert!(lines[0].contains(expected) && lines[0].contains("; expected "), "{from} -> {to}: {lines:#?}");
    }
}

#[test]
fn a_secret_that_everybody_can_read_is_told() {
    let files = Files::new();
    let path = files.0.path().join("assertion.jwk");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let lines = files.changed("gateway.yaml", "10MiB", "11MiB");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains(": warning: identity.assertion.key_file: ") && lines[0].contains("every user"),
        "{lines:#?}"
    );
}

#[test]
fn relative_paths_start_at_the_files_own_folder() {
    let files = Files::new();
    let text = fs::read_to_string(examples().join("gateway.yaml")).unwrap().replace("${GATE_FILES:-files}/", "");
    let path = files.0.path().join("gate.yaml");
    fs::write(&path, text).unwrap();
    let config = files.load(&path).unwrap_or_else(|problems| panic!("{}", render(&problems)));
    assert_eq!(config.listeners[0].tls.as_ref().unwrap().key, files.0.path().join("tls.key"));
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let folder = tempfile::tempdir().unwrap();
    let big = folder.path().join("big.yaml");
    fs::write(&big, vec![b'#'; (1 << 20) + 1]).unwrap();
    for path in [folder.path(), &folder.path().join("none.yaml"), &big] {
        let problems = config::load(path).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!((problems[0].line, problems[0].column, problems[0].key.as_str()), (1, 1, "the file"));
    }
}

/// Every leaf's path (`listen[].mode`) with every value that it has.
type Leaves = BTreeMap<String, Vec<Value>>;

#[test]
fn the_reference_has_every_key_with_its_default_and_no_other() {
    let schema = config::schema();
    let mut expected = BTreeMap::new();
    keys(&schema, &schema, "", &mut expected);
    let mut written = Leaves::new();
    leaves(&schema, &schema, &reference(), "", &mut written);

    let missing: Vec<_> =
        // The one that stands there as a comment, since it and `client_secret_file` exclude each other.
        expected.keys().filter(|key| !written.contains_key(*key) && !key.ends_with(".client_secret")).collect();
    assert!(missing.is_empty(), "not in reference.yaml: {missing:?}");
    let unknown: Vec<_> = written.keys().filter(|key| !expected.contains_key(*key)).collect();
    assert!(unknown.is_empty(), "not in the schema: {unknown:?}");

    let mut compared = 0;
    for (key, default) in &expected {
        // `issuers`, `upstreams` and `require` are shown by example; their own keys are compared one by one.
        let Some(default) = default else { continue };
        let is_empty =
            default.as_array().is_some_and(Vec::is_empty) || default.as_object().is_some_and(|o| o.is_empty());
        if is_empty || (default.is_object() && key != "identity.headers") {
            continue;
        }
        assert!(written[key].contains(default), "{key}: the default is {default}, written is {:?}", written[key]);
        compared += 1;
    }
    assert!(compared >= 30, "only {compared} defaults were compared");
}

#[test]
fn the_schema_forbids_what_it_does_not_know_and_describes_what_it_does() {
    let schema = config::schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, object) in
        definitions.iter().map(|(name, schema)| (name.as_str(), schema)).chain([("the file", &schema)])
    {
        let Some(properties) = object.get("properties").and_then(Value::as_object) else { continue };
        assert_eq!(object["additionalProperties"], false, "{name}");
        for (key, property) in properties {
            assert!(property.get("description").is_some(), "{name}.{key} has no description");
            assert!(!property.to_string().contains("null"), "{name}.{key}: absent is absent, not null: {property}");
        }
    }
}

/// The file is validated as it is written, before any variable is replaced.
#[test]
fn the_schema_lets_a_variable_stand_for_every_value() {
    fn takes_variables(root: &Value, schema: &Value) -> bool {
        if schema.get("$ref") == Some(&Value::from("#/$defs/Variable")) {
            return true;
        }
        let schema = resolve(root, schema);
        if let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) {
            return alternatives.iter().any(|schema| takes_variables(root, schema));
        }
        schema.get("items").map_or_else(
            || schema["type"] == "string" && schema.get("pattern").is_none(),
            |items| takes_variables(root, items),
        )
    }
    fn leaves_of(root: &Value, schema: &Value, path: &str, found: &mut usize) {
        for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{key}");
            let inner = resolve(root, property);
            let inner = inner
                .get("items")
                .or(inner.get("additionalProperties"))
                .filter(|inside| inside.is_object())
                .unwrap_or(inner);
            let inner = resolve(root, inner);
            if inner.get("properties").is_some() {
                leaves_of(root, inner, &path, found);
            } else if ["type", "anyOf", "oneOf"].iter().any(|key| inner.get(*key).is_some_and(|kind| kind != "object"))
            {
                *found += 1;
                assert!(takes_variables(root, property) || takes_variables(root, inner), "{path}: {property}");
            }
        }
    }
    let schema = config::schema();
    let mut found = 0;
    leaves_of(&schema, &schema, "", &mut found);
    assert!(found > 60, "only {found} keys were looked at");
    let mode = &schema["$defs"]["Mode"]["anyOf"];
    assert_eq!(
        (mode[0]["oneOf"][0]["const"].as_str(), &mode[1]["$ref"]),
        (Some("enforce"), &"#/$defs/Variable".into())
    );
}

fn reference() -> Value {
    let text = fs::read_to_string(examples().join("reference.yaml")).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    target.map_or(schema, |target| root.pointer(target).unwrap())
}

/// Every key that the schema knows, with its default. Names that the operator chooses are `*`.
fn keys(root: &Value, schema: &Value, path: &str, found: &mut BTreeMap<String, Option<Value>>) {
    let schema = resolve(root, schema);
    for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        found.insert(path.clone(), property.get("default").cloned());
        keys(root, property, &path, found);
    }
    if let Some(items) = schema.get("items") {
        keys(root, items, &format!("{path}[]"), found);
    }
    if let Some(others) = schema.get("additionalProperties").filter(|others| others.is_object()) {
        keys(root, others, &format!("{path}.*"), found);
    }
}

fn leaves(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Leaves) {
    let schema = resolve(root, schema);
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let known = schema.get("properties").and_then(|properties| properties.get(key));
                let others = schema.get("additionalProperties").filter(|others| others.is_object());
                let is_free = schema.get("properties").is_none();
                let name = if is_free { "*" } else { key };
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                if !is_free {
                    found.entry(path.clone()).or_default().push(value.clone());
                }
                leaves(root, known.or(others).unwrap_or(&Value::Null), value, &path, found);
            }
        }
        Value::Array(items) => {
            let schema = schema.get("items").unwrap_or(&Value::Null);
            items.iter().for_each(|item| leaves(root, schema, item, &format!("{path}[]"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
