//! The decision, step by step, for somebody who looks on: `explain`.

use std::future::Future;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::dpop::Check;
use crate::issuer::Issuers;
use crate::policy::{Auth, Route};
use crate::secret::{AccessToken, TokenDigest};
use crate::token::{TokenError, VerifiedToken};

use super::{Facts, Gate, Refusal, Spend};

/// What is decided, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Which URI the client addressed: a door's step, before the gate's.
    Target,
    /// Which route that is: a door's step.
    Route,
    /// Whether the body is small enough: a door's step.
    Size,
    /// There is exactly one access token (RFC 9449 section 7.1).
    Credentials,
    /// At a token endpoint: there is one `Authorization` header at most (RFC 6749 section 2.3).
    Authentication,
    /// A check of section 4.3.
    Proof(Check),
    /// The token is good: form, issuer, signature, audience, time (RFC 9068 section 4, RFC 7662).
    Token,
    /// The token is bound to a key (RFC 9449 section 6), and came under the scheme for that (section 7.2).
    Bound,
    /// The token grants what the route requires.
    Granted,
    /// The proof was not used before (section 11.1).
    Unused,
}

impl Step {
    /// The steps of a route, in the order in which a good request takes them.
    pub fn of(auth: Auth) -> Vec<Step> {
        let mut steps = vec![Self::Target, Self::Route, Self::Size];
        match auth {
            Auth::Public => {}
            Auth::TokenEndpoint => {
                steps.push(Self::Authentication);
                let checks = Check::ALL.into_iter().filter(|check| *check != Check::Binding);
                steps.extend(checks.map(Self::Proof));
                steps.push(Self::Unused);
            }
            Auth::Dpop | Auth::DpopOrBearer => {
                steps.push(Self::Credentials);
                for check in Check::ALL {
                    match check {
                        Check::Binding => steps.extend([Self::Token, Self::Bound]),
                        Check::Signature => steps.push(Self::Granted),
                        _ => {}
                    }
                    steps.push(Self::Proof(check));
                }
                steps.push(Self::Unused);
            }
        }
        steps
    }
}

/// Somebody who looks on. It changes nothing of what is checked; it may vouch for tokens where no issuer can be asked.
pub trait Witness: Sync {
    /// The decision comes to this step; the one before it has passed.
    fn reached(&self, step: Step);

    /// Who vouches for a token: `issuers`, or somebody in their place.
    fn vouch(
        &self,
        issuers: &Issuers,
        token: &AccessToken,
        digest: &TokenDigest,
        now: Timestamp,
    ) -> impl Future<Output = Option<Result<Arc<VerifiedToken>, TokenError>>> + Send {
        let _ = (issuers, token, digest, now);
        async { None }
    }
}

/// Nobody looks on: every decision that lets a request pass.
pub(super) struct Nobody;

impl Witness for Nobody {
    #[inline]
    fn reached(&self, _: Step) {}
}

impl Gate {
    /// Decides as [`Gate::admit`] does on an enforced route, before a witness. What it answers lets nothing pass, and
    /// no `jti` is spent.
    pub async fn rehearse(
        &self,
        route: &Route,
        facts: &Facts<'_>,
        now: Timestamp,
        witness: &impl Witness,
    ) -> Result<(), Refusal> {
        let facts = Facts { spend: Spend::Check, ..*facts };
        self.decide(route, &facts, now, witness).await.map(drop)
    }
}
