//! Access tokens: JWTs (RFC 9068) bound to a key (RFC 9449 section 6.1).

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::jose::{Compact, Thumbprint};

use super::grants::{Grant, GrantId};
use super::{Issuer, OAuthRefusal, TOKEN_LIFETIME};

/// Longest text that is read as one of our tokens, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

impl Issuer {
    /// A token of that grant, for as much of its scope.
    pub(super) fn access_token(
        &self,
        id: &GrantId,
        grant: &Grant,
        scope: &str,
        key: &Thumbprint,
        now: Timestamp,
    ) -> Result<String, OAuthRefusal> {
        let jti = super::random().map_err(|_| OAuthRefusal::ServerError)?;
        // RFC 9068 section 2.2. The grant stands in `jti`, so that a token can be asked about and revoked.
        let claims = json!({
            "iss": self.origin,
            "sub": grant.subject,
            "aud": self.audience,
            "client_id": grant.client,
            "scope": scope,
            "iat": now.as_secs(),
            "exp": now.as_secs().saturating_add(TOKEN_LIFETIME.as_secs()),
            "jti": format!("{}.{jti}", id.as_str()),
            "cnf": {"jkt": key.to_string()},
        });
        let header = json!({"typ": "at+jwt", "kid": self.key_id()});
        self.key.sign_compact(header, &claims).map_err(|_| OAuthRefusal::ServerError)
    }

    /// The claims of a token that was signed here and has not expired, and its grant, which may be over.
    pub(super) fn own_token(&self, text: &str, now: Timestamp) -> Option<(Value, GrantId)> {
        let compact = Compact::parse(text, MAX_TOKEN_BYTES).ok()?;
        if !self.key.public().verify(self.key.algorithm(), compact.signing_input(), compact.signature()) {
            return None;
        }
        let claims: Value = serde_json::from_slice(compact.payload()).ok()?;
        let (grant, _) = claims.get("jti")?.as_str()?.split_once('.')?;
        let grant = GrantId::parse(grant);
        let lives = claims.get("exp")?.as_u64()? > now.as_secs();
        lives.then_some((claims, grant))
    }
}
