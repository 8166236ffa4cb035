//! Proofs against the checklist: one row a way to be refused, refusals first.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::Timestamp;
use crate::jose::{Algorithm, PrivateKey, PublicKey, Thumbprint};
use crate::secret::{AccessToken, TokenDigest};
use crate::target::{Scheme, Target, Trust};

const NOW: u64 = 1_800_000_000;
const HTU: &str = "https://api.example.com/orders";

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate(Algorithm::Es256).unwrap());
static RSA: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::generate(Algorithm::Rs256).unwrap());

/// AWS-LC, and nothing beside it.
struct Library;

impl SignatureCheck for Library {
    fn check(&self, key: &PublicKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        key.verify(algorithm, message, signature)
    }
}

/// Takes the nonce "fresh".
struct Fresh;

impl NonceCheck for Fresh {
    fn check(&self, nonce: Option<&str>, _: Timestamp) -> Result<(), ProofError> {
        match nonce {
            Some("fresh") => Ok(()),
            Some(_) => Err(ProofError::NonceInvalid),
            None => Err(ProofError::NonceMissing),
        }
    }
}

/// An access token that is bound to this key, or to none.
struct Bound(Option<Thumbprint>);

impl BoundKey<Refused> for Bound {
    fn bound_key(&self) -> Option<&Thumbprint> {
        self.0.as_ref()
    }

    fn permits(&self) -> Result<(), Refused> {
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
enum Refused {
    Proof(ProofError),
    Token,
}

impl From<ProofError> for Refused {
    fn from(error: ProofError) -> Self {
        Self::Proof(error)
    }
}

/// A request with a proof, right in everything until a test changes something.
struct Case {
    header: Value,
    claims: Value,
    token: Option<AccessToken>,
    bound: Result<Option<Thumbprint>, Refused>,
    signature_first: bool,
    now: Timestamp,
}

fn right() -> Case {
    let token = AccessToken::new("the-token");
    Case {
        header: json!({"typ": "dpop+jwt", "jwk": KEY.public().to_jwk()}),
        claims: json!({
            "jti": "1", "htm": "POST", "htu": HTU, "iat": NOW, "nonce": "fresh", "ath": ath(&token.digest()),
        }),
        token: Some(token),
        bound: Ok(Some(*KEY.public().thumbprint())),
        signature_first: false,
        now: Timestamp::from_secs(NOW),
    }
}

fn ath(digest: &TokenDigest) -> String {
    URL_SAFE_NO_PAD.encode(digest.as_bytes())
}

fn policy() -> ProofPolicy {
    ProofPolicy {
        algorithms: vec![Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa],
        lifetime: Duration::from_secs(60),
        clock_skew: Duration::from_secs(15),
    }
}

/// What `verify` waits for here is always ready.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn headers(proofs: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for proof in proofs {
        headers.append("dpop", HeaderValue::from_bytes(proof).unwrap());
    }
    headers
}

/// The outcome, and whether the token was looked at.
fn outcome(case: Case, headers: &HeaderMap) -> (Result<VerifiedProof, Refused>, bool) {
    let target = Target::new(Scheme::Https, "api.example.com", "/orders?page=1", &Trust::default()).unwrap();
    let policy = policy();
    let expected = Expected {
        methods: &["POST"],
        target: &target,
        token: case.token.as_ref(),
        nonces: &Fresh,
        signatures: &Library,
        signature_first: &|| case.signature_first,
        policy: &policy,
        now: case.now,
    };
    let awaited = Cell::new(false);
    let token = async {
        awaited.set(true);
        case.bound.map(Bound)
    };
    let outcome = ready(verify(headers, &expected, token, |_| ())).map(|(proof, _)| proof);
    (outcome, awaited.get())
}

fn signed(case: &Case) -> String {
    KEY.sign_compact(case.header.clone(), &case.claims).unwrap()
}

fn judge(case: Case) -> (Result<VerifiedProof, Refused>, bool) {
    let proof = signed(&case);
    outcome(case, &headers(&[proof.as_bytes()]))
}

/// Signed by `KEY` over exactly these texts.
fn raw(header: &str, claims: &str) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = KEY.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn judge_text(proof: &str) -> Result<VerifiedProof, Refused> {
    outcome(right(), &headers(&[proof.as_bytes()])).0
}

