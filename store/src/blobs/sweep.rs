//! Removing what nobody refers to any more, some blobs at a time. Who refers to a blob is
//! asked blob by blob, after the cutoff was taken: the order that `removal.rs` demands. What may
//! go is noted first and removed later, one by one, as that takes long for a large file. One
//! thread at a time, which may block: it is none of a shard's, and no shard waits for it. Start at [`BlobSweep::look`].

use std::collections::VecDeque;

use super::{BlobCutoff, BlobEntry, BlobScan, Blobs, Listed, Removal};
use crate::error::BlobError;
use crate::ids::BlobId;

/// What a sweep has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweptBlobs {
    /// Blobs that were looked at.
    pub seen: u64,
    /// Bytes of the contents of these.
    pub seen_bytes: u64,
    /// Those of them that are gone.
    pub removed: u64,
    /// Bytes of the contents of those that are gone.
    pub bytes: u64,
}

/// Goes through all blobs and removes those that nobody has used for a while and nobody
/// refers to.
#[derive(Debug)]
pub struct BlobSweep {
    blobs: Blobs,
    scan: BlobScan,
    cutoff: BlobCutoff,
    /// Listed, and not yet looked at.
    listed: VecDeque<Listed>,
    /// To be removed: nobody refers to them.
    unreferenced: VecDeque<BlobEntry>,
    swept: SweptBlobs,
}

impl BlobSweep {
    pub(super) fn new(blobs: Blobs, cutoff: BlobCutoff) -> BlobSweep {
        BlobSweep {
            scan: blobs.scan(),
            cutoff,
            blobs,
            listed: VecDeque::new(),
            unreferenced: VecDeque::new(),
            swept: SweptBlobs::default(),
        }
    }

    /// What it has done so far.
    pub fn swept(&self) -> SweptBlobs {
        self.swept
    }

    /// Looks at up to `entries_max` files, at least one, and notes which of them may go;
    /// says whether there are more. `is_referenced` has to ask every ledger; it is asked only
    /// of blobs that nobody has used for a while. If it fails, the next step goes on behind
    /// that blob.
    pub fn look<E: From<BlobError>>(
        &mut self,
        entries_max: usize,
        is_referenced: &mut dyn FnMut(&BlobId) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut has_more = true;
        if self.listed.is_empty() {
            self.listed.extend(self.scan.step(entries_max)?);
            has_more = !self.listed.is_empty();
        }
        while let Some(entry) = self.listed.pop_front() {
            let Listed::Blob(blob) = entry else { continue };
            self.swept.seen += 1;
            self.swept.seen_bytes += blob.bytes.unwrap_or(0);
            if self.cutoff.may_go(&blob) && !is_referenced(&blob.id)? {
                self.unreferenced.push_back(blob);
            }
        }
        Ok(has_more)
    }

    /// Removes one of those that may go, unless somebody has used it meanwhile; says whether
    /// there was one. However long ago the ledgers were asked does not matter: see
    /// `removal.rs`.
    pub fn remove_next(&mut self) -> Result<bool, BlobError> {
        let Some(blob) = self.unreferenced.pop_front() else {
            return Ok(false);
        };
        if self.blobs.remove_by(blob.id, &self.cutoff)? == Removal::Removed {
            self.swept.removed += 1;
            self.swept.bytes += blob.bytes.unwrap_or(0);
        }
        Ok(true)
    }
}
