//! Logs: one JSON object a line where standard error is not a terminal, plain text where it is. Traces: [`otlp`].

mod format;
pub mod otlp;
#[cfg(test)]
mod tests;
mod together;

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

pub use format::Style;
pub use together::let_go;

use crate::clock::Clock;

use together::Together;

/// Sets the process' logging up: what `RUST_LOG` asks for (`info` by default), to standard error. Once a process;
/// later calls change nothing.
pub fn init() {
    let style = if std::io::stderr().is_terminal() { Style::Text } else { Style::Json };
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    if subscriber(&wanted, style, Clock::System, Together::default()).try_init().is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            // Not its message: a slice error quotes the string, and that may be a credential.
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "a task panicked");
        }));
    }
}

/// What [`init`] installs, over any writer.
pub fn subscriber<W>(wanted: &str, style: Style, clock: Clock, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().with_default_directive(Level::INFO.into()).parse_lossy(wanted);
    let lines =
        fmt::layer().event_format(format::Lines::new(style, clock)).with_writer(writer).log_internal_errors(false);
    tracing_subscriber::registry().with(filter).with(filter_fn(discreet)).with(lines)
}

/// HTTP and TLS libraries write header values, tokens among them, to their debug logs. So nothing but our own events
/// passes below `info`, whatever `RUST_LOG` says.
fn discreet(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let ours = target.strip_prefix("dpop_gate").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    ours || *metadata.level() <= Level::INFO
}
