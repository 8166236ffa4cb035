//! The signed identity assertion: a short JWT for upstreams that verify.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::jose::PrivateKey;
use crate::policy::Route;

use super::admit::Caller;
use super::identity::JKT_CLAIM;
use super::{Admission, Gate};

/// How the assertion is made.
#[derive(Debug)]
pub struct AssertionOptions {
    /// The header that carries it.
    pub header: HeaderName,
    /// What it is signed with.
    pub key: PrivateKey,
    /// `aud`; the upstream's name where absent.
    pub audience: Option<String>,
    /// How long it is valid.
    pub lifetime: Duration,
}

impl AssertionOptions {
    /// The key set under which upstreams verify it.
    pub(super) fn jwks(&self) -> Value {
        let public = self.key.public();
        let mut jwk = public.to_jwk();
        if let Value::Object(members) = &mut jwk {
            members.insert("kid".to_owned(), json!(public.thumbprint().to_string()));
            members.insert("alg".to_owned(), json!(self.key.algorithm().name()));
            members.insert("use".to_owned(), json!("sig"));
        }
        json!({ "keys": [jwk] })
    }
}

impl Gate {
    /// The assertion for an admission of somebody: the claims that the identity headers carry, under their own names,
    /// with `aud`, `iat`, `exp` and `jti` of the gate's.
    pub(super) fn assertion(
        &self,
        admission: &Admission,
        route: &Route,
        now: Timestamp,
    ) -> Option<(HeaderName, HeaderValue)> {
        let options = self.identity.assertion.as_ref()?;
        if matches!(admission.caller, Caller::Anyone) {
            return None;
        }
        let mut claims = Map::new();
        let told = self.identity.headers.iter().map(|(_, claim)| claim).filter(|claim| *claim != JKT_CLAIM);
        for claim in told {
            let Some(token) = admission.token() else { continue };
            // A name that itself has dots, as `https://acme.example/tenant`, is one name.
            if let Some(value) = token.member(claim) {
                claims.insert(claim.to_owned(), value.value());
            } else if let Some(value) = token.claim(claim) {
                insert_at(&mut claims, claim, value.value());
            }
        }
        if let Some(jkt) = admission.jkt() {
            claims.insert("cnf".to_owned(), json!({ "jkt": jkt.to_string() }));
        }
        let mut jti = [0; 16];
        if let Err(error) = getrandom::fill(&mut jti) {
            tracing::error!(%error, "no randomness for an identity assertion: it is left out");
            return None;
        }
        claims.insert("jti".to_owned(), json!(URL_SAFE_NO_PAD.encode(jti)));
        claims.insert("aud".to_owned(), json!(options.audience.as_deref().unwrap_or(&route.upstream)));
        claims.insert("iat".to_owned(), json!(now.as_secs()));
        claims.insert("exp".to_owned(), json!((now + options.lifetime).as_secs()));

        let header = json!({ "typ": "JWT", "kid": options.key.public().thumbprint().to_string() });
        let signed = options.key.sign_compact(header, &Value::Object(claims));
        let mut value = signed.ok().and_then(|jwt| HeaderValue::try_from(jwt).ok())?;
        value.set_sensitive(true);
        Some((options.header.clone(), value))
    }
}

/// `cnf.jkt` becomes `{"cnf": {"jkt": ...}}`, unless that member is taken.
fn insert_at(claims: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            claims.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = claims.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert_at(inner, rest, value);
            }
        }
    }
}
