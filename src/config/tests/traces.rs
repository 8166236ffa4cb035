//! `traces`.

use super::*;

#[test]
fn where_traces_go() {
    for (otlp, url) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("http://collector/otlp/", "http://collector/otlp/v1/traces"),
        ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
    ] {
        let text = GOOD.replace("issuers:", &format!("traces: {{otlp: '{otlp}', sample: 0.25}}\nissuers:"));
        let config = load_text(&text).unwrap();
        assert_eq!(config.warnings, []);
        let traces = config.traces.unwrap();
        assert_eq!((traces.url.htu(), traces.share, traces.service_name.as_str()), (url, 0.25, "dpop-gate"), "{otlp}");
    }
}

#[test]
fn a_share_may_be_written_as_a_whole_number_and_come_from_the_environment() {
    for (sample, share) in [("0", 0.0), ("1", 1.0), ("${SHARE:-0.5}", 0.5)] {
        let traces = format!("traces:\n  otlp: http://127.0.0.1:4318\n  sample: {sample}\nissuers:");
        assert_eq!(load_text(&GOOD.replace("issuers:", &traces)).unwrap().traces.unwrap().share, share);
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let rows: &[(&str, &str)] = &[
        ("{}", "3:1: traces.otlp: missing; expected text"),
        ("{otlp: collector}", "3:10: traces.otlp: no scheme in it; expected the URL of a collector"),
        ("{otlp: 'http://user:pass@c'}", "3:10: traces.otlp: a user name or password in it; expected"),
        ("{otlp: 'http://c/?key=1'}", "3:10: traces.otlp: a query in it; expected"),
        ("{otlp: 'http://c', service_name: ''}", "3:28: traces.service_name: empty; expected a name"),
        ("{otlp: 'http://c', sample: 1.5}", "3:28: traces.sample: out of bounds; expected a share from 0 to 1"),
        ("{otlp: 'http://c', sample: -0.1}", "3:28: traces.sample: out of bounds; expected a share from 0 to 1"),
        ("{otlp: 'http://c', sample: all}", "3:28: traces.sample: text; expected a number"),
        ("{otlp: 'http://c', headers_file: none}", "3:28: traces.headers_file: none: No such file"),
        ("{otlp: 'http://c', tls: {}}", "3:28: traces.tls: nothing is encrypted with this `otlp`; expected https"),
        ("{otlp: 'https://c', tls: {ca: none}}", "3:35: traces.tls.ca: none: No such file"),
        ("{otlp: 'https://c', tls: {client_key: k}}", "3:35: traces.tls.client_key: its certificate is missing"),
        ("{otel: 'http://c'}", "3:10: traces.otel: unknown key `otel`; did you mean `otlp`?"),
    ];
    let rows: Vec<(String, &str)> =
        rows.iter().map(|(traces, problem)| (format!("traces: {traces}\nissuers:"), *problem)).collect();
    refused(&rows.iter().map(|(text, problem)| ("issuers:", text.as_str(), *problem)).collect::<Vec<_>>());
}

#[test]
fn a_key_for_the_collector_is_no_word_for_everybody_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers");
    std::fs::write(&file, "X-Api-Key: correct horse battery staple\n\n  x-tenant:acme \n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for (otlp, told) in [("http://collector.internal", true), ("http://127.0.0.1:4318", false)] {
        let traces = format!("traces: {{otlp: '{otlp}', headers_file: {}}}\nissuers:", file.display());
        let config = load_text(&GOOD.replace("issuers:", &traces)).unwrap();
        let warned = config.warnings.iter().any(|problem| problem.key == "traces.headers_file");
        assert_eq!(warned, told, "{:?}", config.warnings);
        let shown = format!("{config:?}");
        assert!(!shown.contains("battery") && shown.contains("OtlpOptions"), "{shown}");
        let traces = config.traces.unwrap();
        assert_eq!(
            (&traces.headers["x-api-key"], &traces.headers["x-tenant"]),
            (&http::HeaderValue::from_static("correct horse battery staple"), &http::HeaderValue::from_static("acme"),)
        );
    }
}
