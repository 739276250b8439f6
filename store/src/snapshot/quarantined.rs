//! Contexts that are out of service, whether that is written down or not, and who is in a slot.

use std::ops::ControlFlow;

use super::{Snapshot, unreadable};
use crate::error::StoreError;
use crate::ids::{ContextId, ContextSlot};
use crate::layout::{self, META_DAMAGE_SEEN, slot_key};
use crate::quarantine::Quarantined;
use crate::record::{ContextRecord, DamageSeenRecord, open};

impl Snapshot {
    /// The context in `slot`, if anything that can be read says so. Looks through all
    /// contexts if its head is damaged, but not through more than `contexts_max`.
    pub fn context_in(
        &self,
        slot: ContextSlot,
        contexts_max: usize,
    ) -> Result<Option<ContextId>, StoreError> {
        match self.head(slot) {
            Ok(head) => return Ok(Some(head.context)),
            Err(StoreError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut found = None;
        let mut left = contexts_max;
        self.each_after(
            |tables| tables.contexts,
            None,
            |key, bytes| {
                left = left.saturating_sub(1);
                found = ContextRecord::read(key, bytes)
                    .ok()
                    .filter(|context| context.slot == slot)
                    .map(|context| context.id);
                Ok(match found.is_some() || left == 0 {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            },
        )?;
        Ok(found)
    }

    /// Why the context in `slot` is out of service; none if it is not.
    pub fn quarantined(&self, slot: ContextSlot) -> Result<Option<Quarantined>, StoreError> {
        let key = slot_key(slot);
        let found = self.get_raw(self.tables.quarantine, &key)?;
        match found.map(|bytes| Quarantined::read(&key, bytes)) {
            Some(read) => read,
            None => Ok(self.unwritten.iter().find(|out| out.slot == slot).cloned()),
        }
    }

    /// Where a context is that is out of service, or calls lie that were put aside, if there
    /// is any: what such calls refer to is in no table.
    pub fn any_quarantined(&self) -> Result<Option<ContextSlot>, StoreError> {
        let first = self.tables.quarantine.first(&self.txn);
        let Some((key, _)) = first.map_err(unreadable)? else {
            return Ok(self.unwritten.iter().map(|out| out.slot).next());
        };
        let cut_off = || StoreError::corrupt("record of a quarantine", key, "its key is cut off");
        let (slot, _) = layout::split_slot(key).ok_or_else(cut_off)?;
        Ok(Some(slot))
    }

    /// Every context that is out of service. One of which the record of that is damaged still is;
    /// which it is, its head says, or its own record. What a deleted one has left behind counts
    /// for nothing: a context may have come back under its id.
    pub fn all_quarantined(&self) -> Result<Vec<Quarantined>, StoreError> {
        let mut all = Vec::new();
        self.each(
            |tables| tables.quarantine,
            |key, bytes| {
                // The key of a call that was put aside is longer, and in no table of slots.
                if self.get_raw(self.tables.graves, key)?.is_some() {
                    return Ok(());
                }
                let damage = match Quarantined::read(key, bytes) {
                    Ok(found) => {
                        all.extend(found);
                        return Ok(());
                    }
                    Err(damage) => damage,
                };
                let Some((slot, _)) = layout::split_slot(key) else {
                    return Ok(());
                };
                if let Some(context) = self.context_in(slot, usize::MAX)? {
                    let why = damage.to_string();
                    all.push(Quarantined {
                        context,
                        slot,
                        why,
                        aside: 0,
                    });
                }
                Ok(())
            },
        )?;
        for out in self.unwritten.iter() {
            if all.iter().all(|known| known.context != out.context) {
                all.push(out.clone());
            }
        }
        Ok(all)
    }

    /// Which damage of no context was looked into, if any; a damaged note says nothing.
    pub(crate) fn damage_seen(&self) -> Result<Option<[u8; 32]>, StoreError> {
        let found = self.get_raw(self.tables.meta, META_DAMAGE_SEEN)?;
        let noted = found.map(|bytes| open::<DamageSeenRecord>(META_DAMAGE_SEEN, bytes));
        Ok(noted.and_then(Result::ok).map(|noted| noted.digest))
    }

    /// Whether a context is in the slot, in service or not, or a grave.
    pub(crate) fn is_used(&self, slot: ContextSlot) -> Result<bool, StoreError> {
        let found = self.tables.is_used(&self.txn, slot, None);
        found.map_err(unreadable)
    }
}
