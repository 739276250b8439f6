//! Members of a context come, go, and say what they have. What follows from that,
//! what is stable, is worked out here as well; what is done about it, in `collect.rs`.
//!
//! A delta that is yet to come names as its parents what its author had then and
//! nothing followed. If every member has acknowledged a delta, and also one that follows
//! it, nobody can name it any more: neither in a delta that is yet to be made, nor in one that is
//! on its way, as an acknowledgement counts only when all deltas that the member
//! had made until then are here.

use std::collections::BTreeMap;

use super::bounds::check_bound;
use super::{Pass, Receipt, Stop, before_writing};
use crate::change::Acknowledgement;
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextId, ContextSlot, NodeId};
use crate::layout::{ack_key, slot_key};
use crate::members::{Ack, MEMBERS_MAX, read_pruned, seal_pruned};
use crate::record::Head;
use crate::version::{Dot, VersionVector};

/// What of a context may be pruned.
pub(super) enum Stable {
    /// Everything: no other node has it.
    All,
    /// What this has seen.
    Seen(VersionVector),
}

impl Stable {
    pub(super) fn has(&self, dot: Dot) -> bool {
        match self {
            Stable::All => true,
            Stable::Seen(seen) => seen.has_seen(dot),
        }
    }
}

impl Pass<'_> {
    pub(super) fn set_members(
        &mut self,
        context: &ContextId,
        members: &[NodeId],
        now: Hlc,
    ) -> Result<Receipt, Stop> {
        check_bound("the members of a context", members.len(), 0, MEMBERS_MAX)?;
        let slot = self.slot_of(context)?;
        let known = self.acks(slot).map_err(before_writing)?;
        let pruned = self.pruned(slot).map_err(before_writing)?;
        // Before it is shared, when nothing else tells what came before.
        let so_far = match &pruned {
            Some(_) => None,
            None => Some(self.pruned_so_far(slot).map_err(before_writing)?),
        };
        self.note_unjournaled();
        if !members.is_empty() {
            self.share(slot)?;
        }
        if let Some(pruned) = so_far {
            self.put_pruned(slot, &pruned)?;
        }
        for ack in &known {
            if !members.contains(&ack.node) {
                let (table, txn) = (self.tables.acks, &mut self.txn);
                let deleted = table.delete(txn, &ack.key(slot));
                deleted.map_err(|error| self.stop(error))?;
            }
        }
        for &node in members {
            if !known.iter().any(|ack| ack.node == node) {
                self.put_ack(slot, &Ack::none_yet(node, now))?;
            }
        }
        Ok(Receipt {
            slot,
            ..Receipt::OF_NO_CALL
        })
    }

    pub(super) fn acknowledge(&mut self, given: &Acknowledgement) -> Result<Receipt, Stop> {
        let (context, member) = (given.context, given.member);
        let slot = self.slot_of(&context)?;
        let key = ack_key(slot, &member);
        let found = self.tables.acks.get(&self.txn, &key);
        let bytes = found
            .map_err(|error| self.stop(error))?
            .ok_or(Refused::NoMember {
                node: member,
                context,
            })?;
        // What it says replaces what it has said, so that may be damaged.
        let known = Ack::read(&key, bytes).ok();
        let head = &self.heads[&slot].head;
        let mut seen = VersionVector::default();
        for &(author, hlc) in &given.seen {
            // Of an author that is unknown here nothing can be stable.
            let Some(author) = self.authors.find(author) else {
                continue;
            };
            seen.see(Dot { author, hlc });
        }
        let own = match given.seen.iter().find(|(author, _)| *author == member) {
            Some(&(_, hlc)) => hlc,
            None => Hlc::ZERO,
        };
        let own_here = self.authors.find(member);
        let own_here = own_here.map_or(Hlc::ZERO, |author| head.seen.stamp(author));
        if own > own_here {
            return Err(Refused::AheadOfHere { member, context }.into());
        }
        seen.meet(&head.seen);
        // One that comes late takes nothing back.
        if let Some(known) = known {
            seen.join(&known.seen);
        }
        let pruned = self.pruned(slot).map_err(before_writing)?;
        let pruned = pruned.unwrap_or_default();
        if !seen.covers(&pruned) {
            return Err(Refused::SnapshotNeeded { member, context }.into());
        }
        self.has_written = true;
        let ack = Ack {
            node: member,
            since: given.now,
            is_away: false,
            seen,
        };
        self.put_ack(slot, &ack)?;
        self.grown.insert(slot);
        Ok(Receipt {
            slot,
            ..Receipt::OF_NO_CALL
        })
    }

    /// The slot of a context, of which the head was read.
    pub(super) fn slot_of(&mut self, context: &ContextId) -> Result<ContextSlot, Stop> {
        let slot = self.find(context)?.slot;
        self.head_there(slot)?;
        Ok(slot)
    }

    /// What every member has, of a context with this head.
    pub(super) fn stable(&self, slot: ContextSlot, head: &Head) -> Result<Stable, StoreError> {
        if !head.is_shared {
            return Ok(Stable::All);
        }
        if self.pruned(slot)?.is_none() {
            // Nobody has said who has it.
            return Ok(Stable::Seen(VersionVector::default()));
        }
        let mut seen = head.seen.clone();
        for ack in self.acks(slot)?.iter().filter(|ack| !ack.is_away) {
            seen.meet(&ack.seen);
        }
        Ok(Stable::Seen(seen))
    }

    /// What each member has, at most [`MEMBERS_MAX`].
    pub(super) fn acks(&self, slot: ContextSlot) -> Result<Vec<Ack>, StoreError> {
        let prefix = slot_key(slot);
        let rows = self.tables.acks.prefix_iter(&self.txn, &prefix);
        let mut acks = Vec::new();
        for row in rows.map_err(|error| self.engine(error))? {
            let (key, bytes) = row.map_err(|error| self.engine(error))?;
            if key.len() > prefix.len() {
                acks.push(Ack::read(key, bytes)?);
            }
        }
        Ok(acks)
    }

    /// What was pruned, if the context's members are known.
    pub(super) fn pruned(&self, slot: ContextSlot) -> Result<Option<VersionVector>, StoreError> {
        let found = self.tables.acks.get(&self.txn, &slot_key(slot));
        let found = found.map_err(|error| self.engine(error))?;
        found.map(|bytes| read_pruned(slot, bytes)).transpose()
    }

    /// Whether a delta of that name was pruned, as far as is known: of a fork nobody can tell.
    pub(super) fn was_pruned(&self, slot: ContextSlot, dot: Dot) -> Result<bool, Stop> {
        let pruned = self.pruned(slot).map_err(before_writing)?;
        Ok(pruned.is_some_and(|pruned| pruned.has_seen(dot)))
    }

    /// What was pruned of a context before its members were known, or was not in the copy
    /// that it was made of. Of an author of whom deltas are kept that is what comes before
    /// the oldest of them, of another everything. Reads the log as far as it has to: of
    /// a context that no other node has had the oldest delta says it for all, and there is
    /// a mark near it.
    fn pruned_so_far(&self, slot: ContextSlot) -> Result<VersionVector, StoreError> {
        let head = &self.heads[&slot].head;
        if head.log_pruned == 0 {
            return Ok(VersionVector::default());
        }
        let first = self.mark_between(slot, head.log_pruned + 1, head.log_last, false)?;
        let mut position = match head.is_shared {
            true => head.log_last,
            false => first.unwrap_or(head.log_last),
        };
        let mut kept = BTreeMap::new();
        let mut oldest = None;
        while position > head.log_pruned {
            let delta = self.logged(slot, position, false)?;
            kept.insert(delta.dot.author, (delta.dot, position));
            oldest = Some(delta.dot);
            position = delta.previous;
        }
        let mut pruned = VersionVector::default();
        for &(author, newest) in head.seen.pairs() {
            let hlc = match kept.get(&author) {
                Some(&(dot, position)) => self.stamp_before(slot, dot, position)?,
                None if head.is_shared => newest,
                None => oldest.map_or(newest, |oldest| newest.min(before(oldest))),
            };
            if hlc > Hlc::ZERO {
                pruned.see(Dot { author, hlc });
            }
        }
        Ok(pruned)
    }

    /// The stamp of its author's delta before this one; or one in between, if that is not noted.
    fn stamp_before(&self, slot: ContextSlot, dot: Dot, position: u64) -> Result<Hlc, StoreError> {
        let id = self.logged(slot, position, true)?.id;
        let node = match &id {
            Some(id) => self.past_of(slot, id)?,
            None => None,
        };
        Ok(node.map_or(before(dot), |node| node.seen.stamp(dot.author)))
    }

    pub(super) fn put_pruned(
        &mut self,
        slot: ContextSlot,
        pruned: &VersionVector,
    ) -> Result<(), Stop> {
        seal_pruned(&mut self.buffers.record, slot, pruned);
        self.put_in_acks(&slot_key(slot))
    }

    pub(super) fn put_ack(&mut self, slot: ContextSlot, ack: &Ack) -> Result<(), Stop> {
        let key = ack.key(slot);
        ack.seal(&mut self.buffers.record, &key);
        self.put_in_acks(&key)
    }

    fn put_in_acks(&mut self, key: &[u8]) -> Result<(), Stop> {
        let (table, txn) = (self.tables.acks, &mut self.txn);
        let put = table.put(txn, key, &self.buffers.record);
        self.writes += 1;
        self.added_bytes += self.buffers.record.len() as u64;
        put.map_err(|error| self.stop(error))
    }
}

/// The latest stamp before that of a delta.
fn before(dot: Dot) -> Hlc {
    Hlc::from_bits(dot.hlc.bits().saturating_sub(1))
}
