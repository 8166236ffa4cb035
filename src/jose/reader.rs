//! JSON read in one pass, as whoever asks goes through it; no tree is made, and texts are borrowed where they can be.
//!
//! The structure is read here. A text with escapes, and a number that is more than a few digits, are cut out whole and
//! left to `serde_json`: they are rare, and it is right about them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Number;

/// Deepest nesting that is read: arrays and objects inside one another. The outermost is the first.
const MAX_DEPTH: u8 = 16;
/// Few objects have more members; up to so many, comparing each with each is quicker than a set.
const FEW_NAMES: usize = 16;

/// Where a reading of a JSON text has come to. Every function reads one value, and says `None` where there is none,
/// where it is nested too deeply, or where two readers could read it differently: then nothing more is to be read.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth_left: u8,
}

/// Names of one object, none of them twice.
pub(crate) struct Names<'a> {
    first: [&'a str; FEW_NAMES],
    /// How many of those are there.
    known: usize,
    /// Later ones, and those that are written with escapes.
    others: BTreeSet<Cow<'a, str>>,
}

/// Reads a whole text; `None` if `read` says so, if it is no UTF-8, or if anything but white space follows.
pub(crate) fn read<'a, T>(json: &'a [u8], read: impl FnOnce(&mut Reader<'a>) -> Option<T>) -> Option<T> {
    // Checked once and whole: what is cut out at ASCII characters is UTF-8 too.
    let mut reader = Reader { text: std::str::from_utf8(json).ok()?, at: 0, depth_left: MAX_DEPTH };
    let value = read(&mut reader)?;
    reader.skip_blanks();
    (reader.at == json.len()).then_some(value)
}

impl<'a> Reader<'a> {
    /// The first character of the next value, or of whatever stands in its place.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.skip_blanks();
        self.text.as_bytes().get(self.at).copied()
    }

    /// An object, of which `each` is shown every name and must read the value. Names may come twice: see [`Names`].
    pub(crate) fn object(&mut self, mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Option<()>) -> Option<()> {
        self.inside(b'{', b'}', |reader| {
            let name = reader.string()?;
            reader.expect(b':')?;
            each(reader, name)
        })
    }

    /// An array, of which `each` must read every element.
    pub(crate) fn array(&mut self, each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.inside(b'[', b']', each)
    }

    /// A text; `Some(None)` for any other value.
    pub(crate) fn text(&mut self) -> Option<Option<Cow<'a, str>>> {
        if self.peek()? == b'"' {
            return self.string().map(Some);
        }
        self.pass()?;
        Some(None)
    }

    /// A number, and nothing else.
    pub(crate) fn number(&mut self) -> Option<Number> {
        /// So many digits fit any integer.
        const FEW_DIGITS: usize = 15;
        let start = self.skip_blanks();
        let rest = self.text.get(start..)?;
        let length =
            rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        let number = rest.get(..length)?;
        self.at += length;
        let plain = length <= FEW_DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
        if plain && (length == 1 || (length > 1 && !number.starts_with('0'))) {
            let value = number.bytes().fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
            return Some(value.into());
        }
        serde_json::from_str(number).ok()
    }

    /// `true`, `false` or `null`: `Some(None)` for the last.
    pub(crate) fn constant(&mut self) -> Option<Option<bool>> {
        let start = self.skip_blanks();
        let rest = self.text.get(start..)?;
        let (word, value) = [("true", Some(true)), ("false", Some(false)), ("null", None)]
            .into_iter()
            .find(|(word, _)| rest.starts_with(word))?;
        self.at += word.len();
        Some(value)
    }

    /// Any value, of which nothing is kept.
    pub(crate) fn pass(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' => {
                let mut names = Names::new();
                self.object(|reader, name| {
                    names.add(name)?;
                    reader.pass()
                })
            }
            b'[' => self.array(Self::pass),
            b't' | b'f' | b'n' => self.constant().map(drop),
            _ => self.number().map(drop),
        }
    }

    /// Any value, as it is written.
    pub(crate) fn raw(&mut self) -> Option<&'a str> {
        let start = self.skip_blanks();
        self.pass()?;
        self.text.get(start..self.at)
    }

    /// What stands between two brackets, with commas between.
    fn inside(&mut self, open: u8, close: u8, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(open)?;
        let depth_left = self.depth_left;
        self.depth_left = depth_left.checked_sub(1)?;
        if self.peek()? == close {
            self.at += 1;
        } else {
            loop {
                each(self)?;
                match self.peek()? {
                    b',' => self.at += 1,
                    end if end == close => break self.at += 1,
                    _ => return None,
                }
            }
        }
        self.depth_left = depth_left;
        Some(())
    }

    fn expect(&mut self, character: u8) -> Option<()> {
        (self.peek()? == character).then(|| self.at += 1)
    }

    /// A string: without escapes, or read by `serde_json`.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.expect(b'"')?;
        let start = self.at;
        self.at += special(self.text.as_bytes().get(start..)?);
        if self.text.as_bytes().get(self.at)? == &b'"' {
            let inner = self.text.get(start..self.at)?;
            self.at += 1;
            return Some(Cow::Borrowed(inner));
        }
        loop {
            match self.text.as_bytes().get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        serde_json::from_str(self.text.get(start - 1..self.at)?).ok().map(Cow::Owned)
    }

    fn skip_blanks(&mut self) -> usize {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.as_bytes().get(self.at) {
            self.at += 1;
        }
        self.at
    }
}

impl<'a> Names<'a> {
    pub(crate) fn new() -> Self {
        Self { first: [""; FEW_NAMES], known: 0, others: BTreeSet::new() }
    }

