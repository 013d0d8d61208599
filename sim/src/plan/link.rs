//! How good a link is beside its rates: the `link` tables of a plan.

use super::Plan;
use super::unit::{Percent, Queue, Span};
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// A link's longest delay.
const DELAY_MAX: Duration = Duration::from_secs(10);
/// With more loss no connection comes about.
const LOSS_MAX: f64 = 0.5;
/// A longer burst is an outage, which is an event.
const LOSS_BURST_MAX: f64 = 1000.0;
/// Before each link wait so many milliseconds of traffic before packets are dropped: a small switch's buffer.
const QUEUE_MS: u64 = 50;

/// Delay, loss and queue of a party's link; the same in both directions, each with dice of its own.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// One way, beside the queue.
    pub delay: Span,
    /// By how much the delay wanders around that.
    pub jitter: Span,
    /// Of all packets, behind the queue.
    pub loss: Percent,
    /// Packets that are lost in a row, on average; without it each is lost for itself.
    pub loss_burst: Option<f64>,
    /// What may wait before a direction with a rate until packets are dropped.
    pub queue: Queue,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Span::default(),
            jitter: Span::default(),
            loss: Percent::default(),
            loss_burst: None,
            queue: Queue::Time(Duration::from_millis(QUEUE_MS)),
        }
    }
}

impl Link {
    /// Whether it delays or loses anything.
    pub fn is_perfect(&self) -> bool {
        self.delay.0.is_zero() && self.loss.fraction() == 0.0
    }

    /// Losses that a sender sees as one, of all packets: a burst halves its window once.
    pub fn loss_events(&self) -> f64 {
        let fraction = self.loss.fraction();
        fraction * self.loss_burst.map_or(1.0 - fraction, |burst| 1.0 / burst)
    }

    /// The key that makes no sense, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.delay.0 > DELAY_MAX {
            let most = Span(DELAY_MAX);
            return Err(("delay", format!("is {}, expected at most {most}", self.delay)));
        }
        if self.jitter.0 > self.delay.0 {
            return Err((
                "jitter",
                format!("is {}, expected at most the delay, which is {}", self.jitter, self.delay),
            ));
        }
        if self.loss.fraction() > LOSS_MAX {
            return Err(("loss", format!("is {}, expected at most 50%", self.loss)));
        }
        match self.loss_burst {
            Some(burst) if !(1.0..=LOSS_BURST_MAX).contains(&burst) => {
                Err(("loss_burst", format!("is {burst}, expected packets from 1 to {LOSS_BURST_MAX}")))
            }
            Some(_) if self.loss.fraction() == 0.0 => Err(("loss_burst", "is for a link with loss".into())),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Link {
    /// What follows a rate: nothing for a link that only has one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.delay.0.is_zero() {
            write!(f, " + {}", self.delay)?;
        }
        if !self.jitter.0.is_zero() {
            write!(f, " ± {}", self.jitter)?;
        }
        if self.loss.fraction() > 0.0 {
            write!(f, ", {} lost", self.loss)?;
        }
        self.loss_burst.map_or(Ok(()), |burst| write!(f, " in bursts of {burst}"))
    }
}

impl Plan {
    /// Devices and links, for a report.
    pub fn links_in_words(&self) -> String {
        let (seeder, devices) = (&self.seeder, &self.devices);
        format!(
            "{} devices, seeder {}{}, devices {} up {} down{}",
            devices.count, seeder.up, seeder.link, devices.up, devices.down, devices.link
        )
    }
}
