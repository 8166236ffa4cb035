//! `X-Request-Id` and W3C `traceparent`: passed on where they are sound, else made.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Digits of an `X-Request-Id` of ours.
const REQUEST_ID_BYTES: usize = 32;
/// Longest `X-Request-Id` that is believed, in bytes.
const MAX_REQUEST_ID: usize = 128;
/// Longest `tracestate` that a span is given, in bytes: what everybody has to pass on (W3C Trace Context
/// section 3.3.1.5).
const MAX_STATE: usize = 512;

/// The flag of a trace that somebody records (W3C Trace Context section 3.2.2.5.1).
pub(super) const SAMPLED: u8 = 1;
/// The flags that are defined: sampled, and random (level 2). A version 00 sets no other.
const FLAGS: u8 = 3;

/// By which names a request is found again.
#[derive(Debug, Clone)]
pub struct Identifiers {
    request_id: HeaderValue,
    traceparent: HeaderValue,
    request_made: bool,
    trace_made: bool,
    /// The upstream is told of a span of ours.
    trace_continued: bool,
}

/// What a `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: [u8; 16],
    /// The caller's span; `None` where the trace begins here.
    pub parent: Option<[u8; 8]>,
    /// Its flags.
    pub flags: u8,
}

impl Identifiers {
    /// The client's own, or new ones.
    pub fn of(headers: &HeaderMap) -> Self {
        let request_id = only(headers, &REQUEST_ID).filter(|id| is_request_id(id.as_bytes())).cloned();
        let traceparent = only(headers, &TRACEPARENT).filter(|parent| is_traceparent(parent.as_bytes())).cloned();
        let (request_made, trace_made) = (request_id.is_none(), traceparent.is_none());
        let (request_id, traceparent) = match (request_id, traceparent) {
            (Some(request_id), Some(traceparent)) => (request_id, traceparent),
            (request_id, traceparent) => {
                let made = make();
                (request_id.unwrap_or(made.0), traceparent.unwrap_or(made.1))
            }
        };
        Self { request_id, traceparent, request_made, trace_made, trace_continued: false }
    }

    /// For logs.
    pub fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// The 32 digits of the trace, for logs.
    pub fn trace_id(&self) -> &str {
        self.traceparent.to_str().ok().and_then(|parent| parent.get(3..35)).unwrap_or_default()
    }

    /// What the upstream is told. A `tracestate` belongs to its `traceparent` (W3C Trace Context section 3.3.1) and
    /// goes with it.
    pub fn write(&self, headers: &mut HeaderMap) {
        self.answer(headers);
        if self.trace_made || self.trace_continued {
            headers.insert(TRACEPARENT, self.traceparent.clone());
        }
        if self.trace_made {
            headers.remove(TRACESTATE);
        }
    }

    /// The trace that the request is part of.
    pub(super) fn context(&self) -> Option<Context> {
        let parent = self.traceparent.as_bytes();
        let [trace, span, flags] = [parent.get(3..35)?, parent.get(36..52)?, parent.get(53..55)?];
        let caller: [u8; 8] = unhex(span)?;
        let [flags] = unhex(flags)?;
        Some(Context { trace: unhex(trace)?, parent: (!self.trace_made).then_some(caller), flags: flags & FLAGS })
    }

    /// From now on the upstream is told of this span of ours. Its caller's `tracestate` goes along as it came.
    pub(super) fn continue_in(&mut self, span: &[u8; 8]) {
        let flags = self.context().map_or(SAMPLED, |context| context.flags);
        // Of a later version nothing but what version 00 has is understood, so version 00 is written (section 4.3).
        let span = u64::from_be_bytes(*span);
        self.traceparent = value(format!("00-{}-{span:016x}-{flags:02x}", self.trace_id()));
        self.trace_continued = true;
    }

    /// From now on the upstream is told that nobody records a trace that began here.
    pub(super) fn leave_unsampled(&mut self) {
        let sound = self.traceparent.to_str().ok().and_then(|parent| parent.get(..53));
        if let Some(rest) = sound {
            self.traceparent = value(format!("{rest}00"));
        }
    }

    /// What the client is told.
    pub fn answer(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID, self.request_id.clone());
    }

    /// What it is told with an answer of the gate's own: never a word that it sent itself, which it knows anyway.
    pub fn answer_by_ourselves(&self, headers: &mut HeaderMap) {
        if self.request_made {
            self.answer(headers);
        }
    }
}

