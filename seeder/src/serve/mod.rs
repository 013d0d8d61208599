//! Seeding: which contents are offered, the loop that watches them spread, and when it ends.
//!
//! ```text
//! open site -> add sources (hash in place) -> join -> publish documents -> open swarms -> watch -> leave
//! ```
//! The laptop grants each piece once (its ledger survives a restart) and is then silent unless repair is needed.

mod live;

use crate::commands::serve::Args;
use crate::failure::{Failure, Kind};
use crate::files;
use crate::interrupt::Interrupt;
use crate::mesh::{Join, Joined, join};
use crate::site::{SiteDir, SiteError};
use crate::ui::Output;
use live::Live;
use samara_node::mesh::MeshEvent;
use samara_node::mesh::store::Store;
use samara_protocol::document::{BlobRef, Release};
use samara_protocol::id::{ContentHash, DocumentId};
use samara_protocol::mesh::Input;
use samara_protocol::piece_set::PieceSet;
use samara_protocol::rollout::SiteDocuments;
use samara_protocol::trust::{Trust, Verdict, Verified, VerifiedDocument};
use samara_protocol::wire::ServeMode;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the live view is made anew.
const VIEW_EVERY: Duration = Duration::from_millis(250);

/// Runs a future on a small runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    Ok(runtime.map_err(|e| Failure::new(Kind::Failed, e))?.block_on(future))
}

/// Serves until interrupted, or until safe if asked.
pub async fn run(args: Args, output: Output) -> Result<(), Failure> {
    let site = SiteDir::open(&args.join.site)?;
    let releases = offered_releases(&site)?;
    if releases.is_empty() {
        return Err(Failure::configuration(format!(
            "{} offers no release; make one with: samara publish --site {} ARTIFACT",
            args.join.site.display(),
            args.join.site.display()
        )));
    }
    let how = Join {
        key: "operator",
        mode: ServeMode::Grant,
        copies_max: (args.max_copies * 1000.0) as u32,
        uplink_limit: args.uplink_limit.map(|rate| rate.bytes_per_second()),
    };
    let mut joined = join(&site, &site.dir().join("operator"), &args.join, how).await?;
    let blobs = distinct_blobs(&releases);
    let served = open_contents(&site, &joined, &blobs, &output).await;
    let result = match served {
        Ok(sources) => watch(&args, &output, &site, &mut joined, &releases, &blobs, &sources).await,
        Err(failure) => Err(failure),
    };
    let left = joined.leave().await;
    result.and(left)
}

/// The releases that an active Rollout of the site directory names, the newest of each channel.
pub fn offered_releases(site: &SiteDir) -> Result<Vec<Verified<Release>>, Failure> {
    let mut trust = Trust::pin(&site.trust_root()?).map_err(|e| Failure::new(Kind::Trust, e))?;
    let mut documents = SiteDocuments::default();
    let mut waiting = Vec::new();
    for path in site.document_files()? {
        let envelope = files::read(&path).map_err(SiteError::from)?;
        waiting.push((path, envelope));
    }
    // A chain of trust roots and sequences may come in any file order: go round while something is taken.
    loop {
        let mut refused = Vec::new();
        let before = waiting.len();
        for (path, envelope) in waiting {
            match trust.check(&envelope) {
                Ok(document) => {
                    trust.accept(&document);
                    documents.insert(document);
                }
                Err(refusal) if refusal.verdict() == Verdict::Violation => {
                    return Err(Failure::trust(format!(
                        "{}: {refusal}; restore the file, or take it out of the directory",
                        path.display()
                    )));
                }
                // Older than another one, or its trust root is still to come.
                Err(_) => refused.push((path, envelope)),
            }
        }
        if refused.is_empty() || refused.len() == before {
            break;
        }
        waiting = refused;
    }
    Ok(documents.active_releases())
}

fn distinct_blobs(releases: &[Verified<Release>]) -> Vec<BlobRef> {
    let mut seen = BTreeSet::new();
    releases.iter().flat_map(|r| r.blobs()).filter(|blob| seen.insert(blob.content)).collect()
}

