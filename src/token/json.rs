//! The claims of a token as they were signed: their text, and where in it each one stands.
//!
//! A tree of the same claims takes four times the memory in twenty pieces. Tokens are kept for as long as their clients
//! come back, and of most claims nobody ever asks.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

use crate::jose::{Names, read};

/// Longest text of claims, in bytes: more than any token has that is looked at.
const MAX_BYTES: usize = u16::MAX as usize;

/// Most tokens have no more claims.
const USUAL_MEMBERS: usize = 16;

/// The claims: a JSON object in which no object, at any depth, has two members of one name.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    /// The object, and behind it those names that are written with escapes, once more without.
    text: Box<str>,
    members: Box<[Place]>,
}

/// Where a member stands in the text: beginnings and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    name: (u16, u16),
    value: (u16, u16),
}

/// The value of a claim: its JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a>(&'a str);

impl Claims {
    /// Reads an object; `None` for anything else, for a member twice, and for what is nested too deeply.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(json).ok().filter(|text| text.len() <= MAX_BYTES)?;
        let mut members = Vec::with_capacity(USUAL_MEMBERS);
        let mut unescaped = String::new();
        let place = |from: usize, length: usize| Some((u16::try_from(from).ok()?, u16::try_from(from + length).ok()?));
        let place_of = |part: &str| place(part.as_ptr().addr().checked_sub(text.as_ptr().addr())?, part.len());
        let mut names = Names::new();
        read(json, |reader| {
            reader.object(|reader, name| {
                let at = match &name {
                    Cow::Borrowed(name) => place_of(name)?,
                    Cow::Owned(name) => {
                        unescaped.push_str(name);
                        place(text.len() + unescaped.len() - name.len(), name.len())?
                    }
                };
                members.push(Place { name: at, value: place_of(reader.raw()?)? });
                names.add(name)
            })
        })?;
        Some(Self { text: [text, &unescaped].concat().into(), members: members.into() })
    }

    /// The same of a tree; `None` where its text would be longer than any token's.
    pub fn of(members: &Map<String, Value>) -> Option<Self> {
        Self::parse(&serde_json::to_vec(members).ok()?)
    }

    /// A claim by its name.
    pub fn get(&self, name: &str) -> Option<Claim<'_>> {
        let long_as_it = |(from, to): (u16, u16)| usize::from(to.saturating_sub(from)) == name.len();
        let found = self.members.iter().find(|member| long_as_it(member.name) && self.at(member.name) == name)?;
        Some(Claim(self.at(found.value)))
    }

    /// A claim by its name, or by a dotted path into objects (`cnf.jkt`); a name that itself has dots wins.
    pub fn find(&self, path: &str) -> Option<Claim<'_>> {
        self.get(path).or_else(|| {
            let (first, rest) = path.split_once('.')?;
            rest.split('.').try_fold(self.get(first)?, |claim, name| claim.member(name))
        })
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len() + size_of_val(&*self.members)
    }

    fn at(&self, (from, to): (u16, u16)) -> &str {
        self.text.get(usize::from(from)..usize::from(to)).unwrap_or_default()
    }
}

impl<'a> Claim<'a> {
    /// Its text, if it is one.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            return Some(Cow::Borrowed(inner));
        }
        serde_json::from_str(self.0).ok().map(Cow::Owned)
    }

    /// Whether it is a text, or a list.
    pub(super) fn is_text_or_list(self) -> bool {
        self.0.starts_with(['"', '['])
    }

    /// Its words, if it is a text or a list of them (what else is in a list is passed over).
    pub fn words(self) -> Vec<Cow<'a, str>> {
        match self.as_str() {
            Some(Cow::Borrowed(text)) => text.split(' ').map(Cow::Borrowed).collect(),
            Some(Cow::Owned(text)) => text.split(' ').map(|word| Cow::Owned(word.to_owned())).collect(),
            None => match serde_json::from_str::<Vec<&str>>(self.0) {
                Ok(words) => words.into_iter().map(Cow::Borrowed).collect(),
                Err(_) => match self.value() {
                    Value::Array(list) => {
                        list.iter().filter_map(Value::as_str).map(|word| word.to_owned().into()).collect()
                    }
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Vec::new(),
                },
            },
        }
    }

    /// As a tree.
    pub fn value(self) -> Value {
        // It was read as JSON before.
        serde_json::from_str(self.0).unwrap_or_default()
    }

    /// A member, if it is an object that has one of that name.
    fn member(self, name: &str) -> Option<Self> {
        if !self.0.starts_with('{') {
            return None;
        }
        let mut found = None;
        // What is inside was read before: no member is there twice.
        read(self.0.as_bytes(), |reader| {
            reader.object(|reader, known| {
                let value = reader.raw()?;
                if known == name {
                    found = Some(Self(value));
                }
                Some(())
            })
        })?;
        found
    }
}

