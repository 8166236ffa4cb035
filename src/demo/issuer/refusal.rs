//! What the server says where there is no token, in the one form of RFC 6749 section 5.2.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use thiserror::Error;

use crate::demo::serve;

/// Why a request to `/token`, `/introspect` or `/revoke` is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum OAuthRefusal {
    #[error("the body is not a form with each parameter once")]
    NoForm,
    #[error("a parameter that is needed is missing")]
    MissingParameter,
    #[error("the client authenticates in more than one way, or names itself twice and differently")]
    MixedAuthentication,
    #[error("no DPoP proof was checked in front of this endpoint; use the gate's")]
    NoProof,
    #[error("the client is unknown, or its secret is wrong")]
    InvalidClient,
    #[error("this client may not use this grant")]
    UnauthorizedClient,
    #[error("expected authorization_code, refresh_token or client_credentials")]
    UnsupportedGrantType,
    #[error("a scope is unknown, or more than was granted")]
    InvalidScope,
    #[error("the code is unknown or expired, or was made for another client or redirect URI")]
    InvalidCode,
    #[error("the code was used before; every token of its grant is revoked")]
    SpentCode,
    #[error("the code verifier is not the one whose S256 challenge came with the authorization request")]
    WrongVerifier,
    #[error("the proof's key is not the one that dpop_jkt announced")]
    OtherKeyThanAnnounced,
    #[error("the refresh token is unknown, expired or revoked, or was issued to another client")]
    InvalidRefreshToken,
    #[error("the refresh token was used before; every token of its grant is revoked")]
    SpentRefreshToken,
    #[error("the refresh token is bound to another key")]
    OtherKeyThanBound,
    #[error("the token was issued to another client")]
    ForeignToken,
    #[error("no token could be signed")]
    ServerError,
}

impl OAuthRefusal {
    fn status_and_error(self) -> (StatusCode, &'static str) {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::NoForm | Self::MissingParameter | Self::MixedAuthentication => (bad, "invalid_request"),
            Self::NoProof => (bad, "invalid_dpop_proof"),
            Self::InvalidClient => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Self::UnauthorizedClient => (bad, "unauthorized_client"),
            Self::UnsupportedGrantType => (bad, "unsupported_grant_type"),
            Self::InvalidScope => (bad, "invalid_scope"),
            Self::InvalidCode
            | Self::SpentCode
            | Self::WrongVerifier
            | Self::OtherKeyThanAnnounced
            | Self::InvalidRefreshToken
            | Self::SpentRefreshToken
            | Self::OtherKeyThanBound
            | Self::ForeignToken => (bad, "invalid_grant"),
            Self::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        }
    }
}

/// A document, or the refusal. Neither is stored by anybody (RFC 6749 section 5.1).
pub(super) fn answer(result: Result<Value, OAuthRefusal>) -> Response<Bytes> {
    let mut response = match result {
        Ok(document) => serve::json(StatusCode::OK, &document),
        Err(refusal) => {
            let (status, error) = refusal.status_and_error();
            serve::json(status, &json!({"error": error, "error_description": refusal.to_string()}))
        }
    };
    let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if unauthorized {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"dpop-gate demo\""));
    }
    response
}
