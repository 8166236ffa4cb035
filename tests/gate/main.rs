//! The gate from outside: a real process between real sockets, judged by the contract alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on should say so and fail; its modules are no library"
)]

mod changes;
mod explain;
mod ext_authz;
mod faults;
mod harness;
mod hostile;
mod identity;
mod interop;
mod journey;
mod observability;
mod operations;
#[path = "../commands/program.rs"]
mod program;
mod proxies;
mod refusals;
mod replay;
mod returning_keys;
mod shared_store;
mod smuggling;
mod streaming;
mod traces;
