//! The agent alone: documents and contents are put before it, the mesh has ended.

use super::*;
use crate::fixture::{SITE, key, public, release, rollout, root, signed};
use crate::mesh::store::{StoreError, StoreOptions};
use samara_protocol::document::{BlobRef, Release, Rollout, RolloutState};
use samara_protocol::geometry::{Geometry, PieceIndex};
use samara_protocol::id::RolloutId;
use samara_protocol::trust::{Trust, Verified};

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
        Self::prepared(|_, _| ()).await
    }

    /// What is to be found in the directory and in the state is put there first.
    async fn prepared(prepare: impl FnOnce(&std::path::Path, &State)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { reserve_free_bytes: 0 };
        let store = Store::open(&dir.path().join("store"), options).await.unwrap();
        let state = Arc::new(State::open(&dir.path().join("state.redb")).unwrap());
        prepare(dir.path(), &state);
        let floors = state.marks().unwrap().security_floors;
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
                floors,
                in_place: BTreeMap::new(),
            },
            install_root: dir.path().join("install"),
            private: dir.path().join("programs"),
            mesh: MeshHandle::ended(),
            store,
            state,
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

    /// Its state and the reason.
    fn standing(&self) -> (ReleaseState, String) {
        let standing = self.agent.standing(&self.release).unwrap();
        (standing.state, standing.reason)
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

/// Another release, with a security counter.
fn counted(security_counter: u64) -> Verified<Release> {
    let data = BlobRef { content: content(), size: BYTES.len() as u64, piece_size: PIECE_BYTES };
    let release = Release { security_counter, ..release(9, data) };
    let trust = Trust::pin(&root(1, None)).unwrap();
    let VerifiedDocument::Release(release) = trust.check(&signed(&release, 2)).unwrap() else { panic!() };
    release
}

const BELOW: &str = "its security counter 0 is below 3, the floor that an installed release has set";

#[tokio::test]
async fn a_release_below_the_floor_on_disk_is_not_even_fetched_and_says_why() {
    let bench = Bench::prepared(|_, state| state.record_installed(&["other"], &counted(3)).unwrap()).await;
    assert!(bench.agent.work.is_empty());
    assert_eq!(bench.standing(), (ReleaseState::NotApplicable, BELOW.into()));
}

#[tokio::test]
async fn a_release_that_falls_below_the_floor_on_its_way_is_given_up_at_the_install() {
    let mut bench = Bench::new().await;
    bench.agent.parts.state.record_installed(&["other"], &counted(3)).unwrap();
    bench.fill().await;
    bench.agent.on_event(MeshEvent::Complete(content())).await;
    let (release, result) = bench.results.recv().await.unwrap();
    assert!(matches!(result, Err(InstallError::BelowSecurityFloor(_))), "{result:?}");
    bench.agent.on_installed(release, result).await;
    assert!(bench.agent.work.is_empty() && !bench.dir.path().join("install").exists());
    assert_eq!(bench.standing(), (ReleaseState::NotApplicable, BELOW.into()));
}

#[tokio::test]
async fn what_is_installed_raises_the_floor_for_what_is_decided_next() {
    let mut bench = Bench::new().await;
    let high = counted(3);
    bench.agent.work.get_mut(&bench.release).unwrap().release = high.clone();
    bench.fill().await;
    bench.agent.on_event(MeshEvent::Complete(content())).await;
    let (release, result) = bench.results.recv().await.unwrap();
    result.unwrap();
    bench.agent.on_installed(release, Ok(())).await;
    assert_eq!(bench.agent.facts.in_place, [("app".to_owned(), high.id())].into());
    assert_eq!(bench.standing(), (ReleaseState::NotApplicable, BELOW.into()));
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_release_is_named_and_the_release_goes_on_when_it_is_gone() {
    let mut bench = Bench::prepared(|dir, state| {
        std::fs::create_dir_all(dir.join("install/app")).unwrap();
        std::fs::write(dir.join("install/app/x"), "").unwrap();
        state.record_installed(&["app/x", "gone"], &counted(0)).unwrap();
    })
    .await;
    let why = "app overlaps app/x, where an earlier release is in place: withdraw that and remove app/x";
    for _ in 0..2 {
        assert_eq!(bench.standing(), (ReleaseState::NotApplicable, why.into()));
        bench.agent.retry().await;
    }
    std::fs::remove_dir_all(bench.dir.path().join("install/app")).unwrap();
    bench.agent.retry().await;
    bench.install().await;
}

#[tokio::test]
async fn a_content_that_cannot_be_opened_waits_for_space_only_if_there_is_none() {
    let mut bench = Bench::prepared(|dir, _| {
        std::fs::write(dir.join("store").join(content().to_string()), "in the way").unwrap();
    })
    .await;
    let place = bench.dir.path().join("store").join(content().to_string());
    for _ in 0..2 {
        let (state, reason) = bench.standing();
        assert_eq!(state, ReleaseState::Failed);
        assert!(reason.starts_with("cannot keep its bytes: ") && reason.contains("store/"), "{reason}");
        bench.agent.retry().await;
    }
    std::fs::remove_file(place).unwrap();
    bench.agent.retry().await;
    bench.install().await;

    let phase = Phase::of_fault(&content(), StoreError::NoSpace { needed: 2, available: 1 });
    assert!(matches!(phase, Phase::WaitingForSpace(why) if why.contains("no room")));
}

#[tokio::test]
async fn the_last_word_is_of_the_successor_that_does_not_suit_and_not_of_a_release_of_another_product() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let data = BlobRef { content: content(), size: BYTES.len() as u64, piece_size: PIECE_BYTES };
    let (mut trust, installed) = (Trust::pin(&root(1, None)).unwrap(), bench.release);
    let mut publish = |n: u8, release: Release| {
        let release = trust.check(&signed(&release, 2)).unwrap();
        trust.accept(&release);
        let named = trust.check(&signed(
            &Rollout {
                rollout_id: RolloutId([n; 16]),
                release: release.id(),
                ..Rollout::clone(bench.agent.documents.rollouts.values().next().unwrap())
            },
            3,
        ));
        (release.id(), [release, named.unwrap()])
    };
    let (_, other) = publish(8, Release { product: "door".into(), ..unsuited(7, data) });
    let (successor, next) = publish(9, unsuited(2, data));
    for (documents, last) in
        [(other, (installed, ReleaseState::Installed)), (next, (successor, ReleaseState::NotApplicable))]
    {
        for document in documents {
            bench.agent.on_event(MeshEvent::Document(Box::new(document))).await;
        }
        assert_eq!(bench.agent.last_word(), Some(last));
    }
}

/// Not for this hardware.
fn unsuited(number: u64, data: BlobRef) -> Release {
    let mut release = release(number, data);
    release.compatibility.hardware = vec!["valve".into()];
    release
}
