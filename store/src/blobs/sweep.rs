//! Removing what nobody refers to any more, some blobs at a time. Who refers to a blob is
//! asked blob by blob, after the cutoff was taken: the order that `removal.rs` demands. One
//! thread at a time, which may block.

use super::{BlobCutoff, BlobScan, Blobs, Listed, Removal};
use crate::error::BlobError;
use crate::ids::BlobId;

/// What a step of a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweptBlobs {
    /// Blobs that were looked at.
    pub seen: u64,
    /// Those of them that are gone.
    pub removed: u64,
    /// Bytes of the contents of these.
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
}

impl BlobSweep {
    pub(super) fn new(blobs: Blobs, cutoff: BlobCutoff) -> BlobSweep {
        BlobSweep {
            scan: blobs.scan(),
            cutoff,
            blobs,
        }
    }

    /// Looks at up to `entries_max` files, at least one. `is_referenced` has to ask every
    /// ledger; it is asked only of blobs that nobody has used for a while. If it fails, or
    /// a file cannot be removed, the next step goes on behind it.
    pub fn step<E: From<BlobError>>(
        &mut self,
        entries_max: usize,
        is_referenced: &mut dyn FnMut(&BlobId) -> Result<bool, E>,
    ) -> Result<SweptBlobs, E> {
        let listed = self.scan.step(entries_max)?;
        let mut swept = SweptBlobs {
            is_over: listed.is_empty(),
            ..SweptBlobs::default()
        };
        for entry in listed {
            let Listed::Blob(blob) = entry else { continue };
            swept.seen += 1;
            if !self.cutoff.may_go(&blob) || is_referenced(&blob.id)? {
                continue;
            }
            if self.blobs.remove_by(blob.id, &self.cutoff)? == Removal::Removed {
                swept.removed += 1;
                swept.bytes += blob.bytes.unwrap_or(0);
            }
        }
        Ok(swept)
    }
}
