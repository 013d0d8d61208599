//! Rates and sizes as people write them: `20mbit`, `64MiB`.

use serde::Deserialize;
use std::fmt;

/// Bits per second at layer 2, decimal: `200kbit`, `20mbit`, `1gbit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate(pub u64);

/// Bytes, binary: `512KiB`, `64MiB`, `1GiB`, or `4096B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

const RATES: [(&str, u64); 3] = [("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
const SIZES: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

impl TryFrom<String> for Rate {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        parse(&text, &RATES).map(Self).ok_or_else(|| format!("{text:?} is no rate, expected as \"20mbit\""))
    }
}

impl TryFrom<String> for Size {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        parse(&text, &SIZES).map(Self).ok_or_else(|| format!("{text:?} is no size, expected as \"64MiB\""))
    }
}

/// A positive whole number with one of the units.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(factor).filter(|value| *value > 0)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &RATES, "bit")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &SIZES[..3], "B")
    }
}

/// With the largest unit that leaves a whole number.
fn write_scaled(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)], plain: &str) -> fmt::Result {
    match units.iter().rev().find(|(_, factor)| value.is_multiple_of(*factor)) {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "{value}{plain}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_decimal_and_sizes_binary() {
        assert_eq!(Rate::try_from("20mbit".to_owned()), Ok(Rate(20_000_000)));
        assert_eq!(Size::try_from("64MiB".to_owned()), Ok(Size(64 << 20)));
        assert_eq!(Size::try_from("9B".to_owned()), Ok(Size(9)));
    }

    #[test]
    fn a_number_without_unit_or_value_is_refused() {
        for text in ["20", "mbit", "0mbit", "-1mbit", "1.5mbit", "99999999999999999999gbit", "20gbyte"] {
            assert!(Rate::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        assert_eq!(Rate(20_000_000).to_string(), "20mbit");
        assert_eq!(Size(3 << 20).to_string(), "3MiB");
        assert_eq!(Size(5).to_string(), "5B");
    }
}
