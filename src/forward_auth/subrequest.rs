//! Asked over HTTP: what an answer has goes on to the upstream or the client, what it lacks is cleared.

use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::gate::{Refusal, Reply};
use crate::target::{Account, Peer};

use super::original::{Original, X_ORIGINAL_URL};
use super::permit::Permit;
use super::{Asked, ForwardAuth, Live, Verdict};

/// How Envoy is told which headers of the client's must not go upstream, where it asks over HTTP.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
/// A refusal's body once more: nginx keeps no body of an `auth_request`, but headers it does.
const REFUSAL_BODY: HeaderName = HeaderName::from_static("x-refusal-body");

impl ForwardAuth {
    /// Decides on the request that `parts` describes: 200 with the identity headers, or the refusal.
    pub async fn handle(&self, parts: &Parts, peer: &Peer) -> Reply {
        let live = self.live.load_full();
        let now = self.clock.now();
        let record = live.record((&parts.method, &parts.uri, &parts.headers), peer, now);
        match self.judge(&live, asked(&live, parts, peer, self.account), record, now).await {
            Verdict::Permit(permit) => permitted(permit),
            Verdict::Answer(mut reply, permit) => {
                // To Envoy, 200 is leave to forward.
                if reply.status() == StatusCode::OK {
                    tell_removal(&mut reply, &permit);
                }
                reply
            }
            Verdict::Refuse(mut reply) => {
                if parts.headers.contains_key(X_ORIGINAL_URL)
                    && let Ok(body) = HeaderValue::from_bytes(reply.body())
                {
                    reply.headers_mut().insert(REFUSAL_BODY, body);
                }
                reply
            }
        }
    }
}

fn asked<'a>(live: &Live, parts: &'a Parts, peer: &'a Peer, account: Account) -> Result<Asked<'a>, Refusal> {
    if !live.trust.believes(peer) {
        return Err(Refusal::UntrustedPeer);
    }
    let original = Original::of(parts, peer, &live.trust, account)?;
    Ok(Asked { original, headers: &parts.headers, peer, route: None })
}

fn permitted(permit: Permit) -> Reply {
    let mut reply = Reply::default();
    tell_removal(&mut reply, &permit);
    reply.headers_mut().extend(permit.client);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply.headers_mut().extend(permit.upstream);
    reply
}

fn tell_removal(reply: &mut Reply, permit: &Permit) {
    let names: Vec<&str> = permit.remove.iter().map(HeaderName::as_str).collect();
    if let (false, Ok(names)) = (names.is_empty(), HeaderValue::try_from(names.join(","))) {
        reply.headers_mut().insert(TO_REMOVE, names);
    }
}
