//! The binary and its README, as a newcomer meets them.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "demo")]
mod demo_clients;
#[cfg(feature = "demo")]
mod demo_process;
mod explain;
mod keys_and_proofs;
mod program;
mod readme;
mod request;
