//! Opaque tokens: the issuer is asked (RFC 7662), with the gate's own credentials, once for all who wait.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Uri};
use lru::LruCache;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::jose::StrictValue;
use crate::secret::{AccessToken, Secret, TokenDigest};
use crate::token::{ClaimRules, TokenError, VerifiedToken};

use super::cache::{Entry, Kept, TokenCache, Vouched};
use super::fetch::{Client, Connection, FetchError, request};

/// Questions that may be on their way at once.
const CONCURRENT: usize = 64;
/// Questions that may be on their way or wait for their turn; beyond it the answer is "unavailable".
const WAITING: usize = 1024;
/// Connections kept for the next question.
const IDLE_CONNECTIONS: usize = 16;
/// Older ones are not used: a firewall on the way forgets a connection without telling anybody.
const IDLE_TIME: Duration = Duration::from_secs(15);
/// A refusal is kept this long (and never longer than an answer), so that a flood of one bad token is one question.
const REFUSAL_KEPT: Duration = Duration::from_secs(5);

/// `application/x-www-form-urlencoded`, but for the characters that RFC 3986 calls unreserved: a server that decodes
/// reads them alike, and one that does not (there are some) is still understood.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

type Answer = Result<Arc<VerifiedToken>, TokenError>;

/// How an issuer is asked.
pub(super) struct IntrospectionOptions {
    pub(super) url: Uri,
    pub(super) authorization: HeaderValue,
    pub(super) cache: Duration,
    pub(super) timeout: Duration,
    pub(super) rules: ClaimRules,
    pub(super) refusals: usize,
}

/// Asks one issuer about tokens.
pub(super) struct Introspector {
    options: IntrospectionOptions,
    client: Client,
    tokens: Arc<TokenCache>,
    refusals: Mutex<LruCache<TokenDigest, (TokenError, Kept)>>,
    flights: Mutex<HashMap<TokenDigest, watch::Receiver<Option<Answer>>>>,
    turns: Semaphore,
    idle: Mutex<Vec<(Connection, Instant)>>,
    failing: AtomicBool,
}

impl Introspector {
    pub(super) fn new(options: IntrospectionOptions, client: Client, tokens: Arc<TokenCache>) -> Self {
        let refusals = NonZeroUsize::new(options.refusals).unwrap_or(NonZeroUsize::MIN);
        Self {
            options,
            client,
            tokens,
            refusals: Mutex::new(LruCache::new(refusals)),
            flights: Mutex::default(),
            turns: Semaphore::new(CONCURRENT),
            idle: Mutex::default(),
            failing: AtomicBool::new(false),
        }
    }

