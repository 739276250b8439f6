//! Keeping what others have signed, as this node could not make it again: the newest seal of
//! each author, now and then an older one, and proof against authors whose deltas part.
//! The reasons are in `store/decisions/0010-seals.md`.

use super::{Pass, Receipt, Stop, before_writing};
use crate::change::Standing;
use crate::delta::DeltaView;
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId};
use crate::layout::{author_in_slot_key, position_key, seal_key, seal_stamp};
use crate::local;
use crate::record::{ForkRow, Logged, SealRow, open, seal};
use crate::seal::{Branch, Seal, Sealed};

/// Of seals that newer ones have replaced, one is kept per so many changes of the context: who
/// sends on a long history can then do so in parts, the oldest first, each of which ends with
/// seals.
const SEAL_SPACING: u64 = 1024;

impl Pass<'_> {
    pub(super) fn keep_seal(&mut self, sealed: &Sealed) -> Result<Receipt, Stop> {
        let slot = self.find(&sealed.context())?.slot;
        self.keep_seal_in(slot, sealed)
    }

    /// The same, in a slot that is known to be the context's.
    pub(super) fn keep_seal_in(
        &mut self,
        slot: ContextSlot,
        sealed: &Sealed,
    ) -> Result<Receipt, Stop> {
        let head = self.head_there(slot)?;
        let (standing, version) = (Standing::of(head), head.version);
        let delta = sealed.delta();
        let author = self.authors.find(sealed.author());
        let node = self.dag_node(slot, &delta)?;
        let node = node.ok_or(Refused::SealOfUnknown { delta })?;
        if Some(node.dot.author) != author {
            let author = sealed.author();
            return Err(Refused::NotItsAuthor { delta, author }.into());
        }
        let mut receipt = Receipt {
            slot,
            standing,
            ..Receipt::OF_NO_CALL
        };
        let (older, newest) = self.last_two_seals(slot, node.dot.author)?;
        if newest.is_some_and(|(stamp, _)| stamp >= node.dot.hlc) {
            return Ok(receipt);
        }
        self.has_written = true;
        self.writes += 1;
        if let Some((stamp, replaced)) = newest
            && replaced < older.map_or(0, |(_, version)| version) + SEAL_SPACING
        {
            let key = seal_key(slot, node.dot.author, stamp);
            let deleted = self.tables.seals.delete(&mut self.txn, &key);
            deleted.map_err(|error| self.stop(error))?;
        }
        let key = seal_key(slot, node.dot.author, node.dot.hlc);
        let row = SealRow {
            delta: *delta.as_bytes(),
            version,
            seal: &sealed.seal().to_bytes(),
        };
        seal(&mut self.buffers.record, &key, &row);
        let put = self
            .tables
            .seals
            .put(&mut self.txn, &key, &self.buffers.record);
        put.map_err(|error| self.stop(error))?;
        self.buffers.canonical.clear();
        local::write_seal(&mut self.buffers.local, &delta, sealed.seal());
        receipt.is_written = true;
        Ok(receipt)
    }

    /// The stamps of the two newest seals of an author, and the versions at which they came:
    /// the older one first.
    #[expect(clippy::type_complexity, reason = "a pair of the same")]
    fn last_two_seals(
        &self,
        slot: ContextSlot,
        author: u32,
    ) -> Result<(Option<(Hlc, u64)>, Option<(Hlc, u64)>), Stop> {
        let prefix = author_in_slot_key(slot, author);
        let rows = self.tables.seals.rev_prefix_iter(&self.txn, &prefix);
        let mut found = rows.map_err(|error| self.stop(error))?.map(|row| {
            let (key, bytes) = row.map_err(|error| self.stop(error))?;
            let stamp = seal_stamp(key).ok_or_else(|| {
                before_writing(StoreError::corrupt("seal", key, "its key is too short"))
            })?;
            let row = open::<SealRow>(key, bytes).map_err(before_writing)?;
            Ok::<_, Stop>((stamp, row.version.to_native()))
        });
        let newest = found.next().transpose()?;
        let older = found.next().transpose()?;
        Ok((older, newest))
    }

    /// Keeps proof that an author has made two deltas that do not know of each other: one is
    /// part of the state, the other is this.
    pub(super) fn keep_fork(&mut self, other: &Branch) -> Result<Receipt, Stop> {
        let slot = self.find(&other.context())?.slot;
        let head = self.head_there(slot)?;
        let (standing, log_pruned) = (Standing::of(head), head.log_pruned);
        let id = other.delta();
        let no_fork = |why| Stop::from(Refused::NoFork { delta: id, why });
        let receipt = Receipt {
            slot,
            standing,
            ..Receipt::OF_NO_CALL
        };
        let author = self.authors.find(other.author());
        let author = author.ok_or_else(|| no_fork("its author has made no other"))?;
        let key = author_in_slot_key(slot, author);
        let kept = self.tables.forks.get(&self.txn, &key);
        if kept.map_err(|error| self.stop(error))?.is_some() {
            return Ok(receipt);
        }
        if self.dag_node(slot, &id)?.is_some() {
            return Err(no_fork("it was applied"));
        }
        let backlog = self
            .tables
            .backlog
            .get(&self.txn, &crate::layout::slot_key(slot));
        if backlog.map_err(|error| self.stop(error))?.is_some() {
            return Err(no_fork(
                "the deltas from before the context was shared are still being entered",
            ));
        }
        let delta = DeltaView::parse(other.canonical());
        let delta = delta.map_err(|source| Refused::Malformed { source })?;
        // As its parents were applied and not pruned since, it would be known as well.
        let mut behind = Hlc::ZERO;
        let mut unknown = Vec::new();
        for parent in delta.parents() {
            match self.dag_node(slot, &parent)? {
                Some(node) if node.position > log_pruned => {
                    behind = behind.max(node.seen.stamp(author));
                    if node.dot.author == author {
                        behind = behind.max(node.dot.hlc);
                    }
                }
                _ => unknown.push(parent),
            }
        }
        if !unknown.is_empty() {
            return Err(Refused::ParentsMissing {
                delta: id,
                missing: unknown,
            }
            .into());
        }
        if delta.parents().len() == 0 && log_pruned > 0 {
            return Err(no_fork(
                "what the author has made first is not kept any more",
            ));
        }
        let (_, newest) = self.last_two_seals(slot, author)?;
        let (stamp, _) = newest.filter(|(stamp, _)| *stamp > behind).ok_or_else(|| {
            no_fork("no seal is kept on a delta of its author that it does not follow")
        })?;
        let known = self.sealed_branch(slot, author, stamp)?;
        self.note_unjournaled();
        let row = ForkRow {
            known: &known.to_bytes(),
            other: &other.to_bytes(),
        };
        seal(&mut self.buffers.record, &key, &row);
        let put = self
            .tables
            .forks
            .put(&mut self.txn, &key, &self.buffers.record);
        self.writes += 1;
        self.added_bytes += self.buffers.record.len() as u64;
        put.map_err(|error| self.stop(error))?;
        Ok(receipt)
    }

    /// The delta that a kept seal is on, with the seal.
    fn sealed_branch(&self, slot: ContextSlot, author: u32, stamp: Hlc) -> Result<Branch, Stop> {
        let key = seal_key(slot, author, stamp);
        let corrupt = |why| before_writing(StoreError::corrupt("seal", &key, why));
        let found = self.tables.seals.get(&self.txn, &key);
        let found = found.map_err(|error| self.stop(error))?;
        let row = found.ok_or_else(|| corrupt("it was there a moment ago and is not any more"))?;
        let row = open::<SealRow>(&key, row).map_err(before_writing)?;
        let delta = DeltaId::from_bytes(row.delta);
        let seal = Seal::read(row.seal.get()).map_err(|_| corrupt("it is malformed"))?;
        let context = self.heads[&slot].head.context;
        let sealed = seal
            .check(context, delta)
            .map_err(|_| corrupt("it does not hold"))?;
        let node = self.dag_node(slot, &delta)?;
        let node = node.ok_or(Refused::SealOfUnknown { delta })?;
        let position = position_key(node.position);
        let found = self.tables.log.get(&self.txn, &position);
        let found = found.map_err(|error| self.stop(error))?;
        let found = found.ok_or(Refused::SealOfUnknown { delta })?;
        let row = Logged::read(&position, found).map_err(before_writing)?;
        let canonical = bytes::Bytes::copy_from_slice(row.canonical);
        Branch::check(vec![canonical], sealed).map_err(|_| corrupt("its delta is another one"))
    }
}
