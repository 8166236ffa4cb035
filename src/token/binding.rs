//! What an access token is bound to: its `cnf` claim.

use serde_json::Value;

use crate::jose::Thumbprint;

use super::TokenError;

/// What `cnf` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// There is no `cnf` member at all: a bearer token.
    None,
    /// `cnf.jkt` (RFC 9449 section 6.1), and `cnf.x5t#S256` (RFC 8705 section 3.1) if that stands beside it.
    Key {
        /// The thumbprint that the proof's key must have.
        jkt: Thumbprint,
        /// The SHA-256 of the client certificate that the connection must have.
        x5t_s256: Option<[u8; 32]>,
    },
}

impl Binding {
    /// Reads `cnf`. Present in any form but a usable one is [`TokenError::NotBound`]: never taken for "not bound, fine".
    pub fn of(cnf: Option<&Value>) -> Result<Self, TokenError> {
        let _ = cnf;
        todo!()
    }
}
