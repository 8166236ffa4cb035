//! The protocol, second version (RESP2), as far as it is spoken here: commands written, replies read where they lie.

use std::mem::take;

use super::error::LinkError;

/// Deepest nesting of arrays that is read: a cluster's map has three.
const MAX_DEPTH: u8 = 6;
/// Longest reply in bytes. The longest that is asked for is the map of a cluster: some hundred bytes a range.
pub(super) const MAX_REPLY: usize = 4 * 1024 * 1024;

/// Commands that go out together, and are answered one by one.
#[derive(Default)]
pub(super) struct Commands {
    pub(super) bytes: Vec<u8>,
    /// How many replies there will be.
    pub(super) count: usize,
}

impl Commands {
    /// With room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), count: 0 }
    }

    /// Adds one.
    pub(super) fn add<const WORDS: usize>(&mut self, words: [&[u8]; WORDS]) -> &mut Self {
        self.header(b'*', WORDS);
        for word in words {
            self.header(b'$', word.len());
            self.bytes.extend_from_slice(word);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.count += 1;
        self
    }

    fn header(&mut self, kind: u8, number: usize) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply<'a> {
    /// A simple or a bulk string: what differs is how long it may be.
    Text(&'a [u8]),
    Integer(i64),
    Nil,
    Array(Vec<Reply<'a>>),
    /// A word in capitals, and what else the server says.
    Error(&'a [u8]),
}

impl<'a> Reply<'a> {
    pub(super) fn text(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => std::str::from_utf8(text).ok(),
            Self::Integer(_) | Self::Nil | Self::Array(_) | Self::Error(_) => None,
        }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(_) | Self::Nil | Self::Array(_) | Self::Error(_) => None,
        }
    }

    pub(super) fn array(&self) -> Option<&[Reply<'a>]> {
        match self {
            Self::Array(members) => Some(members),
            Self::Text(_) | Self::Integer(_) | Self::Nil | Self::Error(_) => None,
        }
    }
}

/// Replies that came together.
#[derive(Debug)]
pub(super) struct Replies(pub(super) Vec<u8>);

impl Replies {
    /// As many as there were commands; the first that is an error stands for all.
    pub(super) fn read<const COUNT: usize>(&self) -> Result<[Reply<'_>; COUNT], LinkError> {
        let mut rest = &self.0[..];
        let mut replies = [const { Reply::Nil }; COUNT];
        for reply in &mut replies {
            *reply = read(&mut rest, MAX_DEPTH).ok_or(LinkError::Unreadable("reply"))?;
            if let Reply::Error(text) = reply {
                return Err(LinkError::server(text));
            }
        }
        Ok(replies)
    }
}

/// The length of the reply at the front; `Ok(None)` while it is not whole, an error for what is none.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, LinkError> {
    let mut rest = bytes;
    match skip(&mut rest, MAX_DEPTH) {
        Step::Done => Ok(Some(bytes.len() - rest.len())),
        Step::NotWhole if bytes.len() < MAX_REPLY => Ok(None),
        Step::NotWhole | Step::Wrong => Err(LinkError::Unreadable("reply")),
    }
}

enum Step {
    Done,
    NotWhole,
    Wrong,
}

fn skip(rest: &mut &[u8], depth_left: u8) -> Step {
    let Some((kind, text)) = line(rest) else { return Step::NotWhole };
    let length = || size(text);
    match kind {
        b'+' | b'-' => Step::Done,
        b':' if number(text).is_some() => Step::Done,
        b'$' => match length() {
            Some(None) => Step::Done,
            Some(Some(length)) => match rest.split_at_checked(length) {
                Some((_, [b'\r', b'\n', after @ ..])) => {
                    *rest = after;
                    Step::Done
                }
                Some((_, [] | [b'\r'])) | None => Step::NotWhole,
                Some(_) => Step::Wrong,
            },
            None => Step::Wrong,
        },
        b'*' => match (length(), depth_left.checked_sub(1)) {
            (Some(None), _) => Step::Done,
            (Some(Some(members)), Some(depth_left)) => {
                for _ in 0..members {
                    match skip(rest, depth_left) {
                        Step::Done => {}
                        unfinished @ (Step::NotWhole | Step::Wrong) => return unfinished,
                    }
                }
                Step::Done
            }
            (None, _) | (_, None) => Step::Wrong,
        },
        _ => Step::Wrong,
    }
}

/// Reads a reply that is whole.
fn read<'a>(rest: &mut &'a [u8], depth_left: u8) -> Option<Reply<'a>> {
    let (kind, text) = line(rest)?;
    Some(match kind {
        b'+' => Reply::Text(text),
        b'-' => Reply::Error(text),
        b':' => Reply::Integer(number(text)?),
        b'$' => match size(text)? {
            None => Reply::Nil,
            Some(length) => {
                let (text, after) = rest.split_at_checked(length)?;
                *rest = after.strip_prefix(b"\r\n")?;
                Reply::Text(text)
            }
        },
        b'*' => match size(text)? {
            None => Reply::Nil,
            Some(members) => {
                let depth_left = depth_left.checked_sub(1)?;
                // Not with room for as many as are announced: a number alone must not take memory.
                Reply::Array((0..members).map(|_| read(rest, depth_left)).collect::<Option<_>>()?)
            }
        },
        _ => return None,
    })
}

