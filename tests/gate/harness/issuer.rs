//! An authorization server that a test holds in its hand: keys, metadata, introspection; counted, rotated, taken down.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{AUDIENCE, Jws, Key, now, random};

/// The server. Its tokens are what [`Issuer::token`] makes; it ends with the test's runtime.
pub struct Issuer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Published keys by `kid`; the last one signs.
    keys: Vec<(String, Key)>,
    /// What introspection says of a token.
    tokens: HashMap<String, Value>,
    /// Requests by path.
    asked: HashMap<String, usize>,
    /// `Authorization` of the last introspection.
    authorization: Option<String>,
    token_endpoint: String,
    down: bool,
}

impl Issuer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            keys: vec![("k1".into(), Key::es256())],
            tokens: HashMap::new(),
            asked: HashMap::new(),
            authorization: None,
            token_endpoint: format!("http://{address}/token"),
            down: false,
        };
        let state = Arc::new(Mutex::new(state));
        tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state }
    }

    /// `iss`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The member of `issuers:` that trusts it for JWTs.
    pub fn settings(&self) -> Value {
        let url = self.url();
        json!({"issuer": url, "audiences": [AUDIENCE], "algorithms": ["ES256", "RS256", "PS256", "EdDSA"],
               "jwks_uri": format!("{url}/jwks")})
    }

    /// A token that is bound to `key`, good in every way.
    pub fn token(&self, key: &Key) -> Jws {
        self.state.lock().unwrap().token(&self.url(), &key.thumbprint())
    }

    /// Says in its metadata that tokens are to be had there.
    pub fn publish_token_endpoint(&self, url: &str) {
        self.state.lock().unwrap().token_endpoint = url.to_owned();
    }

    /// An opaque token of which introspection says that it is bound to `key`, good in every way.
    pub fn opaque_token(&self, key: &Key) -> String {
        self.opaque(json!({
            "active": true, "iss": self.url(), "aud": AUDIENCE, "sub": "alice", "client_id": "shop",
            "exp": now() + 300, "scope": "orders.read", "token_type": "DPoP", "cnf": {"jkt": key.thumbprint()},
        }))
    }

    /// An opaque token of which introspection says this.
    pub fn opaque(&self, answer: Value) -> String {
        let token = format!("opaque-{}", random());
        self.state.lock().unwrap().tokens.insert(token.clone(), answer);
        token
    }

    /// Signs with a new key from now on; the old one stays published until [`Issuer::forget_old_keys`].
    pub fn rotate(&self, kid: &str, key: Key) {
        self.state.lock().unwrap().keys.push((kid.to_owned(), key));
    }

    pub fn forget_old_keys(&self) {
        let mut state = self.state.lock().unwrap();
        let last = state.keys.len() - 1;
        state.keys.drain(..last);
    }

    /// From now on every connection is closed without an answer.
    pub fn take_down(&self) {
        self.state.lock().unwrap().down = true;
    }

    pub fn bring_up(&self) {
        self.state.lock().unwrap().down = false;
    }

    /// How often that path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.state.lock().unwrap().asked.get(path).copied().unwrap_or(0)
    }

    /// The gate's own credentials, as it last sent them.
    pub fn authorization(&self) -> Option<String> {
        self.state.lock().unwrap().authorization.clone()
    }

    /// The published keys.
    pub fn jwks(&self) -> Value {
        self.state.lock().unwrap().jwks()
    }
}

impl State {
    fn token(&self, url: &str, jkt: &str) -> Jws {
        let (kid, signer) = self.keys.last().unwrap();
        Jws::new(
            signer,
            json!({"typ": "at+jwt", "alg": signer.alg(), "kid": kid}),
            json!({
                "iss": url, "aud": AUDIENCE, "sub": "alice", "client_id": "shop", "jti": random(),
                "iat": now(), "exp": now() + 300, "scope": "orders.read orders.write", "cnf": {"jkt": jkt},
            }),
        )
    }

    fn jwks(&self) -> Value {
        let keys = self.keys.iter().map(|(kid, key)| {
            let mut jwk = key.jwk();
            jwk["kid"] = json!(kid);
            jwk["use"] = json!("sig");
            jwk["alg"] = json!(key.alg());
            jwk
        });
        json!({"keys": keys.collect::<Vec<_>>()})
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let address = listener.local_addr().unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        if state.lock().unwrap().down {
            continue;
        }
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, address, Arc::clone(&state)));
            // A gate that goes away in the middle of an answer is none of the issuer's business.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let jkt = request.headers().get("x-auth-jkt").map(|value| value.to_str().unwrap().to_owned());
    let form = request.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
    let mut state = state.lock().unwrap();
    if state.down {
        // On a connection that was kept: it ends without an answer.
        return Err(std::io::Error::other("down"));
    }
    *state.asked.entry(path.clone()).or_default() += 1;
    let url = format!("http://{address}");
    let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/jwks"), "token_endpoint": state.token_endpoint,
                          "dpop_signing_alg_values_supported": ["ES256"]});
    let (status, body) = match path.as_str() {
        "/jwks" => (200, state.jwks()),
        "/.well-known/oauth-authorization-server" => (200, metadata),
        "/introspect" => {
            state.authorization = authorization;
            let form = String::from_utf8(form.to_vec()).unwrap();
            let token = form.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default();
            (200, state.tokens.get(token).cloned().unwrap_or(json!({"active": false})))
        }
        // Behind a gate, which has verified the proof: a legacy token endpoint that binds to what it is told.
        "/token" => match jkt {
            Some(jkt) => {
                let token = state.token(&url, &jkt).compact();
                (200, json!({"access_token": token, "token_type": "DPoP", "expires_in": 300}))
            }
            None => (400, json!({"error": "invalid_dpop_proof"})),
        },
        _ => (404, json!({"error": "not_found"})),
    };
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Full::new(Bytes::from(body.to_string()))).unwrap())
}
