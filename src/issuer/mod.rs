//! Who vouches for an access token: an issuer's keys (JWT) or its introspection endpoint (opaque), with their caches.

mod cache;
mod discovery;
mod fetch;
mod introspection;
mod jwt;
mod keys;
mod refresh;
#[cfg(test)]
mod stub;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::{Clock, Timestamp};
use crate::jose::Algorithm;
use crate::metrics::{CacheResult, Metrics};
use crate::secret::{AccessToken, Secret, TokenDigest};
use crate::token::{ClaimRules, TokenError, TokenTypes, VerifiedToken};
use crate::verifier::Verifier;

use cache::{Entry, TokenCache, Vouched};
use fetch::Client;
use introspection::{IntrospectionOptions, Introspector};
use jwt::{Jwt, JwtRules, TOKEN_BYTES};
use refresh::{KeyRing, KeySource};

pub use introspection::{basic as basic_authorization, encode as form_encode};
pub use keys::check_jwks;

/// One issuer, as the operator names it.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuerOptions {
    /// `iss`, to the letter.
    pub issuer: String,
    /// Any one of these must be in `aud`. None at all: no JWT is right, and every introspection answer is.
    pub audiences: Vec<String>,
    /// Algorithms that its tokens may use.
    pub algorithms: Vec<Algorithm>,
    /// `typ` headers that its tokens may have.
    pub token_types: TokenTypes,
    /// How its tokens are verified.
    pub source: Source,
    /// Plain `http` is taken from beyond loopback too.
    pub insecure_http: bool,
}

/// How an issuer's tokens are verified.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// JWT, keys from a JWKS file. It is read when a refresh is due or a `kid` is unknown.
    JwksFile(PathBuf),
    /// JWT, keys from this URL.
    JwksUri(http::Uri),
    /// JWT, keys from where the issuer's metadata says (RFC 8414, then OpenID Connect Discovery).
    Discovery,
    /// Opaque tokens, by introspection (RFC 7662).
    Introspection {
        /// The endpoint.
        url: http::Uri,
        /// The gate's own client at the issuer.
        client_id: String,
        /// Its secret, sent by HTTP Basic (RFC 6749 section 2.3.1).
        client_secret: Secret,
        /// How long an answer is kept; never beyond `exp`.
        cache: Duration,
        /// How long an answer may take.
        timeout: Duration,
    },
}

/// How long things are kept and how much of them; the defaults are in [`Bounds::default`].
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// Verified tokens kept.
    pub cached_tokens: usize,
    /// What they may take together, in bytes.
    pub cached_bytes: usize,
    /// Keys are fetched again after this, in the background; sooner where the issuer's `max-age` says so, but not
    /// within a minute.
    pub refresh_after: Duration,
    /// An unknown `kid`, or a failed fetch, leads to one fetch in this time.
    pub refetch_interval: Duration,
    /// How long a fetch of keys may take, its metadata included.
    pub fetch_timeout: Duration,
    /// Largest document taken from an issuer, in bytes.
    pub document_bytes: usize,
}

/// Tokens that an introspecting issuer has called inactive, remembered at most.
const REMEMBERED_REFUSALS: usize = 16_384;

impl Default for Bounds {
    fn default() -> Self {
        Self {
            // A token of the usual size takes some 800 bytes.
            cached_tokens: 131_072,
            cached_bytes: 96 * 1024 * 1024,
            refresh_after: Duration::from_secs(300),
            refetch_interval: Duration::from_secs(10),
            fetch_timeout: Duration::from_secs(5),
            document_bytes: 256 * 1024,
        }
    }
}

/// All issuers, each with its own keys, and the cache of verified tokens.
pub struct Issuers {
    members: Vec<Member>,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    tokens: Arc<TokenCache>,
}

struct Member {
    options: IssuerOptions,
    trust: Trust,
}

enum Trust {
    Keys { source: Arc<KeySource>, rules: JwtRules },
    Introspection(Arc<Introspector>),
}

/// What the status page shows of an issuer.
#[derive(Debug, Clone)]
pub struct IssuerStatus {
    /// Its name.
    pub issuer: String,
    /// Keys held; `None` for an introspecting issuer.
    pub keys: Option<usize>,
    /// When they were last fetched with success.
    pub refreshed: Option<Timestamp>,
}

