//! `/authorize` (RFC 6749 section 4.1.1): a request is judged, shown to the user, and becomes a code or a refusal.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use http::{HeaderMap, Response, StatusCode};
use lru::LruCache;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::jose::{PrivateKeyError, Thumbprint};

use super::clients::{GrantType, form_of};
use super::form::Form;
use super::token::scope_within;
use super::{Issuer, SCOPES, consent};

/// How long a user may think.
const CONSENT_LIFETIME: Duration = Duration::from_secs(600);
/// Requests that wait for their users; the oldest goes first.
const MAX_PENDING: NonZeroUsize = NonZeroUsize::new(200).unwrap();
/// Longest `state`, in bytes.
const MAX_STATE_BYTES: usize = 2048;
/// BASE64URL of a SHA-256 digest, in characters.
const CHALLENGE_LENGTH: usize = 43;

/// A request that could become a code.
#[derive(Debug, Clone)]
pub(super) struct AuthorizationRequest {
    pub(super) client: &'static str,
    pub(super) redirect_uri: String,
    pub(super) scope: String,
    /// RFC 7636, S256.
    pub(super) challenge: String,
    /// `dpop_jkt` (RFC 9449 section 10).
    pub(super) key: Option<Thumbprint>,
    state: Option<String>,
}

/// Where an answer goes, once client and redirect URI are known to belong together.
struct ReturnAddress {
    redirect_uri: String,
    state: Option<String>,
}

/// Who is told that there is no code.
enum Refused {
    /// The user alone: RFC 6749 section 4.1.2.1, "MUST NOT automatically redirect the user-agent to the invalid
    /// redirection URI".
    Here(Untrusted),
    /// The client.
    There(ReturnAddress, AuthorizationRefusal),
}

/// Why nobody is sent anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Untrusted {
    #[error("The request is not a form.")]
    NoForm,
    #[error("client_id is missing, doubled or unknown.")]
    Client,
    #[error("redirect_uri is missing, doubled, or not exactly one that this client registered.")]
    RedirectUri,
    #[error("This request was answered before, or waited too long. Go back to the application and start again.")]
    Gone,
}

/// What a client is told (RFC 6749 section 4.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
enum AuthorizationRefusal {
    #[error("a parameter comes more than once")]
    Doubled,
    #[error("response_type is missing")]
    NoResponseType,
    #[error("expected response_type=code")]
    ResponseType,
    #[error("expected response_mode=query, or none")]
    ResponseMode,
    #[error("this client may not use codes")]
    Client,
    #[error("a scope is unknown")]
    Scope,
    #[error("code challenge required")]
    NoChallenge,
    #[error("transform algorithm not supported; expected code_challenge_method=S256")]
    ChallengeMethod,
    #[error("code_challenge is no base64url of a SHA-256 digest")]
    Challenge,
    #[error("dpop_jkt is no base64url of a SHA-256 digest")]
    Key,
    #[error("state is longer than 2048 bytes")]
    State,
    #[error("the user said no")]
    Denied,
    #[error("no code could be made")]
    Failed,
}

impl AuthorizationRefusal {
    fn error(self) -> &'static str {
        match self {
            Self::Doubled
            | Self::NoResponseType
            | Self::ResponseMode
            | Self::NoChallenge
            | Self::ChallengeMethod
            | Self::Challenge
            | Self::Key
            | Self::State => "invalid_request",
            Self::ResponseType => "unsupported_response_type",
            Self::Client => "unauthorized_client",
            Self::Scope => "invalid_scope",
            Self::Denied => "access_denied",
            Self::Failed => "server_error",
        }
    }
}

/// Requests that wait for their users, each under a name that only the page knows.
pub(super) struct Pending(LruCache<String, (AuthorizationRequest, Timestamp)>);

impl Pending {
    pub(super) fn new() -> Self {
        Self(LruCache::new(MAX_PENDING))
    }

    fn keep(&mut self, request: AuthorizationRequest, now: Timestamp) -> Result<String, PrivateKeyError> {
        let name = super::random()?;
        self.0.push(name.clone(), (request, now + CONSENT_LIFETIME));
        Ok(name)
    }

    /// A decision is made once.
    fn take(&mut self, name: &str, now: Timestamp) -> Option<AuthorizationRequest> {
        self.0.pop(name).filter(|(_, until)| now < *until).map(|(request, _)| request)
    }
}

impl Issuer {
    /// The consent page, or where to go with a refusal.
    pub(super) fn authorize(&self, query: &str, now: Timestamp) -> Response<Bytes> {
        match self.request_of(query) {
            Ok(request) => match self.state().pending.keep(request.clone(), now) {
                Ok(name) => consent::ask(&request, &name),
                Err(_) => self.refuse(&request.return_address(), AuthorizationRefusal::Failed),
            },
            Err(Refused::Here(reason)) => consent::refuse(reason),
            Err(Refused::There(address, refusal)) => self.refuse(&address, refusal),
        }
    }

