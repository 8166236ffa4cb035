//! `keygen` and `proof` as a script meets them.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dpop_gate::jose::{Algorithm, Compact, PublicKey, StrictValue};
use serde_json::Value;

use crate::program::binary;

fn gate(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

fn keygen(folder: &Path, algorithm: &str) -> (String, String) {
    let path = folder.join(format!("{algorithm}.jwk")).to_str().unwrap().to_owned();
    let made = gate(&["keygen", "--alg", algorithm, "--out", &path]);
    assert!(made.status.success(), "{made:?}");
    assert!(made.stdout.is_empty());
    (path, String::from_utf8(made.stderr).unwrap().trim().to_owned())
}

#[test]
fn a_key_of_every_algorithm_makes_proofs_that_verify() {
    let folder = tempfile::tempdir().unwrap();
    for algorithm in Algorithm::ALL {
        let (path, thumbprint) = keygen(folder.path(), algorithm.name());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let url = "https://api.example.com/orders?page=2#top";
        let token = "eyJ.abc.def";
        let arguments = ["proof", "--key", &path, "--method", "POST", "--url", url, "--token", token, "--nonce", "n-1"];
        let made = gate(&[&arguments[..], &["--count", "3"]].concat());
        assert!(made.status.success(), "{made:?}");
        let text = String::from_utf8(made.stdout).unwrap();
        let mut identifiers = HashSet::new();
        for proof in text.lines() {
            let compact = Compact::parse(proof, 8192).unwrap();
            let header: Value = serde_json::from_slice(compact.header()).unwrap();
            let claims: Value = serde_json::from_slice(compact.payload()).unwrap();
            assert_eq!(header["typ"], "dpop+jwt");
            assert_eq!(header["alg"], algorithm.name());
            let jwk = StrictValue::parse(header["jwk"].to_string().as_bytes()).unwrap();
            let key = PublicKey::from_jwk(&jwk).unwrap();
            assert_eq!(key.thumbprint().to_string(), thumbprint);
            assert!(key.verify(algorithm, compact.signing_input(), compact.signature()));
            assert_eq!(claims["htm"], "POST");
            assert_eq!(claims["htu"], "https://api.example.com/orders");
            assert_eq!(claims["nonce"], "n-1");
            let digest = dpop_gate::secret::AccessToken::new(token).digest();
            assert_eq!(claims["ath"], URL_SAFE_NO_PAD.encode(digest.as_bytes()));
            assert!(claims["iat"].is_u64());
            assert!(identifiers.insert(claims["jti"].as_str().unwrap().to_owned()));
        }
        assert_eq!(identifiers.len(), 3);
    }
}

#[test]
fn without_a_token_there_is_no_ath_and_a_token_file_counts_without_its_newline() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = keygen(folder.path(), "ES256");
    let token = folder.path().join("token");
    std::fs::write(&token, "eyJ.abc.def\n").unwrap();
    let claims = |extra: &[&str]| -> Value {
        let made = gate(&[&["proof", "--key", &path, "--method", "GET", "--url", "http://a.example"], extra].concat());
        let proof = String::from_utf8(made.stdout).unwrap();
        serde_json::from_slice(Compact::parse(proof.trim(), 8192).unwrap().payload()).unwrap()
    };
    assert_eq!(claims(&[]).get("ath"), None);
    assert_eq!(claims(&[]).get("nonce"), None);
    let from_file = format!("@{}", token.display());
    assert_eq!(claims(&["--token", &from_file])["ath"], claims(&["--token", "eyJ.abc.def"])["ath"]);
}

#[test]
fn bad_input_is_one_clear_line_and_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    let (key, _) = keygen(folder.path(), "ES256");
    let no_key = folder.path().join("none").to_str().unwrap().to_owned();
    let not_a_key = folder.path().join("text").to_str().unwrap().to_owned();
    let no_folder = folder.path().join("no/key").to_str().unwrap().to_owned();
    std::fs::write(&not_a_key, "not a key").unwrap();
    let url = "https://a.example/";
    let rows: &[(&[&str], &str)] = &[
        (&["keygen", "--out", &key], "--out"),
        (&["keygen", "--out", &no_folder], "--out"),
        (&["proof", "--key", &no_key, "--method", "GET", "--url", url], "--key"),
        (&["proof", "--key", &not_a_key, "--method", "GET", "--url", url], "--key"),
        (&["proof", "--key", &key, "--method", "G T", "--url", url], "--method"),
        (&["proof", "--key", &key, "--method", "GET", "--url", "/orders"], "--url"),
        (&["proof", "--key", &key, "--method", "GET", "--url", "ftp://a.example/"], "--url"),
        (&["proof", "--key", &key, "--method", "GET", "--url", url, "--token", "a b"], "--token"),
        (&["proof", "--key", &key, "--method", "GET", "--url", url, "--token", "@/nonexistent"], "--token"),
        (&["proof", "--key", &key, "--method", "GET", "--url", url, "--nonce", "a\"b"], "--nonce"),
    ];
    for (arguments, option) in rows {
        let refused = gate(arguments);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        assert!(said.starts_with(&format!("dpop-gate: {option}")), "{arguments:?}: {said}");
        assert!(refused.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_existing_key_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = keygen(folder.path(), "ES256");
    let before = std::fs::read(&path).unwrap();
    assert_eq!(gate(&["keygen", "--out", &path]).status.code(), Some(2));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = keygen(folder.path(), "ES256");
    let arguments = ["proof", "--key", &path, "--method", "GET", "--url", "https://a.example/", "--count", "100000"];
    let mut process =
        Command::new(binary()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(process.stdout.take());
    let ended = process.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}
