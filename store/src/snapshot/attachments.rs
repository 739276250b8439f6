//! Which blobs contexts have attached.

use super::{Snapshot, unreadable};
use crate::attachment::{self, AttachedCheck, AttachedSum, Attachment, NotedCheck};
use crate::entry::Space;
use crate::error::StoreError;
use crate::ids::{BlobId, ContextSlot};
use crate::layout::{space_key, split_entry};

impl Snapshot {
    /// How much the context in `slot` has attached.
    pub fn attached(&self, slot: ContextSlot) -> Result<AttachedSum, StoreError> {
        attachment::sum(self.tables, &self.txn, slot).map_err(attachment_unreadable)
    }

    /// The first `max` contexts that refer to a blob. One that was deleted is among them until
    /// its references are swept. Fails if what says so is damaged.
    pub fn attached_by(&self, blob: BlobId, max: usize) -> Result<Vec<ContextSlot>, StoreError> {
        attachment::attached_by(self.tables, &self.txn, blob, max).map_err(attachment_unreadable)
    }

    /// Shows each blob that the context in `slot` has attached, by its entries.
    pub(crate) fn each_attached_to(
        &self,
        slot: ContextSlot,
        visit: &mut dyn FnMut(BlobId),
    ) -> Result<(), StoreError> {
        let prefix = space_key(slot, Space::Attached);
        let entries = self.tables.entries.prefix_iter(&self.txn, &prefix);
        for entry in entries.map_err(unreadable)? {
            let (key, _) = entry.map_err(unreadable)?;
            let attachment = split_entry(key).and_then(|(_, _, key)| Attachment::from_key(key));
            if let Some(attachment) = attachment {
                visit(attachment.blob);
            }
        }
        Ok(())
    }

    /// Compares what is noted of attachments with their entries, up to `records_max` records
    /// more; says whether all were read. Another step may be given another snapshot of
    /// the same ledger.
    ///
    /// Fails at the first record that is damaged or is not what others say; the next step goes on
    /// behind it. As long as there is one, nobody may remove a blob on what
    /// [`attached_by`](Snapshot::attached_by) says.
    pub fn compare_attachments(
        &self,
        check: &mut AttachedCheck,
        records_max: u64,
    ) -> Result<bool, StoreError> {
        let compared = check.step(self.tables, &self.txn, records_max);
        compared.map_err(attachment_unreadable)
    }

    /// Looks at up to `contexts_max` contexts more for one that has attached a blob without a note
    /// of it, which [`attached_by`](Snapshot::attached_by) does not tell; says whether all were
    /// looked at. Another step may be given another snapshot of the same ledger.
    ///
    /// Fails at the first one that there is, and if an entry cannot be read.
    pub fn check_noted(
        &self,
        check: &mut NotedCheck,
        contexts_max: u64,
    ) -> Result<bool, StoreError> {
        let checked = check.step(self.tables, &self.txn, contexts_max);
        checked.map_err(attachment_unreadable)
    }

    /// Compares all that is noted of attachments with their entries.
    pub(crate) fn check_attachments(&self) -> Result<(), StoreError> {
        let mut check = AttachedCheck::default();
        self.compare_attachments(&mut check, u64::MAX).map(drop)
    }

    /// Whether the context has the attachment of which a row of the table `attached` tells.
    pub(crate) fn check_attached(&self, key: &[u8]) -> Result<(), StoreError> {
        let missing = || {
            let why = "its context has no such entry";
            StoreError::corrupt("record of an attachment", key, why)
        };
        let entry = attachment::entry_of_row(key).ok_or_else(missing)?;
        let found = self.get_raw(self.tables.entries, &entry)?;
        found.map(drop).ok_or_else(missing)
    }
}

fn attachment_unreadable(failure: attachment::Failure) -> StoreError {
    match failure {
        attachment::Failure::Engine(error) => unreadable(error),
        attachment::Failure::Store(error) => error,
    }
}
