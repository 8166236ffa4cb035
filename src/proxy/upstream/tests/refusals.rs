//! How requests fail, and as what they are counted.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;
use tokio::io::AsyncWriteExt as _;

use super::super::*;
use super::harness::*;

/// Answers every request with these bytes and closes.
async fn says(bytes: &'static [u8]) -> Origin {
    raw(move |mut stream, _, requests| async move {
        read_request(&mut stream, &requests).await;
        stream.write_all(bytes).await.unwrap();
    })
    .await
}

#[tokio::test]
async fn each_failure_has_its_name_and_is_counted_once() {
    let silent = raw(|mut stream, _, requests| async move {
        read_request(&mut stream, &requests).await;
        std::future::pending::<()>().await;
    })
    .await;
    let long_head: &'static [u8] = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(200_000)).leak().as_bytes();
    let half_head = b"HTTP/1.1 200 OK\r\ncontent-le";
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: tls/1.0\r\n\r\n";
    let two_lengths = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab";
    // A label of 64 bytes: no resolver asks the network for it (RFC 1035 section 2.3.4).
    let unresolvable = format!("{}.invalid:80", "a".repeat(64));
    let rows = [
        ("refused", dead().await, UpstreamError::Connect),
        ("unresolvable", Endpoint::Http(unresolvable.parse().unwrap()), UpstreamError::Connect),
        ("no such socket", Endpoint::Unix("/nonexistent/dpop-gate.sock".into()), UpstreamError::Connect),
        ("https without TLS settings", Endpoint::Https(silent.authority.clone()), UpstreamError::Connect),
        ("silent", silent.http(), UpstreamError::Timeout),
        ("closed before a head", says(b"").await.http(), UpstreamError::Reset),
        ("closed in the head", says(half_head).await.http(), UpstreamError::Reset),
        ("not HTTP", says(b"SSH-2.0-OpenSSH_9.6\r\n").await.http(), UpstreamError::Protocol),
        ("two lengths", says(two_lengths).await.http(), UpstreamError::Protocol),
        ("head of 200 kB", says(long_head).await.http(), UpstreamError::Protocol),
        ("another protocol, unasked", says(switched).await.http(), UpstreamError::Protocol),
    ];
    for (what, endpoint, expected) in rows {
        let timeout =
            if expected == UpstreamError::Timeout { Duration::from_millis(60) } else { Duration::from_secs(10) };
        let subject = Subject::new(UpstreamOptions { timeout, ..options(vec![endpoint]) });
        for method in ["GET", "POST"] {
            let mut request = post("/", "body");
            *request.method_mut() = method.parse().unwrap();
            assert_eq!(subject.send(request).await.map(|_| ()), Err(expected), "{what}");
        }
        assert_eq!(subject.send(get("/")).await.map(|_| ()), Err(expected), "{what}, without a body");
        assert_eq!(subject.failures(), [(expected.kind().unwrap().as_str(), 3)], "{what}");
        assert_eq!(subject.in_flight(), [0], "{what}");
    }
}

