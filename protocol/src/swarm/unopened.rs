//! Swarms that found no room yet, in the order in which they came: their contents are neither fetched nor served until
//! others close.

use crate::geometry::{Geometry, PieceIndex};
use crate::id::ContentHash;
use crate::piece_set::PieceSet;

/// What is needed to open a swarm.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Its shape.
    pub geometry: Geometry,
    /// What the store holds.
    pub have: PieceSet,
    /// Whether missing pieces are wanted.
    pub wanted: bool,
    /// What was granted once already.
    pub granted: PieceSet,
}

/// They are few, or the disk holds many hundred contents.
#[derive(Debug, Default)]
pub struct Unopened(Vec<(ContentHash, Opening)>);

impl Unopened {
    /// Adds one behind the others.
    pub fn add(&mut self, content: ContentHash, opening: Opening) {
        self.0.push((content, opening));
    }

    /// The first that `fits`: a large one holds up no smaller one.
    pub fn first(&self, fits: impl Fn(&Opening) -> bool) -> Option<ContentHash> {
        self.0.iter().find(|(_, opening)| fits(opening)).map(|(content, _)| *content)
    }

    /// Takes one out.
    pub fn remove(&mut self, content: ContentHash) -> Option<Opening> {
        let at = self.0.iter().position(|(waiting, _)| *waiting == content)?;
        Some(self.0.remove(at).1)
    }

    /// The store lost pieces of one: they are missing when it opens, and wanted then.
    pub fn lose(&mut self, content: ContentHash, pieces: &[PieceIndex]) {
        let waiting = self.0.iter_mut().find(|(waiting, _)| *waiting == content);
        if let Some((_, opening)) = waiting {
            for &piece in pieces {
                opening.wanted |= opening.have.remove(piece);
            }
        }
    }
}
