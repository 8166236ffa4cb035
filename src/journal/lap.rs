//! A part of a request's time.

use std::time::{Duration, Instant};

/// Begun, and ended unless the request was over first.
#[derive(Debug, Clone, Copy)]
pub struct Lap {
    began: Instant,
    took: Option<Duration>,
}

impl Lap {
    /// Begins now.
    pub fn begin() -> Self {
        Self { began: Instant::now(), took: None }
    }

    /// Ends now.
    pub fn end(&mut self) -> Duration {
        *self.took.insert(self.began.elapsed())
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// How long it took; `None` if it did not end.
    pub fn took(&self) -> Option<Duration> {
        self.took
    }
}
