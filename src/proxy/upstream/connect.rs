//! Opening a connection: name resolution, TCP or Unix socket, TLS with ALPN.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper::service::Service as _;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::service::TowerToHyperService;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Endpoint, UpstreamOptions};

/// TCP keep-alive probes start after this much silence, so that a peer that vanished is noticed.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Which HTTP a connection is to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; over plain connections with prior knowledge.
    Http2,
    /// What ALPN says (RFC 7301), HTTP/1.1 where it says nothing.
    Negotiate,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub(super) enum ConnectError {
    /// Name, socket or TLS.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The name did not resolve or TCP did not connect.
    #[error("{0}")]
    Tcp(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Over `connect_timeout`.
    #[error("no connection in time")]
    Timeout,
    /// The peer did not choose HTTP/2 by ALPN.
    #[error("the upstream does not offer HTTP/2")]
    NoHttp2,
    /// An `https` endpoint without TLS settings, or whose name no certificate can have.
    #[error("no TLS settings, or no valid server name, for an https endpoint")]
    NoTls,
    /// The HTTP/2 preface could not be written.
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
}

/// Opens connections to one endpoint.
pub(super) struct Connector {
    target: Target,
    pub(super) timeout: Duration,
}

enum Target {
    Tcp { connect: TowerToHyperService<HttpConnector>, uri: Uri, tls: Tls },
    Unix(PathBuf),
}

enum Tls {
    Plain,
    Missing,
    Ready { name: ServerName<'static>, http1: TlsConnector, http2: TlsConnector, either: TlsConnector },
}

impl Connector {
    pub(super) fn new(endpoint: &Endpoint, options: &UpstreamOptions) -> Self {
        let target = match endpoint {
            Endpoint::Http(authority) => Target::tcp(authority, Tls::Plain, options),
            Endpoint::Https(authority) => Target::tcp(authority, Tls::new(authority, options), options),
            Endpoint::Unix(path) => Target::Unix(path.clone()),
        };
        Self { target, timeout: options.connect_timeout }
    }

    /// A connection, and whether it speaks HTTP/2. Not limited in time: the caller's part.
    pub(super) async fn connect(&self, wish: Wish) -> Result<(Io, bool), ConnectError> {
        let (connect, uri, tls) = match &self.target {
            Target::Unix(path) => return Ok((Io::Unix(UnixStream::connect(path).await?), wish == Wish::Http2)),
            Target::Tcp { connect, uri, tls } => (connect, uri, tls),
        };
        let tcp = connect.call(uri.clone()).await.map_err(|error| ConnectError::Tcp(error.into()))?.into_inner();
        match tls {
            Tls::Plain => Ok((Io::Tcp(tcp), wish == Wish::Http2)),
            Tls::Missing => Err(ConnectError::NoTls),
            Tls::Ready { name, http1, http2, either } => {
                let connector = match wish {
                    Wish::Http1 => http1,
                    Wish::Http2 => http2,
                    Wish::Negotiate => either,
                };
                let stream = connector.connect(name.clone(), tcp).await?;
                let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
                if wish == Wish::Http2 && !speaks_http2 {
                    return Err(ConnectError::NoHttp2);
                }
                Ok((Io::Tls(Box::new(stream)), speaks_http2))
            }
        }
    }
}

impl Target {
    fn tcp(authority: &Authority, tls: Tls, options: &UpstreamOptions) -> Self {
        let mut connect = HttpConnector::new();
        connect.enforce_http(false);
        connect.set_nodelay(true);
        connect.set_keepalive(Some(TCP_KEEPALIVE));
        // Shared out over the addresses that a name has, so that one black hole does not use all of it up.
        connect.set_connect_timeout(Some(options.connect_timeout));
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(match tls {
            Tls::Plain => http::uri::Scheme::HTTP,
            Tls::Missing | Tls::Ready { .. } => http::uri::Scheme::HTTPS,
        });
        parts.authority = Some(authority.clone());
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        let uri = Uri::from_parts(parts).unwrap_or_default();
        Self::Tcp { connect: TowerToHyperService::new(connect), uri, tls }
    }
}

impl Tls {
    fn new(authority: &Authority, options: &UpstreamOptions) -> Self {
        let host = options.server_name.as_deref().unwrap_or_else(|| authority.host());
        // An IPv6 literal has brackets in a URI and none in a certificate (RFC 3986 section 3.2.2).
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let (Some(config), Ok(name)) = (&options.tls, ServerName::try_from(host.to_owned())) else {
            tracing::error!(upstream = %options.name, "{}", ConnectError::NoTls);
            return Self::Missing;
        };
        let connector = |alpn: &[&[u8]]| {
            let mut config = ClientConfig::clone(config);
            config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        Self::Ready {
            name,
            http1: connector(&[b"http/1.1"]),
            http2: connector(&[b"h2"]),
            either: connector(&[b"h2", b"http/1.1"]),
        }
    }
}

/// A connected stream of any kind.
pub(super) enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

macro_rules! each {
    ($io:expr, $stream:ident => $call:expr) => {
        match $io.get_mut() {
            Io::Tcp($stream) => $call,
            Io::Tls($stream) => $call,
            Io::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
