//! The way back through the log: from the head to a delta, and on until everything below is in
//! its past. What each delta had seen is noted as soon as others may name it as a parent
//! (`backlog.rs` says of those before); where one node alone writes, each follows all before it.

use std::collections::BTreeMap;

use super::PastBounds;
use crate::authors::Authors;
use crate::backlog::Backlog;
use crate::delta::DeltaView;
use crate::error::{PastError, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId, NodeId, Root};
use crate::layout::position_key;
use crate::record::Head;
use crate::snapshot::Snapshot;
use crate::version::{Dot, VersionVector};

/// The log of a context.
pub(super) struct Log<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) slot: ContextSlot,
    pub(super) head: Head,
    /// Deltas of which no record says what they had seen.
    backlog: Option<Backlog>,
}

/// A delta in it.
pub(super) struct Logged<'s> {
    pub(super) position: u64,
    pub(super) previous: u64,
    pub(super) dot: Dot,
    pub(super) delta: DeltaView<'s>,
}

/// A delta that was passed.
pub(super) struct Passed {
    pub(super) position: u64,
    pub(super) dot: Dot,
    /// The stamp of its author's delta before it, or one between both.
    pub(super) before: Hlc,
}

/// The way from the head to a delta, and to the last one that is not in its past.
pub(super) struct Way {
    /// The newest first.
    pub(super) passed: Vec<Passed>,
    /// The delta and all that it follows.
    pub(super) past: VersionVector,
    /// Whether everything further on is certainly in there.
    pub(super) is_sure: bool,
    /// The root that the delta says, and who has made it.
    pub(super) said: (Root, NodeId),
}

impl<'s> Log<'s> {
    pub(super) fn of(snapshot: &'s Snapshot, slot: ContextSlot) -> Result<Log<'s>, StoreError> {
        let head = snapshot.head(slot)?;
        let backlog = match head.is_shared {
            true => snapshot.backlog(slot)?,
            false => Some(Backlog {
                position: head.log_last,
                seen: head.seen.clone(),
            }),
        };
        Ok(Log {
            snapshot,
            slot,
            head,
            backlog,
        })
    }

    pub(super) fn at(&self, authors: &Authors, position: u64) -> Result<Logged<'s>, StoreError> {
        let logged = self.snapshot.logged(self.slot, position)?;
        let key = position_key(position);
        let delta = logged.delta(&key)?;
        let unknown = || StoreError::corrupt("log record", &key, "its author is unknown");
        Ok(Logged {
            position,
            previous: logged.previous,
            dot: Dot {
                author: authors.find(delta.author()).ok_or_else(unknown)?,
                hlc: delta.hlc(),
            },
            delta,
        })
    }

    /// What a delta had seen, without itself. None if nothing says so.
    pub(super) fn seen_by(&self, logged: &Logged<'_>) -> Result<Option<VersionVector>, StoreError> {
        self.seen_by_id(logged.position, logged.dot, || logged.delta.id())
    }

    /// The same of the delta with this id, which is asked for only if it is needed.
    pub(super) fn seen_by_id(
        &self,
        position: u64,
        dot: Dot,
        id: impl FnOnce() -> DeltaId,
    ) -> Result<Option<VersionVector>, StoreError> {
        let backlog = self.backlog.as_ref();
        if let Some(backlog) = backlog.filter(|backlog| position <= backlog.position) {
            return Ok(Some(backlog.past_of(dot, position).seen));
        }
        let node = self.snapshot.dag_node(self.slot, &id())?;
        Ok(node.map(|node| node.seen))
    }

    /// The way to `delta`. None if nothing says what a delta on it had seen.
    pub(super) fn way_to(
        &self,
        authors: &Authors,
        delta: &DeltaId,
        bounds: &PastBounds<'_>,
    ) -> Result<Option<Way>, PastError> {
        let head = &self.head;
        let mut passed = Vec::new();
        let mut found = None;
        // Up to which stamp there are deltas of each author further on.
        let mut rest: BTreeMap<u32, Hlc> = head.seen.pairs().iter().copied().collect();
        let is_in = |past: &VersionVector, rest: &BTreeMap<u32, Hlc>| {
            let mut rest = rest.iter();
            rest.all(|(author, hlc)| past.stamp(*author) >= *hlc)
        };
        let mut position = head.log_last;
        let mut is_sure = false;
        while position > head.log_pruned && !is_sure {
            bounds.go_on()?;
            bounds.check_deltas(passed.len() + 1)?;
            let logged = self.at(authors, position)?;
            let (dot, id) = (logged.dot, logged.delta.id());
            let Some(mut seen) = self.seen_by_id(position, dot, || id)? else {
                return Ok(None);
            };
            let before = seen.stamp(dot.author);
            rest.insert(dot.author, before);
            passed.push(Passed {
                position,
                dot,
                before,
            });
            if id == *delta {
                seen.see(dot);
                found = Some((seen, (logged.delta.root(), logged.delta.author())));
            }
            // In a context of one node it follows all before it.
            let found = found.as_ref();
            is_sure = found.is_some_and(|(past, _)| !head.is_shared || is_in(past, &rest));
            position = logged.previous;
        }
        let delta = *delta;
        match found {
            Some((past, said)) => Ok(Some(Way {
                passed,
                past,
                is_sure: is_sure || head.log_pruned == 0,
                said,
            })),
            None if head.log_pruned == 0 => Err(PastError::Unknown { delta }),
            None => Err(PastError::NotRetained { delta }),
        }
    }
}

impl Way {
    /// What is to be gone back over, the newest first: all down to the last one that is not in
    /// the past. And what there is below.
    pub(super) fn undone(&self, head: &Head) -> (&[Passed], VersionVector) {
        let is_beside = |passed: &Passed| !self.past.has_seen(passed.dot);
        let undone = match self.passed.iter().rposition(is_beside) {
            Some(last) => &self.passed[..=last],
            None => &[],
        };
        let mut rest: BTreeMap<u32, Hlc> = head.seen.pairs().iter().copied().collect();
        for passed in undone {
            rest.insert(passed.dot.author, passed.before);
        }
        let rest = rest.into_iter().filter(|pair| pair.1 > Hlc::ZERO);
        let rest = VersionVector::from_pairs(rest).expect("a map is in order");
        (undone, rest)
    }
}
