//! The device's identity: an Ed25519 secret made at the first start, readable by its owner only.

use super::{DirLock, StateError};
use crate::durable;
use samara_protocol::id::PeerId;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const FILE: &str = "identity.key";
const SECRET_BYTES: usize = 32;

/// The secret in `data_dir`, made if there is none: whole or absent, also after a power cut.
pub fn load_or_create(data_dir: &Path) -> Result<[u8; SECRET_BYTES], StateError> {
    let path = data_dir.join(FILE);
    if let Some(secret) = load(&path)? {
        return Ok(secret);
    }
    // Two that start at once must become one device.
    let _lock = DirLock::take(data_dir)?;
    match load(&path)? {
        Some(secret) => Ok(secret),
        None => create(data_dir, &path).map_err(|cause| StateError::File { path, cause }),
    }
}

/// The secret in `data_dir`; `None` before the first start.
pub fn look(data_dir: &Path) -> Result<Option<[u8; SECRET_BYTES]>, StateError> {
    load(&data_dir.join(FILE))
}

fn load(path: &Path) -> Result<Option<[u8; SECRET_BYTES]>, StateError> {
    let failed = |cause| StateError::File { path: path.into(), cause };
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StateError::Exposed { path: path.into(), mode });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let no_key = |problem| StateError::Identity { path: path.into(), problem };
    let secret: [u8; SECRET_BYTES] = bytes.try_into().map_err(|bytes: Vec<u8>| match bytes.len() {
        length if length > SECRET_BYTES => no_key(format!("it has more than {SECRET_BYTES} bytes")),
        length => no_key(format!("it has {length} bytes instead of {SECRET_BYTES}")),
    })?;
    // What some file systems leave of a torn file; and a secret that everybody knows.
    if secret == [0; SECRET_BYTES] {
        return Err(no_key("all its bytes are zero".into()));
    }
    Ok(Some(secret))
}

fn create(data_dir: &Path, path: &Path) -> std::io::Result<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    let fresh = data_dir.join(format!("{FILE}.new"));
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    durable::sync_dir(data_dir)?;
    Ok(secret)
}

/// The public side of a secret.
pub fn peer_id(secret: &[u8; SECRET_BYTES]) -> PeerId {
    PeerId(ed25519_dalek::SigningKey::from_bytes(secret).verifying_key().to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_identity_is_made_once_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("var/lib/samara");
        let secret = load_or_create(&data_dir).unwrap();
        assert_eq!(load_or_create(&data_dir).unwrap(), secret);
        assert_eq!(mode_of(&data_dir.join(FILE)), 0o600);
    }

    #[test]
    fn an_identity_that_others_may_read_is_refused_with_its_mode_and_the_remedy() {
        for mode in [0o644, 0o640, 0o604, 0o060, 0o601] {
            let dir = tempfile::tempdir().unwrap();
            load_or_create(dir.path()).unwrap();
            let path = dir.path().join(FILE);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = load_or_create(dir.path()).unwrap_err().to_string();
            for words in [&format!("{mode:03o}"), FILE, "chmod 600"] {
                assert!(error.contains(words), "{words} is not in {error}");
            }
        }
    }

    #[test]
    fn garbage_is_said_and_never_replaced() {
        for (bytes, words) in [
            (vec![7; 7], "7 bytes instead of 32"),
            (vec![], "0 bytes"),
            (vec![7; 33], "more than 32 bytes"),
            (vec![7; 100_000], "more than 32 bytes"),
            (vec![0; 32], "zero"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(FILE);
            std::fs::write(&path, &bytes).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let error = load_or_create(dir.path()).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(FILE), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn what_a_crash_left_of_a_first_start_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("identity.key.new"), [7; 9]).unwrap();
        assert_eq!(load_or_create(dir.path()).unwrap(), load_or_create(dir.path()).unwrap());
        assert_eq!(mode_of(&dir.path().join(FILE)), 0o600);
    }

    #[test]
    fn two_that_start_at_once_become_one_device_or_one_of_them_says_that_it_is_late() {
        let dir = tempfile::tempdir().unwrap();
        let start = || {
            std::thread::spawn({
                let dir = dir.path().to_owned();
                move || load_or_create(&dir)
            })
        };
        let both = [start(), start()].map(|thread| thread.join().unwrap());
        let secret = load_or_create(dir.path()).unwrap();
        for outcome in both {
            match outcome {
                Ok(found) => assert_eq!(found, secret),
                Err(error) => assert!(matches!(error, StateError::InUse { .. }), "{error}"),
            }
        }
    }
}
