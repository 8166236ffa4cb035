//! What became of a token (RFC 7662), and its end (RFC 7009).

use http::HeaderMap;
use serde_json::{Value, json};

use crate::clock::Timestamp;

use super::clients::form_of;
use super::grants::{Grant, GrantId, RefreshToken};
use super::token::needed;
use super::{Issuer, OAuthRefusal};

impl Issuer {
    /// RFC 7662 section 2: for clients with a secret, since others could be anybody.
    pub(super) fn introspect(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Value, OAuthRefusal> {
        let form = form_of(headers, body)?;
        if self.clients.authenticate(headers, &form)?.is_public() {
            return Err(OAuthRefusal::InvalidClient);
        }
        let token = needed(&form, "token")?;
        let document = self.state_of_access_token(token, now).or_else(|| self.state_of_refresh_token(token, now));
        // Section 2.2: of a token that is not active, nothing more is said.
        Ok(document.unwrap_or_else(|| json!({"active": false})))
    }

    /// Section 2.2, and `cnf` for the key it is bound to (RFC 9449 section 6.2).
    fn state_of_access_token(&self, token: &str, now: Timestamp) -> Option<Value> {
        let (mut claims, grant) = self.own_token(token, now)?;
        self.state().grants.live(&grant, now)?;
        let members = claims.as_object_mut()?;
        members.insert("active".into(), true.into());
        members.insert("token_type".into(), "DPoP".into());
        Some(claims)
    }

    fn state_of_refresh_token(&self, token: &str, now: Timestamp) -> Option<Value> {
        let RefreshToken { grant, .. } =
            self.state().grants.of_refresh_token(token, now).filter(|token| !token.is_used)?;
        let mut document = json!({
            "active": true,
            "iss": self.origin,
            "sub": grant.subject,
            "client_id": grant.client,
            "scope": grant.scope,
            "iat": grant.issued.as_secs(),
            "exp": grant.expires.as_secs(),
        });
        if let (Some(key), Value::Object(members)) = (grant.refresh_key, &mut document) {
            members.insert("cnf".into(), json!({"jkt": key.to_string()}));
        }
        Some(document)
    }

    /// RFC 7009 section 2: either token ends its grant. A token that is unknown is as good as revoked (section 2.2).
    pub(super) fn revoke(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Value, OAuthRefusal> {
        let form = form_of(headers, body)?;
        let client = self.clients.authenticate(headers, &form)?;
        let token = needed(&form, "token")?;
        if let Some((id, grant)) = self.grant_of(token, now) {
            // Section 2.1: "the request is refused and the client is informed of the error".
            if grant.client != client.id {
                return Err(OAuthRefusal::ForeignToken);
            }
            self.state().grants.revoke(&id);
        }
        Ok(json!({}))
    }

    fn grant_of(&self, token: &str, now: Timestamp) -> Option<(GrantId, Grant)> {
        let Some((_, id)) = self.own_token(token, now) else {
            return self.state().grants.of_refresh_token(token, now).map(|token| (token.id, token.grant));
        };
        let grant = self.state().grants.live(&id, now)?.clone();
        Some((id, grant))
    }
}
