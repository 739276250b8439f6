//! A delta of another node: applied once, after everything that it follows. What its
//! author had seen is worked out from its parents, so that concurrent writes merge
//! the same everywhere (`store/decisions/0007-state-that-merges.md`). That its author has made
//! it was checked before, or there would be no [`VouchedDelta`](crate::VouchedDelta). What
//! is refused here for good is refused by every node, whatever else that has and in whatever
//! order it came: it depends on the delta and on what that follows alone. Of the two sides
//! of a fork each node refuses the one that came later.

use super::plan::{Incoming, Plan, Whose};
use super::{Pass, RECENT_DELTAS_MAX, Receipt, Stop, before_writing};
use crate::backlog::Backlog;
use crate::change::{RemoteDelta, Standing};
use crate::delta::{DELTA_PARENTS_MAX, DeltaView};
use crate::error::Refused;
use crate::hlc::Hlc;
use crate::ids::{ContextId, ContextSlot, DeltaId, Root};
use crate::layout::{dag_key, slot_key};
use crate::local;
use crate::record::DagNode;
use crate::version::{CONTEXT_AUTHORS_MAX, Dot, Past, VersionVector};

/// By how much a head grows at most with a delta that does not follow all of what it has: by an
/// id, and by an author with a stamp.
const HEAD_GROWTH_BYTES: u64 = 48;

/// What a delta follows.
enum Follows {
    /// All that is there.
    Everything,
    /// The deltas that this has seen.
    Some(VersionVector),
}

