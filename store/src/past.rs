//! A context as it was after one of its deltas: made anew from the deltas that this one
//! follows, as long as the log has all of them. Concurrent ones, and private entries, which
//! are in no delta, are not in it. What comes out is held against the root that the
//! delta's author had, so it is that state or an error. Values stay where the log has
//! them; in memory are keys and what merging needs. Start at [`Snapshot::at`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::rc::Rc;

use crate::authors::Authors;
use crate::change::Birth;
use crate::delta::{OpView, WriteView};
use crate::edits::is_part;
use crate::entry::{
    Effect, EntryDigest, EntryKind, EntryValue, SequenceState, Space, State, Stored, append, merge,
};
use crate::error::{PastError, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId, NodeId, Root};
use crate::layout;
use crate::snapshot::{EditPlace, EditView, Snapshot};
use crate::trie::{Intent, NOTHING, NodePath, NodeSource, Trie};
use crate::version::{Dot, Past, VersionVector};

/// The most deltas that a state is made of.
pub const PAST_DELTAS_MAX: usize = 1 << 20;

/// The most writes in these.
pub const PAST_WRITES_MAX: u64 = 1 << 22;

/// A context as it was.
pub struct PastState<'s> {
    root: Root,
    authors: Authors,
    entries: BTreeMap<(Space, Vec<u8>), PastEntry<'s>>,
}

/// An entry as it was, and the edits of its list and text.
#[derive(Default)]
struct PastEntry<'s> {
    state: Option<Stored<'s>>,
    edits: BTreeMap<(EntryKind, Hlc, u32), PastEdit<'s>>,
}

/// An edit as it was made.
struct PastEdit<'s> {
    births: Vec<Dot>,
    /// What its delta had seen.
    seen: Rc<VersionVector>,
    update: &'s [u8],
}

impl PastState<'_> {
    /// The digest of the state.
    pub fn root(&self) -> Root {
        self.root
    }

    /// What was under `key`.
    pub fn get(&self, space: Space, key: &[u8]) -> Option<EntryValue<'_>> {
        let entry = self.entries.get(&(space, key.to_vec()))?;
        Some(self.value(entry.state.as_ref()?))
    }

    /// Every entry, in the order of spaces and keys.
    pub fn entries(&self) -> impl Iterator<Item = (Space, &[u8], EntryValue<'_>)> {
        self.entries.iter().filter_map(|((space, key), entry)| {
            let value = self.value(entry.state.as_ref()?);
            Some((*space, &key[..], value))
        })
    }

    /// Shows the edits of the list or text that was under `key` to `visit`, each behind those
    /// that it builds on, until it breaks.
    pub fn edits(
        &self,
        space: Space,
        key: &[u8],
        kind: EntryKind,
        visit: &mut dyn FnMut(EditView<'_>) -> ControlFlow<()>,
    ) {
        let Some(entry) = self.entries.get(&(space, key.to_vec())) else {
            return;
        };
        let alive = match &entry.state {
            Some(Stored::Sections(state)) => &sequence(state, kind).births[..],
            Some(Stored::Value(_)) | None => &[],
        };
        for ((of, hlc, author), edit) in &entry.edits {
            let dot = Dot {
                author: *author,
                hlc: *hlc,
            };
            if *of != kind || !is_part(alive, dot, &edit.births) {
                continue;
            }
            let name = |(number, hlc): &(u32, Hlc)| Some((self.authors.get(*number)?, *hlc));
            let others = edit.seen.pairs().iter();
            let others = others.filter(|(number, _)| *number != dot.author);
            let mut seen: Vec<(NodeId, Hlc)> = others.filter_map(name).collect();
            seen.sort_unstable();
            let Some(author) = self.authors.get(*author) else {
                continue;
            };
            let view = EditView {
                author,
                hlc: *hlc,
                update: edit.update,
                seen: &seen,
                place: EditPlace(dot),
            };
            if visit(view).is_break() {
                return;
            }
        }
    }

    fn value<'e>(&self, state: &Stored<'e>) -> EntryValue<'e> {
        state.value(|number| self.authors.get(number))
    }
}

