//! The documents of a site beside its trust root: what rolls out, what is withdrawn, who is enrolled, what devices say.

use super::{
    Document, DocumentError, NAME_MAX, ReleaseWord, TEXT_MAX, check_critical, check_key, check_line,
    check_name, check_names,
};
use crate::id::{ContentHash, DocumentId, KeyId, PeerId, RolloutId, SiteId};
use crate::wire::DocumentKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The largest payload of a Report.
pub const REPORT_BYTES_MAX: usize = 1024;

/// How far a rollout has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Devices install.
    Active,
    /// Devices wait.
    Paused,
    /// Devices never install by this Rollout.
    Aborted,
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Aborted => "aborted",
        })
    }
}

/// Which devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// Every device for which the release was made.
    All,
}

/// The policy by which a release reaches a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The site.
    pub site: SiteId,
    /// Stable over pause, go and amendment.
    pub rollout_id: RolloutId,
    /// The trust root's epoch when it was signed.
    pub epoch: u64,
    /// The next one is newer.
    pub sequence: u64,
    /// What.
    pub release: DocumentId,
    /// To whom.
    pub selector: Selector,
    /// Whether.
    pub state: RolloutState,
    /// An older release that may be installed instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<DocumentId>,
    /// Whether devices try again what went bad on them under an older sequence of this Rollout, or another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
    /// How often a device tries to install it before it calls it bad.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub attempts_max: u32,
    /// A date after which its age is an alarm; nothing stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_until: Option<String>,
    /// Fields that a reader must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

fn one() -> u32 {
    1
}

fn is_one(attempts: &u32) -> bool {
    *attempts == 1
}

impl Document for Rollout {
    const KIND: DocumentKind = DocumentKind::Rollout;
    const PAYLOAD_TYPE: &'static str = "application/vnd.samara.rollout.v1+json";

    fn validate(&self) -> Result<(), DocumentError> {
        check_critical::<Self>(&self.crit)?;
        if !(1..=100).contains(&self.attempts_max) {
            return Err(DocumentError::field("attempts_max", "must be 1 to 100"));
        }
        check_line("fresh_until", self.fresh_until.as_deref().unwrap_or_default(), NAME_MAX)
    }
}

/// Releases that are taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// The site; a vendor's withdrawal names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// Only releases of this product are taken back. A release key that may sign some products only must name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Which.
    pub releases: Vec<DocumentId>,
    /// Why, for people.
    pub reason: String,
    /// Whether copies shall be removed from the devices' stores.
    pub purge: bool,
    /// Fields that a reader must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

impl Document for Withdrawal {
    const KIND: DocumentKind = DocumentKind::Withdrawal;
    const PAYLOAD_TYPE: &'static str = "application/vnd.samara.withdrawal.v1+json";

    fn validate(&self) -> Result<(), DocumentError> {
        check_critical::<Self>(&self.crit)?;
        if self.releases.is_empty() || self.releases.len() > 64 {
            return Err(DocumentError::field("releases", "names no release, or more than 64"));
        }
        self.product.iter().try_for_each(|product| check_name("product", product))?;
        check_line("reason", &self.reason, TEXT_MAX)
    }
}

/// How much harm a device's failure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criticality {
    /// Little.
    #[default]
    Normal,
    /// Much: such devices are updated last.
    Critical,
}

/// A device of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrollment {
    /// The site.
    pub site: SiteId,
    /// The device's mesh identity.
    pub device: PeerId,
    /// The next one is newer.
    pub sequence: u64,
    /// What people call it.
    #[serde(default)]
    pub name: String,
    /// Which product it is; empty: any.
    #[serde(default)]
    pub product: String,
    /// Hardware revision.
    #[serde(default)]
    pub hardware: String,
    /// Words to select by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Where it stands.
    #[serde(default)]
    pub area: String,
    /// How much harm its failure does.
    #[serde(default)]
    pub criticality: Criticality,
    /// Fields that a reader must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

impl Document for Enrollment {
    const KIND: DocumentKind = DocumentKind::Enrollment;
    const PAYLOAD_TYPE: &'static str = "application/vnd.samara.enrollment.v1+json";

    fn validate(&self) -> Result<(), DocumentError> {
        check_critical::<Self>(&self.crit)?;
        check_key("device", KeyId(self.device.0))?;
        check_line("name", &self.name, NAME_MAX)?;
        check_line("product", &self.product, NAME_MAX)?;
        check_line("hardware", &self.hardware, NAME_MAX)?;
        check_line("area", &self.area, NAME_MAX)?;
        if self.tags.len() > 32 {
            return Err(DocumentError::field("tags", "more than 32"));
        }
        check_names("tags", &self.tags)
    }
}

/// A device's signed word about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The site.
    pub site: SiteId,
    /// The device, whose key signs.
    pub device: PeerId,
    /// Starts of the device's agent; never falls.
    pub boot: u64,
    /// Reports since that start.
    pub counter: u64,
    /// Where the release stands: a word of [`ReleaseState`](super::ReleaseState).
    pub state: String,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
    /// Which release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<DocumentId>,
    /// Under which Rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<DocumentId>,
    /// 0 when all is well; where a program ended badly, its exit code, or minus the signal that ended it.
    #[serde(default)]
    pub result_code: i64,
    /// In which state of the install it went wrong, if it did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// What kind of thing went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fault: String,
    /// Bytes that the last install wrote to the install root for each 100 bytes that it installed; 0 where none is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub written_percent: u64,
    /// Installed versions by product.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, String>,
    /// Where other releases stand, as far as there is room.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<DocumentId, ReleaseWord>,
    /// Highest sequence seen of each rollout: it shows a device that is kept in the dark.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sequences: BTreeMap<RolloutId, u64>,
    /// Things that people should look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
    /// Head of the hash chain of the device's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_head: Option<ContentHash>,
    /// Records in that log.
    #[serde(default)]
    pub log_len: u64,
    /// Fields that a reader must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crit: Vec<String>,
}

impl Report {
    /// A report that says nothing yet, to be filled in; valid once it has a state.
    pub fn empty(site: SiteId, device: PeerId) -> Self {
        Self {
            site,
            device,
            boot: 0,
            counter: 0,
            state: String::new(),
            reason: String::new(),
            release: None,
            rollout: None,
            result_code: 0,
            phase: String::new(),
            fault: String::new(),
            written_percent: 0,
            versions: BTreeMap::new(),
            others: BTreeMap::new(),
            sequences: BTreeMap::new(),
            alarms: Vec::new(),
            log_head: None,
            log_len: 0,
            crit: Vec::new(),
        }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Document for Report {
    const KIND: DocumentKind = DocumentKind::Report;
    const PAYLOAD_TYPE: &'static str = "application/vnd.samara.report.v1+json";
    const PAYLOAD_BYTES_MAX: usize = REPORT_BYTES_MAX;

    fn validate(&self) -> Result<(), DocumentError> {
        check_critical::<Self>(&self.crit)?;
        check_name("state", &self.state)?;
        check_names("others", self.others.values().map(|word| &word.state))?;
        self.others.values().try_for_each(|word| check_line("others", &word.reason, TEXT_MAX))?;
        check_names("versions", self.versions.iter().flat_map(|(product, version)| [product, version]))?;
        self.alarms.iter().try_for_each(|alarm| check_line("alarms", alarm, TEXT_MAX))?;
        check_line("phase", &self.phase, NAME_MAX)?;
        check_line("fault", &self.fault, NAME_MAX)?;
        check_line("reason", &self.reason, TEXT_MAX)
    }
}
