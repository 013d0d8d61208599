//! JSON as documents allow it (rule D2): no duplicate keys, nesting at most [`DEPTH_MAX`], integers below 2⁵³ in size.
//!
//! Parsers disagree about all three; a document that two of them read differently must not exist.

use super::DocumentError;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// The deepest nesting of objects and arrays.
pub const DEPTH_MAX: usize = 16;
/// The first integer that a double cannot tell from its neighbour.
const INTEGER_END: u64 = 1 << 53;

/// Checks `bytes` against the rules above.
pub(super) fn check(bytes: &[u8]) -> Result<(), DocumentError> {
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }.deserialize(&mut parser).map_err(|e| DocumentError::Json(e.to_string()))?;
    parser.end().map_err(|e| DocumentError::Json(e.to_string()))
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate keys, deep nesting, fractions or integers of 2^53 and more")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        if value < INTEGER_END {
            Ok(())
        } else {
            Err(E::custom(format!("the integer {value} is 2^53 or more")))
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.visit_u64(value.unsigned_abs())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        Err(E::custom(format!("{value} is not an integer")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut seen = BTreeSet::new();
        while let Some(Key(key)) = map.next_key()? {
            map.next_value_seed(inner)?;
            if let Some(twice) = seen.replace(key) {
                return Err(A::Error::custom(format!("the key {twice:?} stands twice")));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Key(String);