#[test]
fn a_right_proof_passes() {
    let (proof, awaited) = judge(right());
    let proof = proof.unwrap();
    assert!(awaited);
    assert_eq!((proof.jti(), proof.iat(), proof.thumbprint()), ("1", NOW, KEY.public().thumbprint()));
    assert!(!format!("{proof:?}").contains("jti"));
}

#[test]
fn there_is_exactly_one_proof() {
    let proof = signed(&right());
    let proof = proof.as_bytes();
    let joined = [proof, b", ", proof].concat();
    let long = [proof, &[b'A'; MAX_PROOF_BYTES][..]].concat();
    for (what, values, error) in [
        ("none", &[][..], ProofError::Missing),
        ("two", &[proof, proof], ProofError::Multiple),
        ("a proof and an empty one", &[proof, b""], ProofError::Multiple),
        ("two in one field", &[&joined], ProofError::Malformed),
        ("an empty one", &[b""], ProofError::Malformed),
        ("no UTF-8", &[b"e30.e30.\xff"], ProofError::Malformed),
        ("a long one", &[&long], ProofError::Malformed),
        ("an unsecured one of two parts", &[b"e30.e30"], ProofError::Malformed),
    ] {
        let (refused, awaited) = outcome(right(), &headers(values));
        assert_eq!(refused.err(), Some(Refused::Proof(error)), "{what}");
        assert!(!awaited, "{what}: the token was looked at");
    }
}

/// Header members changed (`None`: left out), and what becomes of it.
#[test]
fn the_header_says_what_it_must() {
    use ProofError::{InvalidJwk, Malformed, PrivateJwk, UnsupportedAlg, WrongTyp};
    let jwk = KEY.public().to_jwk();
    let with = |name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        Some(jwk)
    };
    let without = |name: &str| {
        let mut jwk = jwk.clone();
        jwk.as_object_mut().unwrap().remove(name);
        Some(jwk)
    };
    let rows = [
        ("typ", None, WrongTyp),
        ("typ", Some(json!("JWT")), WrongTyp),
        ("typ", Some(json!("DPoP+JWT")), WrongTyp),
        ("typ", Some(json!("application/dpop+jwt")), WrongTyp),
        ("typ", Some(json!("dpop+jwt ")), WrongTyp),
        ("typ", Some(json!(["dpop+jwt"])), WrongTyp),
        ("typ", Some(Value::Null), WrongTyp),
        ("alg", None, UnsupportedAlg),
        ("alg", Some(json!("none")), UnsupportedAlg),
        ("alg", Some(json!("None")), UnsupportedAlg),
        ("alg", Some(json!("HS256")), UnsupportedAlg),
        ("alg", Some(json!("es256")), UnsupportedAlg),
        ("alg", Some(json!("ES256K")), UnsupportedAlg),
        ("alg", Some(json!("ES384")), UnsupportedAlg), // known, but not in the policy
        ("alg", Some(json!(256)), UnsupportedAlg),
        ("alg", Some(Value::Null), UnsupportedAlg),
        ("alg", Some(json!({"ES256": 1})), UnsupportedAlg),
        ("alg", Some(json!("RS256")), InvalidJwk), // in the policy, but not of this type of key
        ("alg", Some(json!("EdDSA")), InvalidJwk),
        ("jwk", None, InvalidJwk),
        ("jwk", Some(Value::Null), InvalidJwk),
        ("jwk", Some(json!("x")), InvalidJwk),
        ("jwk", Some(json!([jwk])), InvalidJwk),
        ("jwk", Some(json!({})), InvalidJwk),
        ("jwk", without("kty"), InvalidJwk),
        ("jwk", without("y"), InvalidJwk),
        ("jwk", with("crv", json!("P-521")), InvalidJwk),
        ("jwk", with("x", jwk["y"].clone()), InvalidJwk),
        ("jwk", with("alg", json!("RS256")), InvalidJwk),
        ("jwk", with("use", json!("enc")), InvalidJwk),
        ("jwk", with("d", json!("AA")), PrivateJwk),
        ("jwk", with("d", Value::Null), PrivateJwk),
        ("jwk", with("k", json!("AA")), PrivateJwk),
        ("jwk", with("qi", json!("AA")), PrivateJwk),
        ("jwk", Some(json!({"kty": "oct"})), PrivateJwk),
        ("crit", Some(json!(["exp"])), Malformed),
        ("crit", Some(json!([])), Malformed),
        ("b64", Some(json!(false)), Malformed),
        ("b64", Some(json!(true)), Malformed),
    ];
    for (name, value, error) in rows {
        let case = right();
        let mut header = case.header.clone();
        header["alg"] = json!("ES256");
        match &value {
            Some(value) => header[name] = value.clone(),
            None => drop(header.as_object_mut().unwrap().remove(name)),
        }
        let proof = raw(&header.to_string(), &case.claims.to_string());
        let (refused, awaited) = outcome(case, &headers(&[proof.as_bytes()]));
        assert_eq!(refused.err(), Some(Refused::Proof(error)), "{name}: {value:?}");
        assert!(!awaited, "{name}: the token was looked at");
    }
}