/// The caller's `tracestate`, where it is one line that can be shown.
pub(super) fn state(headers: &HeaderMap) -> Option<&HeaderValue> {
    only(headers, &TRACESTATE).filter(|state| state.len() <= MAX_STATE && state.to_str().is_ok())
}

/// A new span's name, never all zeros.
pub fn span_id() -> [u8; 8] {
    (fastrand::u64(..) | 1).to_be_bytes()
}

/// The value of a header that must not be repeated.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_none() { first } else { None }
}

fn is_request_id(id: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// W3C Trace Context section 3.2.2: version `00` to the letter, later ones by their known beginning.
fn is_traceparent(parent: &[u8]) -> bool {
    let mut fields = parent.splitn(5, |byte| *byte == b'-');
    let (Some(version), Some(trace), Some(span), Some(flags)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return false;
    };
    let is_hex = |field: &[u8], length| {
        field.len() == length && field.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |field: &[u8]| field.iter().all(|digit| *digit == b'0');
    is_hex(version, 2)
        && version != b"ff"
        && is_hex(trace, 32)
        && !is_zero(trace)
        && is_hex(span, 16)
        && !is_zero(span)
        && is_hex(flags, 2)
        && (version != b"00" || fields.next().is_none())
}

/// A request identifier, and a `traceparent`: sampled, since the access log records it, and since an upstream that
/// follows its parent would else record nothing.
///
/// Both are random, but nothing is guarded by them: they only have to differ, so the system need not be asked for each.
/// They share their bytes.
fn make() -> (HeaderValue, HeaderValue) {
    let mut text = *b"00000000000000000000000000000000\
                      00-00000000000000000000000000000000-0000000000000000-01";
    let (request_id, traceparent) = text.split_at_mut(REQUEST_ID_BYTES);
    hex(request_id, [fastrand::u64(..), fastrand::u64(..)]);
    if let [_, _, _, rest @ ..] = traceparent {
        let (trace, rest) = rest.split_at_mut(32);
        let (_, span) = rest.split_at_mut(1);
        // The lowest bits are set so that neither identifier can be all zeros.
        hex(trace, [fastrand::u64(..), fastrand::u64(..) | 1]);
        hex(span, [fastrand::u64(..) | 1]);
    }
    let mut request_id = Bytes::copy_from_slice(&text);
    let traceparent = request_id.split_off(REQUEST_ID_BYTES);
    (value(request_id), value(traceparent))
}

fn value(text: impl Into<Bytes>) -> HeaderValue {
    HeaderValue::from_maybe_shared(text.into()).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// Writes the digits of numbers, 16 for each.
fn hex<const N: usize>(text: &mut [u8], numbers: [u64; N]) {
    for (place, number) in text.as_chunks_mut().0.iter_mut().zip(numbers) {
        *place = hex_digits(number);
    }
}

/// The digits of a number, all at once: one in each byte.
fn hex_digits(number: u64) -> [u8; 16] {
    let spread = |number: u128, by: u32, mask: u128| (number | number << by) & mask;
    let halves = spread(number.into(), 32, 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff);
    let words = spread(halves, 16, 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff);
    let bytes = spread(words, 8, 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff);
    let digits = spread(bytes, 4, 0x0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f);
    const EACH: u128 = u128::MAX / 0xff;
    // 6 more than a digit from `a` on reaches the next four bits.
    let letters = (digits + 6 * EACH) >> 4 & EACH;
    (digits + u128::from(b'0') * EACH + letters * u128::from(b'a' - b'0' - 10)).to_be_bytes()
}

fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (digits.len() == 2 * N).then_some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX, 0x9a9a_a9a9_0f0f_f0f0] {
            assert_eq!(hex_digits(number).as_slice(), format!("{number:016x}").as_bytes());
        }
        let mut text = *b"----------------!";
        hex(&mut text, [0xabc]);
        assert_eq!(&text, b"0000000000000abc!");
    }

    #[test]
    fn a_request_id_that_is_not_sound_is_replaced() {
        for (came, kept) in [
            (&[][..], false),
            (&[""][..], false),
            (&["a b"], false),
            (&["caf\u{e9}"], false),
            (&["a\tb"], false),
            (&["one", "two"], false),
            (&["x".repeat(129).as_str()], false),
            (&["x".repeat(128).as_str()], true),
            (&["7f3c-{\"a\":1}"], true),
        ] {
            let mut headers = HeaderMap::new();
            for id in came {
                headers.append(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
            }
            let identifiers = Identifiers::of(&headers);
            identifiers.write(&mut headers);
            let sent: Vec<&str> = headers.get_all(REQUEST_ID).iter().map(|id| id.to_str().unwrap()).collect();
            assert_eq!(sent, [identifiers.request_id()], "{came:?}");
            assert_eq!(came == sent, kept, "{came:?} {sent:?}");
            assert!(is_request_id(sent[0].as_bytes()), "{came:?} {sent:?}");
        }
    }

    #[test]
    fn a_trace_that_is_not_sound_begins_anew_without_its_state() {
        for (came, kept) in [
            (&[][..], false),
            (&["00-00000000000000000000000000000000-00f067aa0ba902b7-01"][..], false),
            (&["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"], false),
            (&["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"], false),
            (&["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], false),
            (&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"], false),
            (&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"], false),
            (&[PARENT, PARENT], false),
            (&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"], true),
            (&[PARENT], true),
        ] {
            let mut headers = HeaderMap::new();
            for parent in came {
                headers.append(TRACEPARENT, HeaderValue::from_str(parent).unwrap());
            }
            headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
            let identifiers = Identifiers::of(&headers);
            identifiers.write(&mut headers);
            let sent: Vec<&str> = headers.get_all(TRACEPARENT).iter().map(|id| id.to_str().unwrap()).collect();
            assert_eq!(came == sent, kept, "{came:?} {sent:?}");
            assert_eq!(headers.contains_key(TRACESTATE), kept, "{came:?}");
            assert!(sent.len() == 1 && is_traceparent(sent[0].as_bytes()), "{came:?} {sent:?}");
            assert!(sent[0].contains(identifiers.trace_id()) && identifiers.trace_id().len() == 32);
        }
    }

    #[test]
    fn a_trace_that_is_continued_keeps_its_name_its_flags_and_its_state() {
        let span = [0xab; 8];
        for (came, goes) in [
            (Some(PARENT), "00-4bf92f3577b34da6a3ce929d0e0e4736-abababababababab-01"),
            (
                Some("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0b-more"),
                "00-4bf92f3577b34da6a3ce929d0e0e4736-abababababababab-03",
            ),
            (None, "01"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(came) = came {
                headers.insert(TRACEPARENT, HeaderValue::from_static(came));
            }
            headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
            let mut identifiers = Identifiers::of(&headers);
            let context = identifiers.context().unwrap();
            assert_eq!(context.parent, came.map(|_| [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]));
            let trace = format!("{:032x}", u128::from_be_bytes(context.trace));
            assert_eq!(trace, identifiers.trace_id());
            identifiers.continue_in(&span);
            identifiers.write(&mut headers);
            let sent = headers[TRACEPARENT].to_str().unwrap();
            assert!(sent.ends_with(goes) && sent.contains("-abababababababab-"), "{came:?} {sent}");
            assert!(is_traceparent(sent.as_bytes()) && sent.contains(&trace));
            assert_eq!(headers.contains_key(TRACESTATE), came.is_some());
        }
    }

    #[test]
    fn a_state_that_cannot_be_shown_is_no_spans_state() {
        for (came, kept) in
            [(&["a=1"][..], true), (&["a=1", "b=2"], false), (&["caf\u{e9}=1"], false), (&[&"x".repeat(513)], false)]
        {
            let mut headers = HeaderMap::new();
            for state in came {
                headers.append(TRACESTATE, HeaderValue::from_bytes(state.as_bytes()).unwrap());
            }
            assert_eq!(state(&headers).is_some(), kept, "{came:?}");
        }
    }

    #[test]
    fn made_identifiers_differ() {
        let (one, two) = (Identifiers::of(&HeaderMap::new()), Identifiers::of(&HeaderMap::new()));
        assert_ne!(one.request_id(), two.request_id());
        assert_ne!(one.trace_id(), two.trace_id());
        assert_eq!(one.request_id().len(), 32);
    }

    proptest! {
        #[test]
        fn whatever_comes_what_goes_is_sound(id in "\\PC{0,200}", parent in "[0-9a-f-]{50,60}") {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
            headers.insert(TRACEPARENT, HeaderValue::from_str(&parent).unwrap());
            let identifiers = Identifiers::of(&headers);
            identifiers.write(&mut headers);
            prop_assert!(is_request_id(headers[REQUEST_ID].as_bytes()));
            prop_assert!(is_traceparent(headers[TRACEPARENT].as_bytes()));
        }
    }
}
