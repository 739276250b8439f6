//! Bringing the tables of a ledger of format 3 into this format. When and why is in
//! `crate::takeover`.

use super::{Pass, Stop, TouchedHead, fatal};
use crate::change::CallEffects;
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::ContextSlot;
use crate::layout::{self, FORMAT_VERSION, META_FORMAT, slot_key};
use crate::record::{FormatRecord, GraveRow, GraveRowOfFormat3, Head, open, read_entry, seal};
use crate::root::RootSum;
use crate::version::Dot;

impl Pass<'_> {
    /// Brings everything but the journal into this format.
    pub(crate) fn take_over(&mut self) -> Result<(), StoreError> {
        self.has_written = true;
        let cleared = self.tables.log.clear(&mut self.txn);
        cleared.map_err(|error| self.engine(error))?;
        self.take_over_graves()?;
        let rows = self.tables.heads.iter(&self.txn);
        let mut heads = Vec::new();
        for row in rows.map_err(|error| self.engine(error))? {
            let (key, bytes) = row.map_err(|error| self.engine(error))?;
            let slot = layout::read_u64(key).map(ContextSlot::new).ok_or_else(|| {
                StoreError::corrupt("head record", key, "its key is not 8 bytes long")
            })?;
            heads.push((slot, Head::read_format_3(key, bytes)?));
        }
        for (slot, mut head) in heads {
            head.log_last = 0;
            // One node has made them all, under whatever number.
            for author in self.authors.numbers().filter(|_| head.hlc > Hlc::ZERO) {
                let hlc = head.hlc;
                head.seen.see(Dot { author, hlc });
            }
            head.root = self.root_of_entries(slot)?.root();
            let touched = TouchedHead {
                head,
                is_changed: true,
                is_new: false,
            };
            self.heads.insert(slot, touched);
        }
        let format = FormatRecord {
            version: FORMAT_VERSION,
        };
        seal(&mut self.buffers.record, META_FORMAT, &format);
        self.put_meta(META_FORMAT)
    }

    /// Makes a call of the journal again, as a call of this format.
    pub(crate) fn replay_call(&mut self, call: &CallEffects) -> Result<(), StoreError> {
        let corrupt = |why| StoreError::corrupt("journaled delta", &slot_key(call.slot), why);
        self.head(call.slot)
            .map_err(fatal)?
            .filter(|head| head.context == call.context)
            .ok_or_else(|| corrupt("its context does not exist"))?;
        match self.call_in(call.slot, call) {
            Ok(_) => Ok(()),
            Err(Stop::Refuse(Refused::Damaged { source })) => Err(source),
            Err(Stop::Refuse(_)) => Err(corrupt("the state does not take it any more")),
            Err(Stop::Fail(error)) => Err(error),
        }
    }

    /// The log of a deleted context is gone already.
    fn take_over_graves(&mut self) -> Result<(), StoreError> {
        let rows = self.tables.graves.iter(&self.txn);
        let mut graves = Vec::new();
        for row in rows.map_err(|error| self.engine(error))? {
            let (key, bytes) = row.map_err(|error| self.engine(error))?;
            let context = open::<GraveRowOfFormat3>(key, bytes)?.context;
            graves.push((key.to_vec(), context));
        }
        for (key, context) in graves {
            let row = GraveRow {
                context,
                log_last: 0,
                log_pruned: 0,
            };
            seal(&mut self.buffers.record, &key, &row);
            let put = self
                .tables
                .graves
                .put(&mut self.txn, &key, &self.buffers.record);
            put.map_err(|error| self.engine(error))?;
        }
        Ok(())
    }

    fn root_of_entries(&mut self, slot: ContextSlot) -> Result<RootSum, StoreError> {
        let mut root = RootSum::default();
        let prefix = slot_key(slot);
        let rows = self.tables.entries.prefix_iter(&self.txn, &prefix);
        for row in rows.map_err(|error| self.engine(error))? {
            let (key, bytes) = row.map_err(|error| self.engine(error))?;
            let corrupt = |why| StoreError::corrupt("entry", key, why);
            let (_, space, name) =
                layout::split_entry(key).ok_or_else(|| corrupt("its space is unknown"))?;
            let entry = read_entry(key, bytes)?;
            let digest = self.digests.of(space, name, &entry, &self.authors);
            root.add(digest.map_err(|_| corrupt("its author is unknown to the ledger"))?);
        }
        Ok(root)
    }
}
