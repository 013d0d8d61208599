//! The local API: HTTP on a Unix socket in the data directory, readable by the daemon's user only.
//!
//! ```text
//! GET  /v1/status     a StatusView
//! GET  /v1/log        {"lines", "head"}: the lines of the log that are kept, oldest first, and the end of its chain
//! POST /v1/rollback   brings the version before back: {"release": id or null}; 409 with a sentence if it cannot
//! ```
//! It is no network service: there is nothing to authenticate.

pub mod client;
mod view;

pub use view::{Explanation, NeighbourView, ReleaseView, StatusView, StoreView};

use crate::agent::{Order, RollBack};
use crate::state::{Log, State as DeviceState};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use samara_protocol::id::DocumentId;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What is answered from.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The agent's status.
    pub status: watch::Receiver<StatusView>,
    /// Where the log is.
    pub state: Arc<DeviceState>,
    /// Where orders go.
    pub orders: mpsc::Sender<Order>,
}

/// What a roll back is asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RollBackRequest {
    /// Which release goes; the one that was installed last if none is named.
    #[serde(default)]
    pub release: Option<DocumentId>,
}

/// Serves until `shutdown`. A socket that a killed daemon left behind is replaced.
pub async fn serve(
    socket: &Path,
    shared: Shared,
    shutdown: CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/log", get(log))
        .route("/v1/rollback", post(roll_back))
        .with_state(shared);
    let path = socket.to_owned();
    Ok(tokio::spawn(async move {
        let ended = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "the local API ended");
        }
        let _ = std::fs::remove_file(path);
    }))
}

async fn status(State(shared): State<Shared>) -> Json<StatusView> {
    let view = shared.status.borrow().clone();
    Json(view)
}

async fn log(State(shared): State<Shared>) -> Result<Json<Log>, (StatusCode, String)> {
    let read = tokio::task::spawn_blocking(move || shared.state.log()).await;
    let failed = |error: &dyn std::fmt::Display| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    read.map_err(|error| failed(&error))?.map(Json).map_err(|error| failed(&error))
}

async fn roll_back(
    State(shared): State<Shared>,
    Json(request): Json<RollBackRequest>,
) -> Result<Json<RollBack>, (StatusCode, String)> {
    let (answer, answered) = oneshot::channel();
    let order = Order::RollBack { release: request.release, answer };
    let ends = || (StatusCode::SERVICE_UNAVAILABLE, "the daemon ends".to_owned());
    shared.orders.send(order).await.map_err(|_| ends())?;
    answered.await.map_err(|_| ends())?.map(Json).map_err(|why| (StatusCode::CONFLICT, why))
}
