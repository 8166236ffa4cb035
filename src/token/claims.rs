//! The claims of an access token, checked.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Timestamp;

use super::{Binding, Claim, Claims, TokenError};

/// Which `typ` headers are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenTypes {
    /// Every one but `dpop+jwt`, none at all included.
    Any,
    /// One of these, compared as media types: without case, `application/` in front is the same.
    Only(Vec<String>),
}

impl TokenTypes {
    /// Whether a token of that `typ` header is taken. A proof is never an access token (RFC 8725 section 3.11), not
    /// even where the operator lists its type.
    pub fn accepts(&self, typ: Option<&str>) -> bool {
        if typ.is_some_and(|typ| same_media_type(typ, "dpop+jwt")) {
            return false;
        }
        match self {
            Self::Any => true,
            Self::Only(types) => typ.is_some_and(|typ| types.iter().any(|allowed| same_media_type(allowed, typ))),
        }
    }
}

/// RFC 7515 section 4.1.9: a `typ` without a slash reads as if `application/` stood before it.
fn same_media_type(a: &str, b: &str) -> bool {
    fn bare(typ: &str) -> &str {
        match typ.split_at_checked("application/".len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
            Some(_) | None => typ,
        }
    }
    bare(a).eq_ignore_ascii_case(bare(b))
}

/// What an issuer's tokens must claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRules {
    /// `iss`, to the letter.
    pub issuer: String,
    /// Any one of these must be in `aud`.
    pub audiences: Vec<String>,
}

/// A token whose issuer vouches for it. Only [`VerifiedToken::check`] and [`VerifiedToken::check_introspected`] make
/// one, and only `issuer` calls those, after the signature or the introspection (and `explain`, which takes a token at
/// its word and lets nothing pass by it).
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    claims: Claims,
    binding: Binding,
    /// `exp`; only an introspection answer may be without.
    expires: Option<Timestamp>,
}

impl VerifiedToken {
    /// Checks the claims of a JWT (RFC 9068 section 4): `iss`, `aud`, `exp`, `nbf` (with `skew` granted to the times),
    /// and reads `cnf`. No audience configured means that none is right.
    ///
    /// This does not check a signature: the caller has.
    pub fn check(claims: Claims, rules: &ClaimRules, now: Timestamp, skew: Duration) -> Result<Self, TokenError> {
        let issuer = string(&claims, "iss")?.ok_or(TokenError::Malformed)?;
        if issuer != rules.issuer {
            return Err(TokenError::UnknownIssuer);
        }
        check_audience(&claims, &rules.audiences)?;
        // RFC 9068 section 2.2: `exp` is required.
        let expires = numeric_date(&claims, "exp")?.ok_or(TokenError::Malformed)?;
        Self::at(claims, Some(expires), now, skew)
    }

    /// Checks the members of an introspection answer (RFC 7662 section 2.2), whose caller has seen `active: true`.
    ///
    /// All of them are optional there, so: `iss` must be right if it is present; `aud` must hold one of the configured
    /// audiences, and is [`TokenError::WrongAudience`] if it is missing (RFC 7662 section 4 leaves that to the
    /// resource server; silence is not consent), unless the operator configured none. An `iss` that is missing is said:
    /// `sub` means something only beside it. A `token_type` of `DPoP` without the key is a token that must not be taken
    /// for a bearer token (RFC 9449 section 6.2).
    pub fn check_introspected(
        mut claims: Map<String, Value>,
        rules: &ClaimRules,
        now: Timestamp,
        skew: Duration,
    ) -> Result<Self, TokenError> {
        match claims.get("iss").map(|issuer| issuer.as_str().ok_or(TokenError::Malformed)).transpose()? {
            Some(issuer) if issuer != rules.issuer => return Err(TokenError::UnknownIssuer),
            Some(_) => {}
            None => drop(claims.insert("iss".to_owned(), Value::from(rules.issuer.as_str()))),
        }
        // An answer as long as that is about no token.
        let claims = Claims::of(&claims).ok_or(TokenError::Malformed)?;
        if !rules.audiences.is_empty() {
            check_audience(&claims, &rules.audiences)?;
        }
        let is_dpop = string(&claims, "token_type")?.is_some_and(|kind| kind.eq_ignore_ascii_case("DPoP"));
        let expires = numeric_date(&claims, "exp")?;
        let token = Self::at(claims, expires, now, skew)?;
        if is_dpop && matches!(token.binding, Binding::None) { Err(TokenError::NotBound) } else { Ok(token) }
    }

