//! Whether what others have signed is of its context and holds: seals, proof against
//! authors; and what is left to be entered of a context that was shared.

use crate::authors::Authors;
use crate::backlog::Backlog;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, NodeId};
use crate::kept::{KeptSeal, read_fork};
use crate::layout;
use crate::record::Head;
use crate::seal::{Branch, Fork, SealChecker};
use crate::snapshot::Snapshot;

/// Verifies every signature. Each sealed delta is known, or was pruned.
pub(super) fn check_signed(
    snapshot: &Snapshot,
    slot: ContextSlot,
    head: &Head,
    authors: &Authors,
) -> Result<(), StoreError> {
    let author_of = |key: &[u8]| -> Option<NodeId> { authors.get(layout::seal_author(key)?) };
    let mut checker = SealChecker::default();
    snapshot.each_of(
        |tables| tables.seals,
        slot,
        |key, bytes| {
            let corrupt = |why| StoreError::corrupt("seal", key, why);
            let kept = KeptSeal::read(key, bytes, head.context)?;
            let (delta, seal) = (kept.sealed.delta(), kept.sealed.seal().clone());
            let sealed = checker.check(seal, head.context, delta);
            let sealed = sealed.map_err(|_| corrupt("its signature does not hold"))?;
            if Some(sealed.author()) != author_of(key) {
                return Err(corrupt("it is another author's"));
            }
            let author = layout::seal_author(key);
            let seen = author.map_or(Hlc::ZERO, |author| head.seen.stamp(author));
            if kept.stamp > seen || kept.version > head.version {
                return Err(corrupt("it is of more than its context has"));
            }
            match snapshot.dag_node(slot, &delta)? {
                Some(node) if node.dot.hlc != kept.stamp => {
                    Err(corrupt("its delta has another stamp"))
                }
                Some(node) if authors.get(node.dot.author) != Some(sealed.author()) => {
                    Err(corrupt("its delta is another author's"))
                }
                Some(_) => Ok(()),
                None if head.log_pruned > 0 => Ok(()),
                None => Err(corrupt("its delta is missing")),
            }
        },
    )?;
    snapshot.each_of(
        |tables| tables.forks,
        slot,
        |key, bytes| {
            let Fork { known, other } = read_fork(key, bytes)?;
            let is_of = |branch: &Branch| {
                let is_here = branch.context() == head.context;
                is_here && Some(branch.author()) == author_of(key)
            };
            let why = "its deltas are not two of its author in its context";
            match is_of(&known) && is_of(&other) && known.delta() != other.delta() {
                true => Ok(()),
                false => Err(StoreError::corrupt("proof against an author", key, why)),
            }
        },
    )?;
    snapshot.each_of(
        |tables| tables.backlog,
        slot,
        |key, bytes| Backlog::read(key, bytes).map(drop),
    )
}
