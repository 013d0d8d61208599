//! The operator's side of a rollout: keys, and documents as `samara publish` and `samara rollout` sign them.

use crate::plan::{self, Verb};
use crate::world::Content;
use crate::world::happening::SITE;
use ed25519_dalek::SigningKey;
use samara_protocol::document::{
    Artifact, ArtifactKind, BinaryOptions, BlobRef, Compatibility, Document, DocumentError, Envelope, Hook,
    HookStep, Impact, Installed, MeshAccess, Release, Representation, Restart, Role, Roles, Rollout,
    RolloutState, SCRIPT_BYTES_MAX, Selector, Severity, TrustRoot, When,
};
use samara_protocol::id::{ContentHash, KeyId, RolloutId};
use samara_protocol::rng::Prng;
use samara_protocol::trust::{Refusal, Trust};

/// Where the artifact is installed.
pub(super) const DESTINATION: &str = "app";
/// Bytes of a hook; they are not spread, for they would not be seen.
const HOOK_BYTES: u64 = 4096;
const PIECE_BYTES: u32 = 128 * 1024;
const _: () = assert!(HOOK_BYTES <= SCRIPT_BYTES_MAX);

/// Whoever holds the keys of the site.
#[derive(Debug)]
pub(super) struct Operator {
    key: SigningKey,
    /// The newest that was signed.
    rollout: Rollout,
}

/// What a site is made of.
pub(super) struct Signed {
    pub(super) operator: Operator,
    /// As it is pinned on every device.
    pub(super) trust: Trust,
    pub(super) release: Envelope,
    pub(super) rollout: Envelope,
}

/// Why there is no site.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A document makes no sense.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The trust root is not believed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Operator {
    /// Publishes a release: a trust root, a Release and a Rollout that names it.
    pub(super) fn publish(
        plan: &plan::Plan,
        contents: &[Content],
        rng: &mut Prng,
    ) -> Result<Signed, SignError> {
        let key = SigningKey::from_bytes(&random(rng));
        let role = || Role { keys: vec![KeyId(key.verifying_key().to_bytes())], threshold: 1 };
        // One person does it all here.
        let roles = Roles {
            root: role(),
            release: role(),
            rollout: role(),
            enroll: role(),
            operator: Role::default(),
        };
        let root = sign(&TrustRoot::first(SITE, roles, MeshAccess::Closed), &key)?;
        let install = plan.install().cloned().unwrap_or_default();
        let release = sign(&release(&install, contents), &key)?;
        let rollout = Rollout {
            site: SITE,
            rollout_id: RolloutId(random(rng)),
            epoch: 0,
            sequence: 1,
            release: release.id(),
            selector: Selector::All,
            state: RolloutState::Active,
            rollback_to: None,
            retry: false,
            attempts_max: install.attempts_max,
            fresh_until: None,
            crit: Vec::new(),
        };
        let signed = sign(&rollout, &key)?;
        let trust = Trust::pin(&root.to_bytes())?;
        Ok(Signed { operator: Self { key, rollout }, trust, release, rollout: signed })
    }

    /// Signs the next sequence of the rollout; or says why `samara rollout` refuses to.
    pub(super) fn change(&mut self, verb: Verb) -> Result<Envelope, String> {
        let before = &self.rollout;
        let (is_possible, state, retry) = match verb {
            Verb::RolloutPause => (before.state == RolloutState::Active, RolloutState::Paused, false),
            Verb::RolloutResume => (before.state == RolloutState::Paused, RolloutState::Active, false),
            Verb::RolloutRetry => (before.state == RolloutState::Active, RolloutState::Active, true),
            _ => (before.state != RolloutState::Aborted, RolloutState::Aborted, false),
        };
        if !is_possible {
            return Err(format!("the rollout is {}: {verb:?} says nothing to it", before.state));
        }
        let next = Rollout { sequence: before.sequence + 1, state, retry, ..before.clone() };
        let signed = sign(&next, &self.key).map_err(|error| error.to_string())?;
        self.rollout = next;
        Ok(signed)
    }

    /// The newest that was signed.
    pub(super) fn rollout(&self) -> &Rollout {
        &self.rollout
    }
}

fn sign<T: Document>(document: &T, key: &SigningKey) -> Result<Envelope, DocumentError> {
    let mut envelope = Envelope::unsigned(document)?;
    envelope.sign(key);
    Ok(envelope)
}

fn random<const N: usize>(rng: &mut Prng) -> [u8; N] {
    std::array::from_fn(|_| rng.below(256) as u8)
}

fn release(install: &plan::Install, contents: &[Content]) -> Release {
    Release {
        issuer: "acme".into(),
        product: "pump".into(),
        channel: "stable".into(),
        version: "2.0.0".into(),
        number: 2,
        security_counter: 0,
        severity: Severity::Normal,
        notes: [].into(),
        impact: Impact::default(),
        compatibility: Compatibility::default(),
        min_protocol: 0,
        artifacts: contents.last().map(|data| artifact(install, contents, data)).into_iter().collect(),
        hooks: install.hooks.iter().enumerate().map(hook).collect(),
        health: install.health.map(Into::into),
        crit: Vec::new(),
    }
}

fn artifact(install: &plan::Install, contents: &[Content], data: &Content) -> Artifact {
    let blob = |content: &Content| BlobRef {
        content: content.hash,
        size: content.geometry.length(),
        piece_size: content.geometry.piece_bytes(),
    };
    let list = contents.len().checked_sub(2).map(|at| blob(&contents[at]));
    let data = blob(data);
    let plain = Representation::plain(data, list);
    let kind = match list {
        Some(_) => ArtifactKind::Tree,
        None if install.restarts_agent => ArtifactKind::Binary,
        None => ArtifactKind::File,
    };
    Artifact {
        name: "app".into(),
        kind,
        destination: DESTINATION.into(),
        mode: None,
        when: When::default(),
        installed: Installed { hash: list.map_or(data.content, |list| list.content), size: data.size },
        representations: vec![plain],
        config: None,
        binary: install.restarts_agent.then_some(BinaryOptions { restart: Restart::Agent }),
        script: None,
        crit: Vec::new(),
    }
}

fn hook((number, step): (usize, &HookStep)) -> Hook {
    let data =
        BlobRef { content: ContentHash([number as u8; 32]), size: HOOK_BYTES, piece_size: PIECE_BYTES };
    Hook {
        name: format!("{}-{number}", step.as_str().replace('_', "-")),
        step: *step,
        data,
        args: Vec::new(),
        timeout_seconds: 60,
        when: When::default(),
    }
}
