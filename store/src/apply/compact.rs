//! Compaction, a part of the collector: edits of lists and texts that lie by themselves go into packs
//! (`packs.rs`), the oldest first. It changes what they take, not what they say, so nobody else need
//! know or agree: it rides along with the transaction that is open, and what a crash undoes is done
//! again. The newest edits stay by themselves, as one that comes late has its place among them.

use std::ops::Bound;

use super::Pass;
use super::collect::Step;
use crate::edits::{EditError, StoredEdit};
use crate::error::StoreError;
use crate::layout::{self, slot_key};
use crate::packs::{PACK_EDITS_MAX, PACKED_RECORD_BYTES_MAX, Packing, is_small};
use crate::retention::Packs;
use crate::version::VersionVector;

/// Edits that are looked at to find those that are to be packed: others may be too large for that.
const LOOKED_AT_MAX: usize = 4 * PACK_EDITS_MAX;

/// If there are only so many among them they are packed all the same, so that it is gone on behind
/// them. With fewer, a sequence is left as it is from there on: large edits gain nothing.
const LEAST_AMONG_LARGE: usize = 16;

/// Sequences that are remembered because they have grown. More of them are found when all are
/// looked at.
const PACKABLE_MAX: usize = 256;

/// Behind the last byte of every key of a sequence's edits.
const BEHIND_EDITS: [u8; 13] = [0xff; 13];

/// Whether a sequence that has come to so many edits is worth a look.
pub(super) fn is_packable(edits: u64) -> bool {
    edits.is_multiple_of(PACK_EDITS_MAX as u64)
}

/// A pack that is about to be written, in the place of these edits.
struct Packed {
    keys: Vec<Vec<u8>>,
    key: Vec<u8>,
    record: Vec<u8>,
}

