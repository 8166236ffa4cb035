//! Callers: a key, a token bound to it, a memory for nonces, and requests of which every part may be spoiled.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::gate::SECRET_BYTES;
use super::{Channel, Gate, Issuer, Jws, Key, soon};

/// Somebody who calls through a gate.
#[derive(Clone)]
pub struct Client {
    pub key: Key,
    pub token: String,
    /// How it addresses the gate: the start of every `htu`.
    pub origin: String,
    address: SocketAddr,
    nonce: Arc<Mutex<Option<String>>>,
    secrets: Arc<Mutex<Vec<String>>>,
}

impl Client {
    /// With a fresh key, a token that `issuer` bound to it, and no nonce yet.
    pub fn of(gate: &Gate, issuer: &Issuer) -> Self {
        let key = Key::es256();
        let token = issuer.token(&key).compact();
        Self::with(gate, key, token)
    }

    pub fn with(gate: &Gate, key: Key, token: String) -> Self {
        let address = gate.address();
        let origin = format!("http://{address}");
        Self { key, token, origin, address, nonce: Arc::default(), secrets: gate.secrets() }
    }

    /// The same client, speaking to another gate.
    pub fn at(&self, gate: &Gate) -> Self {
        Self { address: gate.address(), secrets: gate.secrets(), ..self.clone() }
    }

    /// The same client, speaking to another address of the same gate.
    pub fn at_address(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// The same client, naming the gate so.
    pub fn naming(&self, origin: &str) -> Self {
        Self { origin: origin.to_owned(), ..self.clone() }
    }

    /// Lets the gate challenge it once, so that it has a nonce.
    pub async fn greeted(self) -> Self {
        let answer = self.get("/orders/greeting").proof(|proof| proof.without("nonce")).send().await;
        assert_eq!((answer.status, answer.error()), (401, "use_dpop_nonce".into()), "{answer:?}");
        assert!(self.nonce().is_some(), "a challenge without a nonce: {answer:?}");
        self
    }

    pub fn nonce(&self) -> Option<String> {
        self.nonce.lock().unwrap().clone()
    }

    pub fn remember(&self, nonce: &str) {
        *self.nonce.lock().unwrap() = Some(nonce.to_owned());
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        self.call("GET", path)
    }

    pub fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Call<'_> {
        let mut call = self.call("POST", path);
        call.body = body.into();
        call
    }

