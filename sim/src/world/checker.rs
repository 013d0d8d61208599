//! What must hold in every run, whatever the plan does to it. Each rule has a name; the first breaches are kept.

use super::peer::PeerIndex;
use samara_protocol::geometry::PieceIndex;
use std::fmt;

/// Breaches kept; a run with more is no better understood.
const KEPT_MAX: usize = 20;

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// `no-unverified-bytes-served`: what is passed on was verified and stored first.
    ServesWhatItLacks { peer: PeerIndex, piece: PieceIndex },
    /// `no-unverified-bytes-announced`.
    AnnouncesWhatItLacks { peer: PeerIndex, piece: PieceIndex },
    /// `a-stored-piece-is-whole`: the machine counts a piece only when all its parts are on disk.
    CountsWhatItLacks { peer: PeerIndex, piece: PieceIndex },
    /// `completes-what-it-holds`.
    CompletesWithout { peer: PeerIndex },
    /// `bounded-queue`: data frames that wait for one peer.
    QueueTooLong { peer: PeerIndex, frames: usize },
    /// `bounded-memory`: bytes of one peer that wait to be stored.
    TooMuchToStore { peer: PeerIndex, bytes: u64 },
    /// A rule of installs.
    Install { rule: &'static str, peer: PeerIndex, what: String },
    /// `safe-is-safe`: the seeder says it may leave, and a piece is held by too few.
    NotSafe { piece: PieceIndex, holders: usize },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServesWhatItLacks { peer, piece } => {
                write!(f, "no-unverified-bytes-served: peer {peer} serves piece {} and lacks it", piece.0)
            }
            Self::AnnouncesWhatItLacks { peer, piece } => {
                write!(
                    f,
                    "no-unverified-bytes-announced: peer {peer} announces piece {} and lacks it",
                    piece.0
                )
            }
            Self::CountsWhatItLacks { peer, piece } => {
                write!(f, "a-stored-piece-is-whole: peer {peer} counts piece {} and lacks it", piece.0)
            }
            Self::CompletesWithout { peer } => {
                write!(f, "completes-what-it-holds: peer {peer} says that it is complete and is not")
            }
            Self::QueueTooLong { peer, frames } => {
                write!(f, "bounded-queue: peer {peer} has {frames} frames waiting for one peer")
            }
            Self::TooMuchToStore { peer, bytes } => {
                write!(f, "bounded-memory: peer {peer} holds {bytes} bytes of one peer that are not stored")
            }
            Self::Install { rule, peer, what } => write!(f, "{rule}: peer {peer} {what}"),
            Self::NotSafe { piece, holders } => {
                write!(f, "safe-is-safe: safe to leave while {holders} devices hold piece {}", piece.0)
            }
        }
    }
}

/// Bounds of the machine that the checker holds it to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) frames_per_peer: usize,
    pub(super) storing_per_peer: u64,
}

/// Gathers breaches.
#[derive(Debug)]
pub(super) struct Checker {
    bounds: Bounds,
    faults: Vec<Fault>,
    count: usize,
    /// Of the kept breaches those that the log has.
    logged: usize,
}

impl Checker {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, faults: Vec::new(), count: 0, logged: 0 }
    }

    pub(super) fn report(&mut self, fault: Fault) {
        self.count += 1;
        if self.faults.len() < KEPT_MAX {
            self.faults.push(fault);
        }
    }

    pub(super) fn see_queue(&mut self, peer: PeerIndex, frames: usize) {
        if frames > self.bounds.frames_per_peer {
            self.report(Fault::QueueTooLong { peer, frames });
        }
    }

    pub(super) fn see_storing(&mut self, peer: PeerIndex, bytes: u64) {
        if bytes > self.bounds.storing_per_peer {
            self.report(Fault::TooMuchToStore { peer, bytes });
        }
    }

    /// The next breach that was kept and not asked for yet.
    pub(super) fn poll_new(&mut self) -> Option<String> {
        let fault = self.faults.get(self.logged)?;
        self.logged += 1;
        Some(fault.to_string())
    }

    /// One sentence for each breach that was kept.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut sentences: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        if self.count > sentences.len() {
            sentences.push(format!("and {} more", self.count - sentences.len()));
        }
        sentences
    }
}
