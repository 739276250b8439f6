//! What has happened in a context: its deltas and events, the answers that are kept, and its members.

use std::ops::{Bound, ControlFlow};

use super::{Snapshot, unreadable};
use crate::answer::{ANSWER_AROUND_BYTES, AnswerKey, KeptAnswer};
use crate::backlog::Backlog;
use crate::delta::DeltaView;
use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId, NodeId};
use crate::layout::{self, event_key, position_key, slot_key};
use crate::members::{Ack, Member};
use crate::record::{DagNode, EventView, Head, Logged, read_answer_bytes};
use crate::version::VersionVector;

impl Snapshot {
    /// The nodes that have the context beside this one, as far as that was said.
    pub fn members(&self, slot: ContextSlot) -> Result<Vec<Member>, StoreError> {
        let prefix = slot_key(slot);
        let rows = self.tables.acks.prefix_iter(&self.txn, &prefix);
        let mut members = Vec::new();
        for row in rows.map_err(unreadable)? {
            let (key, bytes) = row.map_err(unreadable)?;
            if key.len() > prefix.len() {
                let ack = Ack::read(key, bytes)?;
                members.push(Member {
                    node: ack.node,
                    seen: self.stamps(&ack.seen)?,
                    since: ack.since,
                    is_away: ack.is_away,
                });
            }
        }
        Ok(members)
    }

    /// Every author's newest delta that was applied: what this node acknowledges.
    pub fn applied(&self, head: &Head) -> Result<Vec<(NodeId, Hlc)>, StoreError> {
        self.stamps(&head.seen)
    }

    fn stamps(&self, seen: &VersionVector) -> Result<Vec<(NodeId, Hlc)>, StoreError> {
        let stamp = |&(number, hlc): &(u32, Hlc)| {
            let key = layout::author_key(number);
            let unknown = || StoreError::corrupt("author record", &key, "it is missing");
            Ok((self.author(number)?.ok_or_else(unknown)?, hlc))
        };
        seen.pairs().iter().map(stamp).collect()
    }

    /// Shows up to `limit` events of a context to `visit`, from sequence number
    /// `from` on, until it breaks.
    pub fn events(
        &self,
        slot: ContextSlot,
        from: u64,
        limit: usize,
        visit: &mut dyn FnMut(EventView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let (first, last) = (event_key(slot, from), event_key(slot, u64::MAX));
        let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        for row in self
            .tables
            .events
            .range(&self.txn, &range)
            .map_err(unreadable)?
            .take(limit)
        {
            let (key, bytes) = row.map_err(unreadable)?;
            if visit(EventView::read(key, bytes)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The answer that is kept under a key, however old it is.
    pub fn kept_answer(
        &self,
        slot: ContextSlot,
        key: &AnswerKey,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        let full = layout::answer_key(slot, key);
        let found = self.get_raw(self.tables.answers, &full)?;
        found
            .map(|bytes| KeptAnswer::read(&full, bytes))
            .transpose()
    }

    /// Compares an answer with what is said of it by age, and gives what it counts for.
    pub(crate) fn check_answer(
        &self,
        slot: ContextSlot,
        key: &[u8],
        answer: &KeptAnswer,
    ) -> Result<u64, StoreError> {
        let corrupt = |why| StoreError::corrupt("answer", key, why);
        let digest = key.last_chunk::<32>();
        let digest = digest.ok_or_else(|| corrupt("its key is too short"))?;
        let by_age = layout::answer_age_key(slot, answer.hlc, &AnswerKey::from_bytes(*digest));
        let found = self.get_raw(self.tables.answers_by_age, &by_age)?;
        let found = found.ok_or_else(|| corrupt("its age is not known"))?;
        let bytes = read_answer_bytes(&by_age, found)?;
        match bytes == answer.said.text().len() as u64 + ANSWER_AROUND_BYTES {
            true => Ok(bytes),
            false => Err(corrupt("it counts for other bytes than it has")),
        }
    }

    /// Shows up to `limit` deltas of a context to `visit` with their place in
    /// the log, the newest first, until it breaks.
    pub fn deltas(
        &self,
        slot: ContextSlot,
        limit: usize,
        visit: &mut dyn FnMut(u64, DeltaView<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let head = self.head(slot)?;
        let mut position = head.log_last;
        for _ in 0..limit {
            if position <= head.log_pruned {
                break;
            }
            let (previous, delta) = self.delta_at(slot, position)?;
            if visit(position, delta).is_break() {
                break;
            }
            position = previous;
        }
        Ok(())
    }

    /// The delta at a position of the log, and the position of the context's
    /// delta before it (0 if there is none).
    pub(crate) fn delta_at(
        &self,
        slot: ContextSlot,
        position: u64,
    ) -> Result<(u64, DeltaView<'_>), StoreError> {
        let row = self.logged(slot, position)?;
        Ok((row.previous, row.delta(&position_key(position))?))
    }

    /// The same, as it is stored.
    pub(crate) fn logged(
        &self,
        slot: ContextSlot,
        position: u64,
    ) -> Result<Logged<'_>, StoreError> {
        let key = position_key(position);
        let corrupt = |why| StoreError::corrupt("log record", &key, why);
        let bytes = self
            .get_raw(self.tables.log, &key)?
            .ok_or_else(|| corrupt("it is missing"))?;
        let row = Logged::read(&key, bytes)?;
        if row.slot != slot {
            return Err(corrupt(
                "it belongs to another context than the one that points to it",
            ));
        }
        // Going back strictly, the walk ends.
        match row.previous < position {
            true => Ok(row),
            false => Err(corrupt("the delta before it is not before it")),
        }
    }

    /// Which deltas of a context that was shared others cannot name as parents yet.
    pub(crate) fn backlog(&self, slot: ContextSlot) -> Result<Option<Backlog>, StoreError> {
        let key = slot_key(slot);
        let found = self.get_raw(self.tables.backlog, &key)?;
        found.map(|bytes| Backlog::read(&key, bytes)).transpose()
    }

    /// What a delta had seen, if that is noted.
    pub(crate) fn dag_node(
        &self,
        slot: ContextSlot,
        id: &DeltaId,
    ) -> Result<Option<DagNode>, StoreError> {
        let key = layout::dag_key(slot, id);
        let found = self.get_raw(self.tables.dag, &key)?;
        found.map(|bytes| DagNode::read(&key, bytes)).transpose()
    }
}
