//! `explain` as an operator meets it, without a configuration; with one, see `tests/gate/explain.rs`.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::program::binary;

const URL: &str = "https://api.example.com/orders/1";
const TOKEN: &str = "an-opaque-token-0123456789";

fn gate(arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(binary())
        .args(arguments)
        .env_remove("DPOP_GATE_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may not read it at all.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

/// A proof that `proof` makes, and the curl command that sends it.
fn command(folder: &std::path::Path, url: &str, method: &str) -> (String, String) {
    let key = folder.join(format!("{method}.jwk"));
    let key = key.to_str().unwrap();
    assert!(gate(&["keygen", "--out", key], b"").status.success());
    let made = gate(&["proof", "--key", key, "--method", method, "--url", url, "--token", TOKEN], b"");
    let proof = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let command = format!("curl '{URL}' \\\n  -H 'Authorization: DPoP {TOKEN}' \\\n  -H 'DPoP: {proof}'\n");
    (proof, command)
}

#[test]
fn what_request_would_send_passes_and_a_slip_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (method, url, code, reason) in [
        ("GET", URL, 0, "all checks passed"),
        ("POST", URL, 1, "refused: htm_mismatch"),
        ("PUT", "https://api.example.com/orders/2", 1, "refused: htm_mismatch"),
    ] {
        let (proof, command) = command(folder.path(), url, method);
        let file = folder.path().join("capture");
        std::fs::write(&file, &command).unwrap();
        for (arguments, stdin) in [
            (&["explain", file.to_str().unwrap()][..], &b""[..]),
            (&["explain"], command.as_bytes()),
            (&["explain", "-"], command.as_bytes()),
        ] {
            let explained = gate(arguments, stdin);
            let said = String::from_utf8(explained.stdout).unwrap();
            assert_eq!((explained.status.code(), explained.stderr.len()), (Some(code), 0), "{said}");
            assert!(said.contains(reason), "{said}");
            assert!(said.lines().all(|line| !line.starts_with("failed") || code == 1), "{said}");
            for credential in proof.split('.').chain([TOKEN]) {
                assert!(!said.contains(credential), "{said}");
            }
        }
    }
}

#[test]
fn the_scheme_is_https_unless_somebody_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let (proof, _) = command(folder.path(), "http://api.example.com/orders/1", "GET");
    let raw = format!(
        "GET /orders/1 HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: DPoP {TOKEN}\r\nDPoP: {proof}\r\n\r\n"
    );
    let explained = gate(&["explain"], raw.as_bytes());
    let said = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.status.code() == Some(1) && said.contains("--scheme http"), "{said}");
    assert_eq!(gate(&["explain", "--scheme", "http"], raw.as_bytes()).status.code(), Some(0));
}

#[test]
fn garbage_is_one_clear_line_and_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("gate.yaml");
    std::fs::write(&bad, "listen: [{address: 127.0.0.1:0}]\n").unwrap();
    let canary = "canary-0123456789";
    let line = format!("{canary}\n{canary}: {canary}");
    for (arguments, stdin, part) in [
        (&["explain"][..], line.as_bytes(), "line 1"),
        (&["explain"], b"", "nothing to read"),
        (&["explain"], b"\xff\xfe\x00", "not UTF-8"),
        (&["explain"], b"curl -H 'canary-0123456789", "not closed"),
        (&["explain"], b"{\"canary-0123456789\": 1}", "no HAR entry"),
        (&["explain", "/nonexistent"], b"", "/nonexistent"),
        (&["explain", "--at", "canary-0123456789"], b"GET / HTTP/1.1\n", "--at"),
    ] {
        let refused = gate(arguments, stdin);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert!(said.starts_with("dpop-gate: ") && said.contains(part) && !said.contains(canary), "{said}");
    }
    let refused = gate(&["explain", "--config", bad.to_str().unwrap()], b"GET / HTTP/1.1\nhost: a\n");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && said.contains("gate.yaml"), "{said}");
}