impl Snapshot {
    /// The context in `slot` as it was for the author of `delta` when that was made.
    ///
    /// Fails if the log does not reach back to the context's beginning, if the context has no
    /// such delta, or if there is more to be made anew than is bounded. Takes time and memory in
    /// proportion to the deltas up to the head.
    pub fn at(&self, slot: ContextSlot, delta: &DeltaId) -> Result<PastState<'_>, PastError> {
        let (positions, mut children) = self.past_of(slot, delta)?;
        let mut state = PastState {
            root: Root::EMPTY,
            authors: self.authors()?,
            entries: BTreeMap::new(),
        };
        let mut pasts: HashMap<DeltaId, VersionVector> = HashMap::new();
        let mut said = (Root::EMPTY, NodeId::from_bytes([0; 32]));
        let mut writes = 0;
        for position in positions.into_iter().rev() {
            let (_, view) = self.delta_at(slot, position)?;
            writes += u64::from(view.op_count());
            if writes > PAST_WRITES_MAX {
                return Err(PastError::TooLong {
                    limit: "writes",
                    max: PAST_WRITES_MAX,
                });
            }
            let mut seen = VersionVector::default();
            for parent in view.parents() {
                let Some(left) = children.get_mut(&parent) else {
                    continue;
                };
                *left -= 1;
                // The last one that follows it takes it.
                match *left {
                    0 => seen.join(&pasts.remove(&parent).unwrap_or_default()),
                    _ => seen.join(&pasts[&parent]),
                }
            }
            let author = state.number(view.author()).ok_or_else(|| {
                let key = layout::position_key(position);
                StoreError::corrupt("log record", &key, "its author is unknown")
            })?;
            let dot = Dot {
                author,
                hlc: view.hlc(),
            };
            let before = Rc::new(seen.clone());
            view.ops().for_each(|op| state.write(&op, dot, &before));
            seen.see(dot);
            pasts.insert(view.id(), seen);
            said = (view.root(), view.author());
        }
        let head = self.head(slot)?;
        state.root = state.digest(head.context.as_bytes())?;
        let (root, author) = said;
        match state.root == root {
            true => Ok(state),
            // What a peer says of its own nobody has checked.
            false if head.is_shared => {
                let delta = *delta;
                Err(PastError::OtherRoot { delta, author })
            }
            false => {
                let why = "the deltas up to it give another root than it says";
                Err(StoreError::corrupt("delta", delta.as_bytes(), why).into())
            }
        }
    }

    /// The positions of a delta and all that it follows, the newest first, and how many of
    /// them follow each.
    fn past_of(
        &self,
        slot: ContextSlot,
        delta: &DeltaId,
    ) -> Result<(Vec<u64>, HashMap<DeltaId, usize>), PastError> {
        let head = self.head(slot)?;
        let mut position = head.log_last;
        let mut wanted = BTreeSet::from([*delta]);
        let mut children: HashMap<DeltaId, usize> = HashMap::new();
        let mut positions = Vec::new();
        while position > head.log_pruned && !wanted.is_empty() {
            let (previous, view) = self.delta_at(slot, position)?;
            if wanted.remove(&view.id()) {
                positions.push(position);
                if positions.len() > PAST_DELTAS_MAX {
                    return Err(PastError::TooLong {
                        limit: "deltas",
                        max: PAST_DELTAS_MAX as u64,
                    });
                }
                for parent in view.parents() {
                    wanted.insert(parent);
                    *children.entry(parent).or_default() += 1;
                }
            }
            position = previous;
        }
        let delta = *delta;
        match (positions.is_empty(), wanted.is_empty()) {
            (_, true) => Ok((positions, children)),
            (true, false) if head.log_pruned == 0 => Err(PastError::Unknown { delta }),
            _ => Err(PastError::NotRetained { delta }),
        }
    }
}

impl<'s> PastState<'s> {
    fn number(&self, author: NodeId) -> Option<u32> {
        self.authors.find(author)
    }

