//! Working out what a delta's writes lead to: entries with what they become, the
//! root, and how many entries and bytes the context has then. Reads only, so that a
//! delta that is refused has left nothing. Writing what was worked out is here as well,
//! so that both sides of an entry stand beside each other.

use std::ops::Range;

use super::{Pass, Stop, before_writing};
use crate::authors::Authors;
use crate::change::Birth;
use crate::delta::{OpView, WriteView};
use crate::entry::{
    Effect, EntryDigest, EntryKind, SequenceState, Space, State, Stored, Value, append, merge,
};
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, NodeId};
use crate::layout::{self, slot_key};
use crate::record::{EditRow, EntryRow, Head, LitterRow, open, read_entry, seal};
use crate::root::RootSum;
use crate::version::{Dot, Past};

/// Whose writes are worked out.
pub(super) struct Incoming {
    pub(super) slot: ContextSlot,
    pub(super) dot: Dot,
}

/// What a delta will leave behind, as far as reading can tell.
#[derive(Default)]
pub(super) struct Plan {
    root: RootSum,
    entries: u64,
    bytes: u64,
    /// One for each write.
    pub(super) writes: Vec<PlannedWrite>,
    /// Bytes of entries that are not those of their write.
    arena: Vec<u8>,
}

/// What becomes of the entry of a write.
pub(super) struct PlannedWrite {
    entry: PlannedEntry,
    /// See [`crate::entry::Merged`].
    dropped: Vec<EntryKind>,
    appended: Option<EntryKind>,
    /// Whether it adds to a counter in which its author has no cell.
    pub(super) is_new_cell: bool,
}

enum PlannedEntry {
    /// Nothing is left, or nothing was there.
    Gone,
    /// A register with the value that is written.
    Written,
    /// A register with another value, which lies in the arena.
    Other(Dot, Range<usize>),
    /// Sections, which lie in the arena.
    Sections(Range<usize>),
}

impl Plan {
    /// Brings what it has worked out into the head.
    pub(super) fn leave(&self, head: &mut Head) {
        head.root = self.root.root();
        head.entries = self.entries;
        head.bytes = self.bytes;
    }

    pub(super) fn root(&self) -> crate::ids::Root {
        self.root.root()
    }

    /// Puts an entry among what there is.
    fn add(
        &mut self,
        slot: ContextSlot,
        op: &OpView<'_>,
        entry: &Stored<'_>,
        digests: &mut EntryDigest,
        authors: &Authors,
    ) -> Result<(), Stop> {
        if op.space.is_replicated() {
            let digest = digests.of(op.space, op.key, entry, authors);
            self.root.add(digest.map_err(|_| unknown_author(slot, op))?);
        }
        self.entries += u64::from(op.space == Space::Shared);
        self.bytes += op.key.len() as u64 + entry.bytes();
        Ok(())
    }

    /// Takes an entry away from what there is.
    fn subtract(
        &mut self,
        slot: ContextSlot,
        op: &OpView<'_>,
        entry: &Stored<'_>,
        digests: &mut EntryDigest,
        authors: &Authors,
    ) -> Result<(), Stop> {
        if op.space.is_replicated() {
            let digest = digests.of(op.space, op.key, entry, authors);
            self.root
                .subtract(digest.map_err(|_| unknown_author(slot, op))?);
        }
        let freed = op.key.len() as u64 + entry.bytes();
        let is_counted = u64::from(op.space == Space::Shared);
        let left = (self.entries.checked_sub(is_counted)).zip(self.bytes.checked_sub(freed));
        (self.entries, self.bytes) = left.ok_or_else(|| {
            let why = "it counts fewer entries or bytes than there are";
            before_writing(StoreError::corrupt("head record", &slot_key(slot), why))
        })?;
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        start..self.arena.len()
    }
}

