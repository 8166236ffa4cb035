//! What was expected, what was found, and the remedy: one row a reason.

use crate::client::Url;
use crate::clock::Timestamp;
use crate::gate::Refusal;
use crate::metrics::Reason;
use crate::policy::{Auth, PathMatch};
use crate::replay::ReplayError;
use crate::token::Binding;

use super::Explanation;
use super::reading::{date, member, shown, shown_url, span};
use super::rules::Source;
use crate::secret::shortened;

/// Why a step failed, for people.
pub(super) struct Finding {
    pub(super) expected: String,
    pub(super) found: String,
    pub(super) remedy: String,
}

fn finding(expected: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { expected: expected.into(), found: found.into(), remedy: remedy.into() }
}

/// Why no captured request can show a reason, where none can.
pub const fn cannot_show(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::Replayed => Some("whether the jti was seen before is known to the gate's replay store alone"),
        Reason::KeyQuota | Reason::StoreUnavailable => {
            Some("whether the replay store has room, or answers, is the gate's own state")
        }
        Reason::UntrustedPeer => {
            Some("who asked a forward_auth listener does not stand in the request; --peer may say it")
        }
        Reason::MissingToken
        | Reason::MultipleCredentials
        | Reason::MissingProof
        | Reason::MultipleProofs
        | Reason::MalformedProof
        | Reason::WrongTyp
        | Reason::UnsupportedAlg
        | Reason::InvalidJwk
        | Reason::PrivateJwk
        | Reason::BadSignature
        | Reason::HtmMismatch
        | Reason::HtuMismatch
        | Reason::IatExpired
        | Reason::IatInFuture
        | Reason::NonceMissing
        | Reason::NonceInvalid
        | Reason::AthMismatch
        | Reason::KeyMismatch
        | Reason::MalformedToken
        | Reason::TokenSignature
        | Reason::TokenExpired
        | Reason::TokenNotYetValid
        | Reason::UnknownIssuer
        | Reason::WrongAudience
        | Reason::TokenNotBound
        | Reason::BoundTokenAsBearer
        | Reason::TokenInactive
        | Reason::InsufficientScope
        | Reason::ClaimMismatch
        | Reason::NoRoute
        | Reason::AmbiguousPath
        | Reason::MalformedRequest
        | Reason::ConflictingSources
        | Reason::TooLarge
        | Reason::IssuerUnavailable => None,
    }
}