    /// `None` for one that was there.
    pub(crate) fn add(&mut self, name: Cow<'a, str>) -> Option<()> {
        if self.first.iter().take(self.known).any(|known| *known == name) || self.others.contains(&*name) {
            return None;
        }
        match (name, self.first.get_mut(self.known)) {
            (Cow::Borrowed(name), Some(place)) => {
                *place = name;
                self.known += 1;
            }
            (name, _) => _ = self.others.insert(name),
        }
        Some(())
    }
}

/// How many bytes stand before the first quotation mark, backslash or control character, or the end.
fn special(bytes: &[u8]) -> usize {
    let (eights, rest) = bytes.as_chunks::<8>();
    for (at, eight) in eights.iter().enumerate() {
        let found = special_of_eight(u64::from_le_bytes(*eight));
        if found != 0 {
            // The lowest mark is right; those above it may be the carry's.
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let of_rest = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    eights.len() * 8 + of_rest.unwrap_or(rest.len())
}

/// The highest bit of each byte that is special, as far as the first one.
fn special_of_eight(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
    let is = |byte: u8| below(eight ^ (ONES * u64::from(byte)), 1);
    (below(eight, 0x20) | is(b'"') | is(b'\\')) & (ONES * 0x80)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn pass(text: &str) -> Option<()> {
        read(text.as_bytes(), Reader::pass)
    }

    /// Members of all objects, as a tree has them: one for those of one name.
    fn members(value: &Value) -> usize {
        match value {
            Value::Object(map) => map.len() + map.values().map(members).sum::<usize>(),
            Value::Array(list) => list.iter().map(members).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }

    #[test]
    fn a_text_is_borrowed_and_nothing_else_is_one() {
        assert!(matches!(read(br#""dpop+jwt""#, Reader::text), Some(Some(Cow::Borrowed("dpop+jwt")))));
        assert!(matches!(read(br#""\u0061""#, Reader::text), Some(Some(Cow::Owned(a))) if a == "a"));
        for other in ["1", "-1", "1.5", "null", "true", "[]", "{}", r#"["a"]"#, r#"{"a":"b"}"#] {
            assert_eq!(read(other.as_bytes(), Reader::text), Some(None), "{other}");
        }
    }

    #[test]
    fn the_first_special_character_is_found_wherever_it_stands() {
        for special_one in (0..=u8::MAX).filter(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
            for before in 0..40 {
                for filler in [b'a', 0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xff, 0xa2, 0xdc] {
                    let bytes = [vec![filler; before], vec![special_one], vec![b'"'; 9]].concat();
                    assert_eq!(special(&bytes), before, "{special_one} after {before} of {filler}");
                }
            }
        }
        for length in 0..60 {
            assert_eq!(special(&vec![b'a'; length]), length);
        }
    }

    #[test]
    fn names_come_once_however_many() {
        let all: Vec<String> = (0..40).map(|number| format!("m{number}")).collect();
        // Written plainly, with escapes, or now so, now so.
        let written = |number: usize, plain: bool| match &all[number] {
            name if plain => Cow::Borrowed(name.as_str()),
            name => Cow::Owned(name.clone()),
        };
        for many in [0, 1, FEW_NAMES - 1, FEW_NAMES, FEW_NAMES + 1, all.len()] {
            for escaped in [all.len(), 0, 3] {
                let mut names = Names::new();
                assert!((0..many).all(|number| names.add(written(number, number < escaped)).is_some()));
                for plain in [false, true] {
                    assert!((0..many).all(|number| names.add(written(number, plain)).is_none()), "{many}");
                }
            }
        }
    }

    #[test]
    fn a_number_is_what_serde_json_reads() {
        for text in [
            "0",
            "7",
            "-0",
            "-1",
            "00",
            "01",
            "-",
            "+1",
            "1.",
            "1.5",
            ".5",
            "1e3",
            "1E+3",
            "1e",
            "123456789012345",
            "1234567890123456",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775809",
            "1e999",
            "0x1",
            "",
        ] {
            assert_eq!(read(text.as_bytes(), Reader::number), serde_json::from_str(text).ok(), "{text}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-c .\\\\\"\u{e9}\n]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c.\\\\\u{e9}]{0,3}", inner, 0..12)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, Reader::pass);
        }

        #[test]
        fn whatever_serde_json_writes_is_read(value in json(), pretty: bool) {
            let written = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = written.unwrap();
            prop_assert_eq!(pass(&text), Some(()));
            prop_assert_eq!(read(text.as_bytes(), Reader::raw), Some(text.as_str()));
        }

        /// Taken where serde_json takes it, unless a member is there twice; so many colons are there as members.
        #[test]
        fn what_is_read_is_what_serde_json_reads_without_doubles(
            text in prop_oneof![
                r#"[\[\]{}:,"ab0-9.eE+\- \\ntrul]{0,40}"#,
                r#"\{("[ab]{0,1}":([\[\]{}:,"ab0-9.eE+\- \\ntru]{0,12}),?){0,3}\}"#,
                r#"(\[|\]|\{|\}|"a":|"b":|"\\u0061"|,|1|-2.5|true|null|"é"| ){0,14}"#,
            ],
        ) {
            let tree = serde_json::from_str::<Value>(&text);
            let colons = text.matches("\":").count();
            match (pass(&text), tree) {
                (Some(()), tree) => prop_assert!(tree.is_ok()),
                (None, Ok(tree)) => prop_assert!(members(&tree) < colons, "refused without a reason"),
                (None, Err(_)) => {}
            }
        }
    }
}
