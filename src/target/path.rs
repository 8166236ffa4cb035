//! Paths: one spelling each (RFC 3986 section 6.2.2), and none that two servers could read differently.

use super::TargetError;

/// Appends a request's path to `out`, normalised, or says why it is not taken.
///
/// What comes out is what routes are matched with, what `htu` is compared with and what goes upstream. Nothing is
/// resolved: a client that is honest sends no dot segment (RFC 3986 section 5.2.4 is its work), so one is refused.
pub(super) fn normalise_request(path: &str, out: &mut String) -> Result<(), TargetError> {
    if is_plain(path.as_bytes()) {
        out.push_str(path);
        return Ok(());
    }
    normalise_segments(path, out)
}

/// The same for any path.
fn normalise_segments(path: &str, out: &mut String) -> Result<(), TargetError> {
    // Not the asterisk or authority form: no URI that a proof could name (RFC 9112 section 3.2).
    let path = path.strip_prefix('/').ok_or(TargetError::AmbiguousPath)?;
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        out.push('/');
        let start = out.len();
        normalise_segment(segment, out).ok_or(TargetError::AmbiguousPath)?;
        let normalised = out.get(start..).unwrap_or_default();
        if is_ambiguous(normalised, is_last) {
            return Err(TargetError::AmbiguousPath);
        }
    }
    Ok(())
}

/// Whether a path is one of those that need no second look, as most are: names of letters, digits, `-`, `_` and `~`, in
/// them `.` where it does not come first, and no name is empty but the last.
fn is_plain(path: &[u8]) -> bool {
    let mut before = None;
    for byte in path {
        let fits = match (byte, before) {
            (b'/', Some(b'/')) | (b'.', Some(b'/')) => false,
            (b'/', _) => true,
            // It begins with `/`.
            (_, None) => false,
            (byte, Some(_)) => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.'),
        };
        if !fits {
            return false;
        }
        before = Some(*byte);
    }
    before.is_some()
}

/// Appends the path of an `htu` to `out`, normalised; `None` if it is no path of a URI. Dot segments are removed (RFC
/// 3986 section 6.2.2.3). Whatever else a request may not have stays in it, and so never matches one.
pub(super) fn normalise_htu(path: &str, out: &mut String) -> Option<()> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let floor = out.len();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let start = out.len();
        out.push('/');
        normalise_segment(segment, out)?;
        // RFC 3986 section 5.2.4.
        let keep = match out.get(start..) {
            Some("/.") => start,
            Some("/..") => out.get(floor..start).and_then(|kept| kept.rfind('/')).map_or(floor, |at| floor + at),
            Some(_) | None => continue,
        };
        out.truncate(keep);
        if is_last {
            out.push('/');
        }
    }
    Some(())
}

/// RFC 3986 sections 6.2.2.1 and 6.2.2.2: hexadecimal digits upper case, unreserved characters decoded. `None` for a
/// bad escape or a character that cannot stand in a path. A second encoding below the first (`%252e`) stays as it is.
fn normalise_segment(segment: &str, out: &mut String) -> Option<()> {
    let mut rest = segment;
    while let Some(at) = rest.find('%') {
        let (plain, escape) = rest.split_at(at);
        push_plain(plain, out)?;
        let digits = escape.get(1..3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
        }
        rest = escape.get(3..)?;
    }
    push_plain(rest, out)
}

/// Visible ASCII but for what is no part of a path (`?`, `#`) or another server's `/` (`\`). Characters that a URI
/// should have encoded, such as `|`, are left as browsers leave them.
fn push_plain(plain: &str, out: &mut String) -> Option<()> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'?' | b'#');
    plain.bytes().all(is_plain).then(|| out.push_str(plain))
}

/// Whether another server could read this normalised segment as something else than one name.
fn is_ambiguous(segment: &str, is_last: bool) -> bool {
    // Where the parameters begin that Java servers cut off before they look at dots (`..;x` is `..` to Tomcat).
    let name_end = segment.find(';').into_iter().chain(segment.find("%3B")).min().unwrap_or(segment.len());
    let name = segment.get(..name_end).unwrap_or(segment);
    // `//` collapses on many servers; `/;x/` becomes it. Only a path's end may be empty.
    if name.is_empty() {
        return !is_last;
    }
    is_dots(name) || hides_a_separator(segment)
}