    fn at(claims: Claims, expires: Option<Timestamp>, now: Timestamp, skew: Duration) -> Result<Self, TokenError> {
        let not_before = numeric_date(&claims, "nbf")?;
        not_ended(expires, now, skew)?;
        // RFC 7519 section 4.1.5: not before `nbf`.
        if not_before.is_some_and(|not_before| now + skew < not_before) {
            return Err(TokenError::NotYetValid);
        }
        // Last: whoever hears that it is not bound knows that nothing else is wrong with it.
        let binding = Binding::of(claims.get("cnf").map(Claim::value).as_ref())?;
        Ok(Self { claims, binding, expires })
    }

    /// Whether it still holds at `now`: for a token out of the cache. `nbf` cannot come back, so only `exp` is looked
    /// at.
    pub fn still_valid(&self, now: Timestamp, skew: Duration) -> Result<(), TokenError> {
        not_ended(self.expires, now, skew)
    }

    /// What it is bound to.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// `exp`, which an introspection answer may be without.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// A claim by its whole name.
    pub fn member(&self, name: &str) -> Option<Claim<'_>> {
        self.claims.get(name)
    }

    /// A claim by name, or by a dotted path into objects (`cnf.jkt`); a name that itself has dots wins.
    pub fn claim(&self, path: &str) -> Option<Claim<'_>> {
        self.claims.find(path)
    }

    /// The granted scopes: `scope` (a string of words, RFC 9068; Duende and Spring write a list), else `scp` (Okta,
    /// Entra: a list or a string).
    pub fn scopes(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let scope = self.claims.get("scope").filter(|scope| scope.is_text_or_list());
        let granted = scope.or_else(|| self.claims.get("scp"));
        granted.map(Claim::words).unwrap_or_default().into_iter().filter(|scope| !scope.is_empty())
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        size_of_val(self) + self.claims.bytes()
    }
}

/// RFC 7519 section 4.1.4: "on or after which the JWT MUST NOT be accepted".
fn not_ended(expires: Option<Timestamp>, now: Timestamp, skew: Duration) -> Result<(), TokenError> {
    if expires.is_some_and(|expires| now >= expires + skew) { Err(TokenError::Expired) } else { Ok(()) }
}

/// RFC 7519 section 4.1.3: `aud` is a string or a list of strings.
fn check_audience(claims: &Claims, audiences: &[String]) -> Result<(), TokenError> {
    let wanted = |audience: &str| audiences.iter().any(|configured| configured == audience);
    let Some(claim) = claims.get("aud") else { return Err(TokenError::WrongAudience) };
    let found = match claim.as_str() {
        Some(audience) => wanted(&audience),
        None => match claim.value() {
            Value::Array(list) => {
                let mut found = false;
                for audience in &list {
                    found |= wanted(audience.as_str().ok_or(TokenError::Malformed)?);
                }
                found
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                return Err(TokenError::Malformed);
            }
        },
    };
    if found { Ok(()) } else { Err(TokenError::WrongAudience) }
}

fn string<'a>(claims: &'a Claims, name: &str) -> Result<Option<Cow<'a, str>>, TokenError> {
    claims.get(name).map(|claim| claim.as_str().ok_or(TokenError::Malformed)).transpose()
}

