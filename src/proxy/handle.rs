//! A request's journey.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::clock::Timestamp;
use crate::gate::{Admission, Facts, Gate, Refusal, Reply, Spend, allowed_origin, error_reply, write_cors};
use crate::journal::{Lap, Record};
use crate::metrics::{Outcome, Reason};
use crate::policy::Route;
use crate::target::{Peer, Target, TargetError};

use super::body::{self, BodyFault, BodyLimits, BodyWatch};
use super::headers::{self, Outbound};
use super::upgrade::{ConnectError, Unasked, Upgrade};
use super::upstream::{CONTINUE, RequestBody, ResponseBody, UpstreamError};
use super::{Body, Live, Proxy};

/// What is served, for those who ask for something else (RFC 9110 section 15.5.6).
const SERVED: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Why a request was not answered by an upstream, nor by a document of the gate's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The gate refuses it.
    Refused(Refusal),
    /// A CONNECT (or TRACE) that is not served.
    Connect(ConnectError),
    /// It expects more than `100 Continue`, and would wait for that in vain.
    Expectation,
    /// Its body is malformed.
    BrokenBody,
    /// Its body does not come.
    StalledBody,
    /// The upstream failed.
    Upstream(UpstreamError),
}

impl Proxy {
    /// Answers a request: always with a response, counted and logged once.
    pub async fn handle(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let live = self.live.load_full();
        let now = self.clock.now();
        let counted = (&live.unrouted, &live.recent, live.tracer.as_ref());
        let mut record = Record::begin(head(&request), peer, &live.gate.trust, counted, now);
        let version = request.version();
        // From here on the body reads itself to its end wherever the journey stops. The request has one place, from
        // which it is lent: it is too large to be moved about.
        let limits = BodyLimits { bytes: live.body_bytes, pause: live.body_pause };
        let (mut request, watch) = admit_body(request, limits, &live.gate);

        let ended = self.journey(&live, &mut request, &watch, peer, &mut record, now).await;
        let (outcome, reason, mut response) = match ended {
            Ok((outcome, response)) => (outcome, None, response),
            Err(failure) => {
                let reply = self.render(&live, failure, &record);
                (failure.outcome(), failure.reason(), own(reply, &record.method))
            }
        };

        let headers = response.headers_mut();
        match outcome {
            Outcome::Allowed | Outcome::Reported => record.identifiers.answer(headers),
            Outcome::Refused | Outcome::Failed | Outcome::Answered => record.identifiers.answer_by_ourselves(headers),
        }
        let cors = record.route.as_ref().and_then(|route| route.cors.as_ref());
        if let Some(cors) = cors.filter(|_| outcome != Outcome::Answered) {
            write_cors(headers, cors, record.allowed_origin.take());
        }
        if version <= Version::HTTP_11 && watch.awaits_continue() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        record.finish(outcome, reason, response.status());
        response
    }

    /// The journey itself.
    async fn journey(
        &self,
        live: &Live,
        request: &mut Request<RequestBody>,
        watch: &BodyWatch,
        peer: &Peer,
        record: &mut Record,
        now: Timestamp,
    ) -> Result<(Outcome, Response<Body>), Failure> {
        let upgrade = Upgrade::of(request)?;
        let method = Upgrade::method(upgrade.as_ref(), request.method());
        let target = &*record.target.insert(Target::of(request.uri(), request.headers(), peer, &live.gate.trust)?);
        if let Some(preflight) = live.gate.preflight(request.method(), target, request.headers()) {
            record.route = preflight.route;
            return Ok((Outcome::Answered, preflighted(preflight.headers)));
        }
        if let Some(document) = live.gate.well_known(&method, target) {
            return Ok((Outcome::Answered, own(document, &method)));
        }
        let route = &*record.route.insert(Arc::clone(live.gate.route(&method, target)?));
        record.allowed_origin = route.cors.as_ref().and_then(|cors| allowed_origin(cors, request.headers()));
        within_limit(request.body().size_hint().lower(), live.body_bytes)?;
        if watch.expects_more(request.version(), request.headers()) {
            return Err(Failure::Expectation);
        }

        let decision = record.decision.insert(Lap::begin());
        let admitted = {
            let as_websocket = [Method::CONNECT.as_str(), Method::GET.as_str()];
            let as_sent = [method.as_str()];
            let methods = if matches!(upgrade, Some(Upgrade::Stream { .. })) { &as_websocket[..] } else { &as_sent };
            let facts = Facts { methods, target, headers: request.headers(), peer, spend: Spend::Consume };
            let waits = record.traced.as_ref().map(|traced| &traced.waits);
            live.gate.admit(route, &facts, now, waits).await
        };
        self.metrics.decision_seconds.observe(decision.end().as_secs_f64());
        if admitted.as_ref().map_or(true, |admission| admission.reported().is_some()) {
            record.claimed_key = live.recent.claimed_key(request.headers(), now);
        }
        let admission = &*record.admission.insert(Arc::new(admitted?));

        let identifiers = &record.identifiers;
        let outbound = Outbound { gate: &live.gate, route, admission, target, peer, identifiers, now };
        towards_upstream(request, method, outbound, upgrade.as_ref())?;
        if watch.awaits_continue() && upgrade.is_none() {
            request.headers_mut().insert(EXPECT, CONTINUE);
        }
        let forwarded = record.upstream.insert(Lap::begin());
        let reply = send(live, route, request, watch).await;
        forwarded.end();
        let outcome = if admission.reported().is_some() { Outcome::Reported } else { Outcome::Allowed };
        Ok((outcome, towards_client(reply?, admission, upgrade)?))
    }

