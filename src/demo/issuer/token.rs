//! `/token` (RFC 6749 section 3.2): a token bound to the key whose proof the gate has checked (RFC 9449 section 5).

use http::HeaderMap;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::jose::Thumbprint;

use super::clients::{Client, GrantType, form_of};
use super::codes::{CodeError, Redemption};
use super::form::Form;
use super::grants::{Grant, GrantId, REFRESH_LIFETIME, RefreshToken};
use super::{Issuer, JKT_HEADER, OAuthRefusal, SCOPES, TOKEN_LIFETIME, USER};

impl Issuer {
    pub(super) fn token(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Value, OAuthRefusal> {
        let form = form_of(headers, body)?;
        let client = self.clients.authenticate(headers, &form)?;
        let asked = needed(&form, "grant_type")?;
        let grant_type = GrantType::ALL.into_iter().find(|grant| grant.name() == asked);
        let grant_type = grant_type.ok_or(OAuthRefusal::UnsupportedGrantType)?;
        if !client.may_use(grant_type) {
            return Err(OAuthRefusal::UnauthorizedClient);
        }
        let key = proven_key(headers)?;
        match grant_type {
            GrantType::AuthorizationCode => self.redeem(client, &form, key, now),
            GrantType::RefreshToken => self.refresh(client, &form, key, now),
            GrantType::ClientCredentials => self.credentials(client, &form, key, now),
        }
    }

    /// RFC 6749 section 4.1.3.
    fn redeem(&self, client: &Client, form: &Form, key: Thumbprint, now: Timestamp) -> Result<Value, OAuthRefusal> {
        let by = Redemption {
            client: client.id,
            redirect_uri: needed(form, "redirect_uri")?,
            verifier: needed(form, "code_verifier")?,
            key,
        };
        let code = needed(form, "code")?;
        let id = GrantId::random().map_err(|_| OAuthRefusal::ServerError)?;
        let mut state = self.state();
        let scope = match state.codes.redeem(code, &by, &id, now) {
            Ok(request) => request.scope.clone(),
            Err(CodeError::Refused(refusal)) => return Err(refusal),
            Err(CodeError::Spent(grant)) => {
                state.grants.revoke(&grant);
                return Err(OAuthRefusal::SpentCode);
            }
        };
        let grant = Grant {
            client: client.id,
            subject: USER,
            scope,
            refresh_key: client.is_public().then_some(key),
            serial: 1,
            issued: now,
            expires: now + REFRESH_LIFETIME,
        };
        state.grants.insert(id.clone(), grant.clone());
        let refresh_token = state.grants.refresh_token(&id, &grant);
        drop(state);
        self.granted(&id, &grant, &grant.scope, &key, Some(refresh_token), now)
    }

    /// RFC 6749 section 6. The token that was used is used up, whoever the client is.
    fn refresh(&self, client: &Client, form: &Form, key: Thumbprint, now: Timestamp) -> Result<Value, OAuthRefusal> {
        let token = needed(form, "refresh_token")?;
        let mut state = self.state();
        let found = state.grants.of_refresh_token(token, now).ok_or(OAuthRefusal::InvalidRefreshToken)?;
        let RefreshToken { id, grant, is_used } = found;
        if grant.client != client.id {
            return Err(OAuthRefusal::InvalidRefreshToken);
        }
        if grant.refresh_key.is_some_and(|bound| bound != key) {
            return Err(OAuthRefusal::OtherKeyThanBound);
        }
        if is_used {
            // RFC 9700 section 4.14.2: somebody has a copy, and nobody knows who.
            state.grants.revoke(&id);
            return Err(OAuthRefusal::SpentRefreshToken);
        }
        let scope = scope_within(form.get("scope"), &grant.scope)?;
        let grant = state.grants.rotate(&id).ok_or(OAuthRefusal::InvalidRefreshToken)?;
        let refresh_token = state.grants.refresh_token(&id, &grant);
        drop(state);
        self.granted(&id, &grant, &scope, &key, Some(refresh_token), now)
    }

    /// RFC 6749 section 4.4.2; no refresh token (section 4.4.3).
    fn credentials(
        &self,
        client: &Client,
        form: &Form,
        key: Thumbprint,
        now: Timestamp,
    ) -> Result<Value, OAuthRefusal> {
        let scope = scope_within(form.get("scope"), &SCOPES.join(" "))?;
        let id = GrantId::random().map_err(|_| OAuthRefusal::ServerError)?;
        let grant = Grant {
            client: client.id,
            subject: client.id,
            scope,
            refresh_key: None,
            serial: 0,
            issued: now,
            expires: now + TOKEN_LIFETIME,
        };
        self.state().grants.insert(id.clone(), grant.clone());
        self.granted(&id, &grant, &grant.scope, &key, None, now)
    }

    /// RFC 6749 section 5.1, with the `token_type` of RFC 9449 section 5.
    fn granted(
        &self,
        id: &GrantId,
        grant: &Grant,
        scope: &str,
        key: &Thumbprint,
        refresh_token: Option<String>,
        now: Timestamp,
    ) -> Result<Value, OAuthRefusal> {
        let mut granted = json!({
            "access_token": self.access_token(id, grant, scope, key, now)?,
            "token_type": "DPoP",
            "expires_in": TOKEN_LIFETIME.as_secs(),
            "scope": scope,
        });
        if let (Some(token), Value::Object(members)) = (refresh_token, &mut granted) {
            members.insert("refresh_token".into(), token.into());
        }
        Ok(granted)
    }
}

pub(super) fn needed<'a>(form: &'a Form, name: &str) -> Result<&'a str, OAuthRefusal> {
    form.get(name).ok_or(OAuthRefusal::MissingParameter)
}

/// What was asked for, if all of it is allowed; everything where nothing was named (RFC 6749 section 3.3).
pub(super) fn scope_within(asked: Option<&str>, allowed: &str) -> Result<String, OAuthRefusal> {
    let asked = asked.unwrap_or(allowed);
    let known = |scope: &str| allowed.split(' ').any(|allowed| allowed == scope);
    if asked.split(' ').all(known) { Ok(asked.to_owned()) } else { Err(OAuthRefusal::InvalidScope) }
}

/// The key whose proof the gate has checked.
fn proven_key(headers: &HeaderMap) -> Result<Thumbprint, OAuthRefusal> {
    let mut values = headers.get_all(&JKT_HEADER).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(Thumbprint::parse).ok_or(OAuthRefusal::NoProof),
        _ => Err(OAuthRefusal::NoProof),
    }
}
