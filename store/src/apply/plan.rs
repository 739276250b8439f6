//! Working out what a delta's writes lead to: entries with what they become, the
//! root, and how many entries and bytes the context has then. Reads only, so that a
//! delta that is refused has left nothing.
//!
//! What is asked of the edits of lists and texts is in `plan/chains.rs`, the root in
//! `plan/rooting.rs`. Each kind of entry that is worked out here has its other side in
//! `plan/writing.rs`, which writes it.

mod chains;
mod rooting;
mod writing;

use std::ops::Range;

use bytes::Bytes;

use super::compact::is_packable;
use super::{Pass, Stop, before_writing};
use crate::attachment::{self, Attachment};
use crate::befores::Befores;
use crate::delta::{OpView, STAMP_BYTES, WriteView};
use crate::edits::{Basis, SeenOfNamed};
use crate::entry::{Effect, EntryKind, Space, Stored, Value, merge};
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, NodeId};
use crate::layout::{self, CALL_REWRITES_BYTES_MAX, ENTRY_BYTES_MAX, slot_key};
use crate::ledger::engine_error;
use crate::record::{Head, read_entry};
use crate::saved;
use crate::trie::{Digest, Intent, Place};
use crate::trie_table::{TrieTable, unreadable_trie};
use crate::version::{Dot, Past, VersionVector};
use chains::seen_of_all;

/// What it takes to read one more edit, as bytes that are read take: so a batch reads no more
/// than some hundred thousand of them.
const EDIT_WORK_BYTES: u64 = 512;

/// What a plan that waits for its root may keep of the memory of each of its buffers, beside what
/// is in there.
const BYTES_WAITING_MAX: usize = 4096;

/// Whose writes are worked out.
pub(super) struct Incoming {
    pub(super) slot: ContextSlot,
    pub(super) dot: Dot,
}

/// What a delta will leave behind, as far as reading can tell.
#[derive(Default)]
pub(super) struct Plan {
    entries: u64,
    replicated: u64,
    bytes: u64,
    /// One for each write.
    pub(super) writes: Vec<PlannedWrite>,
    /// Bytes of entries that are not those of their write.
    arena: Vec<u8>,
    /// What the writes of the delta replace.
    pub(super) befores: Befores,
    /// An entry's key in the trie.
    trie_key: Vec<u8>,
    /// Bytes that were read or are written again for it, beside those that it brings.
    work_bytes: u64,
}

/// What becomes of the entry of a write.
pub(super) struct PlannedWrite {
    entry: PlannedEntry,
    /// See [`crate::entry::Merged`].
    dropped: Vec<EntryKind>,
    appended: Option<EntryKind>,
    /// What an appended edit had seen of the authors whom it names.
    seen: VersionVector,
    /// The same as its delta is to say it, if that is this node's.
    pub(super) told: Vec<[u8; STAMP_BYTES]>,
    /// Whether the sequence is to be saved, now that it has that edit.
    is_due: bool,
    /// Whether edits of it may be there to be packed.
    is_packable: bool,
    /// Whether it adds to a counter in which its author has no cell.
    pub(super) is_new_cell: bool,
    /// What becomes of the entry in the trie; none if it is not in there.
    leaf: Option<Leaf>,
}

/// What becomes of an entry in its context's trie.
#[derive(Clone, Copy)]
struct Leaf {
    place: Place,
    after: Option<Digest>,
}

/// Whose write it is, and what follows from that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// This node's: it must agree with what is there.
    Own,
    /// Another's.
    Other,
}

enum PlannedEntry {
    /// It stays as it is: the write has come too late, or meant what is not there.
    Kept,
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
    /// Bytes of all keys and values as it leaves them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Brings what it has worked out into the head.
    pub(super) fn leave(&self, head: &mut Head) {
        head.entries = self.entries;
        head.replicated = self.replicated;
        head.bytes = self.bytes;
    }

    /// Puts an entry among what there is.
    fn add(&mut self, op: &OpView<'_>, entry: &Stored<'_>) {
        self.entries += u64::from(op.space == Space::Shared);
        self.replicated += u64::from(op.space.is_replicated());
        self.bytes += op.key.len() as u64 + entry.bytes();
    }

