//! A real store on a real directory: what is damaged is found, never returned, named, and can be fetched again.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;
use tempfile::TempDir;

const OPTIONS: StoreOptions = StoreOptions { reserve_free_bytes: 0, quota_bytes: None };
const PIECE_BYTES: u32 = 131_072;
/// Four pieces, the last of two groups and a bit; its hash tree is kept in iroh-blobs' database.
const LENGTH: u64 = 3 * 131_072 + 2 * GROUP_BYTES + 700;
/// Its hash tree is a file.
const LARGE: u64 = 5 * 1024 * 1024 + 12_345;
/// iroh-blobs keeps all of it in its database.
const SMALL: u64 = 5_000;

/// An artifact and every range of it as a peer would send it.
struct Artifact {
    bytes: Vec<u8>,
    content: ContentHash,
    geometry: Geometry,
    ranges: Vec<(PieceRange, Bytes)>,
}

impl Artifact {
    async fn new(length: u64) -> Self {
        let mut word = length;
        let draw = || {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (word >> 56) as u8
        };
        let bytes: Vec<u8> = std::iter::repeat_with(draw).take(length as usize).collect();
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("file"), &bytes).unwrap();
        let store = Store::open(&dir.path().join("store"), OPTIONS).await.unwrap();
        let (content, size) = store.add_file(&dir.path().join("file"), |_| {}).await.unwrap();
        assert_eq!(size, length);
        let geometry = Geometry::new(length, PIECE_BYTES).unwrap();
        let mut ranges = Vec::new();
        for range in (0..geometry.pieces()).flat_map(|piece| geometry.ranges(PieceIndex(piece))) {
            ranges.push((range, store.read(content, &geometry, range).await.unwrap()));
        }
        store.shutdown().await.unwrap();
        Self { bytes, content, geometry, ranges }
    }

    fn pieces(&self, set: &[u32]) -> PieceSet {
        let mut pieces = PieceSet::empty(self.geometry.pieces());
        set.iter().for_each(|piece| assert!(pieces.insert(PieceIndex(*piece))));
        pieces
    }

    fn all(&self) -> PieceSet {
        PieceSet::full(self.geometry.pieces())
    }

    async fn open(&self, dir: &Path) -> (Store, PieceSet) {
        let store = Store::open(dir, OPTIONS).await.unwrap();
        let have = store.open_content(self.content, self.geometry).await.unwrap();
        (store, have)
    }

    async fn write(&self, store: &Store, pieces: &[u32]) {
        for (range, bao) in self.ranges.iter().filter(|(range, _)| pieces.contains(&range.piece.0)) {
            store.write(self.content, &self.geometry, *range, bao.clone()).await.unwrap();
        }
    }

    async fn write_all(&self, store: &Store) {
        self.write(store, &(0..self.geometry.pieces()).collect::<Vec<_>>()).await;
    }

    /// A directory that holds all of it, closed in order.
    async fn stored(&self) -> TempDir {
        let dir = TempDir::new().unwrap();
        let (store, have) = self.open(dir.path()).await;
        assert!(have.is_empty());
        self.write_all(&store).await;
        store.seal(self.content).await.unwrap();
        store.shutdown().await.unwrap();
        dir
    }

    /// Every piece is either given out as it was sent, or not at all; those that are.
    async fn readable(&self, store: &Store) -> PieceSet {
        let mut readable = PieceSet::empty(self.geometry.pieces());
        for (range, bao) in &self.ranges {
            match store.read(self.content, &self.geometry, *range).await {
                Ok(bytes) => {
                    assert_eq!(&bytes, bao);
                    readable.insert(range.piece);
                }
                Err(error) => {
                    assert!(
                        matches!(error, StoreError::Damaged { .. } | StoreError::NotHeld { .. }),
                        "{error}"
                    );
                }
            }
        }
        readable
    }

    async fn copy(&self, store: &Store) -> Result<Vec<u8>, StoreError> {
        let mut out = Vec::new();
        store.copy_verified(self.content, 0, self.bytes.len() as u64, &mut out).await?;
        Ok(out)
    }

    /// What is missing can be fetched, and then all of it is there and durable.
    async fn assert_mends(&self, store: &Store) {
        self.write_all(store).await;
        assert_eq!(self.readable(store).await, self.all());
        assert_eq!(self.copy(store).await.unwrap(), self.bytes);
        store.seal(self.content).await.unwrap();
    }

    fn files(&self, dir: &Path, ending: &str) -> PathBuf {
        let data = dir.join(self.content.to_string()).join("data");
        let is_it = |path: &PathBuf| path.extension().is_some_and(|e| e == ending);
        let mut files = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
        files.find(is_it).unwrap_or_else(|| panic!("no .{ending} in {}", data.display()))
    }
}

