//! `grpc.health.v1.Health`: what `/readyz` says, for gRPC probes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use super::Ready;

/// The services that are here; the empty name stands for the whole.
const SERVICES: [&str; 2] = ["", "envoy.service.auth.v3.Authorization"];
/// How late a watcher learns of a change.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The service.
pub(super) struct Health {
    ready: Ready,
}

impl Health {
    pub(super) fn new(ready: Ready) -> Self {
        Self { ready }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !SERVICES.contains(&request.get_ref().service.as_str()) {
            return Err(Status::not_found("no such service"));
        }
        Ok(Response::new(response(serving(&self.ready))))
    }

    type WatchStream = Watch;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        let known = SERVICES.contains(&request.get_ref().service.as_str());
        let mut ticks = interval(WATCH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Response::new(Watch { ready: known.then(|| self.ready.clone()), told: None, ticks }))
    }
}

/// The status now, and again whenever it has changed.
pub(super) struct Watch {
    /// `None` for a service that is not here: it is told so, and nothing more.
    ready: Option<Ready>,
    told: Option<ServingStatus>,
    ticks: Interval,
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            std::task::ready!(self.ticks.poll_tick(cx));
            let now = self.ready.as_ref().map_or(ServingStatus::ServiceUnknown, serving);
            if self.told != Some(now) {
                self.told = Some(now);
                return Poll::Ready(Some(Ok(response(now))));
            }
        }
    }
}

fn serving(ready: &Ready) -> ServingStatus {
    if ready() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
