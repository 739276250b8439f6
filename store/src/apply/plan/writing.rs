//! Writing what was worked out for a delta: entries, the edits of lists and texts, and the words left
//! for those who come later, the saver, the packer and the sweep. Nothing is decided here.

use bytes::Bytes;

use super::{Incoming, Plan, PlannedEntry, PlannedWrite};
use crate::apply::{Pass, Stop};
use crate::attachment::{self, Attachment};
use crate::delta::{OpView, WriteView};
use crate::entry::{EntryKind, Space};
use crate::ids::ContextSlot;
use crate::layout;
use crate::record::{EntryRow, LitterRow, seal, seal_edit, seal_edit_seen};
use crate::saved::SequenceName;
use crate::version::VersionVector;

/// Lists and texts that are noted as due to be saved between two batches. One more is
/// saved when it has grown again.
const DUE_MAX: usize = 64;

impl Pass<'_> {
    /// Writes the entry of one write, and what it means for its edits.
    pub(in crate::apply) fn write_entry(
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
            PlannedEntry::Kept => return Ok(()),
            PlannedEntry::Gone => None,
            PlannedEntry::Written => Some(EntryRow::value(incoming.dot, op.write.payload())),
            PlannedEntry::Other(dot, range) => {
                Some(EntryRow::value(*dot, &plan.arena[range.clone()]))
            }
            PlannedEntry::Sections(range) => Some(EntryRow::sections(&plan.arena[range.clone()])),
        };
        self.beside += usize::from(self.written_before.note(key));
        let entries = self.tables.entries;
        let written = match row {
            Some(row) => {
                seal(record, key, &row);
                entries.put(&mut self.txn, key, record)
            }
            None => entries.delete(&mut self.txn, key).map(drop),
        };
        written.map_err(|error| self.stop(error))?;
        if op.space == Space::Attached {
            let is_attached = !matches!(planned.entry, PlannedEntry::Gone);
            self.note_attachment(slot, op, is_attached)?;
        }
        for kind in &planned.dropped {
            self.note_litter(slot, *kind, op)?;
        }
        let Some(kind) = planned.appended else {
            return Ok(());
        };
        if planned.is_due && self.due.len() < DUE_MAX {
            self.due.push(SequenceName {
                slot,
                space: op.space,
                key: Bytes::copy_from_slice(op.key),
                kind,
            });
        }
        if planned.is_packable {
            let mut prefix = Vec::new();
            layout::edits_prefix(&mut prefix, slot, op.space, op.key, kind);
            self.note_packable(&prefix);
        }
        self.write_edit(incoming, kind, op, &planned.seen)
    }

    fn note_attachment(
        &mut self,
        slot: ContextSlot,
        op: &OpView<'_>,
        is_attached: bool,
    ) -> Result<(), Stop> {
        let attachment = Attachment::from_key(op.key).expect("bounds and deltas are checked");
        let record = &mut self.buffers.record;
        let noted = attachment::note(
            self.tables,
            &mut self.txn,
            record,
            slot,
            attachment,
            is_attached,
        );
        self.writes += 2;
        noted.map_err(|failure| match failure {
            attachment::Failure::Engine(error) => self.stop(error),
            attachment::Failure::Store(error) => Stop::Fail(error),
        })
    }

    fn write_edit(
        &mut self,
        incoming: &Incoming,
        kind: EntryKind,
        op: &OpView<'_>,
        seen: &VersionVector,
    ) -> Result<(), Stop> {
        let WriteView::Edit { births, update, .. } = op.write else {
            unreachable!("only an edit appends one");
        };
        let key = &mut self.buffers.key;
        layout::edits_prefix(key, incoming.slot, op.space, op.key, kind);
        key.extend_from_slice(&layout::edit_suffix(incoming.dot));
        let has_seen = !seen.pairs().is_empty();
        seal_edit(&mut self.buffers.record, key, births, update, has_seen);
        let put = self
            .tables
            .edits
            .put(&mut self.txn, key, &self.buffers.record);
        self.writes += 1;
        put.map_err(|error| self.stop(error))?;
        if !has_seen {
            return Ok(());
        }
        let (key, record) = (&self.buffers.key, &mut self.buffers.record);
        seal_edit_seen(record, key, seen);
        let put = self.tables.edits_seen.put(&mut self.txn, key, record);
        self.writes += 1;
        self.added_bytes += record.len() as u64;
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
        let row = LitterRow {
            key: op.key,
            after: &[],
        };
        seal(&mut self.buffers.record, key, &row);
        self.has_litter = true;
        self.writes += 1;
        let put = self
            .tables
            .litter
            .put(&mut self.txn, key, &self.buffers.record);
        put.map_err(|error| self.stop(error))
    }
}
