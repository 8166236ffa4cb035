//! The HTTP/1.1 client towards issuers: bounded in size, never redirected, plain `http` only where that is allowed.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HOST, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

/// Largest response head taken from an issuer, in bytes.
const HEAD_BYTES: usize = 32 * 1024;

/// Why an issuer's document could not be had.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    #[error("the URL is not allowed; expected https, or http on loopback or with insecure_http")]
    NotAllowed,
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    #[error("no TLS session: {0}")]
    Tls(std::io::Error),
    #[error("HTTP failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer has status {0}; expected 200")]
    Status(StatusCode),
    #[error("the answer is larger than the limit")]
    TooLarge,
    #[error("no answer in time")]
    TimedOut,
    #[error("the file cannot be read: {0}")]
    File(std::io::Error),
    #[error("{0}")]
    Document(&'static str),
    #[error("{place}: {error}")]
    At { place: String, error: Box<FetchError> },
}

impl FetchError {
    /// The same, with what was asked; not its query, which may hold what is nobody's business.
    pub(super) fn at(self, uri: &Uri) -> Self {
        let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |a| a.as_str()));
        Self::At { place: format!("{scheme}://{authority}{}", uri.path()), error: Box::new(self) }
    }

    /// Whether the issuer answered at all, so that it makes sense to ask it for something else.
    pub(super) fn answered(&self) -> bool {
        match self {
            Self::Status(_) | Self::TooLarge | Self::Document(_) => true,
            Self::At { error, .. } => error.answered(),
            Self::NotAllowed | Self::Connect(_) | Self::Tls(_) | Self::Http(_) | Self::TimedOut | Self::File(_) => {
                false
            }
        }
    }
}

/// A body, whole, and how long its sender says that it is fresh.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) body: Bytes,
    pub(super) max_age: Option<Duration>,
}

/// How long after one address of several the next is tried beside it (RFC 8305 section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Connects to issuers.
#[derive(Clone)]
pub(super) struct Client {
    tls: Arc<rustls::ClientConfig>,
    insecure_http: bool,
    document_bytes: usize,
}

impl Client {
    pub(super) fn new(tls: &rustls::ClientConfig, insecure_http: bool, document_bytes: usize) -> Self {
        let mut tls = tls.clone();
        // What the process offers elsewhere does not matter here: this client speaks HTTP/1.1 only.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: Arc::new(tls), insecure_http, document_bytes }
    }

    /// Fetches a document over a connection of its own. The caller bounds the time.
    pub(super) async fn get(&self, uri: &Uri) -> Result<Document, FetchError> {
        let exchange = async {
            let mut connection = self.connect(uri).await?;
            let request = request(Method::GET, uri, Bytes::new())?;
            connection.send(request, self.document_bytes).await
        };
        exchange.await.map_err(|error| error.at(uri))
    }

    /// Opens a connection to the host of `uri`.
    pub(super) async fn connect(&self, uri: &Uri) -> Result<Connection, FetchError> {
        let transport = transport(uri, self.insecure_http).ok_or(FetchError::NotAllowed)?;
        let host = bare_host(uri).ok_or(FetchError::NotAllowed)?;
        let default_port = match transport {
            Transport::Tls => 443,
            Transport::Plain | Transport::PlainLoopback => 80,
        };
        let address = (host, uri.port_u16().unwrap_or(default_port));
        let stream = connect_to(address).await.map_err(FetchError::Connect)?;
        stream.set_nodelay(true).map_err(FetchError::Connect)?;
        match transport {
            Transport::Plain => Connection::open(stream).await,
            Transport::PlainLoopback => {
                // A resolver may say anything of `localhost`.
                let peer = stream.peer_addr().map_err(FetchError::Connect)?;
                if !peer.ip().is_loopback() {
                    return Err(FetchError::NotAllowed);
                }
                Connection::open(stream).await
            }
            Transport::Tls => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| FetchError::NotAllowed)?;
                let connector = TlsConnector::from(Arc::clone(&self.tls));
                Connection::open(connector.connect(name, stream).await.map_err(FetchError::Tls)?).await
            }
        }
    }

    /// Largest body taken, in bytes.
    pub(super) fn document_bytes(&self) -> usize {
        self.document_bytes
    }
}

/// To whichever of a host's addresses answers first: one from which nothing comes back (IPv6 that is announced, and
/// leads nowhere) must not use up the time of the others.
async fn connect_to(host: (&str, u16)) -> std::io::Result<TcpStream> {
    let mut addresses = tokio::net::lookup_host(host).await?.peekable();
    let mut failure = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    let mut attempts = tokio::task::JoinSet::new();
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(error) => failure = error.into(),
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if addresses.peek().is_some() => {}
            else => return Err(failure),
        }
    }
}

/// How a URL may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tls,
    Plain,
    PlainLoopback,
}

