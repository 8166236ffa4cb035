//! The decision itself.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::clock::Timestamp;
use crate::dpop::{self, BoundKey, Expected, NonceCheck, ProofError, VerifiedProof};
use crate::jose::Thumbprint;
use crate::nonce::{Accepted, Nonces};
use crate::policy::{Auth, Mode, Requirement, Route, Unmet};
use crate::replay::{ProofId, ReplayError};
use crate::secret::AccessToken;
use crate::target::{Peer, Target, TargetError};
use crate::token::{Binding, TokenError, VerifiedToken};

use super::credentials::Credentials;
use super::waits::Waits;
use super::witness::{Nobody, Step, Witness};
use super::{Gate, Refusal};

/// What is known of a request when it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What `htm` may be: the request's method (for a WebSocket over HTTP/2, `CONNECT` and `GET`).
    pub methods: &'a [&'a str],
    /// The URI that the client addressed.
    pub target: &'a Target,
    /// All headers of the request.
    pub headers: &'a HeaderMap,
    /// Who sent it.
    pub peer: &'a Peer,
    /// Whether the `jti` is spent.
    pub spend: Spend,
}

/// What becomes of the `jti`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spend {
    /// It is claimed.
    Consume,
    /// It is looked at: the next hop verifies the proof again.
    Check,
}

/// Leave to go upstream, and who the caller is. Only [`Gate::admit`] makes one.
#[derive(Debug)]
pub struct Admission {
    pub(super) caller: Caller,
    reported: Option<Refusal>,
    nonce: Option<String>,
}

/// Who calls.
#[derive(Debug)]
pub(super) enum Caller {
    /// A public route, or one in report mode that would have been refused: nobody in particular.
    Anyone,
    /// The holder of a token, and of its key unless it is a bearer token.
    Token { token: Arc<VerifiedToken>, text: AccessToken, jkt: Option<Thumbprint> },
    /// At a token endpoint: the holder of a key.
    Key(Thumbprint),
}

impl Admission {
    /// Of nobody in particular, and of nothing that was judged.
    const fn of_anyone() -> Self {
        Self { caller: Caller::Anyone, reported: None, nonce: None }
    }

    /// In report mode: why it would have been refused.
    pub fn reported(&self) -> Option<Refusal> {
        self.reported
    }

    /// A fresh nonce that the response has to carry.
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// The thumbprint of the key that the caller has proved to hold.
    pub fn jkt(&self) -> Option<&Thumbprint> {
        match &self.caller {
            Caller::Anyone => None,
            Caller::Token { jkt, .. } => jkt.as_ref(),
            Caller::Key(jkt) => Some(jkt),
        }
    }

    /// The caller's token, for logs and headers.
    pub fn token(&self) -> Option<&VerifiedToken> {
        match &self.caller {
            Caller::Token { token, .. } => Some(token),
            Caller::Anyone | Caller::Key(_) => None,
        }
    }
}

impl Gate {
    /// Which route a request is, by what the client addressed.
    pub fn route(&self, method: &http::Method, target: &Target) -> Result<&Arc<Route>, Refusal> {
        let route = self.routes.find(method, target.host(), target.path());
        if let Some(plain) = without_parameters(target.path()) {
            // Some servers take `;x` off a segment before they look at the path (Tomcat, Jetty), some after another has
            // decoded it: what they would see must be this route too.
            let plain = self.routes.find(method, target.host(), &plain);
            if plain.map(Arc::as_ptr) != route.map(Arc::as_ptr) {
                return Err(TargetError::AmbiguousPath.into());
            }
        }
        route.ok_or(Refusal::NoRoute)
    }

