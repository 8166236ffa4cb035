//! Bytes that two parsers could read differently end at the gate.

use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::{Raw, World};

/// Everything below is sent behind good credentials, so that only the framing can be at fault.
struct Row {
    what: &'static str,
    /// Behind the last header line of a request to `/orders/swallow`, its body included.
    rest: &'static [u8],
}

const ROWS: &[Row] = &[
    Row {
        what: "both lengths",
        rest:
            b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /orders/x HTTP/1.1\r\nhost: x\r\n\r\n",
    },
    Row {
        what: "both lengths, the other way round",
        rest:
            b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\nGET /orders/x HTTP/1.1\r\nhost: x\r\n\r\n",
    },
    Row { what: "two lengths that differ", rest: b"content-length: 4\r\ncontent-length: 5\r\n\r\nabcde" },
    Row { what: "a list of lengths that differ", rest: b"content-length: 4, 5\r\n\r\nabcde" },
    Row { what: "a length with a sign", rest: b"content-length: +4\r\n\r\nabcd" },
    Row { what: "a negative length", rest: b"content-length: -1\r\n\r\n" },
    Row { what: "a hexadecimal length", rest: b"content-length: 0x4\r\n\r\nabcd" },
    Row { what: "a length beyond counting", rest: b"content-length: 99999999999999999999999\r\n\r\n" },
    Row { what: "a folded header", rest: b"x-folded: one\r\n two\r\n\r\n" },
    Row { what: "a folded transfer-encoding", rest: b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n" },
    Row { what: "a space before the colon", rest: b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n" },
    Row { what: "a NUL in a header", rest: b"x-nul: a\0b\r\n\r\n" },
    Row { what: "a CR in a header", rest: b"x-cr: a\rb\r\n\r\n" },
    Row {
        what: "an encoding that does not end in chunked",
        rest: b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    },
    Row { what: "an encoding that is none", rest: b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" },
    Row { what: "a header without a name", rest: b": value\r\n\r\n" },
    Row { what: "a header with a space in its name", rest: b"x y: value\r\n\r\n" },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_framing_ends_at_the_gate() {
    let world = World::with(|settings| settings["limits"]["header_timeout"] = json!("5m")).await;
    let client = world.client().await;
    for row in ROWS {
        let contacted = world.upstream.count();
        let head = client.post("/orders/swallow", "").prepare().head();
        let mut raw = Raw::connect(client.address()).await;
        raw.write(&[head.as_bytes(), row.rest].concat()).await;
        // Not by the limit for slow heads, which is long here.
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{}: {answer}", row.what);
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{}: {answer}", row.what);
        assert_eq!(world.upstream.count(), contacted, "{}: the upstream was contacted", row.what);
    }
    assert_eq!(client.get("/orders/1").send().await.status, 200, "and the gate goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_framing_ends_at_the_doors_for_other_proxies_too() {
    let world = World::with(|settings| {
        settings["limits"]["header_timeout"] = json!("5m");
        settings["listen"] = json!([{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "mode": "forward_auth"},
                                    {"address": "127.0.0.1:0", "mode": "ext_authz"}]);
    })
    .await;
    let client = world.client().await;
    for address in [world.gate.forward_auth(), world.gate.ext_authz()] {
        for row in ROWS {
            let head = client.post("/orders/swallow", "").prepare().head();
            let mut raw = Raw::connect(address).await;
            raw.write(&[head.as_bytes(), row.rest].concat()).await;
            let answer = raw.read_to_end().await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{}: {answer}", row.what);
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{}: {answer}", row.what);
        }
    }
    assert_eq!(world.gate.metric("dpop_gate_requests_total", &[("outcome", "allowed")]).await, 0.0, "none was decided");
}

/// The framing is good until the body proves otherwise: then the upstream's request is cut off, never completed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_chunk_never_becomes_a_complete_request() {
    let world = World::with(|settings| {
        // What is refused is refused at once, not when a limit for slow clients is over.
        settings["limits"]["header_timeout"] = json!("5m");
        settings["limits"]["idle_timeout"] = json!("5m");
    })
    .await;
    let client = world.client().await;
    for (what, body) in [
        ("a size that is no number", &b"5\r\nhello\r\nZZ\r\nx\r\n0\r\n\r\n"[..]),
        ("a size beyond counting", b"5\r\nhello\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n"),
        ("no CRLF after the data", b"5\r\nhelloGET /orders/x HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("a negative size", b"5\r\nhello\r\n-1\r\nx\r\n0\r\n\r\n"),
        ("a bare LF behind a trailer", b"5\r\nhello\r\n0\r\nx: a\n\r\n"),
        ("a folded trailer", b"5\r\nhello\r\n0\r\nx: a\r\n b\r\n\r\n"),
        ("a bare LF for the end of the trailers", b"5\r\nhello\r\n0\r\n\n"),
        ("a bare LF behind a chunk's extension", b"5;a\nhello\r\n0\r\n\r\n"),
    ] {
        for at_once in [true, false] {
            // Its own path: what an earlier one made the gate send may still be on its way.
            let path = format!("/orders/{}/swallow?{at_once}", what.replace(' ', "-"));
            let head = client.post(&path, "").prepare().head();
            let mut raw = Raw::connect(client.address()).await;
            raw.write(&[head.as_bytes(), b"transfer-encoding: chunked\r\n\r\n"].concat()).await;
            for piece in body.chunks(if at_once { body.len() } else { 1 }) {
                // The gate may have closed before the last of it.
                raw.try_write(piece).await;
            }
            let answer = raw.read_to_end().await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{what}: {answer}");
            let seen: Vec<_> =
                world.upstream.seen().into_iter().filter(|seen| seen.uri != "/orders/greeting").collect();
            assert!(seen.iter().all(|seen| seen.uri.contains("/swallow")), "{what}: another was smuggled: {seen:?}");
            let own: Vec<_> = seen.iter().filter(|seen| seen.uri == path).collect();
            assert!(own.len() <= 1 && own.iter().all(|seen| !seen.complete), "{what}: {own:?}");
        }
    }
    let mut raw = Raw::connect(client.address()).await;
    let head = client.post("/orders/swallow", "").prepare().head();
    raw.write(&[head.as_bytes(), b"transfer-encoding: chunked\r\n\r\n5\r\nhel"].concat()).await;
    raw.end().await;
    let answer = raw.read_to_end().await;
    assert!(!answer.contains("HTTP/1.1 200"), "an end in the middle: {answer}");
    assert_eq!(client.get("/orders/1").send().await.status, 200, "and the gate goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_are_no_http_end_at_the_gate() {
    let world = World::start().await;
    let client = world.client().await;
    let contacted = world.upstream.count();
    let good = client.get("/orders/1").prepare().head();
    let headers = good.split_once("\r\n").unwrap().1;
    for (what, bytes) in [
        ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no plain text\r\n\r\n".to_vec()),
        ("a bare CR for a line end", good.replace("\r\n", "\r").into_bytes()),
        ("no version", format!("GET /orders/1\r\n{headers}\r\n").into_bytes()),
        ("a version that is none", format!("GET /orders/1 HTTP/9.9\r\n{headers}\r\n").into_bytes()),
        ("a space in the target", format!("GET /orders/1 2 HTTP/1.1\r\n{headers}\r\n").into_bytes()),
        ("a NUL in the target", format!("GET /orders/\0 HTTP/1.1\r\n{headers}\r\n").into_bytes()),
        ("a backslash in the target", format!("GET /orders/..\\x HTTP/1.1\r\n{headers}\r\n").into_bytes()),
        ("a target without its slash", format!("GET orders/1 HTTP/1.1\r\n{headers}\r\n").into_bytes()),
        ("two hosts", format!("GET /orders/1 HTTP/1.1\r\nhost: other.example\r\n{headers}\r\n").into_bytes()),
        ("no host", b"GET /orders/1 HTTP/1.1\r\n\r\n".to_vec()),
        (
            "an HTTP/2 preface that goes on as HTTP/1.1",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
        ),
    ] {
        let mut raw = Raw::connect(client.address()).await;
        raw.write(&bytes).await;
        raw.end().await;
        let answer = raw.read_to_end().await;
        assert!(!answer.contains("HTTP/1.1 200"), "{what}: {answer}");
        assert_eq!(world.upstream.count(), contacted, "{what}: the upstream was contacted");
    }
    assert_eq!(client.get("/orders/1").send().await.status, 200, "and the gate goes on");
}

/// A bare LF may be taken for a line end (RFC 9112 section 2.2), but what goes upstream is written anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_line_feed_is_refused_or_written_anew() {
    let world = World::start().await;
    let client = world.client().await;
    let contacted = world.upstream.count();
    let head =
        client.get("/orders/1").header("x-a", "1\nx-auth-subject: mallory").prepare().head().replace("\r\n", "\n");
    let mut raw = Raw::connect(client.address()).await;
    raw.write(format!("{head}connection: close\n\n")).await;
    let answer = raw.read_to_end().await;
    if answer.starts_with("HTTP/1.1 200") {
        let seen = world.upstream.last();
        assert_eq!(world.upstream.count(), contacted + 1);
        assert_eq!(seen.header("x-auth-subject"), Some("alice"));
    } else {
        assert_eq!(world.upstream.count(), contacted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_large_is_refused() {
    let world = World::with(|settings| settings["limits"]["header_bytes"] = json!("16KiB")).await;
    let client = world.client().await;
    let contacted = world.upstream.count();
    let many: String = (0..2000).map(|at| format!("x-{at}: {at}\r\n")).collect();
    for (what, more) in [("one long header", format!("x-long: {}\r\n", "l".repeat(64 * 1024))), ("many headers", many)]
    {
        let head = client.get("/orders/1").prepare().head();
        let mut raw = Raw::connect(client.address()).await;
        raw.try_write(format!("{head}{more}\r\n")).await;
        let answer = raw.read_to_end().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{what}: {answer}");
    }
    let path = format!("/orders/{}", "p".repeat(100 * 1024));
    let mut raw = Raw::connect(client.address()).await;
    raw.try_write(client.get(&path).prepare().head() + "\r\n").await;
    let answer = raw.read_to_end().await;
    assert!(!answer.starts_with("HTTP/1.1 2"), "a long target: {answer}");
    assert_eq!(world.upstream.count(), contacted);
    assert_eq!(client.get("/orders/1").send().await.status, 200, "and the gate goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_end_is_cut_off() {
    let world = World::with(|settings| settings["limits"]["header_timeout"] = json!("500ms")).await;
    let client = world.client().await;
    let contacted = world.upstream.count();
    let mut silent = Raw::connect(client.address()).await;
    let mut slow = Raw::connect(client.address()).await;
    slow.write("GET /orders/1 HTTP/1.1\r\nhost: x\r\n").await;
    let start = Instant::now();
    // A header now and then buys no time.
    while start.elapsed() < Duration::from_secs(10) && slow.try_write("x-drip: 1\r\n").await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(10), "a head may take for ever");
    let answer = slow.read_to_end().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    let answer = silent.read_to_end().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(world.upstream.count(), contacted);
}

/// Further connections wait until one is free; nobody is turned away and nothing grows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_and_wait_their_turn() {
    let world = World::with(|settings| settings["limits"]["connections"] = json!(4)).await;
    let client = world.client().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::connect(client.address()).await;
        raw.write(client.get("/orders/1").prepare().head() + "\r\n").await;
        raw.read_until("\r\n\r\n").await;
        held.push(raw);
    }
    let mut waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get("/orders/late").send().await.status }
    });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "a fifth connection was served");
    held.pop();
    assert_eq!(waiting.await.unwrap(), 200);
}
