//! The table: every way to be refused, where it happens, and what is sent for it.

use serde_json::{Value, json};

use super::super::harness::{
    AUDIENCE, Call, Client, Gates, Issuer, Jws, Key, Prepared, Upstream, World, now, settings,
};

/// Where it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// JWTs, nonces, a limit on bodies.
    Usual,
    /// Opaque tokens, by introspection.
    Opaque,
    /// The same, and the endpoint does not answer.
    IssuerDown,
    /// A replay store of 20 proofs.
    SmallStore,
    /// A proxy in front that is believed.
    BehindProxy,
    /// A forward_auth listener that trusts somebody else.
    ForwardAuth,
}

pub const STAGES: [Stage; 6] =
    [Stage::Usual, Stage::Opaque, Stage::IssuerDown, Stage::SmallStore, Stage::BehindProxy, Stage::ForwardAuth];

/// Proofs that the small store holds.
const SMALL: usize = 20;
/// Stands in everything that a client writes, and never in an answer.
pub(super) const CANARY: &str = "canary";
/// The usual request.
pub(super) const PATH: &str = "/orders/canary?q=canary";

pub struct Scene {
    pub world: World,
    pub(super) client: Client,
    /// Which of the issuer's tokens it has.
    pub(super) opaque: bool,
}

pub struct Row {
    pub stage: Stage,
    pub reason: &'static str,
    pub(super) status: u16,
    pub(super) error: &'static str,
    /// What goes wrong, in a word or two.
    pub what: &'static str,
    pub requests: Requests,
}

#[derive(Clone, Copy)]
pub enum Requests {
    /// One, which is refused.
    One(for<'a> fn(&'a Scene) -> Call<'a>),
    /// Some that pass, and a last one that is refused.
    Many(fn(&Scene) -> Vec<Prepared>),
}

const fn row(
    reason: &'static str,
    status: u16,
    error: &'static str,
    what: &'static str,
    call: for<'a> fn(&'a Scene) -> Call<'a>,
) -> Row {
    Row { stage: Stage::Usual, reason, status, error, what, requests: Requests::One(call) }
}

const fn after(
    reason: &'static str,
    status: u16,
    error: &'static str,
    what: &'static str,
    calls: fn(&Scene) -> Vec<Prepared>,
) -> Row {
    Row { stage: Stage::Usual, reason, status, error, what, requests: Requests::Many(calls) }
}

impl Row {
    const fn on(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }
}

