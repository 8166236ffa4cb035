//! Over real sockets, and beside hyper: whatever that makes of a response is to be made of it here.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::coop;
use tokio::time::Instant;

use super::super::connect::Io;
use super::super::tests::harness::*;
use super::super::{Endpoint, Protocol, RequestBody, ResponseBody, UpstreamError, UpstreamOptions};
use super::body::Chunk;
use super::{Direct, Patience, Remaining};

fn request(method: &str, body: &'static str) -> Request<RequestBody> {
    let body = Full::new(Bytes::from_static(body.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    Request::builder().method(method).uri("/").header("host", "a").body(body).unwrap()
}

/// Answers each request on a connection with these bytes, and leaves it open or not.
async fn answers(bytes: &'static [u8], then_closes: bool) -> Origin {
    raw(move |mut stream, _, requests| async move {
        while read_request(&mut stream, &requests).await.is_some() {
            stream.write_all(bytes).await.unwrap();
            if then_closes {
                return;
            }
        }
    })
    .await
}

/// What came of a response: status, version and headers, then the body and its trailers if it came to its end.
async fn read(response: Result<Response<ResponseBody>, UpstreamError>) -> String {
    match response {
        Err(error) => format!("{error:?}"),
        Ok(response) => {
            let (parts, body) = response.into_parts();
            let reason = parts.extensions.get::<hyper::ext::ReasonPhrase>().map(|reason| reason.as_bytes().to_vec());
            let body = body.collect().await.map(|read| (read.trailers().cloned(), read.to_bytes())).ok();
            format!("{} {:?} {reason:?} {:?} {body:?}", parts.status, parts.version, parts.headers)
        }
    }
}

#[tokio::test]
async fn a_response_is_what_hyper_makes_of_it() {
    let long: &'static str = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(60_000)).leak();
    for (then_closes, bytes) in [
        (false, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (false, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Empty:\r\nX-Space: \t a b \t\r\n\r\n"),
        (false, "HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\nX-A: 3\r\n\r\nok"),
        (false, "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
        (false, "HTTP/1.1 299 Fine by me\r\nContent-Length: 2\r\n\r\nok"),
        (false, "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
        (false, "HTTP/1.1 204 No Content\r\n\r\n"),
        (false, "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
        (false, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;x=y\r\nfor\r\n0\r\n\r\n"),
        (
            false,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n",
        ),
        (false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        (false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (false, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
        (false, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (false, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
        (true, "HTTP/1.1 200 OK\r\n\r\nall that comes"),
        (true, "HTTP/1.0 200 OK\r\n\r\nall that comes"),
        (true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nall that comes"),
        (true, long),
        // Broken off.
        (true, ""),
        (true, "HTTP/1.1 200 OK\r\nContent-Le"),
        (true, "HTTP/1.1 100 Continue\r\n\r\n"),
        (true, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"),
        (true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
        (true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok"),
        (true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n"),
        // Malformed.
        (true, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok"),
        (true, "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
        (true, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        (true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nok\r\n0\r\n\r\n"),
        (true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n"),
        (true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nok"),
        (true, "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\nContent-Length: 2\r\n\r\nok"),
        (true, "HTTP/1.1 200 OK\r\nA B: 1\r\nContent-Length: 2\r\n\r\nok"),
        (true, "HTTP/1.1 200 OK\r\nA : 1\r\nContent-Length: 2\r\n\r\nok"),
        (true, "HTTP/3.0 200 OK\r\n\r\n"),
        (true, "<html>"),
        (true, "HTTP/1.1 200"),
    ] {
        for method in ["GET", "HEAD", "DELETE"] {
            let server = answers(bytes.as_bytes(), then_closes).await;
            // A request with a body goes by hyper.
            let (here, hyper) =
                (Subject::new(options(vec![server.http()])), Subject::new(options(vec![server.http()])));
            for turn in 0..2 {
                let (got, wanted) = (here.send(request(method, "")).await, hyper.send(request(method, "body")).await);
                assert_eq!(read(got).await, read(wanted).await, "{method}, turn {turn}: {bytes:?}");
            }
            assert_eq!(here.failures(), hyper.failures(), "{method}: {bytes:?}");
            assert_eq!((here.in_flight(), server.connections() % 2), (vec![0], 0), "{method}: {bytes:?}");
        }
    }
}

#[tokio::test]
async fn a_coding_and_a_length_together_leave_the_coding() {
    let both = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfor\r\n0\r\n\r\n";
    let subject = Subject::new(options(vec![answers(both, false).await.http()]));
    let response = subject.send(get("/")).await.unwrap();
    assert!(!response.headers().contains_key("content-length"), "it would go on to the client");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "for");
}

/// The header that tells of it does not go on: the client would take the coded bytes for the document.
#[tokio::test]
async fn a_coding_that_is_not_taken_off_is_an_error_where_there_is_a_body() {
    for (coding, passes) in [
        ("chunked", true),
        ("Identity, Chunked", true),
        ("gzip, chunked", false),
        ("identity", true),
        ("chunked, identity", false),
        ("chunked, chunked", false),
        ("chunked;q=1", false),
        ("gzip", false),
    ] {
        let bytes: &'static str =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n").leak();
        for (method, body) in [("GET", ""), ("GET", "by hyper"), ("HEAD", ""), ("HEAD", "by hyper")] {
            let subject = Subject::new(options(vec![answers(bytes.as_bytes(), true).await.http()]));
            let got = subject.send(request(method, body)).await.map(|response| response.status().as_u16());
            let expected = if passes || method == "HEAD" { Ok(200) } else { Err(UpstreamError::Protocol) };
            assert_eq!(got, expected, "{method} {body} {coding}");
        }
    }
}

#[tokio::test]
async fn an_answer_to_half_a_head_is_an_answer() {
    let brief = raw(|mut stream, _, _| async move {
        stream.read_exact(&mut [0; 10]).await.unwrap();
        // What is unread when it closes is a reset for who still writes.
        stream.write_all(b"HTTP/1.1 431 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
    })
    .await;
    let subject = Subject::new(options(vec![brief.http()]));
    for turn in 1..=2 {
        let mut request = get("/");
        // More than the kernel's buffers take.
        request.headers_mut().insert("x-large", "x".repeat(32 << 20).parse().unwrap());
        let response = subject.send(request).await.unwrap();
        assert_eq!(response.status(), 431);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no");
        assert_eq!(brief.connections(), turn, "a connection with half a request on it carries no other");
    }
}

#[tokio::test]
async fn one_connection_carries_both_kinds_of_requests() {
    for protocol in [Protocol::Http1, Protocol::Auto] {
        let server = origin(Speaks::Http1, |_| async { text("ok") }).await;
        let subject = Subject::new(UpstreamOptions { protocol, ..options(vec![server.http()]) });
        for request in [get("/"), get("/"), post("/", "body"), get("/"), post("/", "body"), get("/")] {
            assert_eq!(subject.text(request).await.unwrap(), "ok");
        }
        assert_eq!((server.connections(), server.requests()), (1, 6));
    }
}

#[tokio::test]
async fn over_tls_too() {
    let (server, tls) = tls_origin(&["http/1.1"], |_| async { text("ok".repeat(300_000)) }).await;
    let subject = Subject::new(UpstreamOptions {
        tls: Some(tls),
        server_name: Some("localhost".to_owned()),
        ..options(vec![server.https()])
    });
    for _ in 0..3 {
        assert_eq!(subject.text(get("/")).await.unwrap(), "ok".repeat(300_000));
    }
    assert_eq!((server.connections(), server.requests()), (1, 3));
}

#[tokio::test]
async fn what_left_is_never_sent_again() {
    let forgetful = raw(|mut stream, _, requests| async move {
        read_request(&mut stream, &requests).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        read_request(&mut stream, &requests).await;
    })
    .await;
    let subject = Subject::new(options(vec![forgetful.http()]));
    assert_eq!(subject.text(get("/")).await.unwrap(), "ok");
    assert_eq!(subject.send(get("/")).await.map(|_| ()), Err(UpstreamError::Reset));
    assert_eq!((forgetful.connections(), forgetful.requests()), (1, 2));
}

#[tokio::test]
async fn a_connection_that_says_more_than_it_was_asked_is_not_used_again() {
    let talkative = answers(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n", false).await;
    let subject = Subject::new(options(vec![talkative.http()]));
    for turn in 1..=3 {
        assert_eq!(subject.text(get("/")).await.unwrap(), "ok");
        assert_eq!(talkative.connections(), turn);
    }
}

#[tokio::test]
async fn a_pooled_connection_on_which_something_came_is_not_used_again() {
    let (tell, told) = tokio::sync::mpsc::channel::<()>(1);
    let told = Arc::new(tokio::sync::Mutex::new(told));
    let talkative = raw(move |mut stream, _, requests| {
        let told = Arc::clone(&told);
        async move {
            read_request(&mut stream, &requests).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            told.lock().await.recv().await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfake").await.unwrap();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let subject = Subject::new(options(vec![talkative.http()]));
    assert_eq!(subject.text(get("/")).await.unwrap(), "ok");
    assert_eq!(subject.upstream.backends[0].idle_and_open(), 1);
    tell.send(()).await.unwrap();
    eventually(|| subject.upstream.backends[0].idle_and_open() == 0).await;
    assert_eq!(subject.text(get("/")).await.unwrap(), "ok");
    assert_eq!(talkative.connections(), 2);
}

#[tokio::test]
async fn what_came_on_a_pooled_connection_before_the_request_leaves_is_not_its_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let (say, said) = std::sync::mpsc::channel::<()>();
    let talkative = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let answer = |stream: &mut std::net::TcpStream| {
            let mut byte = [0];
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        };
        let (mut first, _) = listener.accept().unwrap();
        answer(&mut first);
        told.recv().unwrap();
        first.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfake").unwrap();
        say.send(()).unwrap();
        let (mut second, _) = listener.accept().unwrap();
        answer(&mut second);
    });
    let subject = Subject::new(options(vec![Endpoint::Http(address.to_string().parse().unwrap())]));
    assert_eq!(subject.text(get("/")).await.unwrap(), "ok");
    // This thread waits, so that the event loop has not heard of it when the connection is taken.
    tell.send(()).unwrap();
    said.recv().unwrap();
    assert_eq!(subject.text(get("/")).await.unwrap(), "ok");
    talkative.join().unwrap();
}

#[tokio::test]
async fn an_idle_connection_gives_back_the_room_of_a_large_answer() {
    for (bytes, kept) in [(8_000, true), (60_000, false)] {
        let (mut peer, end) = UnixStream::pair().unwrap();
        let mut direct = Direct::new(Io::Unix(end));
        peer.write_all(&vec![b'a'; bytes]).await.unwrap();
        let mut remaining = Remaining::Length(bytes as u64);
        while std::future::poll_fn(|cx| direct.poll_piece(&mut remaining, cx)).await.is_some() {}
        assert!(direct.input.try_reclaim(bytes), "{bytes}: as long as it is in use");
        direct.rest();
        assert_eq!(direct.input.try_reclaim(bytes), kept, "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_used_up_its_turn_is_still_told_that_it_is_too_late() {
    let (mut patience, until) = (Patience::default(), Instant::now() + Duration::from_secs(1));
    let mut told = async || {
        std::future::poll_fn(|cx| {
            while coop::has_budget_remaining() {
                let _ = pin!(coop::consume_budget()).poll(cx);
            }
            Poll::Ready(patience.poll(until, cx).is_ready())
        })
        .await
    };
    assert!(!told().await);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(told().await);
}

/// Feeds a body by `step` bytes; what came of it, and whether it has ended.
fn feed(mut remaining: Remaining, bytes: &[u8], step: usize) -> Result<(Vec<u8>, Option<String>, bool), ()> {
    // Open and silent: whoever wants more than was fed has to wait.
    let (_peer, end) = UnixStream::pair().unwrap();
    let mut direct = Direct::new(Io::Unix(end));
    let (mut data, mut trailers) = (Vec::new(), None);
    for piece in bytes.chunks(step) {
        direct.input.extend_from_slice(piece);
        while let Poll::Ready(Some(polled)) = direct.poll_piece(&mut remaining, &mut Context::from_waker(Waker::noop()))
        {
            match polled.map_err(|_| ())?.into_data() {
                Ok(piece) => data.extend_from_slice(&piece),
                Err(frame) => trailers = frame.into_trailers().ok().map(|trailers| format!("{trailers:?}")),
            }
        }
    }
    let ended = remaining.is_ended() && direct.may_be_kept();
    Ok((data, trailers, ended))
}

#[tokio::test]
async fn a_body_is_the_same_however_it_comes() {
    let chunks = Remaining::Chunks(Chunk::Size);
    let none: Option<&str> = None;
    for (remaining, bytes, expected) in [
        (Remaining::Length(5), "hello", Ok(("hello", none, true))),
        (Remaining::Length(5), "hell", Ok(("hell", none, false))),
        (Remaining::UntilClose, "hello", Ok(("hello", none, false))),
        (chunks, "5\r\nhello\r\n0\r\n\r\n", Ok(("hello", none, true))),
        (chunks, "0005 ;a=\"b\"\r\nhello\r\n1\r\n!\r\n000\r\n\r\n", Ok(("hello!", none, true))),
        (chunks, "5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n", Ok(("hello", Some("{\"x-a\": \"1\"}"), true))),
        (chunks, "5\r\nhello\r\n0\r\nX-A: 1\r\n", Ok(("hello", none, false))),
        (chunks, "5\r\nhello\r\n", Ok(("hello", none, false))),
        (chunks, "5\r\nhello\r\n0\r\n", Ok(("hello", none, false))),
        (chunks, "fffffffffffffffff\r\n", Err(())),
        (chunks, "-1\r\n", Err(())),
        (chunks, "\r\n", Err(())),
        (chunks, "5\nhello\r\n", Err(())),
        (chunks, "5\r\r\nhello\r\n", Err(())),
        (chunks, "5\x0c\r\nhello\r\n", Err(())),
        (chunks, "5\r\nhello!\r\n", Err(())),
        (chunks, "5\r\nhello\n0\r\n\r\n", Err(())),
        (chunks, "0\r\nX A: 1\r\n\r\n", Err(())),
    ] {
        for step in [1, 2, 3, 7, 4096] {
            let found = feed(remaining, bytes.as_bytes(), step);
            let found = found.as_ref().map(|(data, trailers, ended)| (&data[..], trailers.as_deref(), *ended));
            let expected = expected.map(|(data, trailers, ended)| (data.as_bytes(), trailers, ended));
            let expected = expected.as_ref().map(|wanted| *wanted);
            assert_eq!(found, expected, "{remaining:?} {bytes:?} by {step}");
        }
    }
    let endless = format!("5;{}", "x".repeat(100_000));
    assert_eq!(feed(chunks, endless.as_bytes(), 4096), Err(()));
    let endless = format!("0\r\n{}", "x: y\r\n".repeat(50_000));
    assert_eq!(feed(chunks, endless.as_bytes(), 4096), Err(()));
}
