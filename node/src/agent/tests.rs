//! The agent alone: documents and contents are put before it, the mesh has ended.

mod back;
mod by_hand;

use super::*;
use crate::fixture::{SITE, key, public, release, rollout, root, signed};
use crate::mesh::store::{StoreError, StoreOptions};
use crate::state::Transition;
use samara_protocol::document::{
    BlobRef, Document, Health, HealthCheck, Hook, HookStep, Probe, Release, ReleaseState, Rollout,
    RolloutState, When, Withdrawal,
};
use samara_protocol::geometry::{Geometry, PieceIndex};
use samara_protocol::id::RolloutId;
use samara_protocol::install::State as Stands;
use samara_protocol::time::Timestamp;
use samara_protocol::trust::{Trust, Verified};

mod cache;

const BYTES: &[u8] = b"firmware";
const PIECE_BYTES: u32 = 128 * 1024;

fn content() -> ContentHash {
    blob(BYTES).content
}

fn blob(bytes: &[u8]) -> BlobRef {
    let content = ContentHash(*blake3::hash(bytes).as_bytes());
    BlobRef { content, size: bytes.len() as u64, piece_size: PIECE_BYTES }
}

/// What only documents said so far: a release in place, by its destinations.
fn put_in_place(state: &State, destinations: &[&str], release: &Verified<Release>) {
    let record = samara_protocol::install::Record {
        from: Stands::Committing,
        state: Stands::Committed,
        attempt: 1,
        cuts: 0,
        fault: None,
    };
    let row = Row {
        record,
        at: 0,
        order: state.next_transition(),
        activated_ms: 0,
        rollout: DocumentId([0; 32]),
        release: None,
        surplus: Vec::new(),
    };
    let destinations: Vec<_> = destinations.iter().map(|d| (*d).to_owned()).collect();
    let id = release.id();
    let transition = Transition { id, release, destinations: &destinations, row, bad: None, lines: &[] };
    state.transit(&transition).unwrap();
}

/// A device that was told to install one release.
struct Bench {
    dir: tempfile::TempDir,
    agent: Agent,
    results: mpsc::Receiver<StepResult>,
    release: DocumentId,
    trust: Trust,
    documents: Vec<VerifiedDocument>,
}

fn parts(dir: &std::path::Path, store: Store, state: Arc<State>) -> AgentParts {
    let floors = state.marks().unwrap().security_floors;
    AgentParts {
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
            under_way: BTreeSet::new(),
            bad: BTreeMap::new(),
        },
        install_root: dir.join("install"),
        private: dir.join("programs"),
        restart: CancellationToken::new(),
        trials: TrialFiles::new(dir),
        given_up: None,
        local_rollback: true,
        mesh: MeshHandle::ended(),
        store,
        state,
        status: watch::channel(StatusView::starting(PeerId(public(7)), SITE)).0,
    }
}

async fn store(dir: &std::path::Path) -> Store {
    limited_store(dir, None).await
}

async fn limited_store(dir: &std::path::Path, quota_bytes: Option<u64>) -> Store {
    Store::open(&dir.join("store"), StoreOptions { reserve_free_bytes: 0, quota_bytes }).await.unwrap()
}

impl Bench {
    async fn new() -> Self {
        Self::prepared(|_, _| ()).await
    }

    /// What is to be found in the directory and in the state is put there first.
    async fn prepared(prepare: impl FnOnce(&std::path::Path, &State)) -> Self {
        Self::limited(None, prepare).await
    }

    async fn limited(quota: Option<u64>, prepare: impl FnOnce(&std::path::Path, &State)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = limited_store(dir.path(), quota).await;
        let state = Arc::new(State::open(&dir.path().join("state.redb")).unwrap());
        prepare(dir.path(), &state);
        let (agent, results) = Agent::new(parts(dir.path(), store, state)).unwrap();
        let trust = Trust::pin(&root(1, None)).unwrap();
        let release = DocumentId([0; 32]);
        let mut bench = Self { dir, agent, results, release, trust, documents: Vec::new() };
        bench.release = bench.publish(3, release_of(1, BYTES), |_| ()).await;
        bench.agent.on_event(MeshEvent::Restored).await;
        bench
    }

