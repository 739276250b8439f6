//! The sizes of logs and events, kept beside the heads: read when a context is first
//! written to after a checkpoint, counted in memory, written with the next. What they
//! are for is in `crate::tally`.

use super::plan::Incoming;
use super::{Pass, Stop};
use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::layout::{mark_key, slot_key};
use crate::record::{Head, seal};
use crate::tally::{MarkRow, Tally};

/// Contexts that are remembered because they have grown. More of them are found when
/// the collector comes round to them.
const GROWN_MAX: usize = 4096;

pub(super) struct TouchedTally {
    pub(super) tally: Tally,
    pub(super) is_changed: bool,
}

impl Pass<'_> {
    /// Counts the delta that is about to be the head's last.
    pub(super) fn count_delta(
        &mut self,
        incoming: &Incoming,
        position: u64,
        bytes: u64,
        head: &Head,
    ) -> Result<(), Stop> {
        let slot = incoming.slot;
        let is_marked = self.tally_mut(slot, head)?.add_delta(bytes);
        if !is_marked {
            return Ok(());
        }
        let key = mark_key(slot, position);
        let row = MarkRow {
            hlc: incoming.dot.hlc.bits(),
        };
        seal(&mut self.buffers.record, &key, &row);
        self.writes += 1;
        let put = self
            .tables
            .marks
            .put(&mut self.txn, &key, &self.buffers.record);
        put.map_err(|error| self.stop(error))
    }

    /// Counts the event that is about to be the head's last.
    pub(super) fn count_event(
        &mut self,
        slot: ContextSlot,
        bytes: u64,
        head: &Head,
    ) -> Result<(), Stop> {
        self.tally_mut(slot, head)?.events_bytes += bytes;
        Ok(())
    }

    fn tally_mut(&mut self, slot: ContextSlot, head: &Head) -> Result<&mut Tally, Stop> {
        if !self.tallies.contains_key(&slot) {
            let tally = self.read_tally(slot, head).map_err(Stop::Fail)?;
            let touched = TouchedTally {
                tally,
                is_changed: false,
            };
            self.tallies.insert(slot, touched);
        }
        if self.grown.len() < GROWN_MAX {
            self.grown.insert(slot);
        }
        let touched = self.tallies.get_mut(&slot).expect("it was put there above");
        touched.is_changed = true;
        Ok(&mut touched.tally)
    }

    /// The sizes of a context whose head is `head`. A damaged record of them is given up: it
    /// says nothing that is of any weight, so counting begins anew.
    pub(super) fn read_tally(&self, slot: ContextSlot, head: &Head) -> Result<Tally, StoreError> {
        if let Some(touched) = self.tallies.get(&slot) {
            return Ok(touched.tally);
        }
        let key = slot_key(slot);
        let found = self.tables.tallies.get(&self.txn, &key);
        let found = found.map_err(|error| self.engine(error))?;
        match found.map(|bytes| Tally::read(&key, bytes)).transpose() {
            Ok(tally) => Ok(tally.unwrap_or_else(|| Tally::from_now(head))),
            Err(error) => {
                tracing::error!(%error, "how large a context's log and events are is counted anew");
                Ok(Tally::from_now(head))
            }
        }
    }

    /// What is left to be counted after a step of the collector.
    pub(super) fn put_tally(&mut self, slot: ContextSlot, tally: Tally) {
        let touched = TouchedTally {
            tally,
            is_changed: true,
        };
        self.tallies.insert(slot, touched);
    }

    pub(super) fn write_tallies(&mut self) -> Result<(), StoreError> {
        for (slot, touched) in std::mem::take(&mut self.tallies) {
            if touched.is_changed {
                let key = slot_key(slot);
                seal(&mut self.buffers.record, &key, &touched.tally.row());
                let (table, txn) = (self.tables.tallies, &mut self.txn);
                let put = table.put(txn, &key, &self.buffers.record);
                put.map_err(|error| self.engine(error))?;
            }
        }
        Ok(())
    }
}
