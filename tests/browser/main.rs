//! The pages as a person meets them: in Chromium, through WebDriver.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test"
)]

mod chromium;
#[cfg(feature = "demo")]
mod demo_page;
#[cfg(feature = "demo")]
#[path = "../commands/demo_process.rs"]
mod demo_process;
#[path = "../commands/program.rs"]
mod program;
#[cfg(feature = "demo")]
mod status_page;
