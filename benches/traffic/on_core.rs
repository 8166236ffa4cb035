//! Time that this thread has spent on a core: other load on the machine does not count.

use std::time::Duration;

pub(crate) fn on_core() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}
