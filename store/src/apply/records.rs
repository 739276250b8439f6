//! Changes that are no calls: contexts come and go, and with them applications
//! and names. None of them is journaled; a batch with one is a checkpoint.

use super::bounds::{check_bound, check_call, check_name};
use super::{Pass, Receipt, Stop, TouchedHead, before_writing};
use crate::change::{ApplicationRecord, NewContext};
use crate::error::{Refused, StoreError};
use crate::hlc::Hlc;
use crate::ids::{ApplicationId, ContextId, ContextSlot};
use crate::layout::{APPLICATION_BYTES_MAX, META_SLOTS, slot_key};
use crate::record::{ContextRow, GraveRow, Head, NameRow, SlotsRecord, read_name, seal};

impl Pass<'_> {
    pub(super) fn create(&mut self, new: &NewContext) -> Result<Receipt, Stop> {
        check_call(&new.call)?;
        if !new.call.is_silent() && new.call.hlc == Hlc::ZERO {
            return Err(Refused::StaleHlc {
                got: new.call.hlc,
                last: Hlc::ZERO,
            }
            .into());
        }
        if new.call.context != new.id {
            return Err(Refused::WrongSlot {
                context: new.call.context,
                slot: new.call.slot,
            }
            .into());
        }
        if let Some(name) = &new.name {
            check_name(name)?;
        }
        let exists = self.tables.contexts.get(&self.txn, new.id.as_bytes());
        if exists.map_err(|error| self.stop(error))?.is_some() {
            return Err(Refused::ContextExists { context: new.id }.into());
        }
        self.check_attached(None, &new.call)?;
        self.check_first_content(&new.call)?;
        self.note_unjournaled();
        let slot = ContextSlot::new(self.next.slot);
        self.next.slot += 1;
        seal(
            &mut self.buffers.record,
            META_SLOTS,
            &SlotsRecord {
                next: self.next.slot,
            },
        );
        let put = self
            .tables
            .meta
            .put(&mut self.txn, META_SLOTS, &self.buffers.record);
        put.map_err(|error| self.stop(error))?;
        let row = ContextRow {
            slot: slot.number(),
            created: new.created.bits(),
            application: *new.application.as_bytes(),
            name: new.name.as_deref(),
        };
        seal(&mut self.buffers.record, new.id.as_bytes(), &row);
        let put = self
            .tables
            .contexts
            .put(&mut self.txn, new.id.as_bytes(), &self.buffers.record);
        put.map_err(|error| self.stop(error))?;
        self.writes += 1;
        // As entries and in the log.
        self.added_bytes += 2 * new.call.bytes();
        let touched = TouchedHead {
            is_changed: true,
            is_new: true,
            ..TouchedHead::new(Head::new(new.id))
        };
        self.heads.insert(slot, touched);
        // Its size was looked at before anything was written.
        self.unbounded(|pass| pass.call_in(slot, &new.call))
    }

    pub(super) fn note_unjournaled(&mut self) {
        self.has_written = true;
        self.has_unjournaled = true;
    }

    /// The head of a context that has a record: without one the ledger is damaged.
    pub(super) fn head_there(&mut self, slot: ContextSlot) -> Result<&Head, Stop> {
        let missing = || StoreError::corrupt("head record", &slot_key(slot), "it is missing");
        self.head(slot)?.ok_or_else(|| before_writing(missing()))
    }

    pub(super) fn delete(&mut self, id: &ContextId) -> Result<Receipt, Stop> {
        let (slot, name) = match self.find(id) {
            Ok(record) => (record.slot, record.name),
            Err(Stop::Refuse(Refused::Damaged { .. })) => match self.slot_by_others(id)? {
                Some(slot) => (slot, None),
                None => return self.delete_record(id),
            },
            Err(stop) => return Err(stop),
        };
        let (log_last, log_pruned) = match self.head_there(slot) {
            Ok(head) => (head.log_last, head.log_pruned),
            // Nothing leads to its deltas: a scrub finds them, which are nobody's by then.
            Err(Stop::Refuse(Refused::Damaged { .. })) => (0, 0),
            Err(stop) => return Err(stop),
        };
        let name_is_here = match name.as_ref().map(|name| self.name_holder(name)) {
            Some(Ok(holder)) => holder == Some(*id),
            // Whoever reads names next finds that out (`crate::names`).
            Some(Err(Stop::Refuse(Refused::Damaged { .. }))) | None => false,
            Some(Err(stop)) => return Err(stop),
        };
        self.note_unjournaled();
        self.heads.remove(&slot);
        self.tries.forget(slot);
        self.tallies.remove(&slot);
        self.quarantined.remove(&slot);
        let key = slot_key(slot);
        let mut delete = || -> heed::Result<()> {
            self.tables.contexts.delete(&mut self.txn, id.as_bytes())?;
            self.tables.heads.delete(&mut self.txn, &key)?;
            // Not by the sweep: whoever comes back under this id by then is in service. Calls that
            // were put aside are of the slot, and stay for it.
            self.tables.quarantine.delete(&mut self.txn, &key)?;
            if let Some(name) = name.as_ref().filter(|_| name_is_here) {
                self.tables.names.delete(&mut self.txn, name.as_bytes())?;
            }
            seal(
                &mut self.buffers.record,
                &key,
                &GraveRow {
                    context: *id.as_bytes(),
                    log_last,
                    log_pruned,
                },
            );
            self.tables
                .graves
                .put(&mut self.txn, &key, &self.buffers.record)
        };
        delete().map_err(|error| self.stop(error))?;
        Ok(Receipt {
            slot,
            ..Receipt::OF_NO_CALL
        })
    }

    /// The same where nothing says in which slot the context is: what else it has is then
    /// nobody's, and the scrub finds that (`crate::scrub`).
    fn delete_record(&mut self, id: &ContextId) -> Result<Receipt, Stop> {
        self.note_unjournaled();
        let deleted = self.tables.contexts.delete(&mut self.txn, id.as_bytes());
        deleted.map_err(|error| self.stop(error))?;
        Ok(Receipt::OF_NO_CALL)
    }

    pub(super) fn put_application(&mut self, record: &ApplicationRecord) -> Result<Receipt, Stop> {
        let bytes = record.name.len() + record.version.len() + record.description.len();
        check_bound(
            "the application record's size in bytes",
            bytes,
            0,
            APPLICATION_BYTES_MAX,
        )?;
        self.note_unjournaled();
        record.seal(&mut self.buffers.record);
        let put =
            self.tables
                .applications
                .put(&mut self.txn, record.id.as_bytes(), &self.buffers.record);
        self.writes += 1;
        self.added_bytes += self.buffers.record.len() as u64;
        put.map_err(|error| self.stop(error))?;
        Ok(Receipt::OF_NO_CALL)
    }

    pub(super) fn remove_application(&mut self, id: &ApplicationId) -> Result<Receipt, Stop> {
        let removed = self
            .tables
            .applications
            .delete(&mut self.txn, id.as_bytes());
        if removed.map_err(|error| self.stop(error))? {
            self.note_unjournaled();
        }
        Ok(Receipt::OF_NO_CALL)
    }

    pub(super) fn put_name(&mut self, name: &str, context: ContextId) -> Result<Receipt, Stop> {
        check_name(name)?;
        match self.name_holder(name)? {
            Some(holder) if holder == context => return Ok(Receipt::OF_NO_CALL),
            Some(holder) => {
                return Err(Refused::NameTaken {
                    name: name.to_owned(),
                    holder,
                }
                .into());
            }
            None => {}
        }
        self.note_unjournaled();
        let row = NameRow {
            context: *context.as_bytes(),
        };
        seal(&mut self.buffers.record, name.as_bytes(), &row);
        let put = self
            .tables
            .names
            .put(&mut self.txn, name.as_bytes(), &self.buffers.record);
        self.writes += 1;
        put.map_err(|error| self.stop(error))?;
        Ok(Receipt::OF_NO_CALL)
    }

    pub(super) fn remove_name(&mut self, name: &str, context: ContextId) -> Result<Receipt, Stop> {
        check_name(name)?;
        match self.name_holder(name) {
            // Two contexts may say that they have it; the directory decides.
            Ok(Some(holder)) if holder != context => Ok(Receipt::OF_NO_CALL),
            // Should it be another's, that one's record says so to the next start.
            Ok(_) | Err(Stop::Refuse(Refused::Damaged { .. })) => self.drop_name(name.as_bytes()),
            Err(stop) => Err(stop),
        }
    }

    pub(super) fn drop_damaged_name(&mut self, key: &[u8]) -> Result<Receipt, Stop> {
        let found = self.tables.names.get(&self.txn, key);
        let found = found.map_err(|error| self.stop(error))?;
        match found.is_some_and(|bytes| read_name(key, bytes).is_err()) {
            true => self.drop_name(key),
            false => Ok(Receipt::OF_NO_CALL),
        }
    }

    fn drop_name(&mut self, key: &[u8]) -> Result<Receipt, Stop> {
        let removed = self.tables.names.delete(&mut self.txn, key);
        if removed.map_err(|error| self.stop(error))? {
            self.note_unjournaled();
        }
        Ok(Receipt::OF_NO_CALL)
    }
}
