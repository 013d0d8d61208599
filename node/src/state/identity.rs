//! The device's identity: an Ed25519 secret made at the first start, readable by its owner only.

use super::StateError;
use samara_protocol::id::PeerId;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const FILE: &str = "identity.key";

/// The secret in `data_dir`, made if there is none: whole or absent, also after a power cut.
pub fn load_or_create(data_dir: &Path) -> Result<[u8; 32], StateError> {
    let path = data_dir.join(FILE);
    let failed = |source| StateError::File { path: path.clone(), source };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    match File::open(&path) {
        Ok(file) => read(file, &path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut secret = [0; 32];
            File::open("/dev/urandom")
                .and_then(|mut random| random.read_exact(&mut secret))
                .map_err(failed)?;
            let fresh = data_dir.join(format!("{FILE}.new"));
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)
                .map_err(failed)?;
            file.write_all(&secret).and_then(|()| file.sync_all()).map_err(failed)?;
            std::fs::rename(&fresh, &path).map_err(failed)?;
            File::open(data_dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
            Ok(secret)
        }
        Err(error) => Err(failed(error)),
    }
}

fn read(mut file: File, path: &Path) -> Result<[u8; 32], StateError> {
    let failed = |source| StateError::File { path: path.into(), source };
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let mode = mode & 0o777;
        return Err(StateError::Exposed { path: path.into(), mode });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| StateError::Identity { path: path.into(), length })
}

/// The public side of a secret.
pub fn peer_id(secret: &[u8; 32]) -> PeerId {
    PeerId(ed25519_dalek::SigningKey::from_bytes(secret).verifying_key().to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let secret = load_or_create(dir.path()).unwrap();
        assert_eq!(load_or_create(dir.path()).unwrap(), secret);
        let path = dir.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load_or_create(dir.path()), Err(StateError::Exposed { mode: 0o644, .. })));
    }

    #[test]
    fn a_torn_identity_is_said_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path()).unwrap();
        OpenOptions::new().write(true).open(dir.path().join(FILE)).unwrap().set_len(7).unwrap();
        assert!(matches!(load_or_create(dir.path()), Err(StateError::Identity { length: 7, .. })));
    }
}
