//! Probes, metrics and the status page: for operators, on an address of their own.

mod page;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use crate::clock::Timestamp;
use crate::issuer::IssuerStatus;
use crate::metrics::Metrics;

/// Of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const HTML_TYPE: &str = "text/html; charset=utf-8";
/// The page loads nothing, runs nothing, is framed by nobody.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The admin door.
pub struct Admin {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How the gate is doing now.
    pub status: Arc<dyn Fn() -> Status + Send + Sync>,
}

/// How the gate is doing.
#[derive(Debug, Clone)]
pub struct Status {
    /// When this was asked.
    pub now: Timestamp,
    /// When the process started.
    pub started: Timestamp,
    /// Whether traffic should come.
    pub readiness: Readiness,
    /// The routes, in their order.
    pub routes: Vec<RouteStatus>,
    /// The upstreams by name.
    pub upstreams: Vec<(Arc<str>, Vec<EndpointStatus>)>,
    /// The issuers.
    pub issuers: Vec<IssuerStatus>,
}

/// One address of an upstream.
#[derive(Debug, Clone)]
pub struct EndpointStatus {
    /// Its URL.
    pub url: String,
    /// Whether requests are sent there.
    pub healthy: bool,
    /// Requests in flight.
    pub in_flight: usize,
}

/// Whether traffic should come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It should.
    Ready,
    /// An issuer has no keys yet: its tokens could not be verified.
    NoKeys,
    /// The gate is going away.
    Draining,
}

/// One route on the status page.
#[derive(Debug, Clone)]
pub struct RouteStatus {
    /// Its label.
    pub label: String,
    /// What it is for: methods, host, path.
    pub matches: String,
    /// Where it goes.
    pub upstream: Arc<str>,
    /// What it demands, as the configuration spells it.
    pub auth: &'static str,
    /// What becomes of a failure, as the configuration spells it.
    pub mode: &'static str,
}

impl Admin {
    /// Answers `/metrics`, `/livez`, `/readyz`, `/`.
    pub fn handle<B>(&self, request: &Request<B>) -> Response<Bytes> {
        let head = request.method() == Method::HEAD;
        let known = matches!(request.uri().path(), "/" | "/metrics" | "/livez" | "/readyz");
        let mut response = if !known {
            reply(StatusCode::NOT_FOUND, TEXT_TYPE, "not found\n")
        } else if head || request.method() == Method::GET {
            self.answer(request.uri().path())
        } else {
            let mut refused = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT_TYPE, "GET or HEAD\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        };
        if head {
            let length = response.body().len();
            response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
            *response.body_mut() = Bytes::new();
        }
        response
    }

    fn answer(&self, path: &str) -> Response<Bytes> {
        match path {
            "/metrics" => self.scraped(),
            "/livez" => reply(StatusCode::OK, TEXT_TYPE, "ok\n"),
            "/readyz" => ready(&(self.status)()),
            _ => reply(StatusCode::OK, HTML_TYPE, page::render(&(self.status)())),
        }
    }

    fn scraped(&self) -> Response<Bytes> {
        let issuers = (self.status)().issuers;
        let seconds = |at: Timestamp| i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        let refreshed = issuers.iter().filter_map(|issuer| Some((issuer.issuer.as_str(), seconds(issuer.refreshed?))));
        self.metrics.jwks_refreshed(refreshed);
        match self.metrics.render() {
            Ok(text) => reply(StatusCode::OK, METRICS_TYPE, text),
            Err(_) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT_TYPE, "metrics cannot be rendered\n"),
        }
    }
}

