//! Documents that the gate answers by itself.

use crate::target::Target;

use super::{Gate, Reply};

/// RFC 9728 section 3.
pub const PROTECTED_RESOURCE: &str = "/.well-known/oauth-protected-resource";
/// The public key of the identity assertion.
pub const ASSERTION_JWKS: &str = "/.well-known/dpop-gate/jwks.json";

impl Gate {
    /// The document at that target's path, if it is one of ours: the protected resource metadata of RFC 9728, or the
    /// assertion's public key where one is configured. GET and HEAD only; the caller drops a HEAD's body.
    pub fn well_known(&self, method: &http::Method, target: &Target) -> Option<Reply> {
        let _ = (method, target);
        todo!()
    }
}
