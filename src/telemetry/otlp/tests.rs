#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Official;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::message::{ExportTraceServiceRequest, ResourceSpans, ScopeSpans, SpanKind};
use super::*;
use crate::client::Url;
use crate::clock::Timestamp;
use crate::journal::{Context, Part};
use crate::metrics::{Outcome, Reason};
use crate::target::{Scheme, Target, Trust};

fn part(after: u64, took: u64) -> Option<Part> {
    Some(Part { after: Duration::from_micros(after), took: Duration::from_micros(took) })
}

/// A request that came at noon, and waited for everything that there is.
fn trace() -> Trace {
    Trace {
        context: Context { trace: [7; 16], parent: Some([8; 8]), flags: 1 },
        state: Some(http::HeaderValue::from_static("vendor=1")),
        server: [1; 8],
        upstream: [2; 8],
        began: Timestamp::from_secs(1_800_000_000),
        took: Duration::from_micros(900),
        decided: part(10, 400),
        issuer: part(20, 300),
        claimed: part(350, 50),
        forwarded: part(420, 470),
        method: Method::from_bytes(b"BREW").unwrap(),
        target: Some(Target::new(Scheme::Https, "api.example", "/orders/1?secret=1", &Trust::default()).unwrap()),
        route: None,
        outcome: Outcome::Failed,
        reason: None,
        status: Some(504),
    }
}

fn ids() -> impl FnMut() -> [u8; 8] {
    let mut last = 9;
    move || {
        last += 1;
        [last; 8]
    }
}

#[test]
fn what_is_written_is_what_opentelemetrys_own_messages_read() {
    let spans = spans::of(&trace(), "redis", ids());
    let scope_spans = vec![ScopeSpans { scope: None, spans }];
    let request = ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource: None, scope_spans }] };
    let bytes = request.encode_to_vec();
    let read = Official::decode(bytes.as_slice()).unwrap();
    assert_eq!(read.encode_to_vec(), bytes, "every field is known there under the same number");
    let spans = &read.resource_spans.first().unwrap().scope_spans.first().unwrap().spans;
    let told: Vec<_> = spans
        .iter()
        .map(|span| {
            let from = span.start_time_unix_nano - 1_800_000_000_000_000_000;
            (span.name.as_str(), *span.parent_span_id.first().unwrap(), span.kind, from, span.end_time_unix_nano)
        })
        .map(|(name, parent, kind, from, to)| (name, parent, kind, from, to - 1_800_000_000_000_000_000))
        .collect();
    let [internal, server, client] = [SpanKind::Internal, SpanKind::Server, SpanKind::Client].map(i32::from);
    assert_eq!(
        told,
        [
            ("_OTHER", 8, server, 0, 900_000),
            ("decision", 1, internal, 10_000, 410_000),
            ("ask issuer", 10, client, 20_000, 320_000),
            ("claim proof", 10, client, 350_000, 400_000),
            ("_OTHER", 1, client, 420_000, 890_000),
        ]
    );
    assert!(spans.iter().all(|span| span.trace_id == [7; 16] && span.trace_state == "vendor=1"));
    assert!(!String::from_utf8_lossy(&bytes).contains("secret"), "a query");
    assert!(!String::from_utf8_lossy(&bytes).contains("BREW"), "a method that is none");
}

#[test]
fn a_refusal_is_no_error_and_a_failure_is_one() {
    for (outcome, reason, status, failed) in [
        (Outcome::Refused, Some(Reason::Replayed), Some(401), false),
        (Outcome::Refused, Some(Reason::StoreUnavailable), Some(503), true),
        (Outcome::Failed, None, Some(502), true),
        (Outcome::Failed, None, None, true),
        (Outcome::Answered, None, Some(204), false),
    ] {
        let trace = Trace { outcome, reason, status, forwarded: None, ..trace() };
        let spans = spans::of(&trace, "memory", ids());
        assert_eq!(spans.first().unwrap().status.is_some(), failed, "{outcome:?} {status:?}");
    }
}

/// A collector that answers with these, one a connection, and then with 200; and how often it was asked.
async fn collector(answers: &'static [StatusCode]) -> (OtlpOptions, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/v1/traces", listener.local_addr().unwrap())).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answers.get(count.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(StatusCode::OK);
            let _ = stream.read(&mut [0; 65_536]).await;
            let head = format!("HTTP/1.1 {} x\r\ncontent-length: 0\r\n\r\n", answer.as_u16());
            let _ = stream.write_all(head.as_bytes()).await;
        }
    });
    let tls = crate::tls::trusting_nobody().unwrap();
    (OtlpOptions { url, headers: http::HeaderMap::new(), service_name: "gate".to_owned(), share: 1.0, tls }, asked)
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    const BUSY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    for (answers, tries, exported) in [
        (&[][..], 1, true),
        (&[BUSY, StatusCode::TOO_MANY_REQUESTS, BUSY, BUSY], 5, true),
        (&[BUSY; 5], 5, false),
        (&[StatusCode::BAD_REQUEST], 1, false),
        (&[StatusCode::INTERNAL_SERVER_ERROR], 1, false),
    ] {
        let (options, asked) = collector(answers).await;
        let counter = || IntCounter::new("counted", "counted").unwrap();
        let (counted, dropped) = (counter(), counter());
        let (queue, finished) = mpsc::channel(1);
        let (_ending, ended) = oneshot::channel();
        let pace = Pace { gather: Duration::ZERO, pause: Duration::from_millis(1) };
        let export = Export::new(Collector::new(options, "memory"), counted.clone(), dropped.clone(), pace);
        let task = tokio::spawn(export.run(finished, ended));
        queue.send(trace()).await.unwrap();
        while counted.get() + dropped.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!((asked.load(Ordering::SeqCst), counted.get()), (tries, u64::from(exported)), "{answers:?}");
        drop(queue);
        task.await.unwrap();
    }
}

#[test]
fn a_bug_of_the_urls_is_never_tried_again() {
    assert!(!collector::ExportError::Request(http::Uri::try_from("http://").unwrap_err().into()).may_pass());
}
