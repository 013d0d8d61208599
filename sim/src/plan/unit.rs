//! Rates, sizes, times and parts as people write them: `20mbit`, `64MiB`, `30ms`, `0.5%`.

use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// Bits per second at layer 2, decimal: `200kbit`, `20mbit`, `1gbit`; or `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate(pub u64);

/// Bytes, binary: `512KiB`, `64MiB`, `1GiB`, or `4096B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// A time: `500us`, `30ms`, `2s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// A part of a whole: `1%`, `0.25%`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Percent(f64);

/// What may wait before a link: bytes, or so much time at its rate: `64KiB`, `50ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Queue {
    /// Bytes.
    Bytes(u64),
    /// Time at the link's rate.
    Time(Duration),
}

impl Rate {
    /// Of a link that nothing limits: faster than anything that is simulated, and no rate at all in the lab.
    pub const UNLIMITED: Self = Self(100_000_000_000);
}

impl Percent {
    /// 0 to 1.
    pub fn fraction(self) -> f64 {
        self.0 / 100.0
    }
}

impl Queue {
    /// Bytes before a link of so many bits per second.
    pub fn bytes(self, bits_per_second: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Rates are below 2^47 bits, and spans below 2^44 microseconds.
            Self::Time(time) => {
                (u128::from(bits_per_second) * time.as_micros() / 8_000_000).min(u128::from(u64::MAX)) as u64
            }
        }
    }

    /// How long the last byte of a full queue waits at so many bits per second.
    pub fn nanos(self, bits_per_second: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => {
                (u128::from(bytes) * 8_000_000_000 / u128::from(bits_per_second.max(1))) as u64
            }
            Self::Time(time) => time.as_nanos() as u64,
        }
    }
}

/// How a link without a rate is written.
const UNLIMITED: &str = "unlimited";
const SPANS: [(&str, u64); 3] = [("us", 1), ("ms", 1_000), ("s", 1_000_000)];
const RATES: [(&str, u64); 3] = [("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
const SIZES: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

impl TryFrom<String> for Rate {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == UNLIMITED {
            return Ok(Self::UNLIMITED);
        }
        let rate = parse(&text, &RATES).map(Self);
        rate.ok_or_else(|| format!("{text:?} is no rate, expected as \"20mbit\" or \"{UNLIMITED}\""))
    }
}

impl TryFrom<String> for Size {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        parse(&text, &SIZES).map(Self).ok_or_else(|| format!("{text:?} is no size, expected as \"64MiB\""))
    }
}

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let micros = parse_whole(&text, &SPANS);
        let span = micros.map(|micros| Self(Duration::from_micros(micros)));
        span.ok_or_else(|| format!("{text:?} is no time, expected as \"30ms\""))
    }
}

impl TryFrom<String> for Percent {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let percent = number.filter(|number| (0.0..=100.0).contains(number)).map(Self);
        percent.ok_or_else(|| format!("{text:?} is no part, expected as \"1%\""))
    }
}

impl TryFrom<String> for Queue {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bytes = parse(&text, &SIZES).map(Self::Bytes);
        let time = || parse(&text, &SPANS).map(|micros| Self::Time(Duration::from_micros(micros)));
        bytes.or_else(time).ok_or_else(|| format!("{text:?} is no queue, expected as \"50ms\" or \"64KiB\""))
    }
}

/// A positive whole number with one of the units.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    parse_whole(text, units).filter(|value| *value > 0)
}

/// A whole number with one of the units.
fn parse_whole(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    number.trim().parse::<u64>().ok()?.checked_mul(factor)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UNLIMITED {
            return f.write_str(UNLIMITED);
        }
        write_scaled(f, self.0, &RATES, "bit")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &SIZES[..3], "B")
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_micros() as u64 {
            0 => f.write_str("0ms"),
            micros => write_scaled(f, micros, &SPANS, "us"),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
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
    fn a_link_may_have_no_rate_and_is_printed_as_it_is_written() {
        assert_eq!(Rate::try_from("unlimited".to_owned()), Ok(Rate::UNLIMITED));
        assert_eq!(Rate::UNLIMITED.to_string(), "unlimited");
        assert_eq!(Rate(10_000_000_000).to_string(), "10gbit");
    }

    #[test]
    fn a_part_is_between_nothing_and_all() {
        assert_eq!(Percent::try_from("1%".to_owned()).map(Percent::fraction), Ok(0.01));
        for text in ["1", "-1%", "101%", "nan%", "%"] {
            assert!(Percent::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_queue_is_bytes_or_time_at_the_rate_of_its_link() {
        let queue = |text: &str| Queue::try_from(text.to_owned()).unwrap();
        assert_eq!((queue("50ms").bytes(20_000_000), queue("64KiB").bytes(1)), (125_000, 65_536));
        assert_eq!((queue("50ms").nanos(1), queue("125000B").nanos(20_000_000)), (50_000_000, 50_000_000));
        for text in ["0ms", "0B", "50", "50m"] {
            assert!(Queue::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        assert_eq!(Rate(20_000_000).to_string(), "20mbit");
        assert_eq!(Size(3 << 20).to_string(), "3MiB");
        assert_eq!(Size(5).to_string(), "5B");
        for text in ["500us", "30ms", "2s", "0ms"] {
            assert_eq!(Span::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        assert_eq!(Percent::try_from("0.25 %".to_owned()).unwrap().to_string(), "0.25%");
    }
}