#[test]
fn the_claims_say_what_they_must() {
    use ProofError::{
        AthMismatch, HtmMismatch, HtuMismatch, IatExpired, IatInFuture, Malformed, NonceInvalid, NonceMissing,
    };
    let other = AccessToken::new("another-token").digest();
    let same = ath(&AccessToken::new("the-token").digest());
    let rows = [
        ("jti", None, Malformed),
        ("jti", Some(json!("")), Malformed),
        ("jti", Some(json!("x".repeat(MAX_JTI_BYTES + 1))), Malformed),
        ("jti", Some(json!(1)), Malformed),
        ("jti", Some(Value::Null), Malformed),
        ("htm", None, Malformed),
        ("htm", Some(json!(["POST"])), Malformed),
        ("htm", Some(json!("")), HtmMismatch),
        ("htm", Some(json!("post")), HtmMismatch),
        ("htm", Some(json!("GET")), HtmMismatch),
        ("htm", Some(json!("POST ")), HtmMismatch),
        ("htu", None, Malformed),
        ("htu", Some(json!(1)), Malformed),
        ("htu", Some(json!("")), HtuMismatch),
        ("htu", Some(json!("/orders")), HtuMismatch),
        ("htu", Some(json!("https://api.example.com/orders/")), HtuMismatch),
        ("iat", None, Malformed),
        ("iat", Some(json!(NOW.to_string())), Malformed),
        ("iat", Some(Value::Null), Malformed),
        ("iat", Some(json!([NOW])), Malformed),
        ("iat", Some(json!(NOW - 61)), IatExpired),
        ("iat", Some(json!(0)), IatExpired),
        ("iat", Some(json!(-1)), IatExpired),
        ("iat", Some(json!(i64::MIN)), IatExpired),
        ("iat", Some(json!(-1e300)), IatExpired),
        ("iat", Some(json!(0.5)), IatExpired),
        ("iat", Some(json!(NOW + 16)), IatInFuture),
        ("iat", Some(json!(NOW * 1000)), IatInFuture), // milliseconds
        ("iat", Some(json!(u64::MAX)), IatInFuture),
        ("iat", Some(json!(1e300)), IatInFuture),
        ("nonce", None, NonceMissing),
        ("nonce", Some(json!("stale")), NonceInvalid),
        ("nonce", Some(json!("")), NonceInvalid),
        ("nonce", Some(Value::Null), Malformed),
        ("nonce", Some(json!(1)), Malformed),
        ("ath", None, AthMismatch),
        ("ath", Some(json!("")), AthMismatch),
        ("ath", Some(json!(ath(&other))), AthMismatch),
        ("ath", Some(json!(format!("{same}="))), AthMismatch),
        ("ath", Some(json!(same[1..])), AthMismatch),
        ("ath", Some(json!("the-token")), AthMismatch),
        ("ath", Some(Value::Null), Malformed),
        ("ath", Some(json!({})), Malformed),
    ];
    for (name, value, error) in rows {
        let mut case = right();
        match &value {
            Some(value) => case.claims[name] = value.clone(),
            None => drop(case.claims.as_object_mut().unwrap().remove(name)),
        }
        let (refused, awaited) = judge(case);
        assert_eq!(refused.err(), Some(Refused::Proof(error)), "{name}: {value:?}");
        assert!(!awaited, "{name}: the token was looked at");
    }
    let text = raw(&header_text(), &right().claims.to_string().replace(&NOW.to_string(), "1e999"));
    assert_eq!(judge_text(&text).err(), Some(Refused::Proof(Malformed)), "an iat that is no number at all");
}

