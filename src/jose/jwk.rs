//! The members of a JWK (RFC 7517 section 4), read from JSON without a tree in between.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::reader::{Names, Reader};

/// Every private or symmetric member that a registered key type has (RFC 7518 sections 6.2.2, 6.3.2, 6.4.1;
/// RFC 8037 section 2), and `priv` of the AKP type that post-quantum keys use.
pub(super) const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// A member that should be a string.
#[derive(Debug, Default)]
pub(super) enum Member<'a> {
    /// It is not there.
    #[default]
    Absent,
    /// It is something else.
    Other,
    /// It is one.
    Text(Cow<'a, str>),
}

impl Member<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::Other => None,
        }
    }
}

/// `key_ops` (RFC 7517 section 4.3).
#[derive(Debug, Default)]
pub(super) enum Operations<'a> {
    #[default]
    Absent,
    /// No list of strings.
    Malformed,
    Listed(Vec<Cow<'a, str>>),
}

/// The members that say what a key is and what it is for; of the others only whether they are private.
#[derive(Debug, Default)]
pub(crate) struct JwkMembers<'a> {
    pub(super) kty: Member<'a>,
    pub(super) crv: Member<'a>,
    pub(super) x: Member<'a>,
    pub(super) y: Member<'a>,
    pub(super) n: Member<'a>,
    pub(super) e: Member<'a>,
    pub(super) alg: Member<'a>,
    pub(super) usage: Member<'a>,
    pub(super) operations: Operations<'a>,
    /// A private or symmetric member is there.
    pub(super) private: bool,
}

impl<'a> JwkMembers<'a> {
    /// Of a tree that is there already.
    pub(super) fn of(members: &'a Map<String, Value>) -> Self {
        let mut jwk = Self::default();
        for (name, value) in members {
            if let Some(member) = jwk.named(name) {
                *member = value.as_str().map_or(Member::Other, |text| Member::Text(Cow::Borrowed(text)));
            } else if name == "key_ops" {
                let list = value.as_array().map(|list| list.iter().map(|each| each.as_str().map(Cow::Borrowed)));
                jwk.operations = operations(list.and_then(Iterator::collect));
            }
            jwk.private |= is_private(name);
        }
        jwk
    }

    /// Takes those of a `jwk` header parameter as it is read; `Some(false)` for a value that is no object. `None` for a
    /// member that is there twice.
    pub(crate) fn fill(&mut self, reader: &mut Reader<'a>) -> Option<bool> {
        if reader.peek()? != b'{' {
            return reader.pass().map(|()| false);
        }
        let mut others = Names::new();
        reader.object(|reader, name| {
            if let Some(member) = self.named(&name) {
                let value = reader.text()?.map_or(Member::Other, Member::Text);
                return matches!(std::mem::replace(member, value), Member::Absent).then_some(());
            }
            if name == "key_ops" {
                self.operations = read_operations(reader)?;
            } else {
                reader.pass()?;
                self.private |= is_private(&name);
            }
            others.add(name)
        })?;
        Some(true)
    }

    fn named(&mut self, name: &str) -> Option<&mut Member<'a>> {
        Some(match name {
            "kty" => &mut self.kty,
            "crv" => &mut self.crv,
            "x" => &mut self.x,
            "y" => &mut self.y,
            "n" => &mut self.n,
            "e" => &mut self.e,
            "alg" => &mut self.alg,
            "use" => &mut self.usage,
            _ => return None,
        })
    }
}

fn is_private(name: &str) -> bool {
    PRIVATE_MEMBERS.contains(&name)
}

fn operations(list: Option<Vec<Cow<'_, str>>>) -> Operations<'_> {
    list.map_or(Operations::Malformed, Operations::Listed)
}

fn read_operations<'a>(reader: &mut Reader<'a>) -> Option<Operations<'a>> {
    if reader.peek()? != b'[' {
        return reader.pass().map(|()| Operations::Malformed);
    }
    let mut list = Some(Vec::new());
    reader.array(|reader| {
        match (reader.text()?, &mut list) {
            (Some(text), Some(list)) => list.push(text),
            (None, _) | (Some(_), None) => list = None,
        }
        Some(())
    })?;
    Some(operations(list))
}
