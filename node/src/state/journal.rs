//! The install journal: where each release stands, what is in place because of it, what went wrong, and the log.
//!
//! One commit for each transition that must outlive a crash, with all that follows from it: the destinations that it
//! forgets, names or gives back, the security floor, the bad list, and the lines of the log up to it. A release that is
//! under way is kept whole in its row, so that it can be undone even if its document is believed no longer.

use super::log::{LogLine, append};
use super::{INSTALLED, State, StateError, VALUES, by_destination, keep_marks, marks_in, unreadable};
use redb::{ReadableTableMetadata as _, Table, TableDefinition, WriteTransaction};
use samara_protocol::document::{Artifact, Release};
use samara_protocol::id::DocumentId;
use samara_protocol::install::{Effect, Record};
use samara_protocol::rollout::BadMark;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The last transition of each release that came to be installed.
pub(super) const JOURNAL: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("journal");
/// The release that was in place by destination, before the one that is or is about to be.
pub(super) const PREVIOUS: TableDefinition<&str, &[u8; 32]> = TableDefinition::new("previous");
/// By destination, while what it is to hold is under way: what [`PREVIOUS`] said before that. A roll back says it again,
/// for the previous version still lies beside the destination.
pub(super) const EARLIER: TableDefinition<&str, &[u8; 32]> = TableDefinition::new("earlier");
/// Releases that went wrong here.
pub(super) const BAD: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("bad");

/// The releases of which something is kept; the oldest rows that nothing hangs on go first.
const ROWS_MAX: usize = 256;

/// What is kept of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its last transition.
    pub record: Record,
    /// When, in seconds since 1970 by the device's clock: for people.
    pub at: u64,
    /// Its place among all transitions, whatever the clock says ([`State::next_transition`]); none before that was kept.
    #[serde(default)]
    pub order: (u64, u64),
    /// When its artifacts began to be switched, in milliseconds since 1970 by the device's clock.
    #[serde(default)]
    pub activated_ms: u64,
    /// The Rollout by which it came.
    pub rollout: DocumentId,
    /// The release itself, while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// What it takes away, while it is under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub surplus: Vec<Surplus>,
}

impl Row {
    /// By which rows are put in order, oldest first. Those that have no place yet are older, by the clock.
    pub fn age(&self) -> ((u64, u64), u64) {
        (self.order, self.at)
    }
}

/// An artifact of a later release, where the earlier one that comes back has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surplus {
    /// The later release.
    pub release: DocumentId,
    /// Its version.
    pub version: String,
    /// What is taken away.
    pub artifact: Artifact,
    /// Whether something was there before that no release had brought: it comes back.
    pub is_restored: bool,
}

/// A transition and what follows from it.
#[derive(Debug)]
pub struct Transition<'a> {
    /// Of which release.
    pub id: DocumentId,
    /// The release.
    pub release: &'a Release,
    /// Where it is installed on this device.
    pub destinations: &'a [String],
    /// What is kept of it.
    pub row: Row,
    /// If it went wrong for good.
    pub bad: Option<BadMark>,
    /// What the log says, older lines that were not kept yet first.
    pub lines: &'a [LogLine],
}

impl State {
    /// Makes a transition durable.
    pub fn transit(&self, transition: &Transition<'_>) -> Result<(), StateError> {
        let Transition { id, release, row, bad, .. } = transition;
        self.write(|transaction| {
            place(transaction, transition)?;
            if row.record.effect() == Effect::Keep {
                let mut values = transaction.open_table(VALUES)?;
                let mut marks = marks_in(&values)?;
                marks.security_floors.raise(release);
                keep_marks(&mut values, &marks)?;
                transaction.open_table(BAD)?.remove(&id.0)?;
            }
            if let Some(mark) = bad {
                let mark = serde_json::to_vec(mark).map_err(unreadable)?;
                transaction.open_table(BAD)?.insert(&id.0, mark.as_slice())?;
            }
            let is_under_way = row.record.state.is_under_way();
            let release = is_under_way.then(|| (*release).clone());
            let surplus = if is_under_way { row.surplus.clone() } else { Vec::new() };
            let row = Row { release, surplus, ..row.clone() };
            let row = serde_json::to_vec(&row).map_err(unreadable)?;
            transaction.open_table(JOURNAL)?.insert(&id.0, row.as_slice())?;
            forget_oldest(transaction)?;
            append(transaction, transition.lines)
        })
    }

