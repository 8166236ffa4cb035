//! Manifests and chart: valid, strict, coherent (`manifests.py`), and every configuration in them is one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::tools::{deployed, gate, output, tool};

/// The files that mounted Secrets hold.
fn mount(folder: &Path) {
    let server = rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).unwrap();
    for (name, content) in [
        ("tls/tls.crt", server.cert.pem()),
        ("tls/tls.key", server.signing_key.serialize_pem()),
        ("nonce/current", "c".repeat(64)),
        ("nonce/previous", "p".repeat(64)),
        ("valkey/password", "correct horse battery staple".to_owned()),
        ("valkey/ca.crt", server.cert.pem()),
    ] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
    }
}

#[test]
fn manifests_and_chart_are_valid_strict_and_coherent_and_their_configurations_load() {
    let folder = tempfile::tempdir().unwrap();
    let said = output(tool("python3").arg("tests/deploy/manifests.py").arg(folder.path()));
    assert_eq!(said.lines().count(), 10, "a bundle is missing:\n{said}");
    mount(folder.path());
    let mut checked = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            check(&path);
            checked += 1;
        }
    }
    assert_eq!(checked, 7, "{said}");
}

/// Without a problem, and without a warning.
fn check(config: &Path) {
    let output = gate().args(["check", "--config"]).arg(config).output().unwrap();
    let problems = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && problems.is_empty(), "{problems}");
}

/// The CronJob's script with a `kubectl` that keeps the Secret in a file: the old secret is accepted still, the new one
/// is new, and both are what the gate takes.
#[test]
fn a_rotation_leaves_two_secrets_that_the_gate_takes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let kubectl = "#!/bin/sh\ncase $1 in\nget) cat current ;;\npatch) cat >patch ;;\nrollout) echo \"$2 $3\" >>done ;;\n\
                   esac\n";
    fs::write(path.join("kubectl"), kubectl).unwrap();
    fs::set_permissions(path.join("kubectl"), fs::Permissions::from_mode(0o700)).unwrap();
    let encode = |plain: &str| {
        let mut command = Command::new("base64");
        output(command.arg("-w0").arg({
            fs::write(path.join("plain"), plain).unwrap();
            path.join("plain")
        }))
    };
    let old = "o".repeat(64);
    fs::write(path.join("current"), encode(&old)).unwrap();
    let search = format!("{}:{}", path.display(), std::env::var("PATH").unwrap());
    let mut rotate = Command::new("sh");
    output(rotate.arg(deployed("gateway/rotate")).args(["nonce", "gate"]).env("PATH", search).current_dir(path));

    let patch: serde_json::Value = serde_json::from_slice(&fs::read(path.join("patch")).unwrap()).unwrap();
    let data: BTreeMap<String, String> = serde_json::from_value(patch["data"].clone()).unwrap();
    let decoded = |key: &str| {
        fs::write(path.join("encoded"), &data[key]).unwrap();
        output(Command::new("base64").arg("-d").arg(path.join("encoded")))
    };
    assert_eq!(decoded("previous"), old);
    assert_eq!(fs::read_to_string(path.join("done")).unwrap(), "restart deployment/gate\nstatus deployment/gate\n");

    mount(path);
    for key in ["current", "previous"] {
        fs::set_permissions(path.join("nonce").join(key), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(path.join("nonce").join(key), decoded(key)).unwrap();
    }
    let yaml = "listen: [{address: '127.0.0.1:0'}]\nissuers: [{issuer: https://id.example.com, audiences: [a], discovery: \
                true}]\nupstreams: {a: {urls: ['http://127.0.0.1:1']}}\nroutes: [{match: {path: /}, upstream: a}]\n\
                dpop: {nonce: {secret_file: nonce/current, previous_secret_file: nonce/previous}}\n";
    fs::write(path.join("gate.yaml"), yaml).unwrap();
    output(gate().args(["check", "--config"]).arg(path.join("gate.yaml")));
    assert!(decoded("current").len() >= 64 && decoded("current") != old);
}