fn flip(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn truncate(path: &Path, length: u64) {
    std::fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// Damages a closed copy, opens it: `kept` is what is found, nothing else is readable, and the rest can be fetched.
async fn check_damaged_while_closed(
    length: u64,
    damage: impl Fn(&Artifact, &Path),
    kept: impl Fn(u32) -> bool,
) {
    let artifact = Artifact::new(length).await;
    let dir = artifact.stored().await;
    damage(&artifact, dir.path());
    let (store, have) = artifact.open(dir.path()).await;
    let kept: Vec<u32> = (0..artifact.geometry.pieces()).filter(|piece| kept(*piece)).collect();
    assert_eq!(have, artifact.pieces(&kept));
    assert_eq!(artifact.readable(&store).await, have);
    artifact.assert_mends(&store).await;
    store.shutdown().await.unwrap();
    let (store, have) = artifact.open(dir.path()).await;
    assert_eq!(have, artifact.all());
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_byte_that_was_flipped_while_closed_costs_its_piece() {
    let damage = |artifact: &Artifact, dir: &Path| flip(&artifact.files(dir, "data"), 131_072 + 40_000);
    check_damaged_while_closed(LARGE, damage, |piece| piece != 1).await;
    check_damaged_while_closed(LENGTH, damage, |piece| piece != 1).await;
}

#[tokio::test]
async fn a_file_that_was_cut_short_while_closed_costs_what_was_cut() {
    let damage = |artifact: &Artifact, dir: &Path| truncate(&artifact.files(dir, "data"), 2 * 131_072 + 1);
    check_damaged_while_closed(LARGE, damage, |piece| piece < 2).await;
}

#[tokio::test]
async fn a_file_that_was_deleted_while_closed_costs_everything() {
    for ending in ["data", "obao4"] {
        let damage = |artifact: &Artifact, dir: &Path| {
            std::fs::remove_file(artifact.files(dir, ending)).unwrap();
        };
        check_damaged_while_closed(LARGE, damage, |_| false).await;
    }
}

#[tokio::test]
async fn a_damaged_hash_tree_costs_the_pieces_below_and_no_more() {
    let damage = |artifact: &Artifact, dir: &Path| truncate(&artifact.files(dir, "obao4"), 64);
    check_damaged_while_closed(LARGE, damage, |_| false).await;
}

#[tokio::test]
async fn torn_records_cost_everything() {
    let file = |artifact: &Artifact, dir: &Path| dir.join(artifact.content.to_string()).join(records::FILE);
    for length in [LARGE, SMALL] {
        check_damaged_while_closed(length, |a, dir| truncate(&file(a, dir), 100), |_| false).await;
        check_damaged_while_closed(
            length,
            |a, dir| std::fs::write(file(a, dir), [7; 9_000]).unwrap(),
            |_| false,
        )
        .await;
        check_damaged_while_closed(length, |a, dir| truncate(&file(a, dir), 0), |_| false).await;
    }
}

#[tokio::test]
async fn a_small_content_inside_the_records_is_never_returned_damaged() {
    let artifact = Artifact::new(SMALL).await;
    let dir = artifact.stored().await;
    let file = dir.path().join(artifact.content.to_string()).join(records::FILE);
    let records = std::fs::read(&file).unwrap();
    let needle = &artifact.bytes[1_000..1_064];
    let places: Vec<usize> = (0..records.len() - 64).filter(|at| &records[*at..at + 64] == needle).collect();
    assert!(!places.is_empty(), "the content is not where this test looks for it");
    places.into_iter().for_each(|at| flip(&file, at as u64));
    let (store, have) = artifact.open(dir.path()).await;
    assert!(have.is_empty());
    assert!(artifact.readable(&store).await.is_empty());
    artifact.assert_mends(&store).await;
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn records_that_are_only_locked_are_not_given_up() {
    let artifact = Artifact::new(SMALL).await;
    let dir = artifact.stored().await;
    let file = dir.path().join(artifact.content.to_string()).join(records::FILE);
    let lock = redb::Database::open(&file).unwrap();
    let store = Store::open(dir.path(), OPTIONS).await.unwrap();
    let refused = store.open_content(artifact.content, artifact.geometry).await;
    assert!(matches!(refused, Err(StoreError::Io { .. })), "{refused:?}");
    drop(lock);
    assert_eq!(store.open_content(artifact.content, artifact.geometry).await.unwrap(), artifact.all());
    store.shutdown().await.unwrap();
}

/// Flips a byte in pieces 1 and 2 of an open copy; `find` runs into it.
async fn check_damaged_while_open(is_complete: bool, find: impl AsyncFn(&Artifact, &Store) -> StoreError) {
    let artifact = Artifact::new(LENGTH).await;
    let dir = TempDir::new().unwrap();
    let (store, _) = artifact.open(dir.path()).await;
    let written: &[u32] = if is_complete { &[0, 1, 2, 3] } else { &[0, 1, 2] };
    artifact.write(&store, written).await;
    let data = artifact.files(dir.path(), "data");
    flip(&data, 131_072 + 40_000);
    flip(&data, 2 * 131_072);
    let error = find(&artifact, &store).await;
    let group = (131_072 + 40_000) / GROUP_BYTES;
    assert!(matches!(error, StoreError::Damaged { group: at } if at == group), "{error}");
    let loss = tokio::time::timeout(Duration::from_secs(10), store.next_loss()).await.unwrap();
    assert_eq!(loss, Loss { content: artifact.content, pieces: vec![PieceIndex(1), PieceIndex(2)] });
    assert!(!store.has_piece(artifact.content, PieceIndex(1)));
    let rest: Vec<u32> = written.iter().copied().filter(|piece| ![1, 2].contains(piece)).collect();
    assert_eq!(artifact.readable(&store).await, artifact.pieces(&rest));
    let again = store.open_content(artifact.content, artifact.geometry).await.unwrap();
    assert_eq!(again, artifact.pieces(&rest));
    artifact.write(&store, &[3, 1]).await;
    assert!(store.has_piece(artifact.content, PieceIndex(1)));
    assert_eq!(artifact.readable(&store).await, artifact.pieces(&[0, 1, 3]));
    artifact.assert_mends(&store).await;
    store.shutdown().await.unwrap();
    assert_eq!(artifact.open(dir.path()).await.1, artifact.all());
}

#[tokio::test]
async fn damage_that_a_read_runs_into_is_named_and_mended_by_a_write() {
    let find = async |artifact: &Artifact, store: &Store| {
        let range = artifact.ranges.iter().map(|(range, _)| *range).find(|range| range.piece.0 == 1).unwrap();
        store.read(artifact.content, &artifact.geometry, range).await.unwrap_err()
    };
    check_damaged_while_open(true, find).await;
    check_damaged_while_open(false, find).await;
}

#[tokio::test]
async fn damage_that_a_copy_runs_into_is_named_and_mended_by_a_write() {
    let find = async |artifact: &Artifact, store: &Store| artifact.copy(store).await.unwrap_err();
    check_damaged_while_open(true, find).await;
}

#[tokio::test]
async fn a_reader_that_goes_away_takes_no_loss_with_it() {
    let artifact = Artifact::new(LENGTH).await;
    let dir = artifact.stored().await;
    let (store, _) = artifact.open(dir.path()).await;
    flip(&artifact.files(dir.path(), "data"), 5);
    let (content, geometry, range) = (artifact.content, artifact.geometry, artifact.ranges[0].0);
    let mut reads = Vec::new();
    for _ in 0..8 {
        let store = store.clone();
        reads.push(tokio::spawn(async move { store.read(content, &geometry, range).await }));
    }
    reads.iter().take(7).for_each(tokio::task::JoinHandle::abort);
    assert!(reads.pop().unwrap().await.unwrap().is_err());
    let loss = tokio::time::timeout(Duration::from_secs(10), store.next_loss()).await.unwrap();
    assert_eq!(loss.pieces, [PieceIndex(0)]);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn wrong_bytes_name_their_group_and_cost_only_what_follows() {
    let artifact = Artifact::new(LENGTH).await;
    let dir = TempDir::new().unwrap();
    let (store, _) = artifact.open(dir.path()).await;
    let (range, good) = artifact.ranges[1].clone();
    for wrong_group in [0, 1, 5, 7] {
        let plain = &artifact.bytes[131_072 + wrong_group * 16_384..][..16_384];
        let at = good.windows(64).position(|window| window == &plain[..64]).unwrap();
        let mut bad = good.to_vec();
        bad[at + 300] ^= 1;
        let refused = store.write(artifact.content, &artifact.geometry, range, bad.into()).await;
        assert!(matches!(refused, Err(StoreError::WrongBytes { group }) if group == 8 + wrong_group as u64));
        assert!(!store.has_piece(artifact.content, range.piece));
        let first = |groups: usize| PieceRange { groups: groups as u16, ..range };
        if wrong_group > 0 {
            assert!(store.read(artifact.content, &artifact.geometry, first(wrong_group)).await.is_ok());
        }
        let beyond = store.read(artifact.content, &artifact.geometry, first(wrong_group + 1)).await;
        assert!(matches!(beyond, Err(StoreError::NotHeld { group }) if group == 8 + wrong_group as u64));
    }
    let mut longer = good.to_vec();
    longer.push(0);
    for bad in [longer, good[..good.len() - 1].to_vec(), Vec::new(), vec![0; 1 << 20]] {
        let refused = store.write(artifact.content, &artifact.geometry, range, bad.into()).await;
        assert!(matches!(refused, Err(StoreError::WrongBytes { group }) if (8..16).contains(&group)));
    }
    artifact.assert_mends(&store).await;
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn more_operations_than_iroh_blobs_takes_at_once_are_queued() {
    let artifact = Arc::new(Artifact::new(LARGE).await);
    let dir = TempDir::new().unwrap();
    let (store, _) = artifact.open(dir.path()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..3 {
        for index in 0..artifact.ranges.len() {
            let (store, artifact) = (store.clone(), artifact.clone());
            tasks.spawn(async move {
                let (range, bao) = &artifact.ranges[(index * 7 + round) % artifact.ranges.len()];
                store.write(artifact.content, &artifact.geometry, *range, bao.clone()).await.unwrap();
                let read = store.read(artifact.content, &artifact.geometry, *range).await.unwrap();
                assert_eq!(&read, bao);
            });
        }
    }
    assert!(tasks.len() > 100);
    tasks.join_all().await;
    assert_eq!(artifact.copy(&store).await.unwrap(), artifact.bytes);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_open_content_says_what_it_holds_now() {
    let artifact = Artifact::new(LENGTH).await;
    let dir = TempDir::new().unwrap();
    let (store, _) = artifact.open(dir.path()).await;
    artifact.write(&store, &[1]).await;
    artifact.write(&store, &[1, 3]).await;
    let have = store.open_content(artifact.content, artifact.geometry).await.unwrap();
    assert_eq!(have, artifact.pieces(&[1, 3]));
    let missing = store.slots()[&artifact.content].bytes_missing();
    assert_eq!(missing, 2 * 131_072);
    let other = Geometry::new(LENGTH, 2 * PIECE_BYTES).unwrap();
    assert!(matches!(store.open_content(artifact.content, other).await, Err(StoreError::Invalid(_))));
    let refused = store.seal(artifact.content).await;
    assert!(matches!(refused, Err(StoreError::NotHeld { group: 0 })), "{refused:?}");
    store.close(artifact.content).await;
    let read = store.read(artifact.content, &artifact.geometry, artifact.ranges[0].0).await;
    assert!(matches!(read, Err(StoreError::Invalid(_))));
    let have = store.open_content(artifact.content, artifact.geometry).await.unwrap();
    assert_eq!(have, artifact.pieces(&[1, 3]));
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_wrong_length_is_refused_and_costs_nothing() {
    let artifact = Artifact::new(LENGTH).await;
    let dir = artifact.stored().await;
    let store = Store::open(dir.path(), OPTIONS).await.unwrap();
    let wrong = Geometry::new(LENGTH + 1, PIECE_BYTES).unwrap();
    assert!(matches!(store.open_content(artifact.content, wrong).await, Err(StoreError::Invalid(_))));
    assert_eq!(store.open_content(artifact.content, artifact.geometry).await.unwrap(), artifact.all());
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn concurrent_opens_open_once() {
    let artifact = Artifact::new(LENGTH).await;
    let dir = artifact.stored().await;
    let store = Store::open(dir.path(), OPTIONS).await.unwrap();
    let open = || store.open_content(artifact.content, artifact.geometry);
    for have in futures::future::join_all((0..8).map(|_| open())).await {
        assert_eq!(have.unwrap(), artifact.all());
    }
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_content_that_is_busy_does_not_keep_another_waiting() {
    let artifact = Artifact::new(LENGTH).await;
    let other = Artifact::new(SMALL).await;
    let dir = artifact.stored().await;
    let (store, _) = artifact.open(dir.path()).await;
    let busy = store.slot(other.content);
    let _held = busy.content.write().await;
    assert_eq!(artifact.readable(&store).await, artifact.all());
    store.seal(artifact.content).await.unwrap();
    store.remove(artifact.content).await.unwrap();
}

#[tokio::test]
async fn an_empty_content_has_the_hash_of_nothing() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), OPTIONS).await.unwrap();
    let empty = Geometry::new(0, PIECE_BYTES).unwrap();
    let right = ContentHash(*blake3::hash(&[]).as_bytes());
    assert!(store.open_content(right, empty).await.unwrap().is_full());
    store.seal(right).await.unwrap();
    assert!(matches!(store.open_content(ContentHash([1; 32]), empty).await, Err(StoreError::Invalid(_))));
}

#[tokio::test]
async fn spans_beyond_the_content_are_refused() {
    let artifact = Artifact::new(LENGTH).await;
    let dir = artifact.stored().await;
    let (store, _) = artifact.open(dir.path()).await;
    for (offset, len) in [(0, LENGTH + 1), (LENGTH, 1), (u64::MAX, 2), (5, u64::MAX)] {
        let copied = store.copy_verified(artifact.content, offset, len, &mut Vec::new()).await;
        assert!(matches!(copied, Err(StoreError::Invalid(_))), "{offset} {len}: {copied:?}");
    }
    for (offset, len) in [(0, 1), (16_383, 2), (131_071, 131_074), (LENGTH - 1, 1)] {
        let mut out = Vec::new();
        store.copy_verified(artifact.content, offset, len, &mut out).await.unwrap();
        assert_eq!(out, artifact.bytes[offset as usize..(offset + len) as usize]);
    }
    let outside = PieceRange { piece: PieceIndex(4), first_group: 0, groups: 1 };
    assert!(matches!(
        store.read(artifact.content, &artifact.geometry, outside).await,
        Err(StoreError::Invalid(_))
    ));
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_disk_without_room_refuses_at_once_and_keeps_what_is_there() {
    let artifact = Artifact::new(LENGTH).await;
    let dir = TempDir::new().unwrap();
    let (store, _) = artifact.open(dir.path()).await;
    artifact.write(&store, &[2]).await;
    store.shutdown().await.unwrap();
    let store = Store::open(dir.path(), StoreOptions { reserve_free_bytes: u64::MAX, quota_bytes: None })
        .await
        .unwrap();
    let refused = store.open_content(artifact.content, artifact.geometry).await;
    assert!(matches!(refused, Err(StoreError::NoSpace { available: 0, .. })), "{refused:?}");
    let (store, have) = artifact.open(dir.path()).await;
    assert_eq!(have, artifact.pieces(&[2]));
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_damaged_copy_is_mended_in_place_on_a_full_disk_as_well() {
    use std::os::unix::fs::MetadataExt as _;
    let artifact = Artifact::new(LARGE).await;
    let dir = artifact.stored().await;
    let full = StoreOptions { reserve_free_bytes: u64::MAX, quota_bytes: None };
    let store = Store::open(dir.path(), full).await.unwrap();
    // Complete: nothing more is needed.
    assert!(store.open_content(artifact.content, artifact.geometry).await.unwrap().is_full());
    let files = ["data", "obao4"].map(|ending| artifact.files(dir.path(), ending));
    let inodes = || files.each_ref().map(|file| std::fs::metadata(file).unwrap().ino());
    let before = inodes();
    flip(&files[0], 5);
    // The pair above the last two whole groups; the one behind them stands alone.
    let pairs = std::fs::metadata(&files[1]).unwrap().len();
    flip(&files[1], pairs - 1);
    let last = artifact.geometry.pieces() - 2;
    let good: Vec<u32> = (1..last).chain([last + 1]).collect();
    assert_eq!(artifact.readable(&store).await, artifact.pieces(&good));
    artifact.write(&store, &[0, last]).await;
    assert_eq!(artifact.readable(&store).await, artifact.all());
    assert_eq!(inodes(), before, "the good bytes stayed where they were");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    store.shutdown().await.unwrap();
    assert_eq!(artifact.open(dir.path()).await.1, artifact.all());
}

#[tokio::test]
async fn a_hash_tree_that_was_damaged_before_the_content_was_complete_costs_everything_and_no_more() {
    let artifact = Artifact::new(LENGTH).await;
    let dir = TempDir::new().unwrap();
    let (store, _) = artifact.open(dir.path()).await;
    artifact.write(&store, &[0, 1, 2]).await;
    store.shutdown().await.unwrap();
    truncate(&artifact.files(dir.path(), "obao4"), 0);
    let (store, have) = artifact.open(dir.path()).await;
    assert!(have.is_empty());
    // It seems complete to iroh-blobs now, which takes the wrong pairs into its records.
    artifact.write(&store, &[3]).await;
    artifact.write(&store, &[0]).await;
    assert_eq!(artifact.readable(&store).await, artifact.pieces(&[0]));
    let loss = tokio::time::timeout(Duration::from_secs(10), store.next_loss()).await.unwrap();
    assert_eq!(loss.pieces, [PieceIndex(3)]);
    artifact.assert_mends(&store).await;
    store.shutdown().await.unwrap();
    assert_eq!(artifact.open(dir.path()).await.1, artifact.all());
}

#[tokio::test]
async fn a_crash_in_any_step_of_a_repair_leaves_a_copy_that_says_what_it_holds() {
    let artifact = Artifact::new(LENGTH).await;
    let dir = artifact.stored().await;
    flip(&artifact.files(dir.path(), "data"), 5);
    let path = dir.path().join(artifact.content.to_string());
    let snapshots = TempDir::new().unwrap();
    let snapshot = |step: &str| copy_dir(dir.path(), &snapshots.path().join(step));
    snapshot("written over");
    flip(&artifact.files(&snapshots.path().join("written over"), "data"), 9_000);
    aside::set_aside(&path).unwrap();
    snapshot("set aside");
    let stop = CancellationToken::new();
    let (owned, _) = Owned::open(&path, artifact.content, artifact.geometry, &stop).await.unwrap();
    owned.close().await;
    snapshot("begun anew");
    std::fs::remove_file(aside::aside(&path).join(records::FILE)).unwrap();
    snapshot("half removed");
    for (step, held) in [
        ("written over", &[1, 2, 3][..]),
        ("set aside", &[1, 2, 3]),
        ("begun anew", &[]),
        ("half removed", &[]),
    ] {
        let dir = snapshots.path().join(step);
        let (store, have) = artifact.open(&dir).await;
        assert_eq!(have, artifact.pieces(held), "{step}");
        assert_eq!(store.contents().await, [artifact.content], "{step}");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "{step}");
        artifact.assert_mends(&store).await;
        store.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_closes_breaks_off_what_reads_everything_and_loses_nothing_by_it() {
    let artifact = Artifact::new(LENGTH).await;
    let dir = artifact.stored().await;
    let (store, _) = artifact.open(dir.path()).await;
    store.interrupt();
    flip(&artifact.files(dir.path(), "data"), 5);
    let (range, _) = artifact.ranges[0];
    let read = store.read(artifact.content, &artifact.geometry, range).await;
    assert!(matches!(read, Err(StoreError::Closing)), "{read:?}");
    assert!(store.has_piece(artifact.content, PieceIndex(0)), "nobody has found out yet");
    store.close(artifact.content).await;
    let opened = store.open_content(artifact.content, artifact.geometry).await;
    assert!(matches!(opened, Err(StoreError::Closing)), "{opened:?}");
    store.shutdown().await.unwrap();
    assert_eq!(artifact.open(dir.path()).await.1, artifact.pieces(&[1, 2, 3]));
}

#[tokio::test]
async fn a_file_that_is_served_in_place_is_never_served_changed() {
    let changes: [fn(&Path); 4] = [
        |file| std::fs::remove_file(file).unwrap(),
        |file| truncate(file, 200_000),
        |file| std::fs::write(file, vec![1; LENGTH as usize]).unwrap(),
        |file| {
            // Size and time stay as they were: only the hash can tell.
            let modified = std::fs::metadata(file).unwrap().modified().unwrap();
            flip(file, 131_072 + 5);
            let file = std::fs::File::options().write(true).open(file).unwrap();
            file.set_times(std::fs::FileTimes::new().set_modified(modified)).unwrap();
        },
    ];
    for change in changes {
        let artifact = Artifact::new(LENGTH).await;
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, &artifact.bytes).unwrap();
        let store = Store::open(&dir.path().join("store"), OPTIONS).await.unwrap();
        assert_eq!(store.add_file(&file, |_| {}).await.unwrap(), (artifact.content, LENGTH));
        let (range, bao) = &artifact.ranges[1];
        assert_eq!(&store.read(artifact.content, &artifact.geometry, *range).await.unwrap(), bao);
        change(&file);
        let read = store.read(artifact.content, &artifact.geometry, *range).await;
        assert!(matches!(read, Err(StoreError::SourceChanged { .. })), "{read:?}");
        let copied = artifact.copy(&store).await;
        assert!(matches!(copied, Err(StoreError::SourceChanged { .. })), "{copied:?}");
        store.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_content_is_removed_after_what_reads_it() {
    let artifact = Arc::new(Artifact::new(LARGE).await);
    let dir = artifact.stored().await;
    let (store, _) = artifact.open(dir.path()).await;
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, artifact) = (store.clone(), artifact.clone());
        reads.spawn(async move {
            for (range, bao) in &artifact.ranges {
                match store.read(artifact.content, &artifact.geometry, *range).await {
                    Ok(read) => assert_eq!(&read, bao),
                    Err(error) => assert!(matches!(error, StoreError::Invalid(_)), "{error}"),
                }
            }
        });
    }
    tokio::task::yield_now().await;
    store.remove(artifact.content).await.unwrap();
    reads.join_all().await;
    assert!(store.contents().await.is_empty());
    assert!(store.open_content(artifact.content, artifact.geometry).await.unwrap().is_empty());
    store.shutdown().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges_in_any_order_make_the_pieces_that_they_fill(
        order in prop::collection::vec((0_u32..4, 0_u16..8, 1_u16..9), 1..30),
        reopen_after in 0_usize..30,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let artifact = Artifact::new(LENGTH).await;
            let complete = artifact.stored().await;
            let (seeder, _) = artifact.open(complete.path()).await;
            let dir = TempDir::new().unwrap();
            let (mut store, _) = artifact.open(dir.path()).await;
            let mut naive = BTreeSet::new();
            for (step, (piece, first_group, groups)) in order.into_iter().enumerate() {
                let range = PieceRange { piece: PieceIndex(piece), first_group, groups };
                if artifact.geometry.is_valid(range) {
                    let bao = seeder.read(artifact.content, &artifact.geometry, range).await.unwrap();
                    store.write(artifact.content, &artifact.geometry, range, bao).await.unwrap();
                    naive.extend((first_group..first_group + groups).map(|group| (piece, group)));
                }
                if step == reopen_after {
                    store.shutdown().await.unwrap();
                    store = artifact.open(dir.path()).await.0;
                }
                let have = store.open_content(artifact.content, artifact.geometry).await.unwrap();
                for piece in (0..4).map(PieceIndex) {
                    let has_all = (0..artifact.geometry.groups(piece)).all(|group| naive.contains(&(piece.0, group)));
                    assert_eq!(have.contains(piece), has_all);
                }
            }
            assert_eq!(artifact.readable(&store).await, store.open_content(artifact.content, artifact.geometry).await.unwrap());
            store.shutdown().await.unwrap();
            seeder.shutdown().await.unwrap();
        });
    }
}
