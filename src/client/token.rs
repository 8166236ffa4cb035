//! The token endpoint (RFC 6749 section 4.4 with RFC 9449 section 5): steps 2 to 6 of the story.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::Value;

use crate::issuer::{basic_authorization, form_encode};
use crate::jose::Compact;
use crate::secret::{AccessToken, Secret, shortened};

use super::story::plain;
use super::{Client, ClientError, Url, call, nonces};

/// Longest access token taken, in bytes.
const TOKEN_BYTES: usize = 64 * 1024;

/// How a client asks for a token.
pub struct Grant {
    /// The token endpoint.
    pub endpoint: Url,
    /// Who asks.
    pub client_id: String,
    /// Sent by HTTP Basic; a public client has none and says its `client_id` in the form.
    pub client_secret: Option<Secret>,
    /// What it asks for, if for anything in particular.
    pub scope: Option<String>,
}

impl Grant {
    fn form(&self) -> String {
        let mut form = "grant_type=client_credentials".to_owned();
        let mut add = |name: &str, value: &str| form.push_str(&format!("&{name}={}", form_encode(value.as_bytes())));
        if let Some(scope) = &self.scope {
            add("scope", scope);
        }
        if self.client_secret.is_none() {
            // RFC 6749 section 3.2.1: who does not authenticate says who they are.
            add("client_id", &self.client_id);
        }
        form
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, call::AGENT);
        if let Some(secret) = &self.client_secret {
            headers.insert(AUTHORIZATION, basic_authorization(&self.client_id, secret));
        }
        headers
    }
}

impl Client {
    /// Gets a token that is bound to this client's key.
    pub(super) async fn token(&mut self, grant: &Grant) -> Result<AccessToken, ClientError> {
        self.story.step(2, "The client asks the authorization server for a token, with a proof");
        let (mut answer, nonce) = self.ask(grant).await?;
        match nonce.filter(|_| nonces::token_endpoint_asks(answer.status(), answer.body())) {
            Some(nonce) => {
                let text =
                    format!("The authorization server answers use_dpop_nonce, with a nonce: {}", shortened(&nonce));
                self.story.step(3, &text);
                self.story.step(4, "The client makes a new proof, with that nonce in it");
                self.story.step(5, "It asks again");
                (answer, _) = self.ask(grant).await?;
            }
            None => {
                self.story.step(3, "The authorization server asks for no nonce");
                self.story.step(4, "So there is no new proof to make");
                self.story.step(5, "Nor to ask again: the first answer counts");
            }
        }
        if answer.status() != StatusCode::OK {
            return Err(refused(&answer));
        }
        let granted = granted(answer.body())?;
        self.tell(&granted);
        Ok(granted.token)
    }

    async fn ask(&mut self, grant: &Grant) -> Result<(Response<Bytes>, Option<String>), ClientError> {
        let form = grant.form();
        let told = form.clone();
        let request =
            call::Unproven { method: Method::POST, url: &grant.endpoint, headers: grant.headers(), body: form.into() };
        let (answer, nonce) = self.send(&request, None, &told).await?;
        let answer = call::collected(answer).await?;
        self.story.received(&answer);
        if let Some(error) = error_of(answer.body()) {
            self.story.detail(&format!("< {error}"));
        }
        Ok((answer, nonce))
    }

    fn tell(&mut self, granted: &Granted) {
        let own = self.prover.key().public().thumbprint().to_string();
        let bound = match granted.jkt.as_deref() {
            Some(jkt) if jkt == own => format!("cnf.jkt in it is {jkt}, the key of step 1"),
            Some(jkt) => format!("cnf.jkt in it is {}, which is NOT the key of step 1", plain(jkt)),
            None => "what it is bound to cannot be read from it: only its issuer knows".to_owned(),
        };
        self.story.step(6, "The authorization server issues a token that is bound to the key");
        self.story.detail(&format!("access_token {}; {bound}", shortened(granted.token.reveal())));
        if let Some(scope) = &granted.scope {
            self.story.detail(&format!("scope {}", plain(scope)));
        }
        if let Some(lifetime) = granted.lifetime {
            self.story.detail(&format!("expires_in {lifetime}"));
        }
    }
}

