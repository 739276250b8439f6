//! Lists and texts as their edits: what is known of one, its edits in order, and what a check compares of them.

use std::ops::ControlFlow;

use super::{Names, Snapshot, unreadable};
use crate::change::{Birth, Births};
use crate::delta::BIRTH_BYTES;
use crate::edits::{self, Alive, Basis, EditError};
use crate::entry::{EntryKind, SequenceState, Space, Stored, append};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, NodeId};
use crate::layout;
use crate::record::{read_edit, read_edit_seen, read_entry};
use crate::sequence::Allowance;
use crate::version::{Dot, VersionVector};

/// What there is of a list or text, beside its edits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceFacts {
    /// What an edit of it builds on.
    pub births: Births,
    /// How many edits it has.
    pub edits: u64,
    /// Bytes of all edits.
    pub bytes: u64,
}

/// An edit of a list or text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditView<'a> {
    /// Who made it.
    pub author: NodeId,
    /// When.
    pub hlc: Hlc,
    /// Its births, if the digest of its chain tells of what it builds on.
    pub(crate) linked: Option<&'a [[u8; BIRTH_BYTES]]>,
    /// The edit, as the delta has it.
    pub update: &'a [u8],
    /// Up to which stamp its delta had seen each other author whom it names, perhaps also others; an
    /// author of whom it had seen nothing is not among them. In ascending order of authors.
    pub seen: &'a [(NodeId, Hlc)],
    /// Where it is among the others.
    pub place: EditPlace,
}

/// A place in the order in which the edits of a list or text are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditPlace(pub(crate) Dot);

impl EditPlace {
    /// Behind all edits of deltas with this stamp.
    pub fn behind(hlc: Hlc) -> EditPlace {
        EditPlace(Dot {
            hlc,
            author: u32::MAX,
        })
    }
}

impl Snapshot {
    /// What there is of the list or text under `key`; none if the entry has none.
    pub fn sequence(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
    ) -> Result<Option<SequenceFacts>, StoreError> {
        let Some(sequence) = self.sequence_state(slot, space, key, kind)? else {
            return Ok(None);
        };
        let names = Names::of(self);
        let mut births = Vec::with_capacity(sequence.births.len());
        for dot in &sequence.births {
            births.push(Birth {
                author: names.get(dot.author)?,
                hlc: dot.hlc,
            });
        }
        Ok(Some(SequenceFacts {
            births: births.into_iter().collect(),
            edits: sequence.chains.iter().map(|chain| chain.edits).sum(),
            bytes: sequence.bytes,
        }))
    }

