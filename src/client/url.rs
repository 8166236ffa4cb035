//! The URL that a client calls: where to connect, what goes on the request line, what a proof names.

use http::Uri;

/// An absolute http or https URL, without user information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Without fragment.
    uri: Uri,
    htu: String,
    https: bool,
    port: u16,
}

impl Url {
    /// `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        // RFC 9110 section 7.1: a fragment is the client's own and not sent.
        let uri: Uri = text.split('#').next()?.parse().ok()?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        if authority.host().is_empty() {
            return None;
        }
        let https = scheme == "https";
        // `a:` has an empty port, `a:99999` one that is none: the library drops both.
        let port = match authority.as_str().strip_prefix(authority.host())?.strip_prefix(':') {
            Some(_) => authority.port_u16()?,
            None if https => 443,
            None => 80,
        };
        // RFC 9449 section 4.2: "without query and fragment parts". An empty path is what goes on the wire, `/`.
        let htu = format!("{scheme}://{authority}{}", uri.path());
        Some(Self { htu, https, port, uri })
    }

    /// What a proof for this URL names.
    pub fn htu(&self) -> &str {
        &self.htu
    }

    /// The request target on the wire: path and query.
    pub fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Host and port as they were written, for `Host`.
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// The host, an IPv6 address without its brackets.
    pub(super) fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or("");
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The path.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether TLS is spoken.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Scheme, host and port (RFC 6454): nonces of one are not another's.
    pub fn origin(&self) -> (bool, String, u16) {
        (self.https, self.host().to_ascii_lowercase(), self.port)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn htu_is_the_url_without_query_and_fragment() {
        for (url, expected) in [
            ("https://api.example.com/orders/1", Some("https://api.example.com/orders/1")),
            ("https://api.example.com/orders/1?page=2#top", Some("https://api.example.com/orders/1")),
            ("https://api.example.com/orders#a?b", Some("https://api.example.com/orders")),
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080/")),
            ("http://[::1]:8080/a?b", Some("http://[::1]:8080/a")),
            ("https://api.example.com?x", Some("https://api.example.com/")),
            ("", None),
            ("/orders", None),
            ("api.example.com/orders", None),
            ("ftp://api.example.com/", None),
            ("https://", None),
            ("https://:443/", None),
            ("https://a:99999/", None),
            ("https://user:secret@api.example.com/", None),
            ("https://api.example.com/a b", None),
        ] {
            assert_eq!(Url::parse(url).as_ref().map(Url::htu), expected, "{url}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |url: &str| Url::parse(url).unwrap().origin();
        assert_eq!(origin("https://API.example.com/a"), origin("https://api.example.com:443/b?c"));
        assert_ne!(origin("https://api.example.com/"), origin("http://api.example.com/"));
        assert_ne!(origin("http://127.0.0.1:1/"), origin("http://127.0.0.1:2/"));
        assert_eq!(Url::parse("http://[::1]:8080/a?b#c").unwrap().path_and_query(), "/a?b");
    }
}
