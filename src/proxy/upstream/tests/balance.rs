//! Which endpoint gets a request, and what failures change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::AsyncWriteExt as _;

use super::super::*;
use super::harness::*;

async fn named(name: &'static str) -> Origin {
    origin(Speaks::Http1, move |_| async move { text(name) }).await
}

/// Answers with a body that never ends.
async fn endless() -> Origin {
    origin(Speaks::Http1, |_| async {
        let (pieces, body) = piped();
        tokio::spawn(async move {
            pieces.send(data("begun")).await.unwrap();
            pieces.closed().await;
        });
        Response::new(body)
    })
    .await
}

#[tokio::test]
async fn round_robin_takes_turns() {
    let origins = [named("a").await, named("b").await, named("c").await];
    let subject = Subject::new(options(origins.iter().map(Origin::http).collect()));
    for _ in 0..6 {
        subject.text(get("/")).await.unwrap();
    }
    assert_eq!(origins.map(|origin| origin.requests()), [2, 2, 2]);
}

#[tokio::test]
async fn least_requests_counts_until_the_body_ends() {
    let origins = [endless().await, endless().await];
    let endpoints = origins.iter().map(Origin::http).collect();
    let subject = Subject::new(UpstreamOptions { balance: Balance::LeastRequests, ..options(endpoints) });
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(subject.send(get("/")).await.unwrap());
    }
    assert_eq!(subject.in_flight(), [2, 2]);
    held.truncate(1);
    assert_eq!(subject.in_flight().iter().sum::<usize>(), 1);
    let idle = subject.in_flight().iter().position(|count| *count == 0).unwrap();
    let before = origins[idle].requests();
    held.push(subject.send(get("/")).await.unwrap());
    assert_eq!(origins[idle].requests(), before + 1);
    assert_eq!(subject.in_flight(), [1, 1]);
    drop(held);
    assert_eq!(subject.in_flight(), [0, 0]);
}

#[tokio::test]
async fn ties_rotate() {
    let origins = [named("a").await, named("b").await];
    let endpoints = origins.iter().map(Origin::http).collect();
    let subject = Subject::new(UpstreamOptions { balance: Balance::LeastRequests, ..options(endpoints) });
    for _ in 0..4 {
        subject.text(get("/")).await.unwrap();
    }
    assert_eq!(origins.map(|origin| origin.requests()), [2, 2]);
}

#[tokio::test]
async fn a_request_that_is_given_up_is_no_longer_in_flight() {
    let silent = origin(Speaks::Http1, |_| std::future::pending()).await;
    let subject = Subject::new(options(vec![silent.http()]));
    let upstream = Arc::clone(&subject.upstream);
    let task = tokio::spawn(async move { upstream.send(get("/")).await.map(|_| ()) });
    eventually(|| silent.requests() == 1).await;
    assert_eq!(subject.in_flight(), [1]);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(subject.in_flight(), [0]);
}

#[tokio::test]
async fn a_refused_connection_fails_over_with_the_body_whole() {
    let echo =
        origin(Speaks::Http1, |request| async move { text(request.into_body().collect().await.unwrap().to_bytes()) })
            .await;
    let subject = Subject::new(options(vec![dead().await, dead().await, echo.http()]));
    for _ in 0..6 {
        let (pieces, body) = piped();
        let request = Request::post("/").header("host", "a").body(body).unwrap();
        let feed = async move {
            for piece in ["one ", "two ", "three"] {
                pieces.send(data(piece)).await.unwrap();
            }
        };
        let (answer, ()) = tokio::join!(subject.text(request), feed);
        assert_eq!(answer.unwrap(), "one two three");
    }
    assert_eq!(subject.failures(), [], "the end results were good");
    let all_dead = Subject::new(options(vec![dead().await, dead().await]));
    assert_eq!(all_dead.text(get("/")).await, Err(UpstreamError::Connect));
    assert_eq!(all_dead.failures(), [("connect", 1)]);
}