/// For a stranger's proof the gate does no arithmetic before all else is right (but for the few refusals of a second
/// that the status page shows with their keys).
#[test]
fn whether_a_key_is_on_its_curve_is_asked_after_all_that_takes_no_arithmetic() {
    let jwk = KEY.public().to_jwk();
    let mut off_curve = jwk.clone();
    off_curve["x"] = jwk["y"].clone();
    for (claim, error) in [
        ("nonce", ProofError::NonceMissing),
        ("ath", ProofError::AthMismatch),
        ("jti", ProofError::Malformed),
        ("none", ProofError::InvalidJwk),
    ] {
        let mut case = right();
        case.claims.as_object_mut().unwrap().remove(claim);
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": off_curve});
        let proof = raw(&header.to_string(), &case.claims.to_string());
        let (refused, awaited) = outcome(case, &headers(&[proof.as_bytes()]));
        assert_eq!((refused.err(), awaited), (Some(Refused::Proof(error)), false), "{claim}");
        assert_eq!(claimed_key(&headers(&[proof.as_bytes()])), None);
    }
}

fn header_text() -> String {
    json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.public().to_jwk()}).to_string()
}

#[test]
fn the_age_is_exact_to_the_microsecond() {
    let micro = Duration::from_micros(1);
    let iat = Timestamp::from_secs(NOW);
    for (now, error) in [
        (iat + Duration::from_secs(60), None),
        (iat + Duration::from_secs(60) + micro, Some(ProofError::IatExpired)),
        (iat - Duration::from_secs(15), None),
        (iat - Duration::from_secs(15) - micro, Some(ProofError::IatInFuture)),
    ] {
        let (result, _) = judge(Case { now, ..right() });
        assert_eq!(result.err(), error.map(Refused::Proof), "{now:?}");
    }
    for (claim, value, error) in [
        ("iat", json!(NOW as f64 + 15.5), Some(ProofError::IatInFuture)),
        ("iat", json!(NOW as f64 - 60.5), Some(ProofError::IatExpired)),
        ("exp", json!(NOW - 15), Some(ProofError::IatExpired)),
        ("exp", json!(NOW - 14), None),
        ("nbf", json!(NOW + 16), Some(ProofError::IatInFuture)),
        ("nbf", json!(NOW + 15), None),
        ("exp", json!("soon"), Some(ProofError::Malformed)),
    ] {
        let mut case = right();
        case.claims[claim] = value.clone();
        assert_eq!(judge(case).0.err(), error.map(Refused::Proof), "{claim} {value}");
    }
    for iat in [json!(1_800_000_000.9), json!(1.8e9)] {
        let mut case = right();
        case.claims["iat"] = iat;
        assert_eq!(judge(case).0.unwrap().iat(), NOW, "a fraction is cut off");
    }
}

