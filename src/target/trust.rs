//! Who sent a request, whose word about it counts, and how clients address the gate.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Scheme;
use super::authority::Authority;
use super::path;

/// Who sent the request, as the connection tells: nothing here comes from a header.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end's address; loopback for a Unix socket.
    pub ip: IpAddr,
    /// Whether the connection has TLS.
    pub scheme: Scheme,
    /// SHA-256 of the DER client certificate that mutual TLS verified: `x5t#S256` of RFC 8705.
    pub client_certificate: Option<[u8; 32]>,
}

/// By whose account a forward_auth listener knows the original request's method and URI. Where another proxy would say
/// them stands the client's own word, passed on: it is not heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Account {
    /// Whichever there is; two that disagree are refused.
    #[default]
    Any,
    /// `X-Forwarded-Method` and `-Uri`: Traefik, Caddy.
    XForwarded,
    /// `X-Original-Method` and `X-Original-URL`: nginx.
    XOriginal,
    /// The request itself: Envoy over HTTP.
    RequestLine,
}

/// Whose forwarding headers are believed, and how clients address the gate.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Peers whose `Forwarded` and `X-Forwarded-*` count.
    pub proxies: Vec<IpNet>,
    /// Empty: scheme and authority of the request itself. Several: the one with the request's authority, else the
    /// first.
    pub public_urls: Vec<PublicUrl>,
}

impl Trust {
    /// Whether this peer's forwarding headers are believed. A dual-stack socket shows IPv4 peers as `::ffff:a.b.c.d`:
    /// they are what the operator wrote as `a.b.c.d` (RFC 4291 section 2.5.5.2).
    pub fn believes(&self, peer: &Peer) -> bool {
        let ip = peer.ip.to_canonical();
        self.proxies.iter().any(|net| net.contains(&ip) || net.contains(&peer.ip))
    }

    /// The `public_url` that counts for a client who addressed `authority`.
    pub(super) fn public_url(&self, authority: &Authority) -> Option<&PublicUrl> {
        let named = self.public_urls.iter().find(|public| public.authority.is_same(authority, public.scheme));
        named.or(self.public_urls.first())
    }
}

/// An origin under which clients address the gate (`public_url`), with the path prefix in front of every path, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    /// Empty, or normalised, beginning with `/` and not ending with it.
    pub(super) prefix: String,
}

impl PublicUrl {
    /// An absolute http or https URL without query, fragment or user information; `None` for anything else.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = Scheme::split(url)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let authority = Authority::parse(authority)?.for_scheme(scheme);
        let mut prefix = String::new();
        if !path.is_empty() {
            path::normalise_request(path, &mut prefix).ok()?;
        }
        prefix.truncate(prefix.trim_end_matches('/').len());
        Some(Self { scheme, authority, prefix })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn peer(ip: &str) -> Peer {
        Peer { ip: ip.parse().unwrap(), scheme: Scheme::Http, client_certificate: None }
    }

    #[test]
    fn nobody_is_believed_unless_named() {
        let nobody = Trust::default();
        let some = Trust {
            proxies: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            ..Trust::default()
        };
        for (ip, believed) in [
            ("11.0.0.1", false),
            ("::ffff:11.0.0.1", false),
            ("127.0.0.1", false),
            ("::1", false),
            ("::10.0.0.1", false), // IPv4-compatible, not IPv4-mapped
            ("2001:db9::1", false),
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("2001:db8:1::1", true),
        ] {
            assert!(!nobody.believes(&peer(ip)), "{ip}");
            assert_eq!(some.believes(&peer(ip)), believed, "{ip}");
        }
        let mapped = Trust { proxies: vec!["::ffff:10.0.0.0/104".parse().unwrap()], ..Trust::default() };
        assert!(mapped.believes(&peer("::ffff:10.1.2.3")));
        assert!(!mapped.believes(&peer("::ffff:11.1.2.3")));
    }

    #[test]
    fn a_public_url_is_an_origin_and_perhaps_a_prefix() {
        for url in [
            "",
            "api.example.com",
            "//api.example.com",
            "ftp://api.example.com",
            "https:api.example.com",
            "https://",
            "https:///x",
            "https://user@api.example.com",
            "https://user:pw@api.example.com/",
            "https://api.example.com/?a=1",
            "https://api.example.com?a=1",
            "https://api.example.com/#f",
            "https://api.example.com/a/../b",
            "https://api.example.com/a//b",
            "https://api.example.com/a%2Fb",
            "https://api.example.com:99999",
            "https://api example.com",
            "https://b\u{fc}cher.example",
        ] {
            assert_eq!(PublicUrl::parse(url), None, "{url}");
        }
        for (url, prefix) in [
            ("https://api.example.com", ""),
            ("HTTPS://API.example.com:443/", ""),
            ("https://api.example.com/base", "/base"),
            ("https://api.example.com/base/%7ea/", "/base/~a"),
        ] {
            let public = PublicUrl::parse(url).unwrap();
            assert_eq!((public.scheme, public.prefix.as_str()), (Scheme::Https, prefix), "{url}");
            assert_eq!(public.authority.to_string(), "api.example.com", "{url}");
        }
    }
}
