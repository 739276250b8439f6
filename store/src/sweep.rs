//! What happens to a deleted context: deletion only takes its record and head
//! and leaves a grave; the sweep then drops entries, events and log records a
//! bounded number at a time, so that a context of a million entries never
//! holds up a commit. Runs on the commit thread between batches.

use heed::{Env, RwTxn, WithoutTls};

use crate::entry::Space;
use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::layout::{self, Table, Tables, position_key, slot_key, space_key};
use crate::ledger::{commit_error, engine_error};
use crate::record::{GraveRow, LogRow, open, seal};

/// What a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Records dropped.
    pub records: usize,
    /// Whether more are left to drop.
    pub is_more: bool,
}

/// See `LedgerWriter::sweep`.
pub(crate) fn sweep(
    env: &Env<WithoutTls>,
    tables: Tables,
    records_max: usize,
) -> Result<Swept, StoreError> {
    let failed = |error| engine_error("a sweep", error, env);
    let mut txn = env.write_txn().map_err(failed)?;
    let mut left = records_max.max(1);
    let budget = left;
    let mut scratch = Vec::new();
    while let Some((key, bytes)) = tables.graves.first(&txn).map_err(failed)? {
        let slot = layout::read_u64(key).map(ContextSlot::new).ok_or_else(|| {
            StoreError::corrupt("grave record", key, "its key is not 8 bytes long")
        })?;
        let grave = open::<GraveRow>(key, bytes)?;
        let (context, mut log_last) = (grave.context, grave.log_last.to_native());
        let log_pruned = grave.log_pruned.to_native();
        let before = left;
        for table in [tables.entries, tables.edits, tables.litter] {
            for space in Space::ALL {
                let prefix = space_key(slot, space);
                left -= drop_prefix(&mut txn, table, &prefix, left).map_err(failed)?;
            }
        }
        for table in [tables.events, tables.dag, tables.trie] {
            left -= drop_prefix(&mut txn, table, &slot_key(slot), left).map_err(failed)?;
        }
        while left > 0 && log_last != 0 {
            let key = position_key(log_last);
            let Some(bytes) = tables.log.get(&txn, &key).map_err(failed)? else {
                if log_last <= log_pruned {
                    log_last = 0;
                    break;
                }
                return Err(StoreError::corrupt("log record", &key, "it is missing"));
            };
            log_last = open::<LogRow>(&key, bytes)?.previous.to_native();
            tables.log.delete(&mut txn, &key).map_err(failed)?;
            left -= 1;
        }
        let key = slot_key(slot);
        // With budget left over, every loop above ran to its end.
        if left > 0 {
            tables.graves.delete(&mut txn, &key).map_err(failed)?;
            continue;
        }
        if before > 0 {
            let row = GraveRow {
                context,
                log_last,
                log_pruned,
            };
            seal(&mut scratch, &key, &row);
            tables
                .graves
                .put(&mut txn, &key, &scratch)
                .map_err(failed)?;
        }
        break;
    }
    let is_more = !tables.graves.is_empty(&txn).map_err(failed)?;
    txn.commit().map_err(|error| commit_error(error, env))?;
    Ok(Swept {
        records: budget - left,
        is_more,
    })
}

/// Drops up to `max` records whose key begins with `prefix`.
fn drop_prefix(
    txn: &mut RwTxn<'_>,
    table: Table,
    prefix: &[u8],
    max: usize,
) -> heed::Result<usize> {
    let mut dropped = 0;
    let mut cursor = table.prefix_iter_mut(txn, prefix)?;
    while dropped < max {
        if cursor.next().transpose()?.is_none() {
            break;
        }
        // SAFETY: `del_current` forbids holding a reference into the table
        // while it changes; the one from `next` is dropped already.
        #[allow(unsafe_code)]
        unsafe {
            cursor.del_current()?;
        }
        dropped += 1;
    }
    Ok(dropped)
}