impl Issuers {
    /// Takes the options as they are; opens nothing. Issuers of `old` whose name and source did not change keep their
    /// keys until [`Issuers::keep_fresh`] has fetched them anew, which it does at once; if nothing at all changed, the
    /// cached tokens stay too. `tls` is what issuers are reached with: roots and provider are the caller's.
    #[allow(clippy::needless_pass_by_value, reason = "handles are handed over, however many issuers copy them")]
    pub fn new(
        options: Vec<IssuerOptions>,
        bounds: Bounds,
        clock: Clock,
        metrics: Arc<Metrics>,
        tls: Arc<rustls::ClientConfig>,
        verifier: Arc<Verifier>,
        old: Option<&Issuers>,
    ) -> Self {
        let tokens = old
            .filter(|old| old.bounds == bounds && old.members.iter().map(|member| &member.options).eq(&options))
            .map_or_else(
                || Arc::new(TokenCache::new(bounds.cached_tokens, bounds.cached_bytes)),
                |old| Arc::clone(&old.tokens),
            );
        let members = options
            .into_iter()
            .map(|options| {
                let client = Client::new(&tls, options.insecure_http, bounds.document_bytes);
                let trust = match introspection_options(&options, &bounds) {
                    Some(asked) => {
                        Trust::Introspection(Arc::new(Introspector::new(asked, client, Arc::clone(&tokens))))
                    }
                    None => Trust::Keys {
                        rules: JwtRules {
                            algorithms: options.algorithms.clone(),
                            types: options.token_types.clone(),
                            claims: claim_rules(&options),
                        },
                        source: Arc::new(KeySource {
                            issuer: options.issuer.clone(),
                            source: options.source.clone(),
                            insecure_http: options.insecure_http,
                            client,
                            bounds: bounds.clone(),
                            clock: clock.clone(),
                            metrics: Arc::clone(&metrics),
                            // Whoever takes a key out and reloads expects it to be gone.
                            ring: old
                                .and_then(|old| old.ring(&options))
                                .inspect(|ring| ring.expire())
                                .unwrap_or_default(),
                            verifier: Arc::clone(&verifier),
                        }),
                    },
                };
                Member { options, trust }
            })
            .collect();
        Self { members, bounds, metrics, tokens }
    }

    /// Keeps the keys fresh until dropped or cancelled: fetches once at the start, then before they grow old. Runs as
    /// a task of the caller's.
    pub async fn keep_fresh(self: Arc<Self>) {
        // Dropped with this future, and the tasks with it: an issuer that hangs holds up no other's refresh.
        let mut tasks = JoinSet::new();
        for source in self.sources() {
            tasks.spawn(Arc::clone(source).keep_fresh());
        }
        while tasks.join_next().await.is_some() {}
        std::future::pending::<()>().await;
    }

    /// Whether every issuer has keys (or needs none): for `/readyz`.
    pub fn ready(&self) -> bool {
        self.sources().all(|source| source.current().is_some_and(|set| set.len() > 0))
    }

    /// Verifies a token: from the cache by `digest`, else by its issuer.
    ///
    /// A JWT goes to the issuer that its `iss` names. Everything else is asked of the introspecting issuers in turn,
    /// until one knows it; so is a JWT that names nobody where no issuer has keys.
    ///
    /// This does not look at what the token is bound to, nor at scopes: the caller owes both.
    pub async fn verify(
        &self,
        token: &AccessToken,
        digest: &TokenDigest,
        now: Timestamp,
        skew: Duration,
    ) -> Result<Arc<VerifiedToken>, TokenError> {
        if let Some(token) = self.cached(digest, now) {
            self.metrics.token_cache(CacheResult::Hit);
            return token.still_valid(now, skew).map(|()| token);
        }
        self.metrics.token_cache(CacheResult::Miss);
        // In a box: most tokens are known, and their requests would carry the room for it along.
        Box::pin(self.verify_unknown(token, digest, now, skew)).await
    }

    async fn verify_unknown(
        &self,
        token: &AccessToken,
        digest: &TokenDigest,
        now: Timestamp,
        skew: Duration,
    ) -> Result<Arc<VerifiedToken>, TokenError> {
        let text = token.reveal();
        if text.len() > TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let Some(jwt) = Jwt::parse(text) else {
            return self.introspect(token, digest, now, skew).await;
        };
        match self.named(jwt.issuer().as_deref()) {
            Some((issuer, Trust::Keys { source, rules })) => {
                let (verified, generation) = jwt.verify(source, rules, now, skew).await?;
                let verified = Arc::new(verified);
                let vouched = Vouched::Keys { issuer, generation };
                self.tokens.put(*digest, Entry { token: Arc::clone(&verified), vouched });
                Ok(verified)
            }
            Some((_, Trust::Introspection(introspector))) => introspector.verify(token, digest, now, skew).await,
            None if self.sources().next().is_none() => self.introspect(token, digest, now, skew).await,
            None if jwt.issuer().is_none() => Err(TokenError::Malformed),
            None => Err(TokenError::UnknownIssuer),
        }
    }