    /// Takes an entry with so many bytes of its own away from what there is.
    fn subtract(
        &mut self,
        slot: ContextSlot,
        op: &OpView<'_>,
        entry_bytes: u64,
    ) -> Result<(), Stop> {
        let freed = op.key.len() as u64 + entry_bytes;
        let left = || {
            let entries = u64::from(op.space == Space::Shared);
            let replicated = u64::from(op.space.is_replicated());
            Some((
                self.entries.checked_sub(entries)?,
                self.replicated.checked_sub(replicated)?,
                self.bytes.checked_sub(freed)?,
            ))
        };
        (self.entries, self.replicated, self.bytes) = left().ok_or_else(|| {
            let why = "it counts fewer entries or bytes than there are";
            before_writing(StoreError::corrupt("head record", &slot_key(slot), why))
        })?;
        Ok(())
    }

    /// Lets go of what was only needed to write entries, if it is much. Gives the bytes of work
    /// that it took so far.
    pub(super) fn shrink(&mut self) -> u64 {
        let work_bytes = std::mem::take(&mut self.work_bytes) + self.arena.len() as u64;
        self.arena.clear();
        self.arena.shrink_to(BYTES_WAITING_MAX);
        // They are still to be written.
        self.befores.shrink(BYTES_WAITING_MAX);
        self.writes.shrink_to(1);
        work_bytes
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        start..self.arena.len()
    }
}

