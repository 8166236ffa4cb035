//! What goes upstream and what comes back: hop-by-hop headers go, forwarding headers are written anew, identity
//! headers are set last.

mod forwarding;
mod hop;

use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, EXPECT, HOST};
use http::{HeaderMap, HeaderValue};

use crate::clock::Timestamp;
use crate::dpop::DPOP;
use crate::gate::{Admission, DPOP_NONCE, Gate, decimal, has_token, plain_decimal, tokens};
use crate::journal::Identifiers;
use crate::policy::Route;
use crate::target::{Peer, Target};

use forwarding::{Origin, Sender};

/// What the headers of a request are written from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outbound<'a> {
    pub(super) gate: &'a Gate,
    pub(super) route: &'a Route,
    pub(super) admission: &'a Admission,
    pub(super) target: &'a Target,
    pub(super) peer: &'a Peer,
    pub(super) identifiers: &'a Identifiers,
    pub(super) now: Timestamp,
}

impl Outbound<'_> {
    /// Rewrites a client's headers into those for the upstream. The order is the point: everything that a client
    /// could have forged is gone before anything of ours is set, and who calls is said last.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        hop::remove_from_request(headers);
        self.gate.strip_identity(headers);
        self.gate.forward_credentials(self.admission, self.route, headers);
        drop_continue_expectation(headers);
        join_cookies(headers);
        let authority = self.target.authority();
        if headers.get(HOST).is_none_or(|host| host != authority)
            && let Ok(host) = HeaderValue::from_str(authority)
        {
            headers.insert(HOST, host);
        }
        let sender = if self.gate.trust.believes(self.peer) { Sender::Believed } else { Sender::Stranger };
        let origin = Origin { peer: self.peer.ip, scheme: self.target.scheme(), authority };
        forwarding::write(headers, sender, origin);
        self.identifiers.write(headers);
        self.gate.set_identity(self.admission, self.route, headers, self.now);
    }
}

/// Takes out of a request's trailers what must not stand there (RFC 9110 section 6.5.1): a framework that merges them
/// into the headers would believe it.
pub(super) fn clean_trailers(gate: &Gate, trailers: &mut HeaderMap) {
    hop::remove(trailers);
    gate.strip_identity(trailers);
    forwarding::drop_all(trailers);
    for name in [HOST, AUTHORIZATION, CONTENT_LENGTH, COOKIE, EXPECT, DPOP] {
        trailers.remove(name);
    }
}

/// The same for a response's: what holds for one connection, what says where the message ends, and the gate's own.
pub(super) fn clean_response_trailers(trailers: &mut HeaderMap) {
    hop::remove(trailers);
    for name in [CONTENT_LENGTH, DPOP_NONCE] {
        trailers.remove(name);
    }
}

