//! Removing what nobody refers to any more, some blobs at a time. Who refers to a blob is
//! asked blob by blob, after the cutoff was taken: the order that `removal.rs` demands. One
//! thread at a time, which may block.

use std::collections::VecDeque;

use super::{BlobCutoff, BlobScan, Blobs, Listed, Removal};
use crate::error::BlobError;
use crate::ids::BlobId;

/// What a step of a sweep did.
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
    /// Whether this was the end.
    pub is_over: bool,
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
    /// What a step has done that failed: it is told with the next one that does not.
    untold: SweptBlobs,
}

impl BlobSweep {
    pub(super) fn new(blobs: Blobs, cutoff: BlobCutoff) -> BlobSweep {
        BlobSweep {
            scan: blobs.scan(),
            cutoff,
            blobs,
            listed: VecDeque::new(),
            untold: SweptBlobs::default(),
        }
    }

    /// Looks at up to `entries_max` files, at least one. `is_referenced` has to ask every
    /// ledger; it is asked only of blobs that nobody has used for a while. If it fails, or
    /// a file cannot be removed, the next step goes on behind that blob and tells what this one has done.
    pub fn step<E: From<BlobError>>(
        &mut self,
        entries_max: usize,
        is_referenced: &mut dyn FnMut(&BlobId) -> Result<bool, E>,
    ) -> Result<SweptBlobs, E> {
        if self.listed.is_empty() {
            self.listed.extend(self.scan.step(entries_max)?);
            self.untold.is_over = self.listed.is_empty();
        }
        while let Some(entry) = self.listed.pop_front() {
            let Listed::Blob(blob) = entry else { continue };
            let bytes = blob.bytes.unwrap_or(0);
            self.untold.seen += 1;
            self.untold.seen_bytes += bytes;
            if !self.cutoff.may_go(&blob) || is_referenced(&blob.id)? {
                continue;
            }
            if self.blobs.remove_by(blob.id, &self.cutoff)? == Removal::Removed {
                self.untold.removed += 1;
                self.untold.bytes += bytes;
            }
        }
        Ok(std::mem::take(&mut self.untold))
    }
}