/// RFC 7519 section 2: seconds since the epoch, a fraction allowed. Negative ones and those beyond any clock are
/// malformed.
fn numeric_date(claims: &Claims, name: &str) -> Result<Option<Timestamp>, TokenError> {
    let Some(value) = claims.get(name).map(Claim::value) else {
        return Ok(None);
    };
    if let Some(secs) = value.as_u64() {
        return Ok(Some(Timestamp::from_secs(secs)));
    }
    let secs = value.as_f64().ok_or(TokenError::Malformed)?;
    let since_epoch = Duration::try_from_secs_f64(secs).map_err(|_| TokenError::Malformed)?;
    Ok(Some(Timestamp::from_secs(0) + since_epoch))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const SKEW: Duration = Duration::from_secs(15);

    fn rules() -> ClaimRules {
        ClaimRules { issuer: "https://id.example.com".into(), audiences: vec!["api://a".into(), "api://b".into()] }
    }

    fn claims(change: &Value) -> Map<String, Value> {
        let mut claims = json!({"iss": "https://id.example.com", "aud": "api://a", "exp": 1_700_000_100});
        let members = claims.as_object_mut().unwrap();
        for (name, value) in change.as_object().unwrap() {
            if value == "ABSENT" {
                members.remove(name);
            } else {
                members.insert(name.clone(), value.clone());
            }
        }
        members.clone()
    }

    fn read(change: &Value) -> Claims {
        Claims::of(&claims(change)).unwrap()
    }

    #[test]
    fn an_introspection_answer_that_is_too_long_is_no_token_without_claims() {
        let long = claims(&json!({"x": "x".repeat(70_000), "cnf": {"jkt": "x"}}));
        assert_eq!(
            VerifiedToken::check_introspected(long, &rules(), NOW, SKEW).map(|_| ()),
            Err(TokenError::Malformed)
        );
    }

    #[test]
    fn a_jwt_is_held_to_rfc_9068() {
        use TokenError::{Expired, Malformed, NotBound, NotYetValid, UnknownIssuer, WrongAudience};
        for (change, expected) in [
            (json!({"iss": "https://id.example.com/"}), Err(UnknownIssuer)),
            (json!({"iss": "HTTPS://id.example.com"}), Err(UnknownIssuer)),
            (json!({"iss": "ABSENT"}), Err(Malformed)),
            (json!({"iss": ["https://id.example.com"]}), Err(Malformed)),
            (json!({"aud": "ABSENT"}), Err(WrongAudience)),
            (json!({"aud": "api://c"}), Err(WrongAudience)),
            (json!({"aud": "api://a api://b"}), Err(WrongAudience)),
            (json!({"aud": []}), Err(WrongAudience)),
            (json!({"aud": ["api://c", "API://a"]}), Err(WrongAudience)),
            (json!({"aud": ["api://a", 7]}), Err(Malformed)),
            (json!({"aud": {"api://a": true}}), Err(Malformed)),
            (json!({"aud": null}), Err(Malformed)),
            (json!({"exp": "ABSENT"}), Err(Malformed)),
            (json!({"exp": "1700000100"}), Err(Malformed)),
            (json!({"exp": null}), Err(Malformed)),
            (json!({"exp": -1}), Err(Malformed)),
            (json!({"exp": 1e300}), Err(Malformed)),
            (json!({"exp": 0}), Err(Expired)),
            (json!({"exp": 1_699_999_985}), Err(Expired)),
            (json!({"exp": 1_699_999_985.001}), Ok(())),
            (json!({"exp": 1_699_999_986}), Ok(())),
            (json!({"exp": u64::MAX}), Ok(())),
            (json!({"nbf": 1_700_000_016}), Err(NotYetValid)),
            (json!({"nbf": 1_700_000_015}), Ok(())),
            (json!({"nbf": "0"}), Err(Malformed)),
            (json!({"cnf": {}}), Err(NotBound)),
            (json!({"aud": ["api://c", "api://b"]}), Ok(())),
            (json!({}), Ok(())),
        ] {
            let result = VerifiedToken::check(read(&change), &rules(), NOW, SKEW).map(|_| ());
            assert_eq!(result, expected, "{change}");
        }
        let nobody = ClaimRules { audiences: vec![], ..rules() };
        assert_eq!(VerifiedToken::check(read(&json!({})), &nobody, NOW, SKEW).map(|_| ()), Err(WrongAudience));
    }

    #[test]
    fn an_introspection_answer_may_leave_iss_and_exp_out_but_not_aud() {
        use TokenError::{Expired, Malformed, NotBound, NotYetValid, UnknownIssuer, WrongAudience};
        for (change, expected) in [
            (json!({"iss": "https://other.example.com"}), Err(UnknownIssuer)),
            (json!({"iss": 1}), Err(Malformed)),
            (json!({"aud": "ABSENT"}), Err(WrongAudience)),
            (json!({"aud": "api://c"}), Err(WrongAudience)),
            (json!({"exp": "soon"}), Err(Malformed)),
            (json!({"exp": 1_699_999_985}), Err(Expired)),
            (json!({"nbf": 1_700_000_016}), Err(NotYetValid)),
            (json!({"cnf": null}), Err(NotBound)),
            (json!({"token_type": "dpop"}), Err(NotBound)),
            (json!({"token_type": 1}), Err(Malformed)),
            (json!({"token_type": "Bearer"}), Ok(Some(1_700_000_100))),
            (json!({"iss": "ABSENT"}), Ok(Some(1_700_000_100))),
            (json!({"exp": "ABSENT"}), Ok(None)),
            (json!({}), Ok(Some(1_700_000_100))),
        ] {
            let result = VerifiedToken::check_introspected(claims(&change), &rules(), NOW, SKEW);
            assert_eq!(
                result.as_ref().map(|token| token.expires().map(Timestamp::as_secs)),
                expected.as_ref().map(|end| *end),
                "{change}"
            );
            if let Ok(token) = result {
                assert_eq!(
                    token.claim("iss").unwrap().value(),
                    "https://id.example.com",
                    "said even where the answer is silent"
                );
            }
        }
        let without_end = claims(&json!({"exp": "ABSENT"}));
        let token = VerifiedToken::check_introspected(without_end, &rules(), NOW, Duration::ZERO).unwrap();
        assert_eq!(token.still_valid(NOW, Duration::ZERO), Ok(()), "only the caller's cache ends it");
        let nobody = ClaimRules { audiences: vec![], ..rules() };
        let silent = claims(&json!({"aud": "ABSENT"}));
        assert!(VerifiedToken::check_introspected(silent, &nobody, NOW, SKEW).is_ok());
    }

    #[test]
    fn a_cached_token_ends_with_exp_and_skew() {
        let token = VerifiedToken::check(read(&json!({})), &rules(), NOW, SKEW).unwrap();
        let end = Timestamp::from_secs(1_700_000_115);
        assert_eq!(token.still_valid(end - Duration::from_micros(1), SKEW), Ok(()));
        assert_eq!(token.still_valid(end, SKEW), Err(TokenError::Expired));
    }

    #[test]
    fn claims_are_found_by_name_then_by_path() {
        let change = json!({"a.b": 1, "a": {"b": 2, "c": {"d": 3}, "e.f": 4}, "list": [{"x": 1}], "s": "text"});
        let token = VerifiedToken::check(read(&change), &rules(), NOW, SKEW).unwrap();
        for (path, expected) in [
            ("a.b", Some(json!(1))),
            ("a.c.d", Some(json!(3))),
            ("a.c", Some(json!({"d": 3}))),
            ("a.e.f", None),
            ("a.", None),
            (".a", None),
            ("", None),
            ("a.b.c", None),
            ("list.0.x", None),
            ("s.t", None),
            ("s", Some(json!("text"))),
        ] {
            assert_eq!(token.claim(path).map(Claim::value), expected, "{path}");
        }
    }

    #[test]
    fn scopes_come_from_scope_else_scp() {
        for (change, expected) in [
            (json!({}), vec![]),
            (json!({"scope": "a b"}), vec!["a", "b"]),
            (json!({"scope": "  a  b "}), vec!["a", "b"]),
            (json!({"scope": "a\tb"}), vec!["a\tb"]),
            (json!({"scope": "", "scp": ["b"]}), vec![]),
            (json!({"scope": "a", "scp": ["b"]}), vec!["a"]),
            (json!({"scope": ["a", "b c", 3, ""]}), vec!["a", "b c"]),
            (json!({"scope": [], "scp": ["b"]}), vec![]),
            (json!({"scope": {"a": 1}}), vec![]),
            (json!({"scope": null, "scp": "b"}), vec!["b"]),
            (json!({"scope": 1, "scp": ["b", 2, "c"]}), vec!["b", "c"]),
            (json!({"scp": "a b"}), vec!["a", "b"]),
            (json!({"scp": {"a": 1}}), vec![]),
        ] {
            let token = VerifiedToken::check(read(&change), &rules(), NOW, SKEW).unwrap();
            assert_eq!(token.scopes().collect::<Vec<_>>(), expected, "{change}");
        }
    }

    #[test]
    fn token_types_are_media_types_and_never_a_proof() {
        let only = TokenTypes::Only(vec!["at+jwt".into(), "dpop+jwt".into()]);
        for (types, typ, expected) in [
            (&TokenTypes::Any, Some("dpop+jwt"), false),
            (&TokenTypes::Any, Some("Application/DPoP+JWT"), false),
            (&TokenTypes::Any, None, true),
            (&TokenTypes::Any, Some("application/okta-internal-at+jwt"), true),
            (&only, Some("dpop+jwt"), false),
            (&only, Some("JWT"), false),
            (&only, None, false),
            (&only, Some("application/"), false),
            (&only, Some("text/at+jwt"), false),
            (&only, Some("at+jwt"), true),
            (&only, Some("AT+JWT"), true),
            (&only, Some("APPLICATION/at+jwt"), true),
        ] {
            assert_eq!(types.accepts(typ), expected, "{types:?} {typ:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_exp_is_a_token_that_passes_has_not_ended(exp in any::<f64>(), aud in ".{0,12}") {
            let change = json!({"exp": exp, "aud": [aud, "api://a"]});
            if let Ok(token) = VerifiedToken::check(read(&change), &rules(), NOW, SKEW) {
                prop_assert!(exp >= 1_699_999_985.0);
                prop_assert!(token.expires().unwrap() + SKEW > NOW);
            }
        }
    }
}