/// Rewrites an upstream's headers into those for the client. `nonce` is a fresh one that is due.
pub(super) fn inbound(headers: &mut HeaderMap, nonce: Option<&str>) {
    let is_coded = hop::remove(headers);
    settle_length(headers, is_coded);
    // Never two: the upstream's own belongs to a conversation that the client is not in.
    headers.remove(DPOP_NONCE);
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::from_str(nonce).ok()) {
        headers.insert(DPOP_NONCE, nonce);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// What a response says of its length is said once and plainly, or not at all: equal lines may be taken for one (RFC
/// 9110 section 8.6), but by whoever reads them first. A coding comes before any length (RFC 9112 section 6.3).
fn settle_length(headers: &mut HeaderMap, is_coded: bool) {
    if is_coded {
        headers.remove(CONTENT_LENGTH);
        return;
    }
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let Some(said) = lines.next() else { return };
    if lines.next().is_none() && plain_decimal(said.as_bytes()).is_some() {
        return;
    }
    let length = {
        let mut lengths = tokens(headers, &CONTENT_LENGTH).map(decimal);
        lengths.next().flatten().filter(|first| lengths.all(|length| length == Some(*first)))
    };
    match length {
        Some(length) => headers.insert(CONTENT_LENGTH, length.into()),
        None => headers.remove(CONTENT_LENGTH),
    };
}

/// What a request says of its length is the length that its body has, said once: in HTTP/2 `010`, nothing at all and
/// several lines pass, which an upstream could read in its own way (RFC 9110 section 8.6). `None`: nobody knows it, and
/// a coding will tell.
pub(super) fn state_length(headers: &mut HeaderMap, length: Option<u64>) {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let Some(said) = lines.next() else { return };
    if lines.next().is_none() && length.is_some() && plain_decimal(said.as_bytes()) == length {
        return;
    }
    match length {
        Some(length) => headers.insert(CONTENT_LENGTH, length.into()),
        None => headers.remove(CONTENT_LENGTH),
    };
}

/// Who waits for `100 Continue` is known by other means; another expectation is the upstream's to meet or refuse.
fn drop_continue_expectation(headers: &mut HeaderMap) {
    if has_token(headers, &EXPECT, "100-continue") {
        headers.remove(EXPECT);
    }
}

/// HTTP/2 may split the cookie header; HTTP/1.1 must not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::header::TRANSFER_ENCODING;

    use super::*;

    #[test]
    fn the_upstreams_nonce_is_dropped_and_ours_is_not_cacheable() {
        for (nonce, expected, cache) in [(None, None, "max-age=60"), (Some("ours"), Some("ours"), "no-store")] {
            let mut headers = HeaderMap::new();
            headers.append(DPOP_NONCE, HeaderValue::from_static("theirs"));
            headers.append(DPOP_NONCE, HeaderValue::from_static("theirs too"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
            headers.insert("connection", HeaderValue::from_static("x-hop"));
            headers.insert("x-hop", HeaderValue::from_static("1"));
            headers.insert("www-authenticate", HeaderValue::from_static("Basic"));
            inbound(&mut headers, nonce);
            let nonces: Vec<_> = headers.get_all(DPOP_NONCE).iter().collect();
            assert_eq!(nonces, Vec::from_iter(expected));
            assert_eq!(headers.get(CACHE_CONTROL).unwrap(), cache);
            assert!(!headers.contains_key("x-hop") && headers.contains_key("www-authenticate"));
        }
    }

    #[test]
    fn trailers_say_nothing_that_a_header_of_ours_says() {
        let gate = crate::gate::fixture::gate(crate::policy::Auth::Dpop);
        let mut trailers = HeaderMap::new();
        for name in
            ["x-auth-subject", "x_auth.subject", "authorization", "dpop", "x-forwarded-for", "host", "grpc-status"]
        {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        clean_trailers(&gate, &mut trailers);
        assert_eq!(trailers.keys().collect::<Vec<_>>(), ["grpc-status"]);
    }

    #[test]
    fn a_responses_trailers_say_nothing_of_the_connection_or_the_nonce() {
        let mut trailers = HeaderMap::new();
        for name in
            ["connection", "x-hop", "transfer-encoding", "content_length", "content-length", "dpop-nonce", "x-sum"]
        {
            trailers.insert(name, HeaderValue::from_static("x-hop"));
        }
        clean_response_trailers(&mut trailers);
        assert_eq!(trailers.keys().collect::<Vec<_>>(), ["x-sum"]);
    }

    #[test]
    fn a_length_is_said_once_and_plainly_or_not_at_all() {
        for (came, left) in [
            (&["5"][..], Some("5")),
            (&["0"], Some("0")),
            (&["5", "5"], Some("5")),
            (&["5, 5"], Some("5")),
            (&["5,5", "5"], Some("5")),
            (&["007"], Some("7")),
            (&["18446744073709551615"], Some("18446744073709551615")),
            (&["5", "6"], None),
            (&["5, 6"], None),
            (&["+5"], None),
            (&[""], None),
            (&["5", "x"], None),
            (&["99999999999999999999"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in came {
                headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            let mut coded = headers.clone();
            inbound(&mut headers, None);
            assert_eq!(headers.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), Vec::from_iter(left), "{came:?}");
            coded.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            inbound(&mut coded, None);
            assert!(coded.is_empty(), "{came:?}");
        }
    }

    #[test]
    fn a_request_says_the_length_of_its_body_or_none() {
        for (came, length, left) in [
            (&["5"][..], Some(5), Some("5")),
            (&["0"], Some(0), Some("0")),
            (&["010"], Some(10), Some("10")),
            (&["10", "10"], Some(10), Some("10")),
            (&["10", "010"], Some(10), Some("10")),
            (&[""], Some(0), Some("0")),
            (&["", "00"], Some(0), Some("0")),
            (&["4"], Some(5), Some("5")),
            (&[], Some(0), None),
            (&[], Some(5), None),
            (&["5"], None, None),
            (&[""], None, None),
        ] {
            let mut headers = HeaderMap::new();
            for value in came {
                headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            state_length(&mut headers, length);
            assert_eq!(headers.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), Vec::from_iter(left), "{came:?}");
        }
    }

    #[test]
    fn cookie_crumbs_are_joined() {
        for (came, sent) in [(&["a=1"][..], "a=1"), (&["a=1", "b=2", "c=3"], "a=1; b=2; c=3")] {
            let mut headers = HeaderMap::new();
            for crumb in came {
                headers.append(COOKIE, HeaderValue::from_str(crumb).unwrap());
            }
            join_cookies(&mut headers);
            assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), [sent]);
        }
    }

    #[test]
    fn only_an_expectation_of_the_gates_own_to_write_stays_behind() {
        for (came, passes) in [("100-continue", false), ("100-Continue", false), ("something-else", true)] {
            let mut headers = HeaderMap::new();
            headers.insert(EXPECT, HeaderValue::from_str(came).unwrap());
            drop_continue_expectation(&mut headers);
            assert_eq!(headers.contains_key(EXPECT), passes, "{came}");
        }
    }
}