    /// Keeps lines of the log on which nothing hangs.
    pub fn add_to_log(&self, lines: &[LogLine]) -> Result<(), StateError> {
        self.write(|transaction| append(transaction, lines))
    }

    /// What is kept of all releases.
    pub fn rows(&self) -> Result<BTreeMap<DocumentId, Row>, StateError> {
        self.read(|transaction| all(&transaction.open_table(JOURNAL)?))
    }

    /// The releases that went wrong here.
    pub fn bad(&self) -> Result<BTreeMap<DocumentId, BadMark>, StateError> {
        self.read(|transaction| all(&transaction.open_table(BAD)?))
    }

    /// The release that was in place by destination, before the one that is.
    pub fn previous(&self) -> Result<BTreeMap<String, DocumentId>, StateError> {
        self.read(|transaction| by_destination(&transaction.open_table(PREVIOUS)?))
    }
}

/// What a transition changes of what is in place.
fn place(transaction: &WriteTransaction, transition: &Transition<'_>) -> Result<(), redb::Error> {
    let mut installed = transaction.open_table(INSTALLED)?;
    let mut previous = transaction.open_table(PREVIOUS)?;
    let mut earlier = transaction.open_table(EARLIER)?;
    let surplus: Vec<_> =
        transition.row.surplus.iter().map(|gone| gone.artifact.destination.as_str()).collect();
    for destination in transition.destinations.iter().map(String::as_str).chain(surplus.iter().copied()) {
        match transition.row.record.effect() {
            Effect::None => {}
            Effect::Begin => {
                shift(&mut previous, &mut earlier, destination)?;
                shift(&mut installed, &mut previous, destination)?;
            }
            Effect::Keep if surplus.contains(&destination) => {
                previous.remove(destination)?;
                earlier.remove(destination)?;
            }
            Effect::Keep => {
                installed.insert(destination, &transition.id.0)?;
                earlier.remove(destination)?;
            }
            Effect::Restore => {
                shift(&mut previous, &mut installed, destination)?;
                shift(&mut earlier, &mut previous, destination)?;
            }
        }
    }
    Ok(())
}

/// What one table says of a destination is what the other one says from now on; nothing is said where nothing was.
fn shift(
    from: &mut Table<'_, &'static str, &'static [u8; 32]>,
    to: &mut Table<'_, &'static str, &'static [u8; 32]>,
    destination: &str,
) -> Result<(), redb::Error> {
    match from.remove(destination)?.map(|release| *release.value()) {
        Some(release) => drop(to.insert(destination, &release)?),
        None => drop(to.remove(destination)?),
    }
    Ok(())
}

/// Rows of releases that ended some time ago; what is under way is never forgotten.
fn forget_oldest(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(JOURNAL)?;
    if table.len()? <= ROWS_MAX as u64 {
        return Ok(());
    }
    let mut rows: Vec<(DocumentId, Row)> = all(&table)?.into_iter().collect();
    rows.retain(|(_, row): &(_, Row)| !row.record.state.is_under_way());
    rows.sort_by_key(|(_, row)| row.age());
    if let Some((oldest, _)) = rows.first() {
        table.remove(&oldest.0)?;
        transaction.open_table(BAD)?.remove(&oldest.0)?;
    }
    Ok(())
}

fn all<T: DeserializeOwned>(
    table: &impl redb::ReadableTable<&'static [u8; 32], &'static [u8]>,
) -> Result<BTreeMap<DocumentId, T>, redb::Error> {
    let mut all = BTreeMap::new();
    for entry in table.iter()? {
        let (id, bytes) = entry?;
        all.insert(DocumentId(*id.value()), serde_json::from_slice(bytes.value()).map_err(unreadable)?);
    }
    Ok(all)
}
