//! A context is taken out of service, and put back. Calls of it that the journal has
//! are put aside in the meantime, in order, and brought in when it is put back: an
//! acknowledged call is not lost because something else of its context is. What is
//! written down is in `crate::quarantine`.

use std::collections::BTreeMap;
use std::ops::Bound;

use heed::{Env, RoTxn, WithoutTls};

use super::{Pass, Receipt, Stop, before_writing};
use crate::delta::DeltaView;
use crate::error::{Refused, StoreError};
use crate::ids::{ContextId, ContextSlot};
use crate::journal::JournaledCall;
use crate::layout::{META_DAMAGE_SEEN, Tables, read_u64, slot_key, split_slot};
use crate::ledger::engine_error;
use crate::quarantine::{AsideRow, QuarantineRow, Quarantined, aside_key, cut, slot_by_others};
use crate::record::{ContextRecord, DamageSeenRecord, open, seal};

/// Every context that is out of service. A damaged record of one still says which.
pub(super) fn load(
    env: &Env<WithoutTls>,
    tables: Tables,
    txn: &RoTxn<'_>,
) -> Result<BTreeMap<ContextSlot, String>, StoreError> {
    let failed = |error| engine_error("read the quarantine of", error, env);
    let mut all = BTreeMap::new();
    for row in tables.quarantine.iter(txn).map_err(failed)? {
        let (key, bytes) = row.map_err(failed)?;
        match Quarantined::read(key, bytes) {
            Ok(Some(quarantined)) => drop(all.insert(quarantined.slot, quarantined.why)),
            Ok(None) => {}
            Err(error) => {
                if let Some((slot, _)) = crate::layout::split_slot(key) {
                    all.insert(slot, error.to_string());
                }
            }
        }
    }
    Ok(all)
}

