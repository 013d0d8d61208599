//! Signs a document with a role's keys, and checks the result as a device would before anybody sees it.
//!
//! A key is a file of the site directory, or is held by an ssh-agent: that one is asked for what is not in a file, and for
//! what would need a passphrase here. Where a role needs more signatures than there are keys at hand, the document may be
//! left incomplete, for others to sign as well.

use crate::agent::{self, AgentError, KeyAgent};
use crate::failure::{Failure, Kind};
use crate::files::FileError;
use crate::keys::{self, KeyError, Passphrases};
use crate::mesh::rank;
use crate::show;
use crate::site::{SiteDir, SiteError};
use crate::ui::{Look, Output};
use samara_protocol::document::{Document, Envelope, Role, TrustRoot};
use samara_protocol::id::{DocumentId, KeyId};
use samara_protocol::trust::{Refusal, Trust, Verified};
use samara_protocol::wire::DocumentKind;
use serde_json::Value;
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

    /// Its keys and threshold.
    pub fn of(self, root: &TrustRoot) -> &Role {
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
    /// Signatures that it still lacks; 0 unless it was to be left incomplete.
    pub lacks: u32,
}

/// What to do where keys are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// Fail.
    Needed,
    /// Sign with those that are at hand: at least one.
    Optional,
}

impl From<bool> for Completeness {
    fn from(incomplete: bool) -> Self {
        if incomplete { Self::Optional } else { Self::Needed }
    }
}

/// Holds the site's trust root and asks for each passphrase once.
pub struct Signer<'a> {
    site: &'a SiteDir,
    trust: Trust,
    passphrases: Passphrases,
    completeness: Completeness,
    /// Asked when it is needed first.
    agent: Option<Result<KeyAgent, AgentError>>,
}

impl<'a> Signer<'a> {
    /// Starts from the site's newest trust root.
    pub fn open(site: &'a SiteDir, completeness: Completeness) -> Result<Self, Failure> {
        let (trust, passphrases) = (site_trust(site)?, Passphrases::default());
        Ok(Self { site, trust, passphrases, completeness, agent: None })
    }

    /// The site's newest trust root.
    pub fn root(&self) -> &Verified<TrustRoot> {
        self.trust.root()
    }

    /// Trust as a device of the site has it.
    pub fn trust(&self) -> &Trust {
        &self.trust
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
        let wanted = role.of(self.trust.root()).clone();
        self.add_signatures(&wanted, role.as_str(), &mut envelope)?;
        let signed = self.judge(&envelope, std::slice::from_ref(&wanted))?;
        let may_lack = self.completeness == Completeness::Optional && !envelope.signatures.is_empty();
        if signed.lacks > 0 && !may_lack {
            return Err(self.too_few(&wanted, role.as_str(), &envelope));
        }
        Ok(signed)
    }

    /// What devices make of an envelope that each of the roles `wanted` must sign: that it lacks signatures is no failure.
    pub fn judge(&self, envelope: &Envelope, wanted: &[Role]) -> Result<Signed, Failure> {
        let bytes = envelope.to_bytes();
        let lacks = match self.trust.check(&bytes) {
            Ok(_) => 0,
            Err(Refusal::BelowThreshold { .. } | Refusal::Unsigned | Refusal::WrongRole { .. }) => {
                let lacks = |role: &Role| role.threshold.saturating_sub(self.count(role, envelope));
                wanted.iter().map(lacks).max().unwrap_or_default().max(1)
            }
            Err(refusal) => {
                return Err(Failure::trust(format_args!(
                    "devices of this site would refuse this: {refusal}"
                )));
            }
        };
        Ok(Signed { id: envelope.id(), envelope: bytes, lacks })
    }

