//! How a request that may pass is to be changed, and what its response is to say.

use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Timestamp;
use crate::dpop::DPOP;
use crate::gate::{Admission, DPOP_NONCE, Gate};
use crate::policy::Route;

/// The client's own credentials.
const CREDENTIALS: [HeaderName; 2] = [AUTHORIZATION, DPOP];

/// What goes upstream and what goes back; the proxy that asked does both.
pub(super) struct Permit {
    /// The identity headers, and the credentials that go upstream: all of them, and no others.
    pub(super) upstream: HeaderMap,
    /// Headers of the client's that must not go upstream: credentials; whatever bears the name of an identity header,
    /// as it was spelled; and every identity header that is not set, since the asking proxy may not have shown it.
    pub(super) remove: Vec<HeaderName>,
    /// Headers for the response.
    pub(super) client: HeaderMap,
}

impl Permit {
    /// The same changes that the proxy door makes.
    pub(super) fn of(gate: &Gate, admission: &Admission, route: &Route, headers: &HeaderMap, now: Timestamp) -> Self {
        let mut upstream = HeaderMap::new();
        for name in CREDENTIALS {
            for value in headers.get_all(&name) {
                upstream.append(&name, value.clone());
            }
        }
        gate.forward_credentials(admission, route, &mut upstream);
        gate.set_identity(admission, route, &mut upstream, now);
        let mut client = HeaderMap::new();
        if let Some(nonce) = admission.nonce().and_then(|nonce| HeaderValue::from_str(nonce).ok()) {
            client.insert(DPOP_NONCE, nonce);
            client.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        Self { remove: surplus(gate, headers, &upstream), upstream, client }
    }

    /// Of a request that was not judged: without identity, without credentials.
    pub(super) fn of_nobody(gate: &Gate, headers: &HeaderMap) -> Self {
        let upstream = HeaderMap::new();
        Self { remove: surplus(gate, headers, &upstream), upstream, client: HeaderMap::new() }
    }
}

fn surplus(gate: &Gate, headers: &HeaderMap, upstream: &HeaderMap) -> Vec<HeaderName> {
    let ours = |name: &HeaderName| CREDENTIALS.contains(name) || gate.is_identity_name(name.as_str());
    let shown = headers.keys().filter(|name| ours(name));
    let unseen = gate.identity_names().filter(|name| !headers.contains_key(*name));
    shown.chain(unseen).filter(|name| !upstream.contains_key(*name)).cloned().collect()
}
