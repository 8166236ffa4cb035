//! What people paste, and what nobody can read.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

/// Method, scheme, host, target, and the values of `authorization` and `dpop`.
fn told(text: &str) -> (String, Option<Scheme>, String, String, Vec<String>) {
    let capture = Capture::read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    let all = |name: &str| {
        let values = capture.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let credentials = [all("authorization"), all("dpop")].concat();
    (capture.method.to_string(), capture.scheme, all("host").join("+"), capture.uri.to_string(), credentials)
}

#[test]
fn garbage_is_one_clear_line() {
    use CaptureError::*;
    for (text, error) in [
        ("", Empty),
        (" \n\t\n", Empty),
        ("hello", NotARequest(1)),
        ("\n\nGET /", NotARequest(3)),
        ("GET / HTTP/x\n", NotARequest(1)),
        ("HTTP/1.1 200 OK\nserver: x", NotARequest(1)),
        ("GET / HTTP/1.1\nno header", NotAHeader(2)),
        ("GET / HTTP/1.1\na b: c", NotAHeader(2)),
        ("GET / HTTP/1.1\n:authority", NotAHeader(2)),
        ("G@T / HTTP/1.1\n", NotATarget),
        ("GET /a\\\"b\u{e9}<> HTTP/1.1\nhost: a", NotATarget),
        ("> GET /a HTTP/1.1\n> Host: a\n>\n< HTTP/1.1 401\n> GET /a HTTP/1.1\n> Host: a\n", Several(2)),
        ("curl", NoUrl),
        ("curl -H", NoUrl),
        ("curl --data", NoUrl),
        ("curl -H 'a: b", OpenQuote),
        ("curl \"a", OpenQuote),
        ("curl $'a", OpenQuote),
        ("curl http://a/ http://b/", Several(2)),
        ("curl \"http://a/$path\"", Substitution),
        ("curl -H \"DPoP: $(proof)\" http://a/", Substitution),
        ("curl -H `proof` http://a/", Substitution),
        ("curl ftp://a/", NotATarget),
        ("curl -X 'A B' http://a/", NotATarget),
        ("curl -H 'no header' http://a/", NotAHeader(1)),
        ("{", NotAHar),
        ("{}", NotAHar),
        ("[]", NotAHar),
        ("{\"log\":{\"entries\":[]}}", NotAHar),
        (r#"{"method":"GET"}"#, NotAHar),
        (r#"{"method":"GET","url":"/orders"}"#, NotATarget),
        (r#"[{"method":"GET","url":"http://a/"},{"method":"GET","url":"http://b/"}]"#, Several(2)),
    ] {
        assert_eq!(Capture::read(text.as_bytes()).err(), Some(error), "{text:?}");
    }
    assert_eq!(Capture::read(b"GET / HTTP/1.1\na: \xff").err(), Some(NotText));
    assert!(Capture::read(b"POST / HTTP/1.1\r\na: b\r\n\r\n\xff\xfe").is_ok(), "a body may be anything");
}

#[test]
fn the_same_request_is_read_from_every_form() {
    let raw = "POST /orders?a=1 HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: DPoP t\r\nDPoP: p\r\n\r\nx=1";
    let lines = raw.replace("\r\n", "\n");
    let verbose = "* Connected to api.example.com\n> POST /orders?a=1 HTTP/2\n> Host: api.example.com\n\
                   > authorization: DPoP t\n> dpop: p\n> content-length: 3\n> \n} [3 bytes data]\n< HTTP/2 401\n< dpop-nonce: n\n";
    let browser =
        "POST /orders?a=1 HTTP/2\n:authority: api.example.com\n:scheme: https\nauthorization: DPoP t\ndpop: p\n\nx=1";
    let with_command = format!("$ curl -v -H \"DPoP: $PROOF\" $URL\n{verbose}");
    for text in [&with_command, raw, &lines, &format!("\n\n{lines}"), verbose, browser] {
        let expected =
            ("POST".into(), None, "api.example.com".into(), "/orders?a=1".into(), vec!["DPoP t".into(), "p".into()]);
        assert_eq!(told(text), expected, "{text}");
        assert_eq!(Capture::read(text.as_bytes()).unwrap().body_bytes, 3, "{text}");
    }
    let bash = "curl 'https://api.example.com/orders?a=1#top' \\\n  -X 'POST' \\\n  -H 'Authorization: DPoP t' \\\n  \
                -H $'dpop: \\u0070' \\\n  --data-raw 'x=1' --compressed";
    let windows = "curl ^\"https://api.example.com/orders?a=1^\" ^\r\n  -H ^\"authorization: DPoP t^\" ^\r\n  \
                   -H ^\"dpop: p^\" ^\r\n  --data-raw ^\"x=1^\"";
    let short = "$ curl -sSXPOST -H \"Authorization: DPoP t\" -Hdpop:p -dx=1 https://api.example.com/orders?a=1 | jq .";
    let har = r#"{"log":{"entries":[
        {"request":{"method":"OPTIONS","url":"https://api.example.com/orders","headers":[]}},
        {"request":{"method":"POST","url":"https://api.example.com/orders?a=1","httpVersion":"h2","headers":[
            {"name":":authority","value":"api.example.com"},{"name":"authorization","value":"DPoP t"},
            {"name":"DPoP","value":"p"}],"postData":{"mimeType":"x","text":"x=1"}},"response":{}}]}}"#;
    for text in [bash, windows, short, har] {
        let expected = (
            "POST".into(),
            Some(Scheme::Https),
            "api.example.com".into(),
            "/orders?a=1".into(),
            vec!["DPoP t".into(), "p".into()],
        );
        assert_eq!(told(text), expected, "{text}");
        assert_eq!(Capture::read(text.as_bytes()).unwrap().body_bytes, 3, "{text}");
    }
}

#[test]
fn a_curl_command_is_read_as_curl_reads_it() {
    for (text, method, target, credentials) in [
        ("curl api.example.com", "GET", "/", vec![]),
        ("curl http://a.example?x=1", "GET", "/?x=1", vec![]),
        ("curl -I http://a.example/b", "HEAD", "/b", vec![]),
        ("curl -G -d x=1 -d y=2 http://a.example/b?z", "GET", "/b?z&x=1&y=2", vec![]),
        ("curl --json '{}' http://a.example/", "POST", "/", vec![]),
        ("curl -T file http://a.example/up", "PUT", "/up", vec![]),
        ("curl -F a=b http://a.example/", "POST", "/", vec![]),
        ("curl -u user:pw -X PATCH http://a.example/", "PATCH", "/", vec!["Basic dXNlcjpwdw=="]),
        ("curl http://user:pw@a.example/", "GET", "/", vec!["Basic dXNlcjpwdw=="]),
        ("curl --oauth2-bearer t --url http://a.example/ -m 5 --retry 3 -k", "GET", "/", vec!["Bearer t"]),
        (
            "curl -H 'authorization: DPoP a' -H 'Authorization: DPoP b' http://a.example/",
            "GET",
            "/",
            vec!["DPoP a", "DPoP b"],
        ),
        ("curl -H 'Accept:' -H 'X-Empty;' 'http://a.example/it'\\''s'", "GET", "/it's", vec![]),
    ] {
        let (found, _, _, uri, found_credentials) = told(text);
        assert_eq!(
            (found.as_str(), uri.as_str(), found_credentials),
            (method, target, credentials.into_iter().map(str::to_owned).collect()),
            "{text}"
        );
    }
    let absolute = told("GET https://a.example/b HTTP/1.1\nHost: a.example\n");
    assert_eq!((absolute.1, absolute.3.as_str()), (Some(Scheme::Https), "https://a.example/b"));
    let capture = Capture::read(b"curl -d a http://a.example/").unwrap();
    assert_eq!(capture.headers.get("content-type").unwrap(), "application/x-www-form-urlencoded");
    assert_eq!(Capture::read(b"curl -H 'Host: b' http://a.example/").unwrap().headers.get("host").unwrap(), "b");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Capture::read(&bytes);
    }

    #[test]
    fn no_command_panics(text in "curl( |'|\"|\\\\|\\$'|\\^\"|-[A-Za-z]|--data|--url|http://a/|\n|\u{e9}|x|:|@|\\?|;){0,30}") {
        let _ = Capture::read(text.as_bytes());
    }

    #[test]
    fn no_capture_panics(text in "(> )?(GET|POST|\\PC{0,3}) (/|\\*|http://a/|a:1)\\PC{0,10} HTTP/(1.1|2)\r?\n((> )?(Host|DPoP|:authority|Content-Length|\\PC{0,5}): ?\\PC{0,10}\r?\n){0,5}\r?\n\\PC{0,5}") {
        let _ = Capture::read(text.as_bytes());
    }

    #[test]
    fn no_json_panics(text in r#"[{\[](("(log|entries|request|method|url|headers|name|value|postData|text)":)?("GET"|"https://a/"|"a"|1|null|[{}\[\]]),?){0,12}"#) {
        let _ = Capture::read(text.as_bytes());
    }
}
