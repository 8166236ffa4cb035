//! Which JWKs are taken, and what they verify.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::jose::PrivateKey;
use crate::jose::jwk::PRIVATE_MEMBERS;

/// RFC 7638 section 3.1.
const RFC7638: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
/// RFC 9449 section 4.1; its thumbprint is in section 6.1.
const RFC9449: &str = r#"{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}"#;
/// RFC 8037 appendix A.2.
const RFC8037: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn jwk(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn read(jwk: Value) -> Result<PublicKey, JwkError> {
    PublicKey::from_jwk(&StrictValue::from_value(jwk))
}

fn with(text: &str, name: &str, value: Value) -> Value {
    let mut jwk = jwk(text);
    jwk[name] = value;
    jwk
}

fn without(text: &str, name: &str) -> Value {
    let mut jwk = jwk(text);
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

/// An RSA JWK whose modulus has that many bits, all of them set.
fn rsa_of(bits: usize, e: &[u8]) -> Value {
    let mut n = vec![0xff; bits.div_ceil(8)];
    n[0] = u8::try_from(0xff >> (n.len() * 8 - bits)).unwrap();
    json!({"kty": "RSA", "n": encode(&n), "e": encode(e)})
}

#[test]
fn the_thumbprints_of_the_rfcs() {
    for (text, thumbprint) in [
        (RFC7638, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        (RFC9449, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
        (RFC8037, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ] {
        assert_eq!(read(jwk(text)).unwrap().thumbprint().to_string(), thumbprint);
    }
}

/// CVE-2026-54431 and pitfall 3: not only `d`, and not only where the `kty` would have it.
#[test]
fn private_and_symmetric_members_of_every_kind_are_refused() {
    for text in [RFC7638, RFC9449, RFC8037, r#"{"kty":"XX"}"#, "{}"] {
        for name in PRIVATE_MEMBERS {
            for value in [json!("AQAB"), json!(""), json!([]), Value::Null] {
                assert_eq!(read(with(text, name, value)).err(), Some(JwkError::Private), "{name} in {text}");
            }
        }
    }
    for text in [r#"{"kty":"oct"}"#, r#"{"kty":"oct","k":"AQAB"}"#] {
        assert_eq!(read(jwk(text)).err(), Some(JwkError::Private), "{text}");
    }
}

#[test]
fn what_is_no_key_is_refused() {
    use JwkError::{Malformed, Unsupported};
    let one = |name: &str| encode(&[&vec![0; 31][..], &[1]].concat()) + name;
    let p256_prime = "_____wAAAAEAAAAAAAAAAAAAAAD_______________8";
    let y = "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA";
    for (what, jwk, error) in [
        ("no object", json!("key"), Malformed),
        ("an array", json!([jwk(RFC9449)]), Malformed),
        ("no kty", without(RFC9449, "kty"), Malformed),
        ("kty is a number", with(RFC9449, "kty", json!(1)), Malformed),
        ("unknown kty", with(RFC9449, "kty", json!("AKP")), Unsupported),
        ("kty in lower case", with(RFC9449, "kty", json!("ec")), Unsupported),
        ("no crv", without(RFC9449, "crv"), Malformed),
        ("secp256k1", with(RFC9449, "crv", json!("secp256k1")), Unsupported),
        ("P-521", with(RFC9449, "crv", json!("P-521")), Unsupported),
        ("X25519 signs nothing", with(RFC8037, "crv", json!("X25519")), Unsupported),
        ("Ed448", with(RFC8037, "crv", json!("Ed448")), Unsupported),
        ("a P-256 key as P-384", with(RFC9449, "crv", json!("P-384")), Malformed),
        ("an EC key as OKP", with(RFC9449, "kty", json!("OKP")), Unsupported),
        ("an RSA key as EC", with(RFC7638, "kty", json!("EC")), Malformed),
        // points
        ("no x", without(RFC9449, "x"), Malformed),
        ("x is null", with(RFC9449, "x", Value::Null), Malformed),
        ("off the curve", with(RFC9449, "x", json!(one(""))), Malformed),
        ("the origin", json!({"kty":"EC","crv":"P-256","x":encode(&[0; 32]),"y":encode(&[0; 32])}), Malformed),
        ("x is the prime", with(RFC9449, "x", json!(p256_prime)), Malformed),
        ("31 bytes", with(RFC9449, "x", json!(encode(&[1; 31]))), Malformed),
        ("33 bytes", with(RFC9449, "y", json!(encode(&[&[0], &[1; 32][..]].concat()))), Malformed),
        ("empty", with(RFC9449, "y", json!("")), Malformed),
        ("padded", with(RFC9449, "y", json!(format!("{y}="))), Malformed),
        ("trailing bits", with(RFC9449, "y", json!(y.replace("RDA", "RDB"))), Malformed),
        ("plain base64", with(RFC9449, "y", json!(y.replace('_', "/"))), Malformed),
        ("white space", with(RFC9449, "y", json!(format!(" {}", &y[1..]))), Malformed),
        ("the negative point's y left out", with(RFC9449, "y", json!(encode(&[0xff; 32]))), Malformed),
        ("Ed25519 of 31 bytes", with(RFC8037, "x", json!(encode(&[9; 31]))), Malformed),
        ("Ed25519 of 33 bytes", with(RFC8037, "x", json!(encode(&[9; 33]))), Malformed),
        // RSA: sizes, before arithmetic
        ("1024 bits", rsa_of(1024, &[1, 0, 1]), Unsupported),
        ("2047 bits", rsa_of(2047, &[1, 0, 1]), Unsupported),
        ("4097 bits", rsa_of(4097, &[1, 0, 1]), Unsupported),
        ("16384 bits", rsa_of(16384, &[1, 0, 1]), Unsupported),
        ("an exponent of 40 bits", rsa_of(2048, &[1, 0, 0, 0, 1]), Unsupported),
        ("an exponent as long as the modulus", rsa_of(2048, &[0x7f; 256]), Unsupported),
        ("e = 1", rsa_of(2048, &[1]), Malformed),
        ("e = 0", rsa_of(2048, &[0]), Malformed),
        ("e even", rsa_of(2048, &[1, 0, 0]), Malformed),
        ("e with a leading zero", rsa_of(2048, &[0, 1, 0, 1]), Malformed),
        ("e empty", rsa_of(2048, &[]), Malformed),
        ("no e", without(RFC7638, "e"), Malformed),
        ("no n", without(RFC7638, "n"), Malformed),
        ("n empty", with(RFC7638, "n", json!("")), Malformed),
        ("n even", with(RFC7638, "n", json!(encode(&[0xfe; 256]))), Malformed),
        ("n with a leading zero", with(RFC7638, "n", json!(encode(&[&[0], &[0xff; 256][..]].concat()))), Malformed),
        // what the key says that it is for
        ("alg of another type", with(RFC9449, "alg", json!("RS256")), Unsupported),
        ("alg of another use", with(RFC9449, "alg", json!("ECDH-ES")), Unsupported),
        ("alg none", with(RFC9449, "alg", json!("none")), Unsupported),
        ("alg is a number", with(RFC9449, "alg", json!(256)), Malformed),
        ("alg is null", with(RFC9449, "alg", Value::Null), Malformed),
        ("for encryption", with(RFC9449, "use", json!("enc")), Unsupported),
        ("use is a list", with(RFC9449, "use", json!(["sig"])), Malformed),
        ("for no operation", with(RFC9449, "key_ops", json!([])), Unsupported),
        ("for other operations", with(RFC9449, "key_ops", json!(["deriveBits", "sign"])), Unsupported),
        ("key_ops is a string", with(RFC9449, "key_ops", json!("verify")), Malformed),
        ("key_ops holds a number", with(RFC9449, "key_ops", json!(["verify", 1])), Malformed),
    ] {
        assert_eq!(read(jwk).err(), Some(error), "{what}");
    }
}

/// Under each of these one signature fits many messages, which is shown first, so that no row is there for nothing.
#[test]
fn ed25519_keys_of_small_order_are_refused() {
    let mut rows: Vec<[u8; 32]> = Vec::new();
    let high = |first: u8| {
        let mut y = [0xff; 32];
        (y[0], y[31]) = (first, 0x7f);
        y
    };
    let low = |first: u8| {
        let mut y = [0; 32];
        y[0] = first;
        y
    };
    let order_8 = [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ]
    .map(|hex| std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()));
    rows.extend([low(0), low(1), high(0xec), high(0xed), high(0xee)]);
    rows.extend(order_8);
    // s = 0, and R the identity: what verifies if the digest times this key is the identity, too.
    let mut forged = [0; 64];
    forged[0] = 1;
    for x in rows {
        let key = UnparsedPublicKey::new(&ED25519, x);
        let forgeable = (0u8..=255).any(|message| key.verify(&[message], &forged).is_ok());
        let canonical = x != high(0xed) && x != high(0xee);
        assert!(forgeable || !canonical, "{x:x?} is no point of small order");
        for sign in [0, 0x80] {
            let mut x = x;
            x[31] |= sign;
            let refused = read(json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&x)}));
            assert_eq!(refused.err(), Some(JwkError::Malformed), "{x:x?}");
        }
    }
    assert!(!has_small_order(&low(2)) && !has_small_order(&high(0xeb)));
}

#[test]
fn members_that_are_not_of_the_key_are_ignored() {
    let plain = read(jwk(RFC9449)).unwrap();
    for (name, value) in [
        ("kid", json!("x")),
        ("jku", json!("https://evil.example/")),
        ("x5u", json!("https://evil.example/")),
        ("x5c", json!(["AA"])),
        ("ext", json!(true)),
        ("n", json!("AQAB")),
        ("alg", json!("ES256")),
        ("use", json!("sig")),
        ("key_ops", json!(["verify"])),
        ("key_ops", json!(["sign", "verify"])),
    ] {
        let key = read(with(RFC9449, name, value)).unwrap();
        assert_eq!(key.thumbprint(), plain.thumbprint(), "{name}");
    }
}

#[test]
fn sizes_at_the_bounds_are_taken() {
    for bits in [2048, 3072, 4096] {
        for e in [&[3][..], &[1, 0, 1], &[0xff; 4]] {
            assert!(read(rsa_of(bits, e)).is_ok(), "{bits} bits, e = {e:?}");
        }
    }
}

#[test]
fn the_keys_type_decides_the_algorithm() {
    use Algorithm::{EdDsa, Es256, Es384, Ps256, Rs256};
    let p384 = PrivateKey::generate(Es384).unwrap().public().to_jwk().to_string();
    for (jwk, allowed) in [
        (jwk(RFC9449), &[Es256][..]),
        (jwk(&p384), &[Es384]),
        (jwk(RFC8037), &[EdDsa]),
        (with(RFC8037, "alg", json!("Ed25519")), &[EdDsa]),
        (without(RFC7638, "alg"), &[Rs256, Ps256]),
        (jwk(RFC7638), &[Rs256]),
        (with(RFC7638, "alg", json!("PS256")), &[Ps256]),
    ] {
        let key = read(jwk.clone()).unwrap();
        for algorithm in Algorithm::ALL {
            assert_eq!(key.allows(algorithm), allowed.contains(&algorithm), "{algorithm} {jwk}");
        }
    }
}

#[test]
fn a_signature_of_every_algorithm_verifies_and_nothing_else_does() {
    for algorithm in Algorithm::ALL {
        let key = PrivateKey::generate(algorithm).unwrap();
        let public = read(key.public().to_jwk()).unwrap();
        assert_eq!(public.thumbprint(), key.public().thumbprint());
        let message = b"a message";
        let signature = key.sign(message).unwrap();
        let verify = |algorithm, message: &[u8], signature: &[u8]| {
            let by_library = public.verify(algorithm, message, signature);
            assert_eq!(public.verify_on(Curve::prepare(), algorithm, message, signature), by_library, "{algorithm}");
            by_library
        };
        assert!(verify(algorithm, message, &signature), "{algorithm}");

        assert!(!verify(algorithm, b"another message", &signature), "{algorithm}");
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            assert!(!verify(other, message, &signature), "{algorithm} taken as {other}");
        }
        let longer = [&signature[..], &[0]].concat();
        let zeros = vec![0; signature.len()];
        for (what, bad) in [
            ("empty", &[][..]),
            ("short", &signature[1..]),
            ("long", &longer),
            ("zeros", &zeros),
            ("ones", &vec![0xff; signature.len()]),
        ] {
            assert!(!verify(algorithm, message, bad), "{algorithm}: {what}");
        }
        for at in (0..signature.len()).step_by(7) {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!verify(algorithm, message, &changed), "{algorithm}: byte {at}");
        }
    }
}

