//! Everything in `deploy/` does what it says: manifests and chart, the image's binary in an empty root, the unit, the
//! alerts. `bash tests/run` installs the tools that look at them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, unreachable_pub)]

mod health;
mod host;
mod image;
mod kubernetes;
mod observability;
#[path = "../commands/program.rs"]
mod program;
mod tools;
