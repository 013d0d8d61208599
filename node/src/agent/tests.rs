//! The agent alone: documents and contents are put before it, the mesh has ended.

use super::*;
use crate::fixture::{SITE, key, public, release, rollout, root, signed};
use crate::mesh::store::StoreOptions;
use samara_protocol::document::{BlobRef, RolloutState};
use samara_protocol::geometry::{Geometry, PieceIndex};
use samara_protocol::trust::Trust;

const BYTES: &[u8] = b"firmware";
const PIECE_BYTES: u32 = 128 * 1024;

fn content() -> ContentHash {
    ContentHash(*blake3::hash(BYTES).as_bytes())
}

/// A device that was told to install one release.
struct Bench {
    dir: tempfile::TempDir,
    agent: Agent,
    results: mpsc::Receiver<InstallResult>,
    release: DocumentId,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { reserve_free_bytes: 0 };
        let store = Store::open(&dir.path().join("store"), options).await.unwrap();
        let parts = AgentParts {
            device: PeerId(public(7)),
            secret: key(7).to_bytes(),
            site: SITE,
            facts: Facts {
                hardware: "generic".into(),
                architecture: "x86_64".into(),
                product: String::new(),
                agent: "0.1.0".into(),
                protocol: 1,
            },
            install_root: dir.path().join("install"),
            mesh: MeshHandle::ended(),
            store,
            state: Arc::new(State::open(&dir.path().join("state.redb")).unwrap()),
            status: watch::channel(StatusView::starting(PeerId(public(7)), SITE)).0,
        };
        let (agent, results) = Agent::new(parts);
        let data = BlobRef { content: content(), size: BYTES.len() as u64, piece_size: PIECE_BYTES };
        let mut trust = Trust::pin(&root(1, None)).unwrap();
        let release = trust.check(&signed(&release(1, data), 2)).unwrap();
        trust.accept(&release);
        let mut bench = Self { dir, agent, results, release: release.id() };
        let rollout = trust.check(&rollout(1, bench.release, RolloutState::Active)).unwrap();
        for document in [release, rollout] {
            bench.agent.on_event(MeshEvent::Document(Box::new(document))).await;
        }
        bench.agent.on_event(MeshEvent::Restored).await;
        bench
    }

    /// Puts the bytes into the store, as if they had come from peers.
    async fn fill(&self) {
        let file = self.dir.path().join("firmware.bin");
        std::fs::write(&file, BYTES).unwrap();
        let other = self.dir.path().join("other");
        let other = Store::open(&other, StoreOptions { reserve_free_bytes: 0 }).await.unwrap();
        let (content, size) = other.add_file(&file, |_| ()).await.unwrap();
        let geometry = Geometry::new(size, PIECE_BYTES).unwrap();
        let range = geometry.ranges(PieceIndex(0)).next().unwrap();
        let bao = other.read(content, &geometry, range).await.unwrap();
        self.agent.parts.store.open_content(content, geometry).await.unwrap();
        self.agent.parts.store.write(content, &geometry, range, bao).await.unwrap();
    }

    fn phase(&self) -> &Phase {
        &self.agent.work[&self.release].phase
    }
}

#[tokio::test]
async fn a_content_that_could_not_be_made_durable_is_sealed_at_the_next_try_and_installed_then() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.phase(), &Phase::Downloading);
    // A store without the content fails as a disk would.
    bench.agent.parts.store.close(content()).await;
    for _ in 0..2 {
        bench.agent.on_event(MeshEvent::Complete(content())).await;
        assert_eq!(bench.phase(), &Phase::Downloading);
    }
    bench.fill().await;
    bench.agent.retry().await;
    assert_eq!(bench.phase(), &Phase::Installing);
    let (release, result) = bench.results.recv().await.unwrap();
    bench.agent.on_installed(release, result).await;
    assert_eq!(bench.phase(), &Phase::Installed);
    assert_eq!(std::fs::read(bench.dir.path().join("install/app")).unwrap(), BYTES);
}

#[tokio::test]
async fn the_work_on_a_release_ends_when_its_release_or_its_rollout_is_believed_no_longer() {
    for of_rollout in [false, true] {
        let mut bench = Bench::new().await;
        let rollout = bench.agent.work[&bench.release].rollout;
        let dropped = if of_rollout { rollout } else { bench.release };
        bench.agent.on_event(MeshEvent::DocumentDropped(DocumentId([9; 32]))).await;
        assert_eq!(bench.phase(), &Phase::Downloading);
        bench.agent.on_event(MeshEvent::DocumentDropped(dropped)).await;
        assert!(bench.agent.work.is_empty() && bench.agent.aside.is_empty());
        bench.agent.on_event(MeshEvent::Complete(content())).await;
        bench.agent.retry().await;
        assert!(bench.agent.installing.is_none());
    }
}

impl Bench {
    /// Brings the release to its place.
    async fn install(&mut self) {
        self.fill().await;
        self.agent.on_event(MeshEvent::Complete(content())).await;
        let (release, result) = self.results.recv().await.unwrap();
        self.agent.on_installed(release, result).await;
        assert_eq!(self.phase(), &Phase::Installed);
    }
}

#[tokio::test]
async fn what_somebody_removed_is_put_in_place_again() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let place = bench.dir.path().join("install/app");
    std::fs::remove_file(&place).unwrap();
    bench.agent.retry().await;
    let (release, result) = bench.results.recv().await.unwrap();
    bench.agent.on_installed(release, result).await;
    assert_eq!((bench.phase(), std::fs::read(place).unwrap().as_slice()), (&Phase::Installed, BYTES));
}

#[tokio::test]
async fn the_copies_of_a_withdrawn_release_go_while_another_one_is_still_unfinished() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let id = bench.release;
    let unfinished = Work { phase: Phase::Downloading, blobs: Vec::new(), ..bench.agent.work[&id].clone() };
    bench.agent.work.insert(DocumentId([9; 32]), unfinished);
    bench.agent.withdraw(id, true).await;
    assert_eq!(bench.agent.parts.store.contents().await, []);
}
