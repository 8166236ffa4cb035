//! WebSocket and other upgrades: HTTP/1.1's `Upgrade` (RFC 9110 section 7.8) and HTTP/2's extended CONNECT (RFC 8441),
//! which goes upstream as the former.

use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::gate::{has_token, tokens};

/// How long one direction of a tunnel outlives the other.
const LINGER: Duration = Duration::from_secs(10);

/// A request for another protocol on its connection or stream.
#[derive(Debug)]
pub(super) enum Upgrade {
    /// HTTP/1.1: these protocols; the client's key if it is a WebSocket's.
    Switch { protocols: HeaderValue, key: Option<HeaderValue>, client: OnUpgrade },
    /// HTTP/2: a WebSocket in a stream, with the key made for its upstream.
    Stream { key: HeaderValue, client: OnUpgrade },
}

/// Why a CONNECT is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum ConnectError {
    /// This is no forward proxy.
    #[error("this method is not served here")]
    Method,
    /// RFC 8441 for something other than a WebSocket.
    #[error("this protocol is not served here")]
    Protocol,
}

/// The upstream switched to something that it was not asked for, or did so without the proof that RFC 6455 demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the upstream did not upgrade as it was asked")]
pub(super) struct Unasked;

impl Upgrade {
    /// What the request asks for, if anything. An upgrade to `h2c` is not passed on: behind it requests would reach the
    /// upstream that no gate has seen.
    pub(super) fn of<B>(request: &mut Request<B>) -> Result<Option<Self>, ConnectError> {
        if request.method() == Method::TRACE {
            // It would show a client the headers that we add for the upstream.
            return Err(ConnectError::Method);
        }
        if request.method() == Method::CONNECT {
            let protocol = request.extensions().get::<Protocol>().ok_or(ConnectError::Method)?;
            if !protocol.as_str().eq_ignore_ascii_case("websocket") {
                return Err(ConnectError::Protocol);
            }
            let mut key = [0; 16];
            // RFC 6455 section 4.1: it only has to differ. Without randomness nothing else works either.
            let _ = getrandom::fill(&mut key);
            let key = HeaderValue::try_from(STANDARD.encode(key)).map_err(|_| ConnectError::Protocol)?;
            return Ok(Some(Self::Stream { key, client: hyper::upgrade::on(request) }));
        }
        if request.version() != Version::HTTP_11 || !has_token(request.headers(), &CONNECTION, "upgrade") {
            return Ok(None);
        }
        let Some(protocols) = passed(request.headers()) else { return Ok(None) };
        let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
        Ok(Some(Self::Switch { protocols, key, client: hyper::upgrade::on(request) }))
    }

    /// The method by which its route is found, and which goes upstream: a WebSocket in a stream is a GET elsewhere.
    pub(super) fn method(upgrade: Option<&Self>, method: &Method) -> Method {
        match upgrade {
            Some(Self::Stream { .. }) => Method::GET,
            Some(Self::Switch { .. }) | None => method.clone(),
        }
    }

    /// Asks the upstream; after hop-by-hop headers are gone.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        match self {
            Self::Switch { protocols, .. } => drop(headers.insert(UPGRADE, protocols.clone())),
            Self::Stream { key, .. } => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_KEY, key.clone());
                headers.entry(SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
            }
        }
    }

    /// What the upstream made of it: `Ok(None)` for an ordinary response. Otherwise both sides are joined as soon as
    /// the client has the response head, whose fields for this are in the [`Accepted`].
    pub(super) fn accept<B>(self, response: &mut Response<B>) -> Result<Option<Accepted>, Unasked> {
        let accepted = match (Taken::of(response)?, self) {
            // To HTTP/2 any 2xx would mean that the WebSocket is open (RFC 8441 section 5).
            (Taken::No, Self::Stream { .. }) if response.status().is_success() => return Err(Unasked),
            (Taken::No, Self::Stream { .. } | Self::Switch { .. }) => return Ok(None),
            (Taken::Switched(chosen), Self::Switch { protocols, client, .. }) => {
                let asked = |name: &[u8]| members(&protocols).any(|asked| asked.eq_ignore_ascii_case(name));
                if !members(&chosen).all(asked) {
                    return Err(Unasked);
                }
                Accepted { status: StatusCode::SWITCHING_PROTOCOLS, chosen: Some(chosen), proof: None, client }
            }
            (Taken::Switched(chosen), Self::Stream { key, client }) => {
                let proof = response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT).ok_or(Unasked)?;
                if !is_websocket(&chosen) || proof.as_bytes() != accept_of(&key).as_bytes() {
                    return Err(Unasked);
                }
                Accepted { status: StatusCode::OK, chosen: None, proof: None, client }
            }
            // The key did not travel: over HTTP/2 the frames themselves say that this is a WebSocket.
            (Taken::Opened, Self::Switch { key, client, .. }) => {
                let proof = HeaderValue::try_from(accept_of(&key.ok_or(Unasked)?)).map_err(|_| Unasked)?;
                let chosen = Some(HeaderValue::from_static("websocket"));
                Accepted { status: StatusCode::SWITCHING_PROTOCOLS, chosen, proof: Some(proof), client }
            }
            (Taken::Opened, Self::Stream { client, .. }) => {
                Accepted { status: StatusCode::OK, chosen: None, proof: None, client }
            }
        };
        tokio::spawn(join(accepted.client.clone(), hyper::upgrade::on(response)));
        Ok(Some(accepted))
    }
}

