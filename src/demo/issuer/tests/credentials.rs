//! Client authentication, `client_credentials`, and what every refusal of `/token` is called.

use http::header::CACHE_CONTROL;

use super::*;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const GRANT: &str = "grant_type=client_credentials";

fn basic_header(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[test]
fn every_refusal_has_the_error_that_rfc_6749_names() {
    let world = World::new();
    let key = key(7);
    let jkt = ("x-auth-jkt", key.as_str());
    let (good, wrong, other, public) = (
        basic_header("demo-client", &world.secret),
        basic_header("demo-client", "guess"),
        basic_header("other", &world.secret),
        basic_header("demo-app", ""),
    );
    let header = |value| ("authorization", value);
    let (good, wrong, other, public) = (header(&*good), header(&*wrong), header(&*other), header(&*public));
    let twice = format!("{GRANT}&client_id=demo-client&client_secret={}", world.secret);
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, u16, &'a str);
    let rows: &[Row<'_>] = &[
        (&[good, jkt], GRANT, 400, "invalid_request"),
        (&[good, jkt, ("content-type", "application/json")], "{}", 400, "invalid_request"),
        (&[good, jkt, FORM], "", 400, "invalid_request"),
        (&[good, jkt, FORM], "grant_type=%ff", 400, "invalid_request"),
        (&[good, jkt, FORM], "grant_type=client_credentials&grant_type=password", 400, "invalid_request"),
        (&[good, jkt, FORM], &twice, 400, "invalid_request"),
        (&[good, jkt, FORM], "grant_type=client_credentials&client_id=demo-app", 400, "invalid_request"),
        (&[good, good, jkt, FORM], GRANT, 400, "invalid_request"),
        (&[good, jkt, FORM], "grant_type=password", 400, "unsupported_grant_type"),
        (&[good, jkt, FORM], "grant_type=client_credentials&scope=admin", 400, "invalid_scope"),
        (&[good, jkt, FORM], "grant_type=client_credentials&scope=orders.read++orders.write", 400, "invalid_scope"),
        (&[good, jkt, FORM], "grant_type=authorization_code", 400, "invalid_request"),
        (&[good, jkt, FORM], "grant_type=refresh_token", 400, "invalid_request"),
        (&[good, jkt, FORM], "grant_type=refresh_token&refresh_token=made.1.up", 400, "invalid_grant"),
        (&[jkt, FORM], GRANT, 401, "invalid_client"),
        (&[wrong, jkt, FORM], GRANT, 401, "invalid_client"),
        (&[other, jkt, FORM], GRANT, 401, "invalid_client"),
        (&[public, jkt, FORM], GRANT, 401, "invalid_client"),
        (&[jkt, FORM], "grant_type=client_credentials&client_id=demo-client", 401, "invalid_client"),
        (&[jkt, FORM], "grant_type=client_credentials&client_id=demo-app", 400, "unauthorized_client"),
        (&[("authorization", "Bearer abc"), jkt, FORM], GRANT, 401, "invalid_client"),
        (&[("authorization", "Basic %%%"), jkt, FORM], GRANT, 401, "invalid_client"),
        (&[good, FORM], GRANT, 400, "invalid_dpop_proof"),
        (&[good, FORM, ("x-auth-jkt", "short")], GRANT, 400, "invalid_dpop_proof"),
        (&[good, FORM, jkt, jkt], GRANT, 400, "invalid_dpop_proof"),
    ];
    for (headers, form, status, error) in rows {
        let answer = world.post("/token", headers, form);
        assert_eq!(refused(&answer), (*status, (*error).to_owned()), "{headers:?} {form}");
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers().contains_key(WWW_AUTHENTICATE), *status == 401);
        assert!(!String::from_utf8_lossy(answer.body()).contains(&world.secret));
    }
}

#[test]
fn a_token_is_bound_to_the_key_whose_proof_was_checked() {
    let world = World::new();
    let basic = basic_header("demo-client", &world.secret);
    let jkt = key(7);
    let by_basic = [FORM, ("x-auth-jkt", &jkt), ("authorization", &basic)];
    let by_form = format!("{GRANT}&client_id=demo-client&client_secret={}", world.secret);
    for (answer, scope) in [
        (world.post("/token", &by_basic, "grant_type=client_credentials&scope=orders.read"), "orders.read"),
        (world.post("/token", &by_basic[..2], &by_form), "orders.read orders.write"),
    ] {
        assert_eq!(answer.status(), 200);
        let granted = body(&answer);
        assert_eq!((&granted["token_type"], &granted["expires_in"]), (&"DPoP".into(), &300.into()));
        assert!(granted.get("refresh_token").is_none(), "RFC 6749 section 4.4.3");
        let (header, claims) = world.verified(granted["access_token"].as_str().unwrap());
        assert_eq!(header["typ"], "at+jwt");
        assert_eq!(claims["cnf"], serde_json::json!({"jkt": jkt}));
        assert_eq!((&claims["iss"], &claims["aud"]), (&ORIGIN.into(), &"api://orders".into()));
        assert_eq!((&claims["sub"], &claims["client_id"]), (&"demo-client".into(), &"demo-client".into()));
        assert_eq!(claims["scope"], scope);
        assert_eq!((claims["iat"].as_u64(), claims["exp"].as_u64()), (Some(NOW.as_secs()), Some(NOW.as_secs() + 300)));
    }
}
