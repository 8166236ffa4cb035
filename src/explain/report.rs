//! The explanation as text.

use std::fmt;

use crate::clock::Timestamp;
use crate::dpop::Check;
use crate::gate::Step;
use crate::issuer::Source as TokenSource;
use crate::metrics::Reason;
use crate::policy::{Auth, Mode};

use super::reading::{date, shown, span};
use super::rules::{NonceKnowledge, Source};
use super::{Explanation, Form, cannot_show};

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        for (step, status) in self.steps() {
            let (rule, what) = named(step);
            writeln!(f, "{status:<11}  {rule:<9}  {what}")?;
            if status == FAILED {
                self.failure(f)?;
            }
            if status != NOT_REACHED {
                for unknown in self.unknown(step) {
                    writeln!(f, "{:24}unknown   {unknown}", "")?;
                }
            }
        }
        writeln!(f)?;
        f.write_str(&self.verdict())
    }
}

const PASSED: &str = "passed";
const FAILED: &str = "failed";
const NOT_REACHED: &str = "not reached";

impl Explanation<'_> {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match &self.walk.target {
            Some(target) => format!("{}{}", target.resource(), target.path()),
            None => self.capture.uri.path().to_owned(),
        };
        let method = shown(self.method().as_str());
        writeln!(f, "{method} {}, from {}, as of {}", shown(&url), self.capture.form.name(), date(self.now))?;
        let route = self.walk.route.as_ref();
        match (self.rules.source, route) {
            (Source::Rfc, Some(route)) if route.auth == Auth::TokenEndpoint => {
                writeln!(f, "judged by RFC 9449 alone, as a request to a token endpoint (section 5)")?;
            }
            (Source::Rfc, _) => {
                writeln!(f, "judged by RFC 9449 alone, as a request to a protected resource (section 7)")?;
            }
            (Source::Config, Some(route)) => {
                let auth = match route.auth {
                    Auth::Dpop => "dpop",
                    Auth::DpopOrBearer => "dpop_or_bearer",
                    Auth::Public => "public",
                    Auth::TokenEndpoint => "token_endpoint",
                };
                writeln!(f, "judged by the configuration; route {}, auth {auth}", route.metrics.label())?;
            }
            (Source::Config, None) => writeln!(f, "judged by the configuration")?,
        }
        if self.capture.form == Form::Command && self.capture.uri.path().contains("/.") {
            writeln!(f, "curl takes `.` and `..` out of the path before it sends (but for --path-as-is)")?;
        }
        writeln!(f)
    }

    /// Every step that this request was to take, and what became of it: those that were reached, then the rest.
    fn steps(&self) -> Vec<(Step, &'static str)> {
        let reached = &self.walk.steps;
        let last = reached.len().saturating_sub(1);
        let status = |at: usize| if at == last && self.walk.refusal.is_some() { FAILED } else { PASSED };
        let mut steps: Vec<_> = reached.iter().enumerate().map(|(at, step)| (*step, status(at))).collect();
        let auth = self.walk.route.as_ref().map_or(Auth::Dpop, |route| route.auth);
        let rest = Step::of(auth).into_iter().filter(|step| !reached.contains(step));
        steps.extend(rest.map(|step| (step, NOT_REACHED)));
        // What only a configuration can demand.
        let by_rfc = |step: Step| !matches!(step, Step::Route | Step::Size | Step::Granted);
        steps.retain(|(step, _)| self.rules.source == Source::Config || by_rfc(*step));
        steps
    }

    fn failure(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(refusal) = self.walk.refusal else { return Ok(()) };
        let finding = self.finding(refusal);
        writeln!(f, "{:24}reason    {}: {refusal}", "", refusal.reason().as_str())?;
        for (name, text) in [("expected", finding.expected), ("found", finding.found), ("remedy", finding.remedy)] {
            writeln!(f, "{:24}{name:<8}  {text}", "")?;
        }
        Ok(())
    }

    /// What nobody can know here of a step.
    fn unknown(&self, step: Step) -> Vec<String> {
        let by_rfc = self.rules.source == Source::Rfc;
        let text = match step {
            Step::Target if self.is_asked() && self.peer.is_none() => {
                "who asked: it is taken for a trusted proxy (say --peer IP)".to_owned()
            }
            Step::Target if self.mentions_forwarding() && self.peer.is_none() && !by_rfc => {
                "who sent this to the gate: its forwarding headers count if that is a trusted proxy (say --peer \
                 IP)"
                .to_owned()
            }
            Step::Proof(Check::Nonce) => return self.unknown_nonce().into_iter().collect(),
            Step::Token if by_rfc && self.reading.token.is_none() => {
                "whether the token is good, and what it is bound to: it is opaque, and only its issuer can \
                 tell"
                    .to_owned()
            }
            Step::Token if by_rfc => {
                "whether signature, issuer and audience are right: say --config FILE; its times and cnf are taken at \
                 its word"
                    .to_owned()
            }
            Step::Token if self.asks_issuers() && self.reading.token.is_none() => {
                "whether it was active then: the issuer says what is true now".to_owned()
            }
            Step::Bound if by_rfc && self.reading.token.is_none() => {
                "to which key: it is taken to be the proof's".to_owned()
            }
            Step::Unused => {
                let beyond = Reason::ALL
                    .iter()
                    .filter(|reason| !matches!(reason, Reason::UntrustedPeer) && cannot_show(**reason).is_some());
                let beyond: Vec<&str> = beyond.map(|reason| reason.as_str()).collect();
                format!(
                    "whether the jti was seen before, and what else the replay store would say ({}): none is opened, \
                     and nothing is spent",
                    beyond.join(", ")
                )
            }
            Step::Target
            | Step::Route
            | Step::Size
            | Step::Credentials
            | Step::Authentication
            | Step::Proof(_)
            | Step::Token
            | Step::Bound
            | Step::Granted => return Vec::new(),
        };
        vec![text]
    }

    fn unknown_nonce(&self) -> Option<String> {
        let nonce = self.reading.proof_claim("nonce").is_some();
        Some(match (self.rules.nonces, nonce) {
            (NonceKnowledge::Theirs, true) => "whether that server gave this nonce, and when",
            (NonceKnowledge::Theirs, false) => "whether that server demands a nonce; there is none here",
            (NonceKnowledge::Off, _) => return None,
            (NonceKnowledge::Random, _) if self.nonce_unjudged => {
                "whether the gate gave this nonce, and when: without `dpop.nonce.secret_file` its secret is random at \
                 each start, and no other process can tell"
            }
            (NonceKnowledge::Random, _) => return None,
            (NonceKnowledge::Secret, _) if self.walk.refusal.is_some_and(|refusal| {
                matches!(refusal.reason(), Reason::NonceMissing | Reason::NonceInvalid)
            }) => return None,
            (NonceKnowledge::Secret, _) => {
                "whether the gate was started since: with a memory store it takes no nonce from before"
            }
        }.to_owned())
    }

    /// Whether what is captured is a proxy's question at a forward_auth listener.
    fn is_asked(&self) -> bool {
        self.rules.question(&self.capture.headers).is_some()
    }

    /// Whether some issuer says of its tokens what is true now, whatever the time that is judged by.
    fn asks_issuers(&self) -> bool {
        self.rules.issuers.iter().any(|issuer| matches!(issuer.source, TokenSource::Introspection { .. }))
    }

    fn verdict(&self) -> String {
        if let Some(who) = self.walk.answered {
            return format!("no check is made: this is {who}");
        }
        let route = self.walk.route.as_deref();
        let Some(refusal) = self.walk.refusal else {
            return match route.map(|route| route.auth) {
                Some(Auth::Public) => "no check is made: the route is public".to_owned(),
                _ if !self.walk.steps.contains(&Step::Proof(Check::OneProof)) => {
                    "all checks passed, as far as a capture shows; a token without cnf needs no proof on this route"
                        .to_owned()
                }
                _ => format!("all checks passed, as far as a capture shows{}", self.age()),
            };
        };
        let reason = refusal.reason().as_str();
        if self.rules.source == Source::Rfc {
            return format!("refused: {reason}");
        }
        if route.is_some_and(|route| route.mode == Mode::Report) {
            return format!("refused: {reason}; but the route only reports, so the request goes upstream as it came");
        }
        let reply = self.rules.gate.refuse(refusal, route, self.walk.target.as_ref(), self.now);
        let body: serde_json::Value = serde_json::from_slice(reply.body()).unwrap_or_default();
        let error = body.get("error").and_then(serde_json::Value::as_str).unwrap_or_default();
        format!("refused: {reason}; the gate answers {} {error}", reply.status().as_u16())
    }

    fn age(&self) -> String {
        let iat = self.reading.proof.as_ref().and_then(|proof| proof.claims.get("iat")?.as_u64());
        let age = iat.map(|iat| self.now.since(Timestamp::from_secs(iat)));
        age.map(|age| format!("; the proof is {} old", span(age))).unwrap_or_default()
    }
}