impl Pass<'_> {
    /// Remembers that a sequence has grown.
    pub(super) fn note_packable(&mut self, prefix: &[u8]) {
        let is_known = || self.packable.iter().any(|known| known == prefix);
        match self.packable.len() < PACKABLE_MAX {
            true if is_known() => {}
            true => self.packable.push_back(prefix.to_vec()),
            false => self.has_forgotten_packable = true,
        }
    }

    /// Packs what there is to pack of sequences that have grown, until the step is full.
    pub(super) fn pack_grown(&mut self, step: &mut Step<'_>) -> Result<(), StoreError> {
        while !step.is_full() {
            let Some(prefix) = self.packable.pop_front() else {
                break;
            };
            self.pack_some(&prefix, step)?;
        }
        Ok(())
    }

    /// The prefix of the first sequence with edits by themselves behind that with this one.
    pub(super) fn sequence_behind(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let behind = [prefix, &BEHIND_EDITS].concat();
        let start = match prefix {
            [] => Bound::Unbounded,
            _ => Bound::Excluded(&behind[..]),
        };
        let range = (start, Bound::Unbounded);
        let mut rows = self
            .tables
            .edits
            .range(&self.txn, &range)
            .map_err(|error| self.engine(error))?;
        let row = rows.next().transpose();
        let row = row.map_err(|error| self.engine(error))?;
        // A key that is too short is found by a scrub.
        Ok(row.map(|(key, _)| match key.split_last_chunk::<12>() {
            Some((prefix, _)) => prefix.to_vec(),
            None => key.to_vec(),
        }))
    }

    /// Puts the oldest edits of a sequence that lie behind its last pack into another, if there are
    /// enough. It is remembered if there may be more.
    pub(super) fn pack_some(
        &mut self,
        prefix: &[u8],
        step: &mut Step<'_>,
    ) -> Result<(), StoreError> {
        step.done.rows += 1;
        let Some((slot, ..)) = layout::split_entry(prefix) else {
            return Ok(());
        };
        // What is damaged stays as it is, so that it can be looked into; and a sweep goes first.
        let litter = self.tables.litter.get(&self.txn, prefix);
        let litter = litter.map_err(|error| self.engine(error))?;
        let head = self.tables.heads.get(&self.txn, &slot_key(slot));
        let head = head.map_err(|error| self.engine(error))?;
        let is_kept = self.heads.contains_key(&slot) || head.is_some();
        let is_left = self.is_quarantined(slot) || litter.is_some() || !is_kept;
        if is_left || !step.may_pack {
            return Ok(());
        }
        let packed = match self.plan_pack(prefix, step) {
            Ok(packed) => Ok(packed),
            Err(EditError::Damaged(error)) => Err(error),
            Err(EditError::Engine(error)) => return Err(self.engine(error)),
        };
        let Some(packed) = step.unless_damaged(slot, packed)?.flatten() else {
            return Ok(());
        };
        let (tables, txn) = (self.tables, &mut self.txn);
        let written = packed.keys.iter().try_for_each(|key| {
            tables.edits.delete(txn, key)?;
            tables.edits_seen.delete(txn, key).map(drop)
        });
        let written = written.and_then(|()| tables.packs.put(txn, &packed.key, &packed.record));
        written.map_err(|error| self.engine(error))?;
        // All but two are deleted from one place.
        self.writes += packed.keys.len() + 1;
        self.beside += packed.keys.len() - 1;
        self.added_bytes += packed.record.len() as u64;
        self.has_written = true;
        step.done.rows += packed.keys.len() as u64 + 1;
        step.done.edits_packed += packed.keys.len() as u64;
        self.note_packable(prefix);
        Ok(())
    }

    fn plan_pack(&self, prefix: &[u8], step: &mut Step<'_>) -> Result<Option<Packed>, EditError> {
        let Packs { alone, together } = step.retention.packs;
        let together = together.min(PACK_EDITS_MAX);
        let behind = [prefix, &BEHIND_EDITS].concat();
        let range = (Bound::Included(prefix), Bound::Excluded(&behind[..]));
        let packs = self.tables.packs.rev_range(&self.txn, &range);
        let last = packs.map_err(EditError::Engine)?.next().transpose();
        let last = last.map_err(EditError::Engine)?;
        let from = last.map_or(Bound::Included(prefix), |(key, _)| Bound::Excluded(key));
        let rows = (from, Bound::Excluded(&behind[..]));
        let rows = self.tables.edits.range(&self.txn, &rows);
        let mut looked_at = 0;
        let mut small: Vec<(StoredEdit<'_>, VersionVector)> = Vec::new();
        for row in rows.map_err(EditError::Engine)? {
            let (key, bytes) = row.map_err(EditError::Engine)?;
            looked_at += 1;
            if bytes.len() <= PACKED_RECORD_BYTES_MAX {
                step.done.bytes += (key.len() + bytes.len()) as u64;
                let edit = StoredEdit::alone(key, bytes).map_err(EditError::Damaged)?;
                let seen = edit.seen(&self.tables, &self.txn)?;
                if is_small(&edit, &seen) {
                    small.push((edit, seen));
                }
            }
            if small.len() >= alone + together || looked_at >= LOOKED_AT_MAX {
                break;
            }
        }
        step.done.rows += looked_at as u64;
        let is_enough = small.len() >= alone + together;
        // Among large ones it goes on with fewer.
        let is_passed = looked_at >= LOOKED_AT_MAX && small.len() >= LEAST_AMONG_LARGE;
        if !is_enough && !is_passed {
            return Ok(None);
        }
        let mut packing = Packing::default();
        let mut keys = Vec::with_capacity(together);
        for (edit, seen) in small.iter().take(together) {
            if !packing.add(edit, seen) {
                break;
            }
            keys.extend(edit.key().map(<[u8]>::to_vec));
        }
        let mut record = Vec::new();
        let key = packing.seal(prefix, &mut record);
        Ok(key.map(|key| Packed { keys, key, record }))
    }
}
