//! Rates and sizes as a configuration writes them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A rate of a link, in bits per second: `20mbit`, `500kbit`, `1gbit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    bits: u64,
}

impl Rate {
    /// Bits per second.
    pub fn bits_per_second(self) -> u64 {
        self.bits
    }

    /// Bytes per second.
    pub fn bytes_per_second(self) -> u64 {
        self.bits / 8
    }
}

/// A size: `64MiB`, `1GiB`, `512KiB`, `1000B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

fn parse_unit(text: &str, units: &[(&str, u64)], expected: &str) -> Result<u64, String> {
    let bad = || format!("{text:?}: expected {expected}");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let number: u64 = text[..digits].parse().map_err(|_| bad())?;
    let unit =
        units.iter().find(|(name, _)| name.eq_ignore_ascii_case(text[digits..].trim())).ok_or_else(bad)?;
    number.checked_mul(unit.1).filter(|value| *value > 0).ok_or_else(bad)
}

fn print_unit(value: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().rev().find(|(_, factor)| value.is_multiple_of(*factor));
    unit.map_or_else(|| value.to_string(), |(name, factor)| format!("{}{name}", value / factor))
}

const RATES: [(&str, u64); 4] = [("bit", 1), ("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
const SIZES: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse_unit(text, &RATES, "a rate such as 20mbit (bit, kbit, mbit, gbit)").map(|bits| Self { bits })
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse_unit(text, &SIZES, "a size such as 64MiB (B, KiB, MiB, GiB, TiB)").map(Self)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_unit(self.bits, &RATES))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_unit(self.0, &SIZES))
    }
}

macro_rules! through_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
through_text!(Rate);
through_text!(Size);
