//! Why the shared store cannot be asked.

use std::sync::Arc;

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
    /// The server answered with an error: a word in capitals, and more of its own.
    #[error("the server said: {0}")]
    Server(String),
    /// The server does not let us in; with no more than the error's first word, since the rest may quote the password.
    #[error("the server refuses the credentials: {0}")]
    Login(String),
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
    /// Another master has taken over.
    #[error("another master has taken over")]
    Moved,
}

impl LinkError {
    /// An error as the server sent it, cut to what a line of a log takes.
    pub(super) fn server(text: &[u8]) -> Self {
        const LONGEST: usize = 160;
        let text = String::from_utf8_lossy(text.get(..LONGEST).unwrap_or(text));
        Self::Server(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    }

    /// The same, of an answer to what holds a password.
    pub(super) fn login(self) -> Self {
        match self {
            Self::Server(text) => Self::Login(text.chars().take_while(char::is_ascii_uppercase).collect()),
            other => other,
        }
    }
}

impl From<std::io::Error> for LinkError {
    fn from(error: std::io::Error) -> Self {
        Self::Connect(Arc::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_stays_on_its_line_and_quotes_no_password() {
        let error = LinkError::server(b"ERR unknown command 'AUTH', with args beginning with: 'hunter2'\r\n\x1b[2J");
        assert!(!error.to_string().contains(char::is_control), "{error}");
        assert_eq!(error.login().to_string(), "the server refuses the credentials: ERR");
        let long = LinkError::server(&[b'x'; 5_000]).to_string();
        assert!(long.len() < 200, "{long}");
        let bare = LinkError::server(b"'hunter2' is no password");
        assert_eq!(bare.login().to_string(), "the server refuses the credentials: ");
        assert_eq!(LinkError::Timeout.login().to_string(), LinkError::Timeout.to_string());
    }
}
