//! The headers that tell an upstream who calls, and the care that nobody else writes them (design section 5).

use http::{HeaderMap, HeaderName};

use crate::clock::Timestamp;
use crate::policy::Route;

use super::{Admission, AssertionOptions, Gate};

/// What an upstream is told.
#[derive(Debug)]
pub struct IdentityOptions {
    /// Header and claim (a name or a dotted path).
    pub headers: Vec<(HeaderName, String)>,
    /// What becomes of the client's own credentials.
    pub forward_token: ForwardToken,
    /// The same, signed.
    pub assertion: Option<AssertionOptions>,
}

/// What becomes of the client's own credentials on their way upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardToken {
    /// They are removed.
    No,
    /// They go as they came.
    Yes,
    /// The token goes alone, as `Authorization: Bearer`.
    Bearer,
}

impl Gate {
    /// Removes every header that an upstream could take for an identity header, in any spelling that a legacy
    /// framework folds into one. On every route, admitted or not.
    pub fn strip_identity(&self, headers: &mut HeaderMap) {
        let _ = headers;
        todo!()
    }

    /// The identity headers of an admission, the assertion included: to be set last.
    pub fn identity_headers(&self, admission: &Admission, route: &Route, now: Timestamp) -> HeaderMap {
        let _ = (admission, route, now);
        todo!()
    }

    /// Rewrites the client's credentials for the upstream: removed, kept or turned into Bearer, as route and
    /// configuration say.
    pub fn forward_credentials(&self, admission: &Admission, route: &Route, headers: &mut HeaderMap) {
        let _ = (admission, route, headers);
        todo!()
    }
}