    /// The agent and all that it has open end at once; it starts again from what is on disk.
    async fn restarted(self) -> Self {
        let Self { dir, agent, results, release, trust, documents } = self;
        let old = agent.parts.store.clone();
        drop((agent, results));
        old.shutdown().await.unwrap();
        drop(old);
        let file = dir.path().join("state.redb");
        // What runs in a thread lets go of it when it ends.
        let state = loop {
            match State::open(&file) {
                Ok(state) => break Arc::new(state),
                Err(StateError::InUse { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        let (agent, results) = Agent::new(parts(dir.path(), store(dir.path()).await, state)).unwrap();
        let mut bench = Self { dir, agent, results, release, trust, documents };
        for document in bench.documents.clone() {
            bench.agent.on_event(MeshEvent::Document(Box::new(document))).await;
        }
        bench.agent.on_event(MeshEvent::Restored).await;
        bench
    }

    async fn hear<T: Document>(&mut self, document: &T, signer: u8) -> DocumentId {
        let document = self.trust.check(&signed(document, signer)).unwrap();
        self.trust.accept(&document);
        let id = document.id();
        self.documents.push(document.clone());
        self.agent.on_event(MeshEvent::Document(Box::new(document))).await;
        id
    }

    /// A release and its Rollout; the device hears of both.
    async fn publish(
        &mut self,
        rollout: u8,
        release: Release,
        change: impl FnOnce(&mut Rollout),
    ) -> DocumentId {
        let id = self.hear(&release, 2).await;
        self.roll_out(rollout, 1, id, change).await;
        id
    }

    async fn roll_out(
        &mut self,
        n: u8,
        sequence: u64,
        release: DocumentId,
        change: impl FnOnce(&mut Rollout),
    ) {
        let first =
            samara_protocol::document::Envelope::parse(&rollout(sequence, release, RolloutState::Active));
        let first: Rollout = first.unwrap().unverified_payload().unwrap();
        let mut named = Rollout { rollout_id: RolloutId([n; 16]), ..first };
        change(&mut named);
        self.hear(&named, 3).await;
    }

    /// Puts bytes into the store, as if they had come from peers, and says so.
    async fn bring(&mut self, bytes: &[u8]) {
        self.fill(bytes).await;
        self.agent.on_event(MeshEvent::Complete(blob(bytes).content)).await;
    }

    async fn fill(&self, bytes: &[u8]) {
        let file = self.dir.path().join("content.bin");
        std::fs::write(&file, bytes).unwrap();
        let other = tempfile::tempdir().unwrap();
        let other = store(other.path()).await;
        let (content, size) = other.add_file(&file, |_| ()).await.unwrap();
        let geometry = Geometry::new(size, PIECE_BYTES).unwrap();
        let range = geometry.ranges(PieceIndex(0)).next().unwrap();
        let bao = other.read(content, &geometry, range).await.unwrap();
        self.agent.parts.store.open_content(content, geometry).await.unwrap();
        self.agent.parts.store.write(content, &geometry, range, bao).await.unwrap();
    }

    /// Lets steps run until the machines wait for something; at most so many.
    async fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            if self.agent.running.is_none() {
                return;
            }
            let result = self.results.recv().await.unwrap();
            self.agent.on_step(result).await;
        }
    }

    async fn settle(&mut self) {
        self.run(1000).await;
        assert!(self.agent.running.is_none(), "it never ends");
    }

    fn state(&self) -> Stands {
        self.agent.work[&self.release].state()
    }

    /// Its state and the reason.
    fn standing(&self) -> (ReleaseState, String) {
        self.standing_of(&self.release)
    }

    fn standing_of(&self, release: &DocumentId) -> (ReleaseState, String) {
        let standing = self.agent.standing(release).unwrap();
        (standing.state, standing.reason)
    }

    /// Brings the release to its place.
    async fn install(&mut self) {
        self.bring(BYTES).await;
        self.settle().await;
        assert_eq!(self.state(), Stands::Committed);
    }

    /// What is in place.
    fn there(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("install/app")).unwrap_or_default()
    }
}

/// A release of one file with these bytes.
fn release_of(number: u64, bytes: &[u8]) -> Release {
    release(number, blob(bytes))
}

#[tokio::test]
async fn a_content_that_could_not_be_made_durable_is_sealed_at_the_next_try_and_installed_then() {
    let mut bench = Bench::new().await;
    assert_eq!(bench.state(), Stands::Downloading);
    // A store without the content fails as a disk would.
    bench.agent.parts.store.close(content()).await;
    for _ in 0..2 {
        bench.agent.on_event(MeshEvent::Complete(content())).await;
        assert_eq!(bench.state(), Stands::Downloading);
    }
    bench.fill(BYTES).await;
    bench.agent.retry().await;
    assert_eq!(bench.state(), Stands::Verifying);
    bench.settle().await;
    assert_eq!((bench.state(), bench.there().as_bytes()), (Stands::Committed, BYTES));
}

#[tokio::test]
async fn the_work_on_a_release_ends_when_its_release_or_its_rollout_is_believed_no_longer() {
    for of_rollout in [false, true] {
        let mut bench = Bench::new().await;
        let rollout = bench.agent.work[&bench.release].rollout;
        let dropped = if of_rollout { rollout } else { bench.release };
        bench.agent.on_event(MeshEvent::DocumentDropped(DocumentId([9; 32]))).await;
        assert_eq!(bench.state(), Stands::Downloading);
        bench.agent.on_event(MeshEvent::DocumentDropped(dropped)).await;
        assert!(bench.agent.work.is_empty() && bench.agent.aside.is_empty());
        bench.agent.on_event(MeshEvent::Complete(content())).await;
        bench.agent.retry().await;
        assert!(bench.agent.running.is_none());
    }
}

#[tokio::test]
async fn what_somebody_removed_is_put_in_place_again() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let place = bench.dir.path().join("install/app");
    std::fs::remove_file(&place).unwrap();
    bench.agent.retry().await;
    bench.settle().await;
    assert_eq!((bench.state(), std::fs::read(place).unwrap().as_slice()), (Stands::Committed, BYTES));
}