struct Granted {
    token: AccessToken,
    scope: Option<String>,
    lifetime: Option<u64>,
    /// What the token says that it is bound to, where it can be read.
    jkt: Option<String>,
}

/// RFC 6749 section 5.1, and RFC 9449 section 5: `token_type` says whether the token is bound.
fn granted(body: &[u8]) -> Result<Granted, ClientError> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| ClientError::NoToken("is not JSON"))?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let token = text("access_token").ok_or(ClientError::NoToken("has no access_token"))?;
    if token.len() > TOKEN_BYTES || !is_token68(token) {
        return Err(ClientError::NoToken("has an access_token that fits no Authorization header"));
    }
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("DPoP")) {
        return Err(ClientError::NoToken(
            "has another token_type than DPoP: the token is not bound to the key; does this client have to use DPoP \
             there?",
        ));
    }
    Ok(Granted {
        token: AccessToken::new(token),
        scope: text("scope").map(str::to_owned),
        lifetime: answer.get("expires_in").and_then(Value::as_u64),
        jkt: bound_to(token),
    })
}

/// RFC 9110 section 11.2: what may follow the scheme in `Authorization`.
pub(super) fn is_token68(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

/// What a JWT says in `cnf.jkt`; nothing is verified, it is told to the one who got it.
pub(super) fn bound_to(token: &str) -> Option<String> {
    let claims: Value = serde_json::from_slice(Compact::parse(token, TOKEN_BYTES).ok()?.payload()).ok()?;
    claims.get("cnf")?.get("jkt")?.as_str().map(str::to_owned)
}

fn refused(answer: &Response<Bytes>) -> ClientError {
    let error = error_of(answer.body()).map(|error| format!(": {error}")).unwrap_or_default();
    ClientError::TokenRefused { status: answer.status(), error }
}

/// RFC 6749 section 5.2: `error`, and what the server says of it.
fn error_of(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let error = answer.get("error")?.as_str()?;
    Some(match answer.get("error_description").and_then(Value::as_str) {
        Some(description) => plain(&format!("{error} ({description})")),
        None => plain(error),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bound_token_is_taken() {
        for (body, problem) in [
            ("", "is not JSON"),
            ("[]", "has no access_token"),
            (r#"{"token_type":"DPoP"}"#, "has no access_token"),
            (r#"{"access_token":7,"token_type":"DPoP"}"#, "has no access_token"),
            (r#"{"access_token":"a b","token_type":"DPoP"}"#, "fits no Authorization header"),
            (r#"{"access_token":"","token_type":"DPoP"}"#, "fits no Authorization header"),
            (r#"{"access_token":"a"}"#, "another token_type"),
            (r#"{"access_token":"a","token_type":"Bearer"}"#, "another token_type"),
        ] {
            let refused = granted(body.as_bytes()).err().unwrap().to_string();
            assert!(refused.contains(problem), "{body}: {refused}");
        }
        let granted =
            granted(br#"{"access_token":"a.b-c=","token_type":"dpop","expires_in":300,"scope":"x"}"#).unwrap();
        assert_eq!((granted.token.reveal(), granted.lifetime, granted.jkt), ("a.b-c=", Some(300), None));
    }

    #[test]
    fn who_has_no_secret_says_its_name_in_the_form() {
        let endpoint = Url::parse("https://id.example.com/token").unwrap();
        let public = Grant { endpoint: endpoint.clone(), client_id: "a&b".into(), client_secret: None, scope: None };
        assert_eq!(public.form(), "grant_type=client_credentials&client_id=a%26b");
        assert!(!public.headers().contains_key(AUTHORIZATION));
        let secret = Some(Secret::new(b"s:e%c".to_vec()));
        let grant = Grant { endpoint, client_id: "a b".into(), client_secret: secret, scope: Some("x y".into()) };
        assert_eq!(grant.form(), "grant_type=client_credentials&scope=x%20y");
        // RFC 6749 section 2.3.1: both halves are form-encoded first. "a%20b:s%3Ae%25c"
        assert_eq!(grant.headers().get(AUTHORIZATION).unwrap(), "Basic YSUyMGI6cyUzQWUlMjVj");
    }
}