impl Pass<'_> {
    pub(super) fn remote(&mut self, remote: &RemoteDelta) -> Result<Receipt, Stop> {
        let delta = DeltaView::parse(remote.delta.canonical())
            .map_err(|source| Refused::Malformed { source })?;
        let context = delta.context();
        let slot = match remote.slot {
            ContextSlot::UNASSIGNED => self.find(&context)?.slot,
            slot => slot,
        };
        let head = self
            .head(slot)?
            .ok_or(Refused::UnknownContext { context })?;
        if head.context != context {
            return Err(Refused::WrongSlot { context, slot }.into());
        }
        self.check_service(slot, context)?;
        self.check_authors(slot, &delta)?;
        self.remote_in(slot, remote.delta.id(), &delta)
    }

    /// Refuses an author who would be one more than a context takes from other nodes. Not asked when
    /// the journal is replayed, as that has what was taken.
    fn check_authors(&self, slot: ContextSlot, delta: &DeltaView<'_>) -> Result<(), Refused> {
        let seen = &self.heads[&slot].head.seen;
        if seen.pairs().len() < CONTEXT_AUTHORS_MAX {
            return Ok(());
        }
        let author = delta.author();
        let number = self.authors.find(author);
        match number.is_some_and(|number| seen.stamp(number) > Hlc::ZERO) {
            true => Ok(()),
            false => Err(Refused::TooManyAuthors {
                author,
                context: delta.context(),
                max: CONTEXT_AUTHORS_MAX,
            }),
        }
    }

    /// The same, in a slot that is known to be the context's.
    pub(super) fn remote_in(
        &mut self,
        slot: ContextSlot,
        id: DeltaId,
        delta: &DeltaView<'_>,
    ) -> Result<Receipt, Stop> {
        let incoming = self.incoming(slot, delta.author(), delta.hlc());
        let author = incoming.dot.author;
        // An author's deltas follow one another, so one that is no newer than the newest is
        // here already, or one of two that do not know of each other.
        let newest = self.heads[&slot].head.seen.stamp(author);
        if delta.hlc() <= newest {
            return match self.dag_node(slot, &id)? {
                Some(_) => Err(Refused::AppliedBefore { delta: id }.into()),
                None if self.heads[&slot].head.deltas.contains(&id) => {
                    Err(Refused::AppliedBefore { delta: id }.into())
                }
                None if self.was_pruned(slot, incoming.dot)? => {
                    let context = delta.context();
                    Err(Refused::Pruned { delta: id, context }.into())
                }
                None => Err(Refused::NotNewer {
                    delta: id,
                    got: delta.hlc(),
                    newest,
                }
                .into()),
            };
        }
        let follows = self.follows(slot, id, delta)?;
        if let Follows::Some(seen) = &follows
            && seen.stamp(author) != newest
        {
            let author = delta.author();
            return Err(Refused::Forked { delta: id, author }.into());
        }
        let heads = &self.heads[&slot].head.deltas;
        let is_followed = |head: &&DeltaId| delta.parents().any(|parent| parent == **head);
        let followed = heads.iter().filter(is_followed).count();
        if heads.len() - followed >= DELTA_PARENTS_MAX {
            return Err(Refused::TooManyHeads {
                delta: id,
                context: delta.context(),
                max: DELTA_PARENTS_MAX,
            }
            .into());
        }
        let past = match &follows {
            Follows::Everything => Past::Everything,
            Follows::Some(seen) => Past::Seen(seen),
        };
        let mut plan = self.begin_plan(slot)?;
        let planned = delta
            .ops()
            .try_for_each(|op| self.plan_write(&mut plan, &incoming, &op, past, Whose::Other));
        let written = planned.and_then(|()| {
            let root = self.change_trie(&mut plan, slot, delta.ops());
            self.write_remote(&incoming, &plan, root, delta, &id, follows)
        });
        self.end_plan(plan);
        written
    }

    pub(super) fn dag_node(
        &self,
        slot: ContextSlot,
        id: &DeltaId,
    ) -> Result<Option<DagNode>, Stop> {
        let touched = self.heads.get(&slot);
        let recent = touched.into_iter().flat_map(|touched| &touched.recent);
        if let Some((_, node)) = recent.rev().find(|recent| recent.0 == *id) {
            return Ok(Some(node.clone()));
        }
        let key = dag_key(slot, id);
        let found = self.tables.dag.get(&self.txn, &key);
        let found = found.map_err(|error| self.stop(error))?;
        found
            .map(|bytes| DagNode::read(&key, bytes).map_err(before_writing))
            .transpose()
    }

    /// What the delta's author had seen, by its parents.
    fn follows(
        &self,
        slot: ContextSlot,
        id: DeltaId,
        delta: &DeltaView<'_>,
    ) -> Result<Follows, Stop> {
        let head = &self.heads[&slot].head;
        let stale = |last: Hlc| Refused::StaleHlc {
            got: delta.hlc(),
            last,
        };
        if delta.parents().eq(head.deltas.iter().copied()) {
            // The head's stamp may be that of a call which made no delta.
            let newest = head.seen.newest();
            return match delta.hlc() > newest {
                true => Ok(Follows::Everything),
                false => Err(stale(newest).into()),
            };
        }
        let mut seen = VersionVector::default();
        let mut dots = Vec::with_capacity(delta.parents().len());
        let mut missing = Vec::new();
        for parent in delta.parents() {
            let Some(node) = self.dag_node(slot, &parent)? else {
                missing.push(parent);
                continue;
            };
            seen.join(&node.seen);
            dots.push((parent, node.dot));
        }
        if !missing.is_empty() {
            return Err(Refused::ParentsMissing { delta: id, missing }.into());
        }
        // So far it is what the parents follow, without themselves.
        for &(parent, dot) in &dots {
            if delta.hlc() <= dot.hlc {
                return Err(stale(dot.hlc).into());
            }
            if seen.has_seen(dot) {
                return Err(Refused::RedundantParent { delta: id, parent }.into());
            }
        }
        for (_, dot) in dots {
            seen.see(dot);
        }
        Ok(Follows::Some(seen))
    }

    fn write_remote(
        &mut self,
        incoming: &Incoming,
        plan: &Plan,
        root: Root,
        delta: &DeltaView<'_>,
        id: &DeltaId,
        follows: Follows,
    ) -> Result<Receipt, Stop> {
        let slot = incoming.slot;
        self.keep_author()?;
        self.share(slot)?;
        let mut touched = self.take_head(slot);
        let head = &mut touched.head;
        self.has_written = true;
        // Its row of the log goes behind the one before, into pages that its bytes count for.
        self.writes += delta.op_count() as usize + delta.event_count() as usize;
        self.beside += delta.event_count() as usize;
        self.added_bytes += HEAD_GROWTH_BYTES;
        for (op, planned) in delta.ops().zip(&plan.writes) {
            self.write_entry(incoming, plan, planned, &op)?;
        }
        plan.leave(head);
        head.root = root;
        head.version += u64::from(delta.op_count() > 0);
        self.buffers.canonical.clear();
        self.buffers.canonical.extend_from_slice(delta.canonical());
        local::write_remote(&mut self.buffers.local, root);
        let (seen, root_there) = match follows {
            Follows::Everything => (None, Some(delta.root()).filter(|there| *there != root)),
            Follows::Some(seen) => (Some(seen), None),
        };
        let node = self.write_log(incoming, id, plan.befores.bytes(), seen, head)?;
        let first_sequence = head.events_last + 1;
        let events = delta.events().map(|event| (event.kind, event.payload));
        self.write_events(incoming, id, events, head)?;
        head.deltas
            .retain(|head| !delta.parents().any(|parent| parent == *head));
        let at = head.deltas.partition_point(|other| other < id);
        head.deltas.insert(at, *id);
        head.hlc = head.hlc.max(delta.hlc());
        head.seen.see(incoming.dot);
        let standing = Standing::of(head);
        if touched.recent.len() >= RECENT_DELTAS_MAX {
            touched.recent.pop_front();
        }
        touched.recent.extend(node.map(|node| (*id, node)));
        self.heads.insert(slot, touched);
        Ok(Receipt {
            slot,
            delta_id: Some(*id),
            is_written: true,
            standing,
            hlc: delta.hlc(),
            root_there,
            first_sequence,
            answers_early: 0,
        })
    }

    /// From now on other nodes may make deltas that follow any of this context's, so
    /// what each of them has seen is kept.
    pub(super) fn share(&mut self, slot: ContextSlot) -> Result<(), Stop> {
        let touched = self
            .heads
            .get_mut(&slot)
            .expect("the caller has read the head");
        if touched.head.is_shared {
            return Ok(());
        }
        touched.head.is_shared = true;
        touched.is_changed = true;
        let (heads, seen) = (touched.head.deltas.clone(), touched.head.seen.clone());
        let (position, count) = (touched.head.log_last, touched.head.log_count);
        self.has_written = true;
        if count > heads.len() as u64 {
            self.note_backlog(slot, position, &seen)?;
        }
        // Of one node's alone there is one head at most, which has seen everything.
        for id in heads {
            let Some(&(author, hlc)) = seen.pairs().iter().max_by_key(|pair| pair.1) else {
                continue;
            };
            // Of its author's it has seen all that come before it.
            let before = Hlc::from_bits(hlc.bits().saturating_sub(1));
            let past = |&(other, stamp): &(u32, Hlc)| match other == author {
                true => (other, before),
                false => (other, stamp),
            };
            let node = DagNode {
                position,
                dot: Dot { author, hlc },
                seen: VersionVector::from_pairs(seen.pairs().iter().map(past))
                    .expect("the authors of a version vector are in order"),
            };
            self.write_dag_node(slot, &id, &node)?;
        }
        Ok(())
    }

    /// Leaves word for the sweep, as there may be too many deltas to enter now.
    fn note_backlog(
        &mut self,
        slot: ContextSlot,
        position: u64,
        seen: &VersionVector,
    ) -> Result<(), Stop> {
        let key = slot_key(slot);
        let backlog = Backlog {
            position,
            seen: seen.clone(),
        };
        backlog.seal(&mut self.buffers.record, &key);
        self.has_litter = true;
        self.writes += 1;
        self.added_bytes += self.buffers.record.len() as u64;
        let put = self
            .tables
            .backlog
            .put(&mut self.txn, &key, &self.buffers.record);
        put.map_err(|error| self.stop(error))
    }

    /// Marks a context as one that other nodes may have.
    pub(super) fn share_context(&mut self, context: &ContextId) -> Result<Receipt, Stop> {
        let slot = self.find(context)?.slot;
        self.head_there(slot)?;
        self.note_unjournaled();
        self.share(slot)?;
        Ok(Receipt {
            slot,
            ..Receipt::OF_NO_CALL
        })
    }
}

#[cfg(test)]
mod tests;
