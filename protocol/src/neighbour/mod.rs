//! One neighbour: admission, liveness, and the budgets that all swarms with it share.
//!
//! ```text
//!  Greeting --hello of our site and version--> Checking --Admitted--> Member
//! ```
//! Messages that arrive while membership is checked are held back, at most `held_back_bytes_max` of them.

mod addresses;
mod budget;
mod choice;
mod limits;
mod probe;
pub mod rate;
mod scarce;
mod strangers;
mod uploads;

pub use addresses::AddressBook;
pub use budget::{Asked, Budget};
pub use choice::{Choice, Dial};
pub use limits::Limits;
pub use scarce::ScarceWindow;
pub use uploads::{Upload, Uploads};

use crate::geometry::Geometry;
use crate::id::ContentHash;
use crate::piece_set::PieceSet;
use crate::time::Timestamp;
use crate::wire::{Channel, Message, ServeMode};
use rate::Bucket;
use std::collections::BTreeMap;
use std::time::Duration;

/// A round trip is measured anew after this.
const RTT_KEPT: Duration = Duration::from_secs(60);

/// How far admission went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// No hello yet.
    Greeting,
    /// The driver checks membership.
    Checking {
        /// Where it says it listens.
        listen: Vec<String>,
        /// What came meanwhile.
        held_back: Vec<Message>,
        /// The memory that it takes.
        held_back_bytes: usize,
    },
    /// Admitted.
    Member {
        /// Whether it is an enrolled, unrevoked device.
        enrolled_device: bool,
    },
}

/// A swarm that a neighbour takes part in and this peer does not (yet).
#[derive(Debug, Clone)]
pub struct Waiting {
    /// What the neighbour says its shape is.
    pub geometry: Geometry,
    /// What it says it has.
    pub have: PieceSet,
}

/// A peer that a connection stands with.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// How far admission went.
    pub phase: Phase,
    /// It said what only members are told.
    pub lets_us_in: bool,
    /// How it serves.
    pub mode: ServeMode,
    /// It answers probes.
    pub can_probe: bool,
    /// Its channel numbers.
    pub channels: BTreeMap<Channel, ContentHash>,
    /// Its swarms that are not open here.
    pub waiting: BTreeMap<ContentHash, Waiting>,
    /// How many pieces our `Open` of a swarm told it of, until it opens the swarm as well.
    pub told: BTreeMap<ContentHash, u32>,
    /// What was asked of it.
    pub budget: Budget,
    /// Data frames that may still come although they are no longer asked for.
    pub strays: u32,
    /// Its bytes that are being stored.
    pub storing_bytes: u64,
    messages: Bucket,
    costly_messages: Bucket,
    ping: Option<(u32, Timestamp)>,
    ping_at: Timestamp,
    rtt_min: Option<Duration>,
    rtt_at: Timestamp,
    heard_at: Timestamp,
    data_at: Timestamp,
}

/// What a neighbour's clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Nothing to do.
    Fine,
    /// Ping it.
    Ping,
    /// It said nothing for too long.
    Silent,
}

impl Neighbour {
    /// A fresh connection.
    pub fn new(limits: &Limits, now: Timestamp) -> Self {
        Self {
            phase: Phase::Greeting,
            lets_us_in: false,
            mode: ServeMode::Pull,
            can_probe: false,
            channels: BTreeMap::new(),
            waiting: BTreeMap::new(),
            told: BTreeMap::new(),
            budget: Budget::default(),
            strays: 0,
            storing_bytes: 0,
            messages: Bucket::new(limits.messages_per_second, now),
            costly_messages: Bucket::new(limits.costly_messages_per_second, now),
            ping: None,
            ping_at: now,
            rtt_min: None,
            rtt_at: now,
            heard_at: now,
            data_at: now,
        }
    }

    /// Whether it was admitted.
    pub fn is_member(&self) -> bool {
        matches!(self.phase, Phase::Member { .. })
    }

