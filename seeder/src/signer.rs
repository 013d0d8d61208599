//! Signs a document with a role's keys, and checks the result as a device would before anybody sees it.

use crate::failure::{Failure, Kind};
use crate::files::FileError;
use crate::keys::{KeyError, Passphrases};
use crate::mesh::rank;
use crate::show;
use crate::site::{SiteDir, SiteError};
use crate::ui::{Look, Output};
use ed25519_dalek::SigningKey;
use samara_protocol::document::{Document, Envelope, Role, TrustRoot};
use samara_protocol::id::{DocumentId, KeyId};
use samara_protocol::trust::{Refusal, Trust, Verified};
use samara_protocol::wire::DocumentKind;
use std::path::PathBuf;

/// The roles whose keys sign documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleName {
    /// Says who may sign what, and who is shut out.
    Root,
    /// Says what software is.
    Release,
    /// Says where and when it is installed.
    Rollout,
    /// Says which devices belong to the site.
    Enroll,
}

impl RoleName {
    /// Its key's file name and its name in the trust root.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Release => "release",
            Self::Rollout => "rollout",
            Self::Enroll => "enroll",
        }
    }

    fn of(self, root: &TrustRoot) -> &Role {
        match self {
            Self::Root => &root.roles.root,
            Self::Release => &root.roles.release,
            Self::Rollout => &root.roles.rollout,
            Self::Enroll => &root.roles.enroll,
        }
    }
}

/// A signed document that devices of the site accept.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Its id.
    pub id: DocumentId,
    /// Its envelope.
    pub envelope: Vec<u8>,
}

/// Holds the site's trust root and asks for each passphrase once.
pub struct Signer<'a> {
    site: &'a SiteDir,
    trust: Trust,
    passphrases: Passphrases,
}

impl<'a> Signer<'a> {
    /// Starts from the site's newest trust root.
    pub fn open(site: &'a SiteDir) -> Result<Self, Failure> {
        Ok(Self { site, trust: site_trust(site)?, passphrases: Passphrases::default() })
    }

    /// The site's newest trust root.
    pub fn root(&self) -> &Verified<TrustRoot> {
        self.trust.root()
    }

    /// The site's epoch, which rollouts carry.
    pub fn epoch(&self) -> u64 {
        self.root().epoch
    }

    /// Checks a document's own rules and returns the id that it will have; signs nothing.
    pub fn preview<T: Document>(document: &T) -> Result<DocumentId, Failure> {
        Ok(Envelope::unsigned(document).map_err(|e| Failure::new(Kind::Configuration, e))?.id())
    }

    /// Signs with as many of the role's keys as its threshold asks for.
    pub fn sign<T: Document>(&mut self, role: RoleName, document: &T) -> Result<Signed, Failure> {
        let mut envelope = Envelope::unsigned(document).map_err(|e| Failure::new(Kind::Configuration, e))?;
        for key in self.keys(role)? {
            envelope.sign(&key);
        }
        let bytes = envelope.to_bytes();
        let refused = |e| Failure::trust(format_args!("devices of this site would refuse this: {e}"));
        let id = self.trust.check(&bytes).map_err(refused)?.id();
        Ok(Signed { id, envelope: bytes })
    }

    fn keys(&mut self, role: RoleName) -> Result<Vec<SigningKey>, Failure> {
        let wanted = role.of(self.trust.root()).clone();
        let threshold = wanted.threshold as usize;
        let mut keys: Vec<SigningKey> = Vec::new();
        for path in key_files(self.site, role.as_str())? {
            if keys.len() == threshold {
                break;
            }
            let key = self.passphrases.load(&path)?;
            let id = KeyId(key.verifying_key().to_bytes());
            let is_new = keys.iter().all(|k| k.verifying_key() != key.verifying_key());
            let is_revoked = self.trust.root().revoked_keys.contains(&id);
            if wanted.keys.contains(&id) && is_new && !is_revoked {
                keys.push(key);
            }
        }
        if keys.len() < threshold {
            return Err(Failure::trust(format_args!(
                "role {} needs {threshold} signatures, and {} has {} of its keys",
                role.as_str(),
                self.site.dir().join("keys").display(),
                keys.len(),
            )));
        }
        Ok(keys)
    }
}

