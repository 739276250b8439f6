//! What a plan finds out about the edits of a list or text: what each has seen of those before it,
//! whether that is there, and how they are chained when some births are gone. How edits are
//! stored is in `crate::edits`.

use super::{EDIT_WORK_BYTES, Incoming};
use crate::apply::{Pass, Stop, before_writing};
use crate::authors::Authors;
use crate::change::Birth;
use crate::delta::{BIRTH_BYTES, OpView, STAMP_BYTES, WriteView};
use crate::edits::{self, Alive, Basis, EditError, SeenOfNamed, StoredEdit, is_beneath};
use crate::entry::{EntryKind, SequenceState, State, Stored, append};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ID_BYTES, NodeId};
use crate::layout;
use crate::sequence::named_in;
use crate::version::{Dot, Past};

impl Pass<'_> {
    /// Births as this ledger knows them. One of an author that it does not know is
    /// none of any sequence here.
    pub(super) fn dots(&self, births: impl Iterator<Item = Birth>) -> Vec<Dot> {
        let dot = |birth: Birth| Dot {
            author: self.authors.find(birth.author).unwrap_or(u32::MAX),
            hlc: birth.hlc,
        };
        let mut dots: Vec<Dot> = births.map(dot).collect();
        dots.sort_unstable();
        dots
    }

    /// Works out the chains of sequences of which some births are gone and others
    /// are left, from the edits that stay. Gives how many bytes it has read.
    pub(super) fn link_anew(
        &self,
        incoming: &Incoming,
        (op, basis): (&OpView<'_>, Option<Basis<'_>>),
        state: &mut State<'_>,
        dropped: &[EntryKind],
    ) -> Result<u64, Stop> {
        let mut read_bytes = 0;
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
            let alive = Alive::of(&anew.births, |number| Ok(self.authors.get(number)));
            let alive = alive.map_err(before_writing)?;
            let failed = |error| match error {
                EditError::Engine(error) => self.stop(error),
                EditError::Damaged(error) => before_writing(error),
            };
            let stored = edits::read(&self.tables, &self.txn, &prefix, &[]).map_err(failed)?;
            for edit in stored {
                let edit = edit.map_err(failed)?;
                read_bytes += edit.stored_bytes + EDIT_WORK_BYTES;
                if alive.needs(&edit) {
                    let seen = self.seen_of(&edit)?;
                    let basis = edit.linked().map(|births| Basis {
                        births,
                        seen: &seen,
                    });
                    append(&mut anew, edit.dot, basis, edit.update());
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
                append(&mut anew, incoming.dot, basis, update);
            }
            *sequence = anew;
        }
        Ok(read_bytes)
    }

    /// What a linked edit had seen of those whom it names.
    fn seen_of(&self, edit: &StoredEdit<'_>) -> Result<Vec<[u8; BIRTH_BYTES]>, Stop> {
        if edit.linked().is_none() {
            return Ok(Vec::new());
        }
        let seen = edit.seen(&self.tables, &self.txn);
        let seen = seen.map_err(|error| self.unread(error))?;
        let named = SeenOfNamed::stored(&seen, |number| self.authors.get(number));
        let unknown = || StoreError::corrupt("edit", &[], "an author whom it names is unknown");
        Ok(named.ok_or_else(|| before_writing(unknown()))?.by_name)
    }

    /// Whether what an edit says that it had seen is there, and was seen. An edit of the sequence whose
    /// births are all among its own is there as long as it is; so all nodes that have its births say the same.
    pub(super) fn is_sound(
        &self,
        prefix: &[u8],
        said: &SeenOfNamed,
        births: &[[u8; BIRTH_BYTES]],
        past: Past<'_>,
    ) -> Result<bool, Stop> {
        for &(author, hlc) in said.by_number.pairs() {
            let dot = Dot { author, hlc };
            let found = edits::find(&self.tables, &self.txn, prefix, dot);
            let found = found.map_err(|error| self.unread(error))?;
            let name = self.authors.get(author);
            let is_there = match (found, name) {
                (Some(edit), Some(name)) => is_beneath(&edit, name, births),
                _ => false,
            };
            if !is_there || !past.has_seen(dot) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn unread(&self, error: EditError) -> Stop {
        match error {
            EditError::Engine(error) => self.stop(error),
            EditError::Damaged(error) => before_writing(error),
        }
    }
}

/// What an edit had seen of those whom it names, if that is all that there is as far as its delta had
/// seen it.
pub(super) fn seen_of_all(
    old: Option<&Stored<'_>>,
    kind: EntryKind,
    update: &[u8],
    authors: &Authors,
    past: Past<'_>,
) -> Vec<[u8; STAMP_BYTES]> {
    let chains = match old {
        Some(Stored::Sections(state)) if kind == EntryKind::List => &state.list.chains[..],
        Some(Stored::Sections(state)) => &state.text.chains,
        _ => &[],
    };
    let last = |name: &[u8; ID_BYTES]| {
        let number = authors.find(NodeId::from_bytes(*name))?;
        let at = chains.binary_search_by_key(&number, |chain| chain.last.author);
        past.stamp(chains[at.ok()?].last)
    };
    let named = named_in(update).iter();
    let stamps = named.map(|name| last(name).unwrap_or(Hlc::ZERO));
    stamps.map(|hlc| hlc.bits().to_le_bytes()).collect()
}
