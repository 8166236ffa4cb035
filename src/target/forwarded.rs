//! What a believed peer says of the original request: `Forwarded` (RFC 7239) and `X-Forwarded-*`.
//!
//! Every member of every list, and both families, have to agree. Which of two members is the original's depends on how
//! many proxies there are and which of them can be believed; guessing is how others were deceived (pitfall 16).

use http::HeaderMap;

use super::authority::{Authority, parse_port};
use super::{Scheme, TargetError};

/// What was said, by whichever header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Forwarded {
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: Option<Authority>,
    pub(super) port: Option<u16>,
}

impl Forwarded {
    /// Reads the forwarding headers. Only for a peer that `Trust::believes`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, TargetError> {
        let mut forwarded = Self::default();
        for line in headers.get_all(http::header::FORWARDED) {
            forwarded.read_standard(text(line)?).ok_or(TargetError::Conflicting)?;
        }
        for member in list(headers, "x-forwarded-proto")? {
            agree(&mut forwarded.scheme, Scheme::named(member)).ok_or(TargetError::Conflicting)?;
        }
        for member in list(headers, "x-forwarded-host")? {
            agree(&mut forwarded.authority, Authority::parse(member)).ok_or(TargetError::Conflicting)?;
        }
        for member in list(headers, "x-forwarded-port")? {
            agree(&mut forwarded.port, parse_port(member)).ok_or(TargetError::Conflicting)?;
        }
        Ok(forwarded)
    }

    /// One line of RFC 7239 section 4: elements separated by commas, of pairs separated by semicolons. `None` where it
    /// is malformed or says two things.
    fn read_standard(&mut self, line: &str) -> Option<()> {
        let mut rest = trim(line);
        let mut said = false;
        loop {
            let mut names: Vec<String> = Vec::new();
            // One element; an empty one says nothing (RFC 9110 section 5.6.1.2).
            while !rest.is_empty() && !rest.starts_with(',') {
                let (name, after) = split_token(rest)?;
                let (value, after) = split_value(after.strip_prefix('=')?)?;
                let name = name.to_ascii_lowercase();
                match name.as_str() {
                    "proto" => agree(&mut self.scheme, Scheme::named(&value))?,
                    "host" => agree(&mut self.authority, Authority::parse(&value))?,
                    _ => {}
                }
                // "Each parameter MUST NOT occur more than once per field-value."
                if names.contains(&name) {
                    return None;
                }
                names.push(name);
                said = true;
                rest = trim(after);
                match rest.strip_prefix(';') {
                    Some(after) => rest = trim(after),
                    None if rest.is_empty() || rest.starts_with(',') => {}
                    None => return None,
                }
            }
            match rest.strip_prefix(',') {
                Some(after) => rest = trim(after),
                None => return said.then_some(()),
            }
        }
    }
}

/// Takes what a member says; `None` if it says nothing, or something else than one before.
fn agree<T: PartialEq>(known: &mut Option<T>, said: Option<T>) -> Option<()> {
    let said = said?;
    match known {
        Some(known) => (*known == said).then_some(()),
        None => {
            *known = Some(said);
            Some(())
        }
    }
}

/// The members of an `X-Forwarded-*` list over all its lines. A header that is there and says nothing is malformed.
fn list<'a>(headers: &'a HeaderMap, name: &str) -> Result<Vec<&'a str>, TargetError> {
    let mut members = Vec::new();
    for line in headers.get_all(name) {
        let before = members.len();
        members.extend(text(line)?.split(',').map(trim).filter(|member| !member.is_empty()));
        if members.len() == before {
            return Err(TargetError::Conflicting);
        }
    }
    Ok(members)
}

fn text(line: &http::HeaderValue) -> Result<&str, TargetError> {
    line.to_str().map_err(|_| TargetError::Conflicting)
}

/// RFC 9110 section 5.6.2.
fn split_token(text: &str) -> Option<(&str, &str)> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    if end == 0 { None } else { text.split_at_checked(end) }
}

/// A token, or a quoted string (RFC 9110 section 5.6.4) with its escapes undone.
fn split_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = split_token(text)?;
        return Some((token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(characters.next()?),
            character => value.push(character),
        }
    }
}