/// RFC 7518 section 3.4: `r || s`, never DER; and neither half may be zero or the order, whatever the other is.
#[test]
fn an_ecdsa_signature_has_one_form() {
    let key = PrivateKey::generate(Algorithm::Es256).unwrap();
    let signature = key.sign(b"m").unwrap();
    let verify = |signature: &[u8]| {
        let by_curve = key.public().verify_on(Curve::prepare(), Algorithm::Es256, b"m", signature);
        key.public().verify(Algorithm::Es256, b"m", signature) || by_curve
    };
    let der = p256::ecdsa::Signature::from_slice(&signature).unwrap().to_der();
    assert!(!verify(der.as_bytes()));
    let order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    for bad in [[0; 32], order] {
        for changed in [[&bad[..], &signature[32..]], [&signature[..32], &bad[..]]] {
            assert!(!verify(&changed.concat()), "{bad:x?}");
        }
    }
}

/// RFC 8037 appendix A.4.
#[test]
fn the_signature_of_rfc_8037_verifies() {
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert!(read(jwk(RFC8037)).unwrap().verify(Algorithm::EdDsa, message, &signature));
}

#[test]
fn debug_names_the_key_and_no_more() {
    let text = format!("{:?}", read(jwk(RFC9449)).unwrap());
    assert_eq!(text, "PublicKey(Thumbprint(0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I))");
}

