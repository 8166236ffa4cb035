//! Real sockets, trivial handlers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod leaving;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::target::Scheme;
use crate::tls::test_pki::{Pki, server_tls};
use crate::tls::{ClientAuth, Rotating};

use super::*;

/// Longer than anything here takes; shorter than a person's patience.
const SOON: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    Limits {
        header_bytes: 8192,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        shutdown_grace: Duration::ZERO,
        drain_timeout: Duration::from_secs(10),
        connections: 100,
    }
}

/// Answers by path: `/wait` when told to, `/panic` never, `/refuse` without reading the body; else the body's length.
#[derive(Default)]
struct Paths {
    arrived: Notify,
    go: Notify,
    peers: Mutex<Vec<Peer>>,
    served: AtomicUsize,
}

impl Handler for Paths {
    type Body = Full<Bytes>;

    async fn handle(&self, request: Request<Incoming>, peer: &Peer) -> Response<Full<Bytes>> {
        self.peers.lock().unwrap().push(peer.clone());
        self.served.fetch_add(1, Ordering::SeqCst);
        match request.uri().path() {
            "/wait" => {
                self.arrived.notify_one();
                self.go.notified().await;
                Response::new(Full::from("waited"))
            }
            "/panic" => panic!("a handler's own fault"),
            "/refuse" => Response::builder().status(401).body(Full::from("refused")).unwrap(),
            _ => {
                let body = request.into_body().collect().await.map(|body| body.to_bytes().len()).unwrap_or(0);
                Response::new(Full::from(format!("{body} bytes")))
            }
        }
    }
}

struct Gate {
    paths: Arc<Paths>,
    bounds: Arc<Bounds>,
    listener: Listener<Paths>,
    address: SocketAddr,
}

fn gauge() -> Option<IntGauge> {
    Some(IntGauge::new("open", "open").unwrap())
}

fn gate_with(limits: Limits, tls: Option<Arc<Rotating>>) -> Gate {
    let paths = Arc::new(Paths::default());
    let bounds = Bounds::new(limits, gauge(), Loops::here());
    let socket = Socket::bind(&ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), Sharing::Alone).unwrap();
    let ListenAddress::Tcp(address) = *socket.address() else { panic!() };
    let listener = Listener::start(socket, Service { handler: Arc::clone(&paths), tls }, Arc::clone(&bounds));
    Gate { paths, bounds, listener, address }
}

fn gate(limits: Limits) -> Gate {
    gate_with(limits, None)
}

