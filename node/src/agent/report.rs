//! The device's signed word about itself: made at transitions that matter, never twice the same.

use super::Agent;
use super::fetch::Phase;
use crate::mesh::PublishError;
use crate::state::State;
use ed25519_dalek::SigningKey;
use samara_protocol::document::{Envelope, Report};
use samara_protocol::id::{DocumentId, PeerId, SiteId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes reports with a counter that never goes back.
pub(super) struct Reporter {
    site: SiteId,
    device: PeerId,
    key: SigningKey,
    state: Arc<State>,
    last: Option<(DocumentId, &'static str)>,
}

impl Reporter {
    pub(super) fn new(site: SiteId, device: PeerId, secret: [u8; 32], state: Arc<State>) -> Self {
        Self { site, device, key: SigningKey::from_bytes(&secret), state, last: None }
    }

    fn make(&self, word: Word) -> Option<Vec<u8>> {
        if self.last == Some((word.release, word.state)) {
            return None;
        }
        let (boot, counter) = self.state.next_report();
        let report = Report {
            boot,
            counter,
            state: word.state.into(),
            reason: word.reason,
            release: Some(word.release),
            rollout: Some(word.rollout),
            result_code: word.result_code,
            versions: word.versions,
            ..Report::empty(self.site, self.device)
        };
        let mut envelope = match Envelope::unsigned(&report) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::error!(%error, "cannot make a report");
                return None;
            }
        };
        envelope.sign(&self.key);
        Some(envelope.to_bytes())
    }
}

struct Word {
    release: DocumentId,
    rollout: DocumentId,
    state: &'static str,
    reason: String,
    result_code: i64,
    versions: BTreeMap<String, String>,
}

impl Agent {
    /// Says where a release stands, if that is news.
    pub(super) async fn report(&mut self, id: DocumentId) {
        let Some(work) = self.work.get(&id) else { return };
        let (state, reason, result_code) = match &work.phase {
            Phase::Downloading => ("downloading", String::new(), 0),
            Phase::NoSpace(why) => ("waiting_for_space", why.chars().take(200).collect(), 0),
            Phase::Verified | Phase::Installing => ("installing", String::new(), 0),
            Phase::Installed => ("installed", String::new(), 0),
            Phase::Failed { why, .. } => ("failed", why.chars().take(200).collect(), 1),
        };
        let versions = match &work.phase {
            Phase::Installed => {
                BTreeMap::from([(work.release.product.clone(), work.release.version.clone())])
            }
            _ => BTreeMap::new(),
        };
        let word = Word { release: id, rollout: work.rollout, state, reason, result_code, versions };
        let Some(envelope) = self.reporter.make(word) else { return };
        // An open mesh lets devices in that nobody enrolled: their reports count nowhere, here neither.
        match self.parts.mesh.publish(envelope).await {
            Ok(_) | Err(PublishError::Refused(_)) => self.reporter.last = Some((id, state)),
            Err(error) => tracing::debug!(%error, "the report was not taken; it is made again"),
        }
    }
}
