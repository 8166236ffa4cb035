//! The systemd units, and the socket that they hand over.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::tools::{deployed, output};
use crate::program::binary;

/// As stated in deploy/README.md.
const EXPOSURE: &str = "1.4";

#[test]
fn the_unit_is_sound_and_as_closed_as_stated() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("dpop-gate.service");
    let text = fs::read_to_string(deployed("systemd/dpop-gate.service")).unwrap();
    let socket = folder.path().join("dpop-gate.socket");
    fs::copy(deployed("systemd/dpop-gate.socket"), &socket).unwrap();
    fs::write(&unit, text.replace("/usr/local/bin/dpop-gate", binary())).unwrap();
    // It exits 0 with complaints.
    let verified = Command::new("systemd-analyze").arg("verify").args([&unit, &socket]).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains("dpop-gate")).collect();
    assert!(verified.status.success() && complaints.is_empty(), "{said}");

    let rated = output(Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(&unit));
    let line = rated.lines().find(|line| line.contains("Overall exposure level")).unwrap();
    assert!(line.contains(&format!(": {EXPOSURE} ")), "{line}");
    let readme = fs::read_to_string(deployed("README.md")).unwrap();
    assert!(readme.contains(&format!("exposure {EXPOSURE}")), "deploy/README.md states another");
}

/// systemd's own tool binds, waits for a connection, and becomes the gate: an address that is taken already, unless the
/// gate takes the socket that it was handed.
#[test]
fn a_socket_that_systemd_holds_is_listened_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    let [address, unnamed] = [free(), free()].map(|listener| listener.local_addr().unwrap());
    let config = format!(
        "listen: [{{address: '{address}'}}, {{address: 'unix:{}'}}]\npublic_url: http://gate.example\n\
         upstreams: {{a: {{urls: ['http://127.0.0.1:1']}}}}\nroutes: [{{match: {{path: /}}, upstream: a, auth: public}}]\n",
        path.display()
    );
    fs::write(folder.path().join("gate.yaml"), config).unwrap();
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let mut gate = Command::new("systemd-socket-activate")
        .arg(format!("--listen={address}"))
        .arg(format!("--listen={}", path.display()))
        .arg(format!("--listen={unnamed}"))
        .args([binary(), "run", "--config", "gate.yaml"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let answer = ask(|| TcpStream::connect(address));
    let other = ask(|| std::os::unix::net::UnixStream::connect(&path));
    output(Command::new("kill").arg(gate.id().to_string()));
    let status = gate.wait().unwrap();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && other.starts_with("HTTP/1.1 200 "), "{answer}{other}\n{log}");
    assert!(status.success(), "{status}\n{log}");
    assert!(log.contains("a socket was handed over"), "the third has no listener: {log}");
    assert!(path.exists(), "the file is systemd's, and stays");
}

/// One request, as soon as there is somebody to connect to.
fn ask<S: std::io::Read + std::io::Write>(connect: impl Fn() -> std::io::Result<S>) -> String {
    let end = Instant::now() + Duration::from_secs(20);
    let mut stream = loop {
        match connect() {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        sleep(Duration::from_millis(5));
    };
    let path = "/.well-known/oauth-protected-resource";
    write!(stream, "GET {path} HTTP/1.1\r\nhost: gate.example\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
