//! Which copies stay: of what is wanted always, of the release before as far as there is room.

use super::*;
use crate::mesh::store::{bytes_used, of_content};
use samara_protocol::install::State as Stands;

impl Bench {
    async fn contents(&self) -> BTreeSet<ContentHash> {
        self.agent.parts.store.contents().await.into_iter().collect()
    }

    /// From now on the store may grow by so many bytes; what it may take in all.
    async fn limit(&mut self, growth: u64) -> u64 {
        let quota = self.agent.parts.store.bytes_used() + growth;
        self.agent.parts.store = limited_store(self.dir.path(), Some(quota)).await;
        quota
    }

    /// From now on the store has room for copies of these, and for half of what another one needs.
    pub(super) async fn limit_to(&mut self, kept: &[&[u8]]) {
        let dir = |bytes: &[u8]| self.dir.path().join("store").join(blob(bytes).content.to_string());
        let kept: u64 = kept.iter().map(|bytes| bytes_used(&dir(bytes))).sum();
        self.agent.parts.store.shutdown().await.unwrap();
        self.agent.parts.store = limited_store(self.dir.path(), Some(kept + (64 << 10))).await;
    }

    /// Publishes a release of these bytes and installs it.
    async fn install_next(&mut self, number: u8, bytes: &[u8]) -> DocumentId {
        let id = self.publish(number + 10, release_of(number.into(), bytes), |_| ()).await;
        self.bring(bytes).await;
        self.settle().await;
        assert_eq!(self.agent.work[&id].state(), Stands::Committed);
        id
    }
}

fn contents_of<const N: usize>(all: [&[u8]; N]) -> BTreeSet<ContentHash> {
    all.map(|bytes| blob(bytes).content).into()
}

#[tokio::test]
async fn the_copy_of_the_release_before_stays_and_what_is_older_goes() {
    let mut bench = Bench::new().await;
    bench.install().await;
    bench.install_next(2, b"two").await;
    assert_eq!(bench.contents().await, contents_of([BYTES, b"two"]));
    bench.install_next(3, b"three").await;
    assert_eq!(bench.contents().await, contents_of([b"two", b"three"]));
}

#[tokio::test]
async fn a_rollout_that_goes_back_needs_nobody_who_has_the_bytes() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let next = bench.install_next(2, b"two").await;
    let back = bench.release;
    bench.roll_out(12, 2, next, |rollout| rollout.rollback_to = Some(back)).await;
    bench.settle().await;
    assert_eq!((bench.state(), bench.there().as_bytes()), (Stands::Committed, BYTES));
    assert_eq!(bench.contents().await, contents_of([BYTES, b"two"]));
}

#[tokio::test]
async fn the_copy_of_the_release_before_gives_way_to_a_release_that_has_no_room_beside_it() {
    let mut bench = Bench::new().await;
    let [first, third] = [1, 3].map(|byte| vec![byte; PIECE_BYTES as usize]);
    bench.install_next(2, &first).await;
    bench.install_next(3, b"two").await;
    assert_eq!(bench.contents().await, contents_of([&first, b"two"]));
    // Half of what the third needs, records and all.
    let quota = bench.limit(64 << 10).await;
    let id = bench.publish(14, release_of(4, &third), |_| ()).await;
    assert_eq!(bench.agent.work[&id].state(), Stands::Downloading, "{:?}", bench.standing_of(&id));
    assert_eq!(bench.contents().await, contents_of([&third, b"two"]));
    bench.agent.retry().await;
    assert_eq!(bench.agent.store_view.bytes_quota, Some(quota));
}

/// A device whose store had room for one copy never updated again.
#[tokio::test]
async fn the_copy_of_what_is_in_place_gives_way_to_its_successor_last_and_is_had_again_if_that_is_withdrawn()
{
    let mut bench = Bench::new().await;
    bench.install().await;
    let [second, third] = [2, 3].map(|byte| vec![byte; PIECE_BYTES as usize]);
    let there = bench.install_next(2, &second).await;
    assert_eq!(bench.contents().await, contents_of([BYTES, &second]));
    bench.limit_to(&[&second]).await;
    let next = bench.publish(13, release_of(3, &third), |_| ()).await;
    assert_eq!(bench.agent.work[&next].state(), Stands::Downloading, "{:?}", bench.standing_of(&next));
    assert_eq!(bench.contents().await, contents_of([&third]));
    assert!(!bench.agent.work.contains_key(&there), "nobody is offered what is gone");
    assert_eq!(bench.standing_of(&there), (ReleaseState::Installed, String::new()));
    bench.agent.retry().await;
    assert_eq!(bench.there().as_bytes(), second);

    let (releases, reason) = (vec![next], "it leaks".to_owned());
    let withdrawal =
        Withdrawal { site: Some(SITE), product: None, releases, reason, purge: true, crit: vec![] };
    bench.hear(&withdrawal, 3).await;
    bench.settle().await;
    bench.agent.retry().await;
    assert_eq!(bench.standing_of(&there).0, ReleaseState::Installed);
    assert_eq!(bench.contents().await, contents_of([&second]), "it comes again, for others");
}

