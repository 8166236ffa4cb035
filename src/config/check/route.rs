//! `routes`.

use http::Method;
use serde_json::Value;

use crate::config::nearest::nearest;
use crate::config::{RouteConfig, raw};
use crate::policy::{Auth, ClaimRequirement, Cors, Mode, PathMatch, Requirement, RouteMatch};
use crate::target::{Scheme, Target, Trust};

use super::Checker;
use super::address::parse_host;

impl Checker<'_> {
    /// What each request needs, and where it goes.
    pub(super) fn routes(&mut self, file: &raw::File) -> Vec<RouteConfig> {
        let mut routes: Vec<RouteConfig> = Vec::with_capacity(file.routes.len());
        for (index, route) in file.routes.iter().enumerate() {
            let key = format!("routes[{index}]");
            self.route_name(&key, route, file.routes.get(..index).unwrap_or_default());
            let upstream = self.route_upstream(&format!("{key}.upstream"), route, file);
            let matches = self.route_match(&format!("{key}.match"), &route.matches);
            let auth = auth(route.auth);
            self.route_issuers(&format!("{key}.auth"), &key, auth, file);
            let require = self.require(&format!("{key}.require"), &route.require, auth);
            let cors = route.cors.as_ref().map(|cors| self.cors(&format!("{key}.cors.origins"), cors));
            let Some(matches) = matches else { continue };
            self.reachable(&key, &matches, auth, &routes);
            routes.push(RouteConfig {
                label: route.name.clone().unwrap_or_else(|| route.matches.path.clone()),
                matches,
                upstream,
                auth,
                mode: match route.mode {
                    raw::Mode::Enforce => Mode::Enforce,
                    raw::Mode::Report => Mode::Report,
                },
                require,
                cors,
            });
        }
        routes
    }

    fn route_name(&mut self, key: &str, route: &raw::Route, before: &[raw::Route]) {
        let Some(name) = &route.name else { return };
        let key = format!("{key}.name");
        self.filled(&key, name, "a name for metrics and logs");
        if name == "none" {
            self.error(&key, "`none` is the label of requests without a route; expected another name");
        }
        if before.iter().any(|other| other.name.as_ref() == Some(name)) {
            let shown = self.shown(&key, name);
            self.error(&key, format!("another route is called {shown}; expected a name of its own"));
        }
    }

    fn route_upstream(&mut self, key: &str, route: &raw::Route, file: &raw::File) -> String {
        let Some(name) = &route.upstream else {
            if file.listen.iter().any(|listen| listen.mode == raw::Door::Proxy) {
                self.error(key, "missing, and a proxy listener has to send requests somewhere; expected an upstream");
            }
            return String::new();
        };
        if !file.upstreams.contains_key(name) && !self.report.is_broken("upstreams") {
            let shown = self.shown(key, name);
            let known: Vec<_> = file.upstreams.keys().map(|name| format!("`{name}`")).collect();
            let expected = match nearest(name, file.upstreams.keys().map(String::as_str)) {
                Some(known) => format!("did you mean `{known}`?"),
                None if known.is_empty() => "expected one under `upstreams`".to_owned(),
                None => format!("expected one of {}", known.join(", ")),
            };
            self.error(key, format!("no upstream is called {shown}; {expected}"));
        }
        name.clone()
    }

    fn route_match(&mut self, key: &str, matches: &raw::Match) -> Option<RouteMatch> {
        let methods = matches.methods.as_deref().unwrap_or_default();
        let methods = methods.iter().enumerate().filter_map(|(index, method)| {
            let key = format!("{key}.methods[{index}]");
            self.method(&key, method)
        });
        let methods = methods.collect();
        let host = matches.host.as_deref().and_then(|host| {
            let key = format!("{key}.host");
            let parsed = parse_host(host);
            if parsed.is_none() {
                self.error(&key, "no host name; expected one such as api.example.com, without scheme and port");
            }
            parsed
        });
        let key = format!("{key}.path");
        let path = (!self.report.is_broken(&key)).then_some(&matches.path)?;
        self.route_path(&key, path);
        let path = if path.ends_with('/') { PathMatch::Prefix(path.clone()) } else { PathMatch::Exact(path.clone()) };
        Some(RouteMatch { path, methods, host })
    }

    /// Requests are matched in their normalised form: a path that has another one would never match.
    fn route_path(&mut self, key: &str, path: &str) {
        const EXPECTED: &str = "expected a path such as /orders (this one alone) or /orders/ (all below it)";
        if !path.starts_with('/') || path.contains(['?', '#', '*']) {
            let reason = match path.find(['?', '#', '*']) {
                Some(_) if path.starts_with('/') => "a query, a fragment or a `*` in it",
                Some(_) | None => "no `/` at its start",
            };
            return self.error(key, format!("{reason}; {EXPECTED}"));
        }
        match Target::new(Scheme::Http, "gate.invalid", path, &Trust::default()) {
            Err(_) => {
                let message = "ambiguous, so that every request for it is refused: `.` or `..` as a segment, `//`, \
                               `\\`, an encoded `/`, `\\` or NUL, or a bad escape";
                self.error(key, format!("{message}; {EXPECTED}"));
            }
            Ok(target) if target.path() != path => {
                let normal = target.path().to_owned();
                self.error(key, format!("never matches, since paths are normalised first; expected `{normal}`"));
            }
            Ok(_) => {}
        }
    }

    fn method(&mut self, key: &str, text: &str) -> Option<Method> {
        let shown = self.shown(key, text);
        let upper = text.to_ascii_uppercase();
        let is_standard = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
        // RFC 9110 section 9.1: "The method token is case-sensitive".
        if upper != text && is_standard.contains(&upper.as_str()) {
            self.error(key, format!("methods are case-sensitive, and {shown} is none; expected `{upper}`"));
            return None;
        }
        let method = Method::from_bytes(text.as_bytes()).ok();
        if method.is_none() {
            self.error(key, format!("{shown} is no method; expected a token such as GET"));
        }
        method
    }

    fn route_issuers(&mut self, key: &str, route: &str, auth: Auth, file: &raw::File) {
        let needs_issuer = match auth {
            Auth::Dpop | Auth::DpopOrBearer => true,
            Auth::Public | Auth::TokenEndpoint => false,
        };
        if needs_issuer && file.issuers.is_empty() && !self.report.is_broken("issuers") {
            let key = if self.report.is_written(key) { key } else { route };
            let message = "needs an access token, and nobody could vouch for one; expected `issuers` at the top, or \
                           `auth: public` or `token_endpoint`";
            self.error(key, message);
        }
    }

    fn require(&mut self, key: &str, require: &raw::Require, auth: Auth) -> Requirement {
        let is_empty = require.scopes.is_empty() && require.claims.is_empty();
        if !is_empty && matches!(auth, Auth::Public | Auth::TokenEndpoint) {
            let message = "no token is looked at here, so that nothing could be required of it; expected `auth: dpop`, \
                           or no `require`";
            self.error(key, message);
        }
        for (index, scope) in require.scopes.iter().enumerate() {
            let key = format!("{key}.scopes[{index}]");
            self.filled(&key, scope, "a scope");
            // RFC 6749 section 3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
            if scope.contains([' ', '"', '\\']) || !scope.is_ascii() {
                self.error(
                    &key,
                    "no scope: a blank, a quote, a `\\` or a non-ASCII character; expected one scope an item",
                );
            }
        }
        let claims = require.claims.iter().map(|(claim, value)| {
            let key = format!("{key}.claims.{claim}");
            self.filled(&key, claim, "a claim's name");
            ClaimRequirement { claim: claim.clone(), any_of: self.claim_values(&key, value) }
        });
        Requirement { scopes: require.scopes.clone(), claims: claims.collect() }
    }

    fn claim_values(&mut self, key: &str, value: &Value) -> Vec<Value> {
        let values = match value {
            Value::Array(values) => values.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                vec![value.clone()]
            }
        };
        if values.is_empty() {
            self.error(key, "an empty list, so that no token would do; expected a value, or some of them");
        }
        if values.iter().any(|value| value.is_null() || value.is_array() || value.is_object()) {
            self.error(
                key,
                "a value that no claim can equal; expected text, a number, true or false, or a list of them",
            );
        }
        values
    }

    fn cors(&mut self, key: &str, cors: &raw::Cors) -> Cors {
        let is_any = cors.origins.iter().any(|origin| origin == "*");
        if is_any && cors.origins.len() > 1 {
            self.error(key, "`*` beside others; expected \"*\" alone, or origins");
        }
        for (index, origin) in cors.origins.iter().enumerate() {
            let key = format!("{key}[{index}]");
            if origin != "*"
                && let Err(reason) = check_origin(origin)
            {
                self.error(&key, format!("{reason}; expected what a browser sends, such as https://app.example.com"));
            }
        }
        Cors { origins: cors.origins.clone() }
    }

    /// A route behind one that takes all of its requests.
    fn reachable(&mut self, key: &str, matches: &RouteMatch, auth: Auth, before: &[RouteConfig]) {
        let Some((index, other)) = before.iter().enumerate().find(|(_, other)| covers(&other.matches, matches)) else {
            return;
        };
        let message = format!("never reached: routes[{index}] takes every request that it is for");
        if other.auth == Auth::Public && auth != Auth::Public {
            self.error(key, format!("{message}, and that one is public; expected this one before it"));
        } else {
            self.warn(key, format!("{message}; expected the narrower one first"));
        }
    }
}