#[tokio::test]
async fn http2_failures_have_the_same_names() {
    let silent = origin(Speaks::Http2, |_| std::future::pending()).await;
    // Keeps reading: closing on unread bytes would be a TCP reset.
    let old = raw(|mut stream, _, _| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.unwrap();
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let rows = [
        ("refused", dead().await, UpstreamError::Connect),
        ("silent", silent.http(), UpstreamError::Timeout),
        ("closed before a head", says(b"").await.http(), UpstreamError::Reset),
        ("HTTP/1.1 instead", old.http(), UpstreamError::Protocol),
    ];
    for (what, endpoint, expected) in rows {
        let timeout =
            if expected == UpstreamError::Timeout { Duration::from_millis(60) } else { Duration::from_secs(10) };
        let subject = Subject::new(UpstreamOptions { protocol: Protocol::Http2, timeout, ..options(vec![endpoint]) });
        assert_eq!(subject.send(post("/", "body")).await.map(|_| ()), Err(expected), "{what}");
        assert_eq!(subject.failures(), [(expected.kind().unwrap().as_str(), 1)], "{what}");
        assert_eq!(subject.in_flight(), [0], "{what}");
    }
}

#[tokio::test]
async fn connect_timeout_covers_the_tls_handshake() {
    let mute = raw(|stream, _, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let (_, tls) = tls_origin(&[], |_| async { text("") }).await;
    let subject = Subject::new(UpstreamOptions {
        connect_timeout: Duration::from_millis(60),
        tls: Some(tls),
        server_name: Some("localhost".to_owned()),
        ..options(vec![mute.https()])
    });
    assert_eq!(subject.text(get("/")).await, Err(UpstreamError::Connect));
    assert_eq!(subject.failures(), [("connect", 1)]);
    assert_eq!(mute.connections(), 1);
}

#[tokio::test]
async fn a_request_body_that_fails_is_not_the_upstreams_fault() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let reads = origin(speaks, |request| async move {
            let _ = request.into_body().collect().await;
            text("")
        })
        .await;
        let protocol = if speaks == Speaks::Http1 { Protocol::Http1 } else { Protocol::Http2 };
        let subject = Subject::new(UpstreamOptions { protocol, ..options(vec![reads.http()]) });
        let (pieces, body) = piped();
        let request = Request::post("/").header("host", "a").body(body).unwrap();
        let feed = async {
            pieces.send(data("first")).await.unwrap();
            pieces.send(Err("the client went away".into())).await.unwrap();
        };
        let (result, ()) = tokio::join!(subject.send(request), feed);
        assert_eq!(result.map(|_| ()), Err(UpstreamError::RequestBody));
        assert_eq!(subject.failures(), []);
        assert_eq!(subject.healthy(), [true]);
    }
}

#[tokio::test]
async fn a_response_body_that_ends_early_is_an_error_in_the_stream() {
    let short = says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
    let subject = Subject::new(options(vec![short.http()]));
    let response = subject.send(get("/")).await.unwrap();
    assert_eq!(subject.in_flight(), [1]);
    let mut body = response.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(subject.in_flight(), [0]);
}

#[tokio::test]
async fn an_upstream_that_does_not_read_times_out_and_little_is_buffered() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let deaf = origin(Speaks::Http2, |request| async move {
            let _kept = request;
            std::future::pending().await
        });
        let mute = raw(|stream, _, _| async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
        let endpoint = if protocol == Protocol::Http1 { mute.await.http() } else { deaf.await.http() };
        let timeout = Duration::from_millis(150);
        let subject = Subject::new(UpstreamOptions { protocol, timeout, ..options(vec![endpoint]) });
        let (pieces, body) = piped();
        let request = Request::post("/").header("host", "a").body(body).unwrap();
        let feed = async move {
            let chunk = Bytes::from(vec![0; 64 * 1024]);
            let mut taken = 0;
            while taken < 64 << 20 && pieces.send(Ok(http_body::Frame::data(chunk.clone()))).await.is_ok() {
                taken += chunk.len();
            }
            taken
        };
        let (result, taken) = tokio::join!(subject.send(request), feed);
        assert_eq!(result.map(|_| ()), Err(UpstreamError::Timeout));
        assert!(taken < 32 << 20, "{protocol:?}: {taken} bytes taken from the client");
    }
}

#[tokio::test(start_paused = true)]
async fn the_clock_for_the_head_stands_still_while_the_client_is_slow() {
    use super::super::body::Upload;
    use super::super::endpoint::await_head;
    let timeout = Duration::from_secs(30);
    let (pieces, body) = piped();
    let mut upload = Upload::new(body);
    let progress = upload.progress().unwrap();
    let start = tokio::time::Instant::now();
    let upload = tokio::spawn(async move { while upload.frame().await.is_some() {} });
    let client = tokio::spawn(async move {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(100)).await;
            pieces.send(data("piece")).await.unwrap();
        }
    });
    assert!(await_head(std::future::pending::<()>(), timeout, Some(&progress)).await.is_none());
    assert_eq!(start.elapsed().as_secs(), 530, "30 s after the last piece, no sooner and no later");
    upload.await.unwrap();
    client.await.unwrap();
    assert!(await_head(std::future::pending::<()>(), timeout, None).await.is_none());
    assert_eq!(start.elapsed().as_secs(), 560);
}
