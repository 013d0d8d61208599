//! The documents of a site: as far as their spread matters, sizes, kinds, and what a device learns from them. Where
//! something is installed, its Release and Rollouts are real ones, signed.

use samara_protocol::document::Envelope;
use samara_protocol::id::DocumentId;
use samara_protocol::wire::{DocumentKind, DocumentOffer};
use std::collections::{BTreeMap, BTreeSet};

/// Sizes of real envelopes with one signature.
const RELEASE_BYTES: u32 = 1400;
const ROLLOUT_BYTES: u32 = 800;
const ENROLLMENT_BYTES: u32 = 760;

/// All documents of a site. A document's number is its place. An envelope that is no real one begins with its number.
#[derive(Debug, Default)]
pub(super) struct Documents {
    offers: Vec<DocumentOffer>,
    numbers: BTreeMap<DocumentId, u32>,
    /// Of those that are really signed.
    signed: BTreeMap<u32, Vec<u8>>,
    /// What a later one replaced.
    replaced: BTreeSet<u32>,
}

impl Documents {
    /// A release and the rollout that names it, if they are signed those, and an enrollment for each of `enrollments`
    /// devices.
    pub(super) fn new(enrollments: u32, signed: Option<[&Envelope; 2]>) -> Self {
        let mut documents = Self::default();
        match signed {
            Some(signed) => signed.into_iter().for_each(|envelope| {
                documents.push_signed(envelope);
            }),
            None => {
                documents.push(DocumentKind::Release, RELEASE_BYTES);
                documents.push(DocumentKind::Rollout, ROLLOUT_BYTES);
            }
        }
        (0..enrollments).for_each(|_| documents.push(DocumentKind::Enrollment, ENROLLMENT_BYTES));
        documents
    }

    fn push(&mut self, kind: DocumentKind, bytes: u32) {
        let number = self.offers.len() as u32;
        self.offers.push(offer(number, kind, bytes));
        self.numbers.insert(self.offer(number).id, number);
    }

    fn push_signed(&mut self, envelope: &Envelope) -> u32 {
        let (number, bytes) = (self.offers.len() as u32, envelope.to_bytes());
        // Only Releases and Rollouts are signed here.
        let kind = envelope.kind().unwrap_or(DocumentKind::Rollout);
        self.offers.push(DocumentOffer { id: envelope.id(), kind, bytes: bytes.len() as u32 });
        self.numbers.insert(envelope.id(), number);
        self.signed.insert(number, bytes);
        number
    }

    /// A Rollout that replaces the one before; its number.
    pub(super) fn roll_out(&mut self, envelope: &Envelope) -> u32 {
        let is_rollout = |number: &&u32| self.offer(**number).kind == DocumentKind::Rollout;
        let before: Vec<u32> = self.signed.keys().filter(is_rollout).copied().collect();
        self.replaced.extend(before);
        self.push_signed(envelope)
    }

    /// What is in the seeder's directory.
    pub(super) fn current(&self) -> impl Iterator<Item = u32> {
        (0..self.offers.len() as u32).filter(|number| !self.replaced.contains(number))
    }

    pub(super) fn offer(&self, number: u32) -> DocumentOffer {
        self.offers[number as usize]
    }

    /// `None` for what is no document of this site.
    pub(super) fn number_of(&self, id: DocumentId) -> Option<u32> {
        self.numbers.get(&id).copied()
    }

    pub(super) fn envelope(&self, number: u32) -> Vec<u8> {
        if let Some(signed) = self.signed.get(&number) {
            return signed.clone();
        }
        let mut envelope = vec![0; self.offer(number).bytes as usize];
        envelope[..4].copy_from_slice(&number.to_le_bytes());
        envelope
    }

    /// Of a document that is really signed.
    pub(super) fn signed(&self, number: u32) -> Option<&[u8]> {
        self.signed.get(&number).map(Vec::as_slice)
    }

    /// `None` for what is no document of this site.
    pub(super) fn number_in(&self, envelope: &[u8]) -> Option<u32> {
        let number = u32::from_le_bytes(*envelope.first_chunk()?);
        if (number as usize) < self.offers.len() {
            return Some(number);
        }
        // A real one begins as JSON does, which is a number beyond all documents.
        self.number_of(Envelope::parse(envelope).ok()?.id())
    }

    /// Whether a device that holds these may fetch the release.
    pub(super) fn is_rolled_out(held: &BTreeSet<u32>) -> bool {
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