impl Explanation<'_> {
    /// The row of a refusal: a total match, so that a new reason has to find its words.
    pub(super) fn finding(&self, refusal: Refusal) -> Finding {
        match refusal.reason() {
            Reason::NoRoute
            | Reason::AmbiguousPath
            | Reason::MalformedRequest
            | Reason::ConflictingSources
            | Reason::TooLarge
            | Reason::UntrustedPeer => self.of_request(refusal.reason()),
            Reason::MissingToken | Reason::MultipleCredentials => self.of_credentials(refusal.reason()),
            Reason::MissingProof
            | Reason::MultipleProofs
            | Reason::MalformedProof
            | Reason::WrongTyp
            | Reason::UnsupportedAlg
            | Reason::InvalidJwk
            | Reason::PrivateJwk
            | Reason::BadSignature => self.of_proof(refusal.reason()),
            Reason::HtmMismatch => finding(
                shown(self.method().as_str()),
                self.claim("htm"),
                "sign a proof for each request, with its own method, in the case that is sent",
            ),
            Reason::HtuMismatch => self.of_htu(),
            Reason::IatExpired | Reason::IatInFuture => self.of_age(refusal),
            Reason::NonceMissing | Reason::NonceInvalid => self.of_nonce(refusal.reason()),
            Reason::AthMismatch => self.of_token_hash(),
            Reason::KeyMismatch => finding(
                format!("the key that the token is bound to: cnf.jkt {}", self.token_key()),
                format!("the proof's key: {}", self.reading.proof_key().unwrap_or_default()),
                "sign with the key with which the token was asked for; a token that came to another key is of no use here",
            ),
            Reason::MalformedToken
            | Reason::TokenSignature
            | Reason::TokenExpired
            | Reason::TokenNotYetValid
            | Reason::UnknownIssuer
            | Reason::WrongAudience
            | Reason::TokenNotBound
            | Reason::BoundTokenAsBearer
            | Reason::TokenInactive
            | Reason::IssuerUnavailable => self.of_token(refusal.reason()),
            Reason::InsufficientScope | Reason::ClaimMismatch => self.of_grant(refusal.reason()),
            Reason::Replayed | Reason::KeyQuota | Reason::StoreUnavailable => {
                finding("a proof that was not used", "one that was", "make a proof for each request")
            }
        }
    }

    fn of_request(&self, reason: Reason) -> Finding {
        match reason {
            Reason::NoRoute => {
                let host = self.walk.target.as_ref().map(|target| format!(" at {}", target.host())).unwrap_or_default();
                finding(
                    format!("a route of the file: {}", self.routes()),
                    format!("{} {}{host}", shown(self.method().as_str()), shown(self.capture.uri.path())),
                    "add a route, or call a path that has one; a prefix ends in /, and the first match wins",
                )
            }
            Reason::AmbiguousPath => finding(
                "a path that every server reads alike",
                shown(self.capture.uri.path()),
                "send no `.` or `..` segment, `//`, `\\`, nor an encoded slash, backslash or NUL; and no `;` where it would \
                 choose another route",
            ),
            Reason::ConflictingSources => finding(
                "one answer to the question which URI the client addressed",
                format!("several: {}", self.sources()),
                "let the proxy in front replace Forwarded and X-Forwarded-* instead of adding to them, and send one Host",
            ),
            Reason::TooLarge => finding(
                format!("a body of up to {} bytes", self.rules.body_bytes),
                format!("one of {} bytes", self.capture.body_bytes),
                "send less, or raise `limits.body_bytes`",
            ),
            Reason::UntrustedPeer => finding(
                "a question by one of `trusted_proxies`",
                "somebody else, as --peer says",
                "name the proxy that asks under `trusted_proxies`; a forward_auth listener answers nobody else",
            ),
            _ => finding(
                "a Host header that names a host",
                "none, or one that is none",
                "send `Host: api.example.com`; a capture without its headers cannot be judged",
            ),
        }
    }

    fn of_credentials(&self, reason: Reason) -> Finding {
        let found = self.reading.authorization();
        if reason == Reason::MissingToken {
            let remedy = if *self.method() == http::Method::OPTIONS {
                "a browser's preflight carries no token: give the route `cors`, so that the gate answers it"
            } else {
                "get an access token, and send it as `Authorization: DPoP TOKEN`"
            };
            return finding("Authorization: DPoP and an access token", found, remedy);
        }
        let query = self.walk.target.as_ref().and_then(|target| target.query());
        let in_query = if query.is_some_and(|query| query.contains("access")) { "; and one in the query" } else { "" };
        finding(
            "one access token, in one Authorization header",
            format!("{found}{in_query}"),
            "send it once, and never in the query",
        )
    }

    fn of_proof(&self, reason: Reason) -> Finding {
        let algorithms = || {
            let names = self.rules.gate.proof.algorithms.iter().map(|algorithm| algorithm.name());
            names.collect::<Vec<_>>().join(", ")
        };
        match reason {
            Reason::MissingProof => finding(
                "one DPoP header with a proof",
                "none",
                "sign a proof for this request and send it as `DPoP: PROOF`; look whether a proxy on the way takes it off",
            ),
            Reason::MultipleProofs => finding(
                "one DPoP header",
                format!("{}", self.reading.proofs),
                "send it once; look whether a proxy or a library on the way adds another",
            ),
            Reason::MalformedProof => self.of_form(),
            Reason::WrongTyp => finding(
                "typ dpop+jwt",
                self.reading.proof_header("typ"),
                "say `\"typ\": \"dpop+jwt\"` in the proof's header; an access token is no proof",
            ),
            Reason::UnsupportedAlg => finding(
                format!("alg, one of {}", algorithms()),
                self.reading.proof_header("alg"),
                "sign with one of these, or allow it in `dpop.algorithms`; symmetric ones and `none` are never taken",
            ),
            Reason::InvalidJwk => finding(
                "a public key in jwk that alg can be used with: EC P-256 or P-384, OKP Ed25519, RSA of 2048 to 4096 bits",
                match self.reading.proof.as_ref().and_then(|proof| proof.header.get("jwk")) {
                    None => "no jwk".to_owned(),
                    Some(jwk) => format!("kty {}, crv {}", member(jwk.get("kty")), member(jwk.get("crv"))),
                },
                "put the public JWK of the signing key into the proof's header",
            ),
            Reason::PrivateJwk => finding(
                "the public members of the key alone",
                "a private or symmetric key, which is now known to whoever saw this request",
                "throw this key away, make another one, and send only its public members",
            ),
            _ => finding(
                "a signature by the key in jwk over header and claims as they were sent",
                "another one",
                "sign with the private half of the key in jwk, in the form of RFC 7518 (ECDSA: r and s, not DER), and \
                 send the text that was signed",
            ),
        }
    }

    /// What is wrong with a proof that cannot be read, as far as it can be told.
    fn of_form(&self) -> Finding {
        let found = match &self.reading.proof {
            None => "no three parts of base64url without padding, or more than 8 KiB".to_owned(),
            Some(proof) => {
                let missing: Vec<&str> =
                    ["jti", "htm", "htu", "iat"].into_iter().filter(|name| !proof.claims.contains_key(*name)).collect();
                if missing.is_empty() {
                    "a claim of another type, a jti that is empty or over 256 bytes, a member that stands twice, or \
                     `crit` in the header"
                        .to_owned()
                } else {
                    format!("no {}", missing.join(", no "))
                }
            }
        };
        finding(
            "a compact JWS of a JSON header and claims: jti, htm, htu (texts), iat (a number)",
            found,
            "let a library for DPoP make the proof, or `dpop-gate proof`",
        )
    }

    fn of_htu(&self) -> Finding {
        let Some(target) = &self.walk.target else { return finding("", "", "") };
        let expected = format!("{}{}", target.resource(), target.path());
        let Some(htu) = self.reading.proof_claim("htu") else { return finding(expected, "nothing", "") };
        let found = shown_url(htu);
        let remedy = match (Url::parse(htu), Url::parse(&expected)) {
            (None, _) | (_, None) => "say the absolute URL that is called, with scheme and host".to_owned(),
            (Some(said), Some(_)) if self.rules.source == Source::Rfc => {
                let scheme = if said.is_https() { "https" } else { "http" };
                let taken =
                    if self.capture.scheme.is_none() { "; the capture names no scheme, so https is taken" } else { "" };
                format!(
                    "sign for the URL that is called. Where the server stands behind a proxy and clients reach it at \
                     {scheme}://, it has to know that: judge by its file with --config{taken}"
                )
            }
            (Some(said), Some(seen)) => self.remedy_of_htu(&said, &seen),
        };
        finding(expected, found, remedy)
    }

    fn remedy_of_htu(&self, said: &Url, seen: &Url) -> String {
        let believed = if self.mentions_forwarding() && !self.peer_is_believed() {
            " (this request has forwarding headers, but its sender is no trusted proxy, or --peer does not say who it was)"
        } else {
            ""
        };
        let [name, seen_name] = [said, seen].map(|url| if url.is_https() { "https" } else { "http" });
        let ((_, host, port), (_, seen_host, seen_port)) = (said.origin(), seen.origin());
        if said.is_https() != seen.is_https() {
            return format!(
                "`htu` is {name}://..., and this gate takes itself to be reached at {seen_name}://...: if clients reach it at \
                 {name}://, set `public_url` or let your proxy be a trusted one (`trusted_proxies`){believed}; else sign for \
                 {seen_name}://"
            );
        }
        if (&host, port) != (&seen_host, seen_port) {
            return format!(
                "`htu` names {}:{port}, and the gate takes itself to be {}:{seen_port}: set `public_url` to the address that \
                 clients use, or let your proxy keep Host or be a trusted one{believed}; else sign for the address that is \
                 called",
                shown(&host),
                shown(&seen_host)
            );
        }
        let [path, seen_path] = [said, seen].map(|url| url.path());
        if path.len() > seen_path.len() && path.ends_with(seen_path) {
            let prefix = path.get(..path.len() - seen_path.len()).unwrap_or_default();
            return format!(
                "a proxy in front seems to take {} off the path: set `public_url` with that path in it",
                shown(prefix)
            );
        }
        "sign a proof for each request, with its own path: a slash at the end and the case of the path count".to_owned()
    }

    fn of_age(&self, refusal: Refusal) -> Finding {
        let policy = &self.rules.gate.proof;
        let Some(iat) = self.reading.proof.as_ref().and_then(|proof| proof.claims.get("iat")?.as_f64()) else {
            return finding("iat", "nothing", "");
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates; it is for people")]
        let made = Timestamp::from_secs(iat as u64);
        let at = format!("--at {}", made.as_secs());
        match refusal.reason() {
            Reason::IatInFuture => finding(
                format!(
                    "iat at or before {}: no further ahead than {}",
                    date(self.now + policy.clock_skew),
                    span(policy.clock_skew)
                ),
                format!("{}, {} ahead", date(made), span(made.since(self.now))),
                format!("set the client's clock, in whole seconds; judge as of the proof's own time with {at}"),
            ),
            _ if refusal == Refusal::Replay(ReplayError::BeforeFloor) => finding("", "", ""),
            _ => finding(
                format!(
                    "iat at or after {}: no older than {}",
                    date(self.now - policy.lifetime),
                    span(policy.lifetime)
                ),
                format!("{}, {} old", date(made), span(self.now.since(made))),
                format!(
                    "sign each request anew, and set the client's clock. A request that was captured earlier is judged as \
                     of then: {at}"
                ),
            ),
        }
    }

    fn of_nonce(&self, reason: Reason) -> Finding {
        let remedy = "take the nonce of the DPoP-Nonce header of this server's last answer, of a success too, and repeat the \
                      request once after use_dpop_nonce; each server has its own nonces";
        if reason == Reason::NonceMissing {
            return finding("a nonce that this gate gave", "no nonce", remedy);
        }
        let nonce = self.reading.proof_claim("nonce").unwrap_or_default();
        let said = self.rules.gate.nonces.as_ref().and_then(|nonces| nonces.check(nonce, self.now).err());
        let said = said.map(|error| format!(": {error}")).unwrap_or_default();
        finding(
            "a nonce that this gate gave, within `dpop.nonce.lifetime`",
            format!("{}{said}", shortened(nonce)),
            format!("{remedy}. Replicas need the same `dpop.nonce.secret_file`"),
        )
    }

    fn of_token_hash(&self) -> Finding {
        let found = match self.reading.proof_claim("ath") {
            Some(ath) => format!("ath {}", shortened(ath)),
            None => "no ath".to_owned(),
        };
        if self.walk.route.as_ref().is_some_and(|route| route.auth == Auth::TokenEndpoint) {
            return finding(
                "no ath: there is no access token at a token endpoint",
                found,
                "leave ath away in proofs for the token endpoint",
            );
        }
        finding(
            "ath: the base64url of the SHA-256 of the access token that goes along, without padding",
            found,
            "sign a proof for each token: take ath over the text of access_token, without the scheme",
        )
    }

    fn of_token(&self, reason: Reason) -> Finding {
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
                "look whether the file names the right source of keys for this issuer, and whether the token came whole",
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
                "one access token of letters, digits and -._~+/, a JWT of an accepted algorithm and type, or an opaque one \
                 of an issuer with `introspection`",
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
            "ask for the token with a proof at the token endpoint, so that it is bound (token_type DPoP); while clients \
             migrate, `auth: dpop_or_bearer` takes tokens without cnf under Bearer",
        )
    }

    fn of_grant(&self, reason: Reason) -> Finding {
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

    fn claim(&self, name: &str) -> String {
        self.reading.proof_claim(name).map_or_else(|| "nothing".to_owned(), shown)
    }

    fn token_key(&self) -> String {
        let jkt = self.reading.token.as_ref().and_then(|token| token.jkt());
        jkt.map_or_else(|| "as its issuer says".to_owned(), shown)
    }

    fn routes(&self) -> String {
        let paths = self.rules.gate.routes.iter().map(|route| match &route.matches.path {
            PathMatch::Exact(path) | PathMatch::Prefix(path) => path.as_str(),
        });
        paths.collect::<Vec<_>>().join(", ")
    }

    fn issuers(&self) -> String {
        self.rules.issuers.iter().map(|issuer| issuer.issuer.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn audiences(&self) -> String {
        let named = self.reading.token.as_ref().and_then(|token| token.text("iss"));
        let theirs = self.rules.issuers.iter().filter(|issuer| named.is_none_or(|name| name == issuer.issuer));
        theirs.flat_map(|issuer| &issuer.audiences).map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    fn sources(&self) -> String {
        let names = ["host", "forwarded", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"];
        let there = names.into_iter().flat_map(|name| {
            let values = self.capture.headers.get_all(name).iter();
            values.map(move |value| format!("{name}: {}", shown(&String::from_utf8_lossy(value.as_bytes()))))
        });
        there.collect::<Vec<_>>().join("; ")
    }

    pub(super) fn mentions_forwarding(&self) -> bool {
        let names = ["forwarded", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"];
        names.into_iter().any(|name| self.capture.headers.contains_key(name))
    }

    pub(super) fn peer_is_believed(&self) -> bool {
        self.peer.is_some_and(|ip| self.rules.gate.trust.proxies.iter().any(|net| net.contains(&ip)))
    }
}
