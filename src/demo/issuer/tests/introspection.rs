//! `/introspect` and `/revoke`.

use super::*;

#[test]
fn a_live_token_is_described_and_a_dead_one_is_not() {
    let world = World::new();
    let granted = body(&world.redeem(&world.code(""), &key(1)));
    let (access, refresh) = (granted["access_token"].as_str().unwrap(), granted["refresh_token"].as_str().unwrap());
    let found = world.introspected(access);
    assert_eq!((&found["active"], &found["token_type"]), (&true.into(), &"DPoP".into()));
    assert_eq!((&found["sub"], &found["client_id"]), (&"alice".into(), &"demo-app".into()));
    assert_eq!(found["cnf"]["jkt"], key(1));
    assert_eq!(world.introspected(refresh)["cnf"]["jkt"], key(1));
    for unknown in ["x", "a.b.c", &access[..access.len() - 4], &format!("{refresh}x")] {
        assert_eq!(world.introspected(unknown), serde_json::json!({"active": false}), "{unknown}");
    }
    world.pass(300);
    assert_eq!(world.introspected(access), serde_json::json!({"active": false}));
    assert_eq!(world.introspected(refresh)["active"], true);
}

#[test]
fn asking_about_a_used_refresh_token_ends_nothing() {
    let world = World::new();
    let first = body(&world.redeem(&world.code(""), &key(1)));
    let used = first["refresh_token"].as_str().unwrap();
    let form = format!("grant_type=refresh_token&client_id=demo-app&refresh_token={used}");
    let second = body(&world.form("/token", &key(1), &form));
    assert_eq!(world.introspected(used), serde_json::json!({"active": false}));
    assert_eq!(world.introspected(second["refresh_token"].as_str().unwrap())["active"], true);
}

#[test]
fn only_a_client_with_a_secret_may_ask() {
    let world = World::new();
    for (path, form, status, error) in [
        ("/introspect", "token=x", 401, "invalid_client"),
        ("/introspect", "token=x&client_id=demo-app", 401, "invalid_client"),
        ("/introspect", "token=x&client_id=demo-client&client_secret=guess", 401, "invalid_client"),
        ("/revoke", "token=x", 401, "invalid_client"),
        ("/revoke", "client_id=demo-app", 400, "invalid_request"),
        ("/revoke", "token=x&token=y&client_id=demo-app", 400, "invalid_request"),
    ] {
        assert_eq!(refused(&world.form(path, "", form)), (status, error.to_owned()), "{path} {form}");
    }
    assert_eq!(refused(&world.confidential("/introspect", "", "hint=x")), (400, "invalid_request".to_owned()));
}

#[test]
fn revoking_either_token_ends_the_grant_and_only_its_client_can() {
    for which in ["access_token", "refresh_token"] {
        let world = World::new();
        let granted = body(&world.redeem(&world.code(""), &key(1)));
        let token = granted[which].as_str().unwrap();
        let foreign = world.confidential("/revoke", "", &format!("token={token}"));
        assert_eq!(refused(&foreign), (400, "invalid_grant".to_owned()), "{which}");
        assert_eq!(world.introspected(token)["active"], true);
        for _ in 0..2 {
            let answer = world.form("/revoke", "", &format!("token={token}&client_id=demo-app&token_type_hint=other"));
            assert_eq!(answer.status(), 200, "RFC 7009 section 2.2: also where it is unknown");
        }
        for token in [&granted["access_token"], &granted["refresh_token"]] {
            assert_eq!(world.introspected(token.as_str().unwrap())["active"], false, "{which}");
        }
    }
}
