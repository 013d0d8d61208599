//! Peers that keep the protocol and lie: they claim every piece, and send wrong bytes or none.

use super::hostile::{Identity, Wire};
use samara_node::mesh::store::{Store, StoreOptions};
use samara_protocol::geometry::{GROUP_BYTES, Geometry};
use samara_protocol::id::ContentHash;
use samara_protocol::piece_set::PieceSet;
use samara_protocol::wire::{DataHeader, Message, Open, Request, ServeMode};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a liar did so far.
#[derive(Debug, Default)]
pub struct Deeds {
    /// Swarms of which it claimed everything.
    pub claimed: usize,
    /// The wrong groups that it sent.
    pub spoiled: Vec<(ContentHash, u64)>,
}

/// Where a story looks at them.
pub type Ledger = Arc<Mutex<Deeds>>;

/// The artifact that a liar spoils, and its true bytes.
pub struct Loot {
    store: Store,
    geometry: Geometry,
    _dir: tempfile::TempDir,
}

impl Loot {
    pub async fn take(path: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store::open(dir.path(), StoreOptions { reserve_free_bytes: 0, quota_bytes: None }).await.unwrap();
        let (_, length) = store.add_file(path, |_| ()).await.unwrap();
        Self { store, geometry: Geometry::for_length(length).unwrap(), _dir: dir }
    }

    /// The encoding of a range with one wrong bit in its last group, and that group.
    async fn spoiled(&self, content: ContentHash, request: &Request) -> (Vec<u8>, u64) {
        let mut bao = self.store.read(content, &self.geometry, request.range).await.unwrap().to_vec();
        *bao.last_mut().unwrap() ^= 1;
        let (start, length) = self.geometry.byte_range(request.range);
        (bao, (start + length).div_ceil(GROUP_BYTES) - 1)
    }
}

/// Joins with claims to everything that it hears of; requests are answered with spoiled loot, or not at all. Ends
/// with the connection.
pub async fn lie(
    identity: Identity,
    address: String,
    loot: Option<Arc<Loot>>,
    ledger: Ledger,
) -> io::Result<()> {
    let mut wire = Wire::dial(identity.secret, &address).await?;
    wire.say(&identity.hello(ServeMode::Pull)).await?;
    let mut opened = std::collections::BTreeMap::new();
    loop {
        match wire.hear().await? {
            Message::Ping(nonce) => wire.say(&Message::Pong(nonce)).await?,
            // Their digest is ours: we hold all documents too.
            Message::Digest(digest) => wire.say(&Message::Digest(digest)).await?,
            Message::Open(theirs) => {
                opened.insert(theirs.channel, theirs.content);
                wire.say(&Message::Open(claim(&theirs))).await?;
                ledger.lock().unwrap().claimed += 1;
            }
            Message::Request(request) => {
                let (Some(loot), Some(content)) = (&loot, opened.get(&request.channel)) else { continue };
                let (bao, group) = loot.spoiled(*content, &request).await;
                ledger.lock().unwrap().spoiled.push((*content, group));
                let header = DataHeader { channel: request.channel, range: request.range };
                wire.send(header, &bao).await?;
            }
            _ => {}
        }
    }
}

/// Their swarm, ours in whole, under the same channel number.
fn claim(theirs: &Open) -> Open {
    let geometry = Geometry::new(theirs.length, theirs.piece_bytes).unwrap();
    Open { have: PieceSet::full(geometry.pieces()).to_wire(), ..theirs.clone() }
}
