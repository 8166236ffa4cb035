//! A legacy service: plain HTTP, no idea of OAuth. It believes headers, and shows what it was sent.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::serve::{self, Answer};

/// The service.
#[derive(Debug)]
pub(super) struct Legacy;

impl Answer for Legacy {
    fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        if request.uri().path() == "/healthz" {
            return serve::plain(StatusCode::OK, "ok\n");
        }
        serve::json(StatusCode::OK, &echo(&request))
    }
}

/// What the service was sent: all of it but the body's content.
fn echo(request: &Request<Bytes>) -> Value {
    let headers = request.headers();
    let caller = headers.get("x-auth-subject").and_then(|value| value.to_str().ok());
    json!({
        "message": match caller {
            Some(caller) => format!("Hello {caller}. I verify nothing: the gate does, and tells me who calls."),
            None => "Hello whoever you are. Nobody told me who calls.".to_owned(),
        },
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "query": request.uri().query(),
        "headers": readable(headers),
        "body_bytes": request.body().len(),
    })
}

/// Every header by its name; several of one name as a list, so that none is hidden.
fn readable(headers: &HeaderMap) -> BTreeMap<&str, Value> {
    headers
        .keys()
        .map(|name| {
            let text = |value: &http::HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
            let mut values: Vec<Value> = headers.get_all(name).iter().map(text).collect();
            let value = if values.len() == 1 { values.pop().unwrap_or_default() } else { Value::Array(values) };
            (name.as_str(), value)
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn every_header_is_shown_also_a_second_of_the_same_name() {
        let request = Request::post("http://legacy/orders?x=1")
            .header("X-Auth-Subject", "alice")
            .header("Cookie", "a=1")
            .header("Cookie", "b=2")
            .body(Bytes::from_static(b"12345"))
            .unwrap();
        let echoed = echo(&request);
        assert_eq!(echoed["headers"], json!({"x-auth-subject": "alice", "cookie": ["a=1", "b=2"]}));
        assert_eq!(echoed["query"], "x=1");
        assert_eq!(echoed["body_bytes"], 5);
        assert!(echoed["message"].as_str().unwrap().starts_with("Hello alice."));
    }

    #[test]
    fn without_the_gates_header_nobody_is_greeted() {
        let request = Request::get("http://legacy/").header("Authorization", "DPoP abc").body(Bytes::new()).unwrap();
        assert!(echo(&request)["message"].as_str().unwrap().starts_with("Hello whoever you are."));
    }
}
