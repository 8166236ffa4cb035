//! HTTP/1.1 connections that wait for their next request.

use std::collections::VecDeque;

use hyper::client::conn::http1;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::body::Upload;
use super::direct::Direct;

/// Idle HTTP/1.1 connections kept to one endpoint.
const MAX_IDLE: usize = 512;

/// An HTTP/1.1 connection that hyper drives.
pub(super) struct Driven {
    pub(super) sender: http1::SendRequest<Upload>,
    pub(super) task: AbortHandle,
}

/// Idle HTTP/1.1 connections. Either kind carries whatever comes.
#[derive(Default)]
pub(super) struct Idle {
    direct: VecDeque<Resting<Box<Direct>>>,
    driven: VecDeque<Resting<Driven>>,
}

struct Resting<T> {
    link: T,
    until: Instant,
}

impl Idle {
    pub(super) fn len(&self) -> usize {
        self.direct.len() + self.driven.len()
    }

    /// Makes room for one.
    fn make_room(&mut self) {
        if self.len() >= MAX_IDLE && self.direct.pop_front().is_none() {
            self.driven.pop_front();
        }
    }

    pub(super) fn rest_direct(&mut self, link: Box<Direct>, until: Instant) {
        self.make_room();
        self.direct.push_back(Resting { link, until });
    }

    pub(super) fn rest_driven(&mut self, link: Driven, until: Instant) {
        self.make_room();
        self.driven.push_back(Resting { link, until });
    }

    /// Last in, first out: the warmest is used, the surplus grows old and goes.
    pub(super) fn take_direct(&mut self) -> Option<Box<Direct>> {
        while let Some(Resting { mut link, until }) = self.direct.pop_back() {
            if Instant::now() < until && link.is_usable() {
                return Some(link);
            }
        }
        None
    }

    pub(super) fn take_driven(&mut self) -> Option<Driven> {
        while let Some(Resting { link, until }) = self.driven.pop_back() {
            if link.sender.is_ready() && Instant::now() < until {
                return Some(link);
            }
        }
        None
    }

    /// Closes what is too old, or of no use.
    pub(super) fn reap(&mut self) {
        let now = Instant::now();
        self.direct.retain_mut(|resting| now < resting.until && resting.link.is_usable());
        self.driven.retain(|resting| now < resting.until && !resting.link.sender.is_closed());
    }
}
