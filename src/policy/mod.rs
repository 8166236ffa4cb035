//! What the operator demands: which route a request is, and what its token must grant.

mod requirement;
mod route;

pub use requirement::{ClaimRequirement, Requirement, Unmet};
pub use route::{Auth, Cors, Mode, PathMatch, Route, RouteMatch, Routes};
