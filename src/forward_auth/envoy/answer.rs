//! A verdict as a `CheckResponse`.

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue as RawValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::rpc;
use http::header::VARY;
use http::{HeaderMap, HeaderName, StatusCode};
use tonic::Code;

use crate::forward_auth::Verdict;
use crate::forward_auth::permit::Permit;
use crate::gate::Reply;

/// `headers`: those of the request, of which nothing is told that stays as it is.
pub(super) fn of(verdict: Verdict, headers: &HeaderMap) -> CheckResponse {
    match verdict {
        Verdict::Permit(permit) => permitted(&permit, headers),
        Verdict::Answer(reply, _) | Verdict::Refuse(reply) => answered(&reply),
    }
}

fn permitted(permit: &Permit, headers: &HeaderMap) -> CheckResponse {
    let same = |name: &HeaderName| permit.upstream.get_all(name).iter().eq(headers.get_all(name).iter());
    let response = OkHttpResponse {
        headers: rows(&permit.upstream, |name| !same(name)),
        headers_to_remove: permit.remove.iter().map(|name| name.as_str().to_owned()).collect(),
        response_headers_to_add: rows(&permit.client, |_| true),
        ..OkHttpResponse::default()
    };
    CheckResponse {
        status: Some(status(Code::Ok)),
        http_response: Some(HttpResponse::OkResponse(response)),
        ..CheckResponse::default()
    }
}

fn answered(reply: &Reply) -> CheckResponse {
    let code = if reply.status() == StatusCode::UNAUTHORIZED { Code::Unauthenticated } else { Code::PermissionDenied };
    let response = DeniedHttpResponse {
        status: Some(HttpStatus { code: i32::from(reply.status().as_u16()) }),
        headers: rows(reply.headers(), |_| true),
        body: String::from_utf8_lossy(reply.body()).into_owned(),
    };
    CheckResponse {
        status: Some(status(code)),
        http_response: Some(HttpResponse::DeniedResponse(response)),
        ..CheckResponse::default()
    }
}

fn status(code: Code) -> rpc::Status {
    rpc::Status { code: code.into(), ..rpc::Status::default() }
}

/// The first of each name overwrites what is there, its further values are added. What an upstream's response varies by
/// stays beside what ours does (RFC 9110 section 12.5.5).
fn rows(headers: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) -> Vec<HeaderValueOption> {
    let mut rows = Vec::with_capacity(headers.len());
    for name in headers.keys().filter(|name| wanted(name)) {
        let mut action = match *name {
            VARY => HeaderAppendAction::AppendIfExistsOrAdd,
            _ => HeaderAppendAction::OverwriteIfExistsOrAdd,
        };
        for value in headers.get_all(name) {
            // All values of ours are visible ASCII; a credential that goes on as it came is not told.
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let header = RawValue { key: name.as_str().to_owned(), value, ..RawValue::default() };
            let row = HeaderValueOption { header: Some(header), append_action: action.into(), ..Default::default() };
            rows.push(row);
            action = HeaderAppendAction::AppendIfExistsOrAdd;
        }
    }
    rows
}
