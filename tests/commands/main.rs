//! The binary and its README, as a newcomer meets them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod demo;
mod explain;
mod keys_and_proofs;
mod readme;
mod request;
