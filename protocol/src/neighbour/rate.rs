//! Measured rates and the token bucket for messages; integers only.

use crate::time::Timestamp;
use std::time::Duration;

/// Bytes per second over about the last second.
#[derive(Debug, Clone, Default)]
pub struct RateMeter {
    since: Timestamp,
    bytes: u64,
    rate: u64,
}

impl RateMeter {
    /// Length of one measurement.
    const SPAN: Duration = Duration::from_millis(500);

    /// Bytes moved.
    pub fn add(&mut self, bytes: u64, now: Timestamp) {
        let span = now.since(self.since);
        if span >= Self::SPAN {
            let measured = if span > Self::SPAN * 4 { 0 } else { per_second(self.bytes, span) };
            self.rate = if self.rate == 0 { measured } else { (self.rate + measured) / 2 };
            (self.since, self.bytes) = (now, 0);
        }
        self.bytes += bytes;
    }

    /// The last estimate; 0 when nothing was measured.
    pub fn rate(&self) -> u64 {
        self.rate
    }
}

/// The highest rate seen in the last 5 to 10 s: what a path can carry, as BBR takes it (Cardwell et al. 2016).
#[derive(Debug, Clone, Default)]
pub struct MaxRate {
    since: Timestamp,
    current: u64,
    previous: u64,
}

impl MaxRate {
    const SPAN: Duration = Duration::from_secs(5);

    /// One sample.
    pub fn sample(&mut self, bytes: u64, over: Duration, now: Timestamp) {
        if now.since(self.since) > Self::SPAN {
            (self.previous, self.current, self.since) = (self.current, 0, now);
        }
        self.current = self.current.max(per_second(bytes, over));
    }

    /// Bytes per second; 0 before the first sample.
    pub fn rate(&self) -> u64 {
        self.current.max(self.previous)
    }
}

/// A smoothed duration: each sample counts an eighth, as TCP smooths its round trip (RFC 6298).
#[derive(Debug, Clone, Copy, Default)]
pub struct Smoothed(Duration);

impl Smoothed {
    /// One sample.
    pub fn sample(&mut self, duration: Duration) {
        self.0 = if self.0.is_zero() { duration } else { (self.0 * 7 + duration) / 8 };
    }

    /// The smoothed duration; zero before the first sample.
    pub fn get(self) -> Duration {
        self.0
    }
}

/// Bytes over a duration, as bytes per second.
pub fn per_second(bytes: u64, over: Duration) -> u64 {
    bytes.saturating_mul(1_000_000) / (over.as_micros() as u64).max(1)
}

/// Bytes that `rate` moves in a duration.
pub fn bytes_in(rate: u64, over: Duration) -> u64 {
    (u128::from(rate) * over.as_micros() / 1_000_000) as u64
}

/// How long `bytes` take at `rate`; `None` when no rate is known.
pub fn time_for(bytes: u64, rate: u64) -> Option<Duration> {
    (rate > 0).then(|| Duration::from_micros(bytes.saturating_mul(1_000_000) / rate))
}

/// So many tokens a second, four times as many at once.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_second: u64,
    micro_tokens: u64,
    at: Timestamp,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_second: u32, now: Timestamp) -> Self {
        let per_second = u64::from(per_second);
        Self { per_second, micro_tokens: per_second * 4_000_000, at: now }
    }

    /// Takes a token; false if there is none.
    pub fn take(&mut self, now: Timestamp) -> bool {
        let gained = (now.since(self.at).as_micros() as u64).saturating_mul(self.per_second);
        self.micro_tokens = self.micro_tokens.saturating_add(gained).min(self.per_second * 4_000_000);
        self.at = now;
        let has = self.micro_tokens >= 1_000_000;
        if has {
            self.micro_tokens -= 1_000_000;
        }
        has
    }
}