#[tokio::test]
async fn the_copies_of_a_withdrawn_release_go_while_another_one_is_still_unfinished() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let other = Release { product: "door".into(), ..release_of(1, b"for a door") };
    let mut other = Release { channel: "beta".into(), ..other };
    other.artifacts[0].destination = "door".into();
    let other = bench.publish(5, other, |_| ()).await;
    assert_eq!(bench.agent.work[&other].state(), Stands::Downloading);
    let withdrawal = Withdrawal {
        site: Some(SITE),
        product: None,
        releases: vec![bench.release],
        reason: "it leaks".into(),
        purge: true,
        crit: vec![],
    };
    bench.hear(&withdrawal, 3).await;
    assert_eq!(bench.agent.parts.store.contents().await, [blob(b"for a door").content]);
    assert_eq!(bench.standing(), (ReleaseState::Withdrawn, "it leaks; still installed".into()));
}

/// Another release, with a security counter.
fn counted(security_counter: u64) -> Verified<Release> {
    let release = Release { security_counter, ..release_of(9, BYTES) };
    let trust = Trust::pin(&root(1, None)).unwrap();
    let VerifiedDocument::Release(release) = trust.check(&signed(&release, 2)).unwrap() else { panic!() };
    release
}

const BELOW: &str = "its security counter 0 is below 3, the floor that an installed release has set";

#[tokio::test]
async fn a_release_below_the_floor_on_disk_is_not_even_fetched_and_says_why() {
    let bench = Bench::prepared(|_, state| put_in_place(state, &["other"], &counted(3))).await;
    assert!(bench.agent.work.is_empty());
    assert_eq!(bench.standing(), (ReleaseState::NotApplicable, BELOW.into()));
}

#[tokio::test]
async fn a_release_that_falls_below_the_floor_on_its_way_is_given_up_at_the_install() {
    let mut bench = Bench::new().await;
    put_in_place(&bench.agent.parts.state, &["other"], &counted(3));
    bench.bring(BYTES).await;
    bench.settle().await;
    assert!(bench.agent.work.is_empty() && !bench.dir.path().join("install").exists());
    assert_eq!(bench.standing(), (ReleaseState::NotApplicable, BELOW.into()));
}

