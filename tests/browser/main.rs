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
mod demo_page;
#[path = "../commands/demo_process.rs"]
mod demo_process;
