//! How the operator's laptop joins a site's mesh: to seed (`serve`) or only to look (`status`).

use crate::failure::{Failure, Kind};
use crate::site::SiteDir;
use samara_node::mesh::net::{DialAddress, ListenAddress, NetOptions};
use samara_node::mesh::store::{Store, StoreOptions};
use samara_node::mesh::{MeshEvent, MeshHandle, MeshParts};
use samara_node::state::{State, StateError, identity};
use samara_protocol::document::{Envelope, Release, TrustRoot};
use samara_protocol::id::PeerId;
use samara_protocol::mesh::MeshConfig;
use samara_protocol::trust::Trust;
use samara_protocol::wire::{DocumentKind, ServeMode};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Neighbours that a laptop holds at most; the rest of the site hears of each other through them.
const NEIGHBOURS_MAX: usize = 64;

/// How to join.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct JoinArgs {
    /// The site directory
    #[arg(long, value_name = "DIR", env = "SAMARA_SITE")]
    pub site: PathBuf,
    /// Address to listen on, as a multiaddress; may be repeated.
    #[arg(long, value_name = "MULTIADDR", default_value = "/ip4/0.0.0.0/tcp/0")]
    pub listen: Vec<ListenAddress>,
    /// Address of a device to dial, such as /ip4/10.0.0.7/tcp/4810; may be repeated.
    #[arg(long, value_name = "MULTIADDR")]
    pub peer: Vec<DialAddress>,
    /// Do not look for devices by multicast.
    #[arg(long)]
    pub no_mdns: bool,
}

/// What a laptop is to the mesh.
#[derive(Debug, Clone, Copy)]
pub struct Join {
    /// Name of its key in the site directory.
    pub key: &'static str,
    /// How it gives out pieces.
    pub mode: ServeMode,
    /// Copies of each artifact, in thousandths, that its uplink may carry beside repair.
    pub copies_max: u32,
    /// Bytes per second of artifact data.
    pub uplink_limit: Option<u64>,
}

/// A joined mesh.
pub struct Joined {
    /// Who this laptop is to the mesh.
    pub me: PeerId,
    /// Commands.
    pub mesh: MeshHandle,
    /// Events.
    pub events: mpsc::Receiver<MeshEvent>,
    /// Artifact bytes.
    pub store: Store,
    /// Documents and ledger.
    pub state: Arc<State>,
    /// Ends the mesh.
    pub shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// Joins. `dir` holds this laptop's state and is made if it is missing.
pub async fn join(site: &SiteDir, dir: &Path, args: &JoinArgs, how: Join) -> Result<Joined, Failure> {
    let failed = |kind| move |error: anyhow::Error| Failure::new(kind, error);
    let secret = site.mesh_secret(how.key).map_err(|e| failed(Kind::Trust)(e.into()))?;
    std::fs::create_dir_all(dir)
        .map_err(|e| failed(Kind::Storage)(anyhow::anyhow!("cannot make {}: {e}", dir.display())))?;
    let state = State::open(&dir.join("state.redb")).map_err(|error| match error {
        StateError::InUse { .. } => Failure::new(Kind::Busy, error),
        _ => Failure::new(Kind::Storage, error),
    })?;
    let state = Arc::new(state);
    let marks = state.marks().map_err(|e| failed(Kind::Storage)(e.into()))?;
    let chain = state.trust_chain().map_err(|e| failed(Kind::Storage)(e.into()))?;
    let pinned = site.trust_root().map_err(|e| failed(Kind::Configuration)(e.into()))?;
    let trust = Trust::restore(&pinned, &chain, marks).map_err(|e| failed(Kind::Trust)(e.into()))?;
    let store = Store::open(&dir.join("store"), StoreOptions { reserve_free_bytes: 0, quota_bytes: None })
        .await
        .map_err(|e| failed(Kind::Storage)(e.into()))?;
    let me = identity::peer_id(&secret);
    let agent = concat!("samara/", env!("CARGO_PKG_VERSION"));
    let parts = MeshParts {
        net: NetOptions { listen: args.listen.clone(), mdns: !args.no_mdns, ..NetOptions::new(secret) },
        machine: MeshConfig {
            neighbours_max: NEIGHBOURS_MAX,
            copies_max: how.copies_max,
            peers: args.peer.iter().map(ToString::to_string).collect(),
            ..MeshConfig::new(me, trust.site(), agent, how.mode)
        },
        store: store.clone(),
        state: state.clone(),
        trust,
        documents: ranked_documents(site)?,
        uplink_limit: how.uplink_limit,
        rng_seed: u64::from_le_bytes(std::array::from_fn(|i| me.0[i])) ^ state.boot(),
    };
    let shutdown = CancellationToken::new();
    let (mesh, events, task) = samara_node::mesh::start(parts, shutdown.clone())
        .await
        .map_err(|e| failed(Kind::Unreachable)(e.into()))?;
    Ok(Joined { me, mesh, events, store, state, shutdown, task })
}

impl Joined {
    /// Leaves, with everything on disk as it should be.
    pub async fn leave(self) -> Result<(), Failure> {
        self.shutdown.cancel();
        let _ = self.task.await;
        self.store.shutdown().await.map_err(|e| Failure::new(Kind::Storage, e))
    }
}

/// The directory's envelopes in the order of [`rank`].
fn ranked_documents(site: &SiteDir) -> Result<Vec<Vec<u8>>, Failure> {
    let mut documents = site.documents()?;
    documents.sort_by_cached_key(|envelope| rank(envelope));
    Ok(documents)
}

/// Trust roots by version, then enrollments, then the rest, releases by number: others are judged by them.
pub fn rank(envelope: &[u8]) -> (u8, u64) {
    let Ok(envelope) = Envelope::parse(envelope) else { return (2, 0) };
    match envelope.kind() {
        Ok(DocumentKind::TrustRoot) => {
            (0, envelope.unverified_payload().map_or(0, |root: TrustRoot| root.version))
        }
        Ok(DocumentKind::Enrollment) => (1, 0),
        Ok(DocumentKind::Release) => {
            (2, envelope.unverified_payload().map_or(0, |release: Release| release.number))
        }
        _ => (2, 0),
    }
}
