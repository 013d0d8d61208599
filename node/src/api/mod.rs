//! The local API: HTTP on a Unix socket in the data directory, readable by the daemon's user only.
//!
//! `GET /v1/status` answers a [`StatusView`]. It is no network service: there is nothing to authenticate.

pub mod client;
mod view;

pub use view::{NeighbourView, ReleaseView, StatusView};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Serves until `shutdown`. A socket that a killed daemon left behind is replaced.
pub async fn serve(
    socket: &Path,
    status: watch::Receiver<StatusView>,
    shutdown: CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    let router = Router::new().route("/v1/status", get(answer)).with_state(status);
    let path = socket.to_owned();
    Ok(tokio::spawn(async move {
        let ended = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "the local API ended");
        }
        let _ = std::fs::remove_file(path);
    }))
}

async fn answer(State(status): State<watch::Receiver<StatusView>>) -> Json<StatusView> {
    let view = status.borrow().clone();
    Json(view)
}