/// `.` or `..`, also with the white space and control characters at its end that Windows drops from names.
fn is_dots(name: &str) -> bool {
    let mut name = name;
    while let Some((front, code)) = name.len().checked_sub(3).and_then(|at| name.split_at_checked(at)) {
        let is_blank = matches!(code.as_bytes(), [b'%', b'0' | b'1', _]) || code == "%20" || code == "%7F";
        if !is_blank {
            break;
        }
        name = front;
    }
    matches!(name, "." | "..")
}

/// An encoded `/`, `\` or NUL, or any ASCII character in an overlong UTF-8 encoding (RFC 3629 section 3: "may be
/// decoded" by careless readers, `%C0%AF` to `/`, `%C0%AE` to `.`).
fn hides_a_separator(segment: &str) -> bool {
    segment.match_indices('%').any(|(at, _)| {
        let code = segment.get(at + 1..at + 3).unwrap_or_default();
        let next = segment.get(at + 3..).and_then(|next| next.strip_prefix('%')).and_then(|next| next.get(..1));
        match code {
            "00" | "2F" | "5C" => true,
            "C0" | "C1" => matches!(next, Some("8" | "9" | "A" | "B")),
            "E0" => matches!(next, Some("8" | "9")),
            "F0" => matches!(next, Some("8")),
            _ => false,
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(path: &str) -> Result<String, TargetError> {
        let mut out = String::new();
        normalise_request(path, &mut out).map(|()| out)
    }

    fn htu(path: &str) -> Option<String> {
        let mut out = String::from("https://a");
        normalise_htu(path, &mut out).map(|()| out.strip_prefix("https://a").unwrap().to_owned())
    }

    #[test]
    fn a_path_that_two_servers_could_read_differently_is_refused() {
        for path in [
            "",
            "*",
            "a",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/a/./b",
            "/a/.",
            "/.",
            "/./",
            "/a/../b",
            "/a/..",
            "/..",
            "/../",
            // dots in other spellings
            "/a/%2e/b",
            "/a/%2E%2e/b",
            "/a/.%2e/b",
            "/a/%2e./b",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/.;/b",
            "/a/%2e%2e;x/b",
            "/a/..%3Bx/b",
            "/a/..%3bx/b",
            "/a/..%20/b",
            "/a/..%09/b",
            "/a/.%20%20",
            "/a/..%0d%0A;x/b",
            "/a/..%7f",
            "/a/..%00/b",
            "/%c0%ae%c0%ae/b",
            "/a%c0%afb",
            "/a%C1%9Cb",
            "/a%e0%80%afb",
            "/a%f0%80%80%afb",
            // separators in other spellings
            "/a%2Fb",
            "/a%2fb",
            "/a\\b",
            "/a%5Cb",
            "/a%5cb",
            "/a\\..\\b",
            "/..\\b",
            "/a%2f..%2fb",
            // empty names with parameters
            "/;/a",
            "/;x/a",
            "/a/;x/b",
            "/%3Bx/a",
            // NUL, controls, other bytes
            "/a%00",
            "/a%00.txt",
            "/a\u{0}",
            "/a\n",
            "/a b",
            "/a\t",
            "/a\u{7f}",
            "/\u{e9}",
            "/a#b",
            "/a?b",
            // bad escapes
            "/%",
            "/%2",
            "/%zz",
            "/%2g",
            "/a%",
            "/%u002e",
            "/%+1",
            "/% 1",
            "/%\u{e9}",
            "/%1\u{e9}",
        ] {
            assert_eq!(request(path), Err(TargetError::AmbiguousPath), "{path:?}");
        }
    }

    #[test]
    fn a_path_has_one_spelling() {
        for (path, normalised) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("/A/b", "/A/b"),
            ("/a%2Etxt", "/a.txt"),
            ("/%7euser/%41%2d%5F", "/~user/A-_"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/caf%e9", "/caf%E9"),
            ("/%E0%A4%95%F0%9F%98%80%C3%80", "/%E0%A4%95%F0%9F%98%80%C3%80"),
            ("/%C0", "/%C0"),
            ("/%252e%252E/a", "/%252e%252E/a"),
            ("/%252Fa", "/%252Fa"),
            ("/%25", "/%25"),
            ("/...", "/..."),
            ("/.a/..b/c./d..", "/.a/..b/c./d.."),
            ("/a;x=1/b", "/a;x=1/b"),
            ("/a;../b", "/a;../b"),
            ("/a/;x", "/a/;x"),
            ("/a%20b%0A", "/a%20b%0A"),
            ("/a:b@c!$&'()*+,;=", "/a:b@c!$&'()*+,;="),
            ("/a%3Ab%3f%23", "/a%3Ab%3F%23"),
            ("/a|b[c]{d}\"e\"^`<>", "/a|b[c]{d}\"e\"^`<>"),
        ] {
            assert_eq!(request(path).as_deref(), Ok(normalised), "{path:?}");
            assert_eq!(htu(path).as_deref(), Some(normalised), "{path:?}");
        }
    }

    #[test]
    fn dot_segments_of_an_htu_are_removed() {
        for (path, normalised) in [
            ("", "/"),
            ("/.", "/"),
            ("/..", "/"),
            ("/./", "/"),
            ("/../a", "/a"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/../c", "/a/c"),
            ("/a/b/..", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/b/c/./../../g", "/a/g"),
            ("/../../../a", "/a"),
            ("/a//../b", "/a/b"),
            ("//", "//"),
            ("/a%2fb", "/a%2Fb"),
        ] {
            assert_eq!(htu(path).as_deref(), Some(normalised), "{path:?}");
        }
        for path in ["/%", "/%zz", "/a b", "/a\\b", "/\u{e9}"] {
            assert_eq!(htu(path), None, "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn a_normalised_path_stays_as_it_is(path in r"(/([a-c.;~|:-]|%2[efEF05]|%41|%c[03]|%a[0f]|\.\.?){0,3}){1,5}|/[a-c/.%;\\ ~]{0,12}") {
            if let Ok(once) = request(&path) {
                let again = request(&once);
                prop_assert_eq!(again.as_deref(), Ok(once.as_str()));
                prop_assert_eq!(htu(&path), Some(once.clone()));
                prop_assert!(!once.contains("//") && !once.contains('\\'));
                prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }

        #[test]
        fn a_normalised_htu_path_stays_as_it_is(path in r"(/([a-c.;~-]|%2[efEF05]|%41|\.\.?){0,3}){1,6}") {
            if let Some(once) = htu(&path) {
                let again = htu(&once);
                prop_assert_eq!(again.as_deref(), Some(once.as_str()));
            }
        }

        #[test]
        fn what_needs_no_second_look_would_pass_it(path in r"(/([a-zA-Z0-9._~-]|\.\.?|;|%2e){0,3}){1,5}|[a/.~_-]{0,8}") {
            let mut looked_at = String::new();
            let verdict = normalise_segments(&path, &mut looked_at).map(|()| looked_at);
            prop_assert!(!is_plain(path.as_bytes()) || verdict.as_ref() == Ok(&path));
            prop_assert_eq!(request(&path), verdict);
        }

        #[test]
        fn no_text_panics(path in "\\PC{0,40}") {
            let _ = request(&path);
            let _ = htu(&path);
        }

        #[test]
        fn encoding_an_unreserved_character_changes_nothing(path in "/[a-z]{1,8}/[A-Z0-9_~-]{1,8}", at in any::<prop::sample::Index>()) {
            let at = 1 + at.index(path.len() - 1);
            let byte = path.as_bytes()[at];
            if byte != b'/' {
                let spelled = format!("{}%{byte:02x}{}", &path[..at], &path[at + 1..]);
                prop_assert_eq!(request(&spelled), request(&path));
            }
        }
    }
}
