//! The access token: is it good, what is it bound to, what does it grant.

use crate::clock::Timestamp;
use crate::explain::Explanation;
use crate::explain::reading::{date, member, shown};
use crate::metrics::Reason;
use crate::token::Binding;

use super::{Finding, finding};

impl Explanation<'_> {
    pub(super) fn of_token(&self, reason: Reason) -> Finding {
        let claim = |name: &str| format!("{name} {}", self.reading.token_claim(name));
        let time = |name: &str| match self.reading.token.as_ref().and_then(|token| token.claims.get(name)?.as_u64()) {
            Some(secs) => format!("{name} {}", date(Timestamp::from_secs(secs))),
            None => claim(name),
        };
        let moment = date(self.now);
        match reason {
            Reason::TokenSignature => finding(
                "a signature by a key of the issuer",
                format!(
                    "another one; kid {}",
                    member(self.reading.token.as_ref().and_then(|token| token.header.get("kid")))
                ),
                "look whether the file names the right source of keys for this issuer, and whether the token came \
                 whole",
            ),
            Reason::TokenExpired => finding(
                format!("exp after {moment}"),
                time("exp"),
                "get a new token; a request that was captured earlier is judged as of then with --at TIME",
            ),
            Reason::TokenNotYetValid => finding(
                format!("nbf at or before {moment}"),
                time("nbf"),
                "wait, or set the clocks of issuer and gate; `dpop.clock_skew` is granted",
            ),
            Reason::UnknownIssuer => finding(
                format!("iss, one of {}, to the letter", self.issuers()),
                claim("iss"),
                "name the issuer under `issuers`, or send this token to whom it is meant for",
            ),
            Reason::WrongAudience => finding(
                format!("aud with one of {}", self.audiences()),
                claim("aud"),
                "ask the authorization server for a token for this API, or add its audience to `issuers[].audiences`",
            ),
            Reason::TokenNotBound => self.of_binding(),
            Reason::BoundTokenAsBearer => finding(
                "Authorization: DPoP, and a proof: the token is bound to a key",
                self.reading.authorization(),
                "send it under the DPoP scheme with a proof by its key (RFC 9449 section 7.2)",
            ),
            Reason::TokenInactive => finding(
                "a token that its issuer calls active",
                "active: false, as of now",
                "get a new token: this one is expired, revoked, or of another issuer",
            ),
            Reason::IssuerUnavailable => finding(
                format!("an answer of {}", self.issuers()),
                "none: it cannot be reached from here",
                "look whether the issuer's address is right and reachable; without keys no token can be judged",
            ),
            _ => finding(
                "one access token of letters, digits and -._~+/, a JWT of an accepted algorithm and type, or an \
                 opaque one of an issuer with `introspection`",
                match &self.reading.token {
                    Some(token) => {
                        format!("alg {}, typ {}", member(token.header.get("alg")), member(token.header.get("typ")))
                    }
                    None => self.reading.authorization(),
                },
                "send the text of access_token whole; for a JWT see `issuers[].algorithms` and `token_types`",
            ),
        }
    }

    fn of_binding(&self) -> Finding {
        let cnf = self.reading.token.as_ref().and_then(|token| token.claims.get("cnf"));
        let certificate = matches!(Binding::of(cnf), Ok(Binding::Key { x5t_s256: Some(_), .. }));
        if certificate {
            return finding(
                "the client certificate that the token is bound to as well (x5t#S256)",
                "a capture shows no certificate",
                "if the client showed it, this check passes, and only the gate can tell",
            );
        }
        finding(
            "a token with cnf.jkt, under the DPoP scheme",
            format!("{}; cnf {}", self.reading.authorization(), self.reading.token_claim("cnf")),
            "ask for the token with a proof at the token endpoint, so that it is bound (token_type DPoP); while \
             clients migrate, `auth: dpop_or_bearer` takes tokens without cnf under Bearer",
        )
    }

    pub(super) fn of_grant(&self, reason: Reason) -> Finding {
        let Some(route) = &self.walk.route else { return finding("", "", "") };
        if reason == Reason::InsufficientScope {
            let name = if self.reading.token.as_ref().is_some_and(|token| token.claims.contains_key("scope")) {
                "scope"
            } else {
                "scp"
            };
            return finding(
                format!("all of: {}", route.require.scopes.join(", ")),
                format!("{name} {}", self.reading.token_claim(name)),
                "ask for these scopes at the token endpoint, or change the route's `require.scopes`",
            );
        }
        let wanted = route.require.claims.iter().map(|claim| {
            let values: Vec<String> = claim.any_of.iter().map(|value| member(Some(value))).collect();
            format!("{}: {}", claim.claim, values.join(" or "))
        });
        let found = route.require.claims.iter().map(|claim| {
            let name = claim.claim.split('.').next().unwrap_or_default();
            format!("{name} {}", self.reading.token_claim(name))
        });
        finding(
            wanted.collect::<Vec<_>>().join("; "),
            found.collect::<Vec<_>>().join("; "),
            "let the authorization server put the claim into the token, or change the route's `require.claims`",
        )
    }

    pub(super) fn of_key(&self) -> Finding {
        let jkt = self.reading.token.as_ref().and_then(|token| token.jkt());
        let jkt = jkt.map_or_else(|| "as its issuer says".to_owned(), shown);
        finding(
            format!("the key that the token is bound to: cnf.jkt {jkt}"),
            format!("the proof's key: {}", self.reading.proof_key().unwrap_or_default()),
            "sign with the key with which the token was asked for; a token that came to another key is of no use here",
        )
    }

    fn issuers(&self) -> String {
        self.rules.issuers.iter().map(|issuer| issuer.issuer.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn audiences(&self) -> String {
        let named = self.reading.token.as_ref().and_then(|token| token.text("iss"));
        let theirs = self.rules.issuers.iter().filter(|issuer| named.is_none_or(|name| name == issuer.issuer));
        theirs.flat_map(|issuer| &issuer.audiences).map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}
