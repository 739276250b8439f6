//! What happens to the edits of a list or text that was removed, and to a deleted context: deletion only takes its record and head
//! and leaves a grave; the sweep then drops entries, events and log records a
//! bounded number at a time, so that a context of a million entries never
//! holds up a commit. Runs on the commit thread between batches.

use heed::{Env, RwTxn, WithoutTls};

use crate::attachment::{self, Attachment};
use crate::authors::Authors;
use crate::backlog;
use crate::edits::{self, Alive, EditError};
use crate::entry::{EntryKind, Space, Stored};
use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::layout::{self, Table, Tables, position_key, slot_key, space_key};
use crate::ledger::{commit_error, engine_error};
use crate::record::{GraveRow, LitterRow, LogRow, open, read_entry, seal};
use crate::saved;
use crate::version::Dot;

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
        left -= drop_attachments(env, tables, &mut txn, slot, left)?;
        let tables_of_spaces = [
            tables.entries,
            tables.edits,
            tables.edits_seen,
            tables.litter,
            tables.saved,
        ];
        for table in tables_of_spaces {
            for space in Space::ALL {
                let prefix = space_key(slot, space);
                left -= drop_prefix(&mut txn, table, &prefix, left).map_err(failed)?;
            }
        }
        let of_slot = [
            tables.events,
            tables.dag,
            tables.trie,
            tables.seals,
            tables.forks,
            tables.backlog,
            tables.answers,
            tables.answers_by_age,
            tables.tallies,
            tables.marks,
            tables.acks,
            tables.quarantine,
        ];
        for table in of_slot {
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
    if left > 0 {
        left -= drop_litter(env, tables, &mut txn, left)?;
    }
    if left > 0 {
        left -= backlog::enter(env, tables, &mut txn, left)?;
    }
    let is_done = tables.graves.is_empty(&txn).map_err(failed)?
        && tables.backlog.is_empty(&txn).map_err(failed)?
        && tables.litter.is_empty(&txn).map_err(failed)?;
    txn.commit().map_err(|error| commit_error(error, env))?;
    Ok(Swept {
        records: budget - left,
        is_more: !is_done,
    })
}

/// Drops up to `max` attachments of a deleted context, and what was noted of them.
/// Its entries go key by key with those, so that none is forgotten.
fn drop_attachments(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &mut RwTxn<'_>,
    slot: ContextSlot,
    max: usize,
) -> Result<usize, StoreError> {
    let failed = |error| engine_error("a sweep", error, env);
    let prefix = space_key(slot, Space::Attached);
    let rows = tables.entries.prefix_iter(txn, &prefix).map_err(failed)?;
    let keys = rows.take(max).map(|row| row.map(|(key, _)| key.to_vec()));
    let keys: Vec<_> = keys.collect::<heed::Result<_>>().map_err(failed)?;
    let mut record = Vec::new();
    for key in &keys {
        tables.entries.delete(txn, key).map_err(failed)?;
        let attachment = Attachment::from_key(&key[prefix.len()..]);
        let attachment = attachment
            .ok_or_else(|| StoreError::corrupt("entry", key, "its key is no attachment's"))?;
        let noted = attachment::note(tables, txn, &mut record, slot, attachment, false);
        noted.map_err(|failure| match failure {
            attachment::Failure::Engine(error) => failed(error),
            attachment::Failure::Store(error) => error,
        })?;
    }
    Ok(keys.len())
}

/// Looks through up to `max` edits of sequences that were removed, and drops those that
/// no sequence has any more. Gives how many it has looked at.
fn drop_litter(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &mut RwTxn<'_>,
    max: usize,
) -> Result<usize, StoreError> {
    let failed = |error| engine_error("a sweep", error, env);
    let unread = |error| match error {
        EditError::Engine(error) => failed(error),
        EditError::Damaged(error) => error,
    };
    let authors = Authors::load(env, tables, txn)?;
    let mut seen = 0;
    while seen < max {
        let Some((prefix, bytes)) = tables.litter.first(txn).map_err(failed)? else {
            break;
        };
        let prefix = prefix.to_vec();
        let row = open::<LitterRow>(&prefix, bytes)?;
        let (entry, after) = (row.key.get().to_vec(), row.after.get().to_vec());
        let births = alive_births(env, tables, txn, &prefix, &entry)?;
        let alive = Alive::of(&births, |number| Ok(authors.get(number)))?;
        let mut last = None;
        let mut unneeded = Vec::new();
        let stored = edits::read(tables.edits, txn, &prefix, &after).map_err(unread)?;
        for edit in stored.take(max - seen) {
            let edit = edit.map_err(unread)?;
            if !alive.needs(&edit) {
                unneeded.push(edit.key.to_vec());
            }
            last = Some(edit.key.to_vec());
            seen += 1;
        }
        for key in unneeded {
            tables.edits.delete(txn, &key).map_err(failed)?;
            tables.edits_seen.delete(txn, &key).map_err(failed)?;
        }
        match last {
            Some(last) if seen == max => {
                let row = LitterRow {
                    key: &entry,
                    after: &last,
                };
                let mut record = Vec::new();
                seal(&mut record, &prefix, &row);
                tables.litter.put(txn, &prefix, &record).map_err(failed)?;
            }
            _ => {
                tables.litter.delete(txn, &prefix).map_err(failed)?;
                // It was made of edits that are gone, or will be made again.
                seen += saved::drop_all(txn, tables, &prefix).map_err(failed)?;
                // The record itself was looked at.
                seen += 1;
            }
        }
    }
    Ok(seen.min(max))
}

/// The births of the sequence whose edits begin with `prefix`.
pub(crate) fn alive_births(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &RwTxn<'_>,
    prefix: &[u8],
    key: &[u8],
) -> Result<Vec<Dot>, StoreError> {
    let corrupt = |why| StoreError::corrupt("record of removed edits", prefix, why);
    let (slot, space, _) =
        layout::split_entry(prefix).ok_or_else(|| corrupt("its space is unknown"))?;
    let kind = prefix.last().copied().and_then(EntryKind::from_number);
    let kind = kind.ok_or_else(|| corrupt("its kind is unknown"))?;
    let mut full = Vec::new();
    layout::entry_key(&mut full, slot, space, key);
    let found = tables.entries.get(txn, &full);
    let found = found.map_err(|error| engine_error("a sweep", error, env))?;
    let Some(Stored::Sections(state)) = found.map(|bytes| read_entry(&full, bytes)).transpose()?
    else {
        return Ok(Vec::new());
    };
    Ok(match kind {
        EntryKind::List => state.list.births,
        _ => state.text.births,
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