    /// Turns a failure into HTTP. No description says more than its reason.
    fn render(&self, live: &Live, failure: Failure, record: &Record) -> Reply {
        match failure {
            Failure::Refused(refusal) => {
                live.gate.refuse(refusal, record.route.as_deref(), record.target.as_ref(), self.clock.now())
            }
            Failure::Connect(error @ ConnectError::Method) => {
                let mut reply = error_reply(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", &error.to_string());
                reply.headers_mut().insert(ALLOW, SERVED);
                reply
            }
            // RFC 9220 section 3 says so for a protocol that is not known.
            Failure::Connect(error @ ConnectError::Protocol) => {
                error_reply(StatusCode::NOT_IMPLEMENTED, "invalid_request", &error.to_string())
            }
            Failure::Expectation => {
                let description = "of Expect, only 100-continue is met here";
                let mut reply = error_reply(StatusCode::EXPECTATION_FAILED, "invalid_request", description);
                // Whether the body still comes, its client alone knows.
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                reply
            }
            Failure::BrokenBody => {
                error_reply(StatusCode::BAD_REQUEST, "invalid_request", &BodyFault::Broken.to_string())
            }
            Failure::StalledBody => {
                let mut reply =
                    error_reply(StatusCode::REQUEST_TIMEOUT, "invalid_request", &BodyFault::Stalled.to_string());
                // RFC 9110 section 15.5.9; what is left of the body is no request.
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                reply
            }
            Failure::Upstream(error @ UpstreamError::Timeout) => {
                error_reply(StatusCode::GATEWAY_TIMEOUT, "gateway_timeout", &error.to_string())
            }
            Failure::Upstream(
                error @ (UpstreamError::Connect
                | UpstreamError::Reset
                | UpstreamError::Protocol
                | UpstreamError::Unhealthy
                | UpstreamError::RequestBody),
            ) => error_reply(StatusCode::BAD_GATEWAY, "bad_gateway", &error.to_string()),
        }
    }
}

fn admit_body(request: Request<Incoming>, limits: BodyLimits, gate: &Arc<Gate>) -> (Request<RequestBody>, BodyWatch) {
    let (parts, incoming) = request.into_parts();
    let (body, watch) = body::from_client(incoming, parts.version, &parts.headers, limits, gate);
    (Request::from_parts(parts, body), watch)
}

fn head<B>(request: &Request<B>) -> (&Method, &Uri, &HeaderMap) {
    (request.method(), request.uri(), request.headers())
}

fn preflighted(headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = headers;
    response
}

/// A length that is announced is refused at once; one that is not is counted as it comes.
pub fn within_limit(announced: u64, limit: u64) -> Result<(), Refusal> {
    if limit > 0 && announced > limit { Err(Refusal::BodyTooLarge) } else { Ok(()) }
}

/// Makes the request what the upstream gets: the path that was matched, and headers written anew.
fn towards_upstream(
    request: &mut Request<RequestBody>,
    method: Method,
    outbound: Outbound<'_>,
    upgrade: Option<&Upgrade>,
) -> Result<(), Failure> {
    let path = match request.uri().path_and_query() {
        // Nothing was normalised: as it came. An absolute form may have a query and no path.
        Some(came) if came.as_str().starts_with('/') && came.path() == outbound.target.path() => came.clone(),
        Some(_) | None => PathAndQuery::try_from(outbound.target.path_and_query())
            .map_err(|_| Failure::Refused(Refusal::Target(TargetError::AmbiguousPath)))?,
    };
    let length = request.body().size_hint().exact();
    let headers = request.headers_mut();
    outbound.write(headers);
    headers::state_length(headers, length);
    if let Some(upgrade) = upgrade {
        upgrade.ask(headers);
    }
    // hyper takes a GET whose length is unknown for one without a body, unless it is told.
    if length.is_none() && (method == Method::GET || method == Method::HEAD) {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    *request.uri_mut() = Uri::from(path);
    *request.method_mut() = method;
    *request.version_mut() = Version::HTTP_11;
    request.extensions_mut().clear();
    Ok(())
}

/// Sends, unless the client's own body turns out to be at fault first.
async fn send(
    live: &Live,
    route: &Route,
    request: &mut Request<RequestBody>,
    watch: &BodyWatch,
) -> Result<Response<ResponseBody>, Failure> {
    let upstream = live.upstreams.get(&route.upstream).ok_or(UpstreamError::Unhealthy)?;
    let request = std::mem::replace(request, Request::new(body::empty()));
    tokio::select! {
        biased;
        fault = watch.fault() => Err(fault.into()),
        sent = upstream.send(request) => {
            watch.answered();
            sent.map_err(|error| watch.seen().map_or(error.into(), Failure::from))
        }
    }
}

/// The response as the client gets it.
fn towards_client(
    mut response: Response<ResponseBody>,
    admission: &Admission,
    upgrade: Option<Upgrade>,
) -> Result<Response<Body>, Failure> {
    let accepted = match upgrade {
        Some(upgrade) => upgrade.accept(&mut response)?,
        None => None,
    };
    let (mut parts, body) = response.into_parts();
    headers::inbound(&mut parts.headers, admission.nonce());
    parts.version = Version::HTTP_11;
    let Some(accepted) = accepted else { return Ok(Response::from_parts(parts, body::from_upstream(body))) };
    parts.status = accepted.status;
    accepted.answer(&mut parts.headers);
    Ok(Response::from_parts(parts, body::empty()))
}

/// An answer of the gate's own; a HEAD gets its length, not its bytes.
fn own(reply: Reply, method: &Method) -> Response<Body> {
    let (mut parts, bytes): (_, Bytes) = reply.into_parts();
    if method != Method::HEAD {
        return Response::from_parts(parts, body::full(bytes));
    }
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Response::from_parts(parts, body::empty())
}

impl Failure {
    fn outcome(self) -> Outcome {
        match self {
            Self::Refused(_) | Self::Connect(_) | Self::Expectation | Self::BrokenBody | Self::StalledBody => {
                Outcome::Refused
            }
            Self::Upstream(_) => Outcome::Failed,
        }
    }

    fn reason(self) -> Option<Reason> {
        match self {
            Self::Refused(refusal) => Some(refusal.reason()),
            Self::Connect(_) | Self::Expectation | Self::BrokenBody | Self::StalledBody => {
                Some(Reason::MalformedRequest)
            }
            Self::Upstream(_) => None,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl From<BodyFault> for Failure {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge => Self::Refused(Refusal::BodyTooLarge),
            BodyFault::Broken => Self::BrokenBody,
            BodyFault::Stalled => Self::StalledBody,
        }
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::RequestBody => Self::BrokenBody,
            UpstreamError::Connect
            | UpstreamError::Timeout
            | UpstreamError::Reset
            | UpstreamError::Protocol
            | UpstreamError::Unhealthy => Self::Upstream(error),
        }
    }
}

impl From<Unasked> for Failure {
    fn from(_: Unasked) -> Self {
        Self::Upstream(UpstreamError::Protocol)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gate::fixture;
    use crate::journal::Identifiers;
    use crate::policy::{Auth, PathMatch};
    use crate::target::Scheme;

    #[tokio::test]
    async fn the_upstreams_path_is_the_one_that_was_matched_and_never_empty() {
        let gate = fixture::gate_with_paths(Auth::Public, &[PathMatch::Prefix("/".to_owned())]);
        let peer = Peer { ip: [127, 0, 0, 1].into(), scheme: Scheme::Http, client_certificate: None };
        let now = Timestamp::from_secs(1_800_000_000);
        for (came, sent) in [
            ("/a?x=1", "/a?x=1"),
            ("/a%2Db?x", "/a-b?x"),
            ("http://api.example.com/a?x=1", "/a?x=1"),
            // RFC 9112 section 3.2.1: "the client MUST send "/" as the path" to an origin.
            ("http://api.example.com", "/"),
            ("http://api.example.com?x=1", "/?x=1"),
        ] {
            let empty = http_body_util::BodyExt::map_err(http_body_util::Empty::new(), |never| match never {});
            let body: RequestBody = http_body_util::BodyExt::boxed_unsync(empty);
            let request = Request::get(came).header("host", "api.example.com");
            // As HTTP/2 takes it; what goes upstream says what is true.
            let mut request = request.header("content-length", "").header("content-length", "00").body(body).unwrap();
            let target = &Target::of(request.uri(), request.headers(), &peer, &gate.trust).unwrap();
            let route = gate.route(&Method::GET, target).unwrap();
            let as_sent = ["GET"];
            let facts =
                Facts { methods: &as_sent, target, headers: request.headers(), peer: &peer, spend: Spend::Consume };
            let admission = &gate.admit(route, &facts, now, None).await.unwrap();
            let identifiers = &Identifiers::of(request.headers());
            let outbound = Outbound { gate: &gate, route, admission, target, peer: &peer, identifiers, now };
            assert_eq!(towards_upstream(&mut request, Method::GET, outbound, None), Ok(()));
            // To the letter: what displays a URI mends it.
            assert_eq!(request.uri().path_and_query().map(PathAndQuery::as_str), Some(sent), "{came}");
            assert_eq!(request.headers().get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["0"], "{came}");
        }
    }
}
