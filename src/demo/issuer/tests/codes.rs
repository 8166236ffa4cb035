//! `/authorize`, and what a code is good for.

use super::*;

#[test]
fn a_code_becomes_a_token_for_the_user_who_approved() {
    let world = World::new();
    let back = sent_back(&world.decide(&request_of("demo-app"), "approve"));
    assert_eq!((back.get("state"), back.get("iss")), (Some("a b"), Some(ORIGIN)), "RFC 9207");
    let granted = world.redeem(back.get("code").unwrap(), &key(1));
    assert_eq!(granted.status(), 200);
    let granted = body(&granted);
    assert_eq!(granted["scope"], "orders.read");
    let (_, claims) = world.verified(granted["access_token"].as_str().unwrap());
    assert_eq!((&claims["sub"], &claims["client_id"]), (&"alice".into(), &"demo-app".into()));
    assert_eq!(claims["cnf"]["jkt"], key(1));
}

#[test]
fn a_request_that_cannot_be_trusted_sends_nobody_anywhere() {
    let world = World::new();
    for query in [
        "".to_owned(),
        "client_id=%ff".to_owned(),
        request_of("stranger"),
        format!("{}&client_id=demo-app", request_of("demo-app")),
        format!("{}&redirect_uri={CALLBACK}", request_of("demo-app")),
        request_of("demo-app").replace(CALLBACK, ""),
        request_of("demo-app").replace(CALLBACK, "https://evil.example/callback"),
        request_of("demo-app").replace(CALLBACK, &format!("{CALLBACK}/")),
        request_of("demo-app").replace(CALLBACK, &format!("{CALLBACK}?x=1")),
        request_of("demo-app").replace("127.0.0.1:8080/callback", "127.0.0.1:8081/callback"),
        request_of("demo-app").replace("http://", "HTTP://"),
    ] {
        let answer = world.get(&format!("/authorize?{query}"));
        assert_eq!((answer.status().as_u16(), answer.headers().get(LOCATION)), (400, None), "{query}");
        assert!(String::from_utf8_lossy(answer.body()).contains("invalid_request"));
        assert!(!String::from_utf8_lossy(answer.body()).contains("evil"), "nothing is echoed");
    }
}

#[test]
fn every_other_mistake_goes_back_to_the_client_under_its_name() {
    let world = World::new();
    let good = request_of("demo-app");
    let with = |name: &str, value: &str| {
        let kept = good.split('&').filter(|pair| !pair.starts_with(&format!("{name}=")));
        kept.map(str::to_owned).chain([format!("{name}={value}")]).collect::<Vec<_>>().join("&")
    };
    let long = "s".repeat(2049);
    for (query, error) in [
        (with("response_type", ""), "invalid_request"),
        (with("response_type", "token"), "unsupported_response_type"),
        (with("response_type", "code%20id_token"), "unsupported_response_type"),
        (with("response_mode", "fragment"), "invalid_request"),
        (with("scope", "orders.read%20admin"), "invalid_scope"),
        (with("code_challenge", ""), "invalid_request"),
        (with("code_challenge", "short"), "invalid_request"),
        (with("code_challenge", &format!("{}=", challenge())), "invalid_request"),
        (with("code_challenge_method", ""), "invalid_request"),
        (with("code_challenge_method", "plain"), "invalid_request"),
        (with("dpop_jkt", "short"), "invalid_request"),
        (format!("{good}&scope=orders.read"), "invalid_request"),
        (with("state", &long), "invalid_request"),
    ] {
        let back = sent_back(&world.get(&format!("/authorize?{query}")));
        assert_eq!(back.get("error"), Some(error), "{query}");
        assert!(back.get("error_description").is_some() && back.get("code").is_none(), "{query}");
        assert_eq!(back.get("iss"), Some(ORIGIN), "{query}");
        let state = if query.contains(&long) { long.as_str() } else { "a b" };
        assert_eq!(back.get("state"), Some(state), "{query}");
    }
    let denied = sent_back(&world.decide(&good, "deny"));
    assert_eq!((denied.get("error"), denied.get("state")), (Some("access_denied"), Some("a b")));
}

