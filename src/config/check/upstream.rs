//! `upstreams`.

use std::sync::Arc;

use http::uri::Authority;

use crate::config::raw;
use crate::proxy::upstream::{Balance, Endpoint, HealthCheck, Protocol, UpstreamOptions};

use super::Checker;
use super::address::{parse_host, parse_url};

impl Checker<'_> {
    /// Where requests go.
    pub(super) fn upstreams(&mut self, file: &raw::File) -> Vec<UpstreamOptions> {
        let mut upstreams = Vec::with_capacity(file.upstreams.len());
        // A route that misspells an upstream's name is told so; the upstream is not unused for that.
        let is_known =
            |route: &raw::Route| route.upstream.as_ref().is_some_and(|name| file.upstreams.contains_key(name));
        let all_known = file.routes.iter().all(is_known);
        for (name, upstream) in &file.upstreams {
            let key = format!("upstreams.{name}");
            self.filled(&key, name, "a name");
            upstreams.push(self.upstream(&key, name, upstream));
            if all_known && !file.routes.iter().any(|route| route.upstream.as_ref() == Some(name)) {
                self.warn(&key, "no route uses it; expected a route with this `upstream`, or no such upstream");
            }
        }
        upstreams
    }

    fn upstream(&mut self, key: &str, name: &str, upstream: &raw::Upstream) -> UpstreamOptions {
        let endpoints = self.endpoints(&format!("{key}.urls"), &upstream.urls);
        let protocol = match upstream.protocol {
            raw::Protocol::Auto => Protocol::Auto,
            raw::Protocol::Http1 => Protocol::Http1,
            raw::Protocol::Http2 => Protocol::Http2,
        };
        let balance = match upstream.balance {
            raw::Balance::LeastRequests => Balance::LeastRequests,
            raw::Balance::RoundRobin => Balance::RoundRobin,
        };
        let health_check =
            upstream.health_check.as_ref().map(|check| self.health_check(&format!("{key}.health_check"), check));
        let server_name = upstream.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        UpstreamOptions {
            name: name.into(),
            tls: self.upstream_tls(&format!("{key}.tls"), upstream.tls.as_ref(), &endpoints),
            endpoints,
            protocol,
            balance,
            connect_timeout: self.span(&format!("{key}.connect_timeout"), &upstream.connect_timeout, "10ms", "1m"),
            timeout: self.span(&format!("{key}.timeout"), &upstream.timeout, "10ms", "1h"),
            health_check,
            server_name: server_name.and_then(|name| self.server_name(&format!("{key}.tls.server_name"), name)),
            preserve_host: upstream.preserve_host,
        }
    }

    fn endpoints(&mut self, key: &str, urls: &[String]) -> Vec<Endpoint> {
        let mut endpoints = Vec::with_capacity(urls.len());
        for (index, url) in urls.iter().enumerate() {
            let key = format!("{key}[{index}]");
            let endpoint = match url.strip_prefix("unix:") {
                Some("") => Err("no path behind unix:"),
                Some(path) => Ok(Endpoint::Unix(self.path(path))),
                None => parse_endpoint(url),
            };
            match endpoint {
                Ok(endpoint) if endpoints.contains(&endpoint) => self.error(&key, "listed twice; expected once"),
                Ok(endpoint) => endpoints.push(endpoint),
                Err(reason) => self.error(
                    &key,
                    format!(
                        "{reason}; expected scheme, host and port only, such as http://127.0.0.1:9000, or unix:/path"
                    ),
                ),
            }
        }
        endpoints
    }

    fn health_check(&mut self, key: &str, check: &raw::HealthCheck) -> HealthCheck {
        let path_key = format!("{key}.path");
        let is_path = check.path.starts_with('/') && check.path.parse::<http::uri::PathAndQuery>().is_ok();
        if !is_path {
            self.error(&path_key, "no path; expected one such as /healthz");
        }
        HealthCheck {
            path: check.path.clone(),
            interval: self.span(&format!("{key}.interval"), &check.interval, "100ms", "1h"),
        }
    }

    /// TLS where an endpoint needs it: written, or the system's roots.
    fn upstream_tls(
        &mut self,
        key: &str,
        tls: Option<&raw::UpstreamTls>,
        endpoints: &[Endpoint],
    ) -> Option<Arc<rustls::ClientConfig>> {
        let needs_tls = endpoints.iter().any(|endpoint| matches!(endpoint, Endpoint::Https(_)));
        if tls.is_some() && !needs_tls && !endpoints.is_empty() {
            self.error(key, "no https address in `urls`, so that nothing is encrypted; expected https://, or no `tls`");
            return None;
        }
        if !needs_tls {
            return None;
        }
        let ca = tls.and_then(|tls| tls.ca.as_deref());
        let certificate = tls.and_then(|tls| tls.client_certificate.as_deref());
        self.client_tls_files(key, ca, certificate, tls.and_then(|tls| tls.client_key.as_deref()))
    }

    fn server_name(&mut self, key: &str, name: &str) -> Option<String> {
        let host = parse_host(name);
        if host.is_none() {
            self.error(key, "no host name; expected one such as orders.internal");
        }
        host
    }
}

/// `http://host[:port]` or `https://host[:port]`, with the port that the scheme stands for.
fn parse_endpoint(text: &str) -> Result<Endpoint, &'static str> {
    let uri = parse_url(text)?;
    if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
        return Err("a path or query in it (the request's own goes upstream)");
    }
    let written = uri.authority().ok_or("no host in it")?;
    let is_tls = uri.scheme_str() == Some("https");
    let port = written.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let authority: Authority = format!("{}:{port}", written.host()).parse().map_err(|_| "not a URL")?;
    Ok(if is_tls { Endpoint::Https(authority) } else { Endpoint::Http(authority) })
}
