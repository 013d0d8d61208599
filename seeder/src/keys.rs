//! Signing keys as OpenSSH Ed25519 files, so that `ssh-keygen` can make them too.
//!
//! A key file belongs to its owner alone (0600): one that others can read is refused, not used with a warning.
//! A passphrase comes from the file that `SAMARA_PASSPHRASE_FILE` names, or from the terminal; never from the
//! command line, where other users can see it.

use crate::files::{self, FileError};
use ed25519_dalek::SigningKey;
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::rand_core::{OsRng, RngCore as _};
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey};
use std::io::IsTerminal as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The environment variable that names a file with the passphrase of every key that is loaded or made.
pub const PASSPHRASE_FILE: &str = "SAMARA_PASSPHRASE_FILE";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is not there or cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Others can read the secret.
    #[error("{} can be read by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not an OpenSSH private key.
    #[error("{} is not an OpenSSH private key: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ssh_key::Error,
    },
    /// Not a public key.
    #[error("{} is no OpenSSH public key; ssh-keygen writes it as NAME.pub", path.display())]
    Public {
        /// The file.
        path: PathBuf,
    },
    /// Another algorithm.
    #[error("{} is a {algorithm} key; Samara signs with ssh-ed25519 only", path.display())]
    Algorithm {
        /// The file.
        path: PathBuf,
        /// What it is.
        algorithm: String,
    },
    /// The passphrase does not open it.
    #[error("wrong passphrase for {}", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
    },
    /// A passphrase is needed and there is nobody to ask.
    #[error("a passphrase is needed and there is no terminal to ask on; name a file with {PASSPHRASE_FILE}")]
    NoTerminal,
    /// Two entries differ.
    #[error("the two passphrases differ")]
    Mismatch,
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty; ask for unprotected keys with --no-passphrase")]
    Empty,
    /// Random numbers or the terminal failed.
    #[error("cannot make or open a key: {0}")]
    Other(String),
}

/// `N` bytes from the system's random source.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| KeyError::Other(error.to_string()))?;
    Ok(bytes)
}

/// Makes a key and writes `path` (0600) and `path.pub`; an existing file is never overwritten.
pub fn create(path: &Path, comment: &str, passphrase: Option<&str>) -> Result<SigningKey, KeyError> {
    let secret = Zeroizing::new(random_bytes::<32>()?);
    let format = |source| KeyError::Format { path: path.to_owned(), source };
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&secret));
    let plain = PrivateKey::new(pair, comment).map_err(format)?;
    let public = plain.public_key().to_openssh().map_err(format)?;
    let stored = match passphrase {
        Some(passphrase) => plain.encrypt(&mut OsRng, passphrase).map_err(format)?,
        None => plain,
    };
    let text = stored.to_openssh(LineEnding::LF).map_err(format)?;
    files::create(path, text.as_bytes(), 0o600)?;
    files::create(&path.with_extension("pub"), format!("{public}\n").as_bytes(), 0o644)?;
    Ok(SigningKey::from_bytes(&secret))
}

/// Where passphrases come from during one run; the last one that opened a key is tried first for the next.
#[derive(Default)]
pub struct Passphrases {
    last: Option<Zeroizing<String>>,
}

impl Passphrases {
    /// A passphrase for new keys: from the named file, else asked twice.
    pub fn choose(&mut self) -> Result<Zeroizing<String>, KeyError> {
        let passphrase = match from_file()? {
            Some(passphrase) => passphrase,
            None => {
                let first = ask("Passphrase for the new keys: ")?;
                if first != ask("Again: ")? {
                    return Err(KeyError::Mismatch);
                }
                first
            }
        };
        if passphrase.is_empty() { Err(KeyError::Empty) } else { Ok(passphrase) }
    }

    /// Opens a key file.
    pub fn load(&mut self, path: &Path) -> Result<SigningKey, KeyError> {
        self.unlock(&read(path)?, path)
    }

    /// Opens what was read from a key file.
    pub fn unlock(&mut self, stored: &PrivateKey, path: &Path) -> Result<SigningKey, KeyError> {
        let opened = if stored.is_encrypted() { Some(self.open(stored, path)?) } else { None };
        match opened.as_ref().unwrap_or(stored).key_data() {
            KeypairData::Ed25519(pair) => Ok(SigningKey::from_bytes(&pair.private.to_bytes())),
            _ => {
                Err(KeyError::Algorithm { path: path.to_owned(), algorithm: stored.algorithm().to_string() })
            }
        }
    }