/// A line, without its first character and its end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let end = memchr::memchr(b'\n', rest)?;
    let (line, after) = take(rest).split_at_checked(end + 1)?;
    *rest = after;
    let [kind, text @ .., b'\r', b'\n'] = line else {
        // No kind that there is.
        return Some((0, line));
    };
    Some((*kind, text))
}

/// A length; `Some(None)` for nothing at all, which is not the same as a length of 0.
fn size(text: &[u8]) -> Option<Option<usize>> {
    match number(text)? {
        -1 => Some(None),
        length => usize::try_from(length).ok().filter(|length| *length <= MAX_REPLY).map(Some),
    }
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_arrays_of_words() {
        let mut commands = Commands::with_capacity(10);
        commands.add([b"SET", b"a b", b""]).add([b"TIME"]);
        assert_eq!(commands.bytes, b"*3\r\n$3\r\nSET\r\n$3\r\na b\r\n$0\r\n\r\n*1\r\n$4\r\nTIME\r\n");
        assert_eq!(commands.count, 2);
    }

    #[test]
    fn replies_of_each_kind_are_read() {
        let text = "+OK\r\n:-3\r\n$5\r\na\r\nbc\r\n$-1\r\n*-1\r\n*2\r\n$0\r\n\r\n*1\r\n:1\r\n";
        let replies = Replies(text.as_bytes().to_vec());
        let inner = Reply::Array(vec![Reply::Integer(1)]);
        let expected = [
            Reply::Text(b"OK"),
            Reply::Integer(-3),
            Reply::Text(b"a\r\nbc"),
            Reply::Nil,
            Reply::Nil,
            Reply::Array(vec![Reply::Text(b""), inner]),
        ];
        assert_eq!(replies.read::<6>().unwrap(), expected);
        assert!(replies.read::<7>().is_err(), "one that did not come");
    }

    #[test]
    fn an_error_stands_for_all_and_says_why() {
        let replies = Replies(b"+OK\r\n-OOM command not allowed\r\n".to_vec());
        assert_eq!(replies.read::<2>().unwrap_err().to_string(), "the server said: OOM command not allowed");
        let nested = Replies(b"*1\r\n-ERR no\r\n".to_vec());
        assert_eq!(nested.read::<1>().unwrap(), [Reply::Array(vec![Reply::Error(b"ERR no")])]);
    }

    #[test]
    fn what_is_no_reply_is_an_error_and_what_is_not_whole_is_waited_for() {
        for wrong in [
            "\r\n",
            "OK\r\n",
            "%1\r\n",
            ":x\r\n",
            ":\r\n",
            "$x\r\n",
            "$-2\r\n",
            "*-2\r\n",
            "$1\r\nabc\r\n",
            "$1\r\na\nb",
            "+OK\n",
            "*1\r\n\r\n",
            "$99999999999\r\n",
            "*99999999999999999999\r\n",
        ] {
            assert!(length(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(length("*1\r\n".repeat(7).as_bytes()).is_err(), "too deep");
        assert!(length(&[b"+".as_slice(), &[b'a'; MAX_REPLY]].concat()).is_err(), "too long");
        assert_eq!(length(b"").unwrap(), None);
        // Announced, and never sent.
        assert_eq!(length(b"*4000000\r\n").unwrap(), None);
    }

    fn reply() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[ -~]{0,9}".prop_map(|text| format!("+{text}\r\n")),
            "[ -~]{0,9}".prop_map(|text| format!("-{text}\r\n")),
            any::<i64>().prop_map(|number| format!(":{number}\r\n")),
            "[a\r\n$*]{0,9}".prop_map(|text| format!("${}\r\n{text}\r\n", text.len())),
            Just("$-1\r\n".to_owned()),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::vec(inner, 0..4).prop_map(|members| format!("*{}\r\n{}", members.len(), members.concat()))
        })
    }

    proptest! {
        #[test]
        fn a_reply_is_whole_at_its_last_byte_and_not_before(one in reply(), next in reply()) {
            let both = format!("{one}{next}");
            for end in 0..both.len() {
                let found = length(&both.as_bytes()[..end]).unwrap();
                prop_assert_eq!(found, (end >= one.len()).then_some(one.len()), "at {}", end);
            }
            let mut rest = both.as_bytes();
            prop_assert!(read(&mut rest, MAX_DEPTH).is_some());
            prop_assert_eq!(rest, next.as_bytes());
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"*$:+-1230\r\n".to_vec())], 0..60)) {
            if let Ok(Some(length)) = length(&bytes) {
                prop_assert!(read(&mut &bytes[..length], MAX_DEPTH).is_some(), "whole, and yet not read");
            }
        }
    }
}