    /// Whether the issuer says that the token is active, and its claims are right. What it says is put into the token
    /// cache, for the configured time and never beyond `exp`.
    pub(super) async fn verify(
        self: &Arc<Self>,
        token: &AccessToken,
        digest: &TokenDigest,
        now: Timestamp,
        skew: Duration,
    ) -> Answer {
        if let Some((refusal, kept)) = lock(&self.refusals).get(digest).copied()
            && kept.stands(now)
        {
            return Err(refusal);
        }
        let mut flight = self.board(token, digest, now, skew).ok_or(TokenError::IssuerUnavailable)?;
        match flight.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Err(TokenError::IssuerUnavailable)),
            Err(_) => Err(TokenError::IssuerUnavailable),
        }
    }

    /// The question that is on its way for this token, or a new one; `None` if there are too many.
    fn board(
        self: &Arc<Self>,
        token: &AccessToken,
        digest: &TokenDigest,
        now: Timestamp,
        skew: Duration,
    ) -> Option<watch::Receiver<Option<Answer>>> {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(digest).filter(|flight| flight.has_changed().is_ok()) {
            return Some(flight.clone());
        }
        if flights.len() >= WAITING {
            flights.retain(|_, flight| flight.has_changed().is_ok());
            if flights.len() >= WAITING {
                return None;
            }
        }
        let (landed, flight) = watch::channel(None);
        flights.insert(*digest, flight.clone());
        drop(flights);
        let (this, token, digest) = (Arc::clone(self), token.clone(), *digest);
        // A task of its own, so that the first client's hanging up is not the others' failure.
        tokio::spawn(async move {
            let answer = this.ask(&token, now, skew).await;
            this.keep(&digest, &answer, now);
            lock(&this.flights).remove(&digest);
            landed.send_replace(Some(answer));
        });
        Some(flight)
    }

    fn keep(&self, digest: &TokenDigest, answer: &Answer, now: Timestamp) {
        match answer {
            Ok(token) => {
                // No skew here: past `exp` the issuer is asked again instead.
                let until = now + self.options.cache;
                let until = token.expires().map_or(until, |expires| until.min(expires));
                let vouched = Vouched::Answer(Kept { from: now, until });
                self.tokens.put(*digest, Entry { token: Arc::clone(token), vouched });
            }
            Err(TokenError::IssuerUnavailable) => {}
            Err(refusal) => {
                let kept = Kept { from: now, until: now + REFUSAL_KEPT.min(self.options.cache) };
                lock(&self.refusals).put(*digest, (*refusal, kept));
            }
        }
    }

    async fn ask(&self, token: &AccessToken, now: Timestamp, skew: Duration) -> Answer {
        let asked = match tokio::time::timeout(self.options.timeout, self.post(token)).await {
            Ok(answer) => answer.and_then(|body| read(&body).map_err(FetchError::Document)),
            Err(_) => Err(FetchError::TimedOut),
        };
        self.report(asked.as_ref().err());
        let claims = asked.map_err(|_| TokenError::IssuerUnavailable)?.ok_or(TokenError::Inactive)?;
        Ok(Arc::new(VerifiedToken::check_introspected(claims, &self.options.rules, now, skew)?))
    }

    async fn post(&self, token: &AccessToken) -> Result<Bytes, FetchError> {
        let _turn = self.turns.acquire().await.map_err(|_| FetchError::TimedOut)?;
        let anew = async { self.exchange(self.client.connect(&self.options.url).await?, token).await };
        let Some(connection) = self.parked() else { return anew.await };
        let kept = self.exchange(connection, token);
        tokio::pin!(anew, kept);
        // The issuer may have closed the kept one meanwhile, or is no longer at its other end, or takes its time: then
        // a new one is asked beside it, and whichever answers counts. Asking twice does no harm.
        let closed = |answer: &Result<_, _>| matches!(answer, Err(FetchError::Http(_)));
        tokio::select! {
            biased;
            answer = &mut kept => if closed(&answer) { anew.await } else { answer },
            () = tokio::time::sleep(self.options.timeout / 2) => tokio::select! {
                answer = &mut kept => if answer.is_err() { anew.await } else { answer },
                answer = &mut anew => if answer.is_err() { kept.await } else { answer },
            },
        }
    }

    fn parked(&self) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|(connection, since)| connection.is_open() && since.elapsed() < IDLE_TIME);
        idle.pop().map(|(connection, _)| connection)
    }

    async fn exchange(&self, mut connection: Connection, token: &AccessToken) -> Result<Bytes, FetchError> {
        // RFC 7662 section 2.1.
        let form = format!("token={}&token_type_hint=access_token", encode(token.reveal().as_bytes()));
        let mut request = request(Method::POST, &self.options.url, form.into())?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(AUTHORIZATION, self.options.authorization.clone());
        let document = connection.send(request, self.client.document_bytes()).await?;
        let mut idle = lock(&self.idle);
        if connection.is_open() && idle.len() < IDLE_CONNECTIONS {
            idle.push((connection, Instant::now()));
        }
        Ok(document.body)
    }

    /// One line when it begins to fail and one when it is over, whatever the number of requests in between.
    fn report(&self, error: Option<&FetchError>) {
        let issuer = self.options.rules.issuer.as_str();
        let failed_before = self.failing.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(FetchError::Status(http::StatusCode::UNAUTHORIZED)) if !failed_before => {
                tracing::warn!(issuer, "the introspection endpoint refuses the gate's own client_id and secret");
            }
            Some(error) if !failed_before => tracing::warn!(issuer, %error, "introspection fails"),
            Some(error) => tracing::debug!(issuer, %error, "introspection still fails"),
            None if failed_before => tracing::info!(issuer, "introspection works again"),
            None => {}
        }
    }
}

/// HTTP Basic with form-encoded name and secret (RFC 6749 section 2.3.1).
pub fn basic(client_id: &str, client_secret: &Secret) -> HeaderValue {
    let secret = Zeroizing::new(encode(client_secret.reveal()));
    let pair = Zeroizing::new(format!("{}:{}", encode(client_id.as_bytes()), *secret));
    let header = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    // base64 is always a header value; an empty one would only be refused by the issuer.
    let mut value = HeaderValue::from_str(&header).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// A name or value of a form.
pub fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, FORM).to_string()
}

/// `None`: not active. Without a boolean `active` (RFC 7662 section 2.2 requires it) it is no answer at all.
fn read(json: &[u8]) -> Result<Option<Map<String, Value>>, &'static str> {
    let answer = StrictValue::parse(json).ok_or("the answer is not JSON, or has a member twice")?;
    let members = answer.into_object().ok_or("the answer is not a JSON object")?;
    match members.get("active") {
        Some(Value::Bool(true)) => Ok(Some(members)),
        Some(Value::Bool(false)) => Ok(None),
        _ => Err("the answer has no boolean `active`"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