proptest! {
    #[test]
    fn any_members_never_panic_and_what_is_taken_reads_the_same_again(
        kty in "EC|OKP|RSA|oct|x",
        crv in "P-256|P-384|Ed25519|x",
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 4),
    ) {
        let encoded: Vec<_> = values.iter().map(|value| encode(value)).collect();
        let jwk = json!({"kty": kty, "crv": crv, "x": encoded[0], "y": encoded[1], "n": encoded[2], "e": encoded[3]});
        if let Ok(key) = read(jwk) {
            prop_assert_eq!(*read(key.to_jwk()).unwrap().thumbprint(), *key.thumbprint());
        }
    }

    #[test]
    fn an_ed25519_key_keeps_its_thumbprint_through_its_jwk(x in any::<[u8; 32]>(), kid in "\\PC{0,8}") {
        let jwk = json!({"kid": kid, "x": encode(&x), "crv": "Ed25519", "kty": "OKP"});
        let key = read(jwk).unwrap();
        prop_assert_eq!(key.to_jwk(), json!({"crv": "Ed25519", "kty": "OKP", "x": encode(&x)}));
        prop_assert_eq!(*read(key.to_jwk()).unwrap().thumbprint(), *key.thumbprint());
    }

    #[test]
    fn random_coordinates_are_never_a_point(x in any::<[u8; 32]>(), y in any::<[u8; 32]>()) {
        let refused = read(json!({"kty": "EC", "crv": "P-256", "x": encode(&x), "y": encode(&y)}));
        prop_assert_eq!(refused.err(), Some(JwkError::Malformed));
    }
}