    /// Decides. In report mode a refusal becomes an [`Admission`] of nobody in particular that says so. `waits`, of a
    /// request that is traced, is told what was waited for.
    pub async fn admit(
        &self,
        route: &Route,
        facts: &Facts<'_>,
        now: Timestamp,
        waits: Option<&Waits>,
    ) -> Result<Admission, Refusal> {
        let decision = match waits {
            None => self.decide(route, facts, now, &Nobody).await,
            // In a box: few requests are traced, and the others would carry the room for it along.
            Some(waits) => Box::pin(waits.follow(self.decide(route, facts, now, waits))).await,
        };
        match (decision, route.mode) {
            (Err(refusal), Mode::Report) => Ok(self.report(refusal, now)),
            (decision, Mode::Enforce | Mode::Report) => decision,
        }
    }

    /// `witness` is told of each step.
    pub(super) async fn decide(
        &self,
        route: &Route,
        facts: &Facts<'_>,
        now: Timestamp,
        witness: &impl Witness,
    ) -> Result<Admission, Refusal> {
        match route.auth {
            Auth::Public => Ok(Admission::of_anyone()),
            Auth::TokenEndpoint => self.admit_key(facts, now, witness).await,
            Auth::Dpop | Auth::DpopOrBearer => {
                witness.reached(Step::Credentials);
                match Credentials::of(facts.headers, facts.target.query())? {
                    Credentials::Dpop(token) => self.admit_bound(&route.require, facts, token, now, witness).await,
                    Credentials::Bearer(token) => self.admit_bearer(route, facts.peer, token, now, witness).await,
                }
            }
        }
    }

    /// RFC 9449 section 7.1: a bound token under the `DPoP` scheme, and a proof by the key it is bound to.
    async fn admit_bound(
        &self,
        require: &Requirement,
        facts: &Facts<'_>,
        token: AccessToken,
        now: Timestamp,
        witness: &impl Witness,
    ) -> Result<Admission, Refusal> {
        let verified = async {
            let token = self.vouched(&token, now, witness).await?;
            let jkt = bound_to(&token, facts.peer)?.ok_or(Refusal::TokenNotBound)?;
            Ok::<_, Refusal>(BoundToken { token, jkt, require, witness })
        };
        let (proof, bound, nonce) = self.prove(facts, Some(&token), verified, now, witness).await?;
        self.spend(&proof, nonce, facts.spend, now, witness).await?;
        let caller = Caller::Token { token: bound.token, text: token, jkt: Some(*proof.thumbprint()) };
        Ok(Admission { caller, reported: None, nonce: self.renewed(nonce, now) })
    }

