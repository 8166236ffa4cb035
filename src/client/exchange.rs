//! One request, one answer, over HTTP/1.1 and a connection of its own.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Url;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// The name leads nowhere.
    #[error("could not resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody listens there, or the way is closed.
    #[error("could not connect to {host} port {port}: {source}")]
    Connect {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// No TLS session.
    #[error("no TLS session with {host}: {source}")]
    Tls {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The server's certificate is not taken.
    #[error("the certificate of {host} is not taken: {source}")]
    Certificate {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The connection ended before there was an answer.
    #[error("the server closed the connection without an answer")]
    Empty,
    /// The connection ended in the middle of the body.
    #[error("the connection ended before the whole body was there")]
    Partial,
    /// What came is no HTTP, or the connection broke.
    #[error("HTTP failed: {0}")]
    Http(hyper::Error),
}

impl ExchangeError {
    /// As curl counts.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Resolve { .. } => 6,
            Self::Connect { .. } => 7,
            Self::Partial => 18,
            Self::Tls { .. } => 35,
            Self::Empty => 52,
            Self::Http(_) => 56,
            Self::Certificate { .. } => 60,
        }
    }

    /// Of a body that is being read.
    pub fn of_body(error: hyper::Error) -> Self {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        let ended = cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof);
        if ended || error.is_incomplete_message() { Self::Partial } else { Self::Http(error) }
    }
}

/// Sends `request` to where `url` leads; `tls` is what https is spoken with.
pub async fn send(
    url: &Url,
    tls: &Arc<rustls::ClientConfig>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, ExchangeError> {
    let stream = connect(url).await?;
    if !url.is_https() {
        return converse(stream, request).await;
    }
    let host = url.host().to_owned();
    let name = match ServerName::try_from(host.clone()) {
        Ok(name) => name,
        Err(error) => return Err(ExchangeError::Tls { host, source: io::Error::other(error) }),
    };
    match TlsConnector::from(Arc::clone(tls)).connect(name, stream).await {
        Ok(stream) => converse(stream, request).await,
        Err(source) if is_certificate(&source) => Err(ExchangeError::Certificate { host, source }),
        Err(source) => Err(ExchangeError::Tls { host, source }),
    }
}

async fn connect(url: &Url) -> Result<TcpStream, ExchangeError> {
    let (host, port) = (url.host().to_owned(), url.port());
    let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((url.host(), port)).await {
        Ok(addresses) => addresses.collect(),
        Err(source) => return Err(ExchangeError::Resolve { host, source }),
    };
    match TcpStream::connect(&*addresses).await {
        Ok(stream) => {
            // Without it a request waits longer; with an error here it still arrives.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Err(source) => Err(ExchangeError::Connect { host, port, source }),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, ExchangeError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(ExchangeError::Http)?;
    // Its error reaches whoever waits for the answer or its body.
    tokio::spawn(async move { drop(connection.await) });
    let answer = sender.send_request(request).await;
    answer.map_err(|error| {
        if error.is_incomplete_message() || error.is_canceled() {
            ExchangeError::Empty
        } else {
            ExchangeError::Http(error)
        }
    })
}

fn is_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}
