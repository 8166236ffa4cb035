//! Host and port (RFC 3986 section 3.2, RFC 9110 section 4.2).

use std::fmt;
use std::net::Ipv6Addr;

use super::Scheme;

/// Longest host that is looked at: what DNS allows.
const MAX_HOST_BYTES: usize = 255;

/// A host, lower case, and a port where one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Authority {
    /// `host [":" port]`, without user information (RFC 9110 section 4.2.4: to be treated as an error).
    ///
    /// Hosts have the letters that DNS names and addresses have; the rest of what RFC 3986 would let stand in a
    /// `reg-name` (`%41`, `,`, `;`, `=` ...) names no host and only serves confusion.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                // One spelling an address (RFC 5952). Zones and IPvFuture are no addresses that a client could mean.
                (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), port)
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
                if host.is_empty() || host.len() > MAX_HOST_BYTES || !host.bytes().all(named) {
                    return None;
                }
                (host.to_ascii_lowercase(), port)
            }
        };
        let port = match port.strip_prefix(':') {
            // RFC 3986 section 6.2.3: an empty port is the default one.
            Some("") => None,
            Some(digits) => Some(parse_port(digits)?),
            None if port.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }

    /// RFC 3986 section 6.2.3: the scheme's default port is dropped.
    pub(super) fn for_scheme(mut self, scheme: Scheme) -> Self {
        self.port = self.port.filter(|port| *port != scheme.default_port());
        self
    }

    /// Appends it, as `Display` writes it.
    pub(super) fn push_to(&self, text: &mut String) {
        text.push_str(&self.host);
        if let Some(port) = self.port {
            // Digits by hand: this is on every request's way, and the formatting machinery is not short.
            let mut digits = [0; 5];
            let mut rest = port;
            let mut from = digits.len();
            for (at, digit) in digits.iter_mut().enumerate().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                rest /= 10;
                from = at;
                if rest == 0 {
                    break;
                }
            }
            text.push(':');
            text.extend(digits.iter().skip(from).map(|digit| char::from(*digit)));
        }
    }

    /// Whether both are the same under that scheme.
    pub(super) fn is_same(&self, other: &Self, scheme: Scheme) -> bool {
        let port = |authority: &Self| authority.port.unwrap_or(scheme.default_port());
        self.host == other.host && port(self) == port(other)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
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