fn ready(status: &Status) -> Response<Bytes> {
    let refused = |reason: String| reply(StatusCode::SERVICE_UNAVAILABLE, TEXT_TYPE, reason);
    match status.readiness {
        Readiness::Ready => reply(StatusCode::OK, TEXT_TYPE, "ok\n"),
        Readiness::Draining => refused("draining\n".into()),
        Readiness::NoKeys => {
            let waiting = status.issuers.iter().filter(|issuer| issuer.keys == Some(0));
            let names: Vec<&str> = waiting.map(|issuer| issuer.issuer.as_str()).collect();
            refused(format!("no keys yet: {}\n", names.join(", ")))
        }
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn admin(readiness: Readiness) -> Admin {
        let status = Status {
            now: Timestamp::from_secs(1_800_000_090),
            started: Timestamp::from_secs(1_800_000_000),
            readiness,
            routes: vec![RouteStatus {
                label: "<orders>".into(),
                matches: "GET /orders/".into(),
                upstream: "orders".into(),
                auth: "dpop",
                mode: "enforce",
            }],
            upstreams: vec![(
                "orders".into(),
                vec![EndpointStatus { url: "http://127.0.0.1:9000".into(), healthy: false, in_flight: 3 }],
            )],
            issuers: vec![
                IssuerStatus { issuer: "https://id.example.com".into(), keys: Some(0), refreshed: None },
                IssuerStatus {
                    issuer: "https://two.example.com".into(),
                    keys: Some(2),
                    refreshed: Some(Timestamp::from_secs(1_800_000_060)),
                },
            ],
        };
        Admin { metrics: Arc::new(Metrics::new().unwrap()), status: Arc::new(move || status.clone()) }
    }

    fn ask(admin: &Admin, method: Method, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let response = admin.handle(&request);
        (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
    }

    #[test]
    fn every_path_and_method_has_its_answer() {
        let admin = admin(Readiness::Ready);
        for (method, path, status) in [
            (Method::POST, "/", 405),
            (Method::DELETE, "/metrics", 405),
            (Method::GET, "/metrics/", 404),
            (Method::POST, "/nothing", 404),
            (Method::GET, "/metrics", 200),
            (Method::GET, "/livez", 200),
            (Method::GET, "/readyz?verbose", 200),
            (Method::GET, "/", 200),
        ] {
            let (found, body) = ask(&admin, method.clone(), path);
            assert_eq!(found, status, "{method} {path}");
            assert!(!body.is_empty(), "{method} {path}");
        }
        for path in ["/metrics", "/livez", "/readyz", "/"] {
            assert_eq!(ask(&admin, Method::HEAD, path), (200, String::new()), "{path}");
        }
    }

    #[test]
    fn readiness_says_why_not() {
        let (status, body) = ask(&admin(Readiness::NoKeys), Method::GET, "/readyz");
        assert_eq!((status, body.as_str()), (503, "no keys yet: https://id.example.com\n"));
        assert_eq!(ask(&admin(Readiness::Draining), Method::GET, "/readyz"), (503, "draining\n".into()));
        assert_eq!(ask(&admin(Readiness::Draining), Method::GET, "/livez").0, 200);
    }

    #[test]
    fn the_metrics_carry_their_content_type() {
        let request = Request::builder().uri("/metrics").body(()).unwrap();
        let response = admin(Readiness::Ready).handle(&request);
        assert_eq!(response.headers()[CONTENT_TYPE], METRICS_TYPE);
        let text = std::str::from_utf8(response.body()).unwrap();
        assert!(text.contains("dpop_gate_build_info"));
        let refreshed = "dpop_gate_jwks_refreshed_timestamp_seconds{issuer=\"https://two.example.com\"} 1800000060";
        assert!(text.contains(refreshed) && !text.contains("timestamp_seconds{issuer=\"https://id."), "{text}");
    }

    #[test]
    fn the_page_shows_state_escaped_and_loads_nothing() {
        let request = Request::builder().uri("/").body(()).unwrap();
        let response = admin(Readiness::NoKeys).handle(&request);
        assert!(response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
        let page = std::str::from_utf8(response.body()).unwrap();
        for shown in ["&lt;orders&gt;", "http://127.0.0.1:9000", "not healthy", "https://two.example.com", "30 s ago"] {
            assert!(page.contains(shown), "{shown} is missing in {page}");
        }
        for absent in ["<orders>", "<script", "src=", "href="] {
            assert!(!page.contains(absent), "{absent}");
        }
    }
}
