//! What happens to the edits of a list or text that was removed, and to a deleted context: deletion only takes its record and head
//! and leaves a grave; the sweep then drops entries, events and log records a
//! bounded number at a time, so that a context of a million entries never
//! holds up a commit. Runs on the commit thread between batches.

use std::ops::Bound;

use heed::{Env, RwTxn, WithoutTls};

use crate::attachment::{self, Attachment};
use crate::authors::Authors;
use crate::backlog;
use crate::edits::{self, Alive, EditError};
use crate::entry::{EntryKind, Space, Stored};
use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::layout::{self, Table, Tables, position_key, slot_key, slot_of, space_key};
use crate::ledger::{commit_error, engine_error};
use crate::record::{GraveRow, LitterRow, Logged, open, read_entry, seal};
use crate::saved;
use crate::version::Dot;

/// What a sweep did.
#[derive(Debug)]
pub struct Swept {
    /// Records dropped.
    pub records: usize,
    /// Whether more are left to drop.
    pub is_more: bool,
    /// What could not be swept, as a record is damaged, and in which slot. It stays until
    /// somebody has looked into it.
    pub damaged: Vec<(Option<ContextSlot>, StoreError)>,
}

/// What a sweep of one of its tables has come to.
pub(crate) struct Part {
    /// Records dropped, or looked at.
    pub(crate) records: usize,
    /// Whether nothing is left but what is passed over.
    pub(crate) is_done: bool,
}

/// One of the tables that say what is to be swept, and where in it a sweep is.
pub(crate) struct Rows<'e> {
    env: &'e Env<WithoutTls>,
    tables: Tables,
    table: Table,
    /// Then nobody looks into what is damaged any more.
    is_of_graves: bool,
    start: Vec<u8>,
}

