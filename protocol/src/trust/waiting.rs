//! Documents that are not believed yet, kept until what they wait for is accepted: no peer is asked for them again.
//!
//! Bounded in number and bytes; the oldest gives way, and is asked for again when the catalog has forgotten that it
//! was refused. Each is looked at again only when something of the kind that it waits for was accepted.

use super::{Awaits, VerifiedDocument};
use std::collections::VecDeque;

/// The most documents that wait: checking all of them anew takes some 50 ms.
const ENTRIES_MAX: usize = 512;
/// The most bytes of them.
const BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Clone)]
struct Entry<F> {
    from: F,
    envelope: Vec<u8>,
    awaits: Awaits,
}

/// Documents that wait, with the peer `F` that each came from.
#[derive(Debug, Clone)]
pub struct Waiting<F> {
    entries: VecDeque<Entry<F>>,
    bytes: usize,
}

impl<F> Default for Waiting<F> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0 }
    }
}

impl<F> Waiting<F> {
    /// Keeps a document that was refused; the same bytes are kept once.
    pub fn keep(&mut self, from: F, envelope: Vec<u8>, awaits: Awaits) {
        if self.entries.iter().any(|entry| entry.envelope == envelope) {
            return;
        }
        self.bytes += envelope.len();
        self.entries.push_back(Entry { from, envelope, awaits });
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.envelope.len();
        }
    }

    /// Takes out what may be believed now that `accepted` is, to be checked again.
    pub fn take_ready(&mut self, accepted: &VerifiedDocument) -> Vec<(F, Vec<u8>)> {
        let is_ready = |awaits: Awaits| match (awaits, accepted) {
            (Awaits::TrustRoot, VerifiedDocument::TrustRoot(_)) => true,
            (Awaits::Enrollment(device), VerifiedDocument::Enrollment(enrollment)) => {
                enrollment.device == device
            }
            (Awaits::Rollout, VerifiedDocument::Rollout(_)) => true,
            _ => false,
        };
        let all = std::mem::take(&mut self.entries);
        let (ready, rest): (VecDeque<_>, VecDeque<_>) =
            all.into_iter().partition(|entry| is_ready(entry.awaits));
        self.entries = rest;
        self.bytes = self.entries.iter().map(|entry| entry.envelope.len()).sum();
        ready.into_iter().map(|entry| (entry.from, entry.envelope)).collect()
    }
}
