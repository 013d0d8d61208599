//! The install of a release: one at a time, on a thread of its own, from contents that are sealed.
//!
//! All artifacts are checked before the first is staged, and staged before the first is activated; if one fails, all go
//! back to what was there. The journal forgets a destination before it is touched and names the release after all are
//! in place, so that it never claims what a crash has cut; with it rises the security floor (T18), which is looked at on
//! disk once more before anything is touched.

use super::fetch::Phase;
use super::{Agent, RETRY_EVERY};
use crate::handler::{self, InstallError, Site, Source};
use crate::mesh::store::{Store, StoreError};
use crate::state::State;
use samara_protocol::document::{Artifact, Release};
use samara_protocol::id::{ContentHash, DocumentId};
use samara_protocol::rollout::artifacts_for;
use samara_protocol::trust::Verified;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// The longest wait after a failed install, as a multiple of [`RETRY_EVERY`].
const BACKOFF_MAX: u32 = 120;

impl Agent {
    /// Starts the next install, if none runs.
    pub(super) async fn start_install(&mut self) {
        if self.installing.is_some() {
            return;
        }
        let Some((&id, work)) = self.work.iter_mut().find(|(_, w)| w.phase == Phase::Verified) else {
            return;
        };
        work.phase = Phase::Installing;
        self.installing = Some(id);
        let release = work.release.clone();
        let artifacts: Vec<_> = artifacts_for(&release, &self.facts).cloned().collect();
        let (root, state) = (self.parts.install_root.clone(), self.parts.state.clone());
        let private = self.parts.private.clone();
        let source = StoreSource { store: self.parts.store.clone(), runtime: Handle::current() };
        let results = self.installed.clone();
        tokio::task::spawn_blocking(move || {
            let result = install_all(&release, &artifacts, &root, &private, &source, &state);
            // The channel has room for the one install that runs, unless the agent has ended.
            let _ = results.blocking_send((id, result));
        });
    }

    /// An install has ended.
    pub(super) async fn on_installed(&mut self, id: DocumentId, result: Result<(), InstallError>) {
        self.installing = None;
        if let Some(work) = self.work.get_mut(&id) {
            let is_sealed = work.sealed.len() == work.blobs.len();
            match result {
                Ok(()) => {
                    work.phase = Phase::Installed;
                    tracing::info!(target: "samara", event = "release_installed", release = %id, "installed");
                }
                Err(InstallError::Store(StoreError::Closing)) => work.phase = Phase::Downloading,
                Err(error) if !is_sealed => {
                    tracing::warn!(%error, release = %id, "install stopped; a content is fetched again");
                    work.phase = Phase::Downloading;
                }
                Err(error) => {
                    work.tries += 1;
                    let wait = RETRY_EVERY * (1 << work.tries.min(7)).min(BACKOFF_MAX);
                    tracing::error!(%error, release = %id, "install failed");
                    let retry_at = Instant::now() + wait;
                    work.phase = Phase::Failed { why: error.to_string(), retry_at, tries: work.tries };
                }
            }
            self.forget_unwanted().await;
        }
        self.look_again().await;
        self.look_at_floors();
        self.decide().await;
        self.show_status().await;
        self.start_install().await;
    }

    /// What is installed may have raised them.
    fn look_at_floors(&mut self) {
        match self.parts.state.marks() {
            Ok(marks) => self.facts.floors = marks.security_floors,
            Err(error) => tracing::error!(%error, "cannot read the security floors"),
        }
    }
}

fn install_all(
    release: &Verified<Release>,
    artifacts: &[Artifact],
    root: &Path,
    private: &Path,
    source: &dyn Source,
    state: &State,
) -> Result<(), InstallError> {
    let journal = |error: crate::state::StateError| InstallError::Journal(error.to_string());
    state.marks().map_err(journal)?.security_floors.check(release)?;
    let site =
        Site { root, private, source, release: release.id(), version: &release.version, version_before: "" };
    artifacts.iter().try_for_each(|artifact| handler::check(&site, artifact))?;
    let destinations: Vec<_> = artifacts.iter().map(|artifact| artifact.destination.as_str()).collect();
    state.forget_installed(&destinations).map_err(journal)?;
    let placed = place_all(&site, artifacts);
    if placed.is_err() {
        for artifact in artifacts.iter().rev() {
            if let Err(error) = handler::undo(&site, artifact) {
                tracing::error!(%error, artifact = artifact.name, "cannot go back now; done before the next try");
            }
        }
        return placed;
    }
    artifacts.iter().try_for_each(|artifact| handler::commit(&site, artifact))?;
    state.record_installed(&destinations, release).map_err(journal)
}

fn place_all(site: &Site, artifacts: &[Artifact]) -> Result<(), InstallError> {
    for artifact in artifacts {
        handler::stage(site, artifact)?;
    }
    artifacts.iter().try_for_each(|artifact| handler::activate(site, artifact))
}

/// The store, asked from a thread that may wait.
struct StoreSource {
    store: Store,
    runtime: Handle,
}

impl Source for StoreSource {
    fn copy(
        &self,
        content: ContentHash,
        offset: u64,
        len: u64,
        out: &mut dyn Write,
    ) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.copy_verified(content, offset, len, &mut Waiting(out)))
    }
}

/// A writer that makes its thread wait instead of its task.
struct Waiting<'a>(&'a mut dyn Write);

