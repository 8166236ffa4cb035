//! A request's trace as OTLP's spans, named by OpenTelemetry's semantic conventions for HTTP.
//!
//! Nothing secret is here to be written: no token, proof or nonce, no query, no caller and no address.

use std::time::Duration;

use http::Method;

use crate::journal::{Context, Part, Trace};
use crate::metrics::Outcome;
use crate::policy::{PathMatch, Route};

use super::message::{KeyValue, Span, SpanKind, Status, StatusCode};

/// OTLP's own flags: whether it is known where the parent is, and that it is elsewhere.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The methods that the conventions know; others could be anything.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// The spans of one request, the parents first. `store` is the replay store's name; `id` makes names of spans.
pub(super) fn of(trace: &Trace, store: &'static str, mut id: impl FnMut() -> [u8; 8]) -> Vec<Span> {
    let mut spans = vec![server(trace)];
    if let Some(part) = &trace.decided {
        let decision = id();
        spans.push(child(trace, &trace.server, decision, "decision", SpanKind::Internal, part));
        if let Some(part) = &trace.issuer {
            spans.push(child(trace, &decision, id(), "ask issuer", SpanKind::Client, part));
        }
        if let Some(part) = &trace.claimed {
            spans.push(claim(child(trace, &decision, id(), "claim proof", SpanKind::Internal, part), store));
        }
    }
    if let Some(part) = &trace.forwarded {
        spans.push(upstream(trace, part));
    }
    spans
}

fn server(trace: &Trace) -> Span {
    let Context { parent, flags, .. } = trace.context;
    let method = method(&trace.method);
    let route = trace.route.as_deref();
    let mut span = span(trace, trace.server, SpanKind::Server, Part { after: Duration::ZERO, took: trace.took });
    span.name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {}", pattern(route)));
    span.parent_span_id = parent.map(Vec::from).unwrap_or_default();
    span.flags = u32::from(flags) | HAS_IS_REMOTE | if parent.is_some() { IS_REMOTE } else { 0 };
    let attributes = &mut span.attributes;
    attributes.push(KeyValue::text("http.request.method", method));
    if let Some(target) = &trace.target {
        attributes.push(KeyValue::text("url.scheme", target.scheme().name()));
        attributes.push(KeyValue::text("url.path", target.path()));
        attributes.push(KeyValue::text("server.address", target.host()));
    }
    if let Some(route) = route {
        attributes.push(KeyValue::text("http.route", pattern(route)));
        attributes.push(KeyValue::text("dpop_gate.route", route.metrics.label()));
    }
    attributes.push(KeyValue::text("dpop_gate.outcome", trace.outcome.as_str()));
    attributes.extend(trace.reason.map(|reason| KeyValue::text("dpop_gate.reason", reason.as_str())));
    answered(&mut span, trace.status, 500);
    span
}

/// A claim at a shared store is a call to a database.
fn claim(mut span: Span, store: &'static str) -> Span {
    span.attributes.push(KeyValue::text("dpop_gate.store", store));
    if store == "redis" {
        span.kind = SpanKind::Client.into();
        span.attributes.push(KeyValue::text("db.system.name", store));
    }
    span
}

fn upstream(trace: &Trace, part: &Part) -> Span {
    let method = method(&trace.method);
    let mut span = child(trace, &trace.server, trace.upstream, method, SpanKind::Client, part);
    span.attributes.push(KeyValue::text("http.request.method", method));
    span.attributes.extend(trace.route.as_deref().map(|route| KeyValue::text("peer.service", &*route.upstream)));
    match trace.outcome {
        // What the client was answered is the upstream's own word.
        Outcome::Allowed | Outcome::Reported => answered(&mut span, trace.status, 400),
        Outcome::Refused | Outcome::Failed | Outcome::Answered => failed(&mut span, trace.status),
    }
    span
}

/// The status, which is an error from that one on.
fn answered(span: &mut Span, status: Option<u16>, errors: u16) {
    let Some(status) = status else { return failed(span, None) };
    span.attributes.push(KeyValue::number("http.response.status_code", status));
    if status >= errors {
        failed(span, Some(status));
    }
}

fn failed(span: &mut Span, status: Option<u16>) {
    let kind = status.map_or_else(|| "client_gone".to_owned(), |status| status.to_string());
    span.attributes.push(KeyValue::text("error.type", kind));
    span.status = Some(Status { code: StatusCode::Error.into() });
}

fn child(trace: &Trace, parent: &[u8; 8], id: [u8; 8], name: &str, kind: SpanKind, part: &Part) -> Span {
    let mut span = span(trace, id, kind, *part);
    span.parent_span_id = parent.to_vec();
    span.name = name.to_owned();
    span.flags = u32::from(trace.context.flags) | HAS_IS_REMOTE;
    span
}

fn span(trace: &Trace, id: [u8; 8], kind: SpanKind, part: Part) -> Span {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let began = trace.began.as_micros().saturating_mul(1000).saturating_add(nanos(part.after));
    let state = trace.state.as_ref().and_then(|state| state.to_str().ok());
    Span {
        trace_id: trace.context.trace.to_vec(),
        span_id: id.to_vec(),
        trace_state: state.unwrap_or_default().to_owned(),
        kind: kind.into(),
        start_time_unix_nano: began,
        end_time_unix_nano: began.saturating_add(nanos(part.took)),
        ..Span::default()
    }
}

fn method(method: &Method) -> &str {
    if METHODS.contains(method) { method.as_str() } else { "_OTHER" }
}

fn pattern(route: &Route) -> &str {
    match &route.matches.path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => path,
    }
}
