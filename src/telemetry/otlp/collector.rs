//! The collector: where batches are posted to (OTLP 1.x, section "OTLP/HTTP").

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use prost::Message as _;
use thiserror::Error;

use crate::client::{self, AGENT, ExchangeError, Url};
use crate::journal::Trace;

use super::message::{ExportTraceServiceRequest, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans};
use super::spans;

/// How long a post may take, connecting included: OTLP's own default.
const TIMEOUT: Duration = Duration::from_secs(10);

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// How traces are exported.
#[derive(Clone)]
pub struct OtlpOptions {
    /// Where to, `/v1/traces` included.
    pub url: Url,
    /// What the collector wants to be sent besides, such as a key.
    pub headers: HeaderMap,
    /// What this service is called there.
    pub service_name: String,
    /// Which share is traced of the requests whose callers do not say: 0 to 1.
    pub share: f64,
    /// What https is spoken with; HTTP/1.1 is spoken over it.
    pub tls: Arc<rustls::ClientConfig>,
}

impl fmt::Debug for OtlpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("OtlpOptions");
        shown.field("url", &self.url).field("service_name", &self.service_name).field("share", &self.share);
        shown.finish_non_exhaustive()
    }
}

/// Why a batch did not arrive.
#[derive(Debug, Error)]
pub(super) enum ExportError {
    /// There is no answer.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// There is none in time.
    #[error("the collector does not answer in time")]
    TimedOut,
    /// It does not take them.
    #[error("the collector answers {0}")]
    Refused(StatusCode),
    /// What was configured makes no request.
    #[error("no request can be made of the collector's URL")]
    Request(#[from] http::Error),
}

impl ExportError {
    /// Whether the same batch may be taken later: OTLP lists these statuses and no others.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Exchange(_) | Self::TimedOut => true,
            Self::Refused(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Request(_) => false,
        }
    }
}

/// Posts batches.
pub(super) struct Collector {
    options: OtlpOptions,
    store: &'static str,
}

impl Collector {
    pub(super) fn new(options: OtlpOptions, store: &'static str) -> Self {
        Self { options, store }
    }

    /// Posts a batch over a connection of its own: there is one in seconds.
    pub(super) async fn post(&self, batch: &[Trace]) -> Result<(), ExportError> {
        let OtlpOptions { url, headers, tls, .. } = &self.options;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(url.path_and_query())
            .body(Full::new(Bytes::from(self.message(batch).encode_to_vec())))?;
        let sent = request.headers_mut();
        sent.extend(headers.clone());
        sent.insert(HOST, HeaderValue::from_str(url.authority()).map_err(http::Error::from)?);
        sent.insert(CONTENT_TYPE, PROTOBUF);
        sent.insert(USER_AGENT, AGENT);
        let answer = tokio::time::timeout(TIMEOUT, client::send(url, tls, request)).await;
        match answer.map_err(|_elapsed| ExportError::TimedOut)??.status() {
            status if status.is_success() => Ok(()),
            status => Err(ExportError::Refused(status)),
        }
    }

    fn message(&self, batch: &[Trace]) -> ExportTraceServiceRequest {
        let version = env!("CARGO_PKG_VERSION");
        let resource = Resource {
            attributes: vec![
                KeyValue::text("service.name", &*self.options.service_name),
                KeyValue::text("service.version", version),
            ],
        };
        let scope = InstrumentationScope { name: "dpop-gate".to_owned(), version: version.to_owned() };
        let spans = batch.iter().flat_map(|trace| spans::of(trace, self.store, crate::journal::span_id)).collect();
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
            }],
        }
    }
}
