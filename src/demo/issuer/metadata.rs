//! What a client has to know: metadata (RFC 8414) and the key of the tokens (RFC 7517).

use serde_json::{Value, json};

use crate::jose::Algorithm;

use super::clients::GrantType;
use super::{Issuer, SCOPES};

/// RFC 8414 section 3, for an issuer without a path.
pub(super) const PATH: &str = "/.well-known/oauth-authorization-server";

impl Issuer {
    /// RFC 8414 section 2. Every endpoint is at the issuer's own origin: there the gate listens.
    pub(super) fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.origin);
        let with_secret = ["client_secret_basic", "client_secret_post"];
        json!({
            "issuer": self.origin,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/jwks"),
            "introspection_endpoint": at("/introspect"),
            "revocation_endpoint": at("/revoke"),
            "scopes_supported": SCOPES,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": GrantType::ALL.map(GrantType::name),
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "introspection_endpoint_auth_methods_supported": with_secret,
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "dpop_signing_alg_values_supported": Algorithm::ALL.map(Algorithm::name),
        })
    }

    pub(super) fn jwks(&self) -> Value {
        let mut jwk = self.key.public().to_jwk();
        if let Value::Object(members) = &mut jwk {
            members.insert("kid".into(), self.key_id().into());
            members.insert("alg".into(), self.key.algorithm().name().into());
            members.insert("use".into(), "sig".into());
        }
        json!({ "keys": [jwk] })
    }
}
