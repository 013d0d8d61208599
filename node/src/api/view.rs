//! What the local API shows; field names are an interface.

use crate::mesh::Alarm;
use samara_protocol::document::ReleaseState;
use samara_protocol::id::{DocumentId, PeerId, SiteId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A device at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// Its id.
    pub device: PeerId,
    /// Its site.
    pub site: SiteId,
    /// Software and version.
    pub agent: String,
    /// Since the daemon started.
    pub uptime_seconds: u64,
    /// Admitted neighbours.
    pub neighbours: Vec<NeighbourView>,
    /// Releases that were decided on.
    pub releases: Vec<ReleaseView>,
    /// Copies of contents on disk.
    #[serde(default)]
    pub store: StoreView,
    /// Things that people should look at.
    pub alarms: Vec<Alarm>,
    /// Why it is, or is not, updating now.
    pub explanation: Explanation,
}

/// What the copies of contents take.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreView {
    /// Bytes on disk.
    pub bytes_used: u64,
    /// Bytes that they may take, if that is limited.
    pub bytes_quota: Option<u64>,
}

impl fmt::Display for StoreView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes_quota {
            Some(quota) => write!(f, "{} of {quota} bytes (store.quota)", self.bytes_used),
            None => write!(f, "{} bytes", self.bytes_used),
        }
    }
}

/// Why a device is, or is not, updating now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// One sentence.
    pub text: String,
    /// Of which release it speaks.
    pub release: Option<DocumentId>,
    /// When something happens next, if that is known.
    pub changes_in_seconds: Option<u64>,
}

impl StatusView {
    /// A device that knows nothing yet.
    pub fn starting(device: PeerId, site: SiteId) -> Self {
        Self {
            device,
            site,
            agent: crate::AGENT.into(),
            uptime_seconds: 0,
            neighbours: Vec::new(),
            releases: Vec::new(),
            store: StoreView::default(),
            alarms: Vec::new(),
            explanation: Explanation {
                text: "The daemon has just started, and looks at what is on disk.".into(),
                ..Explanation::default()
            },
        }
    }
}

/// One neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourView {
    /// Who.
    pub peer: PeerId,
}

/// One release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseView {
    /// The Release document.
    pub id: DocumentId,
    /// For what kind of device.
    pub product: String,
    /// Such as stable or beta.
    pub channel: String,
    /// For people.
    pub version: String,
    /// For machines.
    pub number: u64,
    /// Where it stands.
    pub state: ReleaseState,
    /// Why, where there is a reason.
    pub reason: String,
    /// Verified bytes here.
    pub bytes_have: u64,
    /// Bytes of all its contents.
    pub bytes_total: u64,
    /// Verified bytes by the peer that sent them, since the daemon started.
    pub sources: BTreeMap<PeerId, u64>,
    /// Bytes that came though they were here already.
    pub duplicate_bytes: u64,
}
