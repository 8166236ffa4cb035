//! The one place that turns a [`Refusal`] into HTTP.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::clock::Timestamp;
use crate::policy::Route;
use crate::target::Target;

use super::{Gate, Refusal};

/// An answer of the gate's own.
pub type Reply = Response<Bytes>;

/// `{"error": ..., "error_description": ...}` with that status.
pub fn error_reply(status: StatusCode, error: &str, description: &str) -> Reply {
    let _ = (status, error, description);
    todo!()
}

impl Gate {
    /// Renders a refusal for a client: status, challenge, nonce and body of the contract's table. `route` and `target`
    /// as far as they are known.
    pub fn refuse(&self, refusal: Refusal, route: Option<&Route>, target: Option<&Target>, now: Timestamp) -> Reply {
        let _ = (refusal, route, target, now);
        todo!()
    }
}
