//! An even rate for what this process sends: each send is given the moment at which it may begin.
//!
//! Virtual scheduling (the generic cell rate algorithm): no bucket to refill, first come first served.

use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// How far sends may run ahead of the even rate, so that a limit does not leave gaps between frames.
const BURST: Duration = Duration::from_millis(50);

/// A shared rate limit in bytes per second.
#[derive(Debug)]
pub struct Limiter {
    bytes_per_second: u64,
    next: Mutex<Option<Instant>>,
}

impl Limiter {
    /// A limit; at least one byte per second.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), next: Mutex::new(None) }
    }

    /// Takes `bytes` of the rate and waits until they may be sent.
    pub async fn take(&self, bytes: usize) {
        tokio::time::sleep_until(self.reserve(bytes, Instant::now())).await;
    }

    fn reserve(&self, bytes: usize, now: Instant) -> Instant {
        let cost = Duration::from_micros(bytes as u64 * 1_000_000 / self.bytes_per_second);
        let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let start = next.map_or(now, |at| at.max(now));
        *next = Some(start + cost);
        start.checked_sub(BURST).map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_of_sends_keeps_the_rate_whatever_their_sizes() {
        let limiter = Limiter::new(1_000_000);
        let now = Instant::now();
        let last = (1..=100).map(|i| limiter.reserve(i * 1000, now)).last().unwrap();
        let sent_before = (1..100).sum::<usize>() * 1000;
        let wait = last - now + BURST;
        assert_eq!(wait.as_millis(), (sent_before / 1000) as u128);
    }

    #[test]
    fn an_idle_time_earns_nothing() {
        let limiter = Limiter::new(1000);
        let now = Instant::now();
        limiter.reserve(1000, now);
        let later = now + Duration::from_secs(60);
        assert_eq!(limiter.reserve(1000, later), later);
        assert!(limiter.reserve(1, later) > later);
    }
}