impl Pass<'_> {
    pub(super) fn incoming(
        &mut self,
        slot: ContextSlot,
        author: NodeId,
        hlc: Hlc,
    ) -> Result<Incoming, Stop> {
        let author = self
            .authors
            .number(author, self.tables, &mut self.txn)
            .map_err(|error| self.stop(error))?;
        let dot = Dot { author, hlc };
        Ok(Incoming { slot, dot })
    }

    /// A plan that goes on from where the context stands.
    pub(super) fn begin_plan(&mut self, slot: ContextSlot) -> Plan {
        let mut plan = std::mem::take(&mut self.plan);
        let head = &self.heads[&slot].head;
        plan.root = RootSum::of(head.root);
        plan.entries = head.entries;
        plan.bytes = head.bytes;
        plan.writes.clear();
        plan.arena.clear();
        plan
    }

    /// Keeps its memory for the next one.
    pub(super) fn end_plan(&mut self, plan: Plan) {
        if plan.arena.capacity() <= super::BUFFER_BYTES_KEPT_MAX {
            self.plan = plan;
        }
    }

    /// Works out one write. `is_own` if it is one of this node, which must agree with
    /// what is there.
    pub(super) fn plan_write(
        &mut self,
        plan: &mut Plan,
        incoming: &Incoming,
        op: &OpView<'_>,
        past: Past<'_>,
        is_own: bool,
    ) -> Result<(), Stop> {
        let (slot, dot) = (incoming.slot, incoming.dot);
        layout::entry_key(&mut self.buffers.key, slot, op.space, op.key);
        let key = &self.buffers.key;
        let found = self.tables.entries.get(&self.txn, key);
        let found = found.map_err(|error| self.stop(error))?;
        let old = found
            .map(|bytes| read_entry(key, bytes))
            .transpose()
            .map_err(before_writing)?;
        let mut write = op.write;
        if is_own {
            agree(old.as_ref(), op)?;
            if let WriteView::Add { is_new_cell, .. } = &mut write {
                *is_new_cell = op.removes_first || !has_cell(old.as_ref(), dot.author);
            }
        }
        if let Some(old) = &old {
            plan.subtract(slot, op, old, &mut self.digests, &self.authors)?;
        }
        let births;
        let effect = match write {
            WriteView::Set(value) => Effect::Set(value),
            WriteView::Add {
                amount,
                is_new_cell,
            } => Effect::Add {
                amount,
                is_new_cell,
            },
            WriteView::Insert => Effect::Insert,
            WriteView::WriteOnce(value) => Effect::WriteOnce(value),
            WriteView::Edit {
                kind,
                births: named,
                update,
            } => {
                births = self.dots(named.iter());
                Effect::Edit {
                    kind,
                    births: &births,
                    update,
                }
            }
            WriteView::Remove => Effect::Remove,
        };
        let authors = &self.authors;
        let order = |a: u32, b: u32| authors.get(a).cmp(&authors.get(b));
        let mut merged = merge(old, op.removes_first, &effect, dot, past, order);
        if let (false, Some(Stored::Sections(state))) =
            (merged.dropped.is_empty(), &mut merged.entry)
        {
            self.link_anew(incoming, op, state, &merged.dropped)?;
        }
        let planned = match &merged.entry {
            None => PlannedEntry::Gone,
            Some(Stored::Value(value)) if value.dot == dot => PlannedEntry::Written,
            Some(Stored::Value(Value { dot, bytes })) => {
                PlannedEntry::Other(*dot, plan.keep(bytes))
            }
            Some(Stored::Sections(state)) => {
                let start = plan.arena.len();
                state.write(&mut plan.arena);
                PlannedEntry::Sections(start..plan.arena.len())
            }
        };
        if let Some(entry) = &merged.entry {
            plan.add(slot, op, entry, &mut self.digests, &self.authors)?;
        }
        plan.writes.push(PlannedWrite {
            entry: planned,
            dropped: merged.dropped,
            appended: merged.appended,
            is_new_cell: matches!(
                write,
                WriteView::Add {
                    is_new_cell: true,
                    ..
                }
            ),
        });
        Ok(())
    }

    /// Births as this ledger knows them. One of an author that it does not know is
    /// none of any sequence here.
    fn dots(&self, births: impl Iterator<Item = Birth>) -> Vec<Dot> {
        let dot = |birth: Birth| Dot {
            author: self.authors.find(birth.author).unwrap_or(u32::MAX),
            hlc: birth.hlc,
        };
        let mut dots: Vec<Dot> = births.map(dot).collect();
        dots.sort_unstable();
        dots
    }

    /// Works out the chains of sequences of which some births are gone and others
    /// are left, from the edits that stay.
    fn link_anew(
        &self,
        incoming: &Incoming,
        op: &OpView<'_>,
        state: &mut State<'_>,
        dropped: &[EntryKind],
    ) -> Result<(), Stop> {
        for kind in dropped {
            let sequence = match kind {
                EntryKind::List => &mut state.list,
                _ => &mut state.text,
            };
            if sequence.is_empty() {
                continue;
            }
            let mut anew = SequenceState {
                births: std::mem::take(&mut sequence.births),
                ..SequenceState::default()
            };
            let mut prefix = Vec::new();
            layout::edits_prefix(&mut prefix, incoming.slot, op.space, op.key, *kind);
            let rows = self.tables.edits.prefix_iter(&self.txn, &prefix);
            for row in rows.map_err(|error| self.stop(error))? {
                let (key, bytes) = row.map_err(|error| self.stop(error))?;
                let edit = open::<EditRow>(key, bytes).map_err(before_writing)?;
                let dot = layout::edit_dot(key).ok_or_else(|| {
                    before_writing(StoreError::corrupt("edit", key, "its key is too short"))
                })?;
                let births = edit.births.iter().map(Birth::of);
                if is_needed(&anew.births, dot, &self.dots(births)) {
                    append(&mut anew, dot, edit.update.get());
                }
            }
            // Its own edit has no record yet.
            if let WriteView::Edit {
                kind: own, update, ..
            } = op.write
                && own == *kind
                && sequence
                    .chains
                    .iter()
                    .any(|chain| chain.last == incoming.dot)
            {
                append(&mut anew, incoming.dot, update);
            }
            *sequence = anew;
        }
        Ok(())
    }

    /// Writes the entry of one write, and what it means for its edits.
    pub(super) fn write_entry(
        &mut self,
        incoming: &Incoming,
        plan: &Plan,
        planned: &PlannedWrite,
        op: &OpView<'_>,
    ) -> Result<(), Stop> {
        let slot = incoming.slot;
        layout::entry_key(&mut self.buffers.key, slot, op.space, op.key);
        let (key, record) = (&self.buffers.key, &mut self.buffers.record);
        let row = match &planned.entry {
            PlannedEntry::Gone => None,
            PlannedEntry::Written => Some(EntryRow::value(incoming.dot, op.write.payload())),
            PlannedEntry::Other(dot, range) => {
                Some(EntryRow::value(*dot, &plan.arena[range.clone()]))
            }
            PlannedEntry::Sections(range) => Some(EntryRow::sections(&plan.arena[range.clone()])),
        };
        let entries = self.tables.entries;
        let written = match row {
            Some(row) => {
                seal(record, key, &row);
                entries.put(&mut self.txn, key, record)
            }
            None => entries.delete(&mut self.txn, key).map(drop),
        };
        written.map_err(|error| self.stop(error))?;
        for kind in &planned.dropped {
            self.note_litter(slot, *kind, op)?;
        }
        match planned.appended {
            Some(kind) => self.write_edit(incoming, kind, op),
            None => Ok(()),
        }
    }

    fn write_edit(
        &mut self,
        incoming: &Incoming,
        kind: EntryKind,
        op: &OpView<'_>,
    ) -> Result<(), Stop> {
        let WriteView::Edit { births, update, .. } = op.write else {
            unreachable!("only an edit appends one");
        };
        let key = &mut self.buffers.key;
        layout::edits_prefix(key, incoming.slot, op.space, op.key, kind);
        key.extend_from_slice(&layout::edit_suffix(incoming.dot));
        let row = EditRow {
            births: births.as_slice(),
            update,
        };
        seal(&mut self.buffers.record, key, &row);
        let put = self
            .tables
            .edits
            .put(&mut self.txn, key, &self.buffers.record);
        self.writes += 1;
        put.map_err(|error| self.stop(error))
    }

    /// Leaves word for the sweep, as there may be too many edits to drop now.
    fn note_litter(
        &mut self,
        slot: ContextSlot,
        kind: EntryKind,
        op: &OpView<'_>,
    ) -> Result<(), Stop> {
        let key = &mut self.buffers.key;
        layout::edits_prefix(key, slot, op.space, op.key, kind);
        seal(&mut self.buffers.record, key, &LitterRow { key: op.key });
        let put = self
            .tables
            .litter
            .put(&mut self.txn, key, &self.buffers.record);
        put.map_err(|error| self.stop(error))
    }
}