impl AsyncWrite for Waiting<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(self.0.write(bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(self.0.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.poll_flush(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{release, root, signed};
    use crate::mesh::store::StoreOptions;
    use samara_protocol::document::{ArtifactKind, BlobRef, Installed, Representation, When};
    use samara_protocol::trust::{Trust, VerifiedDocument};
    use std::sync::Arc;

    /// A store with one content, a state file and an install root.
    struct Bench {
        dir: tempfile::TempDir,
        store: Store,
        state: Arc<State>,
        data: BlobRef,
    }

    impl Bench {
        async fn new(bytes: &[u8]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("published"), bytes).unwrap();
            let options = StoreOptions { reserve_free_bytes: 0 };
            let store = Store::open(&dir.path().join("store"), options).await.unwrap();
            let (content, size) = store.add_file(&dir.path().join("published"), |_| ()).await.unwrap();
            let state = Arc::new(State::open(&dir.path().join("state.redb")).unwrap());
            Self { dir, store, state, data: BlobRef { content, size, piece_size: 128 * 1024 } }
        }

        fn root(&self) -> std::path::PathBuf {
            self.dir.path().join("root")
        }

        fn artifact(&self, destination: &str) -> Artifact {
            let plain = Representation {
                encoding: "plain".into(),
                encryption: None,
                base: None,
                data: self.data,
                list: None,
                crit: vec![],
            };
            Artifact {
                name: "app".into(),
                kind: ArtifactKind::File,
                destination: destination.into(),
                mode: None,
                when: When::default(),
                installed: Installed { hash: self.data.content, size: self.data.size },
                representations: vec![plain],
                config: None,
                binary: None,
                script: None,
                crit: vec![],
            }
        }

        async fn install(&self, number: u64, destinations: &[&str]) -> Result<(), InstallError> {
            self.install_counted(number, 0, destinations).await
        }

        /// A release whose number is this, and its security counter that.
        fn release(&self, number: u64, security_counter: u64) -> Verified<Release> {
            let release = Release { security_counter, ..release(number, self.data) };
            let trust = Trust::pin(&root(1, None)).unwrap();
            let VerifiedDocument::Release(release) = trust.check(&signed(&release, 2)).unwrap() else {
                panic!()
            };
            release
        }

        async fn install_counted(
            &self,
            number: u64,
            security_counter: u64,
            destinations: &[&str],
        ) -> Result<(), InstallError> {
            let artifacts: Vec<_> = destinations.iter().map(|d| self.artifact(d)).collect();
            let (root, state) = (self.root(), self.state.clone());
            let private = self.dir.path().join("private");
            let source = StoreSource { store: self.store.clone(), runtime: Handle::current() };
            let release = self.release(number, security_counter);
            let run = move || install_all(&release, &artifacts, &root, &private, &source, &state);
            tokio::task::spawn_blocking(run).await.unwrap()
        }

        fn journal(&self, destination: &str) -> Option<DocumentId> {
            self.state.installed(destination).unwrap()
        }
    }

    #[tokio::test]
    async fn artifacts_come_out_of_the_store_whole_and_the_journal_names_their_release() {
        let bytes: Vec<u8> = (0..700_001_u32).map(|i| (i % 251) as u8).collect();
        let bench = Bench::new(&bytes).await;
        bench.install(1, &["a", "b/c"]).await.unwrap();
        for destination in ["a", "b/c"] {
            assert!(std::fs::read(bench.root().join(destination)).unwrap() == bytes);
            assert_eq!(bench.journal(destination), Some(bench.release(1, 0).id()));
        }
    }

    #[tokio::test]
    async fn bytes_that_are_wrong_in_the_store_are_not_installed_and_the_journal_claims_nothing() {
        let bench = Bench::new(&[7; 300_000]).await;
        bench.install(1, &["a"]).await.unwrap();
        let mut wrong = vec![7; 300_000];
        wrong[200_000] = 8;
        std::fs::write(bench.dir.path().join("published"), wrong).unwrap();
        let error = bench.install(2, &["a", "b"]).await.unwrap_err();
        assert!(matches!(error, InstallError::Store(_)), "{error}");
        let names = std::fs::read_dir(bench.root()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["a"]);
        assert_eq!((bench.journal("a"), bench.journal("b")), (None, None));
    }

    #[tokio::test]
    async fn a_release_with_one_artifact_that_cannot_be_placed_places_none() {
        let bench = Bench::new(&[7; 1000]).await;
        bench.install(1, &["a"]).await.unwrap();
        let error = bench.install(2, &["b", "a", "../c"]).await.unwrap_err();
        assert!(matches!(error, InstallError::Destination { .. }), "{error}");
        assert!(!bench.root().join("b").exists());
        assert_eq!(bench.journal("a"), Some(bench.release(1, 0).id()));
    }

    #[tokio::test]
    async fn what_is_below_the_floor_on_disk_is_refused_at_the_last_moment_and_touches_nothing() {
        let bench = Bench::new(&[7; 1000]).await;
        bench.install_counted(1, 3, &["a"]).await.unwrap();
        let error = bench.install_counted(2, 2, &["b", "a"]).await.unwrap_err();
        assert!(matches!(error, InstallError::BelowSecurityFloor(_)), "{error}");
        assert!(!bench.root().join("b").exists());
        assert_eq!(bench.journal("a"), Some(bench.release(1, 3).id()));
        bench.install_counted(2, 3, &["b", "a"]).await.unwrap();
    }
}