/// Hashes every source where it lies and opens its swarm.
async fn open_contents(
    site: &SiteDir,
    joined: &Joined,
    blobs: &[BlobRef],
    output: &Output,
) -> Result<BTreeMap<ContentHash, PathBuf>, Failure> {
    let sources = site.sources()?;
    for blob in blobs {
        let Some(path) = sources.get(&blob.content) else {
            return Err(Failure::configuration(format!(
                "sources.json does not say where the bytes of {} are; publish the release again",
                blob.content
            )));
        };
        add_source(&joined.store, path, blob, output).await?;
    }
    for blob in blobs {
        let geometry = blob.geometry().map_err(|e| Failure::new(Kind::Configuration, e))?;
        let granted = joined
            .state
            .granted(blob.content, geometry.pieces())
            .map_err(|e| Failure::new(Kind::Storage, e))?;
        let have = PieceSet::full(geometry.pieces());
        let opened = Input::SwarmOpened { content: blob.content, geometry, have, wanted: false, granted };
        joined.mesh.tell(opened).await;
    }
    Ok(sources)
}

async fn add_source(store: &Store, path: &Path, blob: &BlobRef, output: &Output) -> Result<(), Failure> {
    let bar = output.progress("hashing", blob.size);
    let counter = bar.clone();
    let (content, size) =
        store.add_file(path, move |bytes| counter.set_position(bytes)).await.map_err(|e| {
            Failure::new(Kind::Storage, anyhow::Error::from(e).context(path.display().to_string()))
        })?;
    bar.finish_and_clear();
    if content == blob.content && size == blob.size {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Storage,
        anyhow::anyhow!(
            "{} was changed after it was published: it has the content hash {content}, the release says {}; \
             restore the file or publish a new release",
            path.display(),
            blob.content
        ),
    ))
}

async fn watch(
    args: &Args,
    output: &Output,
    site: &SiteDir,
    joined: &mut Joined,
    releases: &[Verified<Release>],
    blobs: &[BlobRef],
    sources: &BTreeMap<ContentHash, PathBuf>,
) -> Result<(), Failure> {
    let mut live = Live::new(*output, site.settings().name.clone(), releases, blobs);
    let mut view = tokio::time::interval(VIEW_EVERY);
    let mut interrupt = Interrupt::new().map_err(|e| Failure::new(Kind::Failed, e))?;
    let end = loop {
        tokio::select! {
            () = interrupt.recv() => break interrupted(args, &live),
            event = joined.events.recv() => match event {
                None => break Err(Failure::new(Kind::Failed, anyhow::anyhow!("the mesh ended unexpectedly"))),
                Some(MeshEvent::SourceChanged { content, why }) => break Err(source_changed(sources, content, &why)),
                Some(MeshEvent::SafeToLeave(safe)) => {
                    live.on_safe(safe);
                    if safe && args.until_safe {
                        break Ok(());
                    }
                }
                Some(MeshEvent::Listening(address)) => live.on_listening(&address),
                Some(MeshEvent::Neighbour { peer, connected }) => live.on_neighbour(peer, connected),
                Some(MeshEvent::Document(document)) => on_document(&mut live, *document),
                Some(MeshEvent::Restored | MeshEvent::Complete(_) | MeshEvent::NoSpace(_) | MeshEvent::Damaged(_)) => {}
            },
            _ = view.tick() => {
                let contents = blobs.iter().map(|b| b.content).collect();
                if let Some(view) = joined.mesh.view(contents).await {
                    live.on_view(&view);
                }
            }
        }
    };
    let contents = blobs.iter().map(|b| b.content).collect();
    if let Some(view) = joined.mesh.view(contents).await {
        live.on_view(&view);
    }
    live.leave();
    end
}

/// Who asked for `--until-safe` goes on with something else when that is true, and only then.
fn interrupted(args: &Args, live: &Live) -> Result<(), Failure> {
    if args.until_safe && !live.is_safe() {
        return Err(Failure::new(
            Kind::Failed,
            anyhow::anyhow!("interrupted before the site held everything"),
        ));
    }
    Ok(())
}

fn on_document(live: &mut Live, document: VerifiedDocument) {
    match document {
        VerifiedDocument::Enrollment(enrollment) => live.on_enrollment(&enrollment),
        VerifiedDocument::Report(report) => live.on_report(&report),
        _ => {}
    }
}

fn source_changed(sources: &BTreeMap<ContentHash, PathBuf>, content: ContentHash, why: &str) -> Failure {
    let path = sources.get(&content).map_or_else(|| content.to_string(), |path| path.display().to_string());
    Failure::new(
        Kind::Storage,
        anyhow::anyhow!(
            "{path} was changed while it was served ({why}); nothing more is sent. Restore it or publish a new release"
        ),
    )
}

/// The release that a report speaks of, for people.
pub fn release_name(releases: &[Verified<Release>], id: Option<DocumentId>) -> String {
    match id.and_then(|id| releases.iter().find(|r| r.id() == id)) {
        Some(release) => format!("{} {}", release.product, release.version),
        None => id.map_or_else(String::new, |id| id.short()),
    }
}
