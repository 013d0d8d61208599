//! JSON with the order of its keys and the digits of its numbers, merged by RFC 7396.

use indexmap::IndexMap;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;

/// Deeper objects are refused: each level costs stack.
const DEPTH_MAX: usize = 64;

/// An object, or anything else as it was written.
#[derive(Debug, Clone)]
pub(super) enum Json {
    Object(IndexMap<String, Json>),
    Other(Box<RawValue>),
}

/// Reads one value and nothing after it.
pub(super) fn read(text: &str) -> Result<Json, String> {
    let raw: Box<RawValue> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    Json::of(raw, DEPTH_MAX).map_err(|e| e.to_string())
}

impl Json {
    fn of(raw: Box<RawValue>, depth: usize) -> serde_json::Result<Self> {
        if !raw.get().starts_with('{') {
            return Ok(Self::Other(raw));
        }
        let depth =
            depth.checked_sub(1).ok_or_else(|| serde_json::Error::custom("objects are nested too deep"))?;
        let members: Members = serde_json::from_str(raw.get())?;
        let members = members.0.into_iter().map(|(key, raw)| Ok((key, Self::of(raw, depth)?)));
        members.collect::<serde_json::Result<_>>().map(Self::Object)
    }

    /// MergePatch of RFC 7396.
    pub(super) fn patched(self, patch: Self) -> Self {
        let Self::Object(mut patch) = patch else { return patch };
        let mut members = if let Self::Object(members) = self { members } else { IndexMap::new() };
        members.retain(|key, _| !patch.get(key).is_some_and(Self::is_null));
        patch.retain(|_, value| !value.is_null());
        for (key, value) in patch {
            let old = members.entry(key).or_insert_with(Self::empty);
            *old = std::mem::replace(old, Self::empty()).patched(value);
        }
        Self::Object(members)
    }

    fn empty() -> Self {
        Self::Object(IndexMap::new())
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Other(raw) if raw.get() == "null")
    }

    /// For people: indented, with a line's end.
    pub(super) fn write(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|e| e.to_string())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Other(raw) => raw.serialize(serializer),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

/// An object's members in their order; of a key that stands twice the last counts.
struct Members(IndexMap<String, Box<RawValue>>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ordered;
        impl<'de> Visitor<'de> for Ordered {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = IndexMap::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    members.insert(key, value);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Ordered)
    }
}
