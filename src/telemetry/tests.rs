#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{self, Write};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing::{debug, error, info, trace, warn};

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines(wanted: &str, style: Style, log: impl FnOnce()) -> Vec<String> {
    let sink = Sink::default();
    let writer = sink.clone();
    let clock = Clock::Manual(Arc::new(AtomicU64::new(1_800_000_000_000_042)));
    let subscriber = subscriber(wanted, style, clock, move || writer.clone());
    tracing::subscriber::with_default(subscriber, log);
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

fn objects(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_access_line_is_its_fields_and_nothing_else() {
    let lines = lines("", Style::Json, || {
        info!(target: "dpop_gate::access", status = 401_u64, path = "/a\"\n\u{1b}[2J", upstream_ms = 0.5, up = true, n = -1_i64,
            reason = %"replayed", sub = tracing::field::Empty, jkt = None::<&str>);
    });
    assert_eq!(
        objects(&lines),
        [json!({
            "time": "2027-01-15T08:00:00.000042Z", "level": "INFO", "status": 401, "path": "/a\"\n\u{1b}[2J",
            "upstream_ms": 0.5, "up": true, "n": -1, "reason": "replayed",
        })]
    );
    assert!(!lines[0].contains('\u{1b}'));
}

#[test]
fn another_line_has_message_target_and_fields() {
    let lines = lines("", Style::Json, || warn!(address = ?Some(1), "it is {}", "late"));
    assert_eq!(
        objects(&lines),
        [json!({
            "time": "2027-01-15T08:00:00.000042Z", "level": "WARN", "target": "dpop_gate::telemetry::tests",
            "message": "it is late", "address": "Some(1)",
        })]
    );
}

#[test]
fn text_stays_on_its_line_and_moves_no_cursor() {
    let lines = lines("", Style::Text, || error!(path = "/a b\n\u{1b}[2J", status = 5, "it's \n\u{1b}[2J"));
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("2027-01-15T08:00:00.000042Z ERROR dpop_gate::telemetry::tests: it's \\n"),
        "{lines:?}"
    );
    assert!(lines[0].contains("status=5") && !lines[0].contains('\u{1b}'), "{lines:?}");
}

#[test]
fn rust_log_decides_on_our_own_events_and_info_is_the_default() {
    let log = || {
        trace!("t");
        debug!("d");
        info!("i");
        warn!("w");
    };
    for (wanted, count) in [("", 2), ("debug", 3), ("trace", 4), ("error", 0), ("dpop_gate=warn", 1), ("!&/", 2)] {
        assert_eq!(lines(wanted, Style::Json, log).len(), count, "{wanted}");
    }
}

#[test]
fn no_rust_log_makes_a_library_tell_header_values() {
    for wanted in
        ["trace", "h2=trace", "h2::codec=trace,hyper=debug", "hyper_util=trace,rustls=trace,tokio_rustls=trace"]
    {
        let lines = lines(wanted, Style::Json, || {
            trace!(target: "h2::codec::framed_read", "secret");
            debug!(target: "h2", "secret");
            debug!(target: "hyper::proto::h1::io", "secret");
            trace!(target: "hyper_util::client", "secret");
            debug!(target: "rustls::server::hs", "secret");
            trace!(target: "tokio_rustls", "secret");
            trace!(target: "dpop_gated", "secret");
            debug!(target: "accessory", "secret");
        });
        assert!(lines.is_empty(), "{wanted}: {lines:?}");
    }
    // Their warnings are welcome.
    assert_eq!(lines("info", Style::Json, || warn!(target: "h2", "w")).len(), 1);
}
