//! How an event becomes a line.

use std::fmt::{self, Write as _};

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

/// Most lines are shorter, those of requests included.
const LINE_BYTES: usize = 640;

fn json(writer: &mut Writer<'_>, time: Rfc3339, event: &Event<'_>) -> fmt::Result {
    let meta = event.metadata();
    // Written whole, and then given away at once: the writer is not known here, and each piece would go through it.
    let mut line = String::with_capacity(LINE_BYTES);
    for part in ["{\"time\":\"", time.text().as_str(), "\",\"level\":\"", meta.level().as_str(), "\""] {
        line.push_str(part);
    }
    if meta.target() != ACCESS {
        line.push_str(",\"target\":");
        push_string(&mut line, meta.target())?;
    }
    let mut fields = JsonFields { line, result: Ok(()) };
    event.record(&mut fields);
    fields.result?;
    fields.line.push_str("}\n");
    writer.write_str(&fields.line)
}

fn text(writer: &mut Writer<'_>, time: Rfc3339, event: &Event<'_>) -> fmt::Result {
    let meta = event.metadata();
    write!(writer, "{time} {:>5} {}:", meta.level(), meta.target())?;
    let mut fields = TextFields { writer, result: Ok(()) };
    event.record(&mut fields);
    fields.result?;
    writer.write_str("\n")
}

/// Appends a JSON string; control characters leave as escapes, so a line stays one line.
fn push_string(line: &mut String, text: &str) -> fmt::Result {
    // Without a branch, so that many bytes are looked at at once: nearly all texts need no escape.
    if text.bytes().fold(false, |special, byte| special | (byte < b' ') | (byte == b'"') | (byte == b'\\')) {
        line.push_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?);
    } else {
        ["\"", text, "\""].into_iter().for_each(|part| line.push_str(part));
    }
    Ok(())
}

struct JsonFields {
    line: String,
    result: fmt::Result,
}

impl JsonFields {
    fn put(&mut self, field: &Field, value: impl FnOnce(&mut String) -> fmt::Result) {
        self.result = self.result.and_then(|()| {
            self.line.push(',');
            push_string(&mut self.line, field.name())?;
            self.line.push(':');
            value(&mut self.line)
        });
    }
}

impl Visit for JsonFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN: `Value` makes it null.
        self.put(field, |line| write!(line, "{}", Value::from(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, |line| line.write_str(itoa::Buffer::new().format(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, |line| line.write_str(itoa::Buffer::new().format(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, |line| line.write_str(if value { "true" } else { "false" }));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, |line| push_string(line, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, |line| push_string(line, &format!("{value:?}")));
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

impl Rfc3339 {
    /// Digit by digit: on every request's way where it is logged.
    fn text(self) -> String {
        let nanos = i128::from(self.0.as_micros()) * 1000;
        let t = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = t.to_calendar_date();
        let (hour, minute, second, micro) = t.to_hms_micro();
        // Timestamps begin in 1970, and `time` ends with the year 9999.
        let year = u32::try_from(year).unwrap_or_default();
        let mut text = String::with_capacity("2026-01-02T03:04:05.678901Z".len());
        for (number, digits, behind) in [
            (year, 4, '-'),
            (u8::from(month).into(), 2, '-'),
            (day.into(), 2, 'T'),
            (hour.into(), 2, ':'),
            (minute.into(), 2, ':'),
            (second.into(), 2, '.'),
            (micro, 6, 'Z'),
        ] {
            for place in (0..digits).rev() {
                let digit = number / 10_u32.pow(place) % 10;
                text.push(char::from_digit(digit, 10).unwrap_or('0'));
            }
            text.push(behind);
        }
        text
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339 as Standard;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_written_as_the_library_writes_it(micros in prop_oneof![0_u64..253_402_300_800_000_000, Just(0)]) {
            let text = Rfc3339(Timestamp::from_micros(micros)).text();
            let wanted = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok();
            prop_assert_eq!(OffsetDateTime::parse(&text, &Standard).ok(), wanted);
            prop_assert_eq!(text.len(), 27);
        }
    }
}
