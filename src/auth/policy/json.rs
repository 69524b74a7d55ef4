//! JSON as policies need it: members in order, none twice.
//!
//! `serde_json` lets the last of two equal members win, which would let a policy read differently to a
//! person, or to another reader, than it is evaluated.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::malformed;
use crate::error::Result;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// A string, or a number or truth value as it would be written in one; policies allow either.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object, whose member names are unique.
    Object(Vec<(String, Json)>),
}

/// Reads a document. Nesting is bounded by the parser, at 128.
pub fn parse(document: &[u8]) -> serde_json::Result<Json> {
    serde_json::from_slice(document)
}

impl Json {
    /// The member of this name.
    pub fn member(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Refuses members of other names.
    pub fn check_members(&self, known: &[&str]) -> Result<()> {
        let Json::Object(members) = self else { return Err(malformed("Invalid policy syntax.")) };
        match members.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(malformed(format!("Unknown field {name}"))),
            None => Ok(()),
        }
    }

    /// A text, or a list of at least one text; `None` for anything else.
    pub fn texts(&self) -> Option<Vec<&str>> {
        match self {
            Json::Text(text) => Some(vec![text]),
            Json::List(items) if !items.is_empty() => items
                .iter()
                .map(|item| match item {
                    Json::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Json, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> std::result::Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Json, E> {
        Ok(Json::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Json, E> {
        Ok(Json::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Json, E> {
        Ok(Json::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Json, E> {
        Ok(Json::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<Json, A::Error> {
        let mut seen = std::collections::HashSet::new();
        let mut object = Vec::new();
        while let Some((name, value)) = members.next_entry::<String, Json>()? {
            if !seen.insert(name.clone()) {
                return Err(serde::de::Error::custom(format_args!("the member {name} stands twice")));
            }
            object.push((name, value));
        }
        Ok(Json::Object(object))
    }
}
