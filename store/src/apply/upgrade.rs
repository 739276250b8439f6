//! A context that is to run another application: what the hooks of both have done is written as
//! any call, and with it, in the same transaction, which application the context's record names.
//! It is not journaled; a batch with it is a checkpoint.

use super::{Pass, Receipt, Stop};
use crate::change::Upgrade;
use crate::error::Refused;
use crate::record::ContextRecord;

impl Pass<'_> {
    pub(super) fn upgrade(&mut self, upgrade: &Upgrade) -> Result<Receipt, Stop> {
        let call = &upgrade.call;
        let slot = self.slot_of_call(call)?;
        let record = self.find(&call.context)?;
        if record.slot != slot {
            let context = call.context;
            return Err(Refused::WrongSlot { context, slot }.into());
        }
        // The last that may refuse.
        let mut receipt = self.call_in(slot, call)?;
        self.note_unjournaled();
        // As entries and in the log.
        self.added_bytes += 2 * call.bytes();
        let record = ContextRecord {
            application: upgrade.application,
            ..record
        };
        record.seal(&mut self.buffers.record);
        let put =
            self.tables
                .contexts
                .put(&mut self.txn, call.context.as_bytes(), &self.buffers.record);
        self.writes += 1;
        put.map_err(|error| self.stop(error))?;
        if call.ops.is_empty() {
            let mut touched = self.take_head(slot);
            touched.head.version += 1;
            receipt.standing.version = touched.head.version;
            self.heads.insert(slot, touched);
        }
        Ok(receipt)
    }
}