#[test]
fn the_redirect_uri_keeps_its_own_query() {
    let world = World::new();
    let uri = "http://localhost:8080/callback?from=server";
    let answer = world
        .decide(&request_of("demo-app").replace(CALLBACK, "http://localhost:8080/callback?from%3Dserver"), "approve");
    let location = answer.headers()[LOCATION].to_str().unwrap();
    assert!(location.starts_with(&format!("{uri}&code=")), "{location}");
}

#[test]
fn a_decision_is_made_once_and_in_time() {
    let world = World::new();
    let page = |world: &World| {
        let page = world.get(&format!("/authorize?{}", request_of("demo-app")));
        let text = String::from_utf8(page.body().to_vec()).unwrap();
        text.split("name=\"request\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let decision = |name: &str| world.form("/authorize", "", &format!("request={name}&decision=approve"));
    let name = page(&world);
    assert_eq!(decision(&name).status(), 303);
    assert_eq!(decision(&name).status(), 400);
    let late = page(&world);
    world.pass(600);
    assert_eq!(decision(&late).status(), 400);
    assert_eq!(decision("made-up").status(), 400);
    assert_eq!(world.post("/authorize", &[], "request=x").status(), 400);
}

#[test]
fn the_page_lets_nothing_in_and_nobody_frame_it() {
    let world = World::new();
    let page = world.get(&format!("/authorize?{}&dpop_jkt={}", request_of("demo-app"), key(1)));
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    let form = format!("form-action 'self' {ORIGIN};");
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "style-src 'sha256-", &form] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(String::from_utf8_lossy(page.body()).contains(&key(1)), "the user sees which key it is for");
}

#[test]
fn a_code_is_bound_to_all_that_asked_for_it() {
    let world = World::new();
    let announced = format!("&dpop_jkt={}", key(1));
    for (what, change, jkt, error) in [
        ("another client", ("demo-app", "demo-client"), 1, "invalid_client"),
        ("another redirect URI", ("/callback", "/other"), 1, "invalid_grant"),
        ("no redirect URI", ("redirect_uri=", "redirect="), 1, "invalid_request"),
        ("another verifier", (VERIFIER, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXY"), 1, "invalid_grant"),
        ("the challenge itself", (VERIFIER, &challenge()), 1, "invalid_grant"),
        ("no verifier", ("code_verifier=", "verifier="), 1, "invalid_request"),
        ("no code", ("&code=", "&cod="), 1, "invalid_request"),
        ("another key than announced", ("", ""), 2, "invalid_grant"),
    ] {
        let code = world.code(&announced);
        let form = redemption("demo-app", &code).replace(change.0, change.1);
        let form = if change.0.is_empty() { redemption("demo-app", &code) } else { form };
        let answer = world.form("/token", &key(jkt), &form);
        assert_eq!(refused(&answer).1, error, "{what}");
        assert_eq!(world.redeem(&code, &key(1)).status(), 200, "{what}: the code stays its owner's");
    }
    let theirs = world.confidential(
        "/token",
        &key(1),
        &redemption("demo-client", &world.code("")).replace("client_id=demo-client&", ""),
    );
    assert_eq!(refused(&theirs), (400, "invalid_grant".to_owned()), "the other client, authenticated");
}

#[test]
fn a_code_without_an_announced_key_goes_to_the_key_that_redeems_it() {
    let world = World::new();
    let granted = body(&world.redeem(&world.code(""), &key(2)));
    assert_eq!(world.verified(granted["access_token"].as_str().unwrap()).1["cnf"]["jkt"], key(2));
}

#[test]
fn a_code_lives_for_a_minute() {
    let world = World::new();
    let (in_time, late) = (world.code(""), world.code(""));
    world.pass(59);
    assert_eq!(world.redeem(&in_time, &key(1)).status(), 200);
    world.pass(1);
    assert_eq!(refused(&world.redeem(&late, &key(1))), (400, "invalid_grant".to_owned()));
}

#[test]
fn a_code_that_comes_again_ends_everything_that_came_of_it() {
    let world = World::new();
    let code = world.code("");
    let granted = body(&world.redeem(&code, &key(1)));
    let token = |name: &str| granted[name].as_str().unwrap();
    assert_eq!(world.introspected(token("access_token"))["active"], true);
    assert_eq!(refused(&world.redeem(&code, &key(2))), (400, "invalid_grant".to_owned()));
    assert_eq!(world.introspected(token("access_token")), serde_json::json!({"active": false}));
    assert_eq!(world.introspected(token("refresh_token")), serde_json::json!({"active": false}));
}
