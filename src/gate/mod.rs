//! The decision: a request's facts in, an [`Admission`] or a [`Refusal`] out. Every door asks here.

mod admit;
mod assertion;
mod challenge;
mod cors;
mod credentials;
#[cfg(test)]
pub(crate) mod fixture;
mod identity;
mod members;
mod refusal;
mod waits;
mod wellknown;
mod witness;

use std::sync::Arc;

use crate::dpop::ProofPolicy;
use crate::issuer::Issuers;
use crate::metrics::Metrics;
use crate::nonce::Nonces;
use crate::policy::Routes;
use crate::replay::ReplayStore;
use crate::target::Trust;
use crate::verifier::Verifier;

pub use admit::{Admission, Facts, Spend};
pub use assertion::AssertionOptions;
pub use challenge::{DPOP_NONCE, Reply, error_reply};
pub use cors::{Preflighted, allowed_origin, write_cors};
pub use identity::{ForwardToken, IdentityOptions};
pub use members::{decimal, has_token, plain_decimal, tokens};
pub use refusal::Refusal;
pub use waits::Waits;
pub use witness::{Step, Witness};

/// One configuration's rules, complete: what the doors ask.
#[derive(Debug)]
pub struct Gate {
    /// Whose forwarding headers are believed, and how clients address the gate.
    pub trust: Trust,
    /// The routes.
    pub routes: Routes,
    /// The operator's rules for proofs.
    pub proof: ProofPolicy,
    /// `None` where nonces are off.
    pub nonces: Option<Nonces>,
    /// Claimed proofs.
    pub replay: Arc<ReplayStore>,
    /// Who checks the signatures of proofs.
    pub verifier: Arc<Verifier>,
    /// Who vouches for tokens.
    pub issuers: Arc<Issuers>,
    /// The headers that tell the upstream who calls.
    pub identity: IdentityOptions,
    /// Counters.
    pub metrics: Arc<Metrics>,
}