    /// Shows the edits of the list or text under `key` to `visit`, each behind those that
    /// it builds on, until it breaks.
    pub fn edits(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
        visit: &mut dyn FnMut(EditView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let all = Allowance::unbounded();
        self.walk_edits(slot, space, key, kind, None, &all, visit)
            .map(drop)
    }

    /// The same, of those behind a place.
    pub fn edits_behind(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
        place: EditPlace,
        visit: &mut dyn FnMut(EditView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let all = Allowance::unbounded();
        self.walk_edits(slot, space, key, kind, Some(place), &all, visit)
            .map(drop)
    }

    /// The same as far as `allowance` goes, at least one row: what is read counts as well, also
    /// what a removal has left. The place to go on from; none if there are no more.
    #[expect(
        clippy::too_many_arguments,
        reason = "four of them are the list's place"
    )]
    pub fn walk_edits(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
        behind: Option<EditPlace>,
        allowance: &Allowance,
        visit: &mut dyn FnMut(EditView<'_>) -> ControlFlow<()>,
    ) -> Result<Option<EditPlace>, StoreError> {
        let Some(births) = self.births(slot, space, key, kind)? else {
            return Ok(None);
        };
        let names = Names::of(self);
        let alive = Alive::of(&births, |number| names.get(number).map(Some))?;
        let unread = |error| match error {
            EditError::Engine(error) => unreadable(error),
            EditError::Damaged(error) => error,
        };
        let mut prefix = Vec::new();
        layout::edits_prefix(&mut prefix, slot, space, key, kind);
        let mut start = Vec::new();
        if let Some(EditPlace(dot)) = behind {
            start.extend_from_slice(&prefix);
            start.extend_from_slice(&layout::edit_suffix(dot));
        }
        let mut seen = Vec::new();
        for edit in edits::read(&self.tables, &self.txn, &prefix, &start).map_err(unread)? {
            let edit = edit.map_err(unread)?;
            let place = EditPlace(edit.dot);
            seen.clear();
            let mut shown = ControlFlow::Continue(());
            if alive.needs(&edit) {
                let found = edit.seen(&self.tables, &self.txn).map_err(unread)?;
                for (number, hlc) in found.pairs() {
                    seen.push((names.get(*number)?, *hlc));
                }
                seen.sort_unstable();
                shown = visit(EditView {
                    author: names.get(edit.dot.author)?,
                    hlc: edit.dot.hlc,
                    linked: edit.linked(),
                    update: edit.update(),
                    seen: &seen,
                    place,
                });
            }
            allowance.row(edit.stored_bytes, seen.len());
            if shown.is_break() || allowance.is_used_up() {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// The births of the list or text under `key`; none if the entry has none.
    fn births(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
    ) -> Result<Option<Vec<Dot>>, StoreError> {
        Ok(self
            .sequence_state(slot, space, key, kind)?
            .map(|state| state.births))
    }

    fn sequence_state(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
    ) -> Result<Option<SequenceState>, StoreError> {
        if key.len() > layout::KEY_BYTES_MAX {
            return Ok(None);
        }
        let mut full = Vec::new();
        layout::entry_key(&mut full, slot, space, key);
        let Some(bytes) = self.get_raw(self.tables.entries, &full)? else {
            return Ok(None);
        };
        let Stored::Sections(state) = read_entry(&full, bytes)? else {
            return Ok(None);
        };
        let sequence = match kind {
            EntryKind::List => state.list,
            EntryKind::Text => state.text,
            _ => return Ok(None),
        };
        Ok((!sequence.is_empty()).then_some(sequence))
    }

    /// What the edit under a key had seen of others, if anything.
    pub(crate) fn edit_seen(&self, key: &[u8]) -> Result<Option<VersionVector>, StoreError> {
        let found = self.get_raw(self.tables.edits_seen, key)?;
        found.map(|bytes| read_edit_seen(key, bytes)).transpose()
    }

    /// That every record of what an edit had seen is of an edit.
    pub(crate) fn check_edits_seen(&self) -> Result<(), StoreError> {
        let names = Names::of(self);
        self.each(
            |tables| tables.edits_seen,
            |key, bytes| {
                for (number, _) in read_edit_seen(key, bytes)?.pairs() {
                    names.get(*number)?;
                }
                // Of a deleted context the edit may be swept already.
                let grave = match layout::slot_of(key) {
                    Some(slot) => self.get_raw(self.tables.graves, &layout::slot_key(slot))?,
                    None => None,
                };
                match self.get_raw(self.tables.edits, key)?.or(grave) {
                    Some(_) => Ok(()),
                    None => {
                        let what = "record of what an edit had seen";
                        Err(StoreError::corrupt(what, key, "the edit is missing"))
                    }
                }
            },
        )
    }

    /// Compares what an entry says of its list and text with their edits.
    pub(crate) fn check_edits(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        entry: &Stored<'_>,
    ) -> Result<(), StoreError> {
        let Stored::Sections(state) = entry else {
            return Ok(());
        };
        let sequences = [
            (EntryKind::List, &state.list),
            (EntryKind::Text, &state.text),
        ];
        for (kind, expected) in sequences {
            if expected.is_empty() {
                continue;
            }
            let mut found = SequenceState {
                births: expected.births.clone(),
                ..SequenceState::default()
            };
            self.edits(slot, space, key, kind, &mut |edit| {
                let rows = edit
                    .seen
                    .iter()
                    .map(|&(author, hlc)| Birth { author, hlc }.row());
                let seen: Vec<_> = rows.collect();
                let basis = edit.linked.map(|births| Basis {
                    births,
                    seen: &seen,
                });
                append(&mut found, edit.place.0, basis, edit.update);
                ControlFlow::Continue(())
            })?;
            if found != *expected {
                let mut full = Vec::new();
                layout::entry_key(&mut full, slot, space, key);
                let why = "its edits are not the ones that it says";
                return Err(StoreError::corrupt("entry", &full, why));
            }
        }
        Ok(())
    }

    /// Whether what an edit had seen is there, if it says so. Tells whether it does.
    pub(crate) fn check_edit(&self, key: &[u8], bytes: &[u8]) -> Result<bool, StoreError> {
        let has_seen = read_edit(key, bytes)?.has_seen;
        if has_seen && self.get_raw(self.tables.edits_seen, key)?.is_none() {
            return Err(edits::seen_is_missing(key));
        }
        Ok(has_seen)
    }
}
