//! A context as it was after one of its deltas. Concurrent ones, and private entries, which
//! are in no delta, are not in it. What comes out is held against the root that the
//! delta's author had, so it is that state or an error. Values stay where the ledger has
//! them; in memory are keys and what merging needs. Start at [`Snapshot::at`]; the reasons are in
//! `store/decisions/0017-befores.md`.
//!
//! | file | holds |
//! |---|---|
//! | `bounds.rs` | what a reading may take |
//! | `back.rs` | a state as what differs from the one that is there now |
//! | `log.rs` | the way back through the log, and what deltas had seen |
//! | `anew.rs` | a state made of all deltas since the context's beginning |
//! | `entry.rs` | writes merged into an entry as it was |
//! | `edits.rs` | the edits that a list or text had |

mod anew;
mod back;
mod bounds;
mod edits;
mod entry;
mod log;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

pub use self::bounds::{PAST_DELTAS_MAX, PAST_ROWS_MAX, PAST_WRITES_MAX, PastBounds};
use self::edits::EditsInLog;
use self::entry::{PastEntry, sequence};
use self::log::Log;
use crate::authors::Authors;
use crate::change::Birth;
use crate::delta::{OpView, WriteView};
use crate::entry::{
    Effect, EntryDigest, EntryKind, EntryValue, Space, Stored, UnknownAuthor, merge,
};
use crate::error::{PastError, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId, NodeId, Root};
use crate::layout;
use crate::record::read_entry;
use crate::snapshot::{EditPlace, EditView, Scan, Snapshot};
use crate::trie::{Intent, NodeSource, Trie};
use crate::trie_table::unreadable_trie;
use crate::version::{Dot, Past, VersionVector};

/// A context as it was.
pub struct PastState<'s> {
    bounds: PastBounds<'s>,
    root: Root,
    authors: Authors,
    /// What is known not to be as it is now; without a base, all there was.
    entries: BTreeMap<(Space, Vec<u8>), PastEntry<'s>>,
    base: Option<Base<'s>>,
}

/// What all other entries are as.
struct Base<'s> {
    log: Log<'s>,
    delta: DeltaId,
    /// The deltas whose edits the state has.
    has: VersionVector,
    /// Worked out when it is needed first.
    edits_in_log: OnceCell<EditsInLog<'s>>,
}

impl<'s> Base<'s> {
    /// The entry as it is now, if it can have been in the past.
    fn entry(&self, space: Space, key: &[u8]) -> Result<Option<Stored<'s>>, StoreError> {
        if !space.is_replicated() || key.len() > layout::KEY_BYTES_MAX {
            return Ok(None);
        }
        let mut full = Vec::new();
        layout::entry_key(&mut full, self.log.slot, space, key);
        let snapshot = self.log.snapshot;
        let found = snapshot.get_raw(snapshot.tables.entries, &full)?;
        found.map(|bytes| read_entry(&full, bytes)).transpose()
    }
}

impl Snapshot {
    /// The context in `slot` as it was for the author of `delta` when that was made.
    ///
    /// Fails if the context has no such delta, if the log has not kept what is needed, or if there
    /// is more to go through than is bounded. Takes time and memory in proportion to the
    /// deltas from the head back to `delta` and to those that are not in its past; where the log
    /// does not say what they have replaced, or these are too many, to all up to `delta`, as long as
    /// there are all, and to a walk over the log's rows from its head down to the first of them.
    pub fn at(&self, slot: ContextSlot, delta: &DeltaId) -> Result<PastState<'_>, PastError> {
        self.at_within(slot, delta, PastBounds::default())
    }

    /// The same within other bounds, which hold for what is read of the state as well.
    pub fn at_within<'s>(
        &'s self,
        slot: ContextSlot,
        delta: &DeltaId,
        bounds: PastBounds<'s>,
    ) -> Result<PastState<'s>, PastError> {
        match back::state_at(self, slot, delta, bounds) {
            Ok(Some(state)) => Ok(state),
            Ok(None) => anew::state_at(self, slot, delta, bounds),
            // It may be nearer to the beginning, if that is there.
            Err(PastError::TooLong { .. } | PastError::EditsTooFar { .. })
                if self.head(slot)?.log_pruned == 0 =>
            {
                anew::state_at(self, slot, delta, bounds)
            }
            Err(error) => Err(error),
        }
    }
}

impl<'s> PastState<'s> {
    /// The digest of the state.
    pub fn root(&self) -> Root {
        self.root
    }

