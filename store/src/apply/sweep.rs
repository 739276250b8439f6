//! The sweep's steps ride along with the transaction that is open, as the collector's do
//! (`collect.rs`): what they mean for the rest of it is here, what they do in `crate::sweep`.

use super::Pass;
use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::step::Budget;
use crate::sweep::{Done, Sweep, Swept};

impl Pass<'_> {
    /// See `LedgerWriter::sweep`.
    pub(crate) fn sweep(&mut self, budget: &Budget<'_>) -> Result<Swept, StoreError> {
        let heads = &self.heads;
        let pruned = |slot| Some(heads.get(&slot)?.head.log_pruned);
        let sweep = Sweep {
            env: self.env,
            tables: self.tables,
            txn: &mut self.txn,
            authors: &self.authors,
            budget,
            done: Done::default(),
        };
        let Done {
            swept,
            pages,
            put_bytes,
            entered,
            ..
        } = sweep.go_on(&pruned)?;
        if pages > 0 {
            self.has_written = true;
            self.has_swept = true;
        }
        // What else was put of it counts by its bytes.
        let pages = usize::try_from(pages).unwrap_or(usize::MAX);
        let writes = swept.records.max(pages);
        self.writes += writes;
        self.beside += writes - pages;
        self.added_bytes += put_bytes;
        self.freed_bytes += swept.bytes;
        self.entered.extend(entered);
        // Until something else is removed.
        self.has_litter &= swept.is_more;
        Ok(swept)
    }

    /// Whether something was swept that no checkpoint has brought in.
    pub(crate) fn has_swept(&self) -> bool {
        self.has_swept
    }

    /// Whether a delta or a seal in `slot` may have been applied only as deltas were entered
    /// that no checkpoint has brought in: without these it could not be applied once more.
    pub(super) fn needs_swept(&self, slot: ContextSlot) -> bool {
        self.entered.contains(&slot)
    }
}
