//! Access tokens: claims (RFC 9068, RFC 7662) and binding (RFC 7800, RFC 9449 section 6, RFC 8705).

mod binding;
mod claims;
mod error;
mod json;

pub use binding::Binding;
pub use claims::{ClaimRules, TokenTypes, VerifiedToken};
pub use error::TokenError;
pub use json::{Claim, Claims};
