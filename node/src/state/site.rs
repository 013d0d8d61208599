//! Which site a state file belongs to: marks and documents of one mean nothing to another.

use super::{State, StateError, VALUES};
use samara_protocol::document::Envelope;
use samara_protocol::id::SiteId;
use serde::Deserialize;

const SITE: &str = "site";

/// The one field that is read of a document that was verified before it was kept.
#[derive(Deserialize)]
struct Sited {
    site: Option<SiteId>,
}

impl State {
    /// The file belongs to `site` from now on; an error if it belongs to another.
    pub fn bind_site(&self, site: SiteId) -> Result<(), StateError> {
        self.check_site(site)?;
        if self.bound()?.is_some() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut values = transaction.open_table(VALUES)?;
            values.insert(SITE, site.to_string().as_bytes())?;
            Ok(())
        })
    }

    /// An error if the file belongs to another site than `site`.
    pub fn check_site(&self, site: SiteId) -> Result<(), StateError> {
        match self.site()? {
            Some(found) if found != site => {
                Err(StateError::OtherSite { path: self.path.clone(), found, wanted: site })
            }
            _ => Ok(()),
        }
    }

    /// As it was bound, or as its documents say where it never was.
    fn site(&self) -> Result<Option<SiteId>, StateError> {
        if let Some(bound) = self.bound()? {
            return Ok(Some(bound));
        }
        let of = |bytes: &Vec<u8>| {
            let envelope = Envelope::parse(bytes).ok()?;
            serde_json::from_slice::<Sited>(&envelope.payload).ok()?.site
        };
        Ok(self.documents()?.iter().find_map(of))
    }

    fn bound(&self) -> Result<Option<SiteId>, StateError> {
        self.read(|transaction| {
            let values = transaction.open_table(VALUES)?;
            let text = values.get(SITE)?.map(|v| String::from_utf8_lossy(v.value()).into_owned());
            Ok(text.and_then(|text| text.parse().ok()))
        })
    }
}
