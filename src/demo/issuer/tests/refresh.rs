//! Refresh tokens: rotated, and bound to the key of a client that has no secret.

use super::*;

fn refresh(token: &Value, more: &str) -> String {
    format!("grant_type=refresh_token&refresh_token={}{more}", token["refresh_token"].as_str().unwrap())
}

#[test]
fn each_use_gives_another_and_the_used_one_ends_the_grant() {
    let world = World::new();
    let first = body(&world.redeem(&world.code(""), &key(1)));
    let form = refresh(&first, "&client_id=demo-app");
    let second = world.form("/token", &key(1), &form);
    assert_eq!(second.status(), 200);
    let second = body(&second);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    assert_eq!(second["scope"], "orders.read");
    assert_eq!(world.verified(second["access_token"].as_str().unwrap()).1["sub"], "alice");

    assert_eq!(refused(&world.form("/token", &key(1), &form)), (400, "invalid_grant".to_owned()));
    let current = refresh(&second, "&client_id=demo-app");
    assert_eq!(refused(&world.form("/token", &key(1), &current)), (400, "invalid_grant".to_owned()));
    assert_eq!(world.introspected(second["access_token"].as_str().unwrap())["active"], false);
}

#[test]
fn a_public_clients_is_bound_to_its_key_and_survives_a_thief() {
    let world = World::new();
    let granted = body(&world.redeem(&world.code(""), &key(1)));
    let form = refresh(&granted, "&client_id=demo-app");
    for _ in 0..2 {
        assert_eq!(refused(&world.form("/token", &key(2), &form)), (400, "invalid_grant".to_owned()));
    }
    assert_eq!(world.form("/token", &key(1), &form).status(), 200);
}

#[test]
fn a_confidential_clients_is_bound_to_its_secret_and_follows_the_key() {
    let world = World::new();
    let back = sent_back(&world.decide(&request_of("demo-client"), "approve"));
    let form = redemption("demo-client", back.get("code").unwrap()).replace("client_id=demo-client&", "");
    let granted = body(&world.confidential("/token", &key(1), &form));
    let form = refresh(&granted, "");
    let by_public = world.form("/token", &key(1), &format!("{form}&client_id=demo-app"));
    assert_eq!(refused(&by_public), (400, "invalid_grant".to_owned()));
    let refreshed = world.confidential("/token", &key(2), &form);
    assert_eq!(refreshed.status(), 200, "{refreshed:?}");
    let token = body(&refreshed)["access_token"].as_str().unwrap().to_owned();
    assert_eq!(world.verified(&token).1["cnf"]["jkt"], key(2));
}

#[test]
fn less_may_be_asked_for_and_more_may_not() {
    let world = World::new();
    let both = request_of("demo-app").replace("scope=orders.read", "scope=orders.read%20orders.write");
    let back = sent_back(&world.decide(&both, "approve"));
    let granted = body(&world.redeem(back.get("code").unwrap(), &key(1)));
    let more = refresh(&granted, "&client_id=demo-app&scope=orders.read+admin");
    assert_eq!(refused(&world.form("/token", &key(1), &more)), (400, "invalid_scope".to_owned()));
    let less = body(&world.form("/token", &key(1), &refresh(&granted, "&client_id=demo-app&scope=orders.write")));
    assert_eq!(less["scope"], "orders.write");
    let all = body(&world.form("/token", &key(1), &refresh(&less, "&client_id=demo-app")));
    assert_eq!(all["scope"], "orders.read orders.write", "the grant itself is as it was");
}

#[test]
fn a_grant_is_over_after_an_hour_however_often_it_was_refreshed() {
    let world = World::new();
    let granted = body(&world.redeem(&world.code(""), &key(1)));
    world.pass(3599);
    let refreshed = body(&world.form("/token", &key(1), &refresh(&granted, "&client_id=demo-app")));
    world.pass(1);
    let late = world.form("/token", &key(1), &refresh(&refreshed, "&client_id=demo-app"));
    assert_eq!(refused(&late), (400, "invalid_grant".to_owned()));
}

#[test]
fn one_that_was_made_up_from_a_tokens_jti_ends_nothing() {
    let world = World::new();
    let granted = body(&world.redeem(&world.code(""), &key(1)));
    let access = granted["access_token"].as_str().unwrap();
    let jti = world.verified(access).1["jti"].as_str().unwrap().to_owned();
    let grant = jti.split('.').next().unwrap();
    for made_up in [format!("{grant}.0.AAAA"), format!("{grant}.1."), grant.to_owned(), format!("{grant}.1.AAAA.x")] {
        let form = format!("grant_type=refresh_token&client_id=demo-app&refresh_token={made_up}");
        assert_eq!(refused(&world.form("/token", &key(1), &form)), (400, "invalid_grant".to_owned()));
    }
    assert_eq!(world.introspected(access)["active"], true);
}
