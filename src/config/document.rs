//! YAML 1.2 as a small tree in which every key and value knows its place.
//!
//! What serde_yaml would resolve silently is refused here, with its place: duplicate keys, anchors and aliases (a
//! short file can expand to gigabytes by them), tags, a second document, nesting without end.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Deeper than any key of the configuration.
const MAX_DEPTH: usize = 32;

/// A place in the file, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    /// Where a file begins.
    pub(super) const START: Place = Place { line: 1, column: 1 };
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

/// A scalar before anybody asked for its type.
#[derive(Clone, PartialEq)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Neither quoted nor a block: YAML reads `5` and `true` as what they look like.
    pub(super) plain: bool,
    pub(super) origin: Origin,
}

impl std::fmt::Debug for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scalar(..)")
    }
}

/// Where a scalar's text is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It stands in the file.
    File,
    /// All of it is the value of one variable: `${VAR}`.
    Variable,
    /// Some of it is from the environment, or from a default beside a variable's name.
    Mixed,
}

/// Something that is wrong with the document itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) message: String,
}

/// Reads one document. The tree is there unless YAML itself is broken; faults can stand beside it.
pub(super) fn parse(text: &str) -> (Option<Node>, Vec<Fault>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let outcome = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                let marker = error.marker();
                let place = Place { line: marker.line(), column: marker.col() + 1 };
                let remedy = remedy(text, place);
                let message = format!("not YAML: {}; expected {remedy}", error.info());
                Err(Fault { place, key: builder.path(), message })
            }
        };
        if let Err(mut fault) = outcome {
            fault.place = clamp(fault.place, text);
            builder.faults.push(fault);
            return (None, builder.faults);
        }
    }
    for fault in &mut builder.faults {
        fault.place = clamp(fault.place, text);
    }
    (builder.root, builder.faults)
}

/// What most likely mends a document that YAML cannot read.
fn remedy(text: &str, place: Place) -> &'static str {
    let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
    let before = line.split_once("${").map(|(before, _)| before);
    if before.is_some_and(|before| before.contains(['[', '{']) && !before.ends_with(['"', '\''])) {
        "quotes around `${VAR}`, whose braces mean a mapping inside of [ ] and { }"
    } else {
        "YAML 1.2"
    }
}

/// What a file without a document holds.
pub(super) fn empty() -> Node {
    Node { place: Place::START, kind: Kind::Map(Vec::new()) }
}

/// The fault of a file that is no text, at the first byte that is none.
pub(super) fn not_utf8(bytes: &[u8], error: &std::str::Utf8Error) -> Fault {
    let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(before.get(line_start..).unwrap_or_default()).chars().count() + 1;
    let message = "a byte that is not UTF-8; expected YAML in UTF-8".to_owned();
    Fault { place: Place { line, column }, key: String::new(), message }
}

/// A scanner notices some errors behind the last line; a place is always one that an editor can show.
fn clamp(place: Place, text: &str) -> Place {
    let lines = text.lines().count().max(1);
    let line = place.line.clamp(1, lines);
    let end = text.lines().nth(line - 1).map_or(0, |line| line.chars().count()) + 1;
    let column = if place.line > lines { end } else { place.column.clamp(1, end) };
    Place { line, column }
}

/// A mapping or list that is still open.
enum Frame {
    List { place: Place, items: Vec<Node> },
    Map { place: Place, entries: Vec<Entry>, key: Option<(String, Place)> },
}

#[derive(Default)]
struct Builder {
    open: Vec<Frame>,
    root: Option<Node>,
    documents: usize,
    faults: Vec<Fault>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let place = Place { line: span.start.line(), column: span.start.col() + 1 };
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(self.fault(place, "a second document; expected one"));
                }
            }
            Event::Alias(_) => {
                self.note(place, "an alias; expected the value itself, written out");
                self.add(Node { place, kind: Kind::Scalar(plain("")) });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.note_anchor(place, anchor, tag.is_some());
                let plain = style == ScalarStyle::Plain;
                let scalar = Scalar { text: text.into_owned(), plain, origin: Origin::File };
                self.scalar(place, scalar);
            }
            Event::SequenceStart(anchor, tag) => {
                self.note_anchor(place, anchor, tag.is_some());
                self.start(place, Frame::List { place, items: Vec::new() })?;
            }
            Event::MappingStart(anchor, tag) => {
                self.note_anchor(place, anchor, tag.is_some());
                self.start(place, Frame::Map { place, entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Frame::List { place, items }) => self.add(Node { place, kind: Kind::List(items) }),
                Some(Frame::Map { place, entries, .. }) => self.add(Node { place, kind: Kind::Map(entries) }),
                None => {}
            },
        }
        Ok(())
    }

    fn start(&mut self, place: Place, frame: Frame) -> Result<(), Fault> {
        if matches!(self.open.last(), Some(Frame::Map { key: None, .. })) {
            return Err(self.fault(place, "a key that is a list or a mapping; expected a word"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.fault(place, "nested deeper than 32 levels; expected fewer"));
        }
        self.open.push(frame);
        Ok(())
    }

    fn scalar(&mut self, place: Place, scalar: Scalar) {
        if let Some(Frame::Map { entries, key: key @ None, .. }) = self.open.last_mut() {
            let first = entries.iter().find(|entry| entry.key == scalar.text).map(|entry| entry.place.line);
            *key = Some((scalar.text, place));
            if let Some(line) = first {
                self.note(place, &format!("written twice, first on line {line}; expected once"));
            }
            return;
        }
        self.add(Node { place, kind: Kind::Scalar(scalar) });
    }

    fn add(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, .. }) => match key.take() {
                // The second of two stays away: the problem is reported, and what follows is judged by the first.
                Some((key, _)) if entries.iter().any(|entry| entry.key == key) => {}
                Some((key, place)) => entries.push(Entry { key, place, value: node }),
                None => *key = Some((String::new(), node.place)),
            },
        }
    }

    fn note_anchor(&mut self, place: Place, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.note(place, "an anchor (&name); expected the value itself, written out where it is needed");
        }
        if tagged {
            self.note(place, "a tag (!name); expected a plain value");
        }
    }

    fn note(&mut self, place: Place, message: &str) {
        let fault = self.fault(place, message);
        self.faults.push(fault);
    }

    fn fault(&self, place: Place, message: &str) -> Fault {
        Fault { place, key: self.path(), message: message.to_owned() }
    }

    /// The key that is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.open {
            match frame {
                Frame::List { items, .. } => path = item(&path, items.len()),
                Frame::Map { key: Some((key, _)), .. } => path = member(&path, key),
                Frame::Map { key: None, .. } => {}
            }
        }
        path
    }
}