    /// Merges one write, as it was merged when it was applied.
    fn write(&mut self, op: &OpView<'s>, dot: Dot, seen: &Rc<VersionVector>) {
        let past = Past::Seen(seen);
        let authors = &self.authors;
        let order = |a: u32, b: u32| authors.get(a).cmp(&authors.get(b));
        let entry = self.entries.entry((op.space, op.key.to_vec())).or_default();
        if op.removes_first {
            entry.remove(dot, past, order);
        }
        let effect = match op.write {
            WriteView::Remove => return entry.remove(dot, past, order),
            WriteView::Edit {
                kind,
                births,
                update,
            } => {
                let dots = births.iter().map(|birth: Birth| Dot {
                    author: authors.find(birth.author).unwrap_or(u32::MAX),
                    hlc: birth.hlc,
                });
                let mut dots: Vec<Dot> = dots.collect();
                dots.sort_unstable();
                let edit = PastEdit {
                    births: dots,
                    seen: Rc::clone(seen),
                    update,
                };
                return entry.edit(kind, edit, dot, past, order);
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
    }

    /// The root of all entries.
    fn digest(&self, context: &[u8; 32]) -> Result<Root, StoreError> {
        /// Nothing is stored anywhere.
        struct Nothing;
        impl NodeSource for Nothing {
            type Error = StoreError;
            fn node(&self, _: &NodePath) -> Result<Option<&[u8]>, StoreError> {
                Ok(None)
            }
        }
        let mut trie = Trie::open(*context, NOTHING, 0).expect("it is said twice to be empty");
        let mut digests = EntryDigest::default();
        let mut leaf = Vec::new();
        for ((space, key), entry) in &self.entries {
            let Some(state) = &entry.state else { continue };
            let unknown = |_| StoreError::corrupt("entry", key, "its author is unknown");
            let digest = digests.of(*space, key, state, &self.authors);
            let digest = digest.map_err(unknown)?;
            layout::trie_entry(&mut leaf, *space, key);
            trie.begin_round();
            let place = trie.load(&Nothing, &leaf, Intent::Put);
            let place = place.map_err(|_| unknown(crate::entry::UnknownAuthor))?;
            trie.set(&place, &leaf, Some(&digest));
        }
        Ok(Root::from_bytes(trie.root()))
    }
}

impl<'s> PastEntry<'s> {
    fn remove(&mut self, dot: Dot, past: Past<'_>, order: impl Fn(u32, u32) -> std::cmp::Ordering) {
        let merged = merge(self.state.take(), false, &Effect::Remove, dot, past, order);
        self.state = merged.entry;
        self.link_anew(&merged.dropped);
    }

    /// Works out the chains of sequences of which some births are gone and others are left.
    fn link_anew(&mut self, dropped: &[EntryKind]) {
        let Some(Stored::Sections(state)) = &mut self.state else {
            return;
        };
        for kind in dropped {
            let sequence = sequence_mut(state, *kind);
            if sequence.is_empty() {
                continue;
            }
            let mut anew = SequenceState {
                births: std::mem::take(&mut sequence.births),
                ..SequenceState::default()
            };
            for ((of, hlc, author), edit) in &self.edits {
                let dot = Dot {
                    author: *author,
                    hlc: *hlc,
                };
                if of == kind && is_part(&anew.births, dot, &edit.births) {
                    append(&mut anew, dot, edit.update);
                }
            }
            *sequence = anew;
        }
    }

    fn edit(
        &mut self,
        kind: EntryKind,
        edit: PastEdit<'s>,
        dot: Dot,
        past: Past<'_>,
        order: impl Fn(u32, u32) -> std::cmp::Ordering,
    ) {
        // The sequence alone, which borrows nothing, so that births need not live on.
        let mut state = self.state.take().map(State::from).unwrap_or_default();
        let mut alone = State::default();
        *sequence_mut(&mut alone, kind) = std::mem::take(sequence_mut(&mut state, kind));
        let effect = Effect::Edit {
            kind,
            births: &edit.births,
            update: edit.update,
        };
        let merged = merge(alone.into_stored(), false, &effect, dot, past, order);
        let (is_part, dropped) = (merged.appended.is_some(), merged.dropped);
        if let Some(Stored::Sections(mut merged)) = merged.entry {
            *sequence_mut(&mut state, kind) = std::mem::take(sequence_mut(&mut merged, kind));
        }
        self.state = state.into_stored();
        if is_part {
            self.edits.insert((kind, dot.hlc, dot.author), edit);
        }
        self.link_anew(&dropped);
    }
}

fn sequence<'a>(state: &'a State<'_>, kind: EntryKind) -> &'a SequenceState {
    match kind {
        EntryKind::List => &state.list,
        _ => &state.text,
    }
}

fn sequence_mut<'a>(state: &'a mut State<'_>, kind: EntryKind) -> &'a mut SequenceState {
    match kind {
        EntryKind::List => &mut state.list,
        _ => &mut state.text,
    }
}
