//! `request` as a script meets it: against the demo, and against servers whose nonces change with every answer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dpop_gate::jose::Compact;
use serde_json::{Value, json};

#[cfg(feature = "demo")]
use crate::demo_process::Demo;
use crate::program::binary;

const CANARY: &str = "canary-0123456789-canary-0123456789";

fn request(arguments: &[&str]) -> Output {
    request_with(arguments, b"", &[])
}

fn request_with(arguments: &[&str], stdin: &[u8], environment: &[(&str, &str)]) -> Output {
    let mut child = Command::new(binary())
        .arg("request")
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may not read it at all.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A request that a server got.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(header, _)| header == name);
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice in {self:?}");
        first
    }

    /// The claims of its proof.
    fn proof(&self) -> Value {
        serde_json::from_slice(Compact::parse(self.header("dpop").unwrap(), 8192).unwrap().payload()).unwrap()
    }
}

/// A server that answers each request, on a connection of its own, with what `answer` makes of it and its number.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    fn start(answer: impl Fn(usize, &Seen) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = Arc::clone(&server.seen);
        thread::spawn(move || {
            for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                let Some(request) = read(&stream) else { continue };
                let answer = answer(number, &request);
                seen.lock().unwrap().push(request);
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let line = lines.next()?;
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
        .collect();
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { line, headers, body: String::from_utf8(body).unwrap() })
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn token_granted(nonce: &str) -> String {
    let body = json!({"access_token": CANARY, "token_type": "DPoP", "expires_in": 60}).to_string();
    answer("200 OK", &format!("content-type: application/json\r\ndpop-nonce: {nonce}\r\n"), &body)
}

fn token_challenge(nonce: &str) -> String {
    let body =
        json!({"error": "use_dpop_nonce", "error_description": "Authorization server requires nonce in DPoP proof."});
    answer("400 Bad Request", &format!("content-type: application/json\r\ndpop-nonce: {nonce}\r\n"), &body.to_string())
}

fn challenge(nonce: &str) -> String {
    let header = format!("www-authenticate: DPoP error=\"use_dpop_nonce\", algs=\"ES256\"\r\ndpop-nonce: {nonce}\r\n");
    answer("401 Unauthorized", &header, "")
}

/// The numbers that begin a line of standard error.
fn steps(output: &Output) -> Vec<u8> {
    let text = stderr(output);
    text.lines().filter_map(|line| line.split_once("  ")?.0.parse().ok()).collect()
}

#[test]
#[cfg(feature = "demo")]
fn against_the_demo_the_eight_steps_are_told_and_no_credential() {
    let demo = Demo::start();
    let (gate, secret) = (demo.gate(), demo.client_secret());
    let token_endpoint = format!("{gate}/token");
    let done = request_with(
        &[
            "-v",
            "--token-endpoint",
            &token_endpoint,
            "--client-id",
            "demo-client",
            &format!("{gate}/api/orders?q={CANARY}"),
        ],
        b"",
        &[("DPOP_GATE_CLIENT_SECRET", &secret)],
    );
    let told = stderr(&done);
    assert_eq!(done.status.code(), Some(0), "{told}");
    let body: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(body["headers"]["x-auth-subject"], "demo-client");
    assert_eq!(body["query"], format!("q={CANARY}"));
    assert_eq!(steps(&done), [1, 2, 3, 4, 5, 6, 7, 8], "{told}");
    assert!(told.contains("use_dpop_nonce") && told.contains("the key of step 1"), "{told}");
    for text in told.split([' ', '\n']) {
        assert!(!text.starts_with("eyJ") || text.len() < 20, "a whole credential: {text}");
    }
    let basic = STANDARD.encode(format!("demo-client:{secret}"));
    for secret in [&secret, CANARY, &basic[16..]] {
        assert!(!told.contains(secret), "{secret} stands in {told}");
    }
}

#[test]
#[cfg(feature = "demo")]
fn without_v_nothing_but_the_body_is_said() {
    let demo = Demo::start();
    let (gate, folder) = (demo.gate(), tempfile::tempdir().unwrap());
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{}\n", demo.client_secret())).unwrap();
    let token_endpoint = format!("{gate}/token");
    let url = format!("{gate}/api/orders");
    let secret = secret.to_str().unwrap();
    let arguments = [
        "--token-endpoint",
        &token_endpoint,
        "--client-id",
        "demo-client",
        "--client-secret-file",
        secret,
        &url,
        "-d",
        "a=1",
    ];
    let done = request(&arguments);
    assert_eq!((done.status.code(), stderr(&done).as_str()), (Some(0), ""));
    let body: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((body["method"].as_str(), body["body_bytes"].as_u64()), (Some("POST"), Some(3)));
    let scoped = request(&[&arguments[..], &["--scope", "orders.write"]].concat());
    assert_eq!(scoped.status.code(), Some(22));
    assert!(stdout(&scoped).contains("insufficient_scope"), "{scoped:?}");
    let wrong =
        request(&["--token-endpoint", &token_endpoint, "--client-id", "demo-client", "--client-secret", "x", &url]);
    assert_eq!((wrong.status.code(), stdout(&wrong).as_str()), (Some(22), ""));
    assert!(stderr(&wrong).contains("401 Unauthorized: invalid_client"), "{wrong:?}");
}

#[test]
fn each_servers_nonces_are_remembered_and_each_challenge_is_answered_once() {
    let issuer = Server::start(|number, _| match number {
        0 => token_challenge("as-0"),
        number => token_granted(&format!("as-{number}")),
    });
    let api = Server::start(|number, _| match number {
        0 => challenge("rs-0"),
        number => answer("200 OK", &format!("dpop-nonce: rs-{number}\r\n"), "fine"),
    });
    let (endpoint, url) = (issuer.url("/token"), api.url("/orders?page=2"));
    let done =
        request(&["-v", "--token-endpoint", &endpoint, "--client-id", "c&d", "--scope", "a b", "-d", "@-", &url]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(stdout(&done), "fine");
    assert_eq!(steps(&done), [1, 2, 3, 4, 5, 6, 7, 8]);

    let asked = issuer.seen();
    assert_eq!(asked.len(), 2);
    for (seen, nonce) in asked.iter().zip([None, Some("as-0")]) {
        let proof = seen.proof();
        assert_eq!((proof["htm"].as_str(), proof["htu"].as_str()), (Some("POST"), Some(endpoint.as_str())));
        assert_eq!((proof.get("nonce").and_then(Value::as_str), proof.get("ath")), (nonce, None));
        // A public client says who it is in the form.
        assert_eq!(seen.body, "grant_type=client_credentials&scope=a%20b&client_id=c%26d");
        assert_eq!(seen.header("authorization"), None);
    }
    let called = api.seen();
    assert_eq!(called.len(), 2);
    for (seen, nonce) in called.iter().zip([None, Some("rs-0")]) {
        let proof = seen.proof();
        assert_eq!((proof["htm"].as_str(), proof["htu"].as_str()), (Some("POST"), Some(api.url("/orders").as_str())));
        assert_eq!(proof.get("nonce").and_then(Value::as_str), nonce, "the other server's nonce is not this one's");
        let digest = dpop_gate::secret::AccessToken::new(CANARY).digest();
        assert_eq!(proof["ath"], URL_SAFE_NO_PAD.encode(digest.as_bytes()));
        assert_eq!(seen.header("authorization"), Some(format!("DPoP {CANARY}").as_str()));
        assert_eq!(seen.line, "POST /orders?page=2 HTTP/1.1");
    }
    assert_ne!(called[0].proof()["jti"], called[1].proof()["jti"]);
    assert!(!stderr(&done).contains(CANARY));
}

#[test]
fn a_nonce_that_comes_with_a_success_is_used_too() {
    // One origin: what the token endpoint's success brought is what the API is called with.
    let server = Server::start(|number, _| match number {
        0 => token_granted("from-a-success"),
        _ => answer("200 OK", "", "fine"),
    });
    let (endpoint, url) = (server.url("/token"), server.url("/orders"));
    let done = request(&["-v", "--token-endpoint", &endpoint, "--client-id", "c", "--client-secret", "a:b%", &url]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let seen = server.seen();
    let pair = STANDARD.decode(seen[0].header("authorization").unwrap().strip_prefix("Basic ").unwrap()).unwrap();
    assert_eq!(pair, b"c:a%3Ab%25", "form-encoded before it is joined (RFC 6749 section 2.3.1)");
    assert_eq!(seen[0].body, "grant_type=client_credentials");
    assert_eq!(seen[1].proof()["nonce"], "from-a-success");
    assert_eq!(steps(&done), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(stderr(&done).contains("asks for no nonce"), "{}", stderr(&done));
}

#[test]
fn a_server_that_never_has_enough_is_not_asked_for_ever() {
    let server = Server::start(|number, _| challenge(&format!("n-{number}")));
    let done = request(&["--token", "t", &server.url("/")]);
    assert_eq!(done.status.code(), Some(22), "{done:?}");
    let nonces: Vec<_> = server.seen().iter().map(|seen| seen.proof().get("nonce").cloned()).collect();
    assert_eq!(nonces, [None, Some(json!("n-0"))]);
    let endpoint = Server::start(|number, _| token_challenge(&format!("n-{number}")));
    let done = request(&["--token-endpoint", &endpoint.url("/token"), "--client-id", "c", &server.url("/")]);
    assert_eq!((done.status.code(), endpoint.seen().len()), (Some(22), 2), "{done:?}");
    assert!(stderr(&done).contains("use_dpop_nonce"), "{done:?}");
}

#[test]
fn a_token_endpoint_can_be_called_by_hand() {
    let endpoint = Server::start(|number, _| match number {
        0 => token_challenge("n"),
        _ => token_granted("m"),
    });
    let done = request(&["-d", "grant_type=authorization_code", "-d", "code=x", &endpoint.url("/token")]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(stdout(&done).contains(CANARY), "the answer is the caller's own");
    let seen = endpoint.seen();
    assert_eq!(seen[1].proof()["nonce"], "n");
    assert_eq!(seen[1].body, "grant_type=authorization_code&code=x");
    assert_eq!(seen[1].header("content-type"), Some("application/x-www-form-urlencoded"));
}

#[test]
fn data_come_from_files_and_standard_input_and_the_head_is_shown_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    std::fs::write(&file, "a=1\r\n&b=2\n").unwrap();
    let server = Server::start(|_, _| answer("201 Created", "x-own: yes\r\n", "made"));
    let (url, file) = (server.url("/"), format!("@{}", file.display()));
    let done = request_with(&["-i", "-d", &file, "-d", "c=3", "-d", "@-", &url], b"d=4\n", &[]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let said = stdout(&done);
    assert!(said.starts_with("HTTP/1.1 201 Created\r\n") && said.contains("\r\nx-own: yes\r\n"), "{said}");
    assert!(said.ends_with("\r\n\r\nmade"), "{said}");
    // Line ends are left out, as curl does.
    assert_eq!(server.seen()[0].body, "a=1&b=2&c=3&d=4");
    let done = request_with(&["-d", "-", &url], b"e=5", &[]);
    assert_eq!((done.status.code(), server.seen()[1].body.as_str()), (Some(0), "e=5"));
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(|_, _| answer("200 OK", "", "stolen"));
    let location = format!("location: {}?code={CANARY}\r\n", elsewhere.url("/"));
    let server = Server::start(move |_, _| answer("307 Temporary Redirect", &location, "moved"));
    let done = request(&["-v", "--token", "t", &server.url("/")]);
    assert_eq!((done.status.code(), stdout(&done).as_str()), (Some(22), "moved"));
    assert!(stderr(&done).contains("not followed") && !stderr(&done).contains(CANARY), "{}", stderr(&done));
    assert_eq!(elsewhere.seen().len(), 0);
}

#[test]
fn a_bearer_token_is_not_taken_for_a_bound_one() {
    let body = json!({"access_token": CANARY, "token_type": "Bearer"}).to_string();
    for (body, said) in [(body.as_str(), "not bound"), ("{}", "no access_token"), ("<html>", "not JSON")] {
        let answer = answer("200 OK", "", body);
        let endpoint = Server::start(move |_, _| answer.clone());
        let done = request(&["--token-endpoint", &endpoint.url("/token"), "--client-id", "c", "http://127.0.0.1:9/"]);
        assert_eq!(done.status.code(), Some(1), "{done:?}");
        assert!(stderr(&done).contains(said) && !stderr(&done).contains(CANARY), "{done:?}");
        assert_eq!(stderr(&done).lines().count(), 1);
    }
}

#[test]
fn failures_exit_as_curl_does() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = Server::start(|_, _| answer("200 OK", "", ""));
    let empty = Server::start(|_, _| String::new());
    let cut = Server::start(|_, _| "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_owned());
    let garbage = Server::start(|_, _| "SSH-2.0-server\r\n\r\n".to_owned());
    for (arguments, code) in [
        (vec!["http://nowhere.invalid/".to_owned()], 6),
        (vec![format!("http://{closed}/")], 7),
        (vec![cut.url("/")], 18),
        (vec!["--max-time".into(), "0.05".into(), format!("http://{}/", silent.local_addr().unwrap())], 28),
        (vec![format!("https://{}/", plain.address)], 35),
        (vec![empty.url("/")], 52),
        (vec![garbage.url("/")], 56),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let failed = request(&arguments);
        assert_eq!(failed.status.code(), Some(code), "{arguments:?}: {failed:?}");
        assert_eq!(stderr(&failed).lines().count(), 1, "{failed:?}");
    }
}

#[test]
fn bad_usage_is_one_clear_line_and_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage").to_str().unwrap().to_owned();
    std::fs::write(&garbage, format!("{CANARY}\n{CANARY} x")).unwrap();
    let at_garbage = format!("@{garbage}");
    let url = "http://127.0.0.1:9/";
    let rows: &[(&[&str], &str)] = &[
        (&["orders"], "URL"),
        (&["ftp://127.0.0.1/"], "URL"),
        (&["http://user:pw@127.0.0.1/"], "URL"),
        (&["--key", &garbage, url], "--key"),
        (&["--key", "/nonexistent", url], "--key"),
        (&["--token", &at_garbage, url], "--token"),
        (&["--token", "@/nonexistent", url], "--token"),
        (&["--token-endpoint", "token", "--client-id", "c", url], "--token-endpoint"),
        (
            &["--token-endpoint", url, "--client-id", "c", "--client-secret-file", "/nonexistent", url],
            "--client-secret-file",
        ),
        (&["-X", "G T", url], "--request"),
        (&["-H", "nothing", url], "--header"),
        (&["-d", "@/nonexistent", url], "--data"),
        (&["--cacert", &garbage, url], "--cacert"),
        (&["--max-time", "-1", url], "--max-time"),
    ];
    for (arguments, option) in rows {
        let refused = request(arguments);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with("dpop-gate: ") || said.starts_with("error: "), "{arguments:?}: {said}");
        assert!(said.contains(option) && !said.contains(CANARY), "{arguments:?}: {said}");
        assert!(said.starts_with("error: ") || said.lines().count() == 1, "{arguments:?}: {said}");
        assert!(refused.stdout.is_empty());
    }
    let both = request(&["--token", "t", "--token-endpoint", url, "--client-id", "c", url]);
    assert_eq!(both.status.code(), Some(2));
}