/// The path of a mapping's member.
pub(super) fn member(path: &str, key: &str) -> String {
    let key: String = key.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(80).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The path of a list's item.
pub(super) fn item(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

fn plain(text: &str) -> Scalar {
    Scalar { text: text.to_owned(), plain: true, origin: Origin::File }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_refused_says_where() {
        for (text, place, key, message) in [
            ("a: [", (1, 5), "a[0]", "not YAML"),
            ("a: 1\nb: 2\na: 3\n", (3, 1), "a", "written twice, first on line 1"),
            ("a:\n  b: 1\n  b: 2\n", (3, 3), "a.b", "written twice, first on line 2"),
            ("a: &x 1\n", (1, 4), "a", "an anchor"),
            ("a: &x 1\nb: *x\n", (1, 4), "a", "an anchor"),
            ("a: !!str 1\n", (1, 4), "a", "a tag"),
            ("a: 1\n---\nb: 2\n", (2, 1), "", "a second document"),
            ("[a]: 1\n", (1, 1), "", "a key that is a list"),
        ] {
            let fault = parse(text).1.remove(0);
            assert!(fault.message.starts_with(message), "{text:?}: {fault:?}");
            assert_eq!(
                (fault.key.as_str(), (fault.place.line, fault.place.column)),
                (key, place),
                "{text:?}: {fault:?}"
            );
        }
    }

    #[test]
    fn a_reference_inside_of_brackets_is_told_to_stand_in_quotes() {
        for (text, quotes) in [
            ("urls: [${URL}]\n", true),
            ("urls: [http://a, ${URL:-http://b}]\n", true),
            ("tls: {key: ${KEY}}\n", true),
            ("urls: [\"${URL}\"\n", false),
            ("urls: ['${URL}'\n", false),
            ("urls: [\n", false),
        ] {
            let fault = parse(text).1.remove(0);
            assert!(fault.message.starts_with("not YAML"), "{fault:?}");
            assert_eq!(fault.message.contains("quotes around `${VAR}`"), quotes, "{text:?}: {fault:?}");
        }
        for text in ["urls: [\"${URL}\"]\n", "key: ${KEY}\n", "urls:\n  - ${URL}\n"] {
            assert_eq!(parse(text).1, [], "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        for text in ["[".repeat(100_000), "{a: ".repeat(50_000), "- ".repeat(100_000)] {
            let (root, faults) = parse(&text);
            assert!(root.is_none() && !faults.is_empty());
        }
    }

    #[test]
    fn places_are_those_of_the_keys() {
        let (root, faults) = parse("# head\nlisten:\n  - address: a\n    tls: {key: k}\n");
        assert_eq!(faults, []);
        let Kind::Map(entries) = root.unwrap().kind else { panic!() };
        assert_eq!(entries[0].place, Place { line: 2, column: 1 });
        let Kind::List(items) = &entries[0].value.kind else { panic!() };
        assert_eq!(items[0].place, Place { line: 3, column: 5 });
        let Kind::Map(entries) = &items[0].kind else { panic!() };
        assert_eq!(entries[1].place, Place { line: 4, column: 5 });
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_at_a_place_in_it(
            text in prop_oneof![".{0,200}", "[ \\-:{}\\[\\]&*!|>'\"%@`#,?\na-c\t\r0-9.$~]{0,120}"]
        ) {
            let (_, faults) = parse(&text);
            for fault in faults {
                // YAML 1.2 section 5.4: a CR alone breaks a line too.
                let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count();
                prop_assert!((1..=lines).contains(&fault.place.line));
                prop_assert!(fault.place.column >= 1);
            }
        }
    }
}