/// Whether an upstream took the upgrade.
enum Taken {
    /// This is an ordinary response.
    No,
    /// A 101: it speaks this from now on.
    Switched(HeaderValue),
    /// The 200 of an extended CONNECT: it was asked over HTTP/2.
    Opened,
}

impl Taken {
    fn of<B>(response: &Response<B>) -> Result<Self, Unasked> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Self::Switched(response.headers().get(UPGRADE).ok_or(Unasked)?.clone()));
        }
        // hyper leaves this on a response only where the connection, or the stream, is now the caller's.
        Ok(if response.extensions().get::<OnUpgrade>().is_some() { Self::Opened } else { Self::No })
    }
}

/// An upgrade that the upstream agreed to.
#[derive(Debug)]
pub(super) struct Accepted {
    /// 101, or 200 to HTTP/2.
    pub(super) status: StatusCode,
    chosen: Option<HeaderValue>,
    proof: Option<HeaderValue>,
    client: OnUpgrade,
}

impl Accepted {
    /// Says so to the client; after hop-by-hop headers are gone.
    pub(super) fn answer(self, headers: &mut HeaderMap) {
        if let Some(chosen) = self.chosen {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, chosen);
        }
        if let Some(proof) = self.proof {
            headers.insert(SEC_WEBSOCKET_ACCEPT, proof);
        }
    }
}

/// The protocols that are passed on, if any are left.
fn passed(headers: &HeaderMap) -> Option<HeaderValue> {
    let names: Vec<&[u8]> = tokens(headers, &UPGRADE).filter(|name| !name.eq_ignore_ascii_case(b"h2c")).collect();
    if names.is_empty() { None } else { HeaderValue::from_bytes(&names.join(&b", "[..])).ok() }
}

fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
}

fn members(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// RFC 6455 section 4.2.2, which fixes SHA-1: it guards against confusion, not against an attacker.
pub(super) fn accept_of(key: &HeaderValue) -> String {
    use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest.finish())
}

/// Joins both sides until they end.
async fn join(client: OnUpgrade, upstream: OnUpgrade) {
    match tokio::try_join!(client, upstream) {
        Ok((client, upstream)) => tunnel(TokioIo::new(client), TokioIo::new(upstream)).await,
        Err(error) => tracing::debug!(%error, "an upgrade came to nothing"),
    }
}

