//! What happens to the edits of a list or text that was removed, and to a deleted context: deletion only takes its record and head
//! and leaves a grave; the sweep then drops entries, events and log records a
//! bounded number at a time, so that a context of a million entries never
//! holds up a commit. It runs on the shard's commit thread between batches, and rides along with the transaction that is open, as
//! the collector does: it is in no journal, so what a crash undoes is done again.
//!
//! Nothing that the journal is replayed on depends on it. Of a deleted context the journal has nothing, as a
//! deletion is a checkpoint; edits of what was removed are passed over by whoever reads them, swept or not. Deltas from
//! before a context was shared are needed by those that follow them: see `backlog.rs`.
//!
//! Between two records a step looks whether it is to end (`crate::step`). The most that is done in between is to drop
//! one record, however large, or what was saved of one list or text, a record a mebibyte.
//! What it does to the rest of the transaction is in `apply/sweep.rs`. Start at [`Sweep::go_on`].

use std::ops::Bound;

use heed::{Env, RwTxn, WithoutTls};

use crate::attachment::{self, Attachment};
use crate::authors::Authors;
use crate::edits::{self, Alive, EditError};
use crate::entry::{EntryKind, Space, Stored};
use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::layout::{self, PAGE_BYTES, Table, Tables, position_key, slot_key, slot_of, space_key};
use crate::ledger::engine_error;
use crate::packs::{PackView, Packing};
use crate::record::{GraveRow, LitterRow, Logged, open, read_entry, seal};
use crate::saved;
use crate::step::Budget;
use crate::version::Dot;

/// Of the bytes of records that lie side by side, a page has at least so many.
const PAGE_BYTES_LEAST: u64 = PAGE_BYTES / 4;

/// Edits that are read before those of them go that are not needed: between two looks at the clock.
const EDITS_TOGETHER: u64 = 16;

/// What it costs to see that nothing is left of a deleted context, in records.
const GRAVE_ROWS: u64 = 8;

/// What a step of the sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// Records dropped, or looked at.
    pub records: usize,
    /// Bytes that these have.
    pub bytes: u64,
    /// Whether more are left to drop.
    pub is_more: bool,
    /// Whether a checkpoint is to be made before the next step, which no step makes itself: what
    /// was done since the last one is as much as one may bring in, or has no more room.
    pub is_checkpoint_due: bool,
    /// What could not be swept, as a record is damaged, and in which slot. It stays until
    /// somebody has looked into it.
    pub damaged: Vec<(Option<ContextSlot>, StoreError)>,
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

/// A step, in a transaction with everything that was done before.
pub(crate) struct Sweep<'s, 'e> {
    pub(crate) env: &'e Env<WithoutTls>,
    pub(crate) tables: Tables,
    pub(crate) txn: &'s mut RwTxn<'e>,
    pub(crate) authors: &'s Authors,
    pub(crate) budget: &'s Budget<'s>,
    pub(crate) done: Done,
}

/// What a step has come to.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) swept: Swept,
    /// What it has done so far of what one may do, in records.
    rows: u64,
    /// Pages of the tables that were written to, at most, but for what is large.
    pub(crate) pages: u64,
    /// Bytes of records that were put.
    pub(crate) put_bytes: u64,
    /// Contexts of which deltas were entered.
    pub(crate) entered: Vec<ContextSlot>,
}

impl Done {
    /// Counts a record that was dropped or looked at, and lies where nothing else was touched.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.swept.records += 1;
        self.rows += 1;
        self.swept.bytes += bytes as u64;
        self.pages += 1;
    }

    /// The same of records that lie side by side.
    fn count_run(&mut self, records: u64, bytes: u64, on_pages_bytes: u64) {
        self.swept.records += usize::try_from(records).unwrap_or(usize::MAX);
        self.swept.bytes += bytes;
        self.rows += records;
        if records > 0 {
            self.pages += 2 + on_pages_bytes / PAGE_BYTES_LEAST;
        }
    }

    /// Counts a record that was put.
    pub(crate) fn count_put(&mut self, bytes: usize) {
        self.put_bytes += bytes as u64;
        self.pages += 1;
    }
}

