//! The language that the black-box tests are written in: an [`Issuer`], an [`Upstream`], a [`Gate`] between them (a
//! real process) and [`Client`]s in front of it. Nothing here uses the library under test.
//!
//! Every gate is watched to its end: when one is dropped, no panic and nothing that a client kept secret may stand in
//! what it logged.

mod client;
mod collector;
mod gate;
mod issuer;
mod keys;
mod load;
mod proxy;
mod raw;
mod redis;
mod tls;
mod upstream;
mod world;

pub use client::{Answer, Call, Client, Prepared, exchange, exchange_on, http1, http2, try_exchange};
pub use collector::{Collector, Told};
pub use gate::{Gate, Gates, run, run_with};
pub use issuer::Issuer;
pub use keys::{Jws, Key, now, random};
pub use load::{Load, yes};
pub use proxy::{Kind, OtherProxy};
pub use raw::Raw;
pub use redis::Redis;
pub use tls::Authority;
pub use upstream::{Channel, DOWNLOAD_BYTES, Upstream};
pub use world::{AUDIENCE, World, push, settings};

use std::future::Future;
use std::time::{Duration, Instant};

/// Longest wait for anything that should happen soon; generous because the cores are shared.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer; fails with `what` at the deadline.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited {SOON:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for something that should happen soon.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(SOON, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {SOON:?} in vain for {what}"),
    }
}