/// Claims may be personal: which there are is no business of a log.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use crate::jose::StrictValue;

    use super::*;

    fn claims(text: &str) -> Option<Claims> {
        Claims::parse(text.as_bytes())
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for text in [
            "",
            "[]",
            "1",
            "{} x",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":[{"b":{"c":1,"d":2,"c":3}}]}"#,
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":01}"#,
            r#"{"a":1,}"#,
        ] {
            assert_eq!(claims(text), None, "{text}");
        }
        assert_eq!(Claims::parse(b"{\"a\":\"\xff\"}"), None, "not UTF-8");
        let nested = |depth| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(claims(&nested(15)).is_some() && claims(&nested(16)).is_none(), "as deep as a tree may be");
        let many = |twice: &str| {
            let members: Vec<_> = (0..30).map(|at| format!("\"m{at}\":{at}")).chain([twice.to_owned()]).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(claims(&many("\"m30\":1")).is_some() && claims(&many("\"m7\":1")).is_none());
        assert_eq!(claims(&format!("{{\"a\":\"{}\"}}", "x".repeat(70_000))), None, "no token is as long");
    }

    #[test]
    fn a_text_is_borrowed_where_it_can_be() {
        let claims = claims(r#"{"sub":"alice","name":"Zo\u00eb \"Z\"","n":1,"\u006eick":"z"}"#).unwrap();
        assert!(matches!(claims.get("sub").unwrap().as_str(), Some(Cow::Borrowed("alice"))));
        assert_eq!(claims.get("name").unwrap().as_str().unwrap(), "Zo\u{eb} \"Z\"");
        assert_eq!(claims.get("n").unwrap().as_str(), None);
        assert_eq!(claims.get("nick").unwrap().as_str().unwrap(), "z", "a name with an escape");
        assert_eq!(claims.get("Sub"), None);
        assert_eq!(format!("{claims:?}"), "Claims { members: 4, .. }");
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-c .\\\\\"\u{e9}\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c.\\\\\u{e9}]{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// What the tree says.
    fn in_tree<'a>(tree: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
        tree.get(path).or_else(|| {
            let (first, rest) = path.split_once('.')?;
            rest.split('.').try_fold(tree.get(first)?, |value, name| value.as_object()?.get(name))
        })
    }

    proptest! {
        #[test]
        fn every_claim_is_what_a_tree_has(
            members in prop::collection::btree_map("[a-c.\\\\\u{e9}]{0,3}", json(), 0..6),
            path in "[a-c.]{0,5}",
            pretty: bool,
        ) {
            let made: Map<String, Value> = members.into_iter().collect();
            let text = if pretty { serde_json::to_string_pretty(&made) } else { serde_json::to_string(&made) }.unwrap();
            // As it is read, not as it was made: not every double survives its text.
            let tree = StrictValue::parse(text.as_bytes()).and_then(StrictValue::into_object).unwrap();
            let claims = claims(&text).unwrap();
            for path in tree.keys().map(String::as_str).chain([path.as_str()]) {
                let wanted = in_tree(&tree, path);
                let found = claims.find(path);
                prop_assert_eq!(found.map(Claim::value), wanted.cloned(), "{}", path);
                let text = found.and_then(Claim::as_str);
                prop_assert_eq!(text.as_deref(), wanted.and_then(Value::as_str));
                let list = wanted.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
                let words = wanted.and_then(Value::as_str).into_iter().flat_map(|text| text.split(' ')).chain(list);
                prop_assert_eq!(found.map(Claim::words).unwrap_or_default(), words.collect::<Vec<_>>());
            }
            prop_assert_eq!(Claims::of(&made).unwrap().find("a").map(Claim::value), tree.get("a").cloned());
        }

        #[test]
        fn json_like_text_is_read_where_a_tree_is_made_of_it(text in r#"\{("[ab]{0,1}":([\[\]{}:,"ab0-9.eE+\- \\ntru]{0,12}),?){0,3}\}"#) {
            let tree = StrictValue::parse(text.as_bytes()).and_then(StrictValue::into_object);
            let claims = claims(&text);
            prop_assert_eq!(claims.is_some(), tree.is_some());
            if let (Some(claims), Some(tree)) = (claims, tree) {
                for (name, value) in &tree {
                    prop_assert_eq!(&claims.get(name).unwrap().value(), value);
                }
            }
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Claims::parse(&bytes);
        }
    }
}
