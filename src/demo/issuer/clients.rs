//! The two clients that the server knows, and how a request proves to be from one of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use subtle::ConstantTimeEq as _;

use super::OAuthRefusal;
use super::form::{self, Form};

/// A way to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantType {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
}

impl GrantType {
    pub(super) const ALL: [Self; 3] = [Self::AuthorizationCode, Self::RefreshToken, Self::ClientCredentials];

    /// As `grant_type` and the metadata spell it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
        }
    }
}

/// One client.
pub(in crate::demo) struct Client {
    pub(in crate::demo) id: &'static str,
    /// `None`: a public client (RFC 6749 section 2.1).
    pub(in crate::demo) secret: Option<String>,
    /// What it may use at `/token`.
    grants: &'static [GrantType],
}

impl Client {
    pub(super) fn may_use(&self, grant: GrantType) -> bool {
        self.grants.contains(&grant)
    }

    pub(super) fn is_public(&self) -> bool {
        self.secret.is_none()
    }
}

/// Every client there is.
pub(in crate::demo) struct Clients {
    /// With a secret, for scripts and services.
    pub(in crate::demo) confidential: Client,
    /// Without one, for browsers and command lines.
    pub(in crate::demo) public: Client,
    /// Of both clients.
    pub(in crate::demo) redirect_uris: Vec<String>,
}

impl Clients {
    pub(super) fn new(secret: String, redirect_uris: Vec<String>) -> Self {
        let confidential = Client { id: "demo-client", secret: Some(secret), grants: &GrantType::ALL };
        let grants = &[GrantType::AuthorizationCode, GrantType::RefreshToken];
        Self { confidential, public: Client { id: "demo-app", secret: None, grants }, redirect_uris }
    }

    pub(super) fn find(&self, id: &str) -> Option<&Client> {
        [&self.confidential, &self.public].into_iter().find(|client| client.id == id)
    }

    /// RFC 9700 section 4.1.3: "exact string matching".
    pub(super) fn redirect_uri(&self, uri: &str) -> Option<&str> {
        self.redirect_uris.iter().map(String::as_str).find(|known| *known == uri)
    }

    /// RFC 6749 sections 2.3.1 and 3.2.1: HTTP Basic, or parameters of the form, never both; a public client names
    /// itself and has nothing to prove.
    pub(super) fn authenticate(&self, headers: &HeaderMap, form: &Form) -> Result<&Client, OAuthRefusal> {
        let (named, secret) = (form.get("client_id"), form.get("client_secret"));
        let (id, secret) = match basic(headers)? {
            Some((id, _)) if secret.is_some() || named.is_some_and(|named| named != id) => {
                return Err(OAuthRefusal::MixedAuthentication);
            }
            Some((id, secret)) => (id, Some(secret)),
            None => (named.ok_or(OAuthRefusal::InvalidClient)?.to_owned(), secret.map(str::to_owned)),
        };
        let client = self.find(&id).ok_or(OAuthRefusal::InvalidClient)?;
        let fits = match (&client.secret, secret) {
            (Some(known), Some(given)) => known.as_bytes().ct_eq(given.as_bytes()).into(),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if fits { Ok(client) } else { Err(OAuthRefusal::InvalidClient) }
    }
}

/// The form of a request's body, each parameter once.
pub(super) fn form_of(headers: &HeaderMap, body: &[u8]) -> Result<Form, OAuthRefusal> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = media_type.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(OAuthRefusal::NoForm);
    }
    Form::parse(body).filter(|form| !form.is_doubled()).ok_or(OAuthRefusal::NoForm)
}

/// The pair of an `Authorization: Basic` header; both halves are form-encoded (RFC 6749 section 2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, OAuthRefusal> {
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
        (None, None) => Err(OAuthRefusal::InvalidClient),
        (Some(_), _) => Err(OAuthRefusal::MixedAuthentication),
    }
}
