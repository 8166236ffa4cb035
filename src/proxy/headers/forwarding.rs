//! `Forwarded` (RFC 7239) and `X-Forwarded-*`: written anew, whatever a stranger sent of them.

use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::target::{Scheme, forwarded_chain, push_ip};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Dropped whoever sent them: a legacy framework takes the first four for another path than the one that was
/// matched, and CGI makes `HTTP_PROXY` of the last.
const NEVER: [&str; 5] = ["x-original-url", "x-original-uri", "x-rewrite-url", "x-rewrite-uri", "proxy"];

/// Whose word is passed on only if the peer is believed; a name that ends in `-` stands for all that start so.
const FORWARDING: [&str; 4] = ["forwarded", "x-forwarded-", "x-real-ip", "x-original-"];

/// Who sent the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Sender {
    /// A trusted proxy: its lists are appended to.
    Believed,
    /// Anybody else.
    Stranger,
}

/// How the client came, for those behind the gate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) peer: IpAddr,
    pub(super) scheme: Scheme,
    pub(super) authority: &'a str,
}

/// Writes all of them.
pub(super) fn write(headers: &mut HeaderMap, sender: Sender, origin: Origin<'_>) {
    drop_untold(headers, sender);
    let peer = origin.peer.to_canonical();
    let proto = match origin.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let Element { text, address, authority } = Element::new(peer, proto, origin.authority);
    let (address, authority) = (text.slice(address), text.slice(authority));
    match sender {
        // Nothing of them is left.
        Sender::Stranger => {
            set(headers, FOR, address);
            set(headers, FORWARDED, text);
        }
        Sender::Believed => {
            translate(headers);
            append(headers, FOR, address);
            append(headers, FORWARDED, text);
        }
    }
    headers.insert(PROTO, HeaderValue::from_static(proto));
    set(headers, HOST, authority);
}

/// Where a believed peer tells the way in one form only, tells it in the other too: a legacy framework reads
/// `X-Forwarded-For`, and without this it would take the proxy for the client.
fn translate(headers: &mut HeaderMap) {
    let chain = match (headers.contains_key(&FOR), headers.contains_key(FORWARDED)) {
        (true, true) | (false, false) => return,
        (true, false) | (false, true) => forwarded_chain(headers),
    };
    let told_standard = headers.contains_key(FORWARDED);
    for node in chain {
        match (told_standard, node) {
            (true, Some(ip)) => append(headers, FOR, Bytes::from(ip.to_string())),
            (true, None) => append(headers, FOR, Bytes::from_static(b"unknown")),
            (false, Some(ip)) => append(headers, FORWARDED, Bytes::from(for_pair(ip))),
            // RFC 7239 section 6.2.
            (false, None) => append(headers, FORWARDED, Bytes::from_static(b"for=unknown")),
        }
    }
}

/// Removes all of them.
pub(super) fn drop_all(headers: &mut HeaderMap) {
    drop_untold(headers, Sender::Stranger);
}

