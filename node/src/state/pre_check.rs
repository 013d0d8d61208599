//! Programs that began before an install, to check whether it may be, and did not end: nothing else is written down then, and
//! such a program may be what ends the power.

use super::{State, StateError, unreadable};
use redb::{ReadableTableMetadata as _, TableDefinition};
use samara_protocol::id::DocumentId;

/// The releases of which something is kept.
const KEPT_MAX: u64 = 256;
/// By release: the Rollout by which they ran, and how often one did not end.
pub(super) const PRE_CHECKS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("pre_checks");

impl State {
    /// How often a check of a release was cut while a Rollout document named it.
    pub fn pre_checks_cut(&self, release: DocumentId, rollout: DocumentId) -> Result<u32, StateError> {
        self.read(|transaction| {
            let table = transaction.open_table(PRE_CHECKS)?;
            let Some(kept) = table.get(&release.0)? else { return Ok(0) };
            let (by, cuts): (DocumentId, u32) = serde_json::from_slice(kept.value()).map_err(unreadable)?;
            Ok(if by == rollout { cuts } else { 0 })
        })
    }

    /// Says that cuts were so many, if the program that begins now does not end; none: it has ended.
    pub fn keep_pre_checks_cut(
        &self,
        release: DocumentId,
        rollout: DocumentId,
        cuts: u32,
    ) -> Result<(), StateError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(PRE_CHECKS)?;
            if cuts == 0 {
                table.remove(&release.0)?;
                return Ok(());
            }
            let kept = serde_json::to_vec(&(rollout, cuts)).map_err(unreadable)?;
            table.insert(&release.0, kept.as_slice())?;
            if table.len()? > KEPT_MAX {
                table.pop_first()?;
            }
            Ok(())
        })
    }
}
