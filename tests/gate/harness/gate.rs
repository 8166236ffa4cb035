//! The program under test, as a process.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, SOON, exchange, now, until};
use crate::program::binary;

/// Shortest secret that is looked for in logs, in bytes.
pub(super) const SECRET_BYTES: usize = 20;

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(binary()).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs the program to its end, with that to read on standard input.
pub fn run_with(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(binary())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// A folder with a configuration in it, from which gates are started.
pub struct Gates {
    folder: TempDir,
    environment: Vec<(String, String)>,
    arguments: Vec<&'static str>,
}

impl Gates {
    pub fn new(settings: &Value) -> Self {
        let gates = Self { folder: TempDir::new().unwrap(), environment: Vec::new(), arguments: vec!["run"] };
        gates.write("nonce.key", "a nonce secret of more than 32 bytes, for tests alone\n");
        gates.configure(settings);
        gates
    }

    /// Sets an environment variable of the processes to come.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Lets the processes to come follow their files.
    pub fn watching(mut self) -> Self {
        self.arguments.push("--watch");
        self
    }

    /// Replaces the configuration file.
    pub fn configure(&self, settings: &Value) {
        self.write("gate.yaml", &serde_yaml::to_string(settings).unwrap());
    }

    /// Writes a file beside the configuration, at once as an operator's tool would.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.folder.path().join(name);
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, path).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a gate and waits until it is ready.
    pub async fn start(&self) -> Gate {
        self.start_under(&[]).await
    }

    /// The same, with more environment variables.
    pub async fn start_under(&self, environment: &[(&str, String)]) -> Gate {
        let gate = self.spawn(environment).await;
        if gate.admin.is_some() {
            until("the gate to be ready", || async { (gate.admin("/readyz").await.status == 200).then_some(()) }).await;
        }
        gate
    }

    /// Starts a gate and waits only until it listens.
    pub async fn start_unready(&self) -> Gate {
        self.spawn(&[]).await
    }

    async fn spawn(&self, environment: &[(&str, String)]) -> Gate {
        let config = self.path("gate.yaml");
        let wanted = doors(&config);
        let mut child = Command::new(binary())
            .args(&self.arguments)
            .arg("--config")
            .arg(&config)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().unwrap();
        let kept = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                kept.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let mut gate =
            Gate { child, lines, reader: Some(reader), secrets: Arc::default(), listening: Vec::new(), admin: None };
        let end = Instant::now() + SOON;
        while gate.listening.len() < wanted {
            if let Some(status) = gate.child.try_wait().unwrap() {
                panic!("the gate ended with {status} before it listened:\n{}", gate.log().join("\n"));
            }
            assert!(Instant::now() < end, "the gate does not listen:\n{}", gate.log().join("\n"));
            tokio::time::sleep(Duration::from_millis(5)).await;
            gate.listening = gate.heard();
        }
        gate.admin = gate.door("admin").map(|address| address.parse().unwrap());
        if without_nonces(&config) {
            // A proof of the second of the start could be from before it, and is refused.
            let start = now();
            until("the second after the start", || async { (now() > start).then_some(()) }).await;
        }
        gate
    }
}

fn read(config: &Path) -> Value {
    serde_yaml::from_str(&fs::read_to_string(config).unwrap()).unwrap()
}

fn without_nonces(config: &Path) -> bool {
    read(config)["dpop"]["nonce"]["mode"] == "off"
}

/// How many listeners the file asks for.
fn doors(config: &Path) -> usize {
    let file = read(config);
    file["listen"].as_array().map_or(1, Vec::len) + usize::from(file.get("admin").is_some())
}

/// A running gate. Ends with its owner; what it logged is then searched for panics and credentials.
pub struct Gate {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    secrets: Arc<Mutex<Vec<String>>>,
    /// Door and address.
    listening: Vec<(String, String)>,
    admin: Option<SocketAddr>,
}

impl Gate {
    /// Where clients come in.
    pub fn address(&self) -> SocketAddr {
        self.door("proxy").expect("a proxy listener").parse().unwrap()
    }

    /// Where reverse proxies ask.
    pub fn forward_auth(&self) -> SocketAddr {
        self.door("forward_auth").expect("a forward_auth listener").parse().unwrap()
    }

    /// Where Envoy asks.
    pub fn ext_authz(&self) -> SocketAddr {
        self.door("ext_authz").expect("an ext_authz listener").parse().unwrap()
    }

    fn door(&self, door: &str) -> Option<String> {
        self.listening.iter().find(|(name, _)| name == door).map(|(_, address)| address.clone())
    }

    /// Where a door was opened, by the log: also one that a reload brought.
    pub fn logged_address(&self, door: &str) -> Option<SocketAddr> {
        let heard = self.heard();
        heard.iter().find(|(name, _)| name == door).map(|(_, address)| address.parse().unwrap())
    }

    fn heard(&self) -> Vec<(String, String)> {
        self.log_of("listening")
            .iter()
            .map(|line| (line["door"].as_str().unwrap().to_owned(), line["address"].as_str().unwrap().to_owned()))
            .collect()
    }

    /// Everything it wrote to standard error so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The log lines with that message.
    pub fn log_of(&self, message: &str) -> Vec<Value> {
        let lines = self.log();
        let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|line| line["message"] == message).collect()
    }

    /// The log lines of requests: those with a `request_id` and a `status`.
    pub fn requests_logged(&self) -> Vec<Value> {
        let lines = self.log();
        let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        parsed.filter(|line| line.get("request_id").is_some() && line.get("status").is_some()).collect()
    }

    /// Where operators come in.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.expect("an admin listener")
    }

    /// Asks the admin listener.
    pub async fn admin(&self, path: &str) -> Answer {
        let address = self.admin_address();
        let request = http::Request::get(path).header("host", address.to_string());
        exchange(address, request.body(Vec::new()).unwrap()).await
    }

    /// A metric's value, summed over every series with these labels.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.admin("/metrics").await.text();
        let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let series = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && wanted.iter().all(|label| line.contains(label))
        });
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).fold(0.0, |sum, value| sum + value)
    }

    /// How often that reason was given.
    pub async fn refusals(&self, reason: &str) -> f64 {
        self.metric("dpop_gate_refusals_total", &[("reason", reason)]).await
    }

    /// From now on these must not stand in the log; each has [`SECRET_BYTES`] or more.
    pub fn secrets(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.secrets)
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(status.success(), "no signal {name}");
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the gate does not end:\n{}", self.log().join("\n"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it as a crash would.
    pub async fn killed(mut self) {
        self.child.kill().unwrap();
        self.ended().await;
    }

    /// Most memory that it ever held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let log = self.log();
        if thread::panicking() {
            eprintln!("--- the gate's last lines\n{}", log[log.len().saturating_sub(30)..].join("\n"));
            return;
        }
        let secrets = self.secrets.lock().unwrap();
        // By their beginnings: some tests have thousands of secrets and of lines.
        let beginnings: HashSet<&[u8]> = secrets.iter().map(|secret| &secret.as_bytes()[..SECRET_BYTES]).collect();
        for line in &log {
            assert!(!line.contains("panicked"), "the gate panicked: {line}");
            let shown = line.as_bytes().windows(SECRET_BYTES).any(|part| beginnings.contains(part));
            assert!(!shown, "a credential stands in the log: {line}");
        }
    }
}
