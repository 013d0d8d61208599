//! One direction of a relay: frames go in, some are lost, the others come out in order when their time has come.

use crate::link::{Delay, Loss};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;

/// Bytes under way at most, more than a second at 1 Gbit/s: bounds memory where a rate and a delay are both absurd.
const BYTES_MAX: usize = 256 << 20;

/// What a direction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Frames that came out.
    pub carried: u64,
    /// Frames lost by the dice.
    pub lost: u64,
    /// Frames for which there was no room.
    pub dropped: u64,
    /// Frames that the device at the end refused, since it is down.
    pub refused: u64,
    /// Nanoseconds by which frames came out too late, all together.
    pub late_nanos: u64,
}

/// A delay line.
#[derive(Debug)]
pub struct Line {
    delay: Delay,
    loss: Loss,
    /// Frames with the time at which each is due; in order of time.
    waiting: VecDeque<(u64, Box<[u8]>)>,
    bytes: usize,
    last_due: u64,
    counted: Counted,
}

impl Line {
    /// An empty line.
    pub fn new(delay: Delay, loss: Loss) -> Self {
        Self { delay, loss, waiting: VecDeque::new(), bytes: 0, last_due: 0, counted: Counted::default() }
    }

    /// A frame enters at `now`, in nanoseconds.
    pub fn enter(&mut self, now: u64, frame: &[u8]) {
        if self.loss.is_lost() {
            self.counted.lost += 1;
        } else if self.bytes + frame.len() > BYTES_MAX {
            self.counted.dropped += 1;
        } else {
            self.bytes += frame.len();
            self.last_due = self.last_due.max(now.saturating_add(self.delay.at(now)));
            self.waiting.push_back((self.last_due, frame.into()));
        }
    }

    /// When the next frame comes out.
    pub fn next_due(&self) -> Option<u64> {
        self.waiting.front().map(|(due, _)| *due)
    }

    /// The next frame that is due; [`Self::on_sent`] is told what became of it.
    pub fn poll(&mut self, now: u64) -> Option<Box<[u8]>> {
        self.next_due().filter(|due| *due <= now)?;
        let (due, frame) = self.waiting.pop_front()?;
        self.bytes -= frame.len();
        self.counted.late_nanos += now - due;
        Some(frame)
    }

    /// Whether the last frame went out.
    pub fn on_sent(&mut self, is_sent: bool) {
        let count = if is_sent { &mut self.counted.carried } else { &mut self.counted.refused };
        *count += 1;
    }

    /// What was done so far.
    pub fn counted(&self) -> Counted {
        self.counted
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entered = self.carried + self.lost;
        let part = self.lost as f64 * 100.0 / entered.max(1) as f64;
        write!(f, "{} frames, {} lost ({part:.2} %)", self.carried, self.lost)?;
        write!(f, ", {:.3} ms late on average", self.late_nanos as f64 / 1e6 / self.carried.max(1) as f64)?;
        match self.dropped + self.refused {
            0 => Ok(()),
            others => write!(f, ", {others} for which there was no room or no link"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MS: u64 = 1_000_000;

    fn line(delay_ms: u64, jitter_ms: u64, loss: f64) -> Line {
        let (delay, jitter) = (Duration::from_millis(delay_ms), Duration::from_millis(jitter_ms));
        Line::new(Delay::new(delay, jitter, 3), Loss::new(loss, None, 4))
    }

    #[test]
    fn a_frame_comes_out_when_its_time_has_come_and_not_before() {
        let mut line = line(30, 0, 0.0);
        line.enter(5 * MS, b"one");
        line.enter(6 * MS, b"two");
        assert_eq!((line.next_due(), line.poll(35 * MS - 1)), (Some(35 * MS), None));
        assert_eq!(line.poll(35 * MS).as_deref(), Some(&b"one"[..]));
        assert_eq!((line.poll(35 * MS), line.next_due()), (None, Some(36 * MS)));
    }

    #[test]
    fn frames_keep_their_order_under_jitter_and_what_is_lost_is_counted() {
        let mut line = line(20, 20, 0.1);
        for number in 0..20_000_u32 {
            line.enter(u64::from(number) * MS / 10, &number.to_le_bytes());
        }
        let mut last = None;
        while let Some(frame) = line.poll(3600 * 1000 * MS) {
            let number = u32::from_le_bytes(frame.as_ref().try_into().unwrap());
            assert!(last < Some(number));
            last = Some(number);
            line.on_sent(true);
        }
        let Counted { carried, lost, .. } = line.counted();
        assert_eq!(carried + lost, 20_000);
        assert!((1900..2100).contains(&lost), "{lost}");
        assert_eq!(line.bytes, 0);
    }

    #[test]
    fn a_line_that_is_full_drops_what_comes() {
        let mut line = line(1000, 0, 0.0);
        let frame = vec![0; 1 << 20];
        (0..300).for_each(|_| line.enter(0, &frame));
        assert_eq!((line.bytes, line.counted().dropped), (BYTES_MAX, 44));
    }
}
