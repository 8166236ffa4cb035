//! Why the shared store cannot be asked.

use std::sync::Arc;

use redis::RedisError;
use thiserror::Error;

/// Why a connection to the store is not there, or no more. None of them holds a password.
#[derive(Debug, Clone, Error)]
pub enum LinkError {
    /// Nothing has been tried yet.
    #[error("not connected yet")]
    Fresh,
    /// No connection, no TLS.
    #[error("{0}")]
    Connect(Arc<std::io::Error>),
    /// No answer in time: what was asked may have been done, or not.
    #[error("no answer in time")]
    Timeout,
    /// The connection ended, or the server answered with an error.
    #[error("{0}")]
    Redis(#[from] RedisError),
    /// The server ended the connection.
    #[error("the connection was closed")]
    Closed,
    /// It answers, but takes no writes.
    #[error("the server is a replica, not a master")]
    Replica,
    /// It may forget a proof that it should remember.
    #[error("the server may evict keys (maxmemory-policy {0}); expected noeviction")]
    Evicts(String),
    /// A server that does not say what a Redis would.
    #[error("the server's {0} cannot be read")]
    Unreadable(&'static str),
    /// No sentinel, or no node of the cluster, knows a master.
    #[error("nobody asked knows a master")]
    NoMaster,
    /// The system gives no randomness for a new life's number.
    #[error("the system gives no randomness")]
    NoRandomness,
    /// An answer from before its clock was found set back.
    #[error("the server's clock was set back")]
    SetBack,
    /// Another master has taken over.
    #[error("another master has taken over")]
    Moved,
}

impl From<std::io::Error> for LinkError {
    fn from(error: std::io::Error) -> Self {
        Self::Connect(Arc::new(error))
    }
}
