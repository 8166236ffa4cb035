//! `dpop-gate demo` as a newcomer meets it: what it prints is pasted into a shell, word for word.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use crate::program::binary;

pub(crate) use super::demo_process::Demo;

impl Demo {
    /// The lines to paste: those that are indented by four and follow an empty line.
    fn pastes(&self) -> Vec<String> {
        let after = self.guide.split("a call that succeeds").nth(1).unwrap();
        let block = |text: &str| text.lines().filter(|line| line.starts_with("    ")).collect::<Vec<_>>().join("\n");
        let (succeeds, refused) = after.split_once("The same request").unwrap();
        vec![block(succeeds), block(refused)]
    }
}

fn bash(script: &str) -> String {
    let output = Command::new("bash").arg("-c").arg(script).env("no_proxy", "*").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_first_paste_succeeds_and_the_second_is_refused() {
    let demo = Demo::start();
    let [succeeds, refused] = &demo.pastes()[..] else { panic!("two pastes") };
    let answers = bash(&format!("{succeeds}\necho; echo ======\n{refused}"));
    let (first, second) = answers.split_once("======").unwrap();
    assert!(first.contains("HTTP/1.1 200"), "{first}");
    assert!(first.contains("Hello demo-client."), "{first}");
    assert!(first.contains("\"x-auth-scope\": \"orders.read orders.write\""), "{first}");
    assert!(!first.contains("\"authorization\""), "{first}");
    assert!(!first.contains("\"dpop\""), "{first}");
    assert!(second.contains("HTTP/1.1 401"), "{second}");
    assert!(second.contains("invalid_dpop_proof"), "{second}");
}

#[test]
fn one_command_is_the_whole_story() {
    let demo = Demo::start();
    let block = demo.guide.split("All eight steps in one paste:").nth(1).unwrap();
    let paste = block.lines().find(|line| line.starts_with("    ")).unwrap();
    let (gate, secret) = (demo.gate(), demo.client_secret());
    let arguments = format!(
        " request -v --token-endpoint {gate}/token --client-id demo-client --client-secret {secret} {gate}/api/orders"
    );
    assert_eq!(paste.trim().strip_prefix(binary()), Some(arguments.as_str()));

    let run = Command::new("bash").args(["-c", paste]).output().unwrap();
    let (body, told) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap());
    assert_eq!(run.status.code(), Some(0), "{told}");
    assert!(body.contains("Hello demo-client."), "{body}");
    for step in 1..=8 {
        assert!(told.lines().any(|line| line.starts_with(&format!("{step}  "))), "step {step} in {told}");
    }
    assert!(!told.contains(&secret), "{told}");
}

#[test]
fn everything_is_found_from_the_protected_resource_metadata() {
    let demo = Demo::start();
    let found = &demo.word_after("Found from");
    let resource: serde_json::Value = serde_json::from_str(&bash(&format!("curl -s {found}"))).unwrap();
    let issuer = resource["authorization_servers"][0].as_str().unwrap();
    let metadata = bash(&format!("curl -s {issuer}/.well-known/oauth-authorization-server"));
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["issuer"], issuer);
    let token_endpoint = metadata["token_endpoint"].as_str().unwrap();
    assert!(found.starts_with(token_endpoint.trim_end_matches("/token")), "{token_endpoint}");
}

#[test]
fn the_configuration_that_it_writes_is_good_and_starts_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    let written = path.to_str().unwrap();
    let demo = Demo::start_with(&["--config-out", written]);
    let check = Command::new(binary()).args(["check", "--config", written]).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let yaml = std::fs::read_to_string(&path).unwrap();
    assert!(yaml.contains("# change: your API"), "{yaml}");
    assert!(!yaml.contains(&demo.client_secret()) && !yaml.contains("auth: public"), "{yaml}");

    // A token of the demo's is good at the other gate too.
    let address = yaml.split("address: \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let mut gate = Command::new(binary()).args(["run", "--config", written]).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(gate.stderr.take().unwrap()).lines();
    let listens = log.find(|line| line.as_ref().is_ok_and(|line| line.contains(&address)));
    let paste = demo.pastes()[0].replace(&demo.gate(), &format!("http://{address}"));
    let answer = bash(&paste);
    let _ = gate.kill();
    let _ = gate.wait();
    assert!(listens.is_some(), "the other gate does not listen");
    assert!(answer.contains("HTTP/1.1 200") && answer.contains("Hello demo-client."), "{answer}");
}

#[test]
fn a_configuration_that_somebody_wrote_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.yaml");
    std::fs::write(&path, "mine").unwrap();
    let arguments = ["demo", "--listen", "127.0.0.1:0", "--config-out", path.to_str().unwrap()];
    let refused = Command::new(binary()).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.lines().any(|line| line.contains("--config-out") && line.contains("mine.yaml")), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut process = Command::new(binary())
        .args(["demo", "--listen", &address])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(1));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("--listen") && said.contains(&address), "{said}");
}
