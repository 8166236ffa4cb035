//! A HAR file with one entry, one entry of it, or its `request` alone.

use http::HeaderMap;
use serde_json::Value;

use super::{Capture, CaptureError, Form, header};

/// Reads it. Of several entries the one with a `DPoP` header counts, if it is the only one.
pub(super) fn read(text: &str) -> Result<Capture, CaptureError> {
    let document: Value = serde_json::from_str(text).map_err(|_| CaptureError::NotAHar)?;
    let entries = match document.pointer("/log/entries").or(Some(&document)) {
        Some(Value::Array(entries)) => entries.iter().collect(),
        Some(entry) => vec![entry],
        None => Vec::new(),
    };
    let requests: Vec<&Value> = entries.into_iter().map(|entry| entry.get("request").unwrap_or(entry)).collect();
    let proven: Vec<&Value> = requests.iter().copied().filter(|request| has_proof(request)).collect();
    match (requests.as_slice(), proven.as_slice()) {
        ([request], _) | (_, [request]) => capture(request),
        ([], _) => Err(CaptureError::NotAHar),
        (several, []) => Err(CaptureError::Several(several.len())),
        (_, several) => Err(CaptureError::Several(several.len())),
    }
}

fn pairs(request: &Value) -> impl Iterator<Item = (&str, &str)> {
    let headers = request.get("headers").and_then(Value::as_array).into_iter().flatten();
    headers.filter_map(|header| Some((header.get("name")?.as_str()?, header.get("value")?.as_str()?)))
}

fn has_proof(request: &Value) -> bool {
    pairs(request).any(|(name, _)| name.eq_ignore_ascii_case("dpop"))
}

fn capture(request: &Value) -> Result<Capture, CaptureError> {
    let text = |name: &str| request.get(name).and_then(Value::as_str).ok_or(CaptureError::NotAHar);
    let (method, url) = (text("method")?, text("url")?);
    let mut headers = HeaderMap::new();
    // HTTP/2's own repeat what method and URL say.
    for (name, value) in pairs(request).filter(|(name, _)| !name.starts_with(':')) {
        let (name, value) = header(name, value).ok_or(CaptureError::NotAHar)?;
        headers.append(name, value);
    }
    let body = request.pointer("/postData/text").and_then(Value::as_str).unwrap_or_default();
    Capture::addressed(method, url, headers, u64::try_from(body.len()).unwrap_or(u64::MAX), Form::Har)
}
