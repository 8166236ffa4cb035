//! `dpop-gate demo` as a newcomer meets it: what it prints is pasted into a shell, word for word.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

const GATE: &str = env!("CARGO_BIN_EXE_dpop-gate");

pub(crate) struct Demo {
    process: Child,
    guide: String,
}

impl Demo {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(GATE)
            .args(["demo", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut guide = String::new();
        // The second paste is one line, and the last of the guide.
        while guide.matches("curl -i").count() < 2 {
            let line = lines.next().expect("the guide ended early").unwrap();
            guide.push_str(&line);
            guide.push('\n');
        }
        Self { process, guide }
    }

    /// Where the gate listens.
    pub(crate) fn gate(&self) -> String {
        let line = self.guide.lines().find(|line| line.contains("The gate  ")).unwrap();
        line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned()
    }

    /// Of `demo-client`.
    pub(crate) fn client_secret(&self) -> String {
        let after = self.guide.split("demo-client, secret ").nth(1).unwrap();
        after.split([',', '\n', ' ']).next().unwrap().to_owned()
    }

    /// The lines to paste: those that are indented by four and follow an empty line.
    fn pastes(&self) -> Vec<String> {
        let after = self.guide.split("A call that succeeds").nth(1).unwrap();
        let block = |text: &str| text.lines().filter(|line| line.starts_with("    ")).collect::<Vec<_>>().join("\n");
        let (succeeds, refused) = after.split_once("The same request").unwrap();
        vec![block(succeeds), block(refused)]
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
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
fn everything_is_found_from_the_protected_resource_metadata() {
    let demo = Demo::start();
    let found = demo.guide.lines().find_map(|line| line.split("Found from").nth(1)).unwrap().trim();
    let resource: serde_json::Value = serde_json::from_str(&bash(&format!("curl -s {found}"))).unwrap();
    let issuer = resource["authorization_servers"][0].as_str().unwrap();
    let metadata = bash(&format!("curl -s {issuer}/.well-known/oauth-authorization-server"));
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["issuer"], issuer);
    let token_endpoint = metadata["token_endpoint"].as_str().unwrap();
    assert!(found.starts_with(token_endpoint.trim_end_matches("/token")), "{token_endpoint}");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut process = Command::new(GATE)
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
