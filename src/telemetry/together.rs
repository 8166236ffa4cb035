//! Lines of one event loop leave together: in one write for all requests that were ready, when the loop has nothing
//! left to do. A write costs more than the line.
//!
//! Only threads that say when they are idle hold lines back ([`let_go`]), and none longer than they are busy; a warning
//! or an error leaves at once, with whatever stands before it.

use std::cell::RefCell;
use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// A loop that is never idle lets go of its lines at so many bytes.
const MOST_BYTES: usize = 16 * 1024;

thread_local! {
    static HELD: RefCell<Held> = const { RefCell::new(Held::new(to_stderr)) };
}

/// Writes what this thread has held back; from the first call on it holds lines back. To be called whenever the thread
/// is about to wait.
pub fn let_go() {
    let _ = HELD.try_with(|held| {
        if let Ok(mut held) = held.try_borrow_mut() {
            held.let_go();
        }
    });
}

fn to_stderr(lines: &[u8]) {
    // Nobody can be told that nobody can be told.
    let _ = io::stderr().write_all(lines);
}

#[derive(Debug)]
struct Held {
    holds: bool,
    lines: Vec<u8>,
    write: fn(&[u8]),
}

impl Held {
    const fn new(write: fn(&[u8])) -> Self {
        Self { holds: false, lines: Vec::new(), write }
    }

    fn take(&mut self, line: &[u8], urgent: bool) {
        if !self.holds {
            return (self.write)(line);
        }
        self.lines.extend_from_slice(line);
        if urgent || self.lines.len() >= MOST_BYTES {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        self.holds = true;
        if !self.lines.is_empty() {
            (self.write)(&self.lines);
            self.lines.clear();
        }
    }
}

impl Drop for Held {
    /// The thread ends.
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Standard error, by way of what the thread holds back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Together {
    urgent: bool,
}

impl Write for Together {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let taken = HELD.try_with(|held| held.try_borrow_mut().map(|mut held| held.take(line, self.urgent)).is_ok());
        if taken != Ok(true) {
            // The thread is ending.
            to_stderr(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Together {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }

    fn make_writer_for(&self, meta: &Metadata<'_>) -> Self {
        Self { urgent: *meta.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static WRITES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    fn note(lines: &[u8]) {
        WRITES.with_borrow_mut(|writes| writes.push(String::from_utf8_lossy(lines).into_owned()));
    }

    fn writes() -> Vec<String> {
        WRITES.take()
    }

    #[test]
    fn lines_leave_at_once_until_the_thread_says_when_it_is_idle_and_then_in_one_write() {
        let mut held = Held::new(note);
        held.take(b"1\n", false);
        assert_eq!(writes(), ["1\n"]);
        held.let_go();
        assert!(writes().is_empty(), "nothing to write, nothing written");
        held.take(b"2\n", false);
        held.take(b"3\n", false);
        assert!(writes().is_empty());
        held.let_go();
        assert_eq!(writes(), ["2\n3\n"]);
    }

    #[test]
    fn an_urgent_line_takes_along_what_stands_before_it() {
        let mut held = Held::new(note);
        held.let_go();
        held.take(b"1\n", false);
        held.take(b"2!\n", true);
        assert_eq!(writes(), ["1\n2!\n"]);
    }

    #[test]
    fn a_thread_that_is_never_idle_and_one_that_ends_lose_nothing() {
        let mut held = Held::new(note);
        held.let_go();
        let line = [b'x'; 1024];
        for _ in 0..17 {
            held.take(&line, false);
        }
        assert_eq!(writes().iter().map(String::len).collect::<Vec<_>>(), [MOST_BYTES]);
        drop(held);
        assert_eq!(writes().iter().map(String::len).collect::<Vec<_>>(), [1024]);
    }
}