    /// What the user decided on the page.
    pub(super) fn decide(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Response<Bytes> {
        let Ok(form) = form_of(headers, body) else { return consent::refuse(Untrusted::NoForm) };
        let mut state = self.state();
        let Some(request) = form.get("request").and_then(|name| state.pending.take(name, now)) else {
            return consent::refuse(Untrusted::Gone);
        };
        let address = request.return_address();
        if form.get("decision") != Some("approve") {
            return self.refuse(&address, AuthorizationRefusal::Denied);
        }
        match state.codes.issue(request, now) {
            Ok(code) => self.send_back(&address, &[("code", &code)]),
            Err(_) => self.refuse(&address, AuthorizationRefusal::Failed),
        }
    }

    fn request_of(&self, query: &str) -> Result<AuthorizationRequest, Refused> {
        let form = Form::parse(query.as_bytes()).ok_or(Refused::Here(Untrusted::NoForm))?;
        let client = form.get("client_id").and_then(|id| self.clients.find(id));
        let client = client.ok_or(Refused::Here(Untrusted::Client))?;
        let redirect_uri = form.get("redirect_uri").and_then(|uri| self.clients.redirect_uri(uri));
        let redirect_uri = redirect_uri.ok_or(Refused::Here(Untrusted::RedirectUri))?.to_owned();
        let state = form.get("state").map(str::to_owned);
        let judged = || {
            if form.is_doubled() {
                return Err(AuthorizationRefusal::Doubled);
            }
            if !client.may_use(GrantType::AuthorizationCode) {
                return Err(AuthorizationRefusal::Client);
            }
            if state.as_ref().is_some_and(|state| state.len() > MAX_STATE_BYTES) {
                return Err(AuthorizationRefusal::State);
            }
            judge(&form)
        };
        match judged() {
            Ok((scope, challenge, key)) => {
                Ok(AuthorizationRequest { client: client.id, redirect_uri, scope, challenge, key, state })
            }
            Err(refusal) => Err(Refused::There(ReturnAddress { redirect_uri, state }, refusal)),
        }
    }

    fn refuse(&self, to: &ReturnAddress, refusal: AuthorizationRefusal) -> Response<Bytes> {
        self.send_back(to, &[("error", refusal.error()), ("error_description", &refusal.to_string())])
    }

    /// RFC 6749 section 4.1.2, with `state` as it came and `iss` (RFC 9207 section 2). 303, so that no form is sent
    /// again (RFC 9700 section 4.12).
    fn send_back(&self, to: &ReturnAddress, parameters: &[(&str, &str)]) -> Response<Bytes> {
        let state = to.state.as_deref().map(|state| ("state", state));
        let all = parameters.iter().copied().chain(state).chain([("iss", self.origin.as_str())]);
        let query: Vec<String> =
            all.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).collect();
        let separator = if to.redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{}{separator}{}", to.redirect_uri, query.join("&"));
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match HeaderValue::try_from(location) {
            Ok(location) => {
                response.headers_mut().insert(LOCATION, location);
                response
            }
            // What was registered is a URI.
            Err(_) => consent::refuse(Untrusted::RedirectUri),
        }
    }
}

impl AuthorizationRequest {
    fn return_address(&self) -> ReturnAddress {
        ReturnAddress { redirect_uri: self.redirect_uri.clone(), state: self.state.clone() }
    }
}

/// Scope, PKCE challenge and announced key.
fn judge(form: &Form) -> Result<(String, String, Option<Thumbprint>), AuthorizationRefusal> {
    match form.get("response_type") {
        None => return Err(AuthorizationRefusal::NoResponseType),
        Some("code") => {}
        Some(_) => return Err(AuthorizationRefusal::ResponseType),
    }
    if form.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err(AuthorizationRefusal::ResponseMode);
    }
    // RFC 7636 section 4.4.1; without a method it would be `plain` (section 4.3).
    let challenge = form.get("code_challenge").ok_or(AuthorizationRefusal::NoChallenge)?;
    if form.get("code_challenge_method") != Some("S256") {
        return Err(AuthorizationRefusal::ChallengeMethod);
    }
    if challenge.len() != CHALLENGE_LENGTH || Thumbprint::parse(challenge).is_none() {
        return Err(AuthorizationRefusal::Challenge);
    }
    let key = form.get("dpop_jkt").map(|key| Thumbprint::parse(key).ok_or(AuthorizationRefusal::Key)).transpose()?;
    let scope = scope_within(form.get("scope"), &SCOPES.join(" ")).map_err(|_| AuthorizationRefusal::Scope)?;
    Ok((scope, challenge.to_owned(), key))
}
