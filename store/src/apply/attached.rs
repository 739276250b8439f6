//! How much a context may attach: a call of this node that would make it more than that is
//! refused before anything of it is written. What is noted of attachments is in
//! `attachment.rs`.

use super::{Pass, Stop, before_writing};
use crate::attachment::{self, AttachedSum, Attachment, Failure};
use crate::change::{CallEffects, Write};
use crate::entry::Space;
use crate::error::Refused;
use crate::ids::ContextSlot;

impl Pass<'_> {
    /// Refuses a call after which its context would have attached more than it may; not
    /// one that takes attachments away. `slot` is none for a context that is new.
    pub(super) fn check_attached(
        &self,
        slot: Option<ContextSlot>,
        call: &CallEffects,
    ) -> Result<(), Stop> {
        let mut ops = call.ops.iter().filter(|op| op.space == Space::Attached);
        let Some(first) = ops.next() else {
            return Ok(());
        };
        let failed = |failure| match failure {
            Failure::Engine(error) => self.stop(error),
            Failure::Store(error) => before_writing(error),
        };
        let before = match slot {
            None => AttachedSum::default(),
            Some(slot) => attachment::sum(self.tables, &self.txn, slot).map_err(failed)?,
        };
        let mut after = before;
        for op in [first].into_iter().chain(ops) {
            // What is no attachment was refused before.
            let Some(attachment) = Attachment::from_key(&op.key) else {
                continue;
            };
            let was_there = match slot {
                None => false,
                Some(slot) => attachment::has(self.tables, &self.txn, slot, attachment)
                    .map_err(|error| self.stop(error))?,
            };
            let is_there = op.write == Write::Insert;
            if is_there && !was_there {
                after.blobs += 1;
                after.bytes = after.bytes.saturating_add(attachment.bytes);
            } else if was_there && !is_there {
                after.blobs = after.blobs.saturating_sub(1);
                after.bytes = after.bytes.saturating_sub(attachment.bytes);
            }
        }
        let bounds = &self.context_bounds;
        for (limit, before, got, max) in [
            (
                "context_blobs_max",
                before.blobs,
                after.blobs,
                bounds.blobs_max,
            ),
            (
                "context_blob_bytes_max",
                before.bytes,
                after.bytes,
                bounds.blob_bytes_max,
            ),
        ] {
            refuse_growth(limit, before, got, max)?;
        }
        Ok(())
    }
}

/// Refuses what makes more of something that there is too much of then.
pub(super) fn refuse_growth(
    limit: &'static str,
    before: u64,
    got: u64,
    max: u64,
) -> Result<(), Stop> {
    if got <= max || got <= before {
        return Ok(());
    }
    let min = 0;
    Err(Refused::OutOfBounds {
        limit,
        got,
        min,
        max,
    }
    .into())
}