impl Sweep<'_, '_> {
    /// Drops what deleted contexts and removed sequences have left, and enters backlogs, within
    /// the budget. What is damaged is reported and passed over: it holds up nothing of
    /// others. Nothing is swept of a context that is out of service.
    pub(crate) fn go_on(
        mut self,
        pruned: &dyn Fn(ContextSlot) -> Option<u64>,
    ) -> Result<Done, StoreError> {
        let is_done = [
            self.drop_graves()?,
            self.drop_litter()?,
            self.enter_backlogs(pruned)?,
        ];
        self.done.swept.is_more = is_done.contains(&false);
        Ok(self.done)
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.budget.is_spent(self.done.rows, self.done.swept.bytes)
    }

    /// Counts a record that is passed over.
    pub(crate) fn note_damaged(&mut self) {
        self.done.rows += 1;
    }

    pub(crate) fn failed(&self, error: heed::Error) -> StoreError {
        engine_error("a sweep", error, self.env)
    }

    /// Drops records of deleted contexts. Whether none are left.
    fn drop_graves(&mut self) -> Result<bool, StoreError> {
        let mut rows = Rows {
            is_of_graves: true,
            ..Rows::of(self.env, self.tables, self.tables.graves)
        };
        while let Some((key, record)) = rows.first(self.txn)? {
            if self.is_spent() {
                return Ok(false);
            }
            let malformed =
                || StoreError::corrupt("grave record", &key, "its key is not 8 bytes long");
            let slot = layout::read_u64(&key).map(ContextSlot::new);
            let grave = slot.ok_or_else(malformed).and_then(|slot| {
                let row = open::<GraveRow>(&key, &record)?;
                Ok(Grave {
                    slot,
                    context: row.context,
                    log_last: row.log_last.to_native(),
                    log_pruned: row.log_pruned.to_native(),
                })
            });
            match grave {
                Ok(grave) => self.drop_grave(&key, grave)?,
                // Nobody knows for certain whose it is, so nothing goes before a scrub has found that
                // it is nobody's.
                Err(error) => {
                    self.note_damaged();
                    rows.pass_over(key, error, &mut self.done.swept.damaged)?;
                }
            }
        }
        Ok(true)
    }

