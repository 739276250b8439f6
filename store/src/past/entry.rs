//! An entry as it was, and what a write makes of it: merged as when it was applied, with
//! edits in memory.

use std::cmp::Ordering;

use super::edits::{PastEdit, PastEdits};
use crate::entry::{Effect, EntryKind, SequenceState, State, Stored, append, merge};
use crate::version::{Dot, Past};

/// An entry as it was.
#[derive(Default)]
pub(super) struct PastEntry<'s> {
    pub(super) state: Option<Stored<'s>>,
    /// Edits that were merged, and those of the kinds that are loaded.
    pub(super) edits: PastEdits<'s>,
    /// Kinds of sequences whose edits were all read.
    pub(super) loaded: Vec<EntryKind>,
}

impl<'s> PastEntry<'s> {
    pub(super) fn remove(
        &mut self,
        dot: Dot,
        past: Past<'_>,
        order: impl Fn(u32, u32) -> Ordering,
    ) {
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
            for ((of, ..), edit) in &self.edits {
                if of == kind && edit.is_part(&anew) {
                    append(&mut anew, edit.dot, edit.basis(), edit.update);
                }
            }
            *sequence = anew;
        }
    }

    pub(super) fn edit(
        &mut self,
        kind: EntryKind,
        edit: PastEdit<'s>,
        past: Past<'_>,
        order: impl Fn(u32, u32) -> Ordering,
    ) {
        // The sequence alone, which borrows nothing, so that births need not live on.
        let mut state = self.state.take().map(State::from).unwrap_or_default();
        let mut alone = State::default();
        *sequence_mut(&mut alone, kind) = std::mem::take(sequence_mut(&mut state, kind));
        let effect = Effect::Edit {
            kind,
            births: &edit.births,
            basis: edit.basis(),
            is_sound: true,
            update: edit.update,
        };
        let merged = merge(alone.into_stored(), false, &effect, edit.dot, past, order);
        let (is_part, dropped) = (merged.appended.is_some(), merged.dropped);
        if let Some(Stored::Sections(mut merged)) = merged.entry {
            *sequence_mut(&mut state, kind) = std::mem::take(sequence_mut(&mut merged, kind));
        }
        self.state = state.into_stored();
        if is_part {
            edit.note(kind, &mut self.edits);
        }
        self.link_anew(&dropped);
    }
}

pub(super) fn sequence<'a>(state: &'a State<'_>, kind: EntryKind) -> &'a SequenceState {
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
