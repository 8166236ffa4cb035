//! The members of a JWK (RFC 7517 section 4), read from JSON without a tree in between.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::strict::{InnerTextSeed, NameSeed};

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

/// Reads a `jwk` header parameter; `None` for a value that is no object. Duplicate members are an error.
pub(crate) struct JwkSeed;

impl<'de> DeserializeSeed<'de> for JwkSeed {
    type Value = Option<JwkMembers<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What is no object, or no list, is worth this and no error.
macro_rules! scalars_are {
    ($value:expr) => {
        scalars_are! { $value; visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_str: &str, }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
    ($value:expr; $($visit:ident: $type:ty,)+) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<Self::Value, E> {
            Ok($value)
        })+
    };
}

impl<'de> Visitor<'de> for JwkSeed {
    type Value = Option<JwkMembers<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JWK")
    }

    scalars_are!(None);

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_element_seed(InnerTextSeed)?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut jwk = JwkMembers::default();
        let mut listed = false;
        let mut others = BTreeSet::new();
        while let Some(name) = members.next_key_seed(NameSeed)? {
            let duplicate = if let Some(member) = jwk.named(&name) {
                let was = std::mem::take(member);
                *member = members.next_value_seed(InnerTextSeed)?.map_or(Member::Other, Member::Text);
                !matches!(was, Member::Absent)
            } else if &*name == "key_ops" {
                jwk.operations = members.next_value_seed(OperationsSeed)?;
                std::mem::replace(&mut listed, true)
            } else {
                members.next_value_seed(InnerTextSeed)?;
                jwk.private |= is_private(&name);
                !others.insert(name)
            };
            if duplicate {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Some(jwk))
    }
}

struct OperationsSeed;

impl<'de> DeserializeSeed<'de> for OperationsSeed {
    type Value = Operations<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OperationsSeed {
    type Value = Operations<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of operations")
    }

    scalars_are!(Operations::Malformed);

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut list = Some(Vec::new());
        while let Some(member) = members.next_element_seed(InnerTextSeed)? {
            match (member, &mut list) {
                (Some(text), Some(list)) => list.push(text),
                (None, _) | (Some(_), None) => list = None,
            }
        }
        Ok(operations(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = members.next_key_seed(NameSeed)? {
            members.next_value_seed(InnerTextSeed)?;
            if !names.insert(name) {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Operations::Malformed)
    }
}
