//! Which nonce each server gave last (RFC 9449 sections 8 and 9), and whether an answer asks for one.

use std::collections::HashMap;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::Url;
use super::proof::is_nonce;
use crate::gate::DPOP_NONCE;

/// The last nonce of each origin: an authorization server's is not a resource server's.
#[derive(Default)]
pub(super) struct Nonces {
    by_origin: HashMap<(bool, String, u16), String>,
}

impl Nonces {
    pub(super) fn of(&self, url: &Url) -> Option<&str> {
        self.by_origin.get(&url.origin()).map(String::as_str)
    }

    /// Remembers what an answer brings, whatever its status (RFC 9449 section 8.2); says what it was.
    pub(super) fn learn(&mut self, url: &Url, headers: &HeaderMap) -> Option<String> {
        let mut values = headers.get_all(DPOP_NONCE).iter();
        let nonce = values.next()?.to_str().ok().filter(|nonce| is_nonce(nonce))?;
        if values.next().is_some() {
            // Two say nothing.
            return None;
        }
        self.by_origin.insert(url.origin(), nonce.to_owned());
        Some(nonce.to_owned())
    }
}

/// A protected resource's way to ask (RFC 9449 section 9).
pub(super) fn resource_asks(status: StatusCode, headers: &HeaderMap) -> bool {
    let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    status == StatusCode::UNAUTHORIZED && challenges.into_iter().any(|value| value.contains("use_dpop_nonce"))
}

/// A token endpoint's way to ask (RFC 9449 section 8).
pub(super) fn token_endpoint_asks(status: StatusCode, body: &[u8]) -> bool {
    let asks =
        || serde_json::from_slice::<Value>(body).ok()?.get("error")?.as_str().map(|error| error == "use_dpop_nonce");
    status == StatusCode::BAD_REQUEST && asks().unwrap_or(false)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_last_nonce_of_an_origin_counts_for_it_alone() {
        let [a, b] =
            ["https://id.example.com/token", "https://api.example.com/orders"].map(|url| Url::parse(url).unwrap());
        let mut nonces = Nonces::default();
        for (values, learnt) in [
            (&[][..], None),
            (&["n-1"], Some("n-1")),
            (&["n-2"], Some("n-2")),
            (&["x", "y"], None),
            (&["a b"], None),
            (&[""], None),
        ] {
            assert_eq!(nonces.learn(&a, &headers("dpop-nonce", values)).as_deref(), learnt, "{values:?}");
        }
        assert_eq!(nonces.of(&Url::parse("https://ID.example.com:443/other").unwrap()), Some("n-2"));
        assert_eq!(nonces.of(&b), None);
    }

    #[test]
    fn each_kind_of_server_asks_in_its_own_way() {
        for (status, challenge, asks) in [
            (401, "DPoP error=\"use_dpop_nonce\", algs=\"ES256\"", true),
            (401, "Bearer, DPoP error=\"use_dpop_nonce\"", true),
            (401, "DPoP error=\"invalid_token\"", false),
            (400, "DPoP error=\"use_dpop_nonce\"", false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(resource_asks(status, &headers("www-authenticate", &[challenge])), asks, "{challenge}");
        }
        for (status, body, asks) in [
            (400, "{\"error\":\"use_dpop_nonce\"}", true),
            (400, "{\"error\":\"invalid_dpop_proof\"}", false),
            (400, "{\"error\":[\"use_dpop_nonce\"]}", false),
            (400, "use_dpop_nonce", false),
            (401, "{\"error\":\"use_dpop_nonce\"}", false),
        ] {
            assert_eq!(token_endpoint_asks(StatusCode::from_u16(status).unwrap(), body.as_bytes()), asks, "{body}");
        }
    }
}
