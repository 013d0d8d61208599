//! The picker: which piece to ask of whom, and what a change of availability costs, by pieces and holders.
#![allow(missing_docs)]

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use samara_protocol::geometry::{Geometry, PIECE_BYTES_MIN, PieceIndex};
use samara_protocol::id::PeerId;
use samara_protocol::piece_set::PieceSet;
use samara_protocol::rng::Prng;
use samara_protocol::swarm::picker::Picker;
use samara_protocol::time::Timestamp;

const PIECES: [u32; 2] = [1024, 8192];
const HOLDERS: [u8; 2] = [8, 32];

/// A picker without a piece, and holders with half of the pieces each, drawn at random.
fn swarm(pieces: u32, holders: u8) -> (Picker, Vec<(PeerId, PieceSet)>, Prng) {
    let length = u64::from(pieces) * u64::from(PIECE_BYTES_MIN);
    let geometry = Geometry::new(length, PIECE_BYTES_MIN).expect("a valid geometry");
    let mut rng = Prng::new(1);
    let mut picker = Picker::new(geometry, PieceSet::empty(pieces), &mut rng);
    let mut peers = Vec::new();
    for holder in 0..holders {
        let mut set = PieceSet::empty(pieces);
        for piece in (0..pieces).map(PieceIndex) {
            if rng.below(2) == 0 {
                set.insert(piece);
                picker.rise(piece, &mut rng);
            }
        }
        peers.push((PeerId([holder; 32]), set));
    }
    (picker, peers, rng)
}

fn picker(c: &mut Criterion) {
    for (pieces, holders) in PIECES.into_iter().flat_map(|pieces| HOLDERS.map(|holders| (pieces, holders))) {
        let name = format!("{pieces} pieces, {holders} holders");
        let (mut full, peers, mut rng) = swarm(pieces, holders);
        // A whole artifact is asked for, in turn from all holders: the cost of a pick over its course.
        c.bench_with_input(BenchmarkId::new("pick every piece", &name), &peers, |b, peers| {
            b.iter_batched(
                || full.clone(),
                |mut picker| {
                    let mut asked = 0;
                    loop {
                        let before = asked;
                        for (peer, set) in peers {
                            asked += u32::from(picker.pick(*peer, set, Timestamp(0)).is_some());
                        }
                        if asked == before {
                            return asked;
                        }
                    }
                },
                BatchSize::LargeInput,
            );
        });
        c.bench_with_input(BenchmarkId::new("a holder comes and goes", &name), &peers, |b, peers| {
            b.iter(|| {
                let (_, set) = &peers[0];
                set.iter().for_each(|piece| full.rise(piece, &mut rng));
                set.iter().for_each(|piece| full.fall(piece, &mut rng));
            });
        });
    }
}

criterion_group!(benches, picker);
criterion_main!(benches);
