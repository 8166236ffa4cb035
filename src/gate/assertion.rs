//! The signed identity assertion: a short JWT for upstreams that verify.

use std::time::Duration;

use http::HeaderName;

use crate::jose::PrivateKey;

/// How the assertion is made.
#[derive(Debug)]
pub struct AssertionOptions {
    /// The header that carries it.
    pub header: HeaderName,
    /// What it is signed with.
    pub key: PrivateKey,
    /// `aud`; the upstream's name where absent.
    pub audience: Option<String>,
    /// How long it is valid.
    pub lifetime: Duration,
}