    pub fn call(&self, method: &str, path: &str) -> Call<'_> {
        Call {
            client: self,
            method: method.into(),
            path: path.into(),
            token: self.token.clone(),
            authorization: None,
            proofs: None,
            edit: Box::new(|proof| proof),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Sends a request that was made before, to the letter.
    pub async fn send(&self, prepared: &Prepared) -> Answer {
        let answer = exchange(self.address, prepared.request()).await;
        if let Some(nonce) = answer.header("dpop-nonce") {
            self.remember(nonce);
        }
        answer
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

type Edit = Box<dyn FnOnce(Jws) -> Jws + Send>;

/// A request in the making.
pub struct Call<'a> {
    client: &'a Client,
    method: String,
    path: String,
    token: String,
    authorization: Option<Vec<String>>,
    proofs: Option<Vec<String>>,
    edit: Edit,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call<'_> {
    /// Changes the proof before it is signed.
    pub fn proof(mut self, edit: impl FnOnce(Jws) -> Jws + Send + 'static) -> Self {
        let before = self.edit;
        self.edit = Box::new(move |proof| edit(before(proof)));
        self
    }

    /// Sends these `DPoP` headers instead.
    pub fn proofs(mut self, proofs: &[&str]) -> Self {
        self.proofs = Some(proofs.iter().map(|&proof| proof.to_owned()).collect());
        self
    }

    /// Sends another token; `ath` follows it.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// Sends these `Authorization` headers instead.
    pub fn authorization(mut self, values: &[&str]) -> Self {
        self.authorization = Some(values.iter().map(|&value| value.to_owned()).collect());
        self
    }

    /// Sends the token under `Bearer`, and no proof.
    pub fn bearer(self) -> Self {
        let value = format!("Bearer {}", self.token);
        self.authorization(&[&value]).proofs(&[])
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Signs, but does not send.
    pub fn prepare(self) -> Prepared {
        let client = self.client;
        let url = format!("{}{}", client.origin, self.path.split('?').next().unwrap());
        let mut proof =
            Jws::proof(&client.key, &self.method, &url).claim("ath", BASE64URL.encode(Sha256::digest(&self.token)));
        if let Some(nonce) = client.nonce() {
            proof = proof.claim("nonce", nonce);
        }
        let proof = (self.edit)(proof).compact();
        let authority = client.origin.split("://").nth(1).unwrap();
        let mut headers = vec![("host".to_owned(), authority.to_owned())];
        let authorization = self.authorization.unwrap_or_else(|| vec![format!("DPoP {}", self.token)]);
        let proofs = self.proofs.unwrap_or_else(|| vec![proof]);
        let mut secrets = client.secrets.lock().unwrap();
        // The last part of a compact JWS alone is secret enough, and is what a careless log would show too.
        let credentials = authorization.iter().chain(&proofs).filter_map(|text| text.rsplit(['.', ' ']).next());
        secrets.extend(credentials.filter(|part| part.len() >= SECRET_BYTES).map(str::to_owned));
        headers.extend(authorization.into_iter().map(|value| ("authorization".to_owned(), value)));
        headers.extend(proofs.into_iter().map(|value| ("dpop".to_owned(), value)));
        for (name, value) in self.headers {
            if name.eq_ignore_ascii_case("host") {
                headers[0].1 = value;
            } else {
                headers.push((name, value));
            }
        }
        Prepared { method: self.method, path: self.path, headers, body: self.body }
    }

    /// Signs and sends, once.
    pub async fn send(self) -> Answer {
        let client = self.client;
        client.send(&self.prepare()).await
    }
}

/// A request that may be sent any number of times.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Prepared {
    pub fn request(&self) -> Request<Vec<u8>> {
        self.builder().body(self.body.clone()).unwrap()
    }

    /// All but the body.
    pub fn builder(&self) -> http::request::Builder {
        let method = Method::from_bytes(self.method.as_bytes()).unwrap();
        let builder = Request::builder().method(method).uri(&self.path);
        self.headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value))
    }

    /// As HTTP/2 wants it: the authority in the URI, all but the body.
    pub fn over_http2(&self, scheme: &str) -> http::request::Builder {
        let method = Method::from_bytes(self.method.as_bytes()).unwrap();
        let uri = format!("{scheme}://{}{}", self.value_of("host"), self.path);
        let headers = self.headers.iter().filter(|(name, _)| name != "host");
        let builder = Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
        headers.fold(builder, |builder, (name, value)| builder.header(name, value))
    }

    /// As it stands on an HTTP/1.1 connection, the body left out.
    pub fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head
    }

    pub fn value_of(&self, name: &str) -> &str {
        &self.headers.iter().find(|(header, _)| header == name).unwrap().1
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// `error` of a refusal's body.
    pub fn error(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The only header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} stands twice in {self:?}");
        first
    }

    /// All headers of that name, joined.
    pub fn headers_of(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter().map(|value| value.to_str().unwrap());
        values.collect::<Vec<_>>().join(", ")
    }
}

/// One request on a connection of its own.
pub async fn exchange(address: SocketAddr, request: Request<Vec<u8>>) -> Answer {
    let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
    exchange_on(stream, request).await
}

/// One request to somebody who may be gone, or about to go.
pub async fn try_exchange(address: SocketAddr, request: Request<Vec<u8>>) -> Option<Answer> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request.map(|body| Full::new(Bytes::from(body)))).await.ok()?.into_parts();
    Some(Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.collect().await.ok()?.to_bytes() })
}

/// One request on that connection.
pub async fn exchange_on(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Vec<u8>>,
) -> Answer {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = request.map(|body| Full::new(Bytes::from(body)));
    let response = soon("a response", sender.send_request(request)).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = soon("a response's body", body.collect()).await.unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() }
}

/// An HTTP/1.1 connection.
pub async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::client::conn::http1::SendRequest<Channel> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

/// An HTTP/2 connection.
pub async fn http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::client::conn::http2::SendRequest<Channel> {
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}