#[tokio::test]
async fn what_is_in_place_without_its_copy_goes_by_hand_also_after_a_restart() {
    for is_restarted in [false, true] {
        let mut bench = Bench::new().await;
        bench.install().await;
        let [second, third] = [2, 3].map(|byte| vec![byte; PIECE_BYTES as usize]);
        let there = bench.install_next(2, &second).await;
        bench.limit_to(&[&second]).await;
        let next = bench.publish(13, release_of(3, &third), |_| ()).await;
        if is_restarted {
            bench = bench.restarted().await;
        }
        assert_eq!(bench.agent.work[&next].state(), Stands::Downloading);
        assert_eq!(bench.standing_of(&there), (ReleaseState::Installed, String::new()));
        bench.goes_by_hand(Some(there)).await;
        assert_eq!(bench.there().as_bytes(), BYTES);
        assert_eq!(bench.agent.rows[&there].record.state, Stands::RolledBack);
        bench.bring(&third).await;
        bench.settle().await;
        assert_eq!(
            (bench.there().as_bytes(), bench.standing_of(&next).0),
            (&third[..], ReleaseState::Installed)
        );
    }
}

#[tokio::test]
async fn the_copy_of_what_is_in_place_gives_way_also_if_it_was_not_shared_since_the_start() {
    let mut bench = Bench::new().await;
    let [second, third] = [2, 3].map(|byte| vec![byte; PIECE_BYTES as usize]);
    let there = bench.install_next(2, &second).await;
    let next = bench.hear(&release_of(3, &third), 2).await;
    let mut bench = bench.restarted().await;
    bench.agent.drop_work(there).await;
    bench.limit_to(&[&second]).await;
    bench.roll_out(13, 1, next, |_| ()).await;
    assert_eq!(bench.agent.work[&next].state(), Stands::Downloading, "{:?}", bench.standing_of(&next));
    assert_eq!(bench.contents().await, contents_of([&third]));
}

#[tokio::test]
async fn what_came_of_a_release_that_was_outrun_on_its_way_gives_way_before_what_is_in_place() {
    let mut bench = Bench::new().await;
    let [second, third, fourth] = [2, 3, 4].map(|byte| vec![byte; PIECE_BYTES as usize]);
    let there = bench.install_next(2, &second).await;
    bench.publish(13, release_of(3, &third), |_| ()).await;
    bench.fill(&third).await;
    bench.limit_to(&[&second, &third]).await;
    let next = bench.publish(14, release_of(4, &fourth), |_| ()).await;
    assert_eq!(bench.agent.work[&next].state(), Stands::Downloading, "{:?}", bench.standing_of(&next));
    assert_eq!(bench.contents().await, contents_of([&second, &fourth]));
    assert_eq!(bench.agent.work[&there].state(), Stands::Committed);
}

#[tokio::test]
async fn a_release_whose_copy_and_staged_files_never_fit_on_one_disk_is_refused_with_both_numbers() {
    let mut bench = Bench::new().await;
    bench.install().await;
    let disk = rustix::fs::statvfs(bench.dir.path()).unwrap();
    let capacity = disk.f_blocks * disk.f_frsize;
    let bytes = vec![2; PIECE_BYTES as usize];
    let mut next = release_of(2, &bytes);
    next.compatibility.free_bytes = capacity - u64::from(PIECE_BYTES);
    let next = bench.publish(4, next, |_| ()).await;
    let needed = capacity + of_content(PIECE_BYTES.into());
    let why = format!("it needs {needed} bytes, there is room for {capacity} in all");
    assert_eq!(bench.standing_of(&next), (ReleaseState::Rejected, why));
}

#[tokio::test]
async fn a_release_beyond_the_quota_is_refused_with_both_numbers_and_one_that_lacks_room_waits() {
    let mut bench = Bench::limited(Some(100_000), |_, _| ()).await;
    let large = vec![7; PIECE_BYTES as usize];
    let id = bench.publish(12, release_of(2, &large), |_| ()).await;
    let why = "it needs 132096 bytes, there is room for 100000 in all";
    assert_eq!(bench.standing_of(&id), (ReleaseState::Rejected, why.into()));

    let mut bench = Bench::new().await;
    let in_place = vec![1; PIECE_BYTES as usize];
    bench.install_next(2, &in_place).await;
    bench.limit(4096).await;
    let mut other = Release { channel: "beta".into(), ..release_of(2, &large) };
    other.artifacts[0].destination = "door".into();
    let id = bench.publish(13, other, |_| ()).await;
    let (state, why) = bench.standing_of(&id);
    assert_eq!(state, ReleaseState::WaitingForSpace, "{why}");
    assert!(why.starts_with("no room on the disk: 132096 bytes are needed, "), "{why}");
    assert!(bench.contents().await.is_superset(&contents_of([&in_place])), "what is in place stays");
}

#[tokio::test]
async fn a_quota_that_was_lowered_frees_the_release_before_and_never_what_is_in_place() {
    let mut bench = Bench::new().await;
    bench.install().await;
    bench.install_next(2, b"two").await;
    bench.agent.parts.store = limited_store(bench.dir.path(), Some(1)).await;
    bench.agent.tidy_store().await;
    assert_eq!(bench.contents().await, contents_of([b"two"]));
}
