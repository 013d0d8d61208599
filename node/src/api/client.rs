//! Asking a daemon over its socket.

use super::StatusView;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;
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
    /// Something else than a status came.
    #[error("the daemon's answer cannot be read: {0}")]
    Answer(String),
}

/// The status of the daemon behind `socket`.
pub async fn status(socket: &Path) -> Result<StatusView, ClientError> {
    let answer = tokio::time::timeout(ANSWER_TIME_MAX, ask(socket)).await;
    answer.unwrap_or_else(|_| Err(ClientError::Silent { path: socket.into() }))
}

async fn ask(socket: &Path) -> Result<StatusView, ClientError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|cause| ClientError::Unreachable { path: socket.into(), cause })?;
    let wrong = |e: &dyn std::fmt::Display| ClientError::Answer(e.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| wrong(&e))?;
    let connection = tokio::spawn(connection);
    let request =
        hyper::Request::get("/v1/status").header("host", "localhost").body(Empty::<bytes::Bytes>::new());
    let response = sender.send_request(request.map_err(|e| wrong(&e))?).await.map_err(|e| wrong(&e))?;
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|e| wrong(&e))?;
    connection.abort();
    serde_json::from_slice(&body.to_bytes()).map_err(|e| wrong(&e))
}
