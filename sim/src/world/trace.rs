//! The digest of a run: two runs are the same when everything that happened is the same.

use super::clock::Nanos;
use super::peer::PeerIndex;
use samara_protocol::mesh::{Action, Input};
use std::hash::{Hash, Hasher};

/// FNV-1a (Fowler, Noll, Vo), the same on every machine, over all inputs and actions.
#[derive(Debug)]
pub(super) struct Trace {
    digest: Fnv,
    inputs: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { digest: Fnv(0xcbf2_9ce4_8422_2325), inputs: 0 }
    }
}

impl Trace {
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
    }

    pub(super) fn action(&mut self, action: &Action) {
        std::mem::discriminant(action).hash(&mut self.digest);
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.0
    }

    pub(super) fn inputs(&self) -> u64 {
        self.inputs
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
