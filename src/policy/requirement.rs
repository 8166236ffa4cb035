//! `require`: scopes and claims.

use serde_json::Value;

use crate::token::{Claim, VerifiedToken};

/// What a token must grant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Requirement {
    /// All of these scopes.
    pub scopes: Vec<String>,
    /// All of these claims.
    pub claims: Vec<ClaimRequirement>,
}

/// A claim, and the values of which it must have one.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimRequirement {
    /// The claim's name, or its dotted path.
    pub claim: String,
    /// Any one of these.
    pub any_of: Vec<Value>,
}

/// What was not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// A scope is missing.
    Scope,
    /// A claim is missing or has another value.
    Claim,
}

impl Requirement {
    /// Whether `token` meets all of it.
    pub fn met_by(&self, token: &VerifiedToken) -> Result<(), Unmet> {
        if !self.scopes.iter().all(|wanted| token.scopes().any(|granted| granted == wanted.as_str())) {
            return Err(Unmet::Scope);
        }
        let met = |claim: &ClaimRequirement| {
            token
                .claim(&claim.claim)
                .map(Claim::value)
                .is_some_and(|value| claim.any_of.iter().any(|wanted| has(&value, wanted)))
        };
        if self.claims.iter().all(met) { Ok(()) } else { Err(Unmet::Claim) }
    }
}

/// Equality, or membership where the token's claim is a list (`groups: [a, b]` has `a`).
fn has(value: &Value, wanted: &Value) -> bool {
    value == wanted || value.as_array().is_some_and(|members| members.contains(wanted))
}