impl Pass<'_> {
    /// Whose writes are about to be worked out. An author that is new has its number
    /// for good when they are [written](Self::keep_author).
    pub(super) fn incoming(&mut self, slot: ContextSlot, author: NodeId, hlc: Hlc) -> Incoming {
        let author = self.authors.number(author);
        let dot = Dot { author, hlc };
        Incoming { slot, dot }
    }

    pub(super) fn keep_author(&mut self) -> Result<(), Stop> {
        let kept = self.authors.keep(self.tables, &mut self.txn);
        self.added_bytes += kept.map_err(|error| self.stop(error))? as u64;
        Ok(())
    }

    /// A plan that goes on from where the context stands.
    pub(super) fn begin_plan(&mut self, slot: ContextSlot) -> Result<Plan, Stop> {
        let touched = self.heads.get_mut(&slot);
        let touched = touched.expect("the caller has read the head");
        touched
            .open_trie(slot, &mut self.tries)
            .map_err(before_writing)?
            .begin_round();
        let head = &touched.head;
        let mut plan = self.plans.pop().unwrap_or_default();
        plan.entries = head.entries;
        plan.replicated = head.replicated;
        plan.bytes = head.bytes;
        plan.writes.clear();
        plan.arena.clear();
        plan.befores.clear();
        plan.work_bytes = 0;
        Ok(plan)
    }

    /// Keeps its memory for the next one.
    pub(super) fn end_plan(&mut self, plan: Plan) {
        self.work_bytes += plan.work_bytes + plan.arena.len() as u64;
        let capacity = plan.arena.capacity().max(plan.befores.capacity());
        if capacity <= super::BUFFER_BYTES_KEPT_MAX {
            self.plans.push(plan);
        }
    }

    /// Works out one write.
    pub(super) fn plan_write(
        &mut self,
        plan: &mut Plan,
        incoming: &Incoming,
        op: &OpView<'_>,
        past: Past<'_>,
        whose: Whose,
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
        if whose == Whose::Own {
            agree(old.as_ref(), op)?;
            if let WriteView::Add { is_new_cell, .. } = &mut write {
                *is_new_cell = op.removes_first || !has_cell(old.as_ref(), dot.author);
            }
        }
        let unknown_author = |_| {
            let why = "its author is unknown to the ledger";
            before_writing(StoreError::corrupt("entry", key, why))
        };
        plan.work_bytes += found.map_or(0, |bytes| bytes.len() as u64);
        if op.space == Space::Attached {
            self.check_sum(slot, op)?;
        }
        let old_bytes = old.as_ref().map(Stored::bytes);
        let is_in_delta = op.space.is_replicated();
        let before = is_in_delta.then(|| old.clone()).flatten();
        let (births, seen_of_named);
        let mut prefix = Vec::new();
        let mut told = Vec::new();
        let mut seen = VersionVector::default();
        let mut basis = None;
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
                seen: said,
                update,
            } => {
                births = self.dots(named.iter());
                // Of one of the first form it is taken to be as much as it can be.
                if whose == Whose::Own || !named.are_linked() {
                    told = seen_of_all(old.as_ref(), kind, update, &self.authors, past);
                } else {
                    told.extend_from_slice(said);
                }
                let named_seen = SeenOfNamed::told(dot.author, update, &told, &self.authors);
                let builds_on_all = || match &old {
                    Some(Stored::Sections(state)) => match kind {
                        EntryKind::List => births == state.list.births,
                        _ => births == state.text.births,
                    },
                    _ => births.is_empty(),
                };
                let is_sound = match &named_seen {
                    Some(_) if !named.are_linked() => true,
                    // All that this node has seen is there if it is on top of all births.
                    Some(_) if whose == Whose::Own && builds_on_all() => true,
                    Some(named_seen) => {
                        let read = named_seen.by_number.pairs().len() as u64;
                        plan.work_bytes += read * EDIT_WORK_BYTES;
                        layout::edits_prefix(&mut prefix, slot, op.space, op.key, kind);
                        self.is_sound(&prefix, named_seen, named.as_slice(), past)?
                    }
                    None => false,
                };
                seen_of_named = named_seen.unwrap_or_default();
                seen = seen_of_named.by_number.clone();
                basis = named.linked().map(|births| Basis {
                    births,
                    seen: &seen_of_named.by_name,
                });
                Effect::Edit {
                    kind,
                    births: &births,
                    basis,
                    is_sound,
                    update,
                }
            }
            WriteView::Remove => Effect::Remove,
        };
        let authors = &self.authors;
        let order = |a: u32, b: u32| authors.get(a).cmp(&authors.get(b));
        let mut merged = merge(old, op.removes_first, &effect, dot, past, order);
        if merged.is_kept {
            if is_in_delta {
                plan.befores.add_same();
            }
            plan.writes.push(PlannedWrite {
                entry: PlannedEntry::Kept,
                dropped: Vec::new(),
                appended: None,
                is_new_cell: false,
                leaf: None,
                seen: VersionVector::default(),
                told,
                is_due: false,
                is_packable: false,
            });
            return Ok(());
        }
        if let Some(bytes) = old_bytes {
            plan.subtract(slot, op, bytes)?;
        }
        if let (false, Some(Stored::Sections(state))) =
            (merged.dropped.is_empty(), &mut merged.entry)
        {
            let own = (op, basis);
            plan.work_bytes += self.link_anew(incoming, own, state, &merged.dropped)?;
        }
        if is_in_delta {
            plan.befores.add(before.as_ref(), merged.entry.as_ref());
        }
        let (is_due, is_packable) = match (&merged.entry, merged.appended, write) {
            (Some(Stored::Sections(state)), Some(kind), WriteView::Edit { update, .. }) => {
                let sequence = match kind {
                    EntryKind::List => &state.list,
                    _ => &state.text,
                };
                let edits: u64 = sequence.chains.iter().map(|chain| chain.edits).sum();
                let bytes = sequence.bytes;
                let before = bytes.saturating_sub(update.len() as u64);
                let before = saved::weight(edits.saturating_sub(1), before);
                let is_due = saved::is_due(before, saved::weight(edits, bytes));
                (is_due, is_packable(edits))
            }
            _ => (false, false),
        };
        let planned = match &merged.entry {
            None => PlannedEntry::Gone,
            Some(Stored::Value(value)) if value.dot == dot => PlannedEntry::Written,
            Some(Stored::Value(Value { dot, bytes })) => {
                PlannedEntry::Other(*dot, plan.keep(bytes))
            }
            Some(Stored::Sections(state)) => {
                let start = plan.arena.len();
                state.write(&mut plan.arena);
                check_room(plan, start, op, whose)?;
                PlannedEntry::Sections(start..plan.arena.len())
            }
        };
        let mut after = None;
        if let Some(entry) = &merged.entry {
            plan.add(op, entry);
            if op.space.is_replicated() {
                let digest = self.digests.of(op.space, op.key, entry, &self.authors);
                after = Some(digest.map_err(unknown_author)?);
            }
        }
        let mut leaf = None;
        if op.space.is_replicated() {
            let env = self.env;
            let source = TrieTable {
                table: self.tables.trie,
                txn: &self.txn,
                slot,
                failed: &|error| engine_error("read a trie of", error, env),
            };
            let intent = match after {
                Some(_) => Intent::Put,
                None => Intent::Remove,
            };
            layout::trie_entry(&mut plan.trie_key, op.space, op.key);
            let touched = self.heads.get_mut(&slot);
            let trie = touched.and_then(|touched| touched.trie.as_mut());
            let trie = trie.expect("the plan was begun with it");
            let loaded = trie.nodes_loaded();
            let place = trie
                .load(&source, &plan.trie_key, intent)
                .map_err(|error| before_writing(unreadable_trie(slot, error)))?;
            self.trie_nodes += trie.nodes_loaded().saturating_sub(loaded);
            leaf = Some(Leaf { place, after });
        }
        plan.writes.push(PlannedWrite {
            entry: planned,
            dropped: merged.dropped,
            appended: merged.appended,
            seen,
            told,
            is_due,
            is_packable,
            is_new_cell: matches!(
                write,
                WriteView::Add {
                    is_new_cell: true,
                    ..
                }
            ),
            leaf,
        });
        Ok(())
    }

    /// Whether it can be noted what becomes of an attachment: how much the context has
    /// attached can be read, and counts this one if that is noted.
    fn check_sum(&self, slot: ContextSlot, op: &OpView<'_>) -> Result<(), Stop> {
        let attachment = Attachment::from_key(op.key).expect("bounds and deltas are checked");
        let checked = attachment::check_sum(self.tables, &self.txn, slot, attachment);
        checked.map_err(|failure| match failure {
            attachment::Failure::Engine(error) => self.stop(error),
            attachment::Failure::Store(error) => before_writing(error),
        })
    }
}

