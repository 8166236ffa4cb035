//! The usual scene: an issuer, an upstream, and a gate between the upstream and its callers.

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Answer, Authority, Client, Gate, Gates, Issuer, Upstream, until};

/// What tokens are meant for.
pub const AUDIENCE: &str = "api://orders";

/// The usual configuration, for a test to change.
pub fn settings(issuer: &Issuer, upstream: &Upstream) -> Value {
    json!({
        "listen": [{"address": "127.0.0.1:0"}],
        "admin": {"address": "127.0.0.1:0"},
        "issuers": [issuer.settings()],
        "dpop": {"nonce": {"mode": "required"}, "replay": {}},
        "upstreams": {"orders": {"urls": [upstream.url()]}},
        "routes": [{"name": "orders", "match": {"path": "/orders/"}, "upstream": "orders"}],
        "identity": {},
        "limits": {},
    })
}

/// Appends to a list of the configuration.
pub fn push(list: &mut Value, member: Value) {
    list.as_array_mut().unwrap().push(member);
}

pub struct World {
    pub issuer: Issuer,
    pub upstream: Upstream,
    pub gates: Gates,
    pub gate: Gate,
}

impl World {
    /// With the usual configuration.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With the usual configuration, changed.
    pub async fn with(change: impl FnOnce(&mut Value)) -> Self {
        Self::prepared(change, |gates| gates).await
    }

    /// With the usual configuration, changed, and a folder that something was put into before the start.
    pub async fn prepared(change: impl FnOnce(&mut Value), prepare: impl FnOnce(Gates) -> Gates) -> Self {
        let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
        let mut settings = settings(&issuer, &upstream);
        change(&mut settings);
        let gates = prepare(Gates::new(&settings));
        let gate = gates.start().await;
        Self { issuer, upstream, gates, gate }
    }

    /// With the usual configuration, and a certificate for `localhost`: `tls.crt` and `tls.key` in the gate's folder.
    pub async fn over_tls(authority: &Authority) -> Self {
        let (certificate, key) = authority.issue("localhost");
        Self::prepared(
            |settings| settings["listen"][0]["tls"] = json!({"certificate": "tls.crt", "key": "tls.key"}),
            |gates| {
                gates.write("tls.crt", &certificate);
                gates.write("tls.key", &key);
                gates
            },
        )
        .await
    }

    /// A fresh client that has no nonce yet.
    pub fn stranger(&self) -> Client {
        Client::of(&self.gate, &self.issuer)
    }

    /// A fresh client that has a nonce.
    pub async fn client(&self) -> Client {
        self.stranger().greeted().await
    }

    /// A request that is at the upstream, which answers it once released.
    pub async fn held(&self, client: &Client) -> JoinHandle<Answer> {
        let client = client.clone();
        let held = tokio::spawn(async move { client.get("/orders/held").send().await });
        until("the request at the upstream", || async {
            self.upstream.seen().iter().any(|seen| seen.uri == "/orders/held").then_some(())
        })
        .await;
        held
    }
}
