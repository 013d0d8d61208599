//! A published content where it lies on this laptop: hashed in place before it is served, and watched for change.

use crate::failure::{Failure, Kind};
use crate::files::FileError;
use crate::site::SiteDir;
use indicatif::ProgressBar;
use samara_node::mesh::store::Store;
use samara_protocol::document::BlobRef;
use samara_protocol::id::ContentHash;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file whose bytes were found to be what the release says.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    seen: Identity,
}

/// What changes when another file is put in a file's place, or it is written to. Reading it, and giving it other
/// permissions or names, changes none of it.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Self { inode: metadata.ino(), size: metadata.size(), modified }
    }
}

impl Source {
    /// Finds a content's bytes by `sources.json` and hashes them.
    pub(super) async fn open(
        site: &SiteDir,
        store: &Store,
        blob: BlobRef,
        bar: &ProgressBar,
    ) -> Result<Self, Failure> {
        let Some(path) = site.sources()?.remove(&blob.content) else {
            return Err(Failure::configuration(format_args!(
                "sources.json does not say where the bytes of {} are; publish the release again",
                blob.content
            )));
        };
        let seen = std::fs::metadata(&path).map_err(FileError::of("read", &path))?;
        let counter = bar.clone();
        let (content, size) =
            store.add_file(&path, move |bytes| counter.set_position(bytes)).await.map_err(|e| {
                Failure::new(Kind::Storage, anyhow::Error::from(e).context(path.display().to_string()))
            })?;
        if content == blob.content && size == blob.size {
            return Ok(Self { path, seen: Identity::of(&seen) });
        }
        Err(not_as_published(&path, content, blob.content))
    }

    /// Says so when the file is another one than was hashed. One that cannot be looked at for now may come back.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        match tokio::fs::metadata(&self.path).await {
            Ok(now) if Identity::of(&now) != self.seen => {
                Err(self.changed("it is another file, or has another time"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self.changed("it is gone")),
            _ => Ok(()),
        }
    }

    /// The end of serving it.
    pub(super) fn changed(&self, why: &str) -> Failure {
        Failure::new(
            Kind::Storage,
            anyhow::anyhow!(
                "{} was changed while it was served ({why}); nothing more is sent. Restore it or publish a new release",
                self.path.display()
            ),
        )
    }
}

fn not_as_published(path: &Path, found: ContentHash, said: ContentHash) -> Failure {
    Failure::new(
        Kind::Storage,
        anyhow::anyhow!(
            "{} was changed after it was published: it has the content hash {found}, the release says {said}; \
             restore the file or publish a new release",
            path.display()
        ),
    )
}
