//! A state as what differs from the one that is there now: what the deltas since have replaced
//! is laid over the snapshot, and those of them that belong to the past are merged into that
//! again.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::entry::PastEntry;
use super::log::Log;
use super::{Base, PastBounds, PastState};
use crate::befores::Before;
use crate::error::{PastError, StoreError};
use crate::ids::{ContextSlot, DeltaId, Root};
use crate::layout::{position_key, slot_key};
use crate::snapshot::Snapshot;
use crate::trie::Trie;

/// The state after `delta`. None if the log does not say all that it takes: a delta came with a
/// copy, say.
pub(super) fn state_at<'s>(
    snapshot: &'s Snapshot,
    slot: ContextSlot,
    delta: &DeltaId,
    bounds: PastBounds<'s>,
) -> Result<Option<PastState<'s>>, PastError> {
    let log = Log::of(snapshot, slot)?;
    let authors = snapshot.authors()?;
    let Some(way) = log.way_to(&authors, delta, &bounds)? else {
        return Ok(None);
    };
    let (undone, below) = way.undone(&log.head);
    let mut state = PastState {
        bounds,
        root: Root::EMPTY,
        authors,
        entries: BTreeMap::new(),
        base: Some(Base {
            log,
            delta: *delta,
            has: below,
            edits_in_log: OnceCell::new(),
        }),
    };
    let mut writes = 0;
    for passed in undone {
        if !state.undo(passed.position, &mut writes)? {
            return Ok(None);
        }
    }
    for passed in undone.iter().rev() {
        if way.past.has_seen(passed.dot) && !state.do_again(passed.position)? {
            return Ok(None);
        }
    }
    let (said, author) = way.said;
    let base = state.base.as_mut().expect("it was put there above");
    base.has = way.past;
    let head = &base.log.head;
    let is_shared = head.is_shared;
    let trie = Trie::open(
        *head.context.as_bytes(),
        *head.root.as_bytes(),
        head.replicated,
    );
    let trie = trie.ok_or_else(|| {
        let why = "only one of root and number of entries says that it is empty";
        StoreError::corrupt("head record", &slot_key(slot), why)
    })?;
    state.root = state.digest(trie, &snapshot.trie_table(slot), slot)?;
    let delta = *delta;
    match state.root == said {
        true => Ok(Some(state)),
        // What was pruned may lie beside the delta.
        false if !way.is_sure => Err(PastError::NotRetained { delta }),
        // What a peer says of its own nobody has checked.
        false if is_shared => Err(PastError::OtherRoot { delta, author }),
        false => {
            let why = "what was replaced since it was made leads to another root than it says";
            Err(StoreError::corrupt("delta", delta.as_bytes(), why).into())
        }
    }
}

impl<'s> PastState<'s> {
    /// Puts back what the delta at `position` has replaced; the state is that after it. `false` if
    /// that is not kept.
    fn undo(&mut self, position: u64, writes: &mut u64) -> Result<bool, PastError> {
        self.bounds.go_on()?;
        let base = self.base.as_ref().expect("it is gone back from there");
        let logged = base.log.snapshot.logged(base.log.slot, position)?;
        if logged.befores.is_none() {
            return Ok(false);
        }
        let key = position_key(position);
        let delta = logged.delta(&key)?;
        *writes += u64::from(delta.op_count());
        self.bounds.check_writes(*writes)?;
        let entries = &mut self.entries;
        logged.each_before(&key, &delta, |op, before| {
            let place = (op.space, op.key.to_vec());
            let state = match before {
                Before::Same => return Ok(()),
                Before::Nothing => None,
                Before::State(state) => Some(state),
                Before::Other(difference) => {
                    let after = match entries.remove(&place) {
                        Some(entry) => entry.state,
                        None => base.entry(op.space, op.key)?,
                    };
                    let before = difference.before(after).ok_or_else(|| {
                        let why =
                            "what it says that the delta has replaced is not what the entry was";
                        StoreError::corrupt("log record", &key, why)
                    })?;
                    Some(before)
                }
            };
            let entry = PastEntry {
                state,
                ..PastEntry::default()
            };
            entries.insert(place, entry);
            Ok(())
        })?;
        Ok(true)
    }

    /// Merges the delta at `position` into the state again. `false` if nothing says what it had
    /// seen.
    fn do_again(&mut self, position: u64) -> Result<bool, PastError> {
        self.bounds.go_on()?;
        let base = self.base.as_ref().expect("what was undone is laid over it");
        let logged = base.log.at(&self.authors, position)?;
        let Some(seen) = base.log.seen_by(&logged)? else {
            return Ok(false);
        };
        let seen = Rc::new(seen);
        for op in logged.delta.ops() {
            self.write(&op, logged.dot, &seen)?;
        }
        let base = self.base.as_mut().expect("it is still there");
        base.has.see(logged.dot);
        Ok(true)
    }
}
