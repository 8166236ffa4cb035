//! Real Redis servers, each with a folder and a port of its own.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::until;

/// A server: Redis, or one of its sentinels. Ends with its owner.
pub struct Redis {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    /// What `redis-cli` needs beside the port.
    access: Vec<String>,
    /// Of the process to come.
    pub environment: Vec<(&'static str, String)>,
    child: Option<Child>,
}

impl Redis {
    /// With nothing but a port.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With more options of `redis-server`; `{folder}` stands for its own folder.
    pub async fn with(options: &[&str]) -> Self {
        let mut redis = Self::prepared(options, &[]);
        redis.run().await;
        redis
    }

    /// Not running yet.
    pub fn prepared(options: &[&str], access: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let at = folder.path().to_str().unwrap().to_owned();
        let own = |options: &[&str]| options.iter().map(|option| option.replace("{folder}", &at)).collect();
        let (arguments, access) = (own(options), own(access));
        Self { port: free_port(), arguments, access, environment: Vec::new(), child: None, folder }
    }

    /// A replica of that one.
    pub async fn replica_of(master: &Redis) -> Self {
        let replica = Self::with(&[
            "--replicaof",
            "127.0.0.1",
            &master.port.to_string(),
            "--repl-diskless-load",
            "swapdb",
            "--repl-ping-replica-period",
            "1",
        ])
        .await;
        until("the replica to be in sync", || async {
            replica.cli(&["INFO", "replication"]).contains("master_link_status:up").then_some(())
        })
        .await;
        replica
    }

    /// A sentinel that watches that master and decides alone, and soon.
    pub async fn sentinel_of(master: &Redis) -> Self {
        let mut sentinel = Self::prepared(&["{folder}/sentinel.conf", "--sentinel"], &[]);
        let (port, watched) = (sentinel.port, master.port);
        sentinel.write(
            "sentinel.conf",
            &format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {watched} 1\n\
             sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 5000\n"
            ),
        );
        sentinel.run().await;
        until("the sentinel to know the replica", || async {
            sentinel.cli(&["SENTINEL", "REPLICAS", "mymaster"]).contains("runid").then_some(())
        })
        .await;
        sentinel
    }

    /// Gives it a port for TLS too, and says which.
    pub fn with_tls_port(&mut self) -> u16 {
        let port = free_port();
        self.arguments.extend(["--tls-port".to_owned(), port.to_string()]);
        port
    }

    /// Starts (again), on the same port, and waits until it answers.
    pub async fn run(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        // A sentinel reads a file of its own, and takes nothing else.
        if !self.arguments.iter().any(|argument| argument == "--sentinel") {
            command.args([
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--repl-diskless-sync-delay",
                "0",
                "--dir",
            ]);
            command.arg(self.folder.path());
        }
        let child = command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server; `bash tests/run` installs it");
        self.child = Some(child);
        until("redis-server to answer", || async { (self.cli(&["PING"]) == "PONG").then_some(()) }).await;
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// What a command answers, without its last newline.
    pub fn cli(&self, command: &[&str]) -> String {
        let Output { stdout, .. } = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(&self.access)
            .args(command)
            .stderr(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8(stdout).unwrap().trim_end().to_owned()
    }

    /// How many proofs it holds.
    pub fn proofs(&self, prefix: &str) -> usize {
        let keys = self.cli(&["KEYS", &format!("{prefix}*")]);
        keys.lines().filter(|key| key.strip_prefix(prefix).is_some_and(|rest| rest.len() == 32)).count()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id();
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
        assert!(status.success(), "no signal {name}");
    }

    /// Ends it as a crash would; its folder and port stay.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