#[test]
fn duplicate_members_are_refused_wherever_they_stand() {
    let header = header_text();
    let claims = right().claims.to_string();
    let first = |text: &str, member: &str| text.replacen('{', &format!("{{{member},"), 1);
    assert!(judge_text(&raw(&header, &claims)).is_ok());
    assert!(judge_text(&raw(&first(&header, r#""kid":"a""#), &first(&claims, r#""x":{"a":[1,{}]}"#))).is_ok());
    for (header, claims) in [
        (first(&header, r#""typ":"dpop+jwt""#), claims.clone()),
        (first(&header, r#""alg":"ES256""#), claims.clone()),
        (first(&header, r#""\u0061lg":"none""#), claims.clone()),
        (first(&header, r#""jwk":{}"#), claims.clone()),
        (header.replace(r#""kty":"EC""#, r#""kty":"EC","kty":"EC""#), claims.clone()),
        (first(&header, r#""kid":"a","kid":"a""#), claims.clone()),
        (first(&header, r#""x":[{"a":1,"a":1}]"#), claims.clone()),
        (header.clone(), first(&claims, r#""jti":"1""#)),
        (header.clone(), first(&claims, r#""htm":"POST""#)),
        (header.clone(), first(&claims, r#""htu":"x""#)),
        (header.clone(), first(&claims, r#""iat":1"#)),
        (header.clone(), first(&claims, r#""ath":"x""#)),
        (header.clone(), first(&claims, r#""nonce":"x""#)),
        (header.clone(), first(&claims, r#""x":1,"x":1"#)),
        (header.clone(), first(&claims, r#""x":{"y":{"z":1,"z":1}}"#)),
        (header.clone(), format!("{claims}{claims}")),
        (header.clone(), format!("[{claims}]")),
        (header.clone(), "null".to_owned()),
        (header.clone(), String::new()),
        (format!("{header} x"), claims.clone()),
        ("[]".to_owned(), claims.clone()),
        (header.clone(), first(&claims, &format!("\"x\":{}{}", "[".repeat(16), "]".repeat(16)))),
    ] {
        let refused = judge_text(&raw(&header, &claims)).err();
        assert_eq!(refused, Some(Refused::Proof(ProofError::Malformed)), "{header} {claims}");
    }
}

#[test]
fn the_binding_is_compared_before_the_signature_and_both_are() {
    let other = *RSA.public().thumbprint();
    let proof = signed(&right());
    let forged = format!("{}{}", proof.rsplit_once('.').unwrap().0, ".AAAA");
    let zeros = format!("{}.{}", proof.rsplit_once('.').unwrap().0, URL_SAFE_NO_PAD.encode([0; 64]));
    for (what, text, bound, error) in [
        ("a token refused", &proof, Err(Refused::Token), Refused::Token),
        ("another key's token", &proof, Ok(Some(other)), Refused::Proof(ProofError::KeyMismatch)),
        ("another key's token, forged", &forged, Ok(Some(other)), Refused::Proof(ProofError::KeyMismatch)),
        ("a token refused, forged", &forged, Err(Refused::Token), Refused::Token),
        ("forged", &forged, right().bound, Refused::Proof(ProofError::BadSignature)),
        ("r = s = 0 (CVE-2022-21449)", &zeros, right().bound, Refused::Proof(ProofError::BadSignature)),
    ] {
        let (refused, awaited) = outcome(Case { bound, ..right() }, &headers(&[text.as_bytes()]));
        assert_eq!(refused.err(), Some(error), "{what}");
        assert!(awaited, "{what}");
    }
}

#[test]
fn the_signature_comes_first_where_the_token_would_be_asked_about() {
    let proof = signed(&right());
    let forged = format!("{}{}", proof.rsplit_once('.').unwrap().0, ".AAAA");
    for (what, text, bound, error, asked) in [
        ("good", &proof, right().bound, None, true),
        ("a token refused", &proof, Err(Refused::Token), Some(Refused::Token), true),
        ("forged", &forged, Err(Refused::Token), Some(Refused::Proof(ProofError::BadSignature)), false),
    ] {
        let case = Case { bound, signature_first: true, ..right() };
        let (outcome, awaited) = outcome(case, &headers(&[text.as_bytes()]));
        assert_eq!((outcome.err(), awaited), (error, asked), "{what}");
    }
}

#[test]
fn a_signature_by_another_key_or_over_other_claims_is_none() {
    let case = right();
    let mut header = case.header.clone();
    header["alg"] = json!("ES256");
    let stranger = PrivateKey::generate(Algorithm::Es256).unwrap();
    let stolen = stranger.sign_compact(header.clone(), &case.claims).unwrap();
    assert_eq!(judge_text(&stolen).err(), Some(Refused::Proof(ProofError::BadSignature)));

    let (proof, other) = (signed(&case), {
        let mut other = right();
        other.claims["jti"] = json!("2");
        signed(&other)
    });
    let parts = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (proof, other) = (parts(&proof), parts(&other));
    let mixed = format!("{}.{}.{}", proof[0], other[1], proof[2]);
    assert_eq!(judge_text(&mixed).err(), Some(Refused::Proof(ProofError::BadSignature)));
}

#[test]
fn at_a_token_endpoint_an_ath_is_refused_and_no_key_is_demanded() {
    let at_endpoint = |ath: Option<Value>| {
        let mut case = Case { token: None, bound: Ok(None), ..right() };
        match ath {
            Some(ath) => case.claims["ath"] = ath,
            None => drop(case.claims.as_object_mut().unwrap().remove("ath")),
        }
        judge(case).0
    };
    assert!(at_endpoint(None).is_ok());
    for ath in [json!(""), right().claims["ath"].clone()] {
        assert_eq!(at_endpoint(Some(ath)).err(), Some(Refused::Proof(ProofError::AthMismatch)));
    }
}

#[test]
fn every_algorithm_of_the_policy_verifies_and_its_names_are_all_taken() {
    for (key, name) in [
        (&*RSA, "RS256"),
        (&PrivateKey::generate(Algorithm::EdDsa).unwrap(), "EdDSA"),
        (&PrivateKey::generate(Algorithm::EdDsa).unwrap(), "Ed25519"), // RFC 9864
    ] {
        let case = Case { bound: Ok(Some(*key.public().thumbprint())), ..right() };
        let header = json!({"typ": "dpop+jwt", "alg": name, "jwk": key.public().to_jwk()}).to_string();
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(case.claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()).unwrap());
        let (result, _) = outcome(case, &headers(&[format!("{input}.{signature}").as_bytes()]));
        assert_eq!(result.err(), None, "{name}");
    }
}

/// RFC 9449 sections 4.1 and 7.1, to the letter.
#[test]
fn the_proofs_of_the_rfc_pass() {
    const HEADER: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19";
    const AT_THE_TOKEN_ENDPOINT: &str = "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    const AT_THE_RESOURCE: &str = "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

    struct NoNonces;
    impl NonceCheck for NoNonces {
        fn check(&self, _: Option<&str>, _: Timestamp) -> Result<(), ProofError> {
            Ok(())
        }
    }
    let token = AccessToken::new("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU");
    let jkt = Thumbprint::parse(THUMBPRINT).unwrap();
    for (proof, method, authority, path, token, bound, jti, iat) in [
        (AT_THE_TOKEN_ENDPOINT, "POST", "server.example.com", "/token", None, None, "-BwC3ESc6acc2lTc", 1_562_262_616),
        (
            AT_THE_RESOURCE,
            "GET",
            "resource.example.org",
            "/protectedresource",
            Some(&token),
            Some(jkt),
            "e1j3V_bKic8-LAEB",
            1_562_262_618,
        ),
    ] {
        let target = Target::new(Scheme::Https, authority, path, &Trust::default()).unwrap();
        let expected = Expected {
            methods: &[method],
            target: &target,
            token,
            nonces: &NoNonces,
            signatures: &Library,
            signature_first: &|| false,
            policy: &policy(),
            now: Timestamp::from_secs(iat),
        };
        let headers = headers(&[format!("{HEADER}.{proof}").as_bytes()]);
        let token = async { Ok::<_, Refused>(Bound(bound)) };
        let (verified, _) = ready(verify(&headers, &expected, token, |_| ())).unwrap();
        assert_eq!((verified.jti(), verified.iat()), (jti, iat));
        assert_eq!(verified.thumbprint().to_string(), THUMBPRINT);
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "[A-Za-z0-9_.-]{0,200}|\\PC{0,60}") {
        let _ = Proof::split(&text).and_then(|compact| Proof::read(&compact, &Algorithm::ALL, |_| ()).map(|_| ()));
    }

    #[test]
    fn no_header_or_claims_panic(header in "\\PC{0,60}", claims in r#"\{("(jti|htm|htu|iat|ath|nonce|x)":("a"|1|-1|1e9|null|\[\]|\{\}),?){0,7}\}"#) {
        let text = format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(&header), URL_SAFE_NO_PAD.encode(&claims));
        let _ = Proof::read(&Proof::split(&text).unwrap(), &Algorithm::ALL, |_| ());
        let text = format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header_text()), URL_SAFE_NO_PAD.encode(&claims));
        if let Ok(proof) = Proof::read(&Proof::split(&text).unwrap(), &Algorithm::ALL, |_| ()) {
            // Whatever is taken reads the same to serde_json.
            let claims: Value = serde_json::from_str(&claims).unwrap();
            prop_assert_eq!(claims["jti"].as_str(), Some(&*proof.claims.jti));
            prop_assert_eq!(claims.get("ath").and_then(Value::as_str), proof.claims.ath.as_deref());
        }
    }

    #[test]
    fn a_proof_with_any_character_changed_is_refused(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.,=-]") {
        static PROOF: LazyLock<String> = LazyLock::new(|| signed(&right()));
        let at = at.index(PROOF.len());
        let changed = format!("{}{to}{}", &PROOF[..at], &PROOF[at + 1..]);
        prop_assert_eq!(judge_text(&changed).is_ok(), changed == *PROOF, "at {}", at);
    }
}