impl Gate {
    fn open(&self) -> i64 {
        self.bounds.open.as_ref().unwrap().get()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Everything until the other end closes (or resets).
async fn rest(io: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    let _ = timeout(SOON, io.read_to_end(&mut text)).await.expect("the gate closes");
    String::from_utf8_lossy(&text).into_owned()
}

/// One response with a `Content-Length`, and no byte more.
async fn response(io: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    let read = async {
        loop {
            text.push(io.read_u8().await.unwrap());
            let seen = String::from_utf8_lossy(&text);
            let Some((head, body)) = seen.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() == length.parse::<usize>().unwrap() {
                return;
            }
        }
    };
    timeout(SOON, read).await.expect("a response");
    String::from_utf8(text).unwrap()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + SOON;
    while !condition() {
        assert!(std::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n";

#[tokio::test]
async fn a_slow_head_is_cut_off_also_on_a_connection_that_was_kept_alive() {
    let short = Duration::from_millis(300);
    let gate = gate(Limits { header_timeout: short, ..limits() });
    for requests_before in [0, 1] {
        let mut client = gate.connect().await;
        for _ in 0..requests_before {
            client.write_all(GET).await.unwrap();
            response(&mut client).await;
        }
        let began = Instant::now();
        client.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
        // A byte now and then does not help.
        let (mut read, mut write) = client.into_split();
        let drip = tokio::spawn(async move {
            while write.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        assert_eq!(rest(&mut read).await, "", "{requests_before} requests before");
        let took = began.elapsed();
        assert!(took >= short && took < Duration::from_secs(5), "{took:?}");
        drip.await.unwrap();
    }
    // And one that says nothing at all.
    let mut silent = gate.connect().await;
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(gate.paths.served.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_timeout_and_ends_at_the_idle_timeout() {
    let (head, idle) = (Duration::from_millis(200), Duration::from_millis(1500));
    let gate = gate(Limits { header_timeout: head, idle_timeout: idle, ..limits() });
    let mut client = gate.connect().await;
    client.write_all(GET).await.unwrap();
    response(&mut client).await;
    // Idle for longer than a head may take: still there.
    assert!(timeout(head * 3, client.read_u8()).await.is_err(), "closed while idle");
    client.write_all(GET).await.unwrap();
    assert!(response(&mut client).await.starts_with("HTTP/1.1 200"));
    let began = Instant::now();
    assert_eq!(rest(&mut client).await, "");
    assert!(began.elapsed() >= idle - Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_request_in_flight_has_no_idle_timeout() {
    let brief = Duration::from_millis(100);
    let gate = gate(Limits { header_timeout: brief, idle_timeout: brief, ..limits() });
    let mut client = gate.connect().await;
    client.write_all(b"GET /wait HTTP/1.1\r\nHost: gate\r\n\r\n").await.unwrap();
    assert!(timeout(brief * 6, client.read_u8()).await.is_err(), "cut while the answer was being made");
    gate.paths.go.notify_one();
    assert!(response(&mut client).await.ends_with("waited"));
}

#[tokio::test]
async fn an_idle_http2_connection_ends_in_its_own_way() {
    let brief = Duration::from_millis(300);
    let gate = gate(Limits { header_timeout: brief, idle_timeout: brief, ..limits() });
    let io = TokioIo::new(gate.connect().await);
    let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let ended = tokio::spawn(connection);
    let request = Request::get("http://gate/").body(Full::<Bytes>::default()).unwrap();
    let reply = send.send_request(request).await.unwrap();
    assert_eq!(reply.collect().await.unwrap().to_bytes(), "0 bytes");
    // GOAWAY, not an error.
    timeout(SOON, ended).await.expect("the gate closes").unwrap().unwrap();
    until("the connection is still counted", || gate.open() == 0).await;
}

#[tokio::test]
async fn the_beginning_of_an_http2_preface_buys_no_time() {
    let gate = gate(Limits { header_timeout: Duration::from_millis(300), ..limits() });
    for beginning in ["PRI ", "PRI / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let mut client = gate.connect().await;
        client.write_all(beginning.as_bytes()).await.unwrap();
        rest(&mut client).await;
    }
    until("one is still counted", || gate.open() == 0).await;
}

/// A client that speaks HTTP/2, up to a point: what it stops in the middle of has an end all the same.
#[tokio::test]
async fn http2_that_stops_halfway_is_cut_off() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    // SETTINGS_INITIAL_WINDOW_SIZE 0: no room for a byte of any response's body.
    const NO_ROOM: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    const ACKNOWLEDGED: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
    // HEADERS of stream 1 without END_HEADERS.
    const HALF_A_HEAD: &[u8] = &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
    // GET http://gate/, END_STREAM and END_HEADERS.
    const REQUEST: &[u8] = &[0, 0, 9, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 4, b'g', b'a', b't', b'e'];
    let brief = Duration::from_millis(300);
    let gate = gate(Limits { header_timeout: brief, idle_timeout: brief, ..limits() });
    for (what, frames) in [
        ("nothing", &[][..]),
        ("settings alone", &[SETTINGS][..]),
        ("half a head", &[SETTINGS, ACKNOWLEDGED, HALF_A_HEAD]),
        ("a response that it has no room for", &[NO_ROOM, ACKNOWLEDGED, REQUEST]),
    ] {
        let mut client = gate.connect().await;
        client.write_all(&[PREFACE, &frames.concat()].concat()).await.unwrap();
        let mut bytes = Vec::new();
        let closed = timeout(SOON, client.read_to_end(&mut bytes)).await;
        assert!(closed.is_ok(), "{what}");
    }
    until("one is still counted", || gate.open() == 0).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431_and_one_that_fits_is_served() {
    let gate = gate(limits());
    for (size, status) in [(7000, "HTTP/1.1 200"), (9000, "HTTP/1.1 431")] {
        let mut client = gate.connect().await;
        let head = format!("GET / HTTP/1.1\r\nHost: gate\r\nX: {}\r\n\r\n", "a".repeat(size));
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = response(&mut client).await;
        assert!(answer.starts_with(status), "{size}: {answer}");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_is_free() {
    let gate = gate(Limits { connections: 2, ..limits() });
    let mut first = gate.connect().await;
    let mut second = gate.connect().await;
    for client in [&mut first, &mut second] {
        client.write_all(GET).await.unwrap();
        response(client).await;
    }
    assert_eq!(gate.open(), 2);
    let mut third = gate.connect().await;
    third.write_all(GET).await.unwrap();
    assert!(timeout(Duration::from_millis(200), third.read_u8()).await.is_err(), "served beyond the limit");
    assert_eq!(gate.paths.served.load(Ordering::SeqCst), 2);
    drop(first);
    assert!(response(&mut third).await.starts_with("HTTP/1.1 200"));
    assert_eq!(gate.open(), 2);

    gate.bounds.reconfigure(Limits { connections: 3, ..limits() });
    let mut fourth = gate.connect().await;
    fourth.write_all(GET).await.unwrap();
    response(&mut fourth).await;
    gate.bounds.reconfigure(Limits { connections: 1, ..limits() });
    drop((second, third));
    let mut fifth = gate.connect().await;
    fifth.write_all(GET).await.unwrap();
    assert!(timeout(Duration::from_millis(200), fifth.read_u8()).await.is_err(), "served beyond the lowered limit");
    drop(fourth);
    response(&mut fifth).await;
}

#[tokio::test]
async fn one_idle_listener_does_not_hold_the_only_permit() {
    let gate = gate(Limits { connections: 1, ..limits() });
    let socket = Socket::bind(&ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), Sharing::Alone).unwrap();
    let ListenAddress::Tcp(address) = *socket.address() else { panic!() };
    let service = Service { handler: Arc::clone(&gate.paths), tls: None };
    let _other = Listener::start(socket, service, Arc::clone(&gate.bounds));
    for address in [gate.address, address, gate.address] {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(GET).await.unwrap();
        response(&mut client).await;
    }
}

#[tokio::test]
async fn a_drain_lets_requests_in_flight_end_and_closes_the_idle() {
    let gate = gate(limits());
    let mut idle = gate.connect().await;
    idle.write_all(GET).await.unwrap();
    response(&mut idle).await;
    let mut busy = gate.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: gate\r\n\r\n").await.unwrap();
    gate.paths.arrived.notified().await;

    let drained = tokio::spawn(gate.listener.drain(limits().drain_timeout));
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(gate.address).await.is_err(), "still listening");
    assert!(!drained.is_finished());
    gate.paths.go.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.contains("connection: close") && answer.ends_with("waited"), "{answer}");
    timeout(SOON, drained).await.unwrap().unwrap();
    assert_eq!(gate.bounds.open.as_ref().unwrap().get(), 0);
}

#[tokio::test]
async fn a_drain_ends_at_its_timeout() {
    let gate = gate(limits());
    let mut busy = gate.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: gate\r\n\r\n").await.unwrap();
    gate.paths.arrived.notified().await;
    timeout(SOON, gate.listener.drain(Duration::from_millis(100))).await.unwrap();
    assert_eq!(rest(&mut busy).await, "");
    assert_eq!(gate.bounds.open.as_ref().unwrap().get(), 0);
}

#[tokio::test]
async fn a_replaced_service_answers_new_connections_on_the_same_socket() {
    let gate = gate(limits());
    let mut old = gate.connect().await;
    old.write_all(GET).await.unwrap();
    response(&mut old).await;
    let paths = Arc::new(Paths::default());
    gate.listener.replace(Service { handler: Arc::clone(&paths), tls: None }, limits().drain_timeout);
    assert_eq!(rest(&mut old).await, "", "the idle connection of before is closed");
    let mut new = gate.connect().await;
    new.write_all(GET).await.unwrap();
    response(&mut new).await;
    assert_eq!((gate.paths.served.load(Ordering::SeqCst), paths.served.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_panicking_handler_costs_its_own_connection_only() {
    let gate = gate(limits());
    let mut client = gate.connect().await;
    client.write_all(b"GET /panic HTTP/1.1\r\nHost: gate\r\n\r\n").await.unwrap();
    assert_eq!(rest(&mut client).await, "");
    let mut client = gate.connect().await;
    client.write_all(GET).await.unwrap();
    assert!(response(&mut client).await.starts_with("HTTP/1.1 200"));
    assert_eq!(gate.open(), 1);
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_an_upload_reaches_a_client_that_goes_on_sending() {
    let gate = gate(limits());
    let mut client = gate.connect().await;
    client.write_all(b"POST /refuse HTTP/1.1\r\nHost: gate\r\nContent-Length: 8000000\r\n\r\n").await.unwrap();
    let block = vec![b'a'; 64 * 1024];
    for _ in 0..100 {
        // The gate may have stopped listening to it, but must not reset.
        client.write_all(&block).await.expect("the gate takes what is sent");
    }
    let answer = response(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.ends_with("refused"), "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    struct Large;
    impl Handler for Large {
        type Body = Full<Bytes>;
        async fn handle(&self, _: Request<Incoming>, _: &Peer) -> Response<Full<Bytes>> {
            Response::new(Full::from(vec![0; 64 * 1024 * 1024]))
        }
    }
    let brief = Duration::from_millis(300);
    let bounds = Bounds::new(Limits { header_timeout: brief, idle_timeout: brief, ..limits() }, gauge(), Loops::here());
    let socket = Socket::bind(&ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), Sharing::Alone).unwrap();
    let ListenAddress::Tcp(address) = *socket.address() else { panic!() };
    let service = Service { handler: Arc::new(Large), tls: None };
    let _listener = Listener::start(socket, service, Arc::clone(&bounds));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(GET).await.unwrap();
    client.readable().await.unwrap();
    until("it is kept", || bounds.open.as_ref().unwrap().get() == 0).await;
}

#[tokio::test]
async fn a_unix_socket_replaces_a_stale_file_and_never_a_living_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let address = ListenAddress::Unix(path.clone());
    // A dead process' file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let socket = Socket::bind(&address, Sharing::Alone).unwrap();
    assert_eq!(Socket::bind(&address, Sharing::Alone).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);

    let paths = Arc::new(Paths::default());
    let service = Service { handler: Arc::clone(&paths), tls: None };
    let listener = Listener::start(socket, service, Bounds::new(limits(), gauge(), Loops::here()));
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(GET).await.unwrap();
    response(&mut client).await;
    let peer = paths.peers.lock().unwrap()[0].clone();
    assert!(peer.ip.is_loopback() && peer.scheme == Scheme::Http, "{peer:?}");
    timeout(SOON, listener.drain(limits().drain_timeout)).await.unwrap();
    assert!(!path.exists());

    std::fs::write(&path, "somebody's file").unwrap();
    assert_eq!(Socket::bind(&address, Sharing::Alone).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(std::fs::read(&path).unwrap(), b"somebody's file");
}

/// A TLS connection that offers `alpn`, and the protocol that was agreed on.
async fn tls(
    gate: &Gate,
    client: Arc<rustls::ClientConfig>,
    alpn: &str,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut client = Arc::unwrap_or_clone(client);
    client.alpn_protocols = vec![alpn.into()];
    let name = "gate.test".try_into().unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, gate.connect().await).await
}

#[tokio::test]
async fn tls_speaks_what_alpn_agreed_on() {
    let pki = Pki::new();
    let gate = gate_with(limits(), Some(Rotating::new(server_tls(&pki)).unwrap()));
    let mut one = tls(&gate, pki.client(), "http/1.1").await.unwrap();
    one.write_all(GET).await.unwrap();
    assert!(response(&mut one).await.starts_with("HTTP/1.1 200"));

    let two = tls(&gate, pki.client(), "h2").await.unwrap();
    assert_eq!(two.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(two)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://gate.test/").body(Full::<Bytes>::from("12345")).unwrap();
    let reply = send.send_request(request).await.unwrap();
    assert_eq!(reply.collect().await.unwrap().to_bytes(), "5 bytes");
    let peers = gate.paths.peers.lock().unwrap();
    assert!(peers.iter().all(|peer| peer.scheme == Scheme::Https && peer.client_certificate.is_none()));
}

#[tokio::test]
async fn a_slow_handshake_is_cut_off() {
    let pki = Pki::new();
    let brief = Limits { header_timeout: Duration::from_millis(200), ..limits() };
    let gate = gate_with(brief, Some(Rotating::new(server_tls(&pki)).unwrap()));
    let mut client = gate.connect().await;
    client.write_all(&[22, 3, 1]).await.unwrap();
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn mutual_tls_tells_the_certificate_and_turns_strangers_away() {
    let pki = Pki::new();
    for required in [false, true] {
        let client = Some(ClientAuth { ca: pki.ca_file(), required });
        let options = ServerTls { client, ..server_tls(&pki) };
        let gate = gate_with(limits(), Some(Rotating::new(options).unwrap()));
        let (config, fingerprint) = pki.client_with_certificate();
        let mut known = tls(&gate, config, "http/1.1").await.unwrap();
        known.write_all(GET).await.unwrap();
        response(&mut known).await;
        assert_eq!(gate.paths.peers.lock().unwrap()[0].client_certificate, Some(fingerprint));

        let (stranger, _) = Pki::new().client_with_certificate_trusting(&pki);
        let bare = pki.client();
        for (config, expected) in [(stranger, false), (bare, !required)] {
            let served = match tls(&gate, config, "http/1.1").await {
                Err(_) => false,
                Ok(mut io) => {
                    let _ = io.write_all(GET).await;
                    // In TLS 1.3 a client learns of its refusal only when it reads.
                    rest_or_response(&mut io).await.starts_with("HTTP/1.1 200")
                }
            };
            assert_eq!(served, expected, "required: {required}");
        }
    }
}

async fn rest_or_response(io: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = [0; 12];
    match timeout(SOON, io.read_exact(&mut text)).await.expect("an answer or an end") {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_by_new_handshakes_and_drops_nothing() {
    let pki = Pki::new();
    let rotating = Rotating::new(server_tls(&pki)).unwrap();
    let gate = gate_with(limits(), Some(Arc::clone(&rotating)));
    let watch = tokio::spawn(Arc::clone(&rotating).watch());
    let shown = async || {
        let io = tls(&gate, pki.client(), "http/1.1").await.unwrap();
        io.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let mut old = tls(&gate, pki.client(), "http/1.1").await.unwrap();
    let before = shown().await;

    // Half of it, or none of it, changes nothing.
    std::fs::write(pki.certificate_file(), "not a certificate").unwrap();
    rotating.refresh();
    assert_eq!(shown().await, before);
    pki.renew();
    let end = std::time::Instant::now() + SOON;
    while shown().await == before {
        assert!(std::time::Instant::now() < end, "the new certificate is not taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    old.write_all(GET).await.unwrap();
    assert!(response(&mut old).await.starts_with("HTTP/1.1 200"));
    watch.abort();
}
