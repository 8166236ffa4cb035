//! A request's journey.

use http::{Request, Response};
use hyper::body::Incoming;

use crate::target::Peer;

use super::{Body, Proxy};

impl Proxy {
    /// Answers a request: always with a response, counted and logged once.
    pub async fn handle(&self, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
        let _ = (request, peer, &self.live, &self.clock, &self.metrics);
        todo!()
    }
}
