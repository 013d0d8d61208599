//! The store on a real disk: what taking in and giving out a content costs, range by range.
//!
//! 64 MiB in ranges of 256 KiB, one after the other, as the mesh asks for them. `SAMARA_BENCH_DIR` names the directory
//! (default: `target/tmp` of the build); the disk below it is what is measured.
#![allow(missing_docs)]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use samara_node::mesh::store::{Store, StoreOptions};
use samara_protocol::geometry::{Geometry, PieceIndex, PieceRange};
use samara_protocol::id::ContentHash;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const LENGTH: u64 = 64 << 20;
/// The largest request, so that a piece of this size is one range.
const PIECE_BYTES: u32 = 256 * 1024;
const OPTIONS: StoreOptions = StoreOptions { reserve_free_bytes: 0, quota_bytes: None };

/// A content whose ranges are known, and the store that holds all of it.
struct Held {
    store: Store,
    content: ContentHash,
    geometry: Geometry,
    ranges: Vec<(PieceRange, Bytes)>,
}

fn bench_dir() -> TempDir {
    let below = std::env::var_os("SAMARA_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&below).expect("the bench's directory");
    tempfile::tempdir_in(below).expect("a directory to bench in")
}

async fn held(dir: &Path) -> Held {
    let file = dir.join("artifact");
    let mut word = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        word.to_le_bytes()
    })
    .take(LENGTH as usize / 8)
    .flatten()
    .collect();
    std::fs::write(&file, bytes).expect("the artifact's file");
    let geometry = Geometry::new(LENGTH, PIECE_BYTES).expect("a valid geometry");
    let seeder = Store::open(&dir.join("seeder"), OPTIONS).await.expect("the seeder's store");
    let (content, _) = seeder.add_file(&file, |_| {}).await.expect("the artifact is added");
    let mut ranges = Vec::new();
    for range in (0..geometry.pieces()).flat_map(|piece| geometry.ranges(PieceIndex(piece))) {
        ranges.push((range, seeder.read(content, &geometry, range).await.expect("a range")));
    }
    seeder.shutdown().await.expect("the seeder's store closes");
    let store = Store::open(&dir.join("held"), OPTIONS).await.expect("a store");
    let held = Held { store, content, geometry, ranges };
    import(&held.store, &held).await;
    held
}

async fn import(store: &Store, held: &Held) {
    store.open_content(held.content, held.geometry).await.expect("the content opens");
    for (range, bao) in &held.ranges {
        store.write(held.content, &held.geometry, *range, bao.clone()).await.expect("a range is stored");
    }
}

fn store(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let dir = bench_dir();
    let held = runtime.block_on(held(dir.path()));
    let mut group = c.benchmark_group("store");
    group.throughput(Throughput::Bytes(LENGTH)).sample_size(10);
    group.bench_function("import 64 MiB", |b| {
        let fresh = || {
            let dir = bench_dir();
            let store = runtime.block_on(Store::open(dir.path(), OPTIONS)).expect("a store");
            (dir, store)
        };
        b.iter_batched(
            fresh,
            |(dir, store)| {
                runtime.block_on(import(&store, &held));
                (dir, store)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("export 64 MiB", |b| {
        b.iter(|| {
            runtime.block_on(async {
                for (range, _) in &held.ranges {
                    held.store.read(held.content, &held.geometry, *range).await.expect("a range");
                }
            });
        });
    });
    group.bench_function("copy out 64 MiB", |b| {
        b.iter(|| {
            let mut sink = tokio::io::sink();
            runtime
                .block_on(held.store.copy_verified(held.content, 0, LENGTH, &mut sink))
                .expect("the bytes");
        });
    });
    group.finish();
    runtime.block_on(held.store.shutdown()).expect("the store closes");
}

criterion_group!(benches, store);
criterion_main!(benches);
