//! How an event becomes a line.

use std::fmt;

use serde_json::Value;
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::{Clock, Timestamp};

/// The target of the line a request gets (contract section 5): its fields stand alone.
const ACCESS: &str = "dpop_gate::access";

/// For whom the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For machines: one JSON object a line.
    Json,
    /// For a person at a terminal.
    Text,
}

/// The formatter.
#[derive(Debug)]
pub(super) struct Lines {
    style: Style,
    clock: Clock,
}

impl Lines {
    pub(super) fn new(style: Style, clock: Clock) -> Self {
        Self { style, clock }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let time = Rfc3339(self.clock.now());
        match self.style {
            Style::Json => json(&mut writer, time, event),
            Style::Text => text(&mut writer, time, event),
        }
    }
}

fn json(writer: &mut Writer<'_>, time: Rfc3339, event: &Event<'_>) -> fmt::Result {
    let meta = event.metadata();
    write!(writer, "{{\"time\":\"{time}\",\"level\":\"{}\"", meta.level())?;
    if meta.target() != ACCESS {
        writer.write_str(",\"target\":")?;
        string(writer, meta.target())?;
    }
    let mut fields = JsonFields { writer, result: Ok(()) };
    event.record(&mut fields);
    fields.result?;
    writer.write_str("}\n")
}

fn text(writer: &mut Writer<'_>, time: Rfc3339, event: &Event<'_>) -> fmt::Result {
    let meta = event.metadata();
    write!(writer, "{time} {:>5} {}:", meta.level(), meta.target())?;
    let mut fields = TextFields { writer, result: Ok(()) };
    event.record(&mut fields);
    fields.result?;
    writer.write_str("\n")
}

/// A JSON string; control characters leave as escapes, so a line stays one line.
fn string(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    writer.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?)
}

struct JsonFields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl JsonFields<'_, '_> {
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        self.result = self.result.and_then(|()| {
            self.writer.write_char(',')?;
            string(self.writer, field.name())?;
            self.writer.write_char(':')?;
            value(self.writer)
        });
    }
}

impl Visit for JsonFields<'_, '_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN: `Value` makes it null.
        self.put(field, |writer| write!(writer, "{}", Value::from(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, |writer| write!(writer, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |writer| string(writer, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, |writer| string(writer, &format!("{value:?}")));
    }
}

struct TextFields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl TextFields<'_, '_> {
    fn put(&mut self, field: &Field, value: &str) {
        self.result = self.result.and_then(|()| match field.name() {
            "message" => {
                self.writer.write_char(' ')?;
                plain(self.writer, value)
            }
            name if value.contains(|c: char| !c.is_ascii_graphic() || c == '"') => {
                write!(self.writer, " {name}={value:?}")
            }
            name => write!(self.writer, " {name}={value}"),
        });
    }
}

impl Visit for TextFields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

/// Text on a terminal: what a client wrote must not move its cursor.
fn plain(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| match c.is_control() {
        true => write!(writer, "{}", c.escape_default()),
        false => writer.write_char(c),
    })
}

/// `2026-01-02T03:04:05.678901Z` (RFC 3339).
#[derive(Clone, Copy)]
struct Rfc3339(Timestamp);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0.as_micros()) * 1000;
        let t = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = t.to_calendar_date();
        let (hour, minute, second, micro) = t.to_hms_micro();
        write!(f, "{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z", u8::from(month))
    }
}
