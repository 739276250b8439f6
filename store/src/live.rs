//! Live sequences out of stored edits: the one place where an entry's edits become a
//! list or text. Reads only; when a saved form is kept, and where, is its caller's to say.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::change::Births;
use crate::entry::{EntryKind, Space};
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, NodeId};
use crate::sequence::{Sequence, SequenceError, SequenceKind};
use crate::snapshot::{EditView, Snapshot};

/// A list or text, and which edits are in it.
#[derive(Clone, Debug)]
pub struct LiveSequence {
    /// What the edits make.
    pub sequence: Sequence,
    /// The births that it had when it was read: what an edit of it builds on.
    pub births: Births,
    /// The newest edit of each author that was read, void ones too.
    newest: BTreeMap<NodeId, Hlc>,
    /// How many edits were void.
    voided: u64,
}

/// A [`LiveSequence`] in bytes, to be gone on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSequence {
    /// The births that it had.
    pub births: Births,
    /// The newest edit of each author that is in it, or is void.
    pub newest: Vec<(NodeId, Hlc)>,
    /// What [`Sequence::save`] gave.
    pub bytes: Vec<u8>,
}

impl Snapshot {
    /// The list or text under `key`, which `author` edits here; none if there is none.
    ///
    /// It is made of the saved form and the edits that are not in it, or of all edits that
    /// the entry still has if there is no saved form, if it is damaged, or if a birth that
    /// it had is gone, and with it edits that are in it. Edits are taken in the order of
    /// their stamps. One that the sequence refuses is void: it changes nothing, and the
    /// others go on.
    ///
    /// This is the same sequence, to the byte, as that of a node which has applied each
    /// edit when its delta came. Stamps grow along causes, so the order of stamps is one in
    /// which deltas can come; and in whatever such order they come, the sequence refuses the
    /// same ones, as it looks at nothing but what the delta had seen
    /// (`sequence/apply.rs`). That is the same here and there for every edit that the
    /// entry still has. For such an edit E, all births that it builds on are there. What its
    /// author had when it made E was made of edits that build on these births alone,
    /// as E names all births that were there; so all of them are still here. What else E's
    /// delta had seen was gone for its author by a removal which E's delta had seen too, and
    /// is gone here. An author who lies about births can void its own edits by that, but no
    /// other author's.
    ///
    /// # Errors
    /// [`StoreError`], if records cannot be read. What an edit says is none.
    pub fn live_sequence(
        &self,
        slot: ContextSlot,
        space: Space,
        key: &[u8],
        kind: EntryKind,
        author: NodeId,
        saved: Option<&SavedSequence>,
    ) -> Result<Option<LiveSequence>, StoreError> {
        let Some(facts) = self.sequence(slot, space, key, kind)? else {
            return Ok(None);
        };
        let opened = saved.and_then(|saved| open(saved, &facts.births, kind, author));
        let mut live = opened.unwrap_or_else(|| LiveSequence::new(kind, author));
        live.births = facts.births;
        self.edits(slot, space, key, kind, &mut |edit| {
            live.take(&edit);
            ControlFlow::Continue(())
        })?;
        Ok(Some(live))
    }
}

/// What was saved, if all that is in it is still there.
fn open(
    saved: &SavedSequence,
    births: &Births,
    kind: EntryKind,
    author: NodeId,
) -> Option<LiveSequence> {
    let are_there = saved.births.iter().all(|birth| births.contains(&birth));
    let sequence = Sequence::open(author, &saved.bytes).ok()?;
    (are_there && sequence.kind() == kind_of(kind)).then(|| LiveSequence {
        sequence,
        births: Births::default(),
        newest: saved.newest.iter().copied().collect(),
        voided: 0,
    })
}

/// The kind of sequence that an entry of this kind has.
fn kind_of(kind: EntryKind) -> SequenceKind {
    match kind {
        EntryKind::List => SequenceKind::List,
        _ => SequenceKind::Text,
    }
}

impl LiveSequence {
    /// One of which there is no edit yet; a text, if it is no list.
    pub fn new(kind: EntryKind, author: NodeId) -> LiveSequence {
        LiveSequence {
            sequence: Sequence::new(kind_of(kind), author),
            births: Births::default(),
            newest: BTreeMap::new(),
            voided: 0,
        }
    }

    /// Takes in an edit that is still part of the sequence, unless it has it.
    fn take(&mut self, edit: &EditView<'_>) {
        if self
            .newest
            .get(&edit.author)
            .is_some_and(|newest| *newest >= edit.hlc)
        {
            return;
        }
        self.newest.insert(edit.author, edit.hlc);
        let seen = |author: &NodeId| {
            let found = edit
                .seen
                .binary_search_by_key(author, |(author, _)| *author);
            found.map_or(Hlc::ZERO, |at| edit.seen[at].1)
        };
        let applied = self
            .sequence
            .apply(edit.author, edit.hlc, seen, edit.update);
        self.voided += u64::from(applied.is_err());
    }

    /// How many edits were void when it was read: their authors have lied, or are of
    /// another version.
    pub fn voided(&self) -> u64 {
        self.voided
    }

    /// Its saved form.
    ///
    /// # Errors
    /// [`SequenceError::EditsWait`].
    pub fn save(&self) -> Result<SavedSequence, SequenceError> {
        Ok(SavedSequence {
            births: self.births.clone(),
            newest: self
                .newest
                .iter()
                .map(|(author, hlc)| (*author, *hlc))
                .collect(),
            bytes: self.sequence.save()?,
        })
    }
}
