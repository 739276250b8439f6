//! What blobs' requests and their removal count. One for the whole process, and several
//! threads add to each number.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that several threads change.
#[derive(Debug, Default)]
pub struct SharedCount(AtomicU64);

impl SharedCount {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Everything that is counted of blobs.
#[derive(Debug, Default)]
pub struct BlobStats {
    /// Blobs there were when the sweep last went through all of them.
    pub blobs: SharedCount,
    /// Bytes of their contents.
    pub bytes: SharedCount,
    /// Uploads that have become blobs.
    pub uploaded: SharedCount,
    /// Bytes that uploads have brought, finished or not.
    pub uploaded_bytes: SharedCount,
    /// Bytes of contents that were read and verified for clients.
    pub read_bytes: SharedCount,
    /// Blobs that the sweep has removed.
    pub swept: SharedCount,
    /// Bytes of their contents.
    pub swept_bytes: SharedCount,
    /// Times that the sweep has gone through all blobs.
    pub sweeps: SharedCount,
    /// 1 while the sweep removes nothing, as no ledger may be believed that nobody refers to it.
    /// Stays as it was if one could not be asked.
    pub kept_all: SharedCount,
    /// Times that a blob was found damaged, and neither served nor attached.
    pub damaged: SharedCount,
}
