//! The proof.

use crate::client::Url;
use crate::clock::Timestamp;
use crate::explain::Explanation;
use crate::explain::reading::{date, member, shown, shown_url, span};
use crate::explain::rules::Source;
use crate::metrics::Reason;
use crate::policy::Auth;
use crate::secret::shortened;

use super::{Finding, finding};

impl Explanation<'_> {
    pub(super) fn of_proof(&self, reason: Reason) -> Finding {
        let algorithms = || {
            let names = self.rules.gate.proof.algorithms.iter().map(|algorithm| algorithm.name());
            names.collect::<Vec<_>>().join(", ")
        };
        match reason {
            Reason::MissingProof => finding(
                "one DPoP header with a proof",
                "none",
                "sign a proof for this request and send it as `DPoP: PROOF`; look whether a proxy on the way takes it \
                 off",
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
                "a public key in jwk that alg can be used with: EC P-256 or P-384, OKP Ed25519, RSA of 2048 to 4096 \
                 bits",
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

    pub(super) fn of_method(&self) -> Finding {
        finding(
            shown(self.method().as_str()),
            self.reading.proof_claim("htm").map_or_else(|| "nothing".to_owned(), shown),
            "sign a proof for each request, with its own method, in the case that is sent",
        )
    }

    pub(super) fn of_htu(&self) -> Finding {
        let Some(target) = &self.walk.target else { return finding("", "", "") };
        let expected = format!("{}{}", target.resource(), target.path());
        let Some(htu) = self.reading.proof_claim("htu") else { return finding(expected, "nothing", "") };
        let found = shown_url(htu);
        let remedy = match (Url::parse(htu), Url::parse(&expected)) {
            (None, _) | (_, None) => "say the absolute URL that is called, with scheme and host".to_owned(),
            (Some(said), Some(_)) if self.rules.source == Source::Rfc => {
                let scheme = if said.is_https() { "https" } else { "http" };
                let taken = if self.capture.scheme.is_none() {
                    ". The capture names no scheme, so https is taken: say --scheme http if it was called so"
                } else {
                    ""
                };
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
            " (this request has forwarding headers, but its sender is no trusted proxy, or --peer does not say who it \
             was)"
        } else {
            ""
        };
        let [name, seen_name] = [said, seen].map(|url| if url.is_https() { "https" } else { "http" });
        let ((_, host, port), (_, seen_host, seen_port)) = (said.origin(), seen.origin());
        if said.is_https() != seen.is_https() {
            return format!(
                "`htu` is {name}://..., and this gate takes itself to be reached at {seen_name}://...: if clients \
                 reach it at {name}://, set `public_url` or let your proxy be a trusted one \
                 (`trusted_proxies`){believed}; else sign for {seen_name}://"
            );
        }
        if (&host, port) != (&seen_host, seen_port) {
            return format!(
                "`htu` names {}:{port}, and the gate takes itself to be {}:{seen_port}: set `public_url` to the \
                 address that clients use, or let your proxy keep Host or be a trusted one{believed}; else sign for \
                 the address that is called",
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

    pub(super) fn of_age(&self, reason: Reason) -> Finding {
        let policy = &self.rules.gate.proof;
        let Some(iat) = self.reading.proof.as_ref().and_then(|proof| proof.claims.get("iat")?.as_f64()) else {
            return finding("iat", "nothing", "");
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates; it is for people")]
        let made = Timestamp::from_secs(iat as u64);
        let at = format!("--at {}", made.as_secs());
        // A proof needs no exp and no nbf; who puts them in is held to them.
        let (end, beginning) = (self.reading.proof_claim_text("exp"), self.reading.proof_claim_text("nbf"));
        if reason == Reason::IatExpired && self.now <= made + policy.lifetime {
            return finding("exp, where a proof has one, ahead", format!("exp {end}"), "leave exp out of the proof");
        }
        if reason == Reason::IatInFuture && made <= self.now + policy.clock_skew {
            return finding(
                "nbf, where a proof has one, past",
                format!("nbf {beginning}"),
                "leave nbf out of the proof",
            );
        }
        match reason {
            Reason::IatInFuture => finding(
                format!(
                    "iat at or before {}: no further ahead than {}",
                    date(self.now + policy.clock_skew),
                    span(policy.clock_skew)
                ),
                format!("{}, {} ahead", date(made), span(made.since(self.now))),
                format!("set the client's clock, in whole seconds; judge as of the proof's own time with {at}"),
            ),
            _ => finding(
                format!(
                    "iat at or after {}: no older than {}",
                    date(self.now - policy.lifetime),
                    span(policy.lifetime)
                ),
                format!("{}, {} old", date(made), span(self.now.since(made))),
                format!(
                    "sign each request anew, and set the client's clock. A request that was captured earlier is \
                     judged as of then: {at}"
                ),
            ),
        }
    }

    pub(super) fn of_nonce(&self, reason: Reason) -> Finding {
        let remedy = "take the nonce of the DPoP-Nonce header of this server's last answer, of a success too, and \
                      repeat the request once after use_dpop_nonce; each server has its own nonces";
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

    pub(super) fn of_token_hash(&self) -> Finding {
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
}
