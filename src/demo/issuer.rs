//! A development authorization server: **for development only**, never for production.
//!
//! Its key and its one client are made at start and gone at the end; it keeps no state and limits no rate. It stands
//! behind the gate, whose `token_endpoint` route has checked proof and nonce and names the proof's key in
//! `X-Auth-Jkt`; a token is bound to that key. Reached past the gate, it would bind a token to any key that a caller
//! with the client's secret names: no use to a thief, but no proof of possession either, so it listens on loopback
//! only.
//!
//! Metadata (RFC 8414), JWKS (RFC 7517), and `/token` for `client_credentials` (RFC 6749 section 4.4).

mod form;

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::clock::{Clock, Timestamp};
use crate::jose::{Algorithm, PrivateKey, PrivateKeyError, Thumbprint};

use super::serve::{self, Answer};
use form::Form;

/// How long a token is valid.
pub(super) const TOKEN_LIFETIME: Duration = Duration::from_secs(300);
/// Where the gate says whose proof it checked.
pub(super) const JKT_HEADER: HeaderName = HeaderName::from_static("x-auth-jkt");
/// The scopes that the one client may ask for.
pub(super) const SCOPES: [&str; 2] = ["orders.read", "orders.write"];

/// The one client.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) id: &'static str,
    pub(super) secret: String,
}

/// The server. `issuer` is its own origin; tokens are for `audience`.
pub(super) struct Issuer {
    issuer: String,
    audience: &'static str,
    /// Where clients find the token endpoint: at the gate, which is started after this.
    token_endpoint: OnceLock<String>,
    key: PrivateKey,
    client: Client,
    clock: Clock,
}

/// Why there is no token (RFC 6749 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
enum TokenRefusal {
    #[error("the request is not a form with each parameter once, or lacks grant_type")]
    InvalidRequest,
    #[error("no DPoP proof was checked in front of this endpoint; use the gate's")]
    NoProof,
    #[error("the client is unknown, or its secret is wrong")]
    InvalidClient,
    #[error("only client_credentials is offered")]
    UnsupportedGrantType,
    #[error("a scope is unknown")]
    InvalidScope,
    #[error("no token could be signed")]
    ServerError,
}

impl TokenRefusal {
    fn status_and_error(self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::NoProof => (StatusCode::BAD_REQUEST, "invalid_dpop_proof"),
            Self::InvalidClient => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Self::UnsupportedGrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::InvalidScope => (StatusCode::BAD_REQUEST, "invalid_scope"),
            Self::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        }
    }
}

impl Answer for Issuer {
    fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        match (request.uri().path(), request.method()) {
            ("/.well-known/oauth-authorization-server", &Method::GET) => serve::json(StatusCode::OK, &self.metadata()),
            ("/jwks", &Method::GET) => serve::json(StatusCode::OK, &self.jwks()),
            ("/token", &Method::POST) => match self.token(request.headers(), request.body(), self.clock.now()) {
                Ok(granted) => no_store(serve::json(StatusCode::OK, &granted)),
                Err(refusal) => refuse(refusal),
            },
            ("/.well-known/oauth-authorization-server" | "/jwks", _) => not_allowed("GET"),
            ("/token", _) => not_allowed("POST"),
            _ => serve::plain(StatusCode::NOT_FOUND, "There is nothing here.\n"),
        }
    }
}

impl Issuer {
    /// An authorization server with a fresh key and a fresh client secret.
    pub(super) fn new(issuer: String, audience: &'static str, clock: Clock) -> Result<Self, PrivateKeyError> {
        Ok(Self {
            issuer,
            audience,
            token_endpoint: OnceLock::new(),
            key: PrivateKey::generate(Algorithm::Es256)?,
            client: Client { id: "demo-client", secret: random()? },
            clock,
        })
    }

    /// The one client, for the printed guide.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Says where clients find the token endpoint; the first word counts.
    pub(super) fn announce(&self, token_endpoint: String) {
        let _ = self.token_endpoint.set(token_endpoint);
    }

