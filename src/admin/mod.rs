//! Probes, metrics and the status page: for operators, on an address of their own.

mod status;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use crate::metrics::Metrics;

pub use status::{EndpointStatus, NonceStatus, Readiness, ReplayStatus, RouteStatus, Status};

/// Of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const JSON_TYPE: &str = "application/json";
/// The page is made of these; it loads nothing else, asks nobody else, and is framed by nobody.
const PAGE: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/status.css", "text/css; charset=utf-8", include_str!("page/status.css")),
    ("/status.js", "text/javascript; charset=utf-8", include_str!("page/status.js")),
];
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The admin door.
pub struct Admin {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How the gate is doing now.
    pub status: Arc<dyn Fn() -> Status + Send + Sync>,
}

impl Admin {
    /// Answers `/metrics`, `/livez`, `/readyz`, `/status.json`, and the page at `/`.
    pub fn handle<B>(&self, request: &Request<B>) -> Response<Bytes> {
        let head = request.method() == Method::HEAD;
        let mut response = self.answer(request.uri().path());
        if !head && request.method() != Method::GET && response.status() != StatusCode::NOT_FOUND {
            response = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT_TYPE, "GET or HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if head {
            let length = response.body().len();
            response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
            *response.body_mut() = Bytes::new();
        }
        response
    }

    fn answer(&self, path: &str) -> Response<Bytes> {
        let unrendered = |what| reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT_TYPE, what);
        match path {
            "/metrics" => match self.metrics.render() {
                Ok(text) => reply(StatusCode::OK, METRICS_TYPE, text),
                Err(_) => unrendered("metrics cannot be rendered\n"),
            },
            "/status.json" => match (self.status)().to_json() {
                Ok(json) => reply(StatusCode::OK, JSON_TYPE, json),
                Err(_) => unrendered("the status cannot be rendered\n"),
            },
            "/livez" => reply(StatusCode::OK, TEXT_TYPE, "ok\n"),
            "/readyz" => ready(&(self.status)()),
            _ => match PAGE.iter().find(|(known, ..)| *known == path) {
                Some((_, media_type, content)) => reply(StatusCode::OK, media_type, *content),
                None => reply(StatusCode::NOT_FOUND, TEXT_TYPE, "not found\n"),
            },
        }
    }
}

fn ready(status: &Status) -> Response<Bytes> {
    let refused = |reason: String| reply(StatusCode::SERVICE_UNAVAILABLE, TEXT_TYPE, reason);
    match status.readiness {
        Readiness::Ready => reply(StatusCode::OK, TEXT_TYPE, "ok\n"),
        Readiness::Draining => refused("draining\n".into()),
        Readiness::NoStore => {
            let why = status.replay.shared.as_ref().and_then(|shared| shared.master.as_ref().err());
            let why = why.map(ToString::to_string).unwrap_or_default();
            refused(format!("the replay store has not been reached yet: {why}\n"))
        }
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
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::issuer::IssuerStatus;
    use crate::jose::Thumbprint;
    use crate::journal::{RecentRefusal, Stretch};
    use crate::metrics::{Outcome, Reason, Totals};
    use crate::replay::{LinkError, OnUnavailable, RedisStatus};

    fn totals(refused: u64) -> Totals {
        let mut totals = Totals::default();
        totals.add_outcome(Outcome::Refused, refused);
        totals.add_reason(Reason::Replayed, refused);
        totals
    }

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
            nonces: Some(NonceStatus { lifetime: 300, rotating: false }),
            replay: ReplayStatus {
                entries: 17,
                capacity: 1000,
                shared: Some(RedisStatus {
                    master: Err(LinkError::Evicts("allkeys-lru".into())),
                    on_unavailable: OnUnavailable::Memory,
                }),
            },
            connections: 3,
            totals: totals(7),
            history: vec![Stretch { until: Timestamp::from_secs(1_800_000_090), counted: totals(5) }],
            refusals: vec![RecentRefusal {
                at: Timestamp::from_secs(1_800_000_080),
                route: Some("<orders>".into()),
                reason: Reason::Replayed,
                status: 401,
                jkt: Some(Thumbprint::from_bytes([7; 32])),
            }],
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
            (Method::POST, "/status.json", 405),
            (Method::GET, "/status.json", 200),
            (Method::GET, "/status.css", 200),
            (Method::GET, "/status.js", 200),
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
        let (status, body) = ask(&admin(Readiness::NoStore), Method::GET, "/readyz");
        assert_eq!(status, 503);
        assert!(body.contains("not been reached yet: the server may evict keys"), "{body}");
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
        assert!(std::str::from_utf8(response.body()).unwrap().contains("dpop_gate_build_info"));
    }

    #[test]
    fn the_page_is_whole_and_may_load_nothing_else() {
        let admin = admin(Readiness::Ready);
        for (path, media_type, _) in PAGE {
            let response = admin.handle(&Request::builder().uri(path).body(()).unwrap());
            assert_eq!(response.headers()[CONTENT_TYPE], media_type);
            let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        }
        let (_, page) = ask(&admin, Method::GET, "/");
        for outside in ["http:", "https:", "//", "<style", "style=", "onclick"] {
            assert!(!page.contains(outside), "{outside}");
        }
        for wanted in page.split(['"']).filter(|word| word.starts_with('/') && word.len() > 1) {
            assert_eq!(ask(&admin, Method::GET, wanted).0, 200, "{wanted}");
        }
    }

    #[test]
    fn what_the_page_reads_is_the_state_and_no_whole_thumbprint() {
        let (_, body) = ask(&admin(Readiness::NoKeys), Method::GET, "/status.json");
        let status: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status["readiness"], "no_keys");
        assert_eq!(status["upstreams"][0]["endpoints"][0]["healthy"], false);
        assert_eq!(
            status["issuers"][1],
            json!({"issuer": "https://two.example.com", "keys": 2, "refreshed": 1_800_000_060.0})
        );
        let why = "the server may evict keys (maxmemory-policy allkeys-lru); expected noeviction";
        let shared = json!({"address": null, "error": why, "meanwhile": "this process decides by itself"});
        assert_eq!(status["replay"], json!({"entries": 17, "capacity": 1000, "shared": shared}));
        assert_eq!(status["totals"]["reasons"], json!({"replayed": 7}));
        assert_eq!(status["history"][0]["outcomes"], json!({"refused": 5}));
        let shown = Thumbprint::from_bytes([7; 32]).to_string();
        assert_eq!(status["refusals"][0]["jkt"], shown[..10]);
        assert!(!body.contains(&shown));
    }
}