    fn open(&mut self, stored: &PrivateKey, path: &Path) -> Result<PrivateKey, KeyError> {
        if let Some(plain) = self.last.as_ref().and_then(|last| stored.decrypt(last.as_bytes()).ok()) {
            return Ok(plain);
        }
        let passphrase = match from_file()? {
            Some(passphrase) => passphrase,
            None => ask(&format!("Passphrase for {}: ", path.display()))?,
        };
        let wrong = |_| KeyError::Passphrase { path: path.to_owned() };
        let plain = stored.decrypt(passphrase.as_bytes()).map_err(wrong)?;
        self.last = Some(passphrase);
        Ok(plain)
    }
}

/// Reads a key file; a passphrase is not needed yet.
pub fn read(path: &Path) -> Result<PrivateKey, KeyError> {
    refuse_readable(path)?;
    let text = Zeroizing::new(files::read(path)?);
    PrivateKey::from_openssh(&*text).map_err(|source| KeyError::Format { path: path.to_owned(), source })
}

/// Reads the public half of somebody's key, as `ssh-keygen` writes it.
pub fn read_public(path: &Path) -> Result<PublicKey, KeyError> {
    let text = files::read(path)?;
    let text = std::str::from_utf8(&text).map_err(|_| KeyError::Public { path: path.to_owned() })?;
    let key = PublicKey::from_openssh(text).map_err(|_| KeyError::Public { path: path.to_owned() })?;
    match key.algorithm() {
        Algorithm::Ed25519 => Ok(key),
        other => Err(KeyError::Algorithm { path: path.to_owned(), algorithm: other.to_string() }),
    }
}

fn from_file() -> Result<Option<Zeroizing<String>>, KeyError> {
    let Some(path) = std::env::var_os(PASSPHRASE_FILE).map(PathBuf::from) else { return Ok(None) };
    refuse_readable(&path)?;
    let bytes = Zeroizing::new(files::read(&path)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| KeyError::Passphrase { path: path.clone() })?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    Ok(Some(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned())))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, KeyError> {
    if !std::io::stdin().is_terminal() {
        return Err(KeyError::NoTerminal);
    }
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| KeyError::Other(error.to_string()))
}

fn refuse_readable(path: &Path) -> Result<(), KeyError> {
    let metadata = std::fs::metadata(path).map_err(FileError::of("read", path))?;
    let mode = metadata.permissions().mode() & 0o777;
    // A pipe (`<(pass show ...)`) has no lasting content that others could read.
    if mode & 0o077 != 0 && !metadata.file_type().is_fifo() {
        return Err(KeyError::Readable { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_file_and_belongs_to_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("release");
        let made = create(&path, "release@site", None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Passphrases::default().load(&path).unwrap().to_bytes(), made.to_bytes());
        let public = std::fs::read_to_string(dir.path().join("release.pub")).unwrap();
        assert!(public.starts_with("ssh-ed25519 ") && public.ends_with(" release@site\n"), "{public}");
    }

    #[test]
    fn a_protected_key_opens_with_its_passphrase_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root");
        let made = create(&path, "root", Some("winged")).unwrap();
        let mut right = Passphrases { last: Some(Zeroizing::new("winged".into())) };
        assert_eq!(right.load(&path).unwrap().to_bytes(), made.to_bytes());
        let stored = PrivateKey::read_openssh_file(&path).unwrap();
        assert!(stored.is_encrypted());
        assert!(stored.decrypt("wingless").is_err());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("release");
        create(&path, "release", None).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = Passphrases::default().load(&path).unwrap_err();
            assert!(matches!(error, KeyError::Readable { mode: m, .. } if m == mode));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_key_is_never_overwritten_and_rubbish_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root");
        create(&path, "root", None).unwrap();
        assert!(matches!(create(&path, "root", None), Err(KeyError::File(_))));
        let rubbish = dir.path().join("rubbish");
        files::create(&rubbish, b"hello", 0o600).unwrap();
        assert!(matches!(Passphrases::default().load(&rubbish), Err(KeyError::Format { .. })));
    }
}
