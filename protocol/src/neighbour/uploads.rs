//! Who is served next: upload permits shared by all neighbours and swarms.
//!
//! No barter (rule 14): permits only bound concurrency so that pieces finish. The queued range whose piece the fewest
//! peers have goes first, so that a slow uplink sends each new piece once before it sends anything twice.

use super::limits::Limits;
use super::rate::{MaxRate, bytes_in};
use crate::geometry::PieceRange;
use crate::id::{ContentHash, PeerId};
use crate::time::Timestamp;
use std::time::Duration;

/// Permits before the uplink was measured, and the bounds afterwards.
const PERMITS_FIRST: usize = 4;
const PERMITS_MIN: usize = 2;
const PERMITS_MAX: usize = 16;
/// Bytes handed to the network ahead of time, as time at the measured rate.
const AHEAD: Duration = Duration::from_millis(100);
/// A range that is not handed over after so long waits for a slow peer and frees its permit for others.
const STUCK: Duration = Duration::from_secs(2);

/// A range somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upload {
    /// By whom.
    pub peer: PeerId,
    /// Of what.
    pub content: ContentHash,
    /// Which.
    pub range: PieceRange,
    /// Artifact bytes of it.
    pub bytes: u64,
}

struct Active {
    upload: Upload,
    at: Timestamp,
    delivered_before: u64,
}

/// The serve queue and what was handed to the network.
#[derive(Default)]
pub struct Uploads {
    queue: Vec<Upload>,
    active: Vec<Active>,
    delivered: u64,
    rate: MaxRate,
}

impl Uploads {
    /// Queues a range; false if the peer has too many queued already.
    pub fn ask(&mut self, upload: Upload, limits: &Limits) -> bool {
        if self.queue.contains(&upload) {
            return true;
        }
        let queued = self.queue.iter().filter(|other| other.peer == upload.peer).count();
        if queued < limits.serve_queue_max {
            self.queue.push(upload);
        }
        queued < limits.serve_queue_max
    }

    /// Takes a queued range out. Whether it is active instead: then the driver may still forget it.
    pub fn cancel(&mut self, peer: PeerId, content: ContentHash, range: PieceRange) -> bool {
        let is = |u: &Upload| u.peer == peer && u.content == content && u.range == range;
        self.queue.retain(|upload| !is(upload));
        let before = self.active.len();
        self.active.retain(|active| !is(&active.upload));
        before != self.active.len()
    }

    /// The next range to hand to the network; `rarity` is the number of peers that have a piece.
    pub fn next(
        &mut self,
        limits: &Limits,
        now: Timestamp,
        rarity: impl Fn(&Upload) -> u32,
    ) -> Option<Upload> {
        let moving = self.active.iter().filter(|active| now.since(active.at) < STUCK);
        let moving_bytes: u64 = moving.clone().map(|active| active.upload.bytes).sum();
        let moving = moving.count();
        let ahead = bytes_in(self.rate.rate(), AHEAD);
        let full = match self.rate.rate() {
            0 => moving >= PERMITS_FIRST,
            _ => moving >= PERMITS_MIN && (moving >= PERMITS_MAX || moving_bytes >= ahead),
        };
        if full {
            return None;
        }
        let per_peer = |peer: PeerId| self.active.iter().filter(|active| active.upload.peer == peer).count();
        let best = (0..self.queue.len())
            .filter(|&i| per_peer(self.queue[i].peer) < limits.serve_active_per_peer)
            .min_by_key(|&i| rarity(&self.queue[i]))?;
        let upload = self.queue.remove(best);
        self.active.push(Active { upload, at: now, delivered_before: self.delivered });
        Some(upload)
    }

    /// A range was handed to the kernel, or could not be; its bytes if it was one of ours.
    pub fn done(
        &mut self,
        peer: PeerId,
        content: ContentHash,
        range: PieceRange,
        now: Timestamp,
    ) -> Option<u64> {
        let is = |a: &Active| a.upload.peer == peer && a.upload.content == content && a.upload.range == range;
        let active = self.active.remove(self.active.iter().position(is)?);
        self.delivered += active.upload.bytes;
        let over = now.since(active.at).max(Duration::from_millis(1));
        self.rate.sample(self.delivered - active.delivered_before, over, now);
        Some(active.upload.bytes)
    }

    /// Drops all that concerns a peer or a content (or both, when both are given).
    pub fn forget(&mut self, peer: Option<PeerId>, content: Option<ContentHash>) -> Vec<Upload> {
        let is =
            |u: &Upload| peer.is_none_or(|peer| peer == u.peer) && content.is_none_or(|c| c == u.content);
        let dropped = self.queue.iter().filter(|upload| is(upload)).copied().collect();
        self.queue.retain(|upload| !is(upload));
        self.active.retain(|active| !is(&active.upload));
        dropped
    }

    /// Ranges of a content that the driver was told to send and that are not handed over yet.
    pub fn active(&self, content: ContentHash) -> impl Iterator<Item = Upload> {
        self.active.iter().map(|active| active.upload).filter(move |upload| upload.content == content)
    }

    /// Whether something waits for a permit.
    pub fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }
}
