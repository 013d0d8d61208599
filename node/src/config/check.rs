//! What a configuration must not say though each value is of the right type; places on disk are compared as the system
//! resolves them.

use super::{Config, ConfigError};
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket (`sun_path` holds 108 bytes, the last is zero).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Key, value and what was expected.
type Fault = (&'static str, String, String);

impl Config {
    /// Before its paths are made absolute: an empty one would be the directory of the file.
    pub(super) fn check_texts(&self, path: &Path) -> Result<(), ConfigError> {
        let empty_path = |key, value: &Path| {
            let fault = || (key, format!("{value:?}"), "a path".to_owned());
            value.as_os_str().is_empty().then(fault)
        };
        let blank = |key, value: &str, example: &str| {
            let fault = || (key, format!("{value:?}"), format!("a name such as {example}"));
            value.trim().is_empty().then(fault)
        };
        let fault = empty_path("trust_root", &self.trust_root)
            .or_else(|| empty_path("data_dir", &self.data_dir))
            .or_else(|| empty_path("install.root", &self.install.root))
            .or_else(|| empty_path("device.enrollment", self.device.enrollment.as_deref()?))
            .or_else(|| blank("device.hardware", &self.device.hardware, "generic"))
            .or_else(|| blank("device.architecture", &self.device.architecture, std::env::consts::ARCH));
        refuse(path, fault)
    }

    /// The rest, with absolute paths.
    pub(super) fn check(&self, path: &Path) -> Result<(), ConfigError> {
        refuse(path, self.limits().or_else(|| self.listeners()).or_else(|| self.places()))
    }

    fn limits(&self) -> Option<Fault> {
        if !(2..=1024).contains(&self.mesh.connections_max) {
            let value = self.mesh.connections_max.to_string();
            return Some(("mesh.connections_max", value, "2 to 1024".into()));
        }
        let why = self.log_filter().err()?;
        let expected = format!(
            "a level (error, warn, info, debug, trace, off) or a filter such as info,samara_node=debug ({why})"
        );
        Some(("log.level", format!("{:?}", self.log.level), expected))
    }

    /// Any free port may be asked for as often as one likes.
    fn listeners(&self) -> Option<Fault> {
        let listen = &self.mesh.listen;
        let is_twice = |(at, address): &(usize, _)| listen.iter().take(*at).any(|before| before == *address);
        let fixed = |(_, address): &(usize, &_)| !format!("{address}").ends_with("/tcp/0");
        let (_, twice) = listen.iter().enumerate().filter(fixed).find(is_twice)?;
        Some(("mesh.listen", format!("{:?}", twice.to_string()), "each address once".into()))
    }

    fn places(&self) -> Option<Fault> {
        let (root, data) = (real(&self.install.root), real(&self.data_dir));
        let apart = if root.starts_with(&data) {
            "outside data_dir"
        } else if data.starts_with(&root) {
            "that data_dir is not in"
        } else {
            let socket = self.socket();
            let bytes = socket.as_os_str().len();
            let expected = format!(
                "a shorter path: its socket {} has {bytes} bytes, a socket's path has at most {SOCKET_PATH_BYTES_MAX}",
                socket.display()
            );
            return (bytes > SOCKET_PATH_BYTES_MAX)
                .then(|| ("data_dir", format!("{:?}", self.data_dir), expected));
        };
        let expected = format!(
            "a directory {apart} ({}): releases could replace what the daemon keeps there",
            self.data_dir.display()
        );
        Some(("install.root", format!("{:?}", self.install.root), expected))
    }
}

fn refuse(path: &Path, fault: Option<Fault>) -> Result<(), ConfigError> {
    match fault {
        Some((key, value, expected)) => Err(ConfigError::Value { path: path.into(), key, value, expected }),
        None => Ok(()),
    }
}

/// A path without links and `..`, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|there| Some((there, there.canonicalize().ok()?)));
    let Some((there, real)) = found else { return path.into() };
    path.strip_prefix(there).map_or_else(|_| path.into(), |rest| real.join(rest))
}