#[tokio::test]
async fn what_is_installed_raises_the_floor_for_what_is_decided_next() {
    let mut bench = Bench::new().await;
    let high = Release { security_counter: 3, channel: "beta".into(), ..release_of(9, BYTES) };
    let high = bench.publish(9, high, |_| ()).await;
    bench.bring(BYTES).await;
    bench.settle().await;
    assert_eq!(bench.agent.facts.in_place, [("app".to_owned(), high)].into());
    assert_eq!(bench.standing(), (ReleaseState::NotApplicable, BELOW.into()));
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_release_is_named_and_the_release_goes_on_when_it_is_gone() {
    let mut bench = Bench::prepared(|dir, state| {
        std::fs::create_dir_all(dir.join("install/app")).unwrap();
        std::fs::write(dir.join("install/app/x"), "").unwrap();
        put_in_place(state, &["app/x", "gone"], &counted(0));
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
    let (state, reason) = bench.standing();
    assert_eq!(state, ReleaseState::Failed);
    assert!(reason.starts_with("cannot keep its bytes: ") && reason.contains("store/"), "{reason}");
    std::fs::remove_file(place).unwrap();
    // The wait is over.
    let now = bench.agent.now();
    let work = bench.agent.work.get_mut(&bench.release).unwrap();
    work.machine.handle(now + Duration::from_secs(10), Input::Tick);
    bench.agent.pump().await;
    bench.install().await;

    let mut bench = Bench::new().await;
    bench.agent.on_closed(bench.release, content(), StoreError::NoSpace { needed: 2, available: 1 });
    let why = "no room on the disk: 2 bytes are needed, 1 are available";
    assert_eq!(bench.standing(), (ReleaseState::WaitingForSpace, why.into()));
}

#[tokio::test]
async fn the_last_word_is_of_the_successor_that_does_not_suit_and_not_of_a_release_of_another_product() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let installed = bench.release;
    let other = Release { product: "door".into(), ..unsuited(7, blob(BYTES)) };
    bench.publish(8, other, |_| ()).await;
    assert_eq!(bench.agent.last_word(), Some((installed, ReleaseState::Installed)));
    let successor = bench.publish(9, unsuited(2, blob(BYTES)), |_| ()).await;
    assert_eq!(bench.agent.last_word(), Some((successor, ReleaseState::NotApplicable)));
}

/// Not for this hardware.
fn unsuited(number: u64, data: BlobRef) -> Release {
    let mut release = release(number, data);
    release.compatibility.hardware = vec!["valve".into()];
    release
}

const NEXT: &[u8] = b"the next one";

/// Version 2, with hooks of these steps and texts.
fn next_with(hooks: &[(HookStep, &str)]) -> Release {
    let hooks = hooks.iter().map(|(step, text)| Hook {
        name: step.as_str().into(),
        step: *step,
        data: blob(text.as_bytes()),
        args: vec![],
        timeout_seconds: 20,
        when: When::default(),
    });
    Release { hooks: hooks.collect(), ..release_of(2, NEXT) }
}

impl Bench {
    /// Version 1 is in place; version 2 comes, with its hooks.
    async fn with_next(hooks: &[(HookStep, &str)], change: impl FnOnce(&mut Rollout)) -> (Self, DocumentId) {
        let mut bench = Self::new().await;
        bench.install().await;
        let next = bench.publish(4, next_with(hooks), change).await;
        for (_, text) in hooks {
            bench.bring(text.as_bytes()).await;
        }
        bench.bring(NEXT).await;
        (bench, next)
    }

    fn log(&self) -> Vec<(Stands, Stands)> {
        let log = self.agent.parts.state.log().unwrap();
        assert!(log.is_unbroken());
        log.lines.iter().filter_map(|line| line.line()).map(|line| (line.from, line.to)).collect()
    }
}

#[tokio::test]
async fn a_release_whose_hook_fails_is_taken_back_remembered_over_a_restart_and_tried_again_when_a_rollout_says_so()
 {
    let hooks =
        [(HookStep::PostInstall, "#!/bin/sh\necho no luck; test -e \"$SAMARA_ROOT/fixed\" || exit 7\n")];
    let (mut bench, next) = Bench::with_next(&hooks, |_| ()).await;
    bench.settle().await;
    let why = "hook post_install ended with exit code 7: no luck".to_owned();
    assert_eq!(bench.standing_of(&next), (ReleaseState::RolledBack, why.clone()));
    assert_eq!(bench.agent.standing(&next).unwrap().wrong.unwrap().exit, Some(7));
    assert_eq!((bench.there().as_bytes(), bench.state()), (BYTES, Stands::Committed));
    assert_eq!(bench.agent.last_word(), Some((next, ReleaseState::RolledBack)));
    assert!(bench.log().ends_with(&[(Stands::RollingBack, Stands::RolledBack)]));
    let mut bench = bench.restarted().await;
    bench.settle().await;
    assert_eq!(bench.standing_of(&next), (ReleaseState::RolledBack, why));
    assert_eq!((bench.there().as_bytes(), bench.standing().0), (BYTES, ReleaseState::Installed));
    std::fs::write(bench.dir.path().join("install/fixed"), "").unwrap();
    bench.roll_out(4, 2, next, |rollout| rollout.retry = true).await;
    for (_, text) in hooks {
        bench.bring(text.as_bytes()).await;
    }
    bench.bring(NEXT).await;
    bench.settle().await;
    assert_eq!((bench.standing_of(&next).0, bench.there().as_bytes()), (ReleaseState::Installed, NEXT));
}

#[tokio::test]
async fn an_agent_that_ends_after_any_step_of_an_install_ends_it_at_its_next_start() {
    let hooks = [(HookStep::PreInstall, "#!/bin/sh\n"), (HookStep::PostInstall, "#!/bin/sh\n")];
    for steps in 0..12 {
        let (mut bench, next) = Bench::with_next(&hooks, |_| ()).await;
        bench.run(steps).await;
        let mut bench = bench.restarted().await;
        bench.settle().await;
        // What was undone because of the cut waits a little.
        if let Some(work) = bench.agent.work.get_mut(&next) {
            work.machine.handle(Timestamp(u64::MAX), Input::Tick);
        }
        bench.agent.pump().await;
        bench.settle().await;
        assert_eq!(
            (bench.standing_of(&next).0, bench.there().as_bytes()),
            (ReleaseState::Installed, NEXT),
            "{steps}"
        );
        assert_eq!(bench.agent.parts.state.installed("app").unwrap(), Some(next), "{steps}");
        assert!(bench.log().ends_with(&[(Stands::Committing, Stands::Committed)]), "{steps}");
    }
}

#[tokio::test]
async fn a_paused_rollout_lets_bytes_come_and_no_install_begin_and_an_aborted_one_ends_it() {
    let (mut bench, next) = Bench::with_next(&[], |_| ()).await;
    // Nothing was switched so far.
    bench.roll_out(4, 2, next, |rollout| rollout.state = RolloutState::Paused).await;
    bench.settle().await;
    assert_eq!(bench.standing_of(&next), (ReleaseState::Waiting, "the rollout is paused".into()));
    assert_eq!((bench.there().as_bytes(), bench.agent.work[&next].state()), (BYTES, Stands::Staged));
    bench.roll_out(4, 3, next, |_| ()).await;
    bench.settle().await;
    assert_eq!((bench.there().as_bytes(), bench.standing_of(&next).0), (NEXT, ReleaseState::Installed));
    bench.roll_out(4, 4, next, |rollout| rollout.state = RolloutState::Aborted).await;
    bench.settle().await;
    assert_eq!(bench.there().as_bytes(), NEXT, "a device that has it keeps it");

    let (mut bench, next) = Bench::with_next(&[], |rollout| rollout.state = RolloutState::Paused).await;
    bench.settle().await;
    bench.roll_out(4, 2, next, |rollout| rollout.state = RolloutState::Aborted).await;
    bench.settle().await;
    assert_eq!(bench.standing_of(&next).0, ReleaseState::Aborted);
    assert!(!bench.agent.work.contains_key(&next));
    let names = std::fs::read_dir(bench.dir.path().join("install")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["app"], "what was written beside it is gone");
}

/// What a paused release was fetched for was thrown away, and a device that heard of it too late fetched nothing.
#[tokio::test]
async fn a_release_whose_rollout_was_paused_before_the_device_heard_of_it_is_fetched_and_staged() {
    let (mut bench, next) = Bench::with_next(&[], |rollout| rollout.state = RolloutState::Paused).await;
    bench.settle().await;
    assert_eq!(bench.agent.work[&next].state(), Stands::Staged);
    assert_eq!(bench.standing_of(&next), (ReleaseState::Waiting, "the rollout is paused".into()));
    assert_eq!(bench.there().as_bytes(), BYTES);
    let said = "pump 2 is held back: the rollout is paused; it goes on with the operator's next word.";
    assert_eq!(bench.agent.explain().text, said);
    // The laptop is away: nothing comes once more.
    bench.roll_out(4, 2, next, |_| ()).await;
    bench.settle().await;
    assert_eq!((bench.there().as_bytes(), bench.standing_of(&next).0), (NEXT, ReleaseState::Installed));
}

#[tokio::test]
async fn a_pause_or_an_end_of_the_rollout_of_what_is_installed_is_not_said_to_be_something_else() {
    for state in [RolloutState::Paused, RolloutState::Aborted] {
        let mut bench = Bench::new().await;
        bench.install().await;
        let release = bench.release;
        bench.roll_out(3, 2, release, |rollout| rollout.state = state).await;
        bench.settle().await;
        let mut bench = bench.restarted().await;
        bench.settle().await;
        assert_eq!(bench.standing().0, ReleaseState::Installed, "{state}");
        assert_eq!(bench.agent.last_word(), Some((release, ReleaseState::Installed)));
        let said = bench.agent.explain().text;
        assert!(said.starts_with("pump 1 is installed, and nothing newer is wanted here"), "{said}");
    }
}

#[tokio::test]
async fn a_release_that_the_device_refused_is_asked_once_more_when_its_rollout_says_something_new() {
    let hook = [(HookStep::PreCheck, "#!/bin/sh\ntest -e \"$SAMARA_ROOT/ready\"\n")];
    let (mut bench, next) = Bench::with_next(&hook, |_| ()).await;
    bench.settle().await;
    assert_eq!(bench.standing_of(&next).0, ReleaseState::Rejected);
    std::fs::write(bench.dir.path().join("install/ready"), "").unwrap();
    bench.roll_out(4, 2, next, |rollout| rollout.retry = true).await;
    bench.settle().await;
    assert_eq!((bench.there().as_bytes(), bench.standing_of(&next).0), (NEXT, ReleaseState::Installed));
}

/// The last step of an install that worked is given up on after an hour and a half. What it left was then taken for an
/// activation that was never committed: staging the next release brought the version before back.
#[tokio::test]
async fn what_a_commit_that_was_given_up_on_left_behind_brings_nothing_back() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let install = bench.dir.path().join("install");
    std::fs::write(install.join("app.samara-kept"), "the version before").unwrap();
    let next = bench.publish(4, release_of(2, NEXT), |rollout| rollout.state = RolloutState::Paused).await;
    bench.bring(NEXT).await;
    bench.settle().await;
    assert_eq!((bench.agent.work[&next].state(), bench.there().as_bytes()), (Stands::Staged, BYTES));
    assert_eq!(std::fs::read(install.join("app.samara-previous")).unwrap(), b"the version before");
}

/// The old version's sign of life, written a moment before the switch, was taken for the new one's.
#[tokio::test]
async fn a_file_that_was_written_before_the_activation_says_nothing_of_the_new_version() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let hook = "#!/bin/sh\ntouch \"$SAMARA_ROOT/alive\"; sleep 0.2\n";
    let mut next = next_with(&[(HookStep::PreInstall, hook)]);
    let check = HealthCheck {
        name: "alive".into(),
        probe: Probe::File { path: "alive".into() },
        required: true,
        timeout_seconds: 5,
    };
    next.health = Some(Health { grace_seconds: 0, checks: vec![check], ..Health::default() });
    let next = bench.publish(4, next, |_| ()).await;
    bench.bring(hook.as_bytes()).await;
    bench.bring(NEXT).await;
    bench.settle().await;
    let (state, why) = bench.standing_of(&next);
    assert!(
        state == ReleaseState::RolledBack && why.contains("is older than the activation"),
        "{state} {why}"
    );
    assert_eq!(bench.there().as_bytes(), BYTES);
}

