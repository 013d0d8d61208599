//! What must be right before a daemon can run, found out without changing anything on disk: `samara-node check` says
//! what `samara-node run` would say.
//!
//! The configuration itself was checked when it was read. What another process may change at any time (a port that is
//! taken, a full disk) is left to the start itself.

use crate::config::Config;
use crate::daemon::DaemonError;
use crate::mesh::MeshError;
use crate::mesh::net::NetError;
use crate::state::{State, StateError, identity};
use rustix::fs::{Access, access};
use samara_protocol::id::PeerId;
use samara_protocol::trust::{Trust, Verdict, VerifiedDocument};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

/// What was read on the way.
#[derive(Debug)]
pub struct Ready {
    /// The site's trust as this device knows it.
    pub trust: Trust,
    /// The configured Enrollment.
    pub enrollment: Option<Vec<u8>>,
}

/// Looks at everything that the configuration names, while no daemon needs to run.
pub fn check(config: &Config) -> Result<Ready, DaemonError> {
    let device = identity::look(&config.data_dir)?.as_ref().map(identity::peer_id);
    let state = State::look(&config.state_file())?;
    let ready = look(config, device, state.as_ref())?;
    let file = |cause| StateError::File { path: config.data_dir.clone(), cause };
    check_writable(&config.data_dir).map_err(file)?;
    // A daemon runs without: a disk may be mounted later. Nothing is installed before.
    let root = &config.install.root;
    check_writable(root).map_err(|e| DaemonError::InstallRoot { path: root.clone(), why: e.to_string() })?;
    Ok(ready)
}

/// Whether files can be made in a directory; in one that is still to be made, whether it can be.
fn check_writable(path: &Path) -> std::io::Result<()> {
    let there = path.ancestors().find(|place| place.exists()).unwrap_or(path);
    Ok(access(there, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// The same for a daemon that has opened its identity and its state.
pub fn look(config: &Config, device: Option<PeerId>, state: Option<&State>) -> Result<Ready, DaemonError> {
    let refused = |cause| DaemonError::Trust { path: config.trust_root.clone(), cause };
    let pinned = read(&config.trust_root)?;
    let mut trust = Trust::pin(&pinned).map_err(refused)?;
    if let Some(state) = state {
        state.check_site(trust.site())?;
        trust = Trust::restore(&pinned, &state.trust_chain()?, state.marks()?).map_err(refused)?;
    }
    let enrollment = config.device.enrollment.as_deref().map(read).transpose()?;
    if let (Some(path), Some(envelope)) = (&config.device.enrollment, &enrollment) {
        let wrong = |why: String| DaemonError::Enrollment { path: path.clone(), why };
        match trust.check(envelope) {
            Ok(VerifiedDocument::Enrollment(enrollment)) => {
                if let Some(me) = device.filter(|me| *me != enrollment.device) {
                    return Err(wrong(format!("it enrolls {}, this device is {me}", enrollment.device)));
                }
            }
            Ok(_) => return Err(wrong("it is another kind of document".into())),
            Err(refusal) if refusal.verdict() == Verdict::Violation => {
                return Err(wrong(refusal.to_string()));
            }
            // An older one, or one that a later trust root explains: the mesh brings what is missing.
            Err(_) => {}
        }
    }
    check_install_root(&config.install.root)?;
    for address in &config.mesh.listen {
        let local = address.ip().map_or(Ok(()), |ip| TcpListener::bind((ip, 0)).map(drop));
        local
            .map_err(|e| MeshError::Net(NetError::Listen { address: address.clone(), why: e.to_string() }))?;
    }
    Ok(Ready { trust, enrollment })
}

/// A directory, or none yet: the first install makes it.
fn check_install_root(path: &Path) -> Result<(), DaemonError> {
    let why = match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => return Ok(()),
        Ok(_) => "it is no directory".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(DaemonError::InstallRoot { path: path.into(), why })
}

fn read(path: &Path) -> Result<Vec<u8>, DaemonError> {
    std::fs::read(path).map_err(|cause| DaemonError::File { path: path.into(), cause })
}
