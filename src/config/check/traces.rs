//! `traces`.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::client::Url;
use crate::config::raw;
use crate::telemetry::otlp::OtlpOptions;
use crate::tls::trusting_nobody;

use super::Checker;
use super::address::{is_loopback, parse_url};

/// Where OTLP takes traces, behind the collector's URL.
const PATH: &str = "/v1/traces";

impl Checker<'_> {
    /// Where traces go.
    pub(super) fn traces(&mut self, traces: &raw::Traces) -> Option<OtlpOptions> {
        self.filled("traces.service_name", &traces.service_name, "a name such as dpop-gate");
        if !(0.0..=1.0).contains(&traces.sample) {
            self.error("traces.sample", "out of bounds; expected a share from 0 to 1, such as 0.1");
        }
        let url = self.collector(&traces.otlp);
        let headers = match &traces.headers_file {
            Some(file) => self.collector_headers(file)?,
            None => HeaderMap::new(),
        };
        let url = url?;
        if !headers.is_empty() && !url.is_https() && !traces.otlp.parse().is_ok_and(|uri| is_loopback(&uri)) {
            let message = "sent over plain http beyond loopback, where whoever sits between reads them; expected https";
            self.warn("traces.headers_file", message);
        }
        let tls = self.collector_tls(&url, traces.tls.as_ref())?;
        Some(OtlpOptions { url, headers, service_name: traces.service_name.clone(), share: traces.sample, tls })
    }

    fn collector(&mut self, text: &str) -> Option<Url> {
        let key = "traces.otlp";
        if self.report.is_broken(key) {
            return None;
        }
        let reason = match parse_url(text) {
            Ok(uri) if uri.query().is_some() => "a query in it",
            Ok(_) => {
                let base = text.trim_end_matches('/');
                let path = if base.ends_with(PATH) { "" } else { PATH };
                return Url::parse(&format!("{base}{path}"));
            }
            Err(reason) => reason,
        };
        self.error(key, format!("{reason}; expected the URL of a collector, such as http://127.0.0.1:4318"));
        None
    }

    fn collector_headers(&mut self, file: &str) -> Option<HeaderMap> {
        let key = "traces.headers_file";
        if self.report.is_broken(key) {
            return None;
        }
        let secret = self.read_secret(key, file)?;
        let headers = std::str::from_utf8(secret.reveal()).ok().and_then(header_lines);
        if headers.is_none() {
            self.error(key, "a line that is no header; expected one `Name: value` a line");
        }
        headers
    }

    fn collector_tls(&mut self, url: &Url, tls: Option<&raw::ClientTls>) -> Option<Arc<rustls::ClientConfig>> {
        let key = "traces.tls";
        if !url.is_https() && tls.is_some() {
            self.error(key, "nothing is encrypted with this `otlp`; expected https, or no `tls`");
            return None;
        }
        if !url.is_https() {
            return trusting_nobody().map_err(|error| self.tls_error(key, &[], &error)).ok();
        }
        let mut config = Arc::unwrap_or_clone(self.tls_towards(key, tls)?);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Some(Arc::new(config))
    }
}

/// `None` if one of the lines is no header.
fn header_lines(text: &str) -> Option<HeaderMap> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let mut value = HeaderValue::from_str(value.trim()).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
    };
    lines.map(header).collect()
}
