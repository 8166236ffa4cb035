//! Asked by Envoy over gRPC: `envoy.service.auth.v3.Authorization`, and `grpc.health.v1.Health` beside it.

mod answer;
mod health;
mod question;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use http::Request;
use http::header::CONTENT_TYPE;
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::{Response, Status};
use tonic_health::pb::health_server::HealthServer;

use crate::gate::{Refusal, Reply};
use crate::target::Peer;

use super::{Asked, ForwardAuth, Verdict};
use health::Health;
use question::Question;

/// Largest question, in bytes: Envoy's own limit for a request's headers is 60 KiB, and `header_map` has them anew.
const QUESTION_BYTES: usize = 256 * 1024;
/// How long a question may take to come and be decided; an issuer has 5 s.
const QUESTION_TIME: Duration = Duration::from_secs(15);

const HEALTH_PREFIX: &str = "/grpc.health.v1.Health/";

/// Whether traffic should come.
pub type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// An `ext_authz` listener's door.
pub struct ExtAuthz {
    door: Arc<ForwardAuth>,
    ready: Ready,
}

impl ExtAuthz {
    /// A door that decides as `door` does, and says to probes what `ready` says.
    pub fn new(door: ForwardAuth, ready: Ready) -> Self {
        Self { door: Arc::new(door), ready }
    }

    /// Answers one call. A peer that is no trusted proxy is refused before anything of its question is read.
    pub async fn handle(&self, request: Request<Incoming>, peer: &Peer) -> http::Response<Body> {
        if !self.door.live.load().trust.believes(peer) {
            return self.refuse_stranger(&request, peer).await;
        }
        let answered = if request.uri().path().starts_with(HEALTH_PREFIX) {
            HealthServer::new(Health::new(Arc::clone(&self.ready))).call(request).await
        } else {
            let check = Check { door: Arc::clone(&self.door), peer: peer.clone() };
            let mut server = AuthorizationServer::new(check).max_decoding_message_size(QUESTION_BYTES);
            match tokio::time::timeout(QUESTION_TIME, server.call(request)).await {
                Ok(answered) => answered,
                Err(_elapsed) => Ok(Status::deadline_exceeded("the question did not come in time").into_http()),
            }
        };
        answered.unwrap_or_else(|never| match never {})
    }

    async fn refuse_stranger(&self, request: &Request<Incoming>, peer: &Peer) -> http::Response<Body> {
        let live = self.door.live.load_full();
        let head = (request.method(), request.uri(), request.headers());
        let now = self.door.clock.now();
        let record = live.record(head, peer, now);
        let verdict = self.door.judge(&live, Err(Refusal::UntrustedPeer), record, now).await;
        match verdict {
            Verdict::Refuse(reply) | Verdict::Answer(reply, _) if !is_grpc(request) => whole(reply),
            Verdict::Refuse(_) | Verdict::Answer(..) | Verdict::Permit(_) => {
                Status::permission_denied(Refusal::UntrustedPeer.to_string()).into_http()
            }
        }
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn whole(reply: Reply) -> http::Response<Body> {
    reply.map(|body: Bytes| Body::new(http_body_util::Full::new(body)))
}

/// One question.
struct Check {
    door: Arc<ForwardAuth>,
    peer: Peer,
}

#[tonic::async_trait]
impl Authorization for Check {
    async fn check(&self, request: tonic::Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let live = self.door.live.load_full();
        let (metadata, _, question) = request.into_parts();
        let question = Question::read(question, &self.peer)?.within(metadata.as_ref());
        let head = (&question.method, &question.uri, &question.headers);
        let now = self.door.clock.now();
        let record = live.record(head, &question.peer, now);
        let original = question.original(&live.trust).map_err(Refusal::from);
        let (headers, peer, route) = (&question.headers, &question.peer, question.route.as_deref());
        let asked = original.map(|original| Asked { original, headers, peer, route });
        let verdict = self.door.judge(&live, asked, record, now).await;
        Ok(Response::new(answer::of(verdict, headers)))
    }
}