    /// What was under `key`.
    pub fn get(&self, space: Space, key: &[u8]) -> Result<Option<EntryValue<'s>>, StoreError> {
        let found = self.entry(space, key)?;
        Ok(found.map(|state| self.value(&state)))
    }

    /// Shows every entry of a space whose key begins with `prefix` to `visit`, in the order of
    /// keys, until it breaks or fails.
    pub fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], EntryValue<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let from = (space, prefix.to_vec());
        let is_here = |entry: &(&(Space, Vec<u8>), &PastEntry<'s>)| {
            let (of, key) = entry.0;
            *of == space && key.starts_with(prefix)
        };
        let others = self.entries.range(from..).take_while(is_here);
        let there = others.map(|((_, key), entry)| (&key[..], entry.state.as_ref()));
        let mut there = there.peekable();
        let mut show = |key: &[u8], value: Option<EntryValue<'_>>| match value {
            Some(value) => visit(key, value),
            None => Ok(ControlFlow::Continue(())),
        };
        let value = |state: Option<&Stored<'s>>| state.map(|state| self.value(state));
        if let Some(base) = self.base.as_ref().filter(|_| space.is_replicated()) {
            let scan = Scan {
                space,
                prefix,
                limit: usize::MAX,
                ..Scan::default()
            };
            let mut is_over = false;
            base.log.snapshot.scan(base.log.slot, scan, &mut |now| {
                while let Some((key, state)) = there.next_if(|then| then.0 < now.key()) {
                    if show(key, value(state))?.is_break() {
                        is_over = true;
                        return Ok(ControlFlow::Break(()));
                    }
                }
                let shown = match there.next_if(|then| then.0 == now.key()) {
                    Some((key, state)) => show(key, value(state))?,
                    None => show(now.key(), Some(now.value()?))?,
                };
                is_over = shown.is_break();
                Ok(shown)
            })?;
            if is_over {
                return Ok(());
            }
        }
        for (key, state) in there {
            if show(key, value(state))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Shows the edits of the list or text that was under `key` to `visit`, each behind those
    /// that it builds on, until it breaks. Fails if not all of them are there any more, or are
    /// found within the bounds.
    pub fn edits(
        &self,
        space: Space,
        key: &[u8],
        kind: EntryKind,
        visit: &mut dyn FnMut(EditView<'_>) -> ControlFlow<()>,
    ) -> Result<(), PastError> {
        let Some(Stored::Sections(state)) = self.entry(space, key)? else {
            return Ok(());
        };
        let had = sequence(&state, kind);
        if had.is_empty() {
            return Ok(());
        }
        let entry = self.entries.get(&(space, key.to_vec()));
        let own = entry.into_iter().flat_map(|entry| &entry.edits);
        let own = own.filter(|((of, ..), edit)| *of == kind && edit.is_part(had));
        let mut edits: BTreeMap<_, _> = own.map(|(at, edit)| (*at, edit.clone())).collect();
        self.find_edits((space, key, kind), had, &mut edits)?;
        for edit in edits.values() {
            let name = |(number, hlc): &(u32, Hlc)| Some((self.authors.get(*number)?, *hlc));
            let others = edit.seen.pairs().iter();
            let others = others.filter(|(number, _)| *number != edit.dot.author);
            let mut seen: Vec<(NodeId, Hlc)> = others.filter_map(name).collect();
            seen.sort_unstable();
            let Some(author) = self.authors.get(edit.dot.author) else {
                continue;
            };
            let view = EditView {
                author,
                hlc: edit.dot.hlc,
                linked: edit.linked,
                update: edit.update,
                seen: &seen,
                place: EditPlace(edit.dot),
            };
            if visit(view).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The entry as it was.
    fn entry(&self, space: Space, key: &[u8]) -> Result<Option<Stored<'s>>, StoreError> {
        match (self.entries.get(&(space, key.to_vec())), &self.base) {
            (Some(entry), _) => Ok(entry.state.clone()),
            (None, Some(base)) => base.entry(space, key),
            (None, None) => Ok(None),
        }
    }

    fn value<'e>(&self, state: &Stored<'e>) -> EntryValue<'e> {
        state.value(|number| self.authors.get(number))
    }

    /// The number of a delta's author.
    fn number(&self, author: NodeId, position: u64) -> Result<u32, StoreError> {
        self.authors.find(author).ok_or_else(|| {
            let key = layout::position_key(position);
            StoreError::corrupt("log record", &key, "its author is unknown")
        })
    }

    /// Merges one write, as it was merged when it was applied.
    fn write(
        &mut self,
        op: &OpView<'s>,
        dot: Dot,
        seen: &Rc<VersionVector>,
    ) -> Result<(), PastError> {
        self.load(op, dot, seen)?;
        let past = Past::Seen(seen);
        let edit = match op.write {
            WriteView::Edit {
                kind,
                births,
                seen: said,
                update,
            } => {
                let said = (births, said, update);
                let edit = edits::PastEdit::in_delta(&self.authors, dot, said, seen);
                match edit {
                    Some(edit) if self.is_sound((op.space, op.key, kind), &edit, seen)? => {
                        Some((kind, edit))
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        let authors = &self.authors;
        let order = |a: u32, b: u32| authors.get(a).cmp(&authors.get(b));
        let entry = self.entries.entry((op.space, op.key.to_vec())).or_default();
        if op.removes_first {
            entry.remove(dot, past, order);
        }
        let effect = match op.write {
            WriteView::Remove => {
                entry.remove(dot, past, order);
                return Ok(());
            }
            WriteView::Edit { .. } => {
                if let Some((kind, edit)) = edit {
                    entry.edit(kind, edit, past, order);
                }
                return Ok(());
            }
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
        };
        entry.state = merge(entry.state.take(), false, &effect, dot, past, order).entry;
        Ok(())
    }

    /// Takes from the base what a write needs.
    fn load(&mut self, op: &OpView<'s>, dot: Dot, seen: &VersionVector) -> Result<(), PastError> {
        let Some(base) = &self.base else {
            return Ok(());
        };
        let place = (op.space, op.key.to_vec());
        if !self.entries.contains_key(&place) {
            let state = base.entry(op.space, op.key)?;
            let entry = PastEntry {
                state,
                ..PastEntry::default()
            };
            self.entries.insert(place.clone(), entry);
        }
        for kind in [EntryKind::List, EntryKind::Text] {
            let entry = &self.entries[&place];
            let Some(Stored::Sections(state)) = &entry.state else {
                return Ok(());
            };
            let had = sequence(state, kind);
            let removes = op.removes_first || op.write == WriteView::Remove;
            let is_birth = match op.write {
                WriteView::Edit {
                    kind: of, births, ..
                } => of == kind && births.iter().len() == 0,
                _ => false,
            };
            let goes = |birth: &&Dot| {
                removes && seen.has_seen(**birth) || is_birth && birth.author == dot.author
            };
            let gone = had.births.iter().filter(goes).count();
            // What stays of a sequence that is parted has its chains worked out anew.
            if gone == 0 || gone == had.births.len() || entry.loaded.contains(&kind) {
                continue;
            }
            let mut edits = entry.edits.clone();
            self.find_edits((op.space, op.key, kind), had, &mut edits)?;
            let entry = self.entries.get_mut(&place);
            let entry = entry.expect("it is put there above");
            entry.edits = edits;
            entry.loaded.push(kind);
        }
        Ok(())
    }

    /// The root of a trie in which these entries are as here.
    fn digest<S: NodeSource<Error = StoreError>>(
        &self,
        mut trie: Trie,
        source: &S,
        slot: ContextSlot,
    ) -> Result<Root, PastError> {
        let mut digests = EntryDigest::default();
        let mut leaf = Vec::new();
        for ((space, key), entry) in &self.entries {
            let unknown =
                |_: UnknownAuthor| StoreError::corrupt("entry", key, "its author is unknown");
            let state = entry.state.as_ref();
            self.bounds.go_on()?;
            let digest = state.map(|state| digests.of(*space, key, state, &self.authors));
            let digest = digest.transpose().map_err(unknown)?;
            let intent = match digest {
                Some(_) => Intent::Put,
                None => Intent::Remove,
            };
            layout::trie_entry(&mut leaf, *space, key);
            trie.begin_round();
            let place = trie.load(source, &leaf, intent);
            let place = place.map_err(|error| unreadable_trie(slot, error))?;
            trie.set(&place, &leaf, digest.as_ref());
        }
        Ok(Root::from_bytes(trie.root()))
    }
}

/// Births by the ledger's numbers, in ascending order. One of an author that it does not know is none
/// of any sequence here.
fn dots(authors: &Authors, births: impl Iterator<Item = Birth>) -> Vec<Dot> {
    let dot = |birth: Birth| Dot {
        author: authors.find(birth.author).unwrap_or(u32::MAX),
        hlc: birth.hlc,
    };
    let mut dots: Vec<Dot> = births.map(dot).collect();
    dots.sort_unstable();
    dots
}