/// Whether an edit of a sequence with these births is one of it, and not what a removal
/// has left.
pub(crate) fn is_needed(alive: &[Dot], dot: Dot, births: &[Dot]) -> bool {
    let is_alive = |birth: &Dot| alive.binary_search(birth).is_ok();
    match births {
        [] => is_alive(&dot),
        births => births.iter().all(is_alive),
    }
}

fn unknown_author(slot: ContextSlot, op: &OpView<'_>) -> Stop {
    let mut key = Vec::new();
    layout::entry_key(&mut key, slot, op.space, op.key);
    let why = "its author is unknown to the ledger";
    before_writing(StoreError::corrupt("entry", &key, why))
}

/// Refuses a write of this node that does not fit to the entry.
fn agree(found: Option<&Stored<'_>>, op: &OpView<'_>) -> Result<(), Refused> {
    let Some(found) = found.map(Stored::kind) else {
        return Ok(());
    };
    match op.write.kind().filter(|_| !op.removes_first) {
        Some(written) if written != found => Err(Refused::KindMismatch { found, written }),
        None if found == EntryKind::WriteOnce => Err(Refused::RemovedWriteOnce),
        _ => Ok(()),
    }
}

fn has_cell(entry: Option<&Stored<'_>>, author: u32) -> bool {
    match entry {
        Some(Stored::Sections(state)) => {
            state.counter.iter().any(|cell| cell.first.author == author)
        }
        Some(Stored::Value(_)) | None => false,
    }
}
