//! What happens in a run, for two readers: a digest over everything, by which two runs are the same, and a log of the
//! events that a person or a program follows, which is kept only while somebody reads it.

use super::clock::Nanos;
use super::peer::{PeerIndex, index_of};
use super::{Content, World};
use crate::outcome::{Happening, SEEDER};
use crate::plan::{Verb, device_name};
use samara_protocol::id::ContentHash;
use samara_protocol::install::State;
use samara_protocol::mesh::{Action, Input, StoreFault};
use serde::Serialize;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;

/// Reads each event; a break ends the run.
pub type Log<'a> = &'a mut dyn FnMut(&Entry) -> ControlFlow<()>;

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Seconds from the seeder's start, below zero before it.
    pub seconds: f64,
    /// To whom it happened: a device's name, `seeder`, or `checker`.
    pub peer: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened to a peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// An event of the plan.
    Planned {
        /// Which.
        what: Happening,
    },
    /// A connection is there.
    Connected {
        /// To whom.
        with: String,
    },
    /// A connection is gone.
    Disconnected {
        /// From whom.
        with: String,
    },
    /// It ends a connection itself.
    Refused {
        /// With whom.
        with: String,
        /// Why.
        why: String,
    },
    /// It grants a piece for the first time.
    Granted {
        /// To whom.
        to: String,
        /// Of which content: 0, or of a tree 0 the list of files and 1 the files.
        content: usize,
        /// Which.
        piece: u32,
    },
    /// A piece is whole, verified and on its disk.
    PieceVerified {
        /// Who sent the last part.
        from: String,
        /// Of which content.
        content: usize,
        /// Which.
        piece: u32,
    },
    /// Bytes that it received are wrong.
    WrongBytes,
    /// It has the whole verified artifact.
    Complete,
    /// The release stands somewhere else on it.
    Install {
        /// Where.
        state: State,
        /// Why, where something is wrong.
        #[serde(skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// It says whether the seeder may go.
    Safe {
        /// It may.
        is_safe: bool,
    },
    /// A rule that holds in every run is broken.
    RuleBroken {
        /// Which, and how.
        rule: String,
    },
}

/// FNV-1a (Fowler, Noll, Vo), the same on every machine, over all inputs and actions; and the log.
#[derive(Debug)]
pub(super) struct Trace {
    digest: Fnv,
    inputs: u64,
    begin: Nanos,
    seeder: PeerIndex,
    contents: Vec<ContentHash>,
    /// Events that nobody has read yet; `None` while nobody reads.
    unread: Option<Vec<Entry>>,
}

impl Trace {
    pub(super) fn new(begin: Nanos, devices: usize, contents: &[Content]) -> Self {
        Self {
            digest: Fnv(0xcbf2_9ce4_8422_2325),
            inputs: 0,
            begin,
            seeder: devices as PeerIndex,
            contents: contents.iter().map(|content| content.hash).collect(),
            unread: None,
        }
    }

    /// Whether somebody reads the log from now on.
    pub(super) fn keep(&mut self, is_read: bool) {
        self.unread = is_read.then(Vec::new);
    }

    pub(super) fn input(&mut self, now: Nanos, peer: PeerIndex, input: &Input) {
        self.inputs += 1;
        self.digest.write_u64(now.0);
        self.digest.write_u32(peer);
        std::mem::discriminant(input).hash(&mut self.digest);
        match input {
            Input::DataReceived { header, .. } => self.digest.write_u32(header.range.piece.0),
            Input::Served { range, .. } => self.digest.write_u32(range.piece.0),
            _ => {}
        }
        if self.unread.is_some() {
            let what = match input {
                Input::Connected { peer: with } => What::Connected { with: self.name(index_of(*with)) },
                Input::Disconnected { peer: with } => What::Disconnected { with: self.name(index_of(*with)) },
                Input::StoreFailed { fault: StoreFault::WrongBytes { .. }, .. } => What::WrongBytes,
                _ => return,
            };
            self.push(now, peer, what);
        }
    }

    pub(super) fn action(&mut self, now: Nanos, peer: PeerIndex, action: &Action) {
        std::mem::discriminant(action).hash(&mut self.digest);
        if self.unread.is_some() {
            let name = |peer| self.name(index_of(peer));
            let number = |content: &ContentHash| {
                self.contents.iter().position(|known| known == content).unwrap_or_default()
            };
            let what = match action {
                Action::Granted { content, piece, peer: to } => {
                    What::Granted { to: name(*to), content: number(content), piece: piece.0 }
                }
                Action::PieceStored { content, piece, from } => {
                    What::PieceVerified { from: name(*from), content: number(content), piece: piece.0 }
                }
                Action::Disconnect { peer: with, reason } => {
                    What::Refused { with: name(*with), why: reason.to_string() }
                }
                Action::SafeToLeave(is_safe) => What::Safe { is_safe: *is_safe },
                _ => return,
            };
            self.push(now, peer, what);
        }
    }

    pub(super) fn planned(&mut self, now: Nanos, peer: PeerIndex, verb: Verb) {
        self.push(now, peer, What::Planned { what: Happening::from(verb) });
    }

    pub(super) fn complete(&mut self, now: Nanos, peer: PeerIndex) {
        self.push(now, peer, What::Complete);
    }

    pub(super) fn install(&mut self, now: Nanos, peer: PeerIndex, state: State, why: String) {
        self.digest.write_u64(now.0);
        self.digest.write_u32(peer);
        state.hash(&mut self.digest);
        self.push(now, peer, What::Install { state, why });
    }

    fn push(&mut self, now: Nanos, peer: PeerIndex, what: What) {
        let peer = self.name(peer);
        self.push_of(now, peer, what);
    }

    fn push_of(&mut self, now: Nanos, peer: String, what: What) {
        let seconds = now.seconds_since(self.begin);
        if let Some(unread) = &mut self.unread {
            unread.push(Entry { seconds, peer, what });
        }
    }

    fn name(&self, peer: PeerIndex) -> String {
        if peer == self.seeder { SEEDER.to_owned() } else { device_name(peer as usize) }
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.0
    }

    pub(super) fn inputs(&self) -> u64 {
        self.inputs
    }
}

impl World {
    /// Hands over what happened since the last time.
    pub(super) fn flush_log(&mut self, log: &mut Log<'_>) -> ControlFlow<()> {
        while let Some(rule) = self.checker.poll_new() {
            self.trace.push_of(self.now, "checker".into(), What::RuleBroken { rule });
        }
        self.trace.unread.iter_mut().flat_map(|unread| unread.drain(..)).try_for_each(|entry| log(&entry))
    }
}

#[derive(Debug)]
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
