//! Which site a state file belongs to: marks and documents of one mean nothing to another.
//!
//! Its documents say so. A file that holds none of a site's own has nothing that another site could take amiss.

use super::{State, StateError};
use samara_protocol::document::Envelope;
use samara_protocol::id::SiteId;
use serde::Deserialize;

/// The one field that is read of a document that was verified before it was kept.
#[derive(Deserialize)]
struct Sited {
    site: Option<SiteId>,
}

impl State {
    /// An error if the file belongs to another site than `wanted`.
    pub fn check_site(&self, wanted: SiteId) -> Result<(), StateError> {
        let of = |bytes: &Vec<u8>| {
            let envelope = Envelope::parse(bytes).ok()?;
            serde_json::from_slice::<Sited>(&envelope.payload).ok()?.site
        };
        match self.documents()?.iter().find_map(of) {
            Some(found) if found != wanted => {
                Err(StateError::OtherSite { path: self.path.clone(), found, wanted })
            }
            _ => Ok(()),
        }
    }
}
