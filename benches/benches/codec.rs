//! Control frames, data headers, piece sets and document verification: what every message and document costs.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use ed25519_dalek::SigningKey;
use samara_protocol::document::{Envelope, MeshAccess, Role, Roles, TrustRoot};
use samara_protocol::geometry::{PieceIndex, PieceRange};
use samara_protocol::id::{KeyId, SiteId};
use samara_protocol::piece_set::PieceSet;
use samara_protocol::trust::Trust;
use samara_protocol::wire::codec::{decode_control, decode_data_header, encode_control, encode_data_header};
use samara_protocol::wire::{DataHeader, Have, Message, Request};
use std::hint::black_box;

const PIECES: u32 = 65_536;

fn codec(c: &mut Criterion) {
    let range = PieceRange { piece: PieceIndex(300), first_group: 0, groups: 8 };
    let messages = [
        ("have", Message::Have(Have { channel: 1, pieces: (0..16).map(PieceIndex).collect() })),
        ("request", Message::Request(Request { channel: 1, range })),
        ("document", Message::Document(vec![b'x'; 4096])),
    ];
    for (name, message) in messages {
        let mut bytes = Vec::new();
        encode_control(&message, &mut bytes);
        c.bench_function(&format!("encode {name}"), |b| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                encode_control(black_box(&message), &mut out);
            });
        });
        c.bench_function(&format!("decode {name}"), |b| b.iter(|| decode_control(black_box(&bytes))));
    }
    let header = DataHeader { channel: 1, range };
    let bytes = encode_data_header(&header, 0);
    c.bench_function("encode data header", |b| b.iter(|| encode_data_header(black_box(&header), 0)));
    c.bench_function("decode data header", |b| b.iter(|| decode_data_header(black_box(&bytes[1..]))));
}

fn piece_set(c: &mut Criterion) {
    let mut scattered = PieceSet::empty(PIECES);
    for piece in (0..PIECES).step_by(3) {
        scattered.insert(PieceIndex(piece));
    }
    for (name, set) in [("full", PieceSet::full(PIECES)), ("scattered", scattered)] {
        let wire = set.to_wire();
        c.bench_function(&format!("{name} piece set to wire"), |b| b.iter(|| black_box(&set).to_wire()));
        c.bench_function(&format!("{name} piece set from wire"), |b| {
            b.iter(|| PieceSet::from_wire(black_box(&wire), PIECES));
        });
    }
}

fn verification(c: &mut Criterion) {
    let key = SigningKey::from_bytes(&[1; 32]);
    let role = || Role { keys: vec![KeyId(key.verifying_key().to_bytes())], threshold: 1 };
    let roles =
        Roles { root: role(), release: role(), rollout: role(), enroll: role(), operator: Role::default() };
    let root = TrustRoot::first(SiteId([1; 16]), roles, MeshAccess::Closed);
    let mut envelope = Envelope::unsigned(&root).expect("a valid trust root");
    envelope.sign(&key);
    let bytes = envelope.to_bytes();
    assert!(Trust::pin(&bytes).is_ok());
    c.bench_function("parse a document", |b| b.iter(|| Envelope::parse(black_box(&bytes))));
    c.bench_function("verify a document", |b| b.iter(|| Trust::pin(black_box(&bytes))));
}

criterion_group!(benches, codec, piece_set, verification);
criterion_main!(benches);