/// Refuses a write of this node that does not fit to what the entry is read as. What another
/// node has put beneath that decides nothing: this one's guest has never seen it.
fn agree(found: Option<&Stored<'_>>, op: &OpView<'_>) -> Result<(), Refused> {
    let Some(entry) = found else {
        return Ok(());
    };
    let found = entry.kind();
    match op.write.kind().filter(|_| !op.removes_first) {
        Some(written) if written != found => Err(Refused::KindMismatch { found, written }),
        None if found == EntryKind::WriteOnce => Err(Refused::RemovedWriteOnce),
        _ => Ok(()),
    }
}

/// Whether an entry that begins at `start` in the arena may be as large as it has become, and its
/// call may have so much written anew.
fn check_room(plan: &Plan, start: usize, op: &OpView<'_>, whose: Whose) -> Result<(), Refused> {
    let all = plan.arena.len() as u64;
    let bytes = all - start as u64;
    if bytes > ENTRY_BYTES_MAX {
        return Err(Refused::EntryFull {
            key: Bytes::copy_from_slice(op.key),
            bytes,
            bytes_max: ENTRY_BYTES_MAX,
        });
    }
    if whose == Whose::Own && all > CALL_REWRITES_BYTES_MAX {
        return Err(Refused::OutOfBounds {
            limit: "the bytes beneath the values that one call writes or removes",
            got: all,
            min: 0,
            max: CALL_REWRITES_BYTES_MAX,
        });
    }
    Ok(())
}

fn has_cell(entry: Option<&Stored<'_>>, author: u32) -> bool {
    match entry {
        Some(Stored::Sections(state)) => {
            state.counter.iter().any(|cell| cell.first.author == author)
        }
        Some(Stored::Value(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its memory is that of a plan before it, which had much to write.
    #[test]
    fn a_plan_that_waits_keeps_little_memory_beside_what_it_has_replaced() {
        let value = |bytes| {
            let dot = Dot {
                author: 1,
                hlc: Hlc::from_bits(1),
            };
            Stored::Value(Value { dot, bytes })
        };
        let (large, small) = (vec![7; 512 << 10], vec![7; 5000]);
        let mut plan = Plan::default();
        plan.keep(&large);
        plan.befores.add(Some(&value(&large)), None);
        for (bytes, kept_max) in [(&small[..], 6000), (b"small", BYTES_WAITING_MAX)] {
            plan.befores.clear();
            plan.befores.add(Some(&value(bytes)), None);
            let befores = plan.befores.bytes().unwrap().to_vec();
            plan.shrink();
            assert_eq!(plan.befores.bytes(), Some(&befores[..]));
            assert!(plan.befores.capacity() <= kept_max);
            assert!(plan.arena.capacity() <= BYTES_WAITING_MAX);
        }
    }
}