#[tokio::test]
async fn a_release_that_waits_for_another_time_before_it_changed_anything_lets_others_go_first() {
    let (mut bench, next) = Bench::with_next(&[(HookStep::PreCheck, "#!/bin/sh\nexit 21\n")], |_| ()).await;
    bench.settle().await;
    assert_eq!(bench.agent.work[&next].state(), Stands::Verifying);
    let mut other = release_of(1, b"another");
    (other.channel, other.artifacts[0].destination) = ("tools".into(), "tool".into());
    let other = bench.publish(5, other, |_| ()).await;
    bench.bring(b"another").await;
    bench.settle().await;
    assert_eq!(bench.standing_of(&other).0, ReleaseState::Installed);
    assert_eq!(bench.agent.work[&next].state(), Stands::Verifying);
    assert!(bench.agent.explain().text.contains("asked for another time"), "{}", bench.agent.explain().text);
}

#[tokio::test]
async fn a_rollout_that_rolls_back_brings_the_earlier_release_back() {
    let (mut bench, next) = Bench::with_next(&[], |_| ()).await;
    bench.settle().await;
    assert_eq!(bench.there().as_bytes(), NEXT);
    let first = bench.release;
    bench.roll_out(4, 2, next, |rollout| rollout.rollback_to = Some(first)).await;
    bench.bring(BYTES).await;
    bench.settle().await;
    assert_eq!((bench.there().as_bytes(), bench.state()), (BYTES, Stands::Committed));
    assert_eq!(bench.standing_of(&next).0, ReleaseState::Superseded);
}