fn auth(auth: raw::Auth) -> Auth {
    match auth {
        raw::Auth::Dpop => Auth::Dpop,
        raw::Auth::DpopOrBearer => Auth::DpopOrBearer,
        raw::Auth::Public => Auth::Public,
        raw::Auth::TokenEndpoint => Auth::TokenEndpoint,
    }
}

/// Whether every request that `narrow` is for is one that `wide` is for.
fn covers(wide: &RouteMatch, narrow: &RouteMatch) -> bool {
    let path = match (&wide.path, &narrow.path) {
        (PathMatch::Prefix(wide), PathMatch::Prefix(narrow) | PathMatch::Exact(narrow)) => narrow.starts_with(wide),
        (PathMatch::Exact(wide), PathMatch::Exact(narrow)) => wide == narrow,
        (PathMatch::Exact(_), PathMatch::Prefix(_)) => false,
    };
    let methods = wide.methods.is_empty()
        || (!narrow.methods.is_empty() && narrow.methods.iter().all(|method| wide.methods.contains(method)));
    let host = wide.host.is_none() || wide.host == narrow.host;
    path && methods && host
}

/// An origin as browsers write it (RFC 6454 section 6.2): compared to the letter, so another spelling never matches.
fn check_origin(origin: &str) -> Result<(), &'static str> {
    if origin == "null" {
        return Err("`null` is every sandboxed page's origin");
    }
    let Some((scheme, authority)) = origin.split_once("://") else { return Err("no scheme in it") };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    if !is_scheme || authority.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("an upper-case letter, or no scheme");
    }
    let parsed: http::uri::Authority = authority.parse().map_err(|_| "no host, or a path behind it")?;
    super::address::check_authority(&parsed)?;
    let default = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    if default.is_some() && parsed.port_u16() == default {
        return Err("the scheme's own port, which browsers leave out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_spelled_as_browsers_do() {
        for (origin, expected) in [
            ("app.example.com", false),
            ("https://app.example.com/", false),
            ("https://app.example.com:443", false),
            ("http://app.example.com:80", false),
            ("https://APP.example.com", false),
            ("HTTPS://app.example.com", false),
            ("https://user@app.example.com", false),
            ("https://", false),
            ("null", false),
            ("", false),
            ("https://*.example.com:x", false),
            ("https://app.example.com", true),
            ("http://localhost:3000", true),
            ("http://[::1]:3000", true),
            ("capacitor://localhost", true),
        ] {
            assert_eq!(check_origin(origin).is_ok(), expected, "{origin}");
        }
    }

    #[test]
    fn only_a_wider_route_covers() {
        let route = |path: &str, methods: &[Method], host: Option<&str>| RouteMatch {
            path: if path.ends_with('/') { PathMatch::Prefix(path.into()) } else { PathMatch::Exact(path.into()) },
            methods: methods.to_vec(),
            host: host.map(str::to_owned),
        };
        let (get, post) = (Method::GET, Method::POST);
        for (wide, narrow, expected) in [
            (route("/", &[], None), route("/a", &[], None), true),
            (route("/a/", &[], None), route("/a/b/", &[], Some("h")), true),
            (route("/a", &[], None), route("/a", std::slice::from_ref(&get), None), true),
            (route("/a", &[get.clone(), post.clone()], None), route("/a", std::slice::from_ref(&get), None), true),
            (route("/a/", &[], None), route("/a", &[], None), false),
            (route("/a", &[], None), route("/a/", &[], None), false),
            (route("/a", &[get], None), route("/a", &[], None), false),
            (route("/", &[], Some("h")), route("/a", &[], None), false),
            (route("/", &[post], Some("h")), route("/a", &[], Some("h")), false),
        ] {
            assert_eq!(covers(&wide, &narrow), expected, "{wide:?} {narrow:?}");
        }
    }
}
