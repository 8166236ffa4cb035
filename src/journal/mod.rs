//! What is counted and logged of a request, once, whichever door it came through (contract sections 4 and 5).

mod client;
mod history;
mod identifiers;
mod recent;
mod record;

pub use history::{History, STEP, STEPS, Stretch};
pub use identifiers::Identifiers;
pub use recent::{Recent, RecentRefusal};
pub use record::Record;