#[tokio::test]
async fn somebody_at_the_device_brings_the_version_before_back_and_it_stays_so() {
    let (mut bench, next) = Bench::with_next(&[], |_| ()).await;
    bench.settle().await;
    assert_eq!(bench.agent.explain().text, "pump 2 is installed, and nothing newer is wanted here.");
    let unknown = bench.agent.roll_back(Some(DocumentId([9; 32]))).unwrap_err();
    assert!(unknown.contains("is not installed here"), "{unknown}");
    let begun = bench.agent.roll_back(None).unwrap();
    assert_eq!((begun.release, begun.to), (next, Some(bench.release)));
    assert!(bench.agent.roll_back(None).unwrap_err().contains("try again when it has ended"));
    bench.agent.pump().await;
    bench.settle().await;
    let why = "the version before was wanted at the device";
    assert_eq!(bench.standing_of(&next), (ReleaseState::RolledBack, why.into()));
    assert_eq!((bench.there().as_bytes(), bench.standing().0), (BYTES, ReleaseState::Installed));
    let mut bench = bench.restarted().await;
    bench.settle().await;
    assert_eq!((bench.there().as_bytes(), bench.standing_of(&next).0), (BYTES, ReleaseState::RolledBack));
    let said = bench.agent.explain().text;
    assert_eq!(
        said,
        format!(
            "pump 2 was rolled back here ({why}) and is not tried again until a rollout says retry. pump 1 is installed."
        )
    );
    bench.agent.parts.local_rollback = false;
    assert!(bench.agent.roll_back(None).unwrap_err().contains("install.local_rollback"));
}

