//! The addresses that a request came through, as forwarding headers tell it.

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The members of `X-Forwarded-For`, else of `Forwarded`, the first sender first; `None` for what is no address
/// (`unknown`, an obfuscated name, rubbish). Only for a peer that `Trust::believes`.
pub fn forwarded_chain(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    if headers.contains_key(&FOR) { members(headers, &FOR, "") } else { members(headers, &FORWARDED, "for=") }
}

fn members(headers: &HeaderMap, name: &HeaderName, key: &str) -> Vec<Option<IpAddr>> {
    let mut addresses = Vec::new();
    for line in headers.get_all(name) {
        for member in line.as_bytes().split(|byte| *byte == b',') {
            let text = std::str::from_utf8(member).unwrap_or_default();
            let node = text.split(';').map(str::trim).find_map(|pair| match pair.get(..key.len()) {
                Some(found) if found.eq_ignore_ascii_case(key) => pair.get(key.len()..),
                _ => None,
            });
            addresses.push(node.and_then(address));
        }
    }
    addresses
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`, each also in quotes.
fn address(node: &str) -> Option<IpAddr> {
    let node = node.trim_matches('"');
    let bare = match node.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None if node.matches(':').count() == 1 => node.split(':').next()?,
        None => node,
    };
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_member_is_an_address_or_a_gap() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (name, line, expected) in [
            ("x-forwarded-for", "192.0.2.7, 10.0.0.2:443", vec![ip("192.0.2.7"), ip("10.0.0.2")]),
            (
                "x-forwarded-for",
                "unknown,[2001:db8::7]:80, 2001:db8::8",
                vec![None, ip("2001:db8::7"), ip("2001:db8::8")],
            ),
            ("x-forwarded-for", "::ffff:192.0.2.7", vec![ip("192.0.2.7")]),
            (
                "forwarded",
                "proto=https;For=\"[2001:db8::7]:80\", for=_hidden, by=10.0.0.1",
                vec![ip("2001:db8::7"), None, None],
            ),
        ] {
            let headers = [(HeaderName::from_static(name), HeaderValue::from_static(line))].into_iter().collect();
            assert_eq!(forwarded_chain(&headers), expected, "{name}: {line}");
        }
        assert_eq!(forwarded_chain(&HeaderMap::new()), []);
    }
}