    /// RFC 9449 section 5: a token endpoint takes a proof and no token; the client's own authentication is not ours, as
    /// long as it is clear which one it is.
    async fn admit_key(&self, facts: &Facts<'_>, now: Timestamp, witness: &impl Witness) -> Result<Admission, Refusal> {
        witness.reached(Step::Authentication);
        if facts.headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
            return Err(Refusal::MultipleCredentials);
        }
        let (proof, AnyKey, nonce) = self.prove(facts, None, async { Ok::<_, Refusal>(AnyKey) }, now, witness).await?;
        self.spend(&proof, nonce, facts.spend, now, witness).await?;
        Ok(Admission { caller: Caller::Key(*proof.thumbprint()), reported: None, nonce: self.renewed(nonce, now) })
    }

    /// The `Bearer` scheme: a bound token never passes under it (RFC 9449 section 7.2), an unbound one only where the
    /// operator still takes them.
    async fn admit_bearer(
        &self,
        route: &Route,
        peer: &Peer,
        token: AccessToken,
        now: Timestamp,
        witness: &impl Witness,
    ) -> Result<Admission, Refusal> {
        if route.auth == Auth::Dpop && self.issuers.must_ask(&token, now) {
            // Nothing passes here under this scheme; a stranger must not keep the issuer busy with it.
            witness.reached(Step::Bound);
            return Err(Refusal::TokenNotBound);
        }
        let verified = self.vouched(&token, now, witness).await?;
        if bound_to(&verified, peer)?.is_some() {
            return Err(Refusal::BoundTokenAsBearer);
        }
        if route.auth != Auth::DpopOrBearer {
            return Err(Refusal::TokenNotBound);
        }
        witness.reached(Step::Granted);
        grants(&verified, &route.require)?;
        let caller = Caller::Token { token: verified, text: token, jkt: None };
        Ok(Admission { caller, reported: None, nonce: None })
    }

    /// The token, once its issuer vouches for it; what it is bound to is looked at next.
    async fn vouched(
        &self,
        token: &AccessToken,
        now: Timestamp,
        witness: &impl Witness,
    ) -> Result<Arc<VerifiedToken>, Refusal> {
        let digest = &token.digest();
        witness.reached(Step::Token);
        let verified = match witness.vouch(&self.issuers, token, digest, now).await {
            Some(vouched) => vouched,
            None => self.issuers.verify(token, digest, now, self.proof.clock_skew).await,
        };
        if matches!(verified, Ok(_) | Err(TokenError::NotBound)) {
            witness.reached(Step::Bound);
        }
        Ok(verified?)
    }

    /// The checklist, and what is known of the proof's nonce.
    async fn prove<T: BoundKey<Refusal>>(
        &self,
        facts: &Facts<'_>,
        token: Option<&AccessToken>,
        verified: impl Future<Output = Result<T, Refusal>>,
        now: Timestamp,
        witness: &impl Witness,
    ) -> Result<(VerifiedProof, T, Option<Accepted>), Refusal> {
        let nonces = NonceJudge { nonces: self.nonces.as_ref(), accepted: OnceLock::new() };
        let expected = Expected {
            methods: facts.methods,
            target: facts.target,
            token,
            nonces: &nonces,
            signatures: &*self.verifier,
            signature_first: &|| token.is_some_and(|token| self.issuers.must_ask(token, now)),
            policy: &self.proof,
            now,
        };
        let reached = |check| witness.reached(Step::Proof(check));
        let (proof, bound) = dpop::verify(facts.headers, &expected, verified, reached).await?;
        Ok((proof, bound, nonces.accepted.into_inner()))
    }

    /// The nonce that the response has to carry, if the proof's is past half its lifetime.
    fn renewed(&self, nonce: Option<Accepted>, now: Timestamp) -> Option<String> {
        nonce.filter(|nonce| nonce.renew).and_then(|_| self.fresh_nonce(now))
    }

    /// `None` where nonces are off.
    pub(super) fn fresh_nonce(&self, now: Timestamp) -> Option<String> {
        self.nonces.as_ref().map(|nonces| nonces.issue(now, self.replay.life()))
    }

    /// Spends the proof, last of all: a refused request burns no `jti`.
    async fn spend(
        &self,
        proof: &VerifiedProof,
        nonce: Option<Accepted>,
        spend: Spend,
        now: Timestamp,
        witness: &impl Witness,
    ) -> Result<(), Refusal> {
        witness.reached(Step::Unused);
        let id = ProofId::new(proof.thumbprint(), proof.jti(), proof.iat(), nonce);
        match spend {
            Spend::Consume => self.replay.claim(&id, now).await?,
            Spend::Check => self.replay.check(&id, now).await?,
        }
        Ok(())
    }

    fn report(&self, refusal: Refusal, now: Timestamp) -> Admission {
        // A client that lacks only a nonce learns one here, so that it is ready when the route is enforced.
        let wants_nonce = matches!(
            refusal,
            Refusal::Proof(ProofError::NonceMissing | ProofError::NonceInvalid)
                | Refusal::Replay(ReplayError::OtherLife)
        );
        let nonce = if wants_nonce { self.fresh_nonce(now) } else { None };
        Admission { caller: Caller::Anyone, reported: Some(refusal), nonce }
    }
}