    /// The same of one, and the grave behind all else.
    fn drop_grave(&mut self, key: &[u8], mut grave: Grave) -> Result<(), StoreError> {
        let (tables, slot) = (self.tables, grave.slot);
        self.drop_attachments(slot)?;
        let tables_of_spaces = [
            tables.entries,
            tables.edits,
            tables.edits_seen,
            tables.packs,
            tables.litter,
            tables.saved,
        ];
        for table in tables_of_spaces {
            for space in Space::ALL {
                self.drop_prefix(table, &space_key(slot, space))?;
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
            self.drop_prefix(table, &slot_key(slot))?;
        }
        self.drop_log(&mut grave)?;
        if !self.is_spent() {
            // Then each of these ran to its end.
            let deleted = tables.graves.delete(self.txn, key);
            deleted.map_err(|error| self.failed(error))?;
            self.done.rows += GRAVE_ROWS;
            self.done.pages += 1;
            return Ok(());
        }
        let row = GraveRow {
            context: grave.context,
            log_last: grave.log_last,
            log_pruned: grave.log_pruned,
        };
        let mut record = Vec::new();
        seal(&mut record, key, &row);
        self.done.count_put(record.len());
        let put = tables.graves.put(self.txn, key, &record);
        put.map_err(|error| self.failed(error))
    }

    /// Drops deltas, the newest first.
    fn drop_log(&mut self, grave: &mut Grave) -> Result<(), StoreError> {
        let table = self.tables.log;
        while grave.log_last != 0 && !self.is_spent() {
            let key = position_key(grave.log_last);
            let found = table.get(self.txn, &key);
            let found = found.map_err(|error| self.failed(error))?;
            let bytes = found.map_or(0, <[u8]>::len);
            let missing = || StoreError::corrupt("log record", &key, "it is missing");
            let read = |bytes| Ok(Logged::read(&key, bytes)?.previous);
            grave.log_last = match found.ok_or_else(missing).and_then(read) {
                Ok(previous) => previous,
                Err(_) if found.is_none() && grave.log_last <= grave.log_pruned => 0,
                // There is no way to those before it: a scrub finds them, which are nobody's.
                Err(damage) => {
                    self.done.swept.damaged.push((Some(grave.slot), damage));
                    0
                }
            };
            let deleted = table.delete(self.txn, &key);
            if deleted.map_err(|error| self.failed(error))? {
                self.done.count(bytes);
            }
        }
        Ok(())
    }

    /// Drops attachments of a deleted context, and what was noted of them.
    /// Its entries go key by key with those, so that none is forgotten.
    fn drop_attachments(&mut self, slot: ContextSlot) -> Result<(), StoreError> {
        let tables = self.tables;
        let prefix = space_key(slot, Space::Attached);
        let mut record = Vec::new();
        while !self.is_spent() {
            let mut rows = match tables.entries.prefix_iter(self.txn, &prefix) {
                Ok(rows) => rows,
                Err(error) => return Err(self.failed(error)),
            };
            let first = rows.next().transpose();
            let first = first.map_err(|error| engine_error("a sweep", error, self.env))?;
            let Some((key, bytes)) = first.map(|(key, row)| (key.to_vec(), key.len() + row.len()))
            else {
                break;
            };
            drop(rows);
            let deleted = tables.entries.delete(self.txn, &key);
            deleted.map_err(|error| self.failed(error))?;
            if let Some(attachment) = Attachment::from_key(&key[prefix.len()..]) {
                let forgot = attachment::forget(tables, self.txn, &mut record, slot, attachment);
                forgot.map_err(|error| self.failed(error))?;
                self.done.count_put(record.len());
            }
            self.done.count(bytes);
        }
        Ok(())
    }

    /// Drops records whose keys begin with `prefix`.
    fn drop_prefix(&mut self, table: Table, prefix: &[u8]) -> Result<(), StoreError> {
        let failed = |error| engine_error("a sweep", error, self.env);
        if self.is_spent() {
            return Ok(());
        }
        let (so_far, so_far_bytes) = (self.done.rows, self.done.swept.bytes);
        let (mut records, mut bytes, mut on_pages_bytes) = (0, 0, 0);
        let mut rows = table.prefix_iter_mut(self.txn, prefix).map_err(failed)?;
        while !(self.budget).is_spent(so_far + records, so_far_bytes + bytes) {
            let Some((key, row)) = rows.next().transpose().map_err(failed)? else {
                break;
            };
            let row_bytes = (key.len() + row.len()) as u64;
            // SAFETY: `del_current` forbids holding a reference into the table
            // while it changes; those from `next` are used no more.
            #[allow(unsafe_code)]
            unsafe {
                rows.del_current().map_err(failed)?;
            }
            records += 1;
            bytes += row_bytes;
            // What is large has pages of its own, which are not written.
            on_pages_bytes += row_bytes.min(PAGE_BYTES / 2);
        }
        drop(rows);
        self.done.count_run(records, bytes, on_pages_bytes);
        Ok(())
    }

    /// Looks through edits of sequences that were removed, and drops those that
    /// no sequence has any more. Whether none are left.
    fn drop_litter(&mut self) -> Result<bool, StoreError> {
        let mut rows = Rows::of(self.env, self.tables, self.tables.litter);
        while let Some((prefix, record)) = rows.first(self.txn)? {
            if self.is_spent() {
                return Ok(false);
            }
            if let Err(error) = self.drop_litter_of(&prefix, &record) {
                self.note_damaged();
                rows.pass_over(prefix, error, &mut self.done.swept.damaged)?;
            }
        }
        Ok(true)
    }

    /// The same of one sequence. Reads before it drops anything.
    fn drop_litter_of(&mut self, prefix: &[u8], record: &[u8]) -> Result<(), StoreError> {
        let (env, tables) = (self.env, self.tables);
        let failed = |error| engine_error("a sweep", error, env);
        let unread = |error| match error {
            EditError::Engine(error) => failed(error),
            EditError::Damaged(error) => error,
        };
        check_litter(prefix, record)?;
        let row = open::<LitterRow>(prefix, record)?;
        let (entry, after) = (row.key.get(), row.after.get());
        let births = alive_births(env, tables, self.txn, prefix, entry)?;
        let alive = Alive::of(&births, |number| Ok(self.authors.get(number)))?;
        let (so_far, so_far_bytes) = (self.done.rows, self.done.swept.bytes);
        let (mut seen, mut bytes) = (0, 0);
        let mut last = None;
        let (mut unneeded, mut packs) = (Vec::new(), Vec::new());
        let mut is_at_end = true;
        let stored = edits::read(&tables, self.txn, prefix, after).map_err(unread)?;
        for edit in stored {
            let edit = edit.map_err(unread)?;
            match (edit.key(), edit.pack()) {
                (Some(key), _) if !alive.needs(&edit) => unneeded.push(key.to_vec()),
                // It was gone through before if a step begins further on in it.
                (_, Some(pack)) if pack.next_dot() == Some(edit.dot) => {
                    seen += pack.len() as u64;
                    let left = repacked(pack, &alive, prefix);
                    packs.extend(left.map(|left| (pack.key.to_vec(), left)));
                }
                _ => {}
            }
            let suffix = layout::edit_suffix(edit.dot);
            last = Some([prefix, &suffix].concat());
            seen += 1;
            bytes += edit.stored_bytes;
            let is_spent = (self.budget).is_spent(so_far + seen, so_far_bytes + bytes);
            if is_spent || seen >= EDITS_TOGETHER {
                is_at_end = false;
                break;
            }
        }
        for key in unneeded {
            tables.edits.delete(self.txn, &key).map_err(failed)?;
            tables.edits_seen.delete(self.txn, &key).map_err(failed)?;
        }
        for (key, left) in packs {
            tables.packs.delete(self.txn, &key).map_err(failed)?;
            if let Some((key, record)) = left {
                self.done.count_put(record.len());
                tables.packs.put(self.txn, &key, &record).map_err(failed)?;
            }
        }
        // An edit and what it had seen lie at two places.
        self.done.count_run(seen, bytes, 2 * bytes);
        match last {
            Some(last) if !is_at_end => {
                let row = LitterRow {
                    key: entry,
                    after: &last,
                };
                let mut record = Vec::new();
                seal(&mut record, prefix, &row);
                self.done.count_put(record.len());
                tables.litter.put(self.txn, prefix, &record).map_err(failed)
            }
            _ => {
                tables.litter.delete(self.txn, prefix).map_err(failed)?;
                // It was made of edits that are gone, or will be made again.
                let dropped = saved::drop_all(self.txn, tables, prefix).map_err(failed)?;
                // The record itself was looked at.
                for _ in 0..=dropped {
                    self.done.count(0);
                }
                Ok(())
            }
        }
    }
}

/// A deleted context, and what is left of its log.
struct Grave {
    slot: ContextSlot,
    context: [u8; 32],
    log_last: u64,
    log_pruned: u64,
}

/// What stays of a pack: its key and record, or none if nothing does. `None` if all of it stays. It is
/// gone through as a whole, with its first edit.
fn repacked(
    pack: &PackView<'_>,
    alive: &Alive,
    prefix: &[u8],
) -> Option<Option<(Vec<u8>, Vec<u8>)>> {
    let mut stays = Packing::default();
    let mut count = 0;
    for edit in edits::of_pack(pack) {
        if alive.needs(&edit)
            && edit
                .packed_seen()
                .is_some_and(|seen| stays.add(&edit, seen))
        {
            count += 1;
        }
    }
    let mut record = Vec::new();
    let left = || stays.seal(prefix, &mut record).map(|key| (key, record));
    (count < pack.len()).then(left)
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
