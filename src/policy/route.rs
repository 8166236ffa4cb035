//! Routes: the first match wins, and what matched is what is forwarded.

use std::fmt;
use std::sync::Arc;

use http::Method;

use crate::metrics::RouteMetrics;

use super::Requirement;

/// What a route demands of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// A bound token under `DPoP`, with a proof.
    Dpop,
    /// That, or an unbound token under `Bearer`: for migration.
    DpopOrBearer,
    /// Nothing: somebody wrote `public`.
    Public,
    /// A proof alone: an authorization server's token endpoint.
    TokenEndpoint,
}

/// What becomes of a request that fails the demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    Enforce,
    /// It goes upstream as it came, counted and logged.
    Report,
}

/// How a path is matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// This path and no other.
    Exact(String),
    /// Every path that starts so; ends in `/`.
    Prefix(String),
}

/// Which requests a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// The normalised path.
    pub path: PathMatch,
    /// These methods; empty means all.
    pub methods: Vec<Method>,
    /// This host (lower case, no port); `None` means all.
    pub host: Option<String>,
}

/// Which browser origins may call, and read what comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// To the letter, or the single member `*`.
    pub origins: Vec<String>,
}

/// One route.
pub struct Route {
    /// Which requests it is for.
    pub matches: RouteMatch,
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// What it demands.
    pub auth: Auth,
    /// What becomes of a failure.
    pub mode: Mode,
    /// What the token must grant.
    pub require: Requirement,
    /// CORS, where the gate is to answer it.
    pub cors: Option<Cors>,
    /// The route's label, and its counters.
    pub metrics: Arc<RouteMetrics>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("label", &self.metrics.label())
            .field("matches", &self.matches)
            .finish_non_exhaustive()
    }
}

/// All routes, in the order of the file.
#[derive(Debug, Default)]
pub struct Routes(Vec<Arc<Route>>);

impl Routes {
    /// Takes them in their order.
    pub fn new(routes: Vec<Route>) -> Self {
        Self(routes.into_iter().map(Arc::new).collect())
    }

    /// The first that matches; `host` is lower case and has no port, `path` is normalised.
    pub fn find(&self, method: &Method, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.0.iter().find(|route| route.matches.covers(method, host, path))
    }

    /// The first that is called so.
    pub fn named(&self, label: &str) -> Option<&Arc<Route>> {
        self.0.iter().find(|route| route.metrics.label() == label)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.0.iter()
    }
}

impl RouteMatch {
    fn covers(&self, method: &Method, host: &str, path: &str) -> bool {
        let path = match &self.path {
            PathMatch::Exact(exact) => path == exact,
            PathMatch::Prefix(prefix) => path.starts_with(prefix.as_str()),
        };
        path && (self.methods.is_empty() || self.methods.contains(method))
            && self.host.as_deref().is_none_or(|wanted| wanted == host)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn routes(rows: &[(&str, PathMatch, &[Method], Option<&str>)]) -> Routes {
        let metrics = Metrics::new().unwrap();
        let route = |(label, path, methods, host): &(&str, PathMatch, &[Method], Option<&str>)| Route {
            matches: RouteMatch { path: path.clone(), methods: methods.to_vec(), host: host.map(str::to_owned) },
            upstream: "u".into(),
            auth: Auth::Dpop,
            mode: Mode::Enforce,
            require: Requirement::default(),
            cors: None,
            metrics: metrics.route(label),
        };
        Routes::new(rows.iter().map(route).collect())
    }

    #[test]
    fn the_first_match_wins() {
        let routes = routes(&[
            ("write", PathMatch::Prefix("/orders/".into()), &[Method::POST], None),
            ("host", PathMatch::Prefix("/orders/".into()), &[], Some("api.example.com")),
            ("exact", PathMatch::Exact("/orders".into()), &[], None),
            ("rest", PathMatch::Prefix("/orders/".into()), &[], None),
        ]);
        for (method, host, path, expected) in [
            (Method::POST, "api.example.com", "/orders/1", Some("write")),
            (Method::GET, "api.example.com", "/orders/1", Some("host")),
            (Method::GET, "other.example.com", "/orders/1", Some("rest")),
            (Method::GET, "other.example.com", "/orders/", Some("rest")),
            (Method::GET, "other.example.com", "/orders", Some("exact")),
            (Method::GET, "other.example.com", "/ordersx", None),
            (Method::GET, "other.example.com", "/ORDERS/", None),
            (Method::from_bytes(b"post").unwrap(), "other.example.com", "/orders/1", Some("rest")),
        ] {
            let found = routes.find(&method, host, path).map(|route| route.metrics.label());
            assert_eq!(found, expected, "{method} {host} {path}");
        }
    }
}