/// Removes what the sender has no say in, in any spelling that a legacy framework folds into it.
fn drop_untold(headers: &mut HeaderMap, sender: Sender) {
    let goes = |name: &&HeaderName| {
        let name = name.as_str();
        // All of them begin with one of these: most names are looked at no further.
        if !name.starts_with(['f', 'p', 'x']) {
            return false;
        }
        NEVER.iter().any(|never| name.len() == never.len() && folds_into(name, never))
            || FORWARDING.iter().any(|own| {
                let fits = if own.ends_with('-') { name.len() > own.len() } else { name.len() == own.len() };
                // A believed peer writes the true names; `x_forwarded_for` was let through, not written, by it.
                let vouched =
                    sender == Sender::Believed && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                fits && folds_into(name, own) && !vouched
            })
    };
    let gone: Vec<HeaderName> = headers.keys().filter(goes).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// Whether `name` starts with `own`, any character that is no letter or digit standing for `-` (design section 5).
fn folds_into(name: &str, own: &str) -> bool {
    name.len() >= own.len()
        && name
            .bytes()
            .zip(own.bytes())
            .all(|(came, wanted)| came == wanted || (wanted == b'-' && !came.is_ascii_alphanumeric()))
}

/// A member of `Forwarded` (RFC 7239 section 4). The other headers say the same with the same bytes.
struct Element {
    text: Bytes,
    /// Where in it the peer's address stands, without quotes and brackets.
    address: Range<usize>,
    /// Where the authority stands.
    authority: Range<usize>,
}

impl Element {
    fn new(peer: IpAddr, proto: &str, authority: &str) -> Self {
        const LONGEST: usize = "for=\"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]\";host=\"\";proto=https".len();
        let mut text = String::with_capacity(LONGEST + authority.len());
        let (before, after) = around(peer);
        text.push_str(before);
        let address_at = text.len();
        push_ip(&mut text, peer);
        let address = address_at..text.len();
        for part in [after, ";host=\""] {
            text.push_str(part);
        }
        let authority_at = text.len();
        text.push_str(authority);
        let authority = authority_at..text.len();
        for part in ["\";proto=", proto] {
            text.push_str(part);
        }
        Self { text: Bytes::from(text), address, authority }
    }
}

/// An IPv6 address is bracketed and quoted (RFC 7239 section 6).
fn for_pair(ip: IpAddr) -> String {
    let (before, after) = around(ip);
    format!("{before}{ip}{after}")
}

const fn around(ip: IpAddr) -> (&'static str, &'static str) {
    match ip {
        IpAddr::V4(_) => ("for=", ""),
        IpAddr::V6(_) => ("for=\"[", "]\""),
    }
}

/// Adds a member to a list that may have several lines, as one line.
fn append(headers: &mut HeaderMap, name: HeaderName, member: Bytes) {
    if !headers.contains_key(&name) {
        return set(headers, name, member);
    }
    let mut list = Vec::with_capacity(64);
    for line in headers.get_all(&name) {
        if !line.as_bytes().trim_ascii().is_empty() {
            list.extend_from_slice(line.as_bytes());
            list.extend_from_slice(b", ");
        }
    }
    list.extend_from_slice(&member);
    set(headers, name, Bytes::from(list));
}

/// Sets a value, or removes the header where it cannot be one: never leaves the client's in place.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Bytes) {
    match HeaderValue::from_maybe_shared(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => drop(headers.remove(name)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(rows: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn origin(peer: &str) -> Origin<'static> {
        Origin { peer: peer.parse().unwrap(), scheme: Scheme::Https, authority: "api.example.com" }
    }

    fn sorted(headers: &HeaderMap) -> Vec<(&str, &str)> {
        let mut rows: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        rows.sort_unstable();
        rows
    }

    const OURS: [(&str, &str); 4] = [
        ("forwarded", "for=192.0.2.1;host=\"api.example.com\";proto=https"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "api.example.com"),
        ("x-forwarded-proto", "https"),
    ];

    #[test]
    fn a_stranger_has_no_say() {
        for (name, value) in [
            ("Forwarded", "for=10.0.0.1;proto=http"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("X_Forwarded_For", "10.0.0.1"),
            ("x.forwarded-for", "10.0.0.1"),
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Port", "80"),
            ("X-Forwarded-Prefix", "/admin"),
            ("X-Forwarded-Server", "a"),
            ("X-Forwarded-Ssl", "on"),
            ("X-Forwarded-Uri", "/admin"),
            ("X-Forwarded-Method", "DELETE"),
            ("X-Forwarded-Client-Cert", "Subject=root"),
            ("X-Real-Ip", "10.0.0.1"),
            ("X_Real_IP", "10.0.0.1"),
            ("X-Original-Method", "DELETE"),
            ("X-Original-Url", "/admin"),
            ("X-Rewrite-Url", "/admin"),
            ("X_Rewrite_URL", "/admin"),
            ("Proxy", "http://evil.example"),
        ] {
            let mut headers = map(&[(name, value), (name, value)]);
            write(&mut headers, Sender::Stranger, origin("192.0.2.1"));
            assert_eq!(sorted(&headers), OURS, "{name}");
        }
    }

    #[test]
    fn what_only_looks_alike_stays() {
        let rows = [("x-forwarded", "1"), ("x-real-ips", "2"), ("proxy-status", "3"), ("forwarded-by", "4")];
        let mut headers = map(&rows);
        write(&mut headers, Sender::Stranger, origin("192.0.2.1"));
        for (name, value) in rows {
            assert_eq!(headers.get(name).unwrap(), value);
        }
    }

    #[test]
    fn a_believed_peers_lists_are_appended_to() {
        let mut headers = map(&[
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Forwarded-For", "10.0.0.3, 10.0.0.2"),
            ("Forwarded", "for=203.0.113.9"),
            ("X-Forwarded-Port", "8443"),
            ("X-Forwarded-Proto", "http"),
            ("X_Forwarded_For", "1.1.1.1"),
            ("X-Original-Url", "/admin"),
        ]);
        write(&mut headers, Sender::Believed, origin("::ffff:10.0.0.1"));
        assert_eq!(
            sorted(&headers),
            [
                ("forwarded", "for=203.0.113.9, for=10.0.0.1;host=\"api.example.com\";proto=https"),
                ("x-forwarded-for", "203.0.113.9, 10.0.0.3, 10.0.0.2, 10.0.0.1"),
                ("x-forwarded-host", "api.example.com"),
                ("x-forwarded-port", "8443"),
                ("x-forwarded-proto", "https"),
            ]
        );
    }

    #[test]
    fn what_a_believed_peer_tells_in_one_form_is_told_in_both() {
        for (told, chain, elements) in [
            (
                ("Forwarded", "for=192.0.2.7;proto=https, for=_hidden, for=\"[2001:db8::7]:80\""),
                "192.0.2.7, unknown, 2001:db8::7",
                "for=192.0.2.7;proto=https, for=_hidden, for=\"[2001:db8::7]:80\"",
            ),
            (
                ("X-Forwarded-For", "192.0.2.7:443, 2001:db8::7, rubbish"),
                "192.0.2.7:443, 2001:db8::7, rubbish",
                "for=192.0.2.7, for=\"[2001:db8::7]\", for=unknown",
            ),
        ] {
            let mut headers = map(&[told]);
            write(&mut headers, Sender::Believed, origin("10.0.0.1"));
            assert_eq!(headers[FOR], format!("{chain}, 10.0.0.1"), "{told:?}");
            let own = "for=10.0.0.1;host=\"api.example.com\";proto=https";
            assert_eq!(headers[FORWARDED], format!("{elements}, {own}"), "{told:?}");
        }
    }

    #[test]
    fn what_goes_begins_as_the_first_look_has_it() {
        assert!(NEVER.iter().chain(&FORWARDING).all(|name| name.starts_with(['f', 'p', 'x'])));
    }

    #[test]
    fn ipv6_is_bracketed_and_quoted() {
        let mut headers = HeaderMap::new();
        write(&mut headers, Sender::Stranger, origin("2001:db8::1"));
        assert_eq!(headers.get("x-forwarded-for").unwrap(), "2001:db8::1");
        let forwarded = headers.get(FORWARDED).unwrap();
        assert_eq!(forwarded, "for=\"[2001:db8::1]\";host=\"api.example.com\";proto=https");
    }

    proptest! {
        #[test]
        fn the_last_member_is_always_the_peer(lines in proptest::collection::vec("\\PC{0,60}", 0..4), believed: bool) {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
                headers.append(FORWARDED, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            let sender = if believed { Sender::Believed } else { Sender::Stranger };
            write(&mut headers, sender, origin("192.0.2.1"));
            prop_assert_eq!(headers.get_all(FOR).iter().count(), 1);
            prop_assert!(headers[FOR].as_bytes().ends_with(b"192.0.2.1"));
            prop_assert_eq!(headers.get_all(FORWARDED).iter().count(), 1);
            prop_assert!(headers[FORWARDED].as_bytes().ends_with(b"proto=https"));
            if !believed {
                prop_assert_eq!(&headers[FOR], "192.0.2.1");
            }
        }
    }
}
