//! What may be asked of one neighbour at once: two bandwidth-delay products, at least two requests (rules 7, 8).
//!
//! The budget is measured like the scarce window: highest delivery rate, smallest round trip. A neighbour that lets
//! requests expire keeps one request in flight until it delivers again.

use super::limits::Limits;
use super::rate::{MaxRate, bytes_in, time_for};
use crate::geometry::PieceRange;
use crate::id::ContentHash;
use crate::time::Timestamp;
use std::time::Duration;

/// Serving, verifying and waiting: part of the delay that no ping sees.
const SERVE_DELAY: Duration = Duration::from_millis(20);

/// After a refusal nothing is asked of the peer for a moment.
const DECLINED_PAUSE: Duration = Duration::from_millis(500);

/// A range under way.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Of what.
    pub content: ContentHash,
    /// Which.
    pub range: PieceRange,
    bytes: u64,
    at: Timestamp,
    delivered_before: u64,
}

/// Requests in flight to one neighbour.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    asked: Vec<Asked>,
    bytes: u64,
    delivered: u64,
    rate: MaxRate,
    is_slow: bool,
    paused_until: Timestamp,
    last_arrival: Timestamp,
}

impl Budget {
    /// Whether one more request may be sent.
    pub fn has_room(&self, rtt: Duration, limits: &Limits, now: Timestamp) -> bool {
        if now < self.paused_until {
            return false;
        }
        if self.is_slow {
            return self.asked.is_empty();
        }
        let bdp = bytes_in(self.rate.rate(), rtt + SERVE_DELAY) * 2;
        self.bytes < bdp.clamp(limits.budget_bytes_min, limits.budget_bytes_max)
    }

    /// Bytes asked for and not arrived.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A range was asked for.
    pub fn ask(&mut self, content: ContentHash, range: PieceRange, bytes: u64, now: Timestamp) {
        self.asked.push(Asked { content, range, bytes, at: now, delivered_before: self.delivered });
        self.bytes += bytes;
    }

    /// A range arrived: how long it took, if it was asked for.
    pub fn arrive(&mut self, content: ContentHash, range: PieceRange, now: Timestamp) -> Option<Duration> {
        let asked = self.take(content, range)?;
        self.delivered += asked.bytes;
        self.is_slow = false;
        self.last_arrival = now;
        let took = now.since(asked.at);
        self.rate.sample(self.delivered - asked.delivered_before, took, now);
        Some(took)
    }

    /// A range will not come or is not wanted; false if it was not asked for.
    pub fn drop(&mut self, content: ContentHash, range: PieceRange) -> bool {
        self.take(content, range).is_some()
    }

    /// The peer declined a range: until when nothing is asked of it; `None` if it was not asked for.
    pub fn decline(&mut self, content: ContentHash, range: PieceRange, now: Timestamp) -> Option<Timestamp> {
        self.take(content, range)?;
        self.paused_until = now + DECLINED_PAUSE;
        Some(self.paused_until)
    }

    /// Nothing is asked of the peer until then.
    pub fn paused_until(&self) -> Timestamp {
        self.paused_until
    }

    /// When the range was asked for that is under way for the longest time.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.asked.iter().map(|asked| asked.at).min()
    }

    /// Takes out what is overdue for good: for `timeout_min`, or longer where it must be expected to take long.
    pub fn expire(&mut self, rtt: Duration, timeout_min: Duration, now: Timestamp) -> Vec<Asked> {
        let expected = time_for(self.bytes, self.rate.rate()).unwrap_or_default() + rtt;
        let timeout = timeout_min.max(expected * 8);
        // A request waits behind others on the same link: time counts from the last arrival on.
        let late = |asked: &Asked| now.since(asked.at.max(self.last_arrival)) > timeout;
        let expired: Vec<Asked> = self.asked.iter().filter(|asked| late(asked)).copied().collect();
        for asked in &expired {
            self.take(asked.content, asked.range);
            self.is_slow = true;
        }
        expired
    }

    /// Everything under way, of one content or of all.
    pub fn clear(&mut self, content: Option<ContentHash>) -> Vec<Asked> {
        let is = |asked: &Asked| content.is_none_or(|content| content == asked.content);
        let cleared: Vec<Asked> = self.asked.iter().filter(|asked| is(asked)).copied().collect();
        for asked in &cleared {
            self.take(asked.content, asked.range);
        }
        cleared
    }

    fn take(&mut self, content: ContentHash, range: PieceRange) -> Option<Asked> {
        let at = self.asked.iter().position(|asked| asked.content == content && asked.range == range)?;
        let asked = self.asked.remove(at);
        self.bytes -= asked.bytes;
        Some(asked)
    }
}
