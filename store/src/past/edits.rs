//! The edits that a list or text had. They have rows of their own as long as the sequence has
//! them; what a removal has left is swept, and then only the log may have it.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Base, dots};
use crate::authors::Authors;
use crate::delta::WriteView;
use crate::edits::{self, EditError, is_part};
use crate::entry::{EntryKind, SequenceState, Space};
use crate::error::{PastError, StoreError};
use crate::hlc::Hlc;
use crate::layout;
use crate::snapshot::unreadable;
use crate::version::{Dot, VersionVector};

/// An edit as it was made.
#[derive(Clone)]
pub(super) struct PastEdit<'s> {
    pub(super) dot: Dot,
    pub(super) births: Vec<Dot>,
    /// What its delta had seen; of authors that have nothing to do with it, perhaps not.
    pub(super) seen: Rc<VersionVector>,
    pub(super) update: &'s [u8],
}

/// Edits of an entry, each behind all that its delta had seen.
pub(super) type PastEdits<'s> = BTreeMap<(EntryKind, Hlc, u32), PastEdit<'s>>;

impl<'s> PastEdit<'s> {
    pub(super) fn is_part(&self, of: &SequenceState) -> bool {
        is_part(&of.births, self.dot, &self.births)
    }

    /// Puts it among others.
    pub(super) fn note(self, kind: EntryKind, edits: &mut PastEdits<'s>) {
        edits.insert((kind, self.dot.hlc, self.dot.author), self);
    }
}

impl<'s> Base<'s> {
    /// Completes the edits of a list or text of which `had` is what its entry says.
    pub(super) fn find_edits(
        &self,
        authors: &Authors,
        (space, key, kind): (Space, &[u8], EntryKind),
        had: &SequenceState,
        edits: &mut PastEdits<'s>,
    ) -> Result<(), PastError> {
        let unread = |error| match error {
            EditError::Engine(error) => unreadable(error),
            EditError::Damaged(error) => error,
        };
        let snapshot = self.log.snapshot;
        let mut prefix = Vec::new();
        layout::edits_prefix(&mut prefix, self.log.slot, space, key, kind);
        let stored = edits::read(snapshot.tables.edits, &snapshot.txn, &prefix, &[]);
        for stored in stored.map_err(unread)? {
            let stored = stored.map_err(unread)?;
            if !self.has.has_seen(stored.dot) {
                continue;
            }
            let mut edit = PastEdit {
                dot: stored.dot,
                births: dots(authors, stored.births()),
                seen: Rc::default(),
                update: stored.update(),
            };
            if !edit.is_part(had) {
                continue;
            }
            match snapshot.edit_seen(stored.key)? {
                Some(seen) => edit.seen = Rc::new(seen),
                None if stored.has_seen => {
                    return Err(edits::seen_is_missing(stored.key).into());
                }
                None => {}
            }
            edit.note(kind, edits);
        }
        if lacks(had, kind, edits) {
            self.find_edits_in_log(authors, (space, key, kind), had, edits)?;
        }
        match lacks(had, kind, edits) {
            false => Ok(()),
            true => Err(PastError::EditsNotRetained {
                delta: self.delta,
                kind,
                key: String::from_utf8_lossy(key).into_owned(),
            }),
        }
    }

    /// The same of those that are swept, and whose deltas are not pruned.
    fn find_edits_in_log(
        &self,
        authors: &Authors,
        (space, key, kind): (Space, &[u8], EntryKind),
        had: &SequenceState,
        edits: &mut PastEdits<'s>,
    ) -> Result<(), StoreError> {
        let mut position = self.log.head.log_last;
        while position > self.log.head.log_pruned && lacks(had, kind, edits) {
            let logged = self.log.at(authors, position)?;
            position = logged.previous;
            if !self.has.has_seen(logged.dot) {
                continue;
            }
            let is_here = |space_of: Space, key_of: &[u8]| space_of == space && key_of == key;
            let mut ops = logged.delta.ops();
            let Some(op) = ops.find(|op| is_here(op.space, op.key)) else {
                continue;
            };
            let WriteView::Edit {
                kind: of,
                births,
                update,
            } = op.write
            else {
                continue;
            };
            let edit = PastEdit {
                dot: logged.dot,
                births: dots(authors, births.iter()),
                seen: Rc::new(self.log.seen_by(&logged)?.unwrap_or_default()),
                update,
            };
            // One that names what its author cannot have seen was never part of it.
            let has_seen = |birth: &Dot| edit.seen.has_seen(*birth);
            if of == kind && edit.is_part(had) && edit.births.iter().all(has_seen) {
                edit.note(kind, edits);
            }
        }
        Ok(())
    }
}

/// Whether there are fewer of an author than the entry says.
fn lacks(had: &SequenceState, kind: EntryKind, edits: &PastEdits<'_>) -> bool {
    let mut found: BTreeMap<u32, u64> = BTreeMap::new();
    for ((of, _, author), edit) in edits {
        if *of == kind && edit.is_part(had) {
            *found.entry(*author).or_default() += 1;
        }
    }
    let mut chains = had.chains.iter();
    chains.any(|chain| found.get(&chain.last.author) != Some(&chain.edits))
}
