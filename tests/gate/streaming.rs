//! Bodies are never held whole, and whatever HTTP can carry passes: trailers, events, upgrades, HTTP/2.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use http::{HeaderMap, Response, Version};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::harness::{
    Authority, Call, Channel, Client, DOWNLOAD_BYTES, Raw, World, exchange_on, http1, http2, soon, until,
};

async fn connect(client: &Client) -> TcpStream {
    soon("a connection", TcpStream::connect(client.address())).await.unwrap()
}

/// Sends the head of a call, and waits with its body for `100 Continue`.
async fn asks(client: &Client, call: Call<'_>) -> Raw {
    let mut raw = Raw::connect(client.address()).await;
    raw.write(call.header("expect", "100-continue").prepare().head() + "\r\n").await;
    raw
}

/// Waits until the gate has so many connections of clients.
async fn connected(world: &World, number: f64) {
    until("the connections", || async {
        ((world.gate.metric("dpop_gate_connections", &[]).await - number).abs() < 0.5).then_some(())
    })
    .await;
}

/// The next piece of a body.
async fn next(response: &mut Response<Incoming>) -> Option<Bytes> {
    loop {
        let frame = soon("a frame", response.frame()).await?.unwrap();
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Some(data);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_byte_is_out_before_the_last_is_in() {
    let world = World::start().await;
    let client = world.client().await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let prepared = client.post("/orders/echo", "").prepare();
        let (sender, body) = Channel::new();
        sender.send(Frame::data("first".into())).await.unwrap();
        let mut response = if version == Version::HTTP_2 {
            let request = prepared.over_http2("http").body(body).unwrap();
            soon("a response head", http2(connect(&client).await).await.send_request(request)).await.unwrap()
        } else {
            let request = prepared.builder().body(body).unwrap();
            soon("a response head", http1(connect(&client).await).await.send_request(request)).await.unwrap()
        };
        assert_eq!((response.status().as_u16(), response.version()), (200, version));
        assert_eq!(next(&mut response).await.unwrap(), "first", "{version:?}: before the body has ended");
        sender.send(Frame::data("last".into())).await.unwrap();
        assert_eq!(next(&mut response).await.unwrap(), "last", "{version:?}");
        drop(sender);
        assert_eq!(next(&mut response).await, None, "{version:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_both_ways_in_little_memory() {
    let world = World::start().await;
    let client = world.client().await;
    // A download that nobody reads stands by: it has to wait at its source.
    let idle = client.get("/orders/download").prepare().builder().body(Channel::empty()).unwrap();
    let idle = soon("a response head", http1(connect(&client).await).await.send_request(idle)).await.unwrap();

    let (sender, body) = Channel::new();
    let upload = tokio::spawn(async move {
        let chunk = Bytes::from(vec![b'u'; 64 * 1024]);
        for _ in 0..DOWNLOAD_BYTES / 65_536 {
            sender.send(Frame::data(chunk.clone())).await.unwrap();
        }
    });
    let request = client.post("/orders/echo", "").prepare().builder().body(body).unwrap();
    let mut sender = http1(connect(&client).await).await;
    let mut response = soon("a response head", sender.send_request(request)).await.unwrap();
    let mut length = 0;
    while let Some(data) = next(&mut response).await {
        length += data.len() as u64;
    }
    upload.await.unwrap();
    assert_eq!(length, DOWNLOAD_BYTES);
    let peak = world.gate.peak_memory() / 1024 / 1024;
    assert!(peak < 40, "the gate took {peak} MiB");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pass_both_ways() {
    let world = World::start().await;
    let client = world.client().await;
    let call = client.post("/orders/swallow", "").header("trailer", "x-checksum").header("te", "trailers");
    let head = call.prepare().head();
    let mut raw = Raw::connect(client.address()).await;
    raw.write(format!("{head}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-checksum: 42\r\n\r\n")).await;
    assert!(raw.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    let seen = world.upstream.last();
    assert_eq!(seen.body_bytes, 5);
    assert_eq!(seen.trailers.get("x-checksum").map(http::HeaderValue::as_bytes), Some(&b"42"[..]), "{seen:?}");
}

/// An identity header that arrives as a trailer is as false as one that arrives as a header.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_bring_no_identity() {
    let world = World::start().await;
    let client = world.client().await;
    let head = client.post("/orders/swallow", "").header("trailer", "x-auth-subject, x-fine").prepare().head();
    let mut raw = Raw::connect(client.address()).await;
    let trailers = "x-auth-subject: mallory\r\nx_auth_subject: mallory\r\nx-fine: 1\r\n";
    raw.write(format!("{head}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n")).await;
    raw.read_until("\r\n\r\n").await;
    let seen = world.upstream.last();
    assert!(seen.trailers.keys().all(|name| !name.as_str().contains("auth")), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_before_sending_is_told_to_go_on_or_why_not() {
    let world = World::start().await;
    let client = world.client().await;
    let mut raw = asks(&client, client.post("/orders/swallow", "").header("content-length", "5")).await;
    let go_on = raw.read_until("\r\n\r\n").await;
    assert!(go_on.starts_with("HTTP/1.1 100"), "{go_on}");
    raw.write("hello").await;
    let answer = raw.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!((world.upstream.last().body_bytes, world.upstream.last().header("expect")), (5, Some("100-continue")));

    let unproved = client.post("/orders/swallow", "").proofs(&[]).header("content-length", "5");
    let mut raw = asks(&client, unproved).await;
    let answer = raw.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

/// RFC 9110 section 10.1.1: whether the body is wanted is for the upstream to say. `teapot` answers without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_wants_no_body_gets_none() {
    let world = World::start().await;
    let client = world.client().await;
    for framing in [("content-length", "1000000"), ("transfer-encoding", "chunked")] {
        let mut raw = asks(&client, client.post("/orders/teapot", "").header(framing.0, framing.1)).await;
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 418") && answer.contains("connection: close"), "{answer}");
        assert!(answer.ends_with("\r\nshort and stout\r\n0\r\n\r\n"), "{answer}");
        assert_eq!(
            (world.upstream.last().body_bytes, world.upstream.last().header("expect")),
            (0, Some("100-continue"))
        );
        // Nothing of the gate's was spoilt.
        assert_eq!(client.post("/orders/swallow", "hello").send().await.status, 200);
    }
}

/// An upstream that begins its answer before it reads has said nothing against the body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_without_having_been_asked_is_heard() {
    let world = World::start().await;
    let client = world.client().await;
    let mut raw = asks(&client, client.post("/orders/echo", "").header("content-length", "5")).await;
    let answer = raw.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    raw.write("hello").await;
    let echo = raw.read_to_end().await;
    assert!(echo.contains("hello") && echo.ends_with("0\r\n\r\n"), "{echo}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_it_waits_is_not_kept() {
    let world = World::start().await;
    let client = world.client().await;
    connected(&world, 0.0).await;
    let mut raw = asks(&client, client.post("/orders/events", "").header("content-length", "5")).await;
    raw.read_until("data: first").await;
    connected(&world, 1.0).await;
    drop(raw);
    connected(&world, 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_sent_events_arrive_as_they_are_sent() {
    let world = World::start().await;
    let client = world.client().await;
    let request = client.get("/orders/events").prepare().builder().body(Channel::empty()).unwrap();
    let mut sender = http1(connect(&client).await).await;
    let mut response = soon("a response head", sender.send_request(request)).await.unwrap();
    assert_eq!(next(&mut response).await.unwrap(), "data: first\n\n");
    world.upstream.release();
    assert_eq!(next(&mut response).await.unwrap(), "data: last\n\n");
    assert_eq!(next(&mut response).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_passes() {
    let world = World::start().await;
    let client = world.client().await;
    let upgrade = |call: Call<'_>| {
        let call = call.header("connection", "keep-alive, Upgrade").header("upgrade", "websocket");
        let call = call.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        call.prepare().head() + "\r\n"
    };
    let mut raw = Raw::connect(client.address()).await;
    raw.write(upgrade(client.get("/orders/chat"))).await;
    let answer = raw.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    for word in ["\u{81}\u{5}hello", "and bytes of any kind: \0\r\n\r\n"] {
        raw.write(word).await;
        assert_eq!(raw.read_exact(word.len()).await, word.as_bytes());
    }
    let seen = world.upstream.last();
    assert_eq!((seen.header("upgrade"), seen.header("x-auth-subject")), (Some("websocket"), Some("alice")));
    assert_eq!(seen.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));

    let contacted = world.upstream.count();
    let mut raw = Raw::connect(client.address()).await;
    raw.write(upgrade(client.get("/orders/chat").proofs(&[]))).await;
    let answer = raw.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(world.upstream.count(), contacted);
}

/// RFC 8441: the method is CONNECT on the wire; a browser's proof may say GET.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_over_http2_passes() {
    let world = World::start().await;
    let client = world.client().await;
    for htm in ["CONNECT", "GET"] {
        let call = client.call("CONNECT", "/orders/chat").proof(move |proof| proof.claim("htm", htm));
        let call = call.header("sec-websocket-version", "13");
        let mut request = call.prepare().over_http2("http").body(Channel::empty()).unwrap();
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        let mut sender = http2(connect(&client).await).await;
        // The server's settings allow it, and they come with its first frames.
        soon("the connection", sender.ready()).await.unwrap();
        let greeting = client.get("/orders/1").prepare().over_http2("http").body(Channel::empty()).unwrap();
        assert_eq!(soon("a response", sender.send_request(greeting)).await.unwrap().status(), 200);
        let response = soon("a response head", sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 200, "{htm}: {response:?}");
        let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        stream.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        soon("an echo", stream.read_exact(&mut bytes)).await.unwrap();
        assert_eq!(&bytes, b"hello");
        let seen = world.upstream.last();
        assert_eq!((seen.method.as_str(), seen.header("upgrade")), ("GET", Some("websocket")), "{htm}");
    }
}

/// A client that writes all before it reads must not lose the answer to a reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_during_an_upload_reaches_the_client() {
    let world = World::start().await;
    let client = world.client().await;
    let body = vec![b'u'; 4 * 1024 * 1024];
    let call = client.post("/orders/swallow", "").proofs(&[]).header("content-length", &body.len().to_string());
    let mut raw = Raw::connect(client.address()).await;
    raw.write(call.prepare().head() + "\r\n").await;
    assert!(raw.try_write(&body).await, "the gate closed before everything was written");
    let answer = raw.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(!world.upstream.seen().iter().any(|seen| seen.uri == "/orders/swallow"));
}

/// The rest of an upload is no request head, and need not come as fast as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_upload_into_a_refusal_is_read_to_its_end() {
    let world = World::with(|settings| settings["limits"]["header_timeout"] = json!("200ms")).await;
    let client = world.client().await;
    let call = client.post("/orders/swallow", "").proofs(&[]).header("content-length", "20");
    let mut raw = Raw::connect(client.address()).await;
    raw.write(call.prepare().head() + "\r\n").await;
    assert!(raw.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 401"));
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(raw.try_write("u").await, "the gate closed before everything was written");
    }
    // The connection is still good.
    raw.write(client.get("/orders/1").prepare().head() + "\r\n").await;
    assert!(raw.read_until("HTTP/1.1 200").await.contains("invalid_dpop_proof"), "the first answer's body");
}

/// A client that stops in the middle of its upload keeps neither a connection nor the upstream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_stalls_is_given_up() {
    let world = World::with(|settings| settings["limits"]["idle_timeout"] = json!("300ms")).await;
    let client = world.client().await;
    let call = client.post("/orders/swallow", "").header("content-length", "1000000");
    let mut raw = Raw::connect(client.address()).await;
    raw.write(call.prepare().head() + "\r\nand no more").await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("\"invalid_request\"") && answer.contains("connection: close"), "{answer}");
    assert!(!world.upstream.last().complete);
}

/// Nor may an upload into a refusal hold a connection for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_into_a_refusal_that_stalls_is_ended() {
    let world = World::start().await;
    let client = world.client().await;
    let call = client.post("/orders/swallow", "").proofs(&[]).header("content-length", "1000000");
    let mut raw = Raw::connect(client.address()).await;
    raw.write(call.prepare().head() + "\r\nand no more").await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_offers_http2_and_http1_and_htu_is_https() {
    let authority = Authority::new();
    let world = World::over_tls(&authority).await;
    let port = world.gate.address().port();
    let client = world.stranger().naming(&format!("https://localhost:{port}"));
    let address = client.address();

    let stream = authority.connect(address, "http/1.1", None).await;
    let challenge = exchange_on(stream, client.get("/orders/1").prepare().request()).await;
    assert_eq!(challenge.error(), "use_dpop_nonce", "{challenge:?}");
    client.remember(challenge.header("dpop-nonce").unwrap());
    let stream = authority.connect(address, "http/1.1", None).await;
    let answer = exchange_on(stream, client.get("/orders/1").prepare().request()).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let mut sender = http2(authority.connect(address, "h2", None).await).await;
    for _ in 0..3 {
        let request = client.get("/orders/1").prepare().over_http2("https").body(Channel::empty()).unwrap();
        let response = soon("a response", sender.send_request(request)).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    }
    assert_eq!(world.upstream.last().header("x-forwarded-proto"), Some("https"));
}

/// RFC 8705 beside RFC 9449: a token that is bound to a certificate as well needs that certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_bound_to_a_certificate_too_needs_it() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    let world = World::prepared(
        |settings| {
            settings["listen"][0]["tls"] = json!({"certificate": "tls.crt", "key": "tls.key", "client_ca": "ca.crt",
                                                  "client_auth": "optional"});
            settings["dpop"]["nonce"]["mode"] = json!("off");
        },
        |gates| {
            gates.write("tls.crt", &certificate);
            gates.write("tls.key", &key);
            gates.write("ca.crt", &authority.certificate());
            gates
        },
    )
    .await;
    let port = world.gate.address().port();
    let client = world.stranger().naming(&format!("https://localhost:{port}"));
    let (mine, other) = (authority.client(), authority.client());
    let digest = BASE64URL.encode(Sha256::digest(&mine.0));
    let cnf = json!({"jkt": client.key.thumbprint(), "x5t#S256": digest});
    let token = world.issuer.token(&client.key).claim("cnf", cnf).compact();
    for (certificate, status) in [(Some(mine), 200), (Some(other), 401), (None, 401)] {
        let stream = authority.connect(client.address(), "http/1.1", certificate).await;
        let answer = exchange_on(stream, client.get("/orders/1").token(token.clone()).prepare().request()).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

/// What gRPC needs: HTTP/2 on both sides, a stream in each direction, trailers at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_passes() {
    let world = World::with(|settings| settings["upstreams"]["orders"]["protocol"] = json!("http2")).await;
    let client = world.client().await;
    let call = client.post("/orders/grpc", "").header("te", "trailers").header("content-type", "application/grpc");
    let (sender, body) = Channel::new();
    let request = call.prepare().over_http2("http").body(body).unwrap();
    sender.send(Frame::data("question".into())).await.unwrap();
    let mut connection = http2(connect(&client).await).await;
    let mut response = soon("a response head", connection.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(next(&mut response).await.unwrap(), "an ");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-count", "1".parse().unwrap());
    sender.send(Frame::trailers(trailers)).await.unwrap();
    drop(sender);
    let rest = soon("the end", response.into_body().collect()).await.unwrap();
    let trailers = rest.trailers().expect("trailers");
    assert_eq!(trailers.get("grpc-status").unwrap(), "0", "{trailers:?}");
    let seen = world.upstream.last();
    assert_eq!((seen.version, seen.header("te")), (Version::HTTP_2, Some("trailers")));
    assert_eq!(seen.trailers.get("x-count").unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_share_an_http2_connection() {
    let world = World::start().await;
    let client = world.client().await;
    let sender = http2(connect(&client).await).await;
    let tasks = (0..50).map(|_| {
        let mut sender = sender.clone();
        let request = client.get("/orders/1").prepare().over_http2("http").body(Channel::empty()).unwrap();
        tokio::spawn(async move { soon("a response", sender.send_request(request)).await.unwrap().status() })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap(), 200);
    }
}

/// A client that goes away takes its upstream request with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_ends_with_its_client() {
    let world = World::start().await;
    let client = world.client().await;
    connected(&world, 0.0).await;
    let mut raw = Raw::connect(client.address()).await;
    raw.write(client.get("/orders/download").prepare().head() + "\r\n").await;
    raw.read_until("\r\n\r\n").await;
    connected(&world, 1.0).await;
    drop(raw);
    connected(&world, 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let world = World::with(|settings| {
        settings["public_url"] = json!("http://api.test");
        let unix = json!({"address": format!("unix:{}", path.display())});
        settings["listen"].as_array_mut().unwrap().push(unix);
    })
    .await;
    let client = world.stranger().naming("http://api.test").greeted().await;
    let stream = soon("a connection", UnixStream::connect(&path)).await.unwrap();
    let answer = exchange_on(stream, client.get("/orders/1").prepare().request()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