/// Copies both ways. When one side has said its last word, or is gone, the other is told and gets [`LINGER`] to end.
async fn tunnel(client: impl AsyncRead + AsyncWrite, upstream: impl AsyncRead + AsyncWrite) {
    let (mut client_read, mut client_write) = tokio::io::split(client);
    let (mut upstream_read, mut upstream_write) = tokio::io::split(upstream);
    let mut up = pin!(async {
        let _ = tokio::io::copy(&mut client_read, &mut upstream_write).await;
        let _ = upstream_write.shutdown().await;
    });
    let mut down = pin!(async {
        let _ = tokio::io::copy(&mut upstream_read, &mut client_write).await;
        let _ = client_write.shutdown().await;
    });
    tokio::select! {
        () = &mut up => drop(tokio::time::timeout(LINGER, down).await),
        () = &mut down => drop(tokio::time::timeout(LINGER, up).await),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    fn request(method: Method, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri("/ws");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn what_is_passed_on_and_what_is_not() {
        for (headers, expected) in [
            (&[][..], None),
            (&[("upgrade", "websocket")][..], None),
            (&[("connection", "upgrade")], None),
            (&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")], None),
            (&[("connection", "Upgrade"), ("upgrade", "H2C, websocket")], Some("websocket")),
            (&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")], Some("websocket")),
            (&[("connection", "upgrade"), ("upgrade", "tcp")], Some("tcp")),
        ] {
            let mut request = request(Method::GET, headers);
            let mut asked = HeaderMap::new();
            if let Some(upgrade) = Upgrade::of(&mut request).unwrap() {
                upgrade.ask(&mut asked);
            }
            assert_eq!(asked.get(UPGRADE).map(|value| value.to_str().unwrap()), expected, "{headers:?}");
            assert_eq!(asked.contains_key(CONNECTION), expected.is_some());
        }
    }

    #[test]
    fn only_http_1_1_upgrades() {
        let mut request = request(Method::GET, &[("connection", "upgrade"), ("upgrade", "websocket")]);
        *request.version_mut() = Version::HTTP_10;
        assert!(Upgrade::of(&mut request).unwrap().is_none());
    }

    #[test]
    fn connect_is_for_websockets_in_http_2() {
        assert_eq!(Upgrade::of(&mut request(Method::CONNECT, &[])).unwrap_err(), ConnectError::Method);
        assert_eq!(Upgrade::of(&mut request(Method::TRACE, &[])).unwrap_err(), ConnectError::Method);
        for (protocol, served) in [("websocket", true), ("connect-udp", false)] {
            let mut request = request(Method::CONNECT, &[]);
            request.extensions_mut().insert(Protocol::from_static(protocol));
            let upgrade = Upgrade::of(&mut request);
            assert_eq!(upgrade.is_ok(), served, "{protocol}");
            if let Ok(upgrade) = upgrade {
                assert_eq!(Upgrade::method(upgrade.as_ref(), request.method()), Method::GET);
                let mut headers = HeaderMap::new();
                headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("the client's"));
                upgrade.unwrap().ask(&mut headers);
                assert_eq!(headers[UPGRADE], "websocket");
                assert_eq!(headers[SEC_WEBSOCKET_VERSION], "13");
                assert_eq!(STANDARD.decode(&headers[SEC_WEBSOCKET_KEY]).unwrap().len(), 16);
            }
        }
    }

    #[test]
    fn the_accept_value_is_rfc_6455s_own_example() {
        assert_eq!(accept_of(&HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==")), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn an_upstream_that_does_not_do_as_asked_is_refused() {
        for (stream, status, chosen, proof, expected) in [
            (false, 101, None, None, None),
            (false, 101, Some("h2c"), None, None),
            (false, 101, Some("websocket, h2c"), None, None),
            (false, 101, Some("WebSocket"), None, Some(Some(StatusCode::SWITCHING_PROTOCOLS))),
            (false, 200, None, None, Some(None)),
            (false, 403, None, None, Some(None)),
            (true, 101, Some("websocket"), None, None),
            (true, 101, Some("websocket"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOp="), None),
            (true, 101, Some("tcp"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), None),
            (true, 101, Some("websocket"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), Some(Some(StatusCode::OK))),
            (true, 200, None, None, None),
            (true, 403, None, None, Some(None)),
        ] {
            let client = hyper::upgrade::on(request(Method::GET, &[]));
            let upgrade = if stream {
                Upgrade::Stream { key: HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="), client }
            } else {
                Upgrade::Switch { protocols: HeaderValue::from_static("websocket"), key: None, client }
            };
            let mut response = Response::builder().status(status);
            if let Some(chosen) = chosen {
                response = response.header(UPGRADE, chosen);
            }
            if let Some(proof) = proof {
                response = response.header(SEC_WEBSOCKET_ACCEPT, proof);
            }
            let accepted = upgrade.accept(&mut response.body(()).unwrap());
            let found = accepted.ok().map(|accepted| accepted.map(|accepted| accepted.status));
            assert_eq!(found, expected, "{stream} {status} {chosen:?} {proof:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_carries_both_ways_and_ends_with_either_side() {
        let (mut client, client_end) = tokio::io::duplex(64);
        let (mut upstream, upstream_end) = tokio::io::duplex(64);
        let tunnel = tokio::spawn(tunnel(client_end, upstream_end));
        client.write_all(b"ping").await.unwrap();
        let mut four = [0; 4];
        upstream.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"ping");
        upstream.write_all(b"pong").await.unwrap();
        client.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"pong");
        // The client goes; the upstream is told, says nothing more, and still the task ends.
        drop(client);
        assert_eq!(upstream.read(&mut four).await.unwrap(), 0);
        tokio::time::timeout(LINGER * 2, tunnel).await.unwrap().unwrap();
    }
}
