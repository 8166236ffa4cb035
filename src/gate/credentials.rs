//! Which credentials a request carries: exactly one, or a refusal.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;

use crate::secret::AccessToken;

use super::Refusal;

/// The one access token of a request, and the scheme it came under.
#[derive(Debug)]
pub(super) enum Credentials {
    /// RFC 9449 section 7.1.
    Dpop(AccessToken),
    /// RFC 6750 section 2.1.
    Bearer(AccessToken),
}

impl Credentials {
    /// Reads `Authorization`. A token in the query is never taken (RFC 9700 section 4.3.2), but beside another one it
    /// makes the request ambiguous.
    pub(super) fn of(headers: &HeaderMap, query: Option<&str>) -> Result<Self, Refusal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Refusal::MissingToken)?;
        if values.next().is_some() || query.is_some_and(has_access_token) {
            return Err(Refusal::MultipleCredentials);
        }
        // A token is ASCII, which is looked at below; nothing else in the value is read.
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| Refusal::MalformedToken)?;
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        // RFC 9110 section 11.1: the scheme is compared without case.
        let credentials = if scheme.eq_ignore_ascii_case("DPoP") {
            Self::Dpop
        } else if scheme.eq_ignore_ascii_case("Bearer") {
            Self::Bearer
        } else {
            // Another scheme is no access token at all.
            return Err(Refusal::MissingToken);
        };
        let token = token.trim_matches(' ');
        if !is_token68(token) {
            // With a comma: two headers that a proxy on the way has joined.
            return Err(if token.contains(',') { Refusal::MultipleCredentials } else { Refusal::MalformedToken });
        }
        Ok(credentials(AccessToken::new(token)))
    }
}

/// RFC 9110 section 11.2: letters, digits, `-._~+/`, then any number of `=`.
fn is_token68(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    // Without a branch or a table, so that many bytes are compared at once: tokens are long, and nearly all are good.
    let within = |byte: u8, first: u8, last: u8| byte.wrapping_sub(first) <= last - first;
    let bad = body.bytes().fold(false, |bad, byte| {
        let letter = within(byte | 0x20, b'a', b'z');
        let other = within(byte, b'-', b'9') | (byte == b'_') | (byte == b'~') | (byte == b'+');
        bad | !(letter | other)
    });
    !body.is_empty() && !bad
}

fn has_access_token(query: &str) -> bool {
    query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        percent_decode_str(name).eq(*b"access_token")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_token_is_made_of_what_rfc_9110_section_11_2_says() {
        for byte in 0..128u8 {
            let fits = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            let text = String::from_utf8(vec![b'a', byte, b'a']).unwrap_or_default();
            assert_eq!(is_token68(&text), fits, "{text:?}");
        }
        assert!(!is_token68("a\u{e9}a") && !is_token68("") && !is_token68("=") && is_token68("a=="));
    }

    #[test]
    fn exactly_one_token_is_taken() {
        type Row<'a> = (&'a [&'a str], Option<&'a str>, Result<(&'a str, &'a str), Refusal>);
        let rows: &[Row<'_>] = &[
            (&[], None, Err(Refusal::MissingToken)),
            (&[], Some("access_token=a"), Err(Refusal::MissingToken)),
            (&["Basic YTpi"], None, Err(Refusal::MissingToken)),
            (&[""], None, Err(Refusal::MissingToken)),
            (&["DPoP a", "DPoP a"], None, Err(Refusal::MultipleCredentials)),
            (&["DPoP a", "Basic YTpi"], None, Err(Refusal::MultipleCredentials)),
            (&["DPoP a, DPoP b"], None, Err(Refusal::MultipleCredentials)),
            (&["DPoP a"], Some("x=1&access_token=a"), Err(Refusal::MultipleCredentials)),
            (&["DPoP a"], Some("access%5Ftoken"), Err(Refusal::MultipleCredentials)),
            (&["DPoP a"], Some("access_tokens=a"), Ok(("dpop", "a"))),
            (&["DPoP"], None, Err(Refusal::MalformedToken)),
            (&["DPoP "], None, Err(Refusal::MalformedToken)),
            (&["DPoP a b"], None, Err(Refusal::MalformedToken)),
            (&["DPoP =="], None, Err(Refusal::MalformedToken)),
            (&["DPoP a=b"], None, Err(Refusal::MalformedToken)),
            (&["DPoP a\u{e9}"], None, Err(Refusal::MalformedToken)),
            (&["DPoP\ta"], None, Err(Refusal::MissingToken)),
            (&["dpop   aZ0-._~+/=="], None, Ok(("dpop", "aZ0-._~+/=="))),
            (&["bEARER a.b.c"], None, Ok(("bearer", "a.b.c"))),
        ];
        for (values, query, expected) in rows {
            let mut headers = HeaderMap::new();
            for value in *values {
                if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                    headers.append(AUTHORIZATION, value);
                }
            }
            let found = Credentials::of(&headers, *query);
            let found = match &found {
                Ok(Credentials::Dpop(token)) => Ok(("dpop", token.reveal())),
                Ok(Credentials::Bearer(token)) => Ok(("bearer", token.reveal())),
                Err(refusal) => Err(*refusal),
            };
            assert_eq!(found, *expected, "{values:?} {query:?}");
        }
    }
}
