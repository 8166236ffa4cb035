//! Host and port (RFC 3986 section 3.2, RFC 9110 section 4.2).

use std::fmt;
use std::net::Ipv6Addr;

use super::Scheme;

/// Longest host that is looked at: what DNS allows.
const MAX_HOST_BYTES: usize = 255;

/// A host, lower case, and a port where one was given, written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    /// `host [":" port]`.
    text: String,
    /// Where the host ends.
    host_end: usize,
    port: Option<u16>,
}

impl Authority {
    /// `host [":" port]`, without user information (RFC 9110 section 4.2.4: to be treated as an error).
    ///
    /// Hosts have the letters that DNS names and addresses have; the rest of what RFC 3986 would let stand in a
    /// `reg-name` (`%41`, `,`, `;`, `=` ...) names no host and only serves confusion.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mut host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                // One spelling an address (RFC 5952). Zones and IPvFuture are no addresses that a client could mean.
                (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), port)
            }
            None => {
                let (host, port) = text.split_at(memchr::memchr(b':', text.as_bytes()).unwrap_or(text.len()));
                let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
                if host.is_empty() || host.len() > MAX_HOST_BYTES || !host.bytes().all(named) {
                    return None;
                }
                // Room for the port, too.
                let mut lower = String::with_capacity(host.len() + ":65535".len());
                lower.push_str(host);
                lower.make_ascii_lowercase();
                (lower, port)
            }
        };
        let port = match port.strip_prefix(':') {
            // RFC 3986 section 6.2.3: an empty port is the default one.
            Some("") => None,
            Some(digits) => Some(parse_port(digits)?),
            None if port.is_empty() => None,
            None => return None,
        };
        let host_end = host.len();
        push_port(&mut host, port);
        Some(Self { text: host, host_end, port })
    }

    /// The host; an IPv6 address in brackets.
    pub(super) fn host(&self) -> &str {
        self.text.get(..self.host_end).unwrap_or_default()
    }

    /// The port, where one was given.
    pub(super) const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Host and port.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The same host at another port.
    pub(super) fn at_port(mut self, port: Option<u16>) -> Self {
        if self.port != port {
            self.text.truncate(self.host_end);
            push_port(&mut self.text, port);
            self.port = port;
        }
        self
    }

    /// RFC 3986 section 6.2.3: the scheme's default port is dropped.
    pub(super) fn for_scheme(self, scheme: Scheme) -> Self {
        let port = self.port.filter(|port| *port != scheme.default_port());
        self.at_port(port)
    }

    /// Whether both are the same under that scheme.
    pub(super) fn is_same(&self, other: &Self, scheme: Scheme) -> bool {
        let port = |authority: &Self| authority.port.unwrap_or(scheme.default_port());
        self.host() == other.host() && port(self) == port(other)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `:` and the digits, by hand: this is on every request's way, and the formatting machinery is not short.
fn push_port(text: &mut String, port: Option<u16>) {
    let Some(port) = port else { return };
    text.push(':');
    let mut power = 10_000;
    while power > 1 && power > port {
        power /= 10;
    }
    while power > 0 {
        text.push(char::from(b'0' + u8::try_from(port / power % 10).unwrap_or_default()));
        power /= 10;
    }
}

/// A port number: digits only, 1 to 65535.
pub(super) fn parse_port(digits: &str) -> Option<u16> {
    if digits.len() > 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ":443",
            "a b",
            "a,b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "u@a",
            "u:p@a",
            "a%41",
            "a:b",
            "a:0",
            "a:65536",
            "a:+80",
            "a:-1",
            "a:80:80",
            "a:000080",
            "[::1",
            "::1",
            "[::1]80",
            "[::1]:x",
            "[1.2.3.4]",
            "[v1.a]",
            "[fe80::1%eth0]",
            "[fe80::1%25eth0]",
            "\u{fc}",
            "a;b",
            "a\u{0}",
            " a",
            "a ",
        ] {
            assert_eq!(Authority::parse(text), None, "{text:?}");
        }
        assert_eq!(Authority::parse(&"a".repeat(256)), None);
    }

    #[test]
    fn one_host_has_one_spelling_and_the_default_port_goes() {
        for (text, https, http) in [
            ("A.Example", "a.example", "a.example"),
            ("a.example:", "a.example", "a.example"),
            ("a.example:443", "a.example", "a.example:443"),
            ("a.example:0443", "a.example", "a.example:443"),
            ("a.example:80", "a.example:80", "a.example"),
            ("192.0.2.1:8080", "192.0.2.1:8080", "192.0.2.1:8080"),
            ("[2001:DB8:0::1]:443", "[2001:db8::1]", "[2001:db8::1]:443"),
            ("[::1]", "[::1]", "[::1]"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("_dmarc.a", "_dmarc.a", "_dmarc.a"),
            ("a:1", "a:1", "a:1"),
            ("a:10000", "a:10000", "a:10000"),
            ("a:65535", "a:65535", "a:65535"),
        ] {
            let authority = Authority::parse(text).unwrap();
            assert_eq!(authority.clone().for_scheme(Scheme::Https).to_string(), https, "{text}");
            assert_eq!(authority.for_scheme(Scheme::Http).to_string(), http, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_settles_at_once(text in "\\PC{0,30}|[a-zA-Z0-9.:\\[\\]@%-]{0,30}") {
            if let Some(authority) = Authority::parse(&text) {
                prop_assert_eq!(Authority::parse(&authority.to_string()), Some(authority));
            }
        }
    }
}
