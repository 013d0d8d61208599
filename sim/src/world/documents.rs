//! The documents of a site, as far as their spread matters: sizes, kinds, and what a device learns from them.

use samara_protocol::id::DocumentId;
use samara_protocol::wire::{DocumentKind, DocumentOffer};

/// Sizes of real envelopes with one signature.
const RELEASE_BYTES: u32 = 1400;
const ROLLOUT_BYTES: u32 = 800;
const ENROLLMENT_BYTES: u32 = 760;

/// All documents of a site. A document's number is its place; its envelope begins with its number.
#[derive(Debug)]
pub(super) struct Documents {
    offers: Vec<DocumentOffer>,
}

impl Documents {
    /// A release, the rollout that names it, and an enrollment for each of `enrollments` devices.
    pub(super) fn new(enrollments: u32) -> Self {
        let mut offers = vec![
            offer(0, DocumentKind::Release, RELEASE_BYTES),
            offer(1, DocumentKind::Rollout, ROLLOUT_BYTES),
        ];
        offers.extend((0..enrollments).map(|i| offer(2 + i, DocumentKind::Enrollment, ENROLLMENT_BYTES)));
        Self { offers }
    }

    pub(super) fn numbers(&self) -> std::ops::Range<u32> {
        0..self.offers.len() as u32
    }

    pub(super) fn offer(&self, number: u32) -> DocumentOffer {
        self.offers[number as usize]
    }

    pub(super) fn number_of(id: DocumentId) -> u32 {
        let [a, b, c, d, ..] = id.0;
        u32::from_le_bytes([a, b, c, d])
    }

    pub(super) fn envelope(&self, number: u32) -> Vec<u8> {
        let mut envelope = vec![0; self.offer(number).bytes as usize];
        envelope[..4].copy_from_slice(&number.to_le_bytes());
        envelope
    }

    /// `None` for what is no document of this site.
    pub(super) fn number_in(&self, envelope: &[u8]) -> Option<u32> {
        let number = u32::from_le_bytes(*envelope.first_chunk()?);
        self.numbers().contains(&number).then_some(number)
    }

    /// Whether a device that holds these may fetch the release.
    pub(super) fn is_rolled_out(held: &std::collections::BTreeSet<u32>) -> bool {
        held.contains(&0) && held.contains(&1)
    }
}

fn offer(number: u32, kind: DocumentKind, bytes: u32) -> DocumentOffer {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_le_bytes());
    // The rest as a hash would be: catalogs compare the XOR of all ids.
    let mut rng = samara_protocol::rng::Prng::new(u64::from(number));
    id[8..].chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.next_u64().to_le_bytes()));
    DocumentOffer { id: DocumentId(id), kind, bytes }
}
