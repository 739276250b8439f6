//! Compaction, a part of the collector: edits of lists and texts that lie by themselves go into packs
//! (`packs.rs`), the oldest first. It changes what they take, not what they say, so nobody else need
//! know or agree: it rides along with the transaction that is open, and what a crash undoes is done
//! again. The newest edits stay by themselves, as one that comes late has its place among them; but not where
//! few are small.

use std::ops::Bound;

use super::Pass;
use super::collect::{Progress, Step};
use crate::edits::{EditError, StoredEdit};
use crate::error::StoreError;
use crate::layout::{self, slot_key};
use crate::packs::{PACK_EDITS_MAX, PACKED_RECORD_BYTES_MAX, Packing, is_small};
use crate::retention::{Packs, Round};
use crate::version::VersionVector;

/// Edits that are looked at to find those that are to be packed: others may be too large for that.
const LOOKED_AT_MAX: usize = 4 * PACK_EDITS_MAX;

/// If there are only so many among them they are packed all the same, so that it is gone on behind
/// them. With fewer, a sequence is left as it is from there on: large edits gain nothing.
const LEAST_AMONG_LARGE: usize = 16;

/// Sequences that are remembered because they have grown. If there are more, the next round looks at all.
const PACKABLE_MAX: usize = 256;

/// Steps of a round that look at all sequences, before contexts and answers have their turn again: some
/// seconds of a shard that has else to do.
const WALK_STEPS_MAX: u32 = 2_048;

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

/// Where the walk through all sequences is.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Whether some may have grown that nobody remembers: before the first walk, as a copy or an
    /// older format has brought edits that nobody has counted, and whenever one was forgotten.
    must_begin: bool,
    /// Whether it is the turn of this round's part of it.
    pub(super) is_on: bool,
    /// Steps of this part.
    steps: u32,
    /// The sequence that was looked at last, by the prefix of its edits' keys.
    after: Option<Vec<u8>>,
}

impl Default for Walk {
    fn default() -> Walk {
        Walk {
            must_begin: true,
            is_on: false,
            steps: 0,
            after: None,
        }
    }
}

impl Walk {
    /// Whether there is something to look at.
    pub(super) fn is_due(&self) -> bool {
        self.must_begin || self.after.is_some()
    }

    /// Goes on from where the last part has ended. What is forgotten from the start of a walk on is for the next.
    pub(super) fn begin(&mut self) {
        (self.is_on, self.steps) = (true, 0);
        if self.after.is_none() {
            self.must_begin = false;
            self.after = Some(Vec::new());
        }
    }

    /// Looks at all of them again, once it is through with this walk: what it has packed may be undone.
    pub(crate) fn repeat(&mut self) {
        self.must_begin = true;
    }

    /// Looks at all of them again, from the first on.
    pub(crate) fn begin_anew(&mut self) {
        *self = Walk::default();
    }
}

impl Pass<'_> {
    /// Remembers that a sequence has grown.
    pub(super) fn note_packable(&mut self, prefix: &[u8]) {
        let is_known = || self.packable.iter().any(|known| known == prefix);
        match self.packable.len() < PACKABLE_MAX {
            true if is_known() => {}
            true => self.packable.push(prefix.to_vec()),
            false => self.has_forgotten_packable = true,
        }
    }

    /// Whether edits were packed, which is undone if this fails.
    pub(crate) fn has_packed(&self) -> bool {
        self.has_packed
    }

    /// Hands the round what was remembered since, which then is there whatever becomes of this transaction.
    pub(crate) fn hand_over_packable(&mut self, round: &mut Round) {
        for prefix in std::mem::take(&mut self.packable) {
            let is_known = round.packable.contains(&prefix);
            match round.packable.len() < PACKABLE_MAX {
                true if is_known => {}
                true => round.packable.push_back(prefix),
                false => self.has_forgotten_packable = true,
            }
        }
        round.walk.must_begin |= std::mem::take(&mut self.has_forgotten_packable);
    }

    /// Packs what there is to pack of sequences that have grown, until the step is full.
    pub(super) fn pack_grown(
        &mut self,
        round: &mut Round,
        step: &mut Step<'_>,
    ) -> Result<(), StoreError> {
        while !step.is_full() {
            let Some(prefix) = round.packable.pop_front() else {
                break;
            };
            if self.pack_some(&prefix, step)? {
                round.packable.push_back(prefix);
            }
        }
        Ok(())
    }

    /// Looks at all sequences, one after the other, and packs of each what there is to pack.
    pub(super) fn look_at_all(
        &mut self,
        walk: &mut Walk,
        step: &mut Step<'_>,
    ) -> Result<Progress, StoreError> {
        walk.steps += 1;
        while !step.is_full() && step.may_pack {
            let after = walk.after.as_deref().unwrap_or_default();
            let Some(prefix) = self.sequence_behind(after)? else {
                (walk.is_on, walk.after) = (false, None);
                return Ok(Progress::Done);
            };
            let mut is_packed = true;
            while is_packed && !step.is_full() {
                is_packed = self.pack_some(&prefix, step)?;
            }
            if is_packed {
                // There may be more of it, which the next step goes on with.
                break;
            }
            walk.after = Some(prefix);
        }
        match walk.steps < WALK_STEPS_MAX && step.may_pack {
            true => Ok(Progress::More),
            false => {
                walk.is_on = false;
                Ok(Progress::Done)
            }
        }
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
    /// enough. Whether it did: then there may be more.
    pub(super) fn pack_some(
        &mut self,
        prefix: &[u8],
        step: &mut Step<'_>,
    ) -> Result<bool, StoreError> {
        step.done.rows += 1;
        let Some((slot, ..)) = layout::split_entry(prefix) else {
            return Ok(false);
        };
        // What is damaged stays as it is, so that it can be looked into; and a sweep goes first.
        let litter = self.tables.litter.get(&self.txn, prefix);
        let litter = litter.map_err(|error| self.engine(error))?;
        let head = self.tables.heads.get(&self.txn, &slot_key(slot));
        let head = head.map_err(|error| self.engine(error))?;
        let is_kept = self.heads.contains_key(&slot) || head.is_some();
        if self.is_quarantined(slot) || !is_kept {
            return Ok(false);
        }
        if litter.is_some() || !step.may_pack {
            self.has_forgotten_packable = true;
            return Ok(false);
        }
        let packed = match self.plan_pack(prefix, step) {
            Ok(packed) => Ok(packed),
            Err(EditError::Damaged(error)) => Err(error),
            Err(EditError::Engine(error)) => return Err(self.engine(error)),
        };
        let Some(packed) = step.unless_damaged(slot, packed)?.flatten() else {
            return Ok(false);
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
        self.has_packed = true;
        Ok(true)
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