/// A normalised path without the parameters of its segments; `None` if it has none.
fn without_parameters(path: &str) -> Option<String> {
    // Most paths have neither.
    memchr::memchr2(b';', b'%', path.as_bytes())?;
    if !path.contains(';') && !path.contains("%3B") {
        return None;
    }
    let bare = |segment| [";", "%3B"].iter().fold(segment, |rest: &str, mark| rest.split(mark).next().unwrap_or(rest));
    let plain = path.split('/').map(bare).collect::<Vec<_>>().join("/");
    (plain.len() < path.len()).then_some(plain)
}

/// The key that a token is bound to; `None` for a bearer token. A token that is bound to a client certificate as well
/// (RFC 8705 section 3) needs that certificate on this connection.
fn bound_to(token: &VerifiedToken, peer: &Peer) -> Result<Option<Thumbprint>, Refusal> {
    match token.binding() {
        Binding::None => Ok(None),
        Binding::Key { x5t_s256: Some(wanted), .. } if peer.client_certificate.as_ref() != Some(wanted) => {
            Err(TokenError::NotBound.into())
        }
        Binding::Key { jkt, .. } => Ok(Some(*jkt)),
    }
}

fn grants(token: &VerifiedToken, require: &Requirement) -> Result<(), Refusal> {
    require.met_by(token).map_err(|unmet| match unmet {
        Unmet::Scope => Refusal::InsufficientScope,
        Unmet::Claim => Refusal::ClaimMismatch,
    })
}

struct BoundToken<'a, W> {
    token: Arc<VerifiedToken>,
    jkt: Thumbprint,
    require: &'a Requirement,
    witness: &'a W,
}

impl<W: Witness> BoundKey<Refusal> for BoundToken<'_, W> {
    fn bound_key(&self) -> Option<&Thumbprint> {
        Some(&self.jkt)
    }

    fn permits(&self) -> Result<(), Refusal> {
        self.witness.reached(Step::Granted);
        grants(&self.token, self.require)
    }
}

/// No token, so nothing that the key could be compared with.
struct AnyKey;

impl BoundKey<Refusal> for AnyKey {
    fn bound_key(&self) -> Option<&Thumbprint> {
        None
    }

    fn permits(&self) -> Result<(), Refusal> {
        Ok(())
    }
}

struct NonceJudge<'a> {
    nonces: Option<&'a Nonces>,
    accepted: OnceLock<Accepted>,
}

impl NonceCheck for NonceJudge<'_> {
    fn check(&self, nonce: Option<&str>, now: Timestamp) -> Result<(), ProofError> {
        let Some(nonces) = self.nonces else { return Ok(()) };
        let nonce = nonce.ok_or(ProofError::NonceMissing)?;
        let accepted = nonces.check(nonce, now).map_err(|_| ProofError::NonceInvalid)?;
        // A proof has one nonce, and it is judged once.
        let _ = self.accepted.set(accepted);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::Method;

    use super::*;
    use crate::gate::fixture;
    use crate::policy::PathMatch;
    use crate::target::{Scheme, Trust};

    #[test]
    fn a_path_that_some_servers_read_as_another_routes_is_refused() {
        let gate = fixture::gate_with_paths(
            Auth::Dpop,
            &[
                PathMatch::Prefix("/admin/".to_owned()),
                PathMatch::Exact("/exact".to_owned()),
                PathMatch::Prefix("/".to_owned()),
            ],
        );
        for (path, ambiguous) in [
            ("/admin;x/users", true),
            ("/exact;jsessionid=1", true),
            ("/admin%3Bx/users", true),
            ("/admin%3bx;y/users", true),
            ("/orders%3Bv=1/2", false),
            ("/orders;v=1/2;w=2", false),
            ("/admin/users;x=1", false),
            ("/orders", false),
        ] {
            let target = Target::new(Scheme::Https, "api.example.com", path, &Trust::default()).unwrap();
            let found = gate.route(&Method::GET, &target).map(|_| ());
            let expected = if ambiguous { Err(TargetError::AmbiguousPath.into()) } else { Ok(()) };
            assert_eq!(found, expected, "{path}");
        }
    }
}