/// The roll back removed what the paused release had written beside the destination: when that went on it found nothing,
/// and was on the bad list.
#[tokio::test]
async fn a_roll_back_by_hand_does_no_harm_to_a_paused_release_that_stands_ready() {
    let (mut bench, _) = Bench::with_next(&[], |_| ()).await;
    bench.settle().await;
    let last = bench.publish(5, release_of(3, b"last"), |rollout| rollout.state = RolloutState::Paused).await;
    bench.bring(b"last").await;
    bench.settle().await;
    assert_eq!(bench.agent.work[&last].state(), Stands::Staged);
    bench.agent.roll_back(None).unwrap();
    bench.agent.pump().await;
    bench.settle().await;
    assert_eq!((bench.there().as_bytes(), bench.standing().0), (BYTES, ReleaseState::Installed));
    bench.roll_out(5, 2, last, |_| ()).await;
    bench.bring(b"last").await;
    bench.settle().await;
    assert_eq!(bench.standing_of(&last).0, ReleaseState::Installed);
    assert_eq!(bench.there().as_bytes(), b"last");
}

/// It went back to a release that the site had withdrawn.
#[tokio::test]
async fn somebody_at_the_device_does_not_bring_a_withdrawn_release_back() {
    let (mut bench, _) = Bench::with_next(&[], |_| ()).await;
    bench.settle().await;
    let (releases, reason) = (vec![bench.release], "it leaks".to_owned());
    let withdrawal =
        Withdrawal { site: Some(SITE), product: None, releases, reason, purge: false, crit: vec![] };
    bench.hear(&withdrawal, 3).await;
    bench.settle().await;
    let refused = bench.agent.roll_back(None).unwrap_err();
    assert!(refused.starts_with("pump 1 cannot come back: it is withdrawn"), "{refused}");
    assert_eq!(bench.there().as_bytes(), NEXT);
    let said = bench.agent.explain().text;
    assert_eq!(said, "pump 2 is installed, and nothing newer is wanted here.");
    assert_eq!(bench.agent.last_word().map(|(_, state)| state), Some(ReleaseState::Installed));
}

