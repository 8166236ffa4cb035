//! What is counted and logged of a request, once, whichever door it came through (contract sections 4 and 5).

mod client;
mod identifiers;
mod record;

pub use identifiers::Identifiers;
pub use record::Record;
