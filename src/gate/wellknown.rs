//! Documents that the gate answers by itself.

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::policy::Auth;
use crate::target::Target;

use super::{Gate, Reply, error_reply};

/// RFC 9728 section 3.
pub(super) const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";
/// The public key of the identity assertion.
const ASSERTION_JWKS: &str = "/.well-known/dpop-gate/jwks.json";

impl Gate {
    /// The document at that target's path, if it is one of ours: the protected resource metadata of RFC 9728, or the
    /// assertion's public key where one is configured. The caller drops the body where a HEAD is answered.
    pub fn well_known(&self, method: &Method, target: &Target) -> Option<Reply> {
        let document = if is_metadata_path(target) {
            self.resource_metadata(target)
        } else if target.path() == ASSERTION_JWKS {
            self.identity.assertion.as_ref()?.jwks()
        } else {
            return None;
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut reply =
                error_reply(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "this document is read with GET");
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(readable(reply));
        }
        let mut reply = Response::new(Bytes::from(document.to_string()));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Some(readable(reply))
    }

    /// RFC 9728 section 2, with the DPoP members.
    fn resource_metadata(&self, target: &Target) -> Value {
        let algorithms: Vec<_> = self.proof.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        let mut issuers: Vec<_> = self.issuers.names().collect();
        issuers.dedup();
        let mut scopes: Vec<_> = self.routes.iter().flat_map(|route| &route.require.scopes).collect();
        scopes.sort();
        scopes.dedup();
        let bearer = self.routes.iter().any(|route| route.auth == Auth::DpopOrBearer);
        let mut document = json!({
            "resource": target.resource(),
            "authorization_servers": issuers,
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": algorithms,
            "dpop_bound_access_tokens_required": !bearer,
        });
        if let (Value::Object(members), false) = (&mut document, scopes.is_empty()) {
            members.insert("scopes_supported".to_owned(), json!(scopes));
        }
        document
    }

    /// Where this target's metadata stands, in three parts: RFC 9728 section 3.1 puts the well-known part between host
    /// and path.
    pub(super) fn resource_metadata_url(target: &Target) -> [&str; 3] {
        let resource = target.resource();
        let host_at = resource.find("://").map_or(0, |scheme| scheme + "://".len());
        let host_end = resource.get(host_at..).and_then(|rest| rest.find('/')).map(|length| host_at + length);
        let (origin, path) = resource.split_at_checked(host_end.unwrap_or(resource.len())).unwrap_or((resource, ""));
        [origin, PROTECTED_RESOURCE, if path == "/" { "" } else { path }]
    }
}

/// Any script may read it: there is nothing secret in it.
fn readable(mut document: Reply) -> Reply {
    document.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    document
}

/// With `public_url`'s path behind it or without: a proxy in front may have taken that path off.
fn is_metadata_path(target: &Target) -> bool {
    target
        .path()
        .strip_prefix(PROTECTED_RESOURCE)
        .is_some_and(|rest| rest.is_empty() || Gate::resource_metadata_url(target).concat().ends_with(target.path()))
}