#[tokio::test]
async fn a_roll_back_by_hand_that_is_cut_after_any_step_ends_at_the_next_start() {
    for steps in 0..3 {
        let (mut bench, next) = Bench::with_next(&[(HookStep::PostRollback, "#!/bin/sh\n")], |_| ()).await;
        bench.settle().await;
        bench.agent.roll_back(None).unwrap();
        bench.agent.pump().await;
        bench.run(steps).await;
        let mut bench = bench.restarted().await;
        bench.settle().await;
        assert_eq!((bench.there().as_bytes(), bench.standing_of(&next).0), (BYTES, ReleaseState::RolledBack));
        assert_eq!(bench.agent.parts.state.installed("app").unwrap(), Some(bench.release), "{steps}");
    }
}

#[tokio::test]
async fn a_set_with_one_artifact_that_cannot_be_placed_places_none_and_says_so_until_it_can() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let mut set = release_of(2, NEXT);
    let other = samara_protocol::document::Artifact { destination: "dir".into(), ..set.artifacts[0].clone() };
    set.artifacts.push(other);
    let place = bench.dir.path().join("install/dir");
    std::fs::create_dir(&place).unwrap();
    let set = bench.publish(4, set, |_| ()).await;
    bench.bring(NEXT).await;
    bench.settle().await;
    let (state, why) = bench.standing_of(&set);
    assert!(state == ReleaseState::Failed && why.contains("is a directory"), "{why}");
    assert_eq!((bench.there().as_bytes(), bench.agent.work[&set].machine.attempt()), (BYTES, 0));
    assert!(bench.agent.explain().text.contains("is tried again in"));
    std::fs::remove_dir(&place).unwrap();
    bench.agent.work.get_mut(&set).unwrap().machine.handle(Timestamp(u64::MAX), Input::Tick);
    bench.agent.pump().await;
    bench.settle().await;
    assert_eq!((bench.there().as_bytes(), bench.standing_of(&set).0), (NEXT, ReleaseState::Installed));
}

#[tokio::test]
async fn a_release_for_which_there_is_no_room_waits_with_both_numbers_and_one_for_which_there_never_is_is_refused()
 {
    let mut bench = Bench::new().await;
    bench.install().await;
    let mut next = release_of(2, NEXT);
    next.compatibility.free_bytes = (1 << 53) - 1;
    let next = bench.publish(4, next, |_| ()).await;
    let (state, why) = bench.standing_of(&next);
    assert!(state == ReleaseState::Rejected && why.starts_with("it needs 90"), "{why}");
    assert_eq!(bench.there().as_bytes(), BYTES);
}

/// After a restart it was said to be superseded, and no report named it.
#[tokio::test]
async fn what_is_in_place_while_its_successor_loads_is_installed_also_after_a_restart() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let next = bench.publish(4, release_of(2, NEXT), |_| ()).await;
    for _ in 0..2 {
        assert_eq!(bench.standing(), (ReleaseState::Installed, String::new()));
        assert_eq!(bench.standing_of(&next).0, ReleaseState::Downloading);
        bench = bench.restarted().await;
    }
    bench.bring(NEXT).await;
    bench.settle().await;
    assert_eq!(bench.standing(), (ReleaseState::Superseded, "a later release is wanted".into()));
}

/// It read "pump 2 is installed, and nothing newer is wanted here: a later release is wanted."
#[tokio::test]
async fn what_stays_in_place_while_the_release_to_which_the_site_went_back_is_unknown_is_explained() {
    let (mut bench, next) = Bench::with_next(&[], |_| ()).await;
    bench.settle().await;
    bench.roll_out(3, 2, bench.release, |rollout| rollout.state = RolloutState::Aborted).await;
    bench.roll_out(4, 2, next, |rollout| rollout.rollback_to = Some(DocumentId([9; 32]))).await;
    let said = bench.agent.explain().text;
    assert_eq!(said, "pump 2 is installed: the site went back to an earlier release.");
}