#[tokio::test]
async fn three_resets_eject_and_a_success_brings_back() {
    let sick = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&sick);
    let moody = raw(move |mut stream, _, requests| {
        let sick = Arc::clone(&state);
        async move {
            while read_request(&mut stream, &requests).await.is_some() && !sick.load(Ordering::SeqCst) {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nmoody").await.unwrap();
            }
        }
    })
    .await;
    let steady = named("steady").await;
    let subject = Subject::new(options(vec![moody.http(), steady.http()]));
    let mut resets = 0;
    while subject.healthy()[0] {
        resets += usize::from(subject.text(get("/")).await == Err(UpstreamError::Reset));
        assert!(resets <= 3);
    }
    assert_eq!((resets, moody.requests()), (3, 3));
    assert_eq!(subject.failures(), [("reset", 3)]);
    assert_eq!(subject.text(get("/")).await.unwrap(), "steady");
    assert_eq!(subject.text(get("/")).await.unwrap(), "steady");
    sick.store(false, Ordering::SeqCst);
    eventually(|| subject.healthy()[0]).await;
    let answers = [subject.text(get("/")).await.unwrap(), subject.text(get("/")).await.unwrap()];
    assert!(answers.contains(&"moody".to_owned()) && answers.contains(&"steady".to_owned()), "{answers:?}");
}

#[tokio::test]
async fn the_only_endpoint_is_tried_even_when_ejected() {
    let closing = raw(|mut stream, number, requests| async move {
        read_request(&mut stream, &requests).await;
        if number >= 3 {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    })
    .await;
    let subject = Subject::new(options(vec![closing.http()]));
    for _ in 0..3 {
        assert_eq!(subject.text(get("/")).await, Err(UpstreamError::Reset));
    }
    assert_eq!(subject.healthy(), [false]);
    assert_eq!(subject.text(get("/")).await.unwrap(), "ok");
    assert_eq!(subject.healthy(), [true]);
}

#[tokio::test]
async fn health_checks_take_endpoints_out_and_back() {
    let up = Arc::new(AtomicBool::new(false));
    for (speaks, protocol) in [(Speaks::Http1, Protocol::Auto), (Speaks::Http2, Protocol::Http2)] {
        up.store(false, Ordering::SeqCst);
        let state = Arc::clone(&up);
        let checked = origin(speaks, move |request: Request<_>| {
            let good = state.load(Ordering::SeqCst);
            async move {
                let mut response = text("served");
                if request.uri().path() == "/healthz" && !good {
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                }
                response
            }
        })
        .await;
        let check = HealthCheck { path: "/healthz".to_owned(), interval: Duration::from_millis(20) };
        let subject =
            Subject::new(UpstreamOptions { health_check: Some(check), protocol, ..options(vec![checked.http()]) });
        assert_eq!(subject.text(get("/")).await.unwrap(), "served", "unknown is healthy");
        let watch = tokio::spawn(Arc::clone(&subject.upstream).watch());
        eventually(|| subject.healthy() == [false]).await;
        assert_eq!(subject.text(get("/")).await, Err(UpstreamError::Unhealthy));
        assert_eq!(subject.failures(), [("unhealthy", 1)]);
        up.store(true, Ordering::SeqCst);
        eventually(|| subject.healthy() == [true]).await;
        assert_eq!(subject.text(get("/")).await.unwrap(), "served");
        assert_eq!(subject.in_flight(), [0], "checks do not count");
        watch.abort();
    }
}

#[tokio::test]
async fn without_health_checks_there_is_nothing_to_watch() {
    let subject = Subject::new(options(vec![dead().await]));
    Arc::clone(&subject.upstream).watch().await;
    assert_eq!(subject.healthy(), [true]);
    let none = Subject::new(options(vec![]));
    assert_eq!(none.text(get("/")).await, Err(UpstreamError::Unhealthy));
}
