//! When a connection carries another request, and when a request is sent again.

use std::time::Duration;

use http::Response;
use http_body_util::BodyExt as _;
use tokio::io::AsyncWriteExt as _;

use super::super::*;
use super::harness::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn requests_in_a_row_share_a_connection() {
    for (speaks, protocol) in [(Speaks::Http1, Protocol::Http1), (Speaks::Http2, Protocol::Http2)] {
        let server = origin(speaks, |_| async { text("ok") }).await;
        let subject = Subject::new(UpstreamOptions { protocol, ..options(vec![server.http()]) });
        for _ in 0..5 {
            assert_eq!(subject.text(post("/", "x")).await.unwrap(), "ok");
        }
        assert_eq!((server.connections(), server.requests()), (1, 5));
    }
}

#[tokio::test]
async fn a_burst_opens_one_http2_connection() {
    let server = origin(Speaks::Http2, |_| async { text("ok") }).await;
    let subject = Subject::new(UpstreamOptions { protocol: Protocol::Http2, ..options(vec![server.http()]) });
    let mut burst = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let upstream = Arc::clone(&subject.upstream);
        burst.spawn(async move { upstream.send(get("/")).await.unwrap().into_body().collect().await.unwrap() });
    }
    assert_eq!(burst.join_all().await.len(), 40);
    assert_eq!((server.connections(), server.requests()), (1, 40));
    assert_eq!(subject.in_flight(), [0]);
}

#[tokio::test]
async fn a_pooled_connection_closed_between_requests_is_replaced_unseen() {
    let closing = raw(|mut stream, _, requests| async move {
        read_request(&mut stream, &requests).await;
        stream.write_all(OK).await.unwrap();
    })
    .await;
    let subject = Subject::new(options(vec![closing.http()]));
    for turn in 1..=20 {
        assert_eq!(subject.text(get("/")).await.unwrap(), "ok");
        // The close must have arrived, or the request would be written to a connection that looks alive.
        eventually(|| subject.upstream.backends[0].idle_and_open() == 0).await;
        assert_eq!(closing.connections(), turn);
    }
    assert_eq!(subject.failures(), []);
}

#[tokio::test]
async fn what_was_written_is_never_written_again() {
    for method in ["POST", "GET", "DELETE"] {
        let forgetful = raw(|mut stream, _, requests| async move {
            read_request(&mut stream, &requests).await;
            stream.write_all(OK).await.unwrap();
            read_request(&mut stream, &requests).await;
        })
        .await;
        let other = forgetful.clone();
        let subject = Subject::new(options(vec![forgetful.http(), other.http()]));
        let send = || {
            let mut request = post("/pay", "100");
            *request.method_mut() = method.parse().unwrap();
            subject.text(request)
        };
        assert_eq!(send().await.unwrap(), "ok");
        assert_eq!(send().await.unwrap(), "ok");
        assert_eq!(send().await, Err(UpstreamError::Reset), "{method}");
        assert_eq!((forgetful.connections(), forgetful.requests()), (2, 3), "{method}");
        assert_eq!(subject.failures(), [("reset", 1)]);
    }
}

#[tokio::test]
async fn the_upstreams_word_on_keeping_alive_is_taken() {
    for (header, connections) in [("timeout=1", 2), ("timeout=5, max=100", 1), ("timeout=soon", 1)] {
        let server = origin(Speaks::Http1, move |_| async move {
            let mut response = text("ok");
            response.headers_mut().insert("keep-alive", header.parse().unwrap());
            response
        })
        .await;
        let subject = Subject::new(options(vec![server.http()]));
        subject.text(get("/")).await.unwrap();
        subject.text(get("/")).await.unwrap();
        assert_eq!(server.connections(), connections, "{header}");
    }
}

#[tokio::test]
async fn a_body_that_was_not_read_to_its_end_takes_its_connection_along() {
    let server = origin(Speaks::Http1, |_| async {
        let (pieces, body) = piped();
        tokio::spawn(async move { while pieces.send(data("more")).await.is_ok() {} });
        Response::new(body)
    })
    .await;
    let subject = Subject::new(options(vec![server.http()]));
    for turn in 1..=3 {
        let mut response = subject.send(get("/")).await.unwrap();
        assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "more");
        drop(response);
        assert_eq!(server.connections(), turn);
        assert_eq!(subject.in_flight(), [0]);
    }
}

/// An HTTP/2 server that refuses every stream.
async fn refusing() -> Origin {
    raw(|stream, _, requests| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_stream_goes_to_the_next_endpoint_unless_its_body_has_left() {
    let (refuses, serves) = (refusing().await, origin(Speaks::Http2, |_| async { text("served") }).await);
    let endpoints = || vec![refuses.http(), serves.http()];
    let subject = || Subject::new(UpstreamOptions { protocol: Protocol::Http2, ..options(endpoints()) });
    assert_eq!(subject().text(get("/")).await.unwrap(), "served");
    assert_eq!((refuses.requests(), serves.requests()), (1, 1));
    assert_eq!(subject().text(post("/", "body")).await, Err(UpstreamError::Reset));
    assert_eq!((refuses.requests(), serves.requests()), (2, 1));
}

#[tokio::test]
async fn more_streams_than_one_connection_may_carry_open_another() {
    let server = raw(|stream, _, requests| async move {
        let mut connection: h2::server::Connection<_, Bytes> =
            h2::server::Builder::new().max_concurrent_streams(2).handshake(stream).await.unwrap();
        let mut held = Vec::new();
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            held.push(respond.send_response(Response::new(()), false).unwrap());
        }
    })
    .await;
    let subject = Subject::new(UpstreamOptions {
        protocol: Protocol::Http2,
        timeout: Duration::from_secs(10),
        ..options(vec![server.http()])
    });
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(subject.send(get("/")).await.unwrap());
    }
    assert_eq!((server.connections(), server.requests()), (3, 5));
    assert_eq!(subject.in_flight(), [5]);
}
