//! Whether a device works: one look at what a release says must be so, by the device at itself.
//!
//! A check answers within its time limit with nothing, or with one sentence of what is wrong. When it is repeated, and
//! what follows from it, is decided elsewhere.

mod http;

use crate::mesh::MeshHandle;
use crate::process::{self, Ending, Program, Ran};
use samara_protocol::document::{HealthCheck, Probe};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;

/// What a check is told beside itself.
#[derive(Debug, Clone)]
pub struct Device {
    /// Paths that are not absolute lie below it.
    pub root: PathBuf,
    /// What programs find in their environment.
    pub variables: Vec<(&'static str, String)>,
    /// When the release was activated, by the clock of files.
    pub activated_at: SystemTime,
    /// Its neighbours.
    pub mesh: MeshHandle,
}

/// Looks once. The error is a sentence for people.
pub async fn check(check: &HealthCheck, device: &Device) -> Result<(), String> {
    let timeout = Duration::from_secs(check.timeout_seconds);
    match &check.probe {
        Probe::Command { command } => run(command.clone(), device, timeout).await,
        Probe::Unit { unit } => is_active(unit, timeout).await,
        Probe::Http { url, status } => within(timeout, url, http::answers(url, *status)).await,
        Probe::Tcp { address } => within(timeout, address, accepts(address)).await,
        Probe::File { path } => is_fresh(&device.root.join(path), device.activated_at),
        Probe::Neighbours { at_least } => {
            within(timeout, "the mesh", are_reaching(&device.mesh, *at_least)).await
        }
    }
}

async fn within(
    timeout: Duration,
    what: &str,
    look: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let late = |_| Err(format!("{what} did not answer within {} s", timeout.as_secs()));
    tokio::time::timeout(timeout, look).await.unwrap_or_else(late)
}

async fn are_reaching(mesh: &MeshHandle, at_least: u32) -> Result<(), String> {
    let Some((asked, reached)) = mesh.ask_reach(at_least).await else {
        return Err("the mesh has ended".into());
    };
    if reached >= at_least {
        return Ok(());
    }
    Err(format!(
        "{reached} of {asked} neighbours that were asked can open a connection here; {at_least} must"
    ))
}

async fn accepts(address: &str) -> Result<(), String> {
    TcpStream::connect(address)
        .await
        .map(drop)
        .map_err(|error| format!("nothing listens at {address}: {error}"))
}

async fn run(command: Vec<String>, device: &Device, timeout: Duration) -> Result<(), String> {
    let Some((program, args)) = command.split_first() else { return Err("the command is empty".into()) };
    let (path, args, variables) = (device.root.join(program), args.to_owned(), device.variables.clone());
    let Ran { ending, output, .. } = spawn(path, args, variables, timeout).await?;
    match ending {
        Ending::Exited(0) => Ok(()),
        ending => Err(format!("{program} {ending}{}", quoted(&output))),
    }
}

async fn is_active(unit: &str, timeout: Duration) -> Result<(), String> {
    let args = vec!["is-active".to_owned(), "--".to_owned(), unit.to_owned()];
    let Ran { ending, output, .. } = spawn("systemctl".into(), args, Vec::new(), timeout).await?;
    match ending {
        Ending::Exited(0) => Ok(()),
        ending => Err(format!("unit {unit} is not active: systemctl {ending}{}", quoted(&output))),
    }
}

/// The last line says most.
fn quoted(output: &str) -> String {
    output.lines().last().map(|line| format!(": {line}")).unwrap_or_default()
}

async fn spawn(
    path: PathBuf,
    args: Vec<String>,
    variables: Vec<(&'static str, String)>,
    timeout: Duration,
) -> Result<Ran, String> {
    let shown = path.display().to_string();
    let run = move || process::run(&Program { path: &path, args: &args, variables: &variables, timeout });
    match tokio::task::spawn_blocking(run).await {
        Ok(Ok(ran)) => Ok(ran),
        Ok(Err(error)) => Err(format!("cannot run {shown}: {error}")),
        Err(error) => Err(format!("cannot run {shown}: {error}")),
    }
}

fn is_fresh(path: &Path, since: SystemTime) -> Result<(), String> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|error| format!("{shown} is not there: {error}"))?;
    let modified = meta.modified().map_err(|error| format!("{shown} has no time: {error}"))?;
    if modified < since { Err(format!("{shown} is older than the activation")) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
