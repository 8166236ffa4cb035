//! The URI that the client meant, and its comparison with `htu` (RFC 9449 section 4.3, RFC 3986 section 6.2).

mod authority;
mod chain;
mod forwarded;
mod ip;
mod path;
mod trust;

use http::{HeaderMap, Uri};
use thiserror::Error;

use authority::Authority;
use forwarded::Forwarded;

pub use chain::forwarded_chain;
pub use ip::push_ip;
pub use trust::{Account, Peer, PublicUrl, Trust};

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The scheme of that name, in any case. `ws` and `wss` too: a WebSocket's handshake is a request over http or
    /// https (RFC 6455 section 3).
    pub fn named(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "http" | "ws" => Some(Self::Http),
            "https" | "wss" => Some(Self::Https),
            _ => None,
        }
    }

    /// RFC 9110 sections 4.2.1 and 4.2.2.
    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Takes `http://` or `https://` off an absolute URI; schemes have no case (RFC 3986 section 3.1).
    fn split(uri: &str) -> Option<(Self, &str)> {
        let (scheme, rest) = uri.split_at_checked(memchr::memchr(b':', uri.as_bytes())?)?;
        let rest = rest.strip_prefix("://")?;
        [Self::Http, Self::Https].into_iter().find(|known| scheme.eq_ignore_ascii_case(known.name())).zip(Some(rest))
    }
}

/// Why no target could be made of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Two sources of the original request, or members of a forwarding list, disagree.
    #[error("two sources of the original request disagree")]
    Conflicting,
    /// The path could be read in two ways: `.` or `..` in any spelling, `//`, `\`, an encoded `/`, `\` or NUL, a bad
    /// escape.
    #[error("the path is ambiguous")]
    AmbiguousPath,
    /// No authority, or one that is none.
    #[error("the request names no valid host")]
    NoAuthority,
}

/// The URI that the client addressed, normalised once (RFC 3986 sections 6.2.2 and 6.2.3). Its path is what routes
/// are matched with and what goes upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    scheme: Scheme,
    authority: Authority,
    /// What a proof must name: `scheme://authority` of the request or the `public_url` with its prefix, then the path.
    uri: String,
    /// Where in `uri` the request's own path begins.
    path_at: usize,
    query: Option<String>,
}

impl Target {
    /// The target of a request that `peer` sent: its own URI and `Host`, and where `trust` believes the peer, its
    /// forwarding headers.
    pub fn of(uri: &Uri, headers: &HeaderMap, peer: &Peer, trust: &Trust) -> Result<Self, TargetError> {
        let forwarded = if trust.believes(peer) { Forwarded::of(headers)? } else { Forwarded::default() };
        let scheme = forwarded.scheme.unwrap_or(peer.scheme);
        // Read even where another is believed: the connection's own framing has to be sound.
        let own = own_authority(uri, headers, scheme)?;
        let mut authority = forwarded.authority.unwrap_or(own);
        if let Some(port) = forwarded.port {
            match authority.port() {
                Some(named) if named != port => return Err(TargetError::Conflicting),
                Some(_) | None => authority = authority.at_port(Some(port)),
            }
        }
        // `uri.path()` is empty in the authority form of CONNECT, `*` in the asterisk form: neither is a path.
        Self::assemble(scheme, authority, uri.path(), uri.query(), trust)
    }

    /// From parts already known: for `forward_auth`, `explain`, tests. `path_and_query` is as on the request line.
    pub fn new(scheme: Scheme, authority: &str, path_and_query: &str, trust: &Trust) -> Result<Self, TargetError> {
        let authority = Authority::parse(authority).ok_or(TargetError::NoAuthority)?;
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        // RFC 3986 section 6.2.3: an empty path is `/`.
        let path = if path.is_empty() { "/" } else { path };
        // What no request line could hold: it would end the line, or the URI.
        if query.is_some_and(|query| query.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#')) {
            return Err(TargetError::AmbiguousPath);
        }
        Self::assemble(scheme, authority, path, query, trust)
    }

