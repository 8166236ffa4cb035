//! `identity`.

use std::time::Duration;

use http::HeaderName;

use crate::config::{IdentityConfig, raw};
use crate::gate::ForwardToken;
use crate::jose::PrivateKey;

use super::Checker;

/// Headers that mean something to HTTP, to the gate or to DPoP, without `-`: as frameworks fold them. An identity
/// header is removed from every request, so none of these may be one.
const RESERVED: &[&str] = &[
    "accesscontrolrequestheaders",
    "accesscontrolrequestmethod",
    "authorization",
    "connection",
    "contentencoding",
    "contentlength",
    "contenttype",
    "cookie",
    "dpop",
    "dpopnonce",
    "expect",
    "forwarded",
    "host",
    "http2settings",
    "keepalive",
    "origin",
    "proxyauthenticate",
    "proxyauthorization",
    "proxyconnection",
    "range",
    "setcookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transferencoding",
    "upgrade",
    "wwwauthenticate",
    "xforwardedfor",
    "xforwardedhost",
    "xforwardedmethod",
    "xforwardedproto",
    "xforwardeduri",
    "xoriginalmethod",
    "xoriginalurl",
    "xrequestid",
];

impl Checker<'_> {
    /// What upstreams are told. `None` where a problem was reported.
    pub(super) fn identity(&mut self, file: &raw::File) -> Option<IdentityConfig> {
        let identity = &file.identity;
        let mut taken: Vec<(String, String)> = Vec::new();
        let mut headers = Vec::with_capacity(identity.headers.len());
        for (name, claim) in &identity.headers {
            let key = format!("identity.headers.{name}");
            self.filled(&key, claim, "a claim's name, or a dotted path such as cnf.jkt");
            if let Some(header) = self.identity_header(&key, name, &mut taken) {
                headers.push((header, claim.clone()));
            }
        }
        let tells_key = identity.headers.values().any(|claim| claim == "cnf.jkt");
        for (index, route) in file.routes.iter().enumerate() {
            if route.auth == raw::Auth::TokenEndpoint && !tells_key {
                let message = "no identity header has the claim cnf.jkt, so that the authorization server never learns \
                               the proof's key; expected one, such as `X-Auth-Jkt: cnf.jkt`";
                self.warn(&format!("routes[{index}].auth"), message);
            }
        }
        let forward_token = match identity.forward_token {
            raw::ForwardToken::Flag(false) => ForwardToken::No,
            raw::ForwardToken::Flag(true) => ForwardToken::Yes,
            raw::ForwardToken::Word(raw::Bearer::Bearer) => ForwardToken::Bearer,
        };
        let assertion = match &identity.assertion {
            None => None,
            Some(assertion) => Some(self.assertion(assertion, file, &mut taken)?),
        };
        Some(IdentityConfig { headers, forward_token, assertion })
    }

    /// A header that is the gate's alone: no other is read as it by a framework that folds `_`, `.` and `-` together.
    fn identity_header(&mut self, key: &str, name: &str, taken: &mut Vec<(String, String)>) -> Option<HeaderName> {
        let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
            self.error(key, "no header's name; expected letters, digits and `-`, such as X-Auth-Subject");
            return None;
        };
        let folded: String =
            name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
        if folded.is_empty() {
            self.error(key, "no letter in it; expected a name such as X-Auth-Subject");
            return None;
        }
        if RESERVED.contains(&folded.as_str()) || folded.starts_with("secwebsocket") {
            self.error(key, "a header that means something else already; expected one such as X-Auth-Subject");
            return None;
        }
        if let Some((_, other)) = taken.iter().find(|(other, _)| *other == folded) {
            let message = format!(
                "reads like `{other}` where an upstream folds case, `-`, `_` and `.`; expected a name of its own"
            );
            self.error(key, message);
            return None;
        }
        taken.push((folded, name.to_owned()));
        Some(header)
    }

    fn assertion(
        &mut self,
        assertion: &raw::Assertion,
        file: &raw::File,
        taken: &mut Vec<(String, String)>,
    ) -> Option<(HeaderName, PrivateKey, Option<String>, Duration)> {
        let header = self.identity_header("identity.assertion.header", &assertion.header, taken);
        let lifetime = self.span("identity.assertion.lifetime", &assertion.lifetime, "1s", "1h");
        if let Some(audience) = &assertion.audience {
            self.filled("identity.assertion.audience", audience, "the `aud` that upstreams look for");
        } else if file.routes.iter().any(|route| route.upstream.is_none()) {
            let message = "missing, and a route without an upstream has no name to take instead; expected an audience";
            self.error("identity.assertion.audience", message);
        }
        let key = self.assertion_key("identity.assertion.key_file", &assertion.key_file);
        Some((header?, key?, assertion.audience.clone(), lifetime))
    }

    fn assertion_key(&mut self, key: &str, file: &str) -> Option<PrivateKey> {
        if self.report.is_broken(key) {
            return None;
        }
        let path = self.path(file);
        let json = self.read(key, &path)?;
        self.private(key, &path);
        match PrivateKey::from_jwk_json(&json) {
            Ok(private) => Some(private),
            Err(error) => {
                let message =
                    format!("{}: {error}; expected a private JWK, as `dpop-gate keygen` makes it", path.display());
                self.error(key, message);
                None
            }
        }
    }
}