    /// RFC 8414 section 2.
    fn metadata(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "token_endpoint": self.token_endpoint.get(),
            "jwks_uri": format!("{}/jwks", self.issuer),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "scopes_supported": SCOPES,
            "dpop_signing_alg_values_supported": Algorithm::ALL.map(Algorithm::name),
        })
    }

    fn jwks(&self) -> Value {
        let mut jwk = self.key.public().to_jwk();
        if let Value::Object(members) = &mut jwk {
            members.insert("kid".into(), self.key_id().into());
            members.insert("alg".into(), self.key.algorithm().name().into());
            members.insert("use".into(), "sig".into());
        }
        json!({ "keys": [jwk] })
    }

    fn key_id(&self) -> String {
        self.key.public().thumbprint().to_string()
    }

    /// RFC 6749 section 4.4.2 with RFC 9449 section 5: a token bound to the key whose proof the gate has checked.
    fn token(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Value, TokenRefusal> {
        let form = form_of(headers, body)?;
        self.authenticate(headers, &form)?;
        match form.get("grant_type") {
            None => return Err(TokenRefusal::InvalidRequest),
            Some("client_credentials") => {}
            Some(_) => return Err(TokenRefusal::UnsupportedGrantType),
        }
        let jkt = proven_key(headers)?;
        let scope = granted_scope(form.get("scope"))?;
        let issued = now.as_secs();
        // RFC 9068 section 2.2.
        let claims = json!({
            "iss": self.issuer,
            "sub": self.client.id,
            "aud": self.audience,
            "client_id": self.client.id,
            "scope": scope,
            "iat": issued,
            "exp": issued.saturating_add(TOKEN_LIFETIME.as_secs()),
            "jti": random().map_err(|_| TokenRefusal::ServerError)?,
            "cnf": {"jkt": jkt.to_string()},
        });
        let header = json!({"typ": "at+jwt", "kid": self.key_id()});
        let token = self.key.sign_compact(header, &claims).map_err(|_| TokenRefusal::ServerError)?;
        Ok(json!({
            "access_token": token,
            "token_type": "DPoP",
            "expires_in": TOKEN_LIFETIME.as_secs(),
            "scope": scope,
        }))
    }

    /// RFC 6749 section 2.3.1: HTTP Basic or parameters of the form, never both.
    fn authenticate(&self, headers: &HeaderMap, form: &Form) -> Result<(), TokenRefusal> {
        let in_form = form.get("client_secret").map(|secret| (form.get("client_id").unwrap_or(""), secret));
        let (id, secret) = match (basic(headers)?, in_form) {
            (Some(_), Some(_)) => return Err(TokenRefusal::InvalidRequest),
            (Some(pair), None) => pair,
            (None, Some((id, secret))) => (id.to_owned(), secret.to_owned()),
            (None, None) => return Err(TokenRefusal::InvalidClient),
        };
        let secret_fits: bool = secret.as_bytes().ct_eq(self.client.secret.as_bytes()).into();
        if secret_fits && id == self.client.id { Ok(()) } else { Err(TokenRefusal::InvalidClient) }
    }
}

fn form_of(headers: &HeaderMap, body: &[u8]) -> Result<Form, TokenRefusal> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = media_type.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(TokenRefusal::InvalidRequest);
    }
    Form::parse(body).ok_or(TokenRefusal::InvalidRequest)
}

/// The pair of an `Authorization: Basic` header; both halves are form-encoded (RFC 6749 section 2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, TokenRefusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let decode = || {
        let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
        let pair = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(credentials.trim()).ok())??;
        let pair = String::from_utf8(pair).ok()?;
        let (id, secret) = pair.split_once(':')?;
        Some((form::decode(id)?, form::decode(secret)?))
    };
    match (values.next(), decode()) {
        (None, Some(pair)) => Ok(Some(pair)),
        (None, None) => Err(TokenRefusal::InvalidClient),
        (Some(_), _) => Err(TokenRefusal::InvalidRequest),
    }
}

/// The key whose proof the gate has checked.
fn proven_key(headers: &HeaderMap) -> Result<Thumbprint, TokenRefusal> {
    let mut values = headers.get_all(&JKT_HEADER).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(Thumbprint::parse).ok_or(TokenRefusal::NoProof),
        _ => Err(TokenRefusal::NoProof),
    }
}

/// What was asked for, if the client may have all of it; everything where nothing was named (RFC 6749 section 3.3).
fn granted_scope(asked: Option<&str>) -> Result<String, TokenRefusal> {
    let Some(asked) = asked else { return Ok(SCOPES.join(" ")) };
    let known = |scope: &str| SCOPES.contains(&scope);
    if asked.split(' ').all(known) { Ok(asked.to_owned()) } else { Err(TokenRefusal::InvalidScope) }
}

fn refuse(refusal: TokenRefusal) -> Response<Bytes> {
    let (status, error) = refusal.status_and_error();
    let mut response =
        no_store(serve::json(status, &json!({"error": error, "error_description": refusal.to_string()})));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"dpop-gate demo\""));
    }
    response
}

fn not_allowed(allowed: &'static str) -> Response<Bytes> {
    let mut response = serve::plain(StatusCode::METHOD_NOT_ALLOWED, "Not with this method.\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// RFC 6749 section 5.1.
fn no_store(mut response: Response<Bytes>) -> Response<Bytes> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 128 bits that nobody can guess, for a secret or a `jti`.
fn random() -> Result<String, PrivateKeyError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| PrivateKeyError::Failed)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests;