/// `None` where the URL must not be used: no host, user information in it, another scheme, or plain `http` to
/// beyond loopback without the operator's leave.
pub(super) fn transport(uri: &Uri, insecure_http: bool) -> Option<Transport> {
    let host = bare_host(uri)?;
    if host.is_empty() || uri.authority()?.as_str().contains('@') {
        return None;
    }
    match uri.scheme_str()? {
        "https" => Some(Transport::Tls),
        "http" if insecure_http => Some(Transport::Plain),
        "http" if is_loopback(host) => Some(Transport::PlainLoopback),
        _ => None,
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || IpAddr::from_str(host).is_ok_and(|ip| ip.is_loopback())
}

/// The host, an IPv6 address without its brackets.
fn bare_host(uri: &Uri) -> Option<&str> {
    let host = uri.host()?;
    Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
}

/// A request in origin form with the headers that every issuer gets.
pub(super) fn request(method: Method, uri: &Uri, body: Bytes) -> Result<Request<Full<Bytes>>, FetchError> {
    let authority = uri.authority().ok_or(FetchError::NotAllowed)?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| FetchError::NotAllowed)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_str(path).map_err(|_| FetchError::NotAllowed)?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("dpop-gate/", env!("CARGO_PKG_VERSION"))));
    Ok(request)
}

/// One open connection; closed when dropped.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Connection {
    async fn open(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, FetchError> {
        let (sender, connection) =
            http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
        // Its error reaches whoever waits for the answer.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { sender, driver })
    }

    /// Sends a request and reads the whole body of a 200, up to `limit` bytes.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>, limit: usize) -> Result<Document, FetchError> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let max_age = max_age(response.headers());
        let body = Limited::new(response.into_body(), limit).collect().await.map_err(|error| {
            match error.downcast::<hyper::Error>() {
                Ok(error) => FetchError::Http(*error),
                Err(error) if error.is::<LengthLimitError>() => FetchError::TooLarge,
                Err(_) => FetchError::Document("the answer's body cannot be read"),
            }
        })?;
        Ok(Document { body: body.to_bytes(), max_age })
    }

    /// Whether another request may be tried on it.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// RFC 9111 section 5.2.2: `max-age`, or zero for `no-cache` and `no-store`.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut shortest: Option<Duration> = None;
    for directive in directives.flat_map(|value| value.split(',')).map(str::trim) {
        let age = if directive.eq_ignore_ascii_case("no-cache") || directive.eq_ignore_ascii_case("no-store") {
            Some(Duration::ZERO)
        } else {
            directive
                .split_once('=')
                .filter(|(name, _)| name.eq_ignore_ascii_case("max-age"))
                .and_then(|(_, secs)| secs.trim_matches('"').parse().ok())
                .map(Duration::from_secs)
        };
        shortest = match (shortest, age) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    shortest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_unless_the_operator_says_so() {
        for (uri, insecure, expected) in [
            ("https://id.example.com/jwks", false, Some(Transport::Tls)),
            ("http://id.example.com/jwks", false, None),
            ("http://id.example.com/jwks", true, Some(Transport::Plain)),
            ("http://127.0.0.1:9/jwks", false, Some(Transport::PlainLoopback)),
            ("http://[::1]:9/jwks", false, Some(Transport::PlainLoopback)),
            ("http://LOCALHOST/jwks", false, Some(Transport::PlainLoopback)),
            ("http://localhost.example.com/jwks", false, None),
            ("http://127.0.0.1.example.com/jwks", false, None),
            ("http://10.0.0.1/jwks", false, None),
            ("http://user@127.0.0.1/jwks", true, None),
            ("https://user:pass@id.example.com/jwks", true, None),
            ("ftp://127.0.0.1/jwks", true, None),
            ("/jwks", true, None),
        ] {
            assert_eq!(transport(&uri.parse().unwrap(), insecure), expected, "{uri} {insecure}");
        }
    }

    /// A TLS server for `localhost` that answers `{}` to whatever is asked, and the certificate to trust for it.
    async fn tls_server() -> (u16, rustls_pki_types::CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let answer =
                    |_| async { Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from("{}")))) };
                let service = hyper::service::service_fn(answer);
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            }
        });
        (port, certificate)
    }

    fn provider() -> Arc<rustls::crypto::CryptoProvider> {
        Arc::new(rustls::crypto::aws_lc_rs::default_provider())
    }

    fn trusting(certificate: Option<rustls_pki_types::CertificateDer<'static>>) -> Client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(certificate);
        let config = rustls::ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Client::new(&config, false, 100)
    }

    #[tokio::test]
    async fn https_takes_only_the_right_name_from_a_trusted_certificate() {
        let (port, certificate) = tls_server().await;
        for (host, client, works) in [
            ("localhost", trusting(None), false),
            ("127.0.0.1", trusting(Some(certificate.clone())), false),
            ("localhost", trusting(Some(certificate)), true),
        ] {
            let result = client.get(&format!("https://{host}:{port}/jwks").parse().unwrap()).await;
            assert_eq!(result.is_ok(), works, "{host} {result:?}");
            let cause = match result {
                Err(FetchError::At { error, .. }) => Some(*error),
                _ => None,
            };
            assert!(works || matches!(cause, Some(FetchError::Tls(_))), "{host}: {cause:?}");
        }
    }

    #[test]
    fn max_age_is_the_shortest_that_is_said() {
        for (values, expected) in [
            (vec![], None),
            (vec!["public"], None),
            (vec!["public, max-age=120"], Some(120)),
            (vec!["Max-Age=\"120\", must-revalidate"], Some(120)),
            (vec!["max-age=120", "max-age=60"], Some(60)),
            (vec!["max-age=120, no-store"], Some(0)),
            (vec!["s-maxage=5"], None),
            (vec!["max-age=-5"], None),
            (vec!["max-age=99999999999999999999999"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(CACHE_CONTROL, value.parse().unwrap());
            }
            assert_eq!(max_age(&headers), expected.map(Duration::from_secs), "{values:?}");
        }
    }
}