    /// Adds signatures of keys of `wanted` that are at hand and have not signed yet, until there are as many as its
    /// threshold asks for; `role` names the key files.
    pub fn add_signatures(
        &mut self,
        wanted: &Role,
        role: &str,
        envelope: &mut Envelope,
    ) -> Result<(), Failure> {
        for path in key_files(self.site, role) {
            let stored = keys::read(&path)?;
            let Some(key) = agent::key_id(stored.public_key()) else {
                // Says which algorithm it is of.
                self.passphrases.unlock(&stored, &path)?;
                continue;
            };
            if !self.is_missing(wanted, key, envelope) {
                continue;
            }
            if stored.is_encrypted() && self.agent().is_some_and(|agent| agent.holds(key)) {
                self.add_from_agent(key, envelope)?;
            } else {
                envelope.sign(&self.passphrases.unlock(&stored, &path)?);
            }
        }
        for key in wanted.keys.clone() {
            if self.is_missing(wanted, key, envelope) && self.agent().is_some_and(|agent| agent.holds(key)) {
                self.add_from_agent(key, envelope)?;
            }
        }
        Ok(())
    }

    fn add_from_agent(&mut self, key: KeyId, envelope: &mut Envelope) -> Result<(), Failure> {
        let message = envelope.pae();
        if let Some(agent) = self.agent() {
            envelope.add_signature(agent.sign(key, &message).map_err(|e| Failure::new(Kind::Trust, e))?);
        }
        Ok(())
    }

    /// Whether a signature of this key would bring the envelope nearer to the threshold.
    fn is_missing(&self, wanted: &Role, key: KeyId, envelope: &Envelope) -> bool {
        let has_signed = envelope.signatures.iter().any(|signature| signature.key == key);
        self.counts(wanted, key) && !has_signed && self.count(wanted, envelope) < wanted.threshold
    }

    fn counts(&self, role: &Role, key: KeyId) -> bool {
        role.keys.contains(&key) && !self.root().revoked_keys.contains(&key)
    }

    /// Signatures that count for a role.
    fn count(&self, role: &Role, envelope: &Envelope) -> u32 {
        envelope.signatures.iter().filter(|by| self.counts(role, by.key)).count() as u32
    }

    /// Why an envelope has too few signatures.
    pub fn too_few(&mut self, wanted: &Role, role: &str, envelope: &Envelope) -> Failure {
        let (threshold, dir) = (wanted.threshold, self.site.dir().join("keys"));
        let signed = self.count(wanted, envelope);
        self.agent();
        let agent = match &self.agent {
            Some(Err(error)) => error.to_string(),
            Some(Ok(agent)) => format!("the ssh-agent at {} holds no other one", agent.path().display()),
            None => String::new(),
        };
        let hint = match (signed, self.completeness) {
            (0, _) => format!("; put one back as {}", dir.join(role).display()),
            (_, Completeness::Needed) => "; with --incomplete others add theirs, by samara sign".to_owned(),
            (_, Completeness::Optional) => String::new(),
        };
        Failure::trust(format_args!(
            "role {role} needs {threshold} signatures, and {} has {signed} of its keys; {agent}{hint}",
            dir.display()
        ))
    }

    fn agent(&mut self) -> Option<&mut KeyAgent> {
        self.agent.get_or_insert_with(KeyAgent::open).as_mut().ok()
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
    let value = serde_json::to_value(document).map_err(anyhow::Error::from)?;
    show_payload(output, role, T::PAYLOAD_TYPE, id, &value);
    Ok(id)
}

/// The same of a payload that somebody else made.
pub fn show_payload(output: &Output, role: &str, payload_type: &str, id: DocumentId, payload: &Value) {
    let title = format!("To be signed with role {role}: {payload_type} {id}");
    output.note(output.paint(Look::Strong, title));
    for line in show::lines(payload) {
        output.note(format_args!("  {line}"));
    }
}

// ROLE, ROLE-2, ROLE-3 ...: as `site init` names them.
fn key_files(site: &SiteDir, role: &str) -> Vec<PathBuf> {
    let names = std::iter::once(role.to_owned()).chain((2..=16).map(|n| format!("{role}-{n}")));
    names.map(|name| site.key_path(&name)).filter(|path| path.exists()).collect()
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
            SiteError::Key(_) | SiteError::Waiting { .. } => Kind::Trust,
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
        let error = Signer::open(&site, Completeness::Needed).err().unwrap();
        assert_eq!(error.kind(), Kind::Trust);
        assert!(error.to_string().starts_with(third.to_str().unwrap()), "{error}");
    }
}