    /// Whether verifying a token takes a question to an introspecting issuer: it is not cached, and no JWT of an issuer
    /// whose keys are known.
    pub fn must_ask(&self, token: &AccessToken, now: Timestamp) -> bool {
        let somebody = self.members.iter().any(|member| matches!(member.trust, Trust::Introspection(_)));
        let local = |jwt: Jwt<'_>| match self.named(jwt.issuer().as_deref()) {
            Some((_, trust)) => matches!(trust, Trust::Keys { .. }),
            None => self.sources().next().is_some(),
        };
        somebody && self.cached(&token.digest(), now).is_none() && !Jwt::parse(token.reveal()).is_some_and(local)
    }

    /// The issuers' names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.options.issuer.as_str())
    }

    /// For the status page.
    pub fn status(&self) -> Vec<IssuerStatus> {
        let status = |member: &Member| {
            let issuer = member.options.issuer.clone();
            match &member.trust {
                Trust::Keys { source, .. } => IssuerStatus {
                    issuer,
                    keys: Some(source.current().map_or(0, |set| set.len())),
                    refreshed: source.refreshed(),
                },
                Trust::Introspection(_) => IssuerStatus { issuer, keys: None, refreshed: None },
            }
        };
        self.members.iter().map(status).collect()
    }

    /// A cached token whose voucher still stands: the issuer's keys did not change since, or the answer is not too old.
    fn cached(&self, digest: &TokenDigest, now: Timestamp) -> Option<Arc<VerifiedToken>> {
        let entry = self.tokens.get(digest)?;
        let stands = match entry.vouched {
            Vouched::Answer(kept) => kept.stands(now),
            Vouched::Keys { issuer, generation } => match self.members.get(issuer).map(|member| &member.trust) {
                Some(Trust::Keys { source, .. }) => source.current().is_some_and(|set| set.generation == generation),
                Some(Trust::Introspection(_)) | None => false,
            },
        };
        if !stands {
            self.tokens.remove(digest);
        }
        stands.then_some(entry.token)
    }

    /// Asks the introspecting issuers in turn, until one knows the token as its own. One that cannot be asked might
    /// have known it, so "not active" is said only if all have said it.
    async fn introspect(
        &self,
        token: &AccessToken,
        digest: &TokenDigest,
        now: Timestamp,
        skew: Duration,
    ) -> Result<Arc<VerifiedToken>, TokenError> {
        let mut refusal = TokenError::Malformed;
        for member in &self.members {
            let Trust::Introspection(introspector) = &member.trust else { continue };
            match introspector.verify(token, digest, now, skew).await {
                Err(TokenError::IssuerUnavailable) => refusal = TokenError::IssuerUnavailable,
                Err(foreign @ (TokenError::Inactive | TokenError::UnknownIssuer)) => {
                    if refusal == TokenError::Malformed || refusal == TokenError::Inactive {
                        refusal = foreign;
                    }
                }
                settled => return settled,
            }
        }
        Err(refusal)
    }

    fn named(&self, issuer: Option<&str>) -> Option<(usize, &Trust)> {
        let issuer = issuer?;
        let place = self.members.iter().position(|member| member.options.issuer == issuer)?;
        self.members.get(place).map(|member| (place, &member.trust))
    }

    fn sources(&self) -> impl Iterator<Item = &Arc<KeySource>> {
        self.members.iter().filter_map(|member| match &member.trust {
            Trust::Keys { source, .. } => Some(source),
            Trust::Introspection(_) => None,
        })
    }

    /// The running state of the issuer that had the same name and source.
    fn ring(&self, options: &IssuerOptions) -> Option<Arc<KeyRing>> {
        self.sources()
            .find(|source| {
                source.issuer == options.issuer
                    && source.source == options.source
                    && source.insecure_http == options.insecure_http
            })
            .map(|source| Arc::clone(&source.ring))
    }
}

fn claim_rules(options: &IssuerOptions) -> ClaimRules {
    ClaimRules { issuer: options.issuer.clone(), audiences: options.audiences.clone() }
}

fn introspection_options(options: &IssuerOptions, bounds: &Bounds) -> Option<IntrospectionOptions> {
    match &options.source {
        Source::Introspection { url, client_id, client_secret, cache, timeout } => Some(IntrospectionOptions {
            url: url.clone(),
            authorization: introspection::basic(client_id, client_secret),
            cache: *cache,
            timeout: *timeout,
            rules: claim_rules(options),
            refusals: bounds.cached_tokens.min(REMEMBERED_REFUSALS),
        }),
        Source::JwksFile(_) | Source::JwksUri(_) | Source::Discovery => None,
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.members.iter().map(|member| &member.options.issuer);
        f.debug_list().entries(names).finish()
    }
}
