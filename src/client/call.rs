//! The call itself: steps 1, 7 and 8 of the story, and what every request of this client has in common.

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::dpop::DPOP;
use crate::gate::DPOP_NONCE;
use crate::secret::{AccessToken, shortened};

use super::story::Story;
use super::{Client, ClientError, ExchangeError, Grant, Statement, Url, exchange, nonces, token};

/// What this client calls itself.
pub const AGENT: HeaderValue = HeaderValue::from_static(concat!("dpop-gate/", env!("CARGO_PKG_VERSION")));
/// Largest answer of a token endpoint, in bytes.
const ANSWER_BYTES: usize = 256 * 1024;

/// A request to a protected resource.
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// The caller's own headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Where the token comes from.
    pub credentials: Credentials,
}

/// Where the token of a call comes from.
pub enum Credentials {
    /// There is none: a proof alone, as a token endpoint wants it.
    None,
    /// It was given.
    Token(AccessToken),
    /// It is asked for.
    Grant(Grant),
}

/// What came back; the body is read as it comes.
pub type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// A request that lacks its proof.
pub(super) struct Unproven<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Client {
    /// Makes the call: gets a token if it has to, and answers one `use_dpop_nonce` of either server.
    pub async fn call(&mut self, call: &Call) -> Result<Answer, ClientError> {
        let key = self.prover.key();
        let text = format!("The client has a key: {}, thumbprint {}", key.algorithm(), key.public().thumbprint());
        self.story.step(1, &text);
        let token = match &call.credentials {
            Credentials::None => {
                self.without_server("This call goes without a token: no authorization server is asked");
                None
            }
            Credentials::Token(token) => {
                self.without_server("The token was given: no authorization server is asked");
                self.compare(token);
                Some(token.clone())
            }
            Credentials::Grant(grant) => Some(self.token(grant).await?),
        };
        self.story.step(7, "The client calls, with a proof made for this very request");
        let request = Unproven {
            method: call.method.clone(),
            url: &call.url,
            headers: call.headers.clone(),
            body: call.body.clone(),
        };
        let told = Story::size(&call.body);
        let (answer, nonce) = self.send(&request, token.as_ref(), &told).await?;
        let (asks, mut answer) = asks_for_nonce(answer).await?;
        if let Some(nonce) = nonce.filter(|_| asks) {
            self.story.received(&answer);
            let text = format!("The server answers use_dpop_nonce, with a nonce: {}", shortened(&nonce));
            self.story.detail(&text);
            self.story.detail("The client makes a new proof, with that nonce in it, and calls again");
            answer = self.send(&request, token.as_ref(), &told).await?.0.map(Either::Left);
        }
        self.story.step(
            8,
            if answer.status().is_success() {
                "The server has checked token and proof, and answers"
            } else {
                "The server answers"
            },
        );
        self.story.received(&answer);
        Ok(answer)
    }

    fn without_server(&mut self, why: &str) {
        self.story.step(2, why);
        self.story.step(3, "So nobody asks for a nonce");
        self.story.step(4, "So there is no new proof to make");
        self.story.step(5, "Nor anything to ask again");
        self.story.step(6, "Nor a token to be issued");
    }

    fn compare(&mut self, token: &AccessToken) {
        let own = self.prover.key().public().thumbprint().to_string();
        match token::bound_to(token.reveal()) {
            Some(jkt) if jkt == own => self.story.detail("It is bound to the key of step 1"),
            Some(_) => self.story.detail("It is bound to ANOTHER key than that of step 1: name its key with --key"),
            None => {}
        }
    }

    /// Adds a proof with the last nonce of that server, sends, and remembers the nonce that comes back.
    pub(super) async fn send(
        &mut self,
        unproven: &Unproven<'_>,
        token: Option<&AccessToken>,
        told: &str,
    ) -> Result<(Response<Incoming>, Option<String>), ClientError> {
        let Unproven { method, url, headers, body } = unproven;
        let mut statement = Statement::of(method, url);
        if let Some(nonce) = self.nonces.of(url) {
            statement = statement.with_nonce(nonce);
        }
        if let Some(token) = token {
            statement = statement.with_token(token);
        }
        let proof = self.prover.prove(&statement)?;

        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.path_and_query().parse().unwrap_or(Uri::from_static("/"));
        *request.headers_mut() = headers.clone();
        let own = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(url.authority()) {
            own.entry(HOST).or_insert(host);
        }
        if let Some(token) = token {
            insert(own, AUTHORIZATION, &format!("DPoP {}", token.reveal()));
        }
        insert(own, DPOP, proof.compact());

        self.story.sent(url, &request, &proof, told);
        let answer = exchange::send(url, &self.tls, request).await?;
        let nonce = self.nonces.learn(url, answer.headers());
        Ok((answer, nonce))
    }
}

/// Both are checked ASCII before they come here.
fn insert(headers: &mut HeaderMap, name: http::HeaderName, credential: &str) {
    if let Ok(mut value) = HeaderValue::from_str(credential) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

/// Whether the server wants a nonce, in a resource's words or, where this call is one to a token endpoint, in its.
async fn asks_for_nonce(answer: Response<Incoming>) -> Result<(bool, Answer), ClientError> {
    if answer.status() != StatusCode::BAD_REQUEST || !answer.headers().contains_key(DPOP_NONCE) {
        return Ok((nonces::resource_asks(answer.status(), answer.headers()), answer.map(Either::Left)));
    }
    let answer = collected(answer).await?;
    let asks = nonces::token_endpoint_asks(answer.status(), answer.body());
    Ok((asks, answer.map(|body| Either::Right(Full::new(body)))))
}

/// The whole body.
pub(super) async fn collected(answer: Response<Incoming>) -> Result<Response<Bytes>, ClientError> {
    let (parts, body) = answer.into_parts();
    match Limited::new(body, ANSWER_BYTES).collect().await {
        Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Err(ClientError::TooLarge),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => ExchangeError::of_body(*error).into(),
            Err(_) => ExchangeError::Partial.into(),
        }),
    }
}
