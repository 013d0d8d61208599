//! All that `samara-node run` does: opens what is on disk, joins the mesh, lets the agent work, answers the local API.
//!
//! Order at the start: identity, state, trust, store, mesh; at the end the reverse, so that nothing is asked of what
//! is already closed. A daemon that cannot open one of them says which, and ends with its exit code.

use crate::agent::{Agent, AgentParts, Inlets};
use crate::api::{self, StatusView};
use crate::config::Config;
use crate::guard::{GivenUp, TrialFiles};
use crate::hook;
use crate::mesh::net::{NetError, NetOptions};
use crate::mesh::store::{Store, StoreError, StoreOptions};
use crate::mesh::{MeshError, MeshParts};
use crate::ready::{self, Ready};
use crate::state::{State, StateError, identity};
use samara_protocol::mesh::MeshConfig;
use samara_protocol::rollout::Facts;
use samara_protocol::trust::Refusal;
use samara_protocol::wire::{FEATURE_PROBE, PROTOCOL_VERSION, ServeMode};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Neighbours that a device holds at most.
const NEIGHBOURS_MAX: usize = 64;
/// Orders from people at the device that may wait.
const ORDERS_MAX: usize = 4;

/// Why a daemon did not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A file that the configuration names.
    #[error("cannot read {path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        cause: std::io::Error,
    },
    /// The configured Enrollment is of no use to this device.
    #[error("{path} is no enrollment of this device: {why}")]
    Enrollment {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing can be installed there.
    #[error("install.root = {path:?}: expected a directory, or a place where one can be made: {why}")]
    InstallRoot {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The pinned trust root, or the chain kept after it.
    #[error("{path}: {cause}")]
    Trust {
        /// Where version 1 is pinned.
        path: PathBuf,
        /// Why it is refused.
        cause: Refusal,
    },
    /// Identity key or state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The store of artifact bytes.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The local API.
    #[error("cannot open the local API: {0}")]
    Api(std::io::Error),
}

impl DaemonError {
    /// The documented exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Enrollment { .. } | Self::InstallRoot { .. } => 3,
            Self::Trust { .. } => 4,
            Self::State(_) | Self::Store(_) => 5,
            Self::Mesh(MeshError::Net(NetError::Listen { .. })) => 6,
            Self::Mesh(_) | Self::Api(_) => 1,
        }
    }
}

/// Why a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// It was replaced by an update: whoever supervises it starts its successor.
    Replaced,
}

/// Runs a device until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<Ended, DaemonError> {
    let secret = identity::load_or_create(&config.data_dir)?;
    let device = identity::peer_id(&secret);
    let state = Arc::new(State::open(&config.state_file())?);
    let ready = ready::look(&config, Some(device), Some(&state))?;
    let site = ready.trust.site();
    let floors = ready.trust.marks().security_floors.clone();
    let store = Store::open(
        &config.store_dir(),
        StoreOptions {
            reserve_free_bytes: config.store.reserve_free.0,
            quota_bytes: config.store.quota_bytes(),
        },
    )
    .await?;
    tracing::info!(target: "samara", event = "started", %device, %site, agent = crate::AGENT, "samara-node");

    let (store_to_stop, told) = (store.clone(), shutdown.clone());
    tokio::spawn(async move {
        told.cancelled().await;
        store_to_stop.interrupt();
    });
    let stop_mesh = CancellationToken::new();
    let parts = mesh_parts(&config, secret, ready, store.clone(), state.clone())?;
    let (mesh, events, mesh_task) = crate::mesh::start(parts, stop_mesh.clone()).await?;
    let (status, status_seen) = watch::channel(StatusView::starting(device, site));
    let (orders, orders_taken) = mpsc::channel(ORDERS_MAX);
    let shared = api::Shared { status: status_seen, state: state.clone(), orders };
    let api_task = api::serve(&config.socket(), shared, shutdown.clone()).await.map_err(DaemonError::Api)?;
    let facts = Facts {
        hardware: config.device.hardware.clone(),
        architecture: config.device.architecture.clone(),
        product: String::new(),
        agent: env!("CARGO_PKG_VERSION").into(),
        protocol: PROTOCOL_VERSION,
        floors,
        in_place: BTreeMap::new(),
        under_way: BTreeSet::new(),
        bad: BTreeMap::new(),
    };
    let install_root = config.install.root.clone();
    let (private, restart) = (config.programs(), CancellationToken::new());
    if let Err(error) = hook::clear(&private) {
        tracing::warn!(%error, path = %private.display(), "cannot remove what an earlier run left");
    }
    let (agent, results) = Agent::new(AgentParts {
        device,
        secret,
        site,
        facts,
        install_root,
        private,
        restart: restart.clone(),
        trials: TrialFiles::new(&config.data_dir),
        given_up: GivenUp::heard(),
        local_rollback: config.install.local_rollback,
        mesh,
        store: store.clone(),
        state: state.clone(),
        status,
    })?;
    agent.run(Inlets { results, events, orders: orders_taken }, shutdown.clone()).await;

    stop_mesh.cancel();
    let _ = mesh_task.await;
    shutdown.cancel();
    let _ = api_task.await;
    store.shutdown().await?;
    tracing::info!(target: "samara", event = "stopped", "samara-node stopped");
    Ok(if restart.is_cancelled() { Ended::Replaced } else { Ended::Told })
}

fn mesh_parts(
    config: &Config,
    secret: [u8; 32],
    ready: Ready,
    store: Store,
    state: Arc<State>,
) -> Result<MeshParts, DaemonError> {
    let Ready { trust, enrollment, .. } = ready;
    let me = identity::peer_id(&secret);
    let enrollment = match enrollment {
        Some(enrollment) => enrollment,
        None => state.enrollment_of(me)?.unwrap_or_default(),
    };
    let rng_seed = u64::from_le_bytes(std::array::from_fn(|i| me.0[i])) ^ state.boot();
    Ok(MeshParts {
        net: NetOptions {
            listen: config.mesh.listen.clone(),
            mdns: config.mesh.mdns,
            connections_max: config.mesh.connections_max,
            ..NetOptions::new(secret)
        },
        machine: MeshConfig {
            enrollment: enrollment.clone(),
            features: vec![FEATURE_PROBE.into()],
            peers: config.mesh.peers.iter().map(ToString::to_string).collect(),
            neighbours_max: NEIGHBOURS_MAX.min(config.mesh.connections_max as usize),
            ..MeshConfig::new(me, trust.site(), crate::AGENT, ServeMode::Pull)
        },
        store,
        state,
        trust,
        documents: if enrollment.is_empty() { Vec::new() } else { vec![enrollment] },
        uplink_limit: config.mesh.uplink_limit.map(|rate| rate.bytes_per_second()),
        rng_seed,
    })
}
