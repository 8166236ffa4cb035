//! The page where the user approves with one click. Nothing on it was sent by anybody: every word is this server's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::demo::serve;

use super::USER;
use super::authorize::{AuthorizationRequest, Untrusted};

const STYLE: &str = include_str!("consent.css");

/// Asks the user; `name` is that of the request.
pub(super) fn ask(request: &AuthorizationRequest, name: &str) -> Response<Bytes> {
    let scopes: Vec<String> = request.scope.split(' ').map(|scope| format!("<li><code>{scope}</code></li>")).collect();
    let key = match &request.key {
        Some(key) => format!("<p>The code will work with one key alone: <code>{key}</code></p>"),
        None => String::new(),
    };
    let body = format!(
        r#"<h1>Allow <strong>{client}</strong> to act for you?</h1>
<p>You are <strong>{USER}</strong>; this development server asks nobody for a password. The client asks for</p>
<ul>{scopes}</ul>
{key}
<form method="post" action="/authorize">
<input type="hidden" name="request" value="{name}">
<button class="yes" name="decision" value="approve" autofocus>Approve</button>
<button name="decision" value="deny">Deny</button>
</form>
<p class="small">You will be sent back to <code>{to}</code>.</p>"#,
        client = request.client,
        scopes = scopes.concat(),
        to = request.redirect_uri,
    );
    page(StatusCode::OK, &body, &request.redirect_uri)
}

/// Tells the user, and nobody else.
pub(super) fn refuse(reason: Untrusted) -> Response<Bytes> {
    let body =
        format!("<h1>This request cannot be answered</h1>\n<p>{reason}</p>\n<p class=\"small\">invalid_request</p>");
    page(StatusCode::BAD_REQUEST, &body, "")
}

/// `to` is where the form's answer may lead.
fn page(status: StatusCode, body: &str, to: &str) -> Response<Bytes> {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Development authorization server</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <p class=\"kicker\">Development authorization server</p>\n{body}\n</main>\n</body>\n</html>\n"
    );
    let mut response = serve::html(status, html);
    let style = STANDARD.encode(Sha256::digest(STYLE));
    // Browsers hold a form's redirects to `form-action` too. A source is an origin there: it has no query.
    let to = to.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self' {to}; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
