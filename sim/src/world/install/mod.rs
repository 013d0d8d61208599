//! What devices do with a release: the real install machine of each, its steps as happenings in virtual time.
//!
//! ```text
//!  documents -> rollout::decide -> Verdict -> machine -> Record  (durable a moment later, then Persisted)
//!                                                    +-> Fetch   (the swarms; Complete when all is sealed)
//!                                                    +-> Step    (takes its time, then Ran)
//! ```
//!
//! The journal and what stands in place survive every end of a process; the machine does not, and goes on by its own
//! rules from what is there. Here is what the daemon's agent does around a machine, for the one release of a plan.

mod agent;
mod check;
mod device;
mod drive;
mod ended;
mod operator;
mod spread;

pub(super) use agent::Agent;
pub use operator::SignError;

use super::Content;
use crate::plan::Plan;
use device::{Device, Times};
use operator::{Operator, Signed};
use samara_protocol::document::{Envelope, Rollout, RolloutState};
use samara_protocol::id::DocumentId;
use samara_protocol::rng::Prng;
use samara_protocol::rollout::Facts;
use samara_protocol::trust::{SecurityFloors, Trust};
use samara_protocol::wire::PROTOCOL_VERSION;
use std::collections::{BTreeMap, BTreeSet};

/// Keeps the dice of installs apart from those of everything else.
const INSTALL_SALT: u64 = 0x696e_7374_616c_6c00;

/// The installs of a run.
#[derive(Debug)]
pub(super) struct Installs {
    operator: Operator,
    release: DocumentId,
    /// Bytes that must be free for it.
    needed: u64,
    /// What every device is, before anything happened to it.
    facts: Facts,
    rng: Prng,
    /// By number.
    devices: Vec<Device>,
    /// What the seeder believes.
    seeder_trust: Trust,
    /// All sequences of the Rollout, with their numbers among the documents.
    rollouts: Vec<(u32, Rollout)>,
    /// One sentence for each change of the rollout that was refused.
    refused_changes: Vec<String>,
}

/// Something that takes time on one device has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The step that runs.
    Step,
    /// The record that is being written.
    Write,
    /// A wait of the machine.
    Wait,
}

impl Installs {
    /// The site of a plan that installs something, and its first two documents.
    pub(super) fn new(
        plan: &Plan,
        contents: &[Content],
        rng_seed: u64,
    ) -> Result<Option<(Self, [Envelope; 2])>, SignError> {
        let Some(install) = plan.install() else { return Ok(None) };
        let mut rng = Prng::new(rng_seed ^ INSTALL_SALT);
        let Signed { operator, trust, release, rollout } = Operator::publish(plan, contents, &mut rng)?;
        let count = plan.devices.count;
        let devices = (0..count).map(|_| Device::new(trust.clone(), Times::drawn(install, &mut rng)));
        let mut devices: Vec<Device> = devices.collect();
        for (number, fault) in install.faults.iter().enumerate() {
            for device in fault.devices(number, count, rng_seed) {
                devices[device].faults.push(fault);
            }
        }
        // The first documents of a site are its release and the rollout of it.
        let rollouts = vec![(1, operator.rollout().clone())];
        let installs = Self {
            release: release.id(),
            operator,
            needed: plan.artifact.bytes.0,
            facts: facts(),
            rng,
            devices,
            seeder_trust: trust,
            rollouts,
            refused_changes: Vec::new(),
        };
        Ok(Some((installs, [release, rollout])))
    }

    /// Whether a seeder offers the release.
    pub(super) fn is_offered(&self) -> bool {
        self.operator.rollout().state != RolloutState::Aborted
    }

    /// Devices that have the release in place.
    pub(super) fn committed(&self) -> usize {
        self.devices.iter().filter(|device| device.is_in_place).count()
    }
}

/// A device of the product, without anything of ours in place.
fn facts() -> Facts {
    Facts {
        hardware: "a".into(),
        architecture: "x86_64".into(),
        product: "pump".into(),
        agent: env!("CARGO_PKG_VERSION").into(),
        protocol: PROTOCOL_VERSION,
        floors: SecurityFloors::default(),
        in_place: BTreeMap::new(),
        under_way: BTreeSet::new(),
        bad: BTreeMap::new(),
    }
}