    fn assemble(
        scheme: Scheme,
        authority: Authority,
        path: &str,
        query: Option<&str>,
        trust: &Trust,
    ) -> Result<Self, TargetError> {
        let authority = authority.for_scheme(scheme);
        // Room for the usual case at once: scheme, `://`, host, port, path.
        let mut uri = String::with_capacity("https://".len() + authority.as_str().len() + path.len());
        match trust.public_url(&authority) {
            Some(public) => {
                push_origin(&mut uri, public.scheme, &public.authority);
                uri.push_str(&public.prefix);
            }
            None => push_origin(&mut uri, scheme, &authority),
        }
        let path_at = uri.len();
        path::normalise_request(path, &mut uri)?;
        Ok(Self { scheme, authority, uri, path_at, query: query.map(str::to_owned) })
    }

    /// The scheme by which the client came (before `public_url`).
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, lower case, without a port; IPv6 in brackets. Also without the dot at the end of an absolute name
    /// (RFC 1034 section 3.1): many a server takes it off before it looks which of its names was meant, so that what
    /// holds for a name holds for both spellings.
    pub fn host(&self) -> &str {
        self.authority.host().trim_end_matches('.')
    }

    /// Host, and port where it is not the scheme's default: as the client addressed it.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// The normalised path.
    pub fn path(&self) -> &str {
        self.uri.get(self.path_at..).unwrap_or("/")
    }

    /// The path and query to send upstream: the normalised path, the query as it came.
    pub fn path_and_query(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path()),
            None => self.path().to_owned(),
        }
    }

    /// The query, as it came, without `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// `scheme://authority` (or the `public_url`) under which this client addresses the gate: RFC 9728's `resource`.
    pub fn resource(&self) -> &str {
        self.uri.get(..self.path_at).unwrap_or_default()
    }

    /// Whether `htu` names this target: both sides normalised, query and fragment ignored.
    ///
    /// RFC 9449 section 4.3: "Syntax-Based Normalization (Section 6.2.2 of \[RFC3986\]) and Scheme-Based Normalization
    /// (Section 6.2.3 of \[RFC3986\])". Nothing beyond: a trailing slash, a doubled one and a path's case all count.
    #[must_use]
    pub fn matches_htu(&self, htu: &str) -> bool {
        // Most clients send what normalising would make of it.
        htu == self.uri || normalise_htu(htu).is_some_and(|htu| htu == self.uri)
    }
}

/// `scheme://authority`.
fn push_origin(uri: &mut String, scheme: Scheme, authority: &Authority) {
    uri.push_str(scheme.name());
    uri.push_str("://");
    uri.push_str(authority.as_str());
}

/// An `htu` without query and fragment, normalised; `None` if it is no absolute http or https URI.
fn normalise_htu(htu: &str) -> Option<String> {
    // Characters that no URI has, wherever they stand (RFC 3986 section 2).
    if !htu.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (scheme, rest) = Scheme::split(htu)?;
    let rest = rest.split(['?', '#']).next()?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut uri = String::with_capacity(htu.len());
    push_origin(&mut uri, scheme, &Authority::parse(authority)?.for_scheme(scheme));
    path::normalise_htu(path, &mut uri)?;
    Some(uri)
}

/// What the request itself says that it addresses: `:authority` or the absolute form's, which `Host` must not
/// contradict (RFC 9113 section 8.3.1, RFC 9112 section 3.2), else `Host`.
fn own_authority(uri: &Uri, headers: &HeaderMap, scheme: Scheme) -> Result<Authority, TargetError> {
    if uri.scheme_str().is_some_and(|named| named != "http" && named != "https") {
        return Err(TargetError::Conflicting);
    }
    let mut hosts = headers.get_all(http::header::HOST).iter();
    let host = hosts.next();
    // RFC 9112 section 3.2: "any request message that contains more than one Host header field line", equal or not.
    if hosts.next().is_some() {
        return Err(TargetError::Conflicting);
    }
    let parse = |text: &str| Authority::parse(text).ok_or(TargetError::NoAuthority);
    let host = match host {
        Some(host) => Some(parse(host.to_str().map_err(|_| TargetError::NoAuthority)?)?),
        None => None,
    };
    let named = match uri.authority() {
        Some(named) => Some(parse(named.as_str())?),
        None => None,
    };
    match (named, host) {
        (Some(named), Some(host)) if !named.is_same(&host, scheme) => Err(TargetError::Conflicting),
        (Some(authority), Some(_) | None) | (None, Some(authority)) => Ok(authority),
        (None, None) => Err(TargetError::NoAuthority),
    }
}

#[cfg(test)]
mod tests;