    /// Whether it was admitted as an enrolled device.
    pub fn is_enrolled(&self) -> bool {
        matches!(self.phase, Phase::Member { enrolled_device: true })
    }

    /// The smallest round trip seen; 50 ms before the first.
    pub fn rtt(&self) -> Duration {
        self.rtt_min.unwrap_or(Duration::from_millis(50))
    }

    /// Something arrived; false if it sends more than any honest peer.
    pub fn hear(&mut self, message: &Message, now: Timestamp) -> bool {
        self.heard_at = now;
        let costly = matches!(
            message,
            Message::Hello(_)
                | Message::Addresses(_)
                | Message::Offer(_)
                | Message::Digest(_)
                | Message::Open(_)
                | Message::Close(_)
                | Message::Mode(_)
                | Message::Probe(_)
        );
        self.messages.take(now) && (!costly || self.costly_messages.take(now))
    }

    /// Data arrived.
    pub fn hear_data(&mut self, now: Timestamp) {
        (self.heard_at, self.data_at) = (now, now);
    }

    /// Data was handed over.
    pub fn give_data(&mut self, now: Timestamp) {
        self.data_at = now;
    }

    /// Whether no data moved for a while and none is under way. A granting peer never counts as idle.
    pub fn is_idle(&self, limits: &Limits, now: Timestamp) -> bool {
        let is_quiet = self.budget.bytes() == 0 && now.since(self.data_at) >= limits.idle_min;
        is_quiet && self.mode == ServeMode::Pull
    }

    /// Looks at the clock; `next_ping` is when to look again. A neighbour that speaks need not be asked whether it lives.
    pub fn liveness(
        &mut self,
        limits: &Limits,
        nonce: u32,
        next_ping: Timestamp,
        now: Timestamp,
    ) -> Liveness {
        if now.since(self.heard_at) > limits.ping_interval * 4 {
            return Liveness::Silent;
        }
        if now < self.ping_at {
            return Liveness::Fine;
        }
        self.ping_at = next_ping;
        let is_measured = self.rtt_min.is_some() && now.since(self.rtt_at) < RTT_KEPT;
        if is_measured && now.since(self.heard_at) < limits.ping_interval {
            return Liveness::Fine;
        }
        self.ping = Some((nonce, now));
        Liveness::Ping
    }

    /// When to look at the clock again.
    pub fn liveness_at(&self) -> Timestamp {
        self.ping_at
    }

    /// The answer to a ping; an old or wrong nonce means nothing.
    pub fn pong(&mut self, nonce: u32, now: Timestamp) {
        if let Some((_, at)) = self.ping.take_if(|(sent, _)| *sent == nonce) {
            let rtt = now.since(at);
            self.rtt_min = Some(self.rtt_min.map_or(rtt, |known| known.min(rtt)));
            self.rtt_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_that_speaks_is_pinged_once_a_minute_and_a_silent_one_until_it_is_gone() {
        let limits = Limits::default();
        let mut neighbour = Neighbour::new(&limits, Timestamp::ZERO);
        let at = |second: u64| Timestamp::from_millis(second * 1000);
        let mut pinged = Vec::new();
        for second in 0..200 {
            let now = at(second);
            if second < 130 {
                neighbour.hear(&Message::Pong(0), now);
            }
            match neighbour.liveness(&limits, second as u32, now + limits.ping_interval, now) {
                Liveness::Fine => {}
                Liveness::Silent => {
                    assert!((149..=155).contains(&second), "{second}");
                    break;
                }
                Liveness::Ping => {
                    pinged.push(second);
                    if second < 130 {
                        neighbour.pong(second as u32, now + Duration::from_millis(3));
                    }
                }
            }
        }
        assert_eq!(pinged, [0, 65, 130, 135, 140, 145]);
        assert_eq!(neighbour.rtt(), Duration::from_millis(3));
    }
}