impl Pass<'_> {
    pub(super) fn is_quarantined(&self, slot: ContextSlot) -> bool {
        self.quarantined.contains_key(&slot)
    }

    /// Refuses what is meant for a context that is out of service.
    pub(super) fn check_service(
        &self,
        slot: ContextSlot,
        context: ContextId,
    ) -> Result<(), Refused> {
        match self.quarantined.get(&slot) {
            None => Ok(()),
            Some(why) => Err(Refused::Quarantined {
                context,
                why: why.clone(),
            }),
        }
    }

    /// Takes the context out of service, or puts it back.
    pub(super) fn quarantine(
        &mut self,
        context: &ContextId,
        why: Option<&str>,
    ) -> Result<Receipt, Stop> {
        let slot = match self.find(context) {
            Ok(record) => record.slot,
            Err(Stop::Refuse(Refused::Damaged { source })) => {
                let slot = self.slot_by_others(context)?;
                slot.ok_or_else(|| before_writing(source))?
            }
            Err(stop) => return Err(stop),
        };
        self.note_unjournaled();
        match why {
            Some(why) if self.is_quarantined(slot) => {
                tracing::debug!(%context, why, "it is out of service already");
            }
            Some(why) => self
                .put_into_quarantine(slot, *context, why)
                .map_err(Stop::Fail)?,
            None => self.release(slot)?,
        }
        Ok(Receipt {
            slot,
            ..Receipt::OF_NO_CALL
        })
    }

    /// The slot of a context whose record is damaged, if anything else says it.
    pub(super) fn slot_by_others(&self, context: &ContextId) -> Result<Option<ContextSlot>, Stop> {
        let found = slot_by_others(self.tables, &self.txn, context);
        found.map_err(|error| self.stop(error))
    }

    /// Whose the call of the journal is, if anything still says so.
    pub(crate) fn context_of(
        &self,
        call: &JournaledCall<'_>,
    ) -> Result<Option<ContextId>, StoreError> {
        if let Ok(delta) = DeltaView::parse(call.canonical) {
            return Ok(Some(delta.context()));
        }
        let rows = self.tables.contexts.iter(&self.txn);
        for row in rows.map_err(|error| self.engine(error))? {
            let (key, bytes) = row.map_err(|error| self.engine(error))?;
            if let Ok(context) = ContextRecord::read(key, bytes)
                && context.slot == call.slot
            {
                return Ok(Some(context.id));
            }
        }
        Ok(None)
    }

    /// From now on the calls of the context in `slot` are put aside.
    pub(crate) fn put_into_quarantine(
        &mut self,
        slot: ContextSlot,
        context: ContextId,
        why: &str,
    ) -> Result<(), StoreError> {
        self.quarantined.insert(slot, cut(why).to_owned());
        // What is stored of it is to be read when it is back.
        self.tries.forget(slot);
        self.write_quarantine(slot, context, 0, why)
    }

    /// Writes down which damage of no context was looked into.
    pub(crate) fn note_damage_seen(&mut self, digest: [u8; 32]) -> Result<(), StoreError> {
        self.has_written = true;
        let record = DamageSeenRecord { digest };
        seal(&mut self.buffers.record, META_DAMAGE_SEEN, &record);
        self.put_meta(META_DAMAGE_SEEN)
    }

    fn write_quarantine(
        &mut self,
        slot: ContextSlot,
        context: ContextId,
        aside: u64,
        why: &str,
    ) -> Result<(), StoreError> {
        let key = slot_key(slot);
        let row = QuarantineRow {
            context: *context.as_bytes(),
            aside,
            why: cut(why),
        };
        seal(&mut self.buffers.record, &key, &row);
        self.put_in_quarantine_table(&key)
    }

    fn put_in_quarantine_table(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let (table, txn) = (self.tables.quarantine, &mut self.txn);
        let put = table.put(txn, key, &self.buffers.record);
        put.map_err(|error| self.engine(error))?;
        self.writes += 1;
        self.has_written = true;
        Ok(())
    }

    /// Keeps a call of the journal for later.
    pub(super) fn put_aside(&mut self, call: &JournaledCall<'_>) -> Result<(), StoreError> {
        let slot = call.slot;
        let key = slot_key(slot);
        let found = self.tables.quarantine.get(&self.txn, &key);
        let found = found.map_err(|error| self.engine(error))?;
        let missing = || StoreError::corrupt("record of a quarantine", &key, "it is missing");
        let row = found.ok_or_else(missing);
        let (context, number, why) = match row.and_then(|row| open::<QuarantineRow>(&key, row)) {
            Ok(row) => {
                let context = ContextId::from_bytes(row.context);
                (context, row.aside.to_native(), row.why.get().to_owned())
            }
            Err(damage @ StoreError::Corrupt { .. }) => {
                let context = self.context_of(call)?.ok_or(damage)?;
                let why = self.quarantined.get(&slot).cloned().unwrap_or_default();
                (context, self.aside_next(slot)?, why)
            }
            Err(error) => return Err(error),
        };
        let key = aside_key(slot, number);
        let row = AsideRow {
            canonical: call.canonical,
            local: call.local,
        };
        seal(&mut self.buffers.record, &key, &row);
        self.put_in_quarantine_table(&key)?;
        self.write_quarantine(slot, context, number + 1, &why)
    }

    /// The number behind those of the calls that were put aside.
    fn aside_next(&self, slot: ContextSlot) -> Result<u64, StoreError> {
        let (first, last) = (aside_key(slot, 0), aside_key(slot, u64::MAX));
        let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        let rows = self.tables.quarantine.rev_range(&self.txn, &range);
        let last = rows.and_then(|mut rows| rows.next().transpose());
        let last = last.map_err(|error| self.engine(error))?;
        let number = last.and_then(|(key, _)| split_slot(key).and_then(|(_, rest)| read_u64(rest)));
        Ok(number.map_or(0, |number| number + 1))
    }

    /// Brings in what was put aside, and puts the context back into service. If anything of
    /// it is still damaged, or was lost, it stays where it is.
    ///
    /// All of it comes in one step, or none: a context in service has nothing aside. That is not
    /// more than a journal holds, as calls are refused from when it went out of service on; the
    /// shard's other calls wait as long as they would while a journal is read again at a start.
    fn release(&mut self, slot: ContextSlot) -> Result<(), Stop> {
        if !self.is_quarantined(slot) {
            return Ok(());
        }
        // Nothing of it was packed meanwhile.
        self.has_forgotten_packable = true;
        let prefix = slot_key(slot);
        let lost = || {
            let why = "it counts other calls than wait";
            before_writing(StoreError::corrupt("record of a quarantine", &prefix, why))
        };
        let mut aside_said = None;
        let mut aside = Vec::new();
        let rows = self.tables.quarantine.prefix_iter(&self.txn, &prefix);
        for row in rows.map_err(|error| self.stop(error))? {
            let (key, bytes) = row.map_err(|error| self.stop(error))?;
            if key.len() == prefix.len() {
                // Where it is damaged nothing says how many there were.
                let row = open::<QuarantineRow>(key, bytes);
                aside_said = row.ok().map(|row| row.aside.to_native());
            } else {
                if key != aside_key(slot, aside.len() as u64) {
                    return Err(lost());
                }
                let row = open::<AsideRow>(key, bytes).map_err(before_writing)?;
                let (canonical, local) = (row.canonical.get(), row.local.get());
                aside.push((key.to_vec(), canonical.to_vec(), local.to_vec()));
            }
        }
        if aside_said.is_some_and(|said| said != aside.len() as u64) {
            return Err(lost());
        }
        // Refused before this it stays out of service.
        self.quarantined.remove(&slot);
        for (_, canonical, local) in &aside {
            // As an entry and in the log.
            self.added_bytes += 2 * (canonical.len() + local.len()) as u64;
            let call = JournaledCall {
                slot,
                canonical,
                local,
            };
            if let Some(damage) = self.replay(&call).map_err(Stop::Fail)? {
                return Err(Stop::Fail(damage));
            }
        }
        let keys = aside.iter().map(|(key, ..)| &key[..]);
        for key in keys.chain([&prefix[..]]) {
            let (table, txn) = (self.tables.quarantine, &mut self.txn);
            let deleted = table.delete(txn, key);
            deleted.map_err(|error| self.stop(error))?;
        }
        Ok(())
    }
}