impl<'e> Rows<'e> {
    pub(crate) fn of(env: &'e Env<WithoutTls>, tables: Tables, table: Table) -> Rows<'e> {
        Rows {
            env,
            tables,
            table,
            is_of_graves: false,
            start: Vec::new(),
        }
    }

    /// The first that is not passed over.
    pub(crate) fn first(
        &mut self,
        txn: &RwTxn<'_>,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>, StoreError> {
        let failed = |error| engine_error("a sweep", error, self.env);
        loop {
            let start = match &self.start[..] {
                [] => Bound::Unbounded,
                start => Bound::Included(start),
            };
            let mut rows = (self.table)
                .range(txn, &(start, Bound::Unbounded))
                .map_err(failed)?;
            let Some((key, record)) = rows.next().transpose().map_err(failed)? else {
                return Ok(None);
            };
            let quarantine = slot_of(key).map(slot_key);
            let quarantine = quarantine.map(|slot| self.tables.quarantine.get(txn, &slot));
            let is_quarantined = quarantine.transpose().map_err(failed)?.flatten().is_some();
            if !is_quarantined || self.is_of_graves {
                return Ok(Some((key.to_vec(), record.to_vec())));
            }
            let (slot, _) = key.split_at(size_of::<u64>());
            let mut start = slot.to_vec();
            layout::successor(&mut start);
            self.start = start;
        }
    }

    /// From now on the row with this key is passed over, as it is damaged or leads to something
    /// that is; any other failure ends the sweep.
    pub(crate) fn pass_over(
        &mut self,
        mut key: Vec<u8>,
        why: StoreError,
        damaged: &mut Damaged,
    ) -> Result<(), StoreError> {
        match why {
            damage @ StoreError::Corrupt { .. } => damaged.push((slot_of(&key), damage)),
            failure => return Err(failure),
        }
        key.push(0);
        self.start = key;
        Ok(())
    }
}

/// What a sweep could not read, and in which slot.
pub(crate) type Damaged = Vec<(Option<ContextSlot>, StoreError)>;

/// See `LedgerWriter::sweep`. What is damaged is reported and passed over: it holds up nothing of
/// others. Nothing is swept of a context that is out of service.
pub(crate) fn sweep(
    env: &Env<WithoutTls>,
    tables: Tables,
    records_max: usize,
) -> Result<Swept, StoreError> {
    let failed = |error| engine_error("a sweep", error, env);
    let mut txn = env.write_txn().map_err(failed)?;
    let mut left = records_max.max(1);
    let mut swept = Swept {
        records: 0,
        is_more: false,
        damaged: Vec::new(),
    };
    type Sweep = fn(
        &Env<WithoutTls>,
        Tables,
        &mut RwTxn<'_>,
        usize,
        &mut Damaged,
    ) -> Result<Part, StoreError>;
    let parts: [Sweep; 3] = [sweep_graves, drop_litter, backlog::enter];
    for sweep in parts {
        let part = sweep(env, tables, &mut txn, left, &mut swept.damaged)?;
        left -= part.records;
        swept.is_more |= !part.is_done;
        swept.records += part.records;
    }
    txn.commit().map_err(|error| commit_error(error, env))?;
    Ok(swept)
}

/// Drops up to `max` records of deleted contexts.
fn sweep_graves(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &mut RwTxn<'_>,
    max: usize,
    damaged: &mut Damaged,
) -> Result<Part, StoreError> {
    let failed = |error| engine_error("a sweep", error, env);
    let mut left = max;
    let mut rows = Rows {
        is_of_graves: true,
        ..Rows::of(env, tables, tables.graves)
    };
    while let Some((key, record)) = rows.first(txn)? {
        if left == 0 {
            return Ok(Part {
                records: max,
                is_done: false,
            });
        }
        let malformed = || StoreError::corrupt("grave record", &key, "its key is not 8 bytes long");
        let slot = layout::read_u64(&key).map(ContextSlot::new);
        let grave = slot.ok_or_else(malformed).and_then(|slot| {
            let grave = open::<GraveRow>(&key, &record)?;
            Ok((
                slot,
                grave.context,
                grave.log_last.to_native(),
                grave.log_pruned.to_native(),
            ))
        });
        let (slot, context, mut log_last, log_pruned) = match grave {
            Ok(grave) => grave,
            // Nobody knows for certain whose it is, so nothing goes before a scrub has found that
            // it is nobody's.
            Err(error) => {
                rows.pass_over(key, error, damaged)?;
                continue;
            }
        };
        left -= drop_attachments(env, tables, txn, slot, left)?;
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
                left -= drop_prefix(txn, table, &prefix, left).map_err(failed)?;
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
            left -= drop_prefix(txn, table, &slot_key(slot), left).map_err(failed)?;
        }
        while left > 0 && log_last != 0 {
            let key = position_key(log_last);
            let found = tables.log.get(txn, &key).map_err(failed)?;
            let missing = || StoreError::corrupt("log record", &key, "it is missing");
            let previous = match found
                .ok_or_else(missing)
                .and_then(|bytes| Ok(Logged::read(&key, bytes)?.previous))
            {
                Ok(previous) => previous,
                Err(_) if found.is_none() && log_last <= log_pruned => 0,
                // There is no way to those before it: a scrub finds them, which are nobody's.
                Err(damage) => {
                    damaged.push((Some(slot), damage));
                    0
                }
            };
            log_last = previous;
            if tables.log.delete(txn, &key).map_err(failed)? {
                left -= 1;
            }
        }
        // With budget left over, every loop above ran to its end.
        if left > 0 {
            tables.graves.delete(txn, &key).map_err(failed)?;
            continue;
        }
        let row = GraveRow {
            context,
            log_last,
            log_pruned,
        };
        let mut scratch = Vec::new();
        seal(&mut scratch, &key, &row);
        tables.graves.put(txn, &key, &scratch).map_err(failed)?;
    }
    Ok(Part {
        records: max - left,
        is_done: true,
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
        if let Some(attachment) = Attachment::from_key(&key[prefix.len()..]) {
            attachment::forget(tables, txn, &mut record, slot, attachment).map_err(failed)?;
        }
    }
    Ok(keys.len())
}

/// Looks through up to `max` edits of sequences that were removed, and drops those that
/// no sequence has any more.
fn drop_litter(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &mut RwTxn<'_>,
    max: usize,
    damaged: &mut Damaged,
) -> Result<Part, StoreError> {
    let mut rows = Rows::of(env, tables, tables.litter);
    let mut authors = None;
    let mut seen = 0;
    while let Some((prefix, record)) = rows.first(txn)? {
        if seen >= max {
            return Ok(Part {
                records: max,
                is_done: false,
            });
        }
        if authors.is_none() {
            authors = Some(Authors::load(env, tables, txn)?);
        }
        let authors = authors.as_ref().expect("they were read above");
        match drop_litter_of(env, tables, txn, authors, (&prefix, &record), max - seen) {
            Ok(records) => seen += records,
            Err(error) => rows.pass_over(prefix, error, damaged)?,
        }
    }
    Ok(Part {
        records: seen.min(max),
        is_done: true,
    })
}

/// The same of one sequence. Reads before it drops anything.
fn drop_litter_of(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &mut RwTxn<'_>,
    authors: &Authors,
    (prefix, record): (&[u8], &[u8]),
    max: usize,
) -> Result<usize, StoreError> {
    let failed = |error| engine_error("a sweep", error, env);
    let unread = |error| match error {
        EditError::Engine(error) => failed(error),
        EditError::Damaged(error) => error,
    };
    check_litter(prefix, record)?;
    let row = open::<LitterRow>(prefix, record)?;
    let (entry, after) = (row.key.get(), row.after.get());
    let births = alive_births(env, tables, txn, prefix, entry)?;
    let alive = Alive::of(&births, |number| Ok(authors.get(number)))?;
    let mut seen = 0;
    let mut last = None;
    let mut unneeded = Vec::new();
    let stored = edits::read(tables.edits, txn, prefix, after).map_err(unread)?;
    for edit in stored.take(max) {
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
                key: entry,
                after: &last,
            };
            let mut record = Vec::new();
            seal(&mut record, prefix, &row);
            tables.litter.put(txn, prefix, &record).map_err(failed)?;
        }
        _ => {
            tables.litter.delete(txn, prefix).map_err(failed)?;
            // It was made of edits that are gone, or will be made again.
            seen += saved::drop_all(txn, tables, prefix).map_err(failed)?;
            // The record itself was looked at.
            seen += 1;
        }
    }
    Ok(seen)
}

/// Whether a record of removed edits is of those under its key.
pub(crate) fn check_litter(key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
    let row = open::<LitterRow>(key, bytes)?;
    match layout::is_prefix_of(key, row.key.get()) {
        true => Ok(()),
        false => {
            let why = "it is of another list or text than its key says";
            Err(StoreError::corrupt("record of removed edits", key, why))
        }
    }
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
