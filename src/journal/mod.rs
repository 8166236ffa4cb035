//! What is counted, logged and traced of a request, once, whichever door it came through (contract sections 4 and 5).

mod client;
mod history;
mod identifiers;
mod lap;
mod recent;
mod record;
mod trace;

pub use history::{History, STEP, STEPS, Stretch};
pub use identifiers::{Context, Identifiers, span_id};
pub use lap::Lap;
pub use recent::{Recent, RecentRefusal};
pub use record::Record;
pub use trace::{Part, QUEUED, Trace, Traced, Tracer};
