#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod balance;
mod forms;
pub(super) mod harness;
mod refusals;
mod reuse;
mod streams;
