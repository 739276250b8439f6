//! A state made of all deltas that lead to it, where the log has them all but does not say what
//! they have replaced, as they came with a copy or are from before that was kept, or where there
//! are too many to go back over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::{PastBounds, PastState};
use crate::error::{PastError, StoreError};
use crate::ids::{ContextSlot, DeltaId, NodeId, Root};
use crate::snapshot::Snapshot;
use crate::trie::{NOTHING, NodePath, NodeSource, Trie};
use crate::version::{Dot, VersionVector};

/// Nothing is stored anywhere.
struct Nowhere;

impl NodeSource for Nowhere {
    type Error = StoreError;
    fn node(&self, _: &NodePath) -> Result<Option<&[u8]>, StoreError> {
        Ok(None)
    }
}

/// The state after `delta`, if the log reaches back to the context's beginning.
pub(super) fn state_at<'s>(
    snapshot: &'s Snapshot,
    slot: ContextSlot,
    delta: &DeltaId,
    bounds: PastBounds<'s>,
) -> Result<PastState<'s>, PastError> {
    let (positions, mut children) = past_of(snapshot, slot, delta, &bounds)?;
    let mut state = PastState {
        bounds,
        root: Root::EMPTY,
        authors: snapshot.authors()?,
        entries: BTreeMap::new(),
        base: None,
    };
    let mut pasts: HashMap<DeltaId, VersionVector> = HashMap::new();
    let mut said = (Root::EMPTY, NodeId::from_bytes([0; 32]));
    let mut writes = 0;
    for position in positions.into_iter().rev() {
        bounds.go_on()?;
        let (_, view) = snapshot.delta_at(slot, position)?;
        writes += u64::from(view.op_count());
        bounds.check_writes(writes)?;
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
        let dot = Dot {
            author: state.number(view.author(), position)?,
            hlc: view.hlc(),
        };
        let before = Rc::new(seen.clone());
        for op in view.ops() {
            state.write(&op, dot, &before)?;
        }
        seen.see(dot);
        pasts.insert(view.id(), seen);
        said = (view.root(), view.author());
    }
    let head = snapshot.head(slot)?;
    let trie = Trie::open(*head.context.as_bytes(), NOTHING, 0);
    let trie = trie.expect("it is said twice to be empty");
    state.root = state.digest(trie, &Nowhere, slot)?;
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
    snapshot: &Snapshot,
    slot: ContextSlot,
    delta: &DeltaId,
    bounds: &PastBounds<'_>,
) -> Result<(Vec<u64>, HashMap<DeltaId, usize>), PastError> {
    let head = snapshot.head(slot)?;
    let mut position = head.log_last;
    let mut wanted = BTreeSet::from([*delta]);
    let mut children: HashMap<DeltaId, usize> = HashMap::new();
    let mut positions = Vec::new();
    let mut rows = 0;
    while position > head.log_pruned && !wanted.is_empty() {
        bounds.go_on()?;
        rows += 1;
        bounds.check_rows(rows)?;
        let (previous, view) = snapshot.delta_at(slot, position)?;
        if wanted.remove(&view.id()) {
            positions.push(position);
            bounds.check_deltas(positions.len())?;
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
