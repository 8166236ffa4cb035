//! A DPoP client for the command line: a key, a bound token, proofs with the nonces that servers ask for.
//!
//! Redirects are not followed: token and proof are for the URL that was named, and nobody else.

mod call;
mod exchange;
mod nonces;
mod proof;
mod story;
mod token;
mod url;

use std::io;
use std::sync::Arc;

use http::StatusCode;
use thiserror::Error;

use crate::jose::PrivateKeyError;

pub use call::{AGENT, Answer, Call, Credentials};
pub use exchange::{ExchangeError, send};
pub use proof::{Proof, Prover, Statement, is_nonce};
pub use story::Story;
pub use token::Grant;
pub use url::Url;

use nonces::Nonces;

/// A client: who it is, what it remembers, and to whom it tells the story.
pub struct Client {
    prover: Prover,
    tls: Arc<rustls::ClientConfig>,
    nonces: Nonces,
    story: Story,
}

/// Why a call came to nothing.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No answer.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// No proof could be signed.
    #[error("no proof could be signed: {0}")]
    Signing(#[from] PrivateKeyError),
    /// The authorization server refuses.
    #[error("the token endpoint answered {status}{error}")]
    TokenRefused {
        /// The status.
        status: StatusCode,
        /// What its body says: nothing, or a colon and the error of RFC 6749 section 5.2.
        error: String,
    },
    /// The authorization server's answer holds no bound token.
    #[error("the token endpoint's answer {0}")]
    NoToken(&'static str),
    /// It is larger than what is looked at.
    #[error("the answer is larger than 256 KiB; it should have been an error of a few words, or a token")]
    TooLarge,
    /// The time is up.
    #[error("no answer in time; --max-time allows more")]
    TimedOut,
    /// The answer cannot be passed on.
    #[error("the answer cannot be written: {0}")]
    Output(io::Error),
}

impl ClientError {
    /// As curl counts; 1 where it has no number.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exchange(error) => error.exit_code(),
            Self::TokenRefused { .. } => 22,
            Self::Output(_) => 23,
            Self::TimedOut => 28,
            Self::TooLarge => 63,
            Self::Signing(_) | Self::NoToken(_) => 1,
        }
    }
}

impl Client {
    /// A client that has no nonces yet. `tls` is what https is spoken with.
    pub fn new(prover: Prover, tls: Arc<rustls::ClientConfig>, story: Story) -> Self {
        Self { prover, tls, nonces: Nonces::default(), story }
    }
}
