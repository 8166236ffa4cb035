//! `dpop-gate health`, against what a gate could answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use super::tools::gate;

/// Answers one request on a port of its own, and returns the request's first line.
fn answering(response: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(response.as_bytes()).unwrap();
        String::from_utf8(head).unwrap().lines().next().unwrap().to_owned()
    });
    (address, asked)
}

/// Exit code and standard error.
fn health(arguments: &[&str]) -> (Option<i32>, String) {
    let output = gate().arg("health").args(arguments).output().unwrap();
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn ready_is_exit_0_and_anything_else_is_exit_1_with_its_reason() {
    let (address, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n");
    assert_eq!(health(&[&format!("http://{address}/livez?verbose")]), (Some(0), String::new()));
    assert_eq!(asked.join().unwrap(), "GET /livez?verbose HTTP/1.1");

    let (address, asked) = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 13\r\n\r\nno keys yet: \n");
    let (code, said) = health(&[&format!("http://{address}")]);
    assert_eq!((code, said.as_str()), (Some(1), "dpop-gate: 503 Service Unavailable: no keys yet:\n"));
    assert_eq!(asked.join().unwrap(), "GET / HTTP/1.1");

    let (address, asked) = answering("SSH-2.0-OpenSSH_9.2\r\n");
    let (code, said) = health(&[&format!("http://{address}/readyz")]);
    assert!(code == Some(1) && said.starts_with("dpop-gate: no answer: "), "{code:?} {said}");
    asked.join().unwrap();

    let (code, said) = health(&[&format!("http://{address}/readyz")]);
    assert!(
        code == Some(1) && said.starts_with("dpop-gate: http://127.0.0.1:") && said.contains(": no connection: "),
        "{code:?} {said}"
    );
}

#[test]
fn the_configuration_says_where_to_ask() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gate.yaml");
    let config = file.to_str().unwrap();
    let (address, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let yaml = |admin: &str| {
        format!(
            "listen: [{{address: '127.0.0.1:0'}}]\n{admin}upstreams: {{a: {{urls: ['http://127.0.0.1:1']}}}}\n\
             routes: [{{match: {{path: /}}, upstream: a, auth: public}}]\n"
        )
    };
    std::fs::write(&file, yaml(&format!("admin: {{address: '0.0.0.0:{}'}}\n", address.port()))).unwrap();
    assert_eq!(health(&["--config", config]), (Some(0), String::new()));
    assert_eq!(asked.join().unwrap(), "GET /readyz HTTP/1.1");

    std::fs::write(&file, yaml("")).unwrap();
    let (code, said) = health(&["--config", config]);
    assert!(code == Some(2) && said.contains("no admin address"), "{code:?} {said}");
    std::fs::write(&file, "listen: 7\n").unwrap();
    let (code, said) = health(&["--config", config]);
    assert!(code == Some(2) && said.starts_with(config), "{code:?} {said}");
    for wrong in [&["https://127.0.0.1/"][..], &["/readyz"], &[]] {
        assert_eq!(health(wrong).0, Some(2), "{wrong:?}");
    }
}
