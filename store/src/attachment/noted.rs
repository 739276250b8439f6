//! Whether one blob is attached without a note of that: before somebody removes it on a note's
//! word that nobody refers to it. Looks for the blob among the entries themselves, with two
//! steps for each context that has attached anything, however much that is.
//!
//! Any thread that may wait. Start at [`NotedCheck::step`].

use heed::RoTxn;

use super::{Attachment, Failure};
use crate::entry::Space;
use crate::error::StoreError;
use crate::ids::{BlobId, ContextSlot};
use crate::layout::{SLOT_BITS, Tables, entry_key, split_entry};

/// A search for contexts that have attached a blob of which nothing is noted, and where it is.
/// It is not on disk.
#[derive(Debug)]
pub struct NotedCheck {
    blob: BlobId,
    /// The next context that is looked at; none behind the last one.
    next: Option<ContextSlot>,
}

impl NotedCheck {
    /// Begins to search for a blob.
    pub fn of(blob: BlobId) -> NotedCheck {
        NotedCheck {
            blob,
            next: Some(ContextSlot::new(0)),
        }
    }

    /// Looks at up to `contexts_max` contexts more, at least one; says whether all were looked at.
    ///
    /// Fails at the first one that has attached the blob without a note of it, or whose entries
    /// cannot be read.
    pub(crate) fn step(
        &mut self,
        tables: Tables,
        txn: &RoTxn<'_>,
        contexts_max: u64,
    ) -> Result<bool, Failure> {
        let (mut looked, mut from) = (0, Vec::new());
        while let Some(slot) = self.next {
            if looked >= contexts_max.max(1) {
                return Ok(false);
            }
            entry_key(&mut from, slot, Space::Attached, self.blob.as_bytes());
            let found = tables.entries.get_greater_than_or_equal_to(txn, &from)?;
            let Some((key, _)) = found else {
                self.next = None;
                break;
            };
            let corrupt = |why| StoreError::corrupt("entry", key, why);
            let Some((found, space, rest)) = split_entry(key) else {
                return Err(corrupt("its key is cut off").into());
            };
            if space != Space::Attached {
                self.next = None;
                break;
            }
            if found != slot {
                // The next context that has attached anything.
                self.next = Some(found);
                continue;
            }
            looked += 1;
            let behind = slot.number() + 1;
            self.next = (behind < 1 << SLOT_BITS).then(|| ContextSlot::new(behind));
            if rest.starts_with(self.blob.as_bytes()) {
                let none = || corrupt("it is among the attachments and is none");
                let attachment = Attachment::from_key(rest).ok_or_else(none)?;
                let row = tables.attached.get(txn, &attachment.row_key(slot))?;
                row.ok_or_else(|| corrupt("nothing is noted of this attachment"))?;
            }
        }
        Ok(true)
    }
}