impl Scene {
    pub(super) fn get(&self, path: &str) -> Call<'_> {
        self.client.get(path).header("x-canary", CANARY)
    }

    /// A request whose token is changed.
    fn token(&self, change: impl FnOnce(Jws) -> Jws) -> Call<'_> {
        self.get(PATH).token(change(self.world.issuer.token(&self.client.key)).compact())
    }

    /// A request whose proof is changed.
    fn proof(&self, change: impl FnOnce(Jws) -> Jws + Send + 'static) -> Call<'_> {
        self.get(PATH).proof(change)
    }

    /// A request to a token endpoint, good but for the change.
    fn token_endpoint(&self, change: impl FnOnce(Jws) -> Jws + Send + 'static) -> Call<'_> {
        let call = self.client.post("/token", "grant_type=client_credentials").header("x-canary", CANARY);
        call.authorization(&["Basic c2hvcDpzZWNyZXQ="]).proof(|proof| proof.without("ath")).proof(change)
    }

    /// Requests of other keys, with the same nonce, that fill the store with proofs of the near future.
    fn crowd(&self, keys: usize, each: usize) -> Vec<Prepared> {
        let ahead = |call: Call<'_>| call.proof(|proof| proof.claim("iat", now() + 10)).prepare();
        let clients = (0..keys).map(|_| {
            let other = self.world.stranger();
            other.remember(&self.client.nonce().unwrap());
            other
        });
        clients.flat_map(|client| (0..each).map(|_| ahead(client.get("/orders/x"))).collect::<Vec<_>>()).collect()
    }
}

fn rsa_jwk_of_1024_bits() -> Value {
    json!({"kty": "RSA", "e": "AQAB", "n": "s".repeat(171)})
}

/// The table. One row a rule; what is refused first stands first.
pub const ROWS: &[Row] = &[
    // Which request is it?
    row("no_route", 404, "not_found", "no route", |s| s.get("/canary")),
    row("no_route", 404, "not_found", "a prefix without its slash", |s| s.get("/orders")),
    row("ambiguous_path", 400, "invalid_request", "dot segments", |s| s.get("/orders/../canary")),
    row("ambiguous_path", 400, "invalid_request", "one dot", |s| s.get("/orders/./canary")),
    row("ambiguous_path", 400, "invalid_request", "encoded dots", |s| s.get("/orders/%2e%2E/canary")),
    row("ambiguous_path", 400, "invalid_request", "half encoded dots", |s| s.get("/orders/.%2e/canary")),
    row("ambiguous_path", 400, "invalid_request", "dots at the end", |s| s.get("/orders/canary/..")),
    row("ambiguous_path", 400, "invalid_request", "an empty segment", |s| s.get("/orders//canary")),
    row("ambiguous_path", 400, "invalid_request", "an encoded slash", |s| s.get("/orders/a%2fcanary")),
    row("ambiguous_path", 400, "invalid_request", "an encoded backslash", |s| s.get("/orders/a%5Ccanary")),
    row("ambiguous_path", 400, "invalid_request", "an encoded NUL", |s| s.get("/orders/a%00canary")),
    row("ambiguous_path", 400, "invalid_request", "a public path too", |s| s.get("/public/../orders/canary")),
    row("malformed_request", 400, "invalid_request", "no host", |s| s.get(PATH).header("host", "")),
    row("malformed_request", 400, "invalid_request", "a host that is none", |s| {
        s.get(PATH).header("host", "a b/canary")
    }),
    row("conflicting_sources", 400, "invalid_request", "two schemes", |s| {
        s.get(PATH).header("x-forwarded-proto", "https, http")
    })
    .on(Stage::BehindProxy),
    row("conflicting_sources", 400, "invalid_request", "two families of headers", |s| {
        s.get(PATH).header("x-forwarded-host", "a.example").header("forwarded", "host=b.example")
    })
    .on(Stage::BehindProxy),
    row("untrusted_peer", 403, "forbidden", "no trusted proxy", |s| s.get(PATH)).on(Stage::ForwardAuth),
    row("untrusted_peer", 403, "forbidden", "nor by saying so", |s| s.get(PATH).header("x-forwarded-for", "10.0.0.1"))
        .on(Stage::ForwardAuth),
    row("too_large", 413, "invalid_request", "a long body", |s| {
        s.client.post(PATH, vec![b'c'; 2048]).header("x-canary", CANARY)
    }),
    row("too_large", 413, "invalid_request", "a long body on a public route", |s| {
        s.client.post("/public/canary", vec![b'c'; 2048]).authorization(&[]).proofs(&[])
    }),
    // One token, one proof.
    row("missing_token", 401, "unauthorized", "no credentials", |s| s.get(PATH).authorization(&[]).proofs(&[])),
    row("multiple_credentials", 400, "invalid_request", "two headers", |s| {
        s.get(PATH).authorization(&["DPoP canary", "Bearer canary"])
    }),
    row("multiple_credentials", 400, "invalid_request", "header and query", |s| {
        s.get("/orders/canary?access_token=canary")
    }),
    row("missing_proof", 401, "invalid_dpop_proof", "no proof", |s| s.get(PATH).proofs(&[])),
    row("multiple_proofs", 401, "invalid_dpop_proof", "two proofs", |s| {
        let one = s.proof(|proof| proof).prepare();
        let proof = one.value_of("dpop");
        s.get(PATH).proofs(&[proof, proof])
    }),
    // The proof's form.
    row("malformed_proof", 401, "invalid_dpop_proof", "no JWT", |s| s.get(PATH).proofs(&["canary"])),
    row("malformed_proof", 401, "invalid_dpop_proof", "an empty header", |s| s.get(PATH).proofs(&[""])),
    row("malformed_proof", 401, "invalid_dpop_proof", "empty parts", |s| s.get(PATH).proofs(&[".."])),
    row("malformed_proof", 401, "invalid_dpop_proof", "too large", |s| {
        s.proof(|proof| proof.claim("padding", "c".repeat(9000)))
    }),
    row("malformed_proof", 401, "invalid_dpop_proof", "no jti", |s| s.proof(|proof| proof.without("jti"))),
    row("malformed_proof", 401, "invalid_dpop_proof", "a number for jti", |s| s.proof(|proof| proof.claim("jti", 1))),
    row("malformed_proof", 401, "invalid_dpop_proof", "a long jti", |s| {
        s.proof(|proof| proof.claim("jti", CANARY.repeat(50)))
    }),
    row("malformed_proof", 401, "invalid_dpop_proof", "no htm", |s| s.proof(|proof| proof.without("htm"))),
    row("malformed_proof", 401, "invalid_dpop_proof", "no htu", |s| s.proof(|proof| proof.without("htu"))),
    row("malformed_proof", 401, "invalid_dpop_proof", "no iat", |s| s.proof(|proof| proof.without("iat"))),
    row("malformed_proof", 401, "invalid_dpop_proof", "a word for iat", |s| {
        s.proof(|proof| proof.claim("iat", CANARY))
    }),
    row("malformed_proof", 401, "invalid_dpop_proof", "a list for nonce", |s| {
        s.proof(|proof| proof.claim("nonce", json!([CANARY])))
    }),
    row("malformed_proof", 401, "invalid_dpop_proof", "a claim twice", |s| {
        s.proof(|proof| proof.claims_text(|text| text.replacen('{', r#"{"htm":"POST","#, 1)))
    }),
    row("malformed_proof", 401, "invalid_dpop_proof", "a header member twice", |s| {
        s.proof(|proof| proof.header_text(|text| text.replacen('{', r#"{"typ":"canary","#, 1)))
    }),
    row("malformed_proof", 401, "invalid_dpop_proof", "claims that are no object", |s| {
        s.proof(|proof| proof.claims_text(|_| "[]".into()))
    }),
    row("wrong_typ", 401, "invalid_dpop_proof", "another typ", |s| s.proof(|proof| proof.header("typ", "JWT"))),
    row("wrong_typ", 401, "invalid_dpop_proof", "no typ", |s| s.proof(|proof| proof.without("typ"))),
    row("unsupported_alg", 401, "invalid_dpop_proof", "none", |s| s.proof(|proof| proof.header("alg", "none"))),
    row("unsupported_alg", 401, "invalid_dpop_proof", "symmetric", |s| s.proof(|proof| proof.header("alg", "HS256"))),
    row("unsupported_alg", 401, "invalid_dpop_proof", "unheard of", |s| s.proof(|proof| proof.header("alg", CANARY))),
    row("unsupported_alg", 401, "invalid_dpop_proof", "not in the policy", |s| {
        s.proof(|_| Jws::proof(&Key::of("ES384"), "GET", CANARY))
    }),
    row("invalid_jwk", 401, "invalid_dpop_proof", "no jwk", |s| s.proof(|proof| proof.without("jwk"))),
    row("invalid_jwk", 401, "invalid_dpop_proof", "a jwk that is no object", |s| {
        s.proof(|proof| proof.header("jwk", CANARY))
    }),
    row("invalid_jwk", 401, "invalid_dpop_proof", "a point off the curve", |s| {
        let mut jwk = s.client.key.jwk();
        jwk["y"] = jwk["x"].clone();
        s.proof(|proof| proof.header("jwk", jwk))
    }),
    row("invalid_jwk", 401, "invalid_dpop_proof", "a short coordinate", |s| {
        let mut jwk = s.client.key.jwk();
        jwk["x"] = json!("AAAA");
        s.proof(|proof| proof.header("jwk", jwk))
    }),
    row("invalid_jwk", 401, "invalid_dpop_proof", "a key of another type", |s| {
        s.proof(|proof| proof.header("jwk", Key::of("EdDSA").jwk()))
    }),
    row("invalid_jwk", 401, "invalid_dpop_proof", "a small RSA key", |s| {
        s.proof(|proof| proof.header("alg", "RS256").header("jwk", rsa_jwk_of_1024_bits()))
    }),
    row("private_jwk", 401, "invalid_dpop_proof", "a private key", |s| {
        let jwk = s.client.key.private_jwk();
        s.proof(|proof| proof.header("jwk", jwk))
    }),
    row("private_jwk", 401, "invalid_dpop_proof", "one prime of a private key", |s| {
        let mut jwk = s.client.key.jwk();
        jwk["p"] = json!(CANARY);
        s.proof(|proof| proof.header("jwk", jwk))
    }),
    // What the proof is for.
    row("htm_mismatch", 401, "invalid_dpop_proof", "another method", |s| s.proof(|proof| proof.claim("htm", "POST"))),
    row("htm_mismatch", 401, "invalid_dpop_proof", "another case", |s| s.proof(|proof| proof.claim("htm", "get"))),
    row("htu_mismatch", 401, "invalid_dpop_proof", "another path", |s| {
        let htu = format!("{}/orders/other", s.client.origin);
        s.proof(|proof| proof.claim("htu", htu))
    }),
    row("htu_mismatch", 401, "invalid_dpop_proof", "a slash at the end", |s| {
        let htu = format!("{}/orders/canary/", s.client.origin);
        s.proof(|proof| proof.claim("htu", htu))
    }),
    row("htu_mismatch", 401, "invalid_dpop_proof", "another case of the path", |s| {
        let htu = format!("{}/orders/CANARY", s.client.origin);
        s.proof(|proof| proof.claim("htu", htu))
    }),
    row("htu_mismatch", 401, "invalid_dpop_proof", "another host", |s| {
        s.proof(|proof| proof.claim("htu", "http://canary.example/orders/canary"))
    }),
    row("htu_mismatch", 401, "invalid_dpop_proof", "another scheme", |s| {
        let htu = format!("{}/orders/canary", s.client.origin.replace("http://", "https://"));
        s.proof(|proof| proof.claim("htu", htu))
    }),
    row("htu_mismatch", 401, "invalid_dpop_proof", "a path alone", |s| {
        s.proof(|proof| proof.claim("htu", "/orders/canary"))
    }),
    row("htu_mismatch", 401, "invalid_dpop_proof", "a host that a stranger claims", |s| {
        let call = s.proof(|proof| proof.claim("htu", "https://api.example/orders/canary"));
        call.header("x-forwarded-host", "api.example").header("x-forwarded-proto", "https")
    }),
    row("iat_expired", 401, "invalid_dpop_proof", "two minutes old", |s| {
        s.proof(|proof| proof.claim("iat", now() - 120))
    }),
    row("iat_expired", 401, "invalid_dpop_proof", "just over the lifetime", |s| {
        s.proof(|proof| proof.claim("iat", now() - 62))
    }),
    row("iat_in_future", 401, "invalid_dpop_proof", "two minutes ahead", |s| {
        s.proof(|proof| proof.claim("iat", now() + 120))
    }),
    row("nonce_missing", 401, "use_dpop_nonce", "no nonce", |s| s.proof(|proof| proof.without("nonce"))),
    row("nonce_invalid", 401, "use_dpop_nonce", "a nonce made up", |s| s.proof(|proof| proof.claim("nonce", CANARY))),
    row("nonce_invalid", 401, "use_dpop_nonce", "a nonce changed", |s| {
        let nonce = s.client.nonce().unwrap();
        let first = if nonce.starts_with('A') { "B" } else { "A" };
        s.proof(move |proof| proof.claim("nonce", format!("{first}{}", &nonce[1..])))
    }),
    row("ath_mismatch", 401, "invalid_dpop_proof", "another token's digest", |s| {
        s.proof(|proof| proof.claim("ath", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"))
    }),
    row("ath_mismatch", 401, "invalid_dpop_proof", "no digest", |s| s.proof(|proof| proof.without("ath"))),
    // The token.
    row("malformed_token", 401, "invalid_token", "no JWT", |s| s.get(PATH).token(CANARY)),
    row("malformed_token", 401, "invalid_token", "three words", |s| s.get(PATH).token("canary.canary.canary")),
    row("malformed_token", 401, "invalid_token", "unsigned", |s| s.token(|token| token.header("alg", "none"))),
    row("malformed_token", 401, "invalid_token", "a proof for a token", |s| {
        s.token(|token| token.header("typ", "dpop+jwt"))
    }),
    row("token_signature", 401, "invalid_token", "a spoiled signature", |s| s.token(Jws::spoiled)),
    row("token_signature", 401, "invalid_token", "another key's signature", |s| {
        s.token(|token| token.signed_by(&Key::es256()))
    }),
    row("token_signature", 401, "invalid_token", "an unknown key", |s| {
        s.token(|token| token.header("kid", CANARY).signed_by(&Key::es256()))
    }),
    row("token_expired", 401, "invalid_token", "expired", |s| s.token(|token| token.claim("exp", now() - 60))),
    row("token_not_yet_valid", 401, "invalid_token", "not yet valid", |s| {
        s.token(|token| token.claim("nbf", now() + 60))
    }),
    row("unknown_issuer", 401, "invalid_token", "a stranger", |s| {
        s.token(|token| token.claim("iss", "https://canary.example"))
    }),
    row("wrong_audience", 401, "invalid_token", "for others", |s| {
        s.token(|token| token.claim("aud", json!(["api://canary", "api://order"])))
    }),
    row("wrong_audience", 401, "invalid_token", "for nobody", |s| s.token(|token| token.without("aud"))),
    row("token_inactive", 401, "invalid_token", "not known", |s| s.get(PATH).token("canary-0123456789"))
        .on(Stage::Opaque),
    row("token_inactive", 401, "invalid_token", "revoked", |s| {
        s.get(PATH).token(s.world.issuer.opaque(json!({"active": false, "cnf": {"jkt": s.client.key.thumbprint()}})))
    })
    .on(Stage::Opaque),
    row("token_expired", 401, "invalid_token", "active, and yet expired", |s| {
        s.get(PATH).token(s.world.issuer.opaque(json!({
            "active": true, "aud": AUDIENCE, "exp": now() - 60, "cnf": {"jkt": s.client.key.thumbprint()},
        })))
    })
    .on(Stage::Opaque),
    row("token_not_bound", 401, "invalid_token", "active, and not bound", |s| {
        s.get(PATH).token(s.world.issuer.opaque(json!({"active": true, "aud": AUDIENCE, "exp": now() + 60})))
    })
    .on(Stage::Opaque),
    row("issuer_unavailable", 503, "temporarily_unavailable", "nobody answers", |s| {
        s.get(PATH).token(s.world.issuer.opaque_token(&s.client.key))
    })
    .on(Stage::IssuerDown),
    // The binding.
    row("token_not_bound", 401, "invalid_token", "no cnf", |s| s.token(|token| token.without("cnf"))),
    row("token_not_bound", 401, "invalid_token", "an empty cnf", |s| s.token(|token| token.claim("cnf", json!({})))),
    row("token_not_bound", 401, "invalid_token", "a cnf that is no object", |s| {
        s.token(|token| token.claim("cnf", CANARY))
    }),
    row("token_not_bound", 401, "invalid_token", "a jkt that is no word", |s| {
        s.token(|token| token.claim("cnf", json!({"jkt": 7})))
    }),
    row("token_not_bound", 401, "invalid_token", "a jkt that is no thumbprint", |s| {
        s.token(|token| token.claim("cnf", json!({"jkt": CANARY})))
    }),
    row("token_not_bound", 401, "invalid_token", "bound to a certificate alone", |s| {
        s.token(|token| token.claim("cnf", json!({"x5t#S256": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"})))
    }),
    row("token_not_bound", 401, "invalid_token", "bound to a certificate too, which is not there", |s| {
        let jkt = s.client.key.thumbprint();
        let cnf = json!({"jkt": jkt, "x5t#S256": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"});
        s.token(|token| token.claim("cnf", cnf))
    }),
    row("token_not_bound", 401, "invalid_token", "an unusable cnf under Bearer", |s| {
        let token = s.world.issuer.token(&s.client.key).claim("cnf", json!({})).compact();
        s.get("/mixed/canary").token(token).bearer()
    }),
    row("bound_token_as_bearer", 401, "invalid_token", "where bearer tokens are taken", |s| {
        s.get("/mixed/canary").bearer()
    }),
    row("bound_token_as_bearer", 401, "invalid_token", "with a proof", |s| {
        let bearer = format!("Bearer {}", s.client.token);
        s.get("/mixed/canary").authorization(&[&bearer])
    }),
    row("bound_token_as_bearer", 401, "invalid_token", "where they are not", |s| s.get(PATH).bearer()),
    row("key_mismatch", 401, "invalid_token", "somebody else's token", |s| {
        s.get(PATH).token(s.world.issuer.token(&Key::es256()).compact())
    }),
    // What it grants.
    row("insufficient_scope", 403, "insufficient_scope", "a scope is missing", |s| s.get("/scoped/canary")),
    row("insufficient_scope", 403, "insufficient_scope", "no scope at all", |s| {
        let token = s.world.issuer.token(&s.client.key).without("scope").compact();
        s.get("/scoped/canary").token(token)
    }),
    row("claim_mismatch", 403, "insufficient_scope", "a claim is missing", |s| s.get("/claims/canary")),
    row("claim_mismatch", 403, "insufficient_scope", "a claim is another", |s| {
        let token = s.world.issuer.token(&s.client.key).claim("tenant", CANARY).compact();
        s.get("/claims/canary").token(token)
    }),
    // The signature.
    row("bad_signature", 401, "invalid_dpop_proof", "a spoiled signature", |s| s.proof(Jws::spoiled)),
    row("bad_signature", 401, "invalid_dpop_proof", "another key's", |s| {
        s.proof(|proof| proof.signed_by(&Key::es256()))
    }),
    // The jti, last.
    after("replayed", 401, "invalid_dpop_proof", "the same again", |s| {
        let request = s.get(PATH).prepare();
        vec![request.clone(), request]
    }),
    after("replayed", 401, "invalid_dpop_proof", "the same jti in another proof", |s| {
        let request = || s.proof(|proof| proof.claim("jti", "the same canary")).prepare();
        vec![request(), request()]
    }),
    after("key_quota", 429, "too_many_requests", "one key fills the store", |s| {
        (0..=SMALL).map(|_| s.get("/orders/x").prepare()).collect()
    })
    .on(Stage::SmallStore),
    after("store_unavailable", 503, "temporarily_unavailable", "many keys fill it with fresh proofs", |s| {
        let mut requests = s.crowd(SMALL / 2, 2);
        requests.push(s.proof(|proof| proof.claim("iat", now() + 10)).prepare());
        requests
    })
    .on(Stage::SmallStore),
    // A token endpoint answers as an authorization server does.
    row("nonce_missing", 400, "use_dpop_nonce", "token endpoint, no nonce", |s| {
        s.token_endpoint(|proof| proof.without("nonce"))
    }),
    row("nonce_invalid", 400, "use_dpop_nonce", "token endpoint, a nonce made up", |s| {
        s.token_endpoint(|proof| proof.claim("nonce", CANARY))
    }),
    row("missing_proof", 400, "invalid_dpop_proof", "token endpoint, no proof", |s| {
        s.token_endpoint(|proof| proof).proofs(&[])
    }),
    row("bad_signature", 400, "invalid_dpop_proof", "token endpoint, a spoiled signature", |s| {
        s.token_endpoint(Jws::spoiled)
    }),
    row("ath_mismatch", 400, "invalid_dpop_proof", "token endpoint, an ath", |s| {
        s.token_endpoint(|proof| proof.claim("ath", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"))
    }),
    row("multiple_credentials", 400, "invalid_request", "token endpoint, two Authorization headers", |s| {
        s.token_endpoint(|proof| proof).authorization(&["Basic c2hvcDpzZWNyZXQ=", "Basic c2hvcDpzZWNyZXQ="])
    }),
    after("replayed", 400, "invalid_dpop_proof", "token endpoint, the same again", |s| {
        let request = s.token_endpoint(|proof| proof).prepare();
        vec![request.clone(), request]
    }),
];

pub async fn scene(stage: Stage) -> Scene {
    let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
    let mut settings = settings(&issuer, &upstream);
    settings["limits"]["body_bytes"] = json!("1KiB");
    settings["dpop"]["algorithms"] = json!(["ES256", "RS256", "EdDSA"]);
    settings["dpop"]["nonce"]["secret_file"] = json!("nonce.key");
    settings["dpop"]["proof_lifetime"] = json!("60s");
    settings["dpop"]["clock_skew"] = json!("15s");
    settings["routes"] = json!([
        {"name": "orders", "match": {"path": "/orders/"}, "upstream": "orders"},
        {"name": "mixed", "match": {"path": "/mixed/"}, "upstream": "orders", "auth": "dpop_or_bearer"},
        {"name": "public", "match": {"path": "/public/"}, "upstream": "orders", "auth": "public"},
        {"name": "scoped", "match": {"path": "/scoped/"}, "upstream": "orders",
         "require": {"scopes": ["orders.read", "orders.admin"]}},
        {"name": "claims", "match": {"path": "/claims/"}, "upstream": "orders",
         "require": {"claims": {"tenant": ["acme", "umbrella"]}}},
        {"name": "token", "match": {"path": "/token"}, "upstream": "orders", "auth": "token_endpoint"},
    ]);
    let opaque = matches!(stage, Stage::Opaque | Stage::IssuerDown);
    match stage {
        Stage::Usual => {}
        Stage::Opaque | Stage::IssuerDown => {
            let introspection = json!({"url": format!("{}/introspect", issuer.url()), "client_id": "gate",
                                       "client_secret_file": "introspection.secret", "timeout": "2s"});
            let issuer = settings["issuers"][0].as_object_mut().unwrap();
            issuer.remove("jwks_uri");
            issuer.remove("algorithms");
            issuer.insert("introspection".into(), introspection);
        }
        Stage::SmallStore => settings["dpop"]["replay"]["capacity"] = json!(SMALL),
        Stage::BehindProxy => settings["trusted_proxies"] = json!(["127.0.0.0/8"]),
        Stage::ForwardAuth => {
            settings["trusted_proxies"] = json!(["10.0.0.0/8"]);
            settings["listen"] =
                json!([{"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0", "mode": "forward_auth"}]);
        }
    }
    let gates = Gates::new(&settings);
    gates.write("introspection.secret", "the gate's own secret\n");
    let gate = gates.start().await;
    let mut client = Client::of(&gate, &issuer).greeted().await;
    if opaque {
        client.token = issuer.opaque_token(&client.key);
    }
    if stage == Stage::ForwardAuth {
        client = client.at_address(gate.forward_auth());
    }
    if stage == Stage::IssuerDown {
        issuer.take_down();
    }
    Scene { world: World { issuer, upstream, gates, gate }, client, opaque }
}