/// Trust as a device of the site has it: version 1 of the trust root, and the later ones in `documents/`. One of them
/// that does not follow is an error: what is signed by an older one may be for nothing.
pub fn site_trust(site: &SiteDir) -> Result<Trust, Failure> {
    let refused = |path: PathBuf| move |e: Refusal| Failure::trust(format_args!("{}: {e}", path.display()));
    let pinned = site.dir().join("trust-root.json");
    let mut trust = Trust::pin(&site.trust_root()?).map_err(refused(pinned))?;
    // What cannot be read is named by the verbs, and holds none of them up.
    let mut chain = site.read_documents()?.envelopes;
    let is_root =
        |bytes: &[u8]| Envelope::parse(bytes).is_ok_and(|e| e.kind() == Ok(DocumentKind::TrustRoot));
    chain.retain(|(_, envelope)| is_root(envelope));
    chain.sort_by_cached_key(|(_, envelope)| rank(envelope));
    for (path, envelope) in chain {
        let root = trust.check(&envelope).map_err(refused(path))?;
        trust.accept(&root);
    }
    Ok(trust)
}

/// Puts what is about to be signed before the operator's eyes, on standard error so that pipes show it too.
pub fn show_before_signing<T: Document>(
    output: &Output,
    role: &str,
    document: &T,
) -> Result<DocumentId, Failure> {
    let id = Signer::preview(document)?;
    let title = format!("To be signed with role {role}: {} {id}", T::PAYLOAD_TYPE);
    output.note(output.paint(Look::Strong, title));
    let value = serde_json::to_value(document).map_err(anyhow::Error::from)?;
    for line in show::lines(&value) {
        output.note(format_args!("  {line}"));
    }
    Ok(id)
}

// ROLE, ROLE-2, ROLE-3 ...: as `site init` names them.
fn key_files(site: &SiteDir, role: &str) -> Result<Vec<PathBuf>, Failure> {
    let names = std::iter::once(role.to_owned()).chain((2..=16).map(|n| format!("{role}-{n}")));
    let paths: Vec<_> = names.map(|name| site.key_path(&name)).filter(|path| path.exists()).collect();
    if paths.is_empty() {
        let path = site.key_path(role);
        let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such file");
        return Err(KeyError::File(FileError::of("read", &path)(missing)).into());
    }
    Ok(paths)
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::new(Kind::Trust, error)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::new(Kind::Storage, error)
    }
}

impl From<SiteError> for Failure {
    fn from(error: SiteError) -> Self {
        let kind = match error {
            SiteError::Missing { .. } | SiteError::Name { .. } | SiteError::Damaged { .. } => {
                Kind::Configuration
            }
            SiteError::Key(_) => Kind::Trust,
            SiteError::Busy { .. } => Kind::Busy,
            SiteError::File(_) => Kind::Storage,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use samara_protocol::document::Rollout;

    #[test]
    fn what_is_signed_follows_the_newest_trust_root_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let site = fixture::site(dir.path(), &["--threshold", "release=2"]);
        fixture::next_trust_root(&site, |root| root.epoch = 2);
        let revoked = Passphrases::default().load(&site.key_path("release")).unwrap();
        let revoked = KeyId(revoked.verifying_key().to_bytes());
        fixture::next_trust_root(&site, |root| {
            root.roles.release.threshold = 1;
            root.revoked_keys.push(revoked);
        });
        assert_eq!(site_trust(&site).unwrap().root().version, 3);
        fixture::publish(&site);
        let read = |name| Envelope::parse(&std::fs::read(fixture::document(&site, name)).unwrap()).unwrap();
        assert_eq!(read("rollout-").unverified_payload::<Rollout>().unwrap().epoch, 2);
        let signatures = read("release-").signatures;
        assert!(signatures.len() == 1 && signatures[0].key != revoked);
    }

    #[test]
    fn a_trust_root_that_follows_none_is_named_and_nothing_is_signed() {
        let dir = tempfile::tempdir().unwrap();
        let site = fixture::site(dir.path(), &[]);
        let second = fixture::next_trust_root(&site, |root| root.epoch = 2);
        let third = fixture::next_trust_root(&site, |root| root.epoch = 3);
        std::fs::remove_file(second).unwrap();
        let error = Signer::open(&site).err().unwrap();
        assert_eq!(error.kind(), Kind::Trust);
        assert!(error.to_string().starts_with(third.to_str().unwrap()), "{error}");
    }
}
