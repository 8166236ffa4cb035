//! The client's address, for logs.

use std::net::IpAddr;

use http::HeaderMap;

use crate::target::forwarded_chain;

/// The client's address: the peer's, or where proxies are believed the last one in `X-Forwarded-For` (else in
/// `Forwarded`) that none of them has.
pub(super) fn client_address(headers: &HeaderMap, peer: IpAddr, believed: impl Fn(IpAddr) -> bool) -> IpAddr {
    let peer = peer.to_canonical();
    if !believed(peer) {
        return peer;
    }
    let mut client = peer;
    for member in forwarded_chain(headers).into_iter().rev() {
        let Some(address) = member else { break };
        client = address;
        if !believed(address) {
            break;
        }
    }
    client
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn map(rows: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_client_is_the_last_that_no_trusted_proxy_has() {
        let inside = |ip: IpAddr| ip.to_string().starts_with("10.");
        for (peer, rows, client) in [
            ("192.0.2.1", &[("X-Forwarded-For", "1.1.1.1")][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[("X-Forwarded-For", "6.6.6.6, 192.0.2.7, 10.0.0.2")], "192.0.2.7"),
            ("10.0.0.1", &[("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "192.0.2.7:443")], "192.0.2.7"),
            ("10.0.0.1", &[("X-Forwarded-For", "10.0.0.9, 10.0.0.2")], "10.0.0.9"),
            ("10.0.0.1", &[("X-Forwarded-For", "6.6.6.6, rubbish, 10.0.0.2")], "10.0.0.2"),
            ("10.0.0.1", &[("Forwarded", "for=\"[2001:db8::7]:80\";proto=https, For=10.0.0.2")], "2001:db8::7"),
            ("10.0.0.1", &[("Forwarded", "for=unknown")], "10.0.0.1"),
            ("10.0.0.1", &[("Forwarded", "proto=https")], "10.0.0.1"),
        ] {
            let found = client_address(&map(rows), peer.parse().unwrap(), inside);
            assert_eq!(found.to_string(), client, "{peer} {rows:?}");
        }
    }

    proptest! {
        #[test]
        fn rubbish_is_never_taken_for_an_address(line in "\\PC{0,60}") {
            let mut headers = HeaderMap::new();
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line.as_bytes()).unwrap());
            let peer: IpAddr = "10.0.0.1".parse().unwrap();
            let found = client_address(&headers, peer, |ip| ip == peer);
            prop_assert!(found == peer || line.contains(&found.to_string()) || found.is_ipv6() || line.contains("::ffff"));
        }
    }
}