/// Without optional white space (RFC 9110 section 5.6.3).
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[(&'static str, &str)]) -> Result<Forwarded, TargetError> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Forwarded::of(&headers)
    }

    #[test]
    fn what_disagrees_or_is_malformed_is_refused() {
        for lines in [
            // members of one list
            &[("x-forwarded-proto", "https, http")][..],
            &[("x-forwarded-host", "a, b")],
            &[("x-forwarded-host", "a, a:8443")],
            &[("x-forwarded-port", "443, 8443")],
            &[("forwarded", "proto=https, proto=http")],
            &[("forwarded", "host=a;proto=https, for=_x;host=b")],
            // lines of one header
            &[("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")],
            &[("forwarded", "host=a"), ("forwarded", "host=b")],
            // two families
            &[("forwarded", "proto=https"), ("x-forwarded-proto", "http")],
            &[("forwarded", "host=a"), ("x-forwarded-host", "b")],
            // malformed
            &[("x-forwarded-proto", "ftp")],
            &[("x-forwarded-proto", "")],
            &[("x-forwarded-proto", " , ")],
            &[("x-forwarded-proto", "https://")],
            &[("x-forwarded-proto", "https;http")],
            &[("x-forwarded-host", "")],
            &[("x-forwarded-host", "a/b")],
            &[("x-forwarded-host", "u@a")],
            &[("x-forwarded-host", "\u{e9}")],
            &[("x-forwarded-port", "https")],
            &[("x-forwarded-port", "0")],
            &[("x-forwarded-port", "65536")],
            &[("forwarded", "")],
            &[("forwarded", ",")],
            &[("forwarded", "proto")],
            &[("forwarded", "proto=")],
            &[("forwarded", "=https")],
            &[("forwarded", "proto =https")],
            &[("forwarded", "proto= https")],
            &[("forwarded", "proto=ftp")],
            &[("forwarded", "proto=https;proto=https")],
            &[("forwarded", "for=a;FOR=b")],
            &[("forwarded", "host=a:8443")], // a colon wants quotes
            &[("forwarded", "host=\"a")],
            &[("forwarded", "host=\"a\\")],
            &[("forwarded", "host=\"a\"b")],
            &[("forwarded", "proto=https for=a")],
            &[("forwarded", "host=\"a, host=b\"")],
        ] {
            assert_eq!(read(lines), Err(TargetError::Conflicting), "{lines:?}");
        }
    }

    #[test]
    fn what_agrees_is_believed() {
        let authority = |text: &str| Authority::parse(text);
        for (lines, scheme, host, port) in [
            (&[][..], None, None, None),
            (&[("x-forwarded-for", "1, 2")], None, None, None),
            (&[("x-forwarded-proto", "https, HTTPS,https")], Some(Scheme::Https), None, None),
            (&[("x-forwarded-proto", "wss")], Some(Scheme::Https), None, None),
            (&[("x-forwarded-proto", "ws"), ("x-forwarded-proto", "http")], Some(Scheme::Http), None, None),
            (&[("x-forwarded-host", "A.example:8443, a.example:8443")], None, authority("a.example:8443"), None),
            (&[("x-forwarded-port", "443,443")], None, None, Some(443)),
            (&[("forwarded", "for=192.0.2.43")], None, None, None),
            (&[("forwarded", "for=\"_a\\\"b, proto=http;\"")], None, None, None),
            (
                &[("forwarded", "For=\"[2001:db8::1]:80\";Proto=HTTPS;host=\"a:8443\";by=_x, for=_y ; proto=https,")],
                Some(Scheme::Https),
                authority("a:8443"),
                None,
            ),
            (&[("forwarded", "host=A;"), ("x-forwarded-host", "a")], None, authority("a"), None),
            (&[("forwarded", "proto=https"), ("x-forwarded-proto", "https")], Some(Scheme::Https), None, None),
        ] {
            assert_eq!(read(lines), Ok(Forwarded { scheme, authority: host, port }), "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(value in proptest::collection::vec(32u8..=255, 0..60)) {
            for name in ["forwarded", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"] {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    let headers = [(http::HeaderName::from_static(name), value)].into_iter().collect();
                    let _ = Forwarded::of(&headers);
                }
            }
        }

        #[test]
        fn a_second_element_changes_nothing_or_is_refused(line in "((for|host|proto|by)=(a|b|https|http|\"a:1\");?){1,3}(, ?(host|proto)=(a|b|https|http|\"a:1\")){0,2}") {
            let alone = read(&[("forwarded", &line)]);
            let twice = read(&[("forwarded", &line), ("forwarded", &line)]);
            prop_assert_eq!(alone, twice);
        }
    }
}
