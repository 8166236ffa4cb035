//! `dpop.replay`: the store that replicas share.

use super::*;

#[test]
fn a_shared_store() {
    let rows: &[(&str, &str)] = &[
        (
            "{url: 'redis://:hunter2@cache/0'}",
            "3:39: dpop.replay.redis.url: a password that stands in the file; expected `password_file: PATH`",
        ),
        ("{url: 'cache:6379'}", "3:39: dpop.replay.redis.url: no scheme in it; expected redis://"),
        ("{url: 'redis://cache/x'}", "3:39: dpop.replay.redis.url: a database that is no number; expected"),
        ("{timeout: 20s}", "3:39: dpop.replay.redis.timeout: `20s` is out of bounds; expected 1ms to 10s"),
        (
            "{url: 'redis+cluster://cache', key_prefix: 'a{b:'}",
            "3:69: dpop.replay.redis.key_prefix: braces that are no hash tag; expected none, or some text between",
        ),
        ("{key_prefix: ''}", "3:39: dpop.replay.redis.key_prefix: empty; expected a prefix"),
        ("{tls: {}}", "3:39: dpop.replay.redis.tls: nothing is encrypted with this `url`; expected rediss://"),
        ("{url: 'rediss://cache', tls: {ca: none.crt}}", "3:68: dpop.replay.redis.tls.ca: none.crt: No such file"),
        ("{password_file: none}", "3:39: dpop.replay.redis.password_file: none: No such file"),
        ("{port: 6379}", "3:39: dpop.replay.redis.port: unknown key"),
        ("{}", "3:1: warning: dpop.nonce.secret_file: no secret: each replica makes its own"),
    ];
    for (redis, problem) in rows {
        let redis = format!("dpop: {{replay: {{store: redis, redis: {redis}}}}}\nissuers:");
        let lines = lines(&GOOD.replace("issuers:", &redis));
        assert!(lines.iter().any(|line| line.starts_with(problem)), "expected {problem}\nfound {lines:#?}");
    }
    let named = "dpop: {nonce: {secret_file: none}, replay: {store: redis, redis: {}}}\nissuers:";
    let lines = lines(&GOOD.replace("issuers:", named));
    assert!(lines.iter().any(|line| line.contains("dpop.nonce.secret_file: none: No such file")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("no secret: each replica")), "there is one: {lines:#?}");
    refused(&[
        (
            "issuers:",
            "dpop: {nonce: {mode: off}, replay: {store: redis, on_unavailable: memory}}\nissuers:",
            "3:51: warning: dpop.replay.on_unavailable: memory: while the store cannot be reached, a proof passes once",
        ),
        (
            "issuers:",
            "dpop: {replay: {on_unavailable: memory}}\nissuers:",
            "3:17: warning: dpop.replay.on_unavailable: not used: `store` is `memory`",
        ),
    ]);
}

#[test]
fn a_shared_stores_password_comes_from_the_environment_and_is_never_shown() {
    let text =
        GOOD.replace("issuers:", "dpop: {replay: {store: redis, redis: {url: 'redis://:${WORD}@cache/2'}}}\nissuers:");
    let lookup = |name: &str| (name == "WORD").then(|| "hunter2".to_owned());
    let config = read(Path::new("gate.yaml"), text.as_bytes(), &lookup, &mut BTreeSet::new()).unwrap();
    let place = &config.redis.as_ref().unwrap().place;
    assert_eq!(place.credentials.password.as_ref().unwrap().reveal(), b"hunter2");
    assert_eq!(place.database, 2);
    assert!(!format!("{config:?}").contains("hunter2"));
}