/// Where the rule stands, and what it demands. The numbers are those of section 4.3; the order is the gate's, from free
/// to costly.
fn named(step: Step) -> (String, &'static str) {
    let proof = |check: Check| format!("4.3 ({})", check.number());
    let (rule, what) = match step {
        Step::Target => ("request", "it is clear which URI the client addressed"),
        Step::Route => ("gate", "a route matches"),
        Step::Size => ("gate", "the body is not too large"),
        Step::Credentials => ("7.1", "there is one access token, in Authorization"),
        Step::Authentication => ("gate", "there is one Authorization header at most"),
        Step::Token => ("7.1", "the access token is good: form, issuer, signature, audience, times"),
        Step::Bound => ("7.1", "the access token is bound to a key, and came under the DPoP scheme"),
        Step::Granted => ("gate", "the access token grants what the route requires"),
        Step::Unused => ("11.1", "the proof was not used before"),
        Step::Proof(check) => {
            return (
                proof(check),
                match check {
                    Check::OneProof => "there is one DPoP header",
                    Check::WellFormed => "its value is a well-formed JWT",
                    Check::Claims => "all required claims are there: jti, htm, htu, iat",
                    Check::Typ => "typ is dpop+jwt",
                    Check::Algorithm => "alg is asymmetric and accepted",
                    Check::NoPrivateKey => "jwk holds no private key",
                    Check::UsableKey => "jwk is a public key that alg can be used with",
                    Check::Method => "htm is the method of the request",
                    Check::Uri => "htu is the URI of the request",
                    Check::Age => "iat is recent",
                    Check::Nonce => "nonce is one that the server gave",
                    Check::TokenHash => "ath is the hash of the access token",
                    Check::OnCurve => "an EC key is a point of its curve",
                    Check::Binding => "the key is the one that the access token is bound to",
                    Check::Signature => "the signature verifies with jwk",
                },
            );
        }
    };
    (rule.to_owned(), what)
}
