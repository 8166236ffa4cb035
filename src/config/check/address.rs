//! URLs and hosts, as the file writes them.

use std::net::IpAddr;

use http::Uri;
use http::uri::Authority;

/// An absolute http or https URL without user information and fragment; else what is wrong with it. The URL is never
/// in the message: it could hold a password.
pub(super) fn parse_url(text: &str) -> Result<Uri, &'static str> {
    if text.contains('#') {
        return Err("a fragment in it");
    }
    let uri: Uri = text.parse().map_err(|_| "not a URL")?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(_) => return Err("a scheme other than http and https"),
        None => return Err("no scheme in it"),
    }
    let authority = uri.authority().ok_or("no host in it")?;
    check_authority(authority)?;
    Ok(uri)
}

/// Neither user information nor an empty host nor a port that is none.
pub(super) fn check_authority(authority: &Authority) -> Result<(), &'static str> {
    if authority.as_str().contains('@') {
        return Err("a user name or password in it");
    }
    if authority.host().is_empty() {
        return Err("no host in it");
    }
    let behind_host = authority.as_str().get(authority.host().len()..).unwrap_or_default();
    if behind_host.is_empty() || authority.port_u16().is_some_and(|port| port != 0) {
        return Ok(());
    }
    Err("a port that is none")
}

/// `localhost`, 127.0.0.0/8 and ::1: nobody on the way can read or change what is sent there.
pub(super) fn is_loopback(uri: &Uri) -> bool {
    let Some(host) = uri.host() else { return false };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A DNS name or an IP address (IPv6 in brackets), without a port, in lower case.
pub(super) fn parse_host(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    // The dot at the end of an absolute name: see `Target::host`.
    let name = text.trim_end_matches('.');
    (authority.host() == text && !name.is_empty()).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls() {
        for (text, expected) in [
            ("", Err("not a URL")),
            ("example.com", Err("no scheme in it")),
            ("/path", Err("no scheme in it")),
            ("ftp://example.com/", Err("a scheme other than http and https")),
            ("https://user:secret@example.com/", Err("a user name or password in it")),
            ("https://example.com/#part", Err("a fragment in it")),
            ("https://example.com:0/", Err("a port that is none")),
            ("https://example.com:99999/", Err("a port that is none")),
            ("https://example.com:/", Err("a port that is none")),
            ("https://example.com/jwks?x=1", Ok(())),
            ("http://[::1]:8080", Ok(())),
        ] {
            assert_eq!(parse_url(text).map(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn loopback_is_no_name_that_merely_looks_like_it() {
        for (text, expected) in [
            ("http://localhost:80/", true),
            ("http://LOCALHOST/", true),
            ("http://127.3.2.1/", true),
            ("http://[::1]/", true),
            ("http://localhost.example.com/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://10.0.0.1/", false),
            ("http://[::ffff:10.0.0.1]/", false),
        ] {
            assert_eq!(is_loopback(&text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("", None),
            ("api.example.com:443", None),
            ("https://api.example.com", None),
            ("api.example.com/", None),
            ("user@api.example.com", None),
            ("API.example.com", Some("api.example.com")),
            ("API.example.com.", Some("api.example.com")),
            ("a..", Some("a")),
            (".", None),
            ("[::1]", Some("[::1]")),
        ] {
            assert_eq!(parse_host(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = parse_url(&text);
            if let Some(host) = parse_host(&text) {
                prop_assert_eq!(host, text.trim_end_matches('.').to_ascii_lowercase());
            }
        }
    }
}
