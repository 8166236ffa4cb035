//! Which request it is, and which credentials it carries.

use crate::explain::Explanation;
use crate::explain::reading::shown;
use crate::metrics::Reason;
use crate::policy::{Auth, PathMatch};

use super::{Finding, finding};

impl Explanation<'_> {
    pub(super) fn of_request(&self, reason: Reason) -> Finding {
        match reason {
            Reason::NoRoute => {
                let target = self.walk.target.as_ref();
                let (host, path) = target.map_or(("", ""), |target| (target.host(), target.path()));
                finding(
                    format!("a route of the file: {}", self.routes()),
                    format!("{} {} at {host}", shown(self.method().as_str()), shown(path)),
                    "add a route, or call a path that has one; a prefix ends in /, and the first match wins",
                )
            }
            Reason::AmbiguousPath => finding(
                "a path that every server reads alike",
                shown(self.capture.uri.path()),
                "send no `.` or `..` segment, `//`, `\\`, nor an encoded slash, backslash or NUL; and no `;` where it \
                 would choose another route",
            ),
            Reason::ConflictingSources => finding(
                "one answer to the question which URI the client addressed",
                format!("several: {}", self.sources()),
                "let the proxy in front replace Forwarded and X-Forwarded-* instead of adding to them, and send one \
                 Host",
            ),
            Reason::TooLarge => finding(
                format!("a body of up to {} bytes", self.rules.body_bytes),
                format!("one of {} bytes", self.capture.body_bytes),
                "send less, or raise `limits.body_bytes`",
            ),
            Reason::UntrustedPeer => finding(
                "a question by one of `trusted_proxies`",
                "somebody else, as --peer says",
                "name the proxy that asks under `trusted_proxies`; a forward_auth listener answers nobody else",
            ),
            _ => finding(
                "a Host header that names a host",
                "none, or one that is none",
                "send `Host: api.example.com`; a capture without its headers cannot be judged",
            ),
        }
    }

    pub(super) fn of_credentials(&self, reason: Reason) -> Finding {
        let found = self.reading.authorization();
        if reason == Reason::MissingToken {
            let remedy = if *self.method() == http::Method::OPTIONS {
                "a browser's preflight carries no token: give the route `cors`, so that the gate answers it"
            } else {
                "get an access token, and send it as `Authorization: DPoP TOKEN`"
            };
            return finding("Authorization: DPoP and an access token", found, remedy);
        }
        if self.walk.route.as_ref().is_some_and(|route| route.auth == Auth::TokenEndpoint) {
            return finding("one Authorization header at most", found, "let the client authenticate in one way");
        }
        let query = self.walk.target.as_ref().and_then(|target| target.query());
        let in_query = if query.is_some_and(|query| query.contains("access")) { "; and one in the query" } else { "" };
        finding(
            "one access token, in one Authorization header",
            format!("{found}{in_query}"),
            "send it once, and never in the query",
        )
    }

    fn routes(&self) -> String {
        let paths = self.rules.gate.routes.iter().map(|route| match &route.matches.path {
            PathMatch::Exact(path) | PathMatch::Prefix(path) => path.as_str(),
        });
        paths.collect::<Vec<_>>().join(", ")
    }

    fn sources(&self) -> String {
        let names = ["host", "forwarded", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"];
        let there = names.into_iter().flat_map(|name| {
            let values = self.capture.headers.get_all(name).iter();
            values.map(move |value| format!("{name}: {}", shown(&String::from_utf8_lossy(value.as_bytes()))))
        });
        there.collect::<Vec<_>>().join("; ")
    }

    pub(in crate::explain) fn mentions_forwarding(&self) -> bool {
        let names = ["forwarded", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"];
        names.into_iter().any(|name| self.capture.headers.contains_key(name))
    }

    pub(super) fn peer_is_believed(&self) -> bool {
        self.peer.is_some_and(|ip| self.rules.gate.trust.proxies.iter().any(|net| net.contains(&ip)))
    }
}
