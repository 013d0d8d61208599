//! Asking a daemon over its socket.

use super::{RollBackRequest, StatusView};
use crate::agent::RollBack;
use crate::state::Log;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use samara_protocol::id::DocumentId;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// The largest answer that is read: a log of failures with long reasons takes some 6 MiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long a daemon may take; one that lives answers in milliseconds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers at {path}: {cause}; is samara-node running?")]
    Unreachable {
        /// The socket.
        path: std::path::PathBuf,
        /// The system's words.
        cause: std::io::Error,
    },
    /// It listens, but says nothing.
    #[error("the daemon at {path} does not answer within {} s: is it stopped, or its machine overloaded?", ANSWER_TIME_MAX.as_secs())]
    Silent {
        /// The socket.
        path: std::path::PathBuf,
    },
    /// It refuses what was asked for.
    #[error("{0}")]
    Refused(String),
    /// Something else than the answer came.
    #[error("the daemon's answer cannot be read: {0}")]
    Answer(String),
}

/// The status of the daemon behind `socket`.
pub async fn status(socket: &Path) -> Result<StatusView, ClientError> {
    ask(socket, "GET", "/v1/status", Vec::new()).await
}

/// What is kept of its log.
pub async fn log(socket: &Path) -> Result<Log, ClientError> {
    ask(socket, "GET", "/v1/log", Vec::new()).await
}

/// Asks it to bring the version before back.
pub async fn roll_back(socket: &Path, release: Option<DocumentId>) -> Result<RollBack, ClientError> {
    let body = serde_json::to_vec(&RollBackRequest { release });
    ask(socket, "POST", "/v1/rollback", body.map_err(|e| ClientError::Answer(e.to_string()))?).await
}

async fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<T, ClientError> {
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, exchange(socket, method, path, body)).await;
    let bytes = answer.unwrap_or_else(|_| Err(ClientError::Silent { path: socket.into() }))?;
    serde_json::from_slice(&bytes).map_err(|e| ClientError::Answer(e.to_string()))
}

async fn exchange(
    socket: &Path,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<bytes::Bytes, ClientError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|cause| ClientError::Unreachable { path: socket.into(), cause })?;
    let wrong = |e: &dyn std::fmt::Display| ClientError::Answer(e.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| wrong(&e))?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::<bytes::Bytes>::from(body));
    let response = sender.send_request(request.map_err(|e| wrong(&e))?).await.map_err(|e| wrong(&e))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|e| wrong(&e))?;
    connection.abort();
    let bytes = body.to_bytes();
    match status.is_success() {
        true => Ok(bytes),
        false => Err(ClientError::Refused(String::from_utf8_lossy(&bytes).into_owned())),
    }
}
