//! What changes in a site directory while it is served: one look lists it, and tells the mesh each new document.
//!
//! Verbs write whole files and rename them (see [`crate::files`]), so a file that is seen is a whole one. Names, times
//! and sizes say what is new: a look at a directory that did not change reads no file.

use super::offer::{Offer, SetAside};
use crate::failure::{Failure, Kind};
use crate::files::FileError;
use crate::mesh::rank;
use crate::pack::Stamp;
use crate::site::{SiteDir, SiteError, read_document};
use samara_node::mesh::{MeshHandle, PublishError};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

/// The files that decide what is served, as they were at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing(BTreeMap<PathBuf, Stamp>);

impl Listing {
    /// Lists the documents, and the file that says where contents are.
    pub(super) fn take(site: &SiteDir) -> Result<Self, SiteError> {
        let mut paths = site.document_files()?;
        paths.push(site.sources_file());
        let mut files = BTreeMap::new();
        for path in paths {
            match std::fs::metadata(&path) {
                Ok(metadata) => {
                    files.insert(path, Stamp::of(&metadata));
                }
                // It went since it was listed, or was never there.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(FileError::of("look at", &path)(error).into()),
            }
        }
        Ok(Self(files))
    }

    /// Documents that an earlier listing has not, or has otherwise.
    fn documents_since(&self, site: &SiteDir, earlier: &Self) -> Vec<PathBuf> {
        let sources = site.sources_file();
        let is_news = |(path, stamp): &(&PathBuf, &Stamp)| {
            **path != sources && earlier.0.get(*path).is_none_or(|before| before != *stamp)
        };
        self.0.iter().filter(is_news).map(|(path, _)| path.clone()).collect()
    }
}

/// What a look found.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) listing: Listing,
    pub(super) offer: Offer,
    /// New files that are not given to devices, or not yet, each with the reason.
    pub(super) set_aside: BTreeMap<PathBuf, SetAside>,
}

/// Looks at the directory; `None` when nothing changed since `before`. Enrollments reach the mesh first, since others
/// are judged by them.
pub(super) async fn look(site: SiteDir, mesh: MeshHandle, before: Listing) -> Result<Option<Look>, Failure> {
    let place = site.clone();
    let found = blocking(move || {
        let listing = Listing::take(&place)?;
        if listing == before {
            return Ok(None);
        }
        let (mut documents, mut set_aside) = (Vec::new(), BTreeMap::new());
        for path in listing.documents_since(&place, &before) {
            match read_document(&path) {
                Ok(envelope) => documents.push((path, envelope)),
                Err(error) => {
                    set_aside.insert(path, SetAside::Refused(error.to_string()));
                }
            }
        }
        documents.sort_by_cached_key(|(_, envelope)| rank(envelope));
        Ok(Some((listing, documents, set_aside)))
    });
    let Some((mut listing, mut documents, mut set_aside)) = found.await? else { return Ok(None) };
    loop {
        let mut refused = Vec::new();
        let count = documents.len();
        for (path, envelope) in documents {
            match mesh.publish(envelope.clone()).await {
                Ok(_) => {}
                Err(PublishError::Refused(refusal)) => refused.push((path, envelope, refusal)),
                // Seen again at the next look.
                Err(PublishError::State(_) | PublishError::TooOften(_)) => {
                    listing.0.remove(&path);
                }
                Err(PublishError::Ended) => return Ok(None),
            }
        }
        // What one of them waited for may have come behind it.
        if refused.is_empty() || refused.len() == count {
            set_aside.extend(refused.into_iter().map(|(path, _, refusal)| (path, SetAside::of(&refusal))));
            break;
        }
        documents = refused.into_iter().map(|(path, envelope, _)| (path, envelope)).collect();
    }
    let offer = blocking(move || Offer::read(&site)).await?;
    Ok(Some(Look { listing, offer, set_aside }))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Failure::new(Kind::Failed, e))?
}
