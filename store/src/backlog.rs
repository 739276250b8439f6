//! The deltas that a context had before it was shared. Nobody could name them as parents,
//! so no record says what each had seen; from now on somebody may who has begun with
//! the oldest of them and comes after the others. Entered by the sweep, on the shard's commit thread, the newest first
//! and a bounded number at a time (`sweep.rs`); until then a delta that follows one of them lacks it. So
//! the journal may not have a delta that was applied thanks to what no checkpoint has brought in: the
//! writer makes one with it (`apply/sweep.rs`).

use crate::error::StoreError;
use crate::hlc::Hlc;
use crate::ids::{ContextSlot, DeltaId};
use crate::layout::{self, dag_key, position_key};
use crate::record::{
    BacklogRow, BacklogRowWithoutStamps, DagNode, Head, Logged, RecordKind, open, read_seen, seal,
    seen_rows,
};
use crate::sweep::{Rows, Sweep};
use crate::version::{Dot, VersionVector};

/// The deltas of a context that are not entered yet.
pub(crate) struct Backlog {
    /// The newest of them, and with it all before it.
    pub(crate) position: u64,
    /// What the context had seen when it was shared.
    pub(crate) seen: VersionVector,
}

impl Backlog {
    pub(crate) fn read(key: &[u8], bytes: &[u8]) -> Result<Backlog, StoreError> {
        // The second byte of a record is its kind.
        if bytes.get(1) != Some(&(RecordKind::BacklogWithoutStamps as u8)) {
            let row = open::<BacklogRow>(key, bytes)?;
            return Ok(Backlog {
                position: row.position.to_native(),
                seen: read_seen(RecordKind::Backlog, key, &row.seen)?,
            });
        }
        let row = open::<BacklogRowWithoutStamps>(key, bytes)?;
        // Up to whichever stamp each delta allows.
        let whole = |author: u32| (author, Hlc::from_bits(u64::MAX));
        let authors = row.authors.iter().map(|author| whole(author.to_native()));
        let why = "the authors of its context are not in order";
        let disorder = || StoreError::corrupt(RecordKind::Backlog.what(), key, why);
        Ok(Backlog {
            position: row.position.to_native(),
            seen: VersionVector::from_pairs(authors).ok_or_else(disorder)?,
        })
    }

    pub(crate) fn seal(&self, out: &mut Vec<u8>, key: &[u8]) {
        let row = BacklogRow {
            position: self.position,
            seen: &seen_rows(&self.seen),
        };
        seal(out, key, &row);
    }

    /// What the delta that `dot` names had seen: everything with a lower stamp, as in one node
    /// each call follows all before it with a later stamp.
    pub(crate) fn past_of(&self, dot: Dot, position: u64) -> DagNode {
        let before = Hlc::from_bits(dot.hlc.bits().saturating_sub(1));
        let pairs = self.seen.pairs().iter();
        let seen = pairs.map(|&(author, newest)| (author, newest.min(before)));
        DagNode {
            position,
            dot,
            seen: VersionVector::from_pairs(seen)
                .expect("the authors of a version vector are in order"),
        }
    }
}

impl Sweep<'_, '_> {
    /// Enters deltas of contexts that were shared. Whether none are left. `pruned` is the newest
    /// delta that is gone of a context that this transaction has touched.
    pub(crate) fn enter_backlogs(
        &mut self,
        pruned: &dyn Fn(ContextSlot) -> Option<u64>,
    ) -> Result<bool, StoreError> {
        let mut rows = Rows::of(self.env, self.tables, self.tables.backlog);
        while let Some((key, record)) = rows.first(self.txn)? {
            if self.is_spent() {
                return Ok(false);
            }
            if let Err(error) = self.enter_of(&key, &record, pruned) {
                self.note_damaged();
                rows.pass_over(key, error, &mut self.done.swept.damaged)?;
            }
        }
        Ok(true)
    }

    /// The same of one context.
    fn enter_of(
        &mut self,
        key: &[u8],
        bytes: &[u8],
        pruned: &dyn Fn(ContextSlot) -> Option<u64>,
    ) -> Result<(), StoreError> {
        let tables = self.tables;
        let corrupt = || StoreError::corrupt("record of a backlog", key, "its key has no slot");
        let slot = layout::read_u64(key)
            .map(ContextSlot::new)
            .ok_or_else(corrupt)?;
        let mut backlog = Backlog::read(key, bytes)?;
        let pruned = match pruned(slot) {
            Some(pruned) => pruned,
            None => {
                let head = tables.heads.get(self.txn, key);
                let head = head.map_err(|error| self.failed(error))?;
                let missing = || StoreError::corrupt("head record", key, "it is missing");
                Head::read(key, head.ok_or_else(missing)?)?.log_pruned
            }
        };
        let mut record = Vec::new();
        let mut is_any = false;
        while backlog.position > pruned && !(is_any && self.is_spent()) {
            let next = self.node_at(slot, &backlog)?;
            let dag_key = dag_key(slot, &next.id);
            let found = tables.dag.get(self.txn, &dag_key);
            if found.map_err(|error| self.failed(error))?.is_none() {
                next.node.seal(&mut record, &dag_key);
                let put = tables.dag.put(self.txn, &dag_key, &record);
                put.map_err(|error| self.failed(error))?;
                self.done.count_put(record.len());
            }
            backlog.position = next.previous;
            self.done.count(next.bytes);
            if !is_any {
                is_any = true;
                self.done.entered.push(slot);
            }
        }
        if backlog.position > pruned {
            backlog.seal(&mut record, key);
            self.done.count_put(record.len());
            let put = tables.backlog.put(self.txn, key, &record);
            return put.map_err(|error| self.failed(error));
        }
        let deleted = tables.backlog.delete(self.txn, key);
        deleted.map_err(|error| self.failed(error))?;
        // The record itself was looked at.
        self.done.count(bytes.len());
        Ok(())
    }

    /// The newest delta of the backlog.
    fn node_at(&self, slot: ContextSlot, backlog: &Backlog) -> Result<Next, StoreError> {
        let position = backlog.position;
        let key = position_key(position);
        let corrupt = |why| StoreError::corrupt("log record", &key, why);
        let found = self.tables.log.get(self.txn, &key);
        let found = found.map_err(|error| self.failed(error))?;
        let bytes = found.ok_or_else(|| corrupt("it is missing"))?;
        let row = Logged::read(&key, bytes)?;
        if row.slot != slot || row.previous >= position {
            return Err(corrupt("it is not one of the context that points to it"));
        }
        let delta = row.delta(&key)?;
        let author = self.authors.find(delta.author());
        let author = author.ok_or_else(|| corrupt("its author is unknown to the ledger"))?;
        let dot = Dot {
            author,
            hlc: delta.hlc(),
        };
        Ok(Next {
            id: delta.id(),
            node: backlog.past_of(dot, position),
            previous: row.previous,
            bytes: bytes.len(),
        })
    }
}

/// A delta that is to be entered.
struct Next {
    id: DeltaId,
    /// What it had seen.
    node: DagNode,
    /// The position of the one before it.
    previous: u64,
    /// Its size in the log.
    bytes: usize,
}
