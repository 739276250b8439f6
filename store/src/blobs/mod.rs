//! Blobs: contents that are too large for an entry, each in a file of its own below
//! `data/blobs/`, named by the hash of its content. The same content is there once,
//! whoever has written it. Who refers to a blob is in the ledgers, not here.
//!
//! All of this is plain blocking code for threads that may wait for the disk: a small
//! pool, never a shard. On a shard, only [`BlobHold`] may be kept and dropped. Writers
//! and readers work in steps of one group, so a bounded channel between such a thread
//! and a shard bounds memory and passes the disk's pace on.
//!
//! | file | holds |
//! |---|---|
//! | `tree.rs` | from content to id: blake3, by groups |
//! | `format.rs` | the bytes of one file |
//! | `dirs.rs` | names: where files lie, who may move them |
//! | `writer.rs`, `reader.rs` | content in and out |
//! | `holds.rs`, `removal.rs` | what may be removed, and when |
//! | `scan.rs`, `list.rs` | which blobs there are |
//! | `check.rs`, `sweep.rs` | going through all of them |

mod check;
mod dirs;
mod format;
mod holds;
mod list;
mod reader;
mod removal;
mod scan;
mod sweep;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::check::{BlobCheck, Checked};
pub use self::format::BLOB_BYTES_MAX;
pub use self::holds::BlobHold;
pub use self::reader::BlobReader;
pub use self::removal::{BlobCutoff, Removal};
pub use self::scan::{BlobEntry, BlobScan, Listed};
pub use self::sweep::{BlobSweep, SweptBlobs};
pub use self::tree::BLOB_GROUP_BYTES;
pub use self::writer::{BlobLimit, BlobWriter};

use self::dirs::Dirs;
use self::holds::Holds;
use self::removal::Clock;
use crate::error::BlobError;
use crate::ids::BlobId;

/// All blobs of this node. Clones are the same blobs.
#[derive(Clone, Debug)]
pub struct Blobs {
    shared: Arc<Shared>,
}

/// What all writers, readers and scans have in common.
#[derive(Debug)]
struct Shared {
    dirs: Dirs,
    holds: Arc<Holds>,
    clock: Clock,
}

impl Shared {
    fn reader(&self, id: BlobId) -> Result<Option<BlobReader>, BlobError> {
        let Some(file) = self.dirs.open_file(&id)? else {
            return Ok(None);
        };
        BlobReader::new(id, file, self.dirs.file(&id)).map(Some)
    }

    fn length(&self, id: BlobId) -> Result<Option<u64>, BlobError> {
        let Some(file) = self.dirs.open_file(&id)? else {
            return Ok(None);
        };
        let measured = BlobReader::measured(id, file, self.dirs.file(&id))?;
        Ok(Some(measured.bytes()))
    }
}

impl Blobs {
    /// Opens the blobs below `dir`, which is [`DataDir::blobs_dir`], and removes what
    /// an earlier process has not finished.
    ///
    /// Fails if they are open already, here or in another process.
    ///
    /// [`DataDir::blobs_dir`]: crate::DataDir::blobs_dir
    pub fn open(dir: impl AsRef<Path>) -> Result<Blobs, BlobError> {
        Ok(Blobs {
            shared: Arc::new(Shared {
                dirs: Dirs::open(dir.as_ref())?,
                holds: Arc::default(),
                clock: Clock::start(),
            }),
        })
    }

    /// Begins a blob, of which at most `limit` is taken. If `expected` is given, only
    /// that content becomes one.
    pub fn writer(
        &self,
        expected: Option<BlobId>,
        limit: BlobLimit,
    ) -> Result<BlobWriter, BlobError> {
        BlobWriter::new(self.shared.clone(), expected, limit)
    }

    /// Opens a blob, if it is there. Reads and verifies its outline (32 bytes for each
    /// [`BLOB_GROUP_BYTES`]) and its last group.
    ///
    /// Fails if one of these is damaged.
    pub fn reader(&self, id: BlobId) -> Result<Option<BlobReader>, BlobError> {
        self.shared.reader(id)
    }

    /// Keeps a blob from being removed, if it is there: to be taken before a reference to
    /// it is made, and dropped when that is durable. Counts as a use of the blob, so
    /// its idle time begins anew. Nothing is verified.
    pub fn hold(&self, id: BlobId) -> Result<Option<BlobHold>, BlobError> {
        self.shared.hold(id)
    }

    /// Which blobs may be removed if nobody refers to them: those that nobody holds now
    /// and nobody has written or held for `idle_min`, which counts as two seconds at
    /// least. To be taken before anybody is asked for references.
    pub fn cutoff(&self, idle_min: Duration) -> BlobCutoff {
        self.shared.cutoff(idle_min)
    }

    /// Removes a blob if `cutoff` allows it still. Who has it open can read on.
    ///
    /// That no ledger refers to it is for the caller to know, by asking all of them after
    /// `cutoff` was taken.
    pub fn remove_by(&self, id: BlobId, cutoff: &BlobCutoff) -> Result<Removal, BlobError> {
        self.shared.remove(id, Some(cutoff))
    }

    /// Removes a blob unless somebody holds it, whether or not it is referred to: on an
    /// operator's word. Who has it open can read on.
    pub fn remove(&self, id: BlobId) -> Result<Removal, BlobError> {
        self.shared.remove(id, None)
    }

    /// Removes a blob at once, unless somebody holds it or `is_referenced`, which has to ask
    /// every ledger, says that one refers to it: then gives `None`. As long as it asks, nobody
    /// can begin to refer to the blob.
    pub fn remove_unless<E: From<BlobError>>(
        &self,
        id: BlobId,
        is_referenced: impl FnOnce() -> Result<bool, E>,
    ) -> Result<Option<Removal>, E> {
        self.shared.remove_unless(id, is_referenced)
    }

    /// Whether somebody holds the blob now.
    pub fn is_held(&self, id: &BlobId) -> bool {
        self.shared.holds.is_held(id)
    }

    /// What is known of one blob without reading it, if it is there.
    pub fn entry(&self, id: BlobId) -> Result<Option<BlobEntry>, BlobError> {
        self.shared.entry(id)
    }

    /// How many bytes a blob has, if it is there: by the length of its file, which has to end
    /// as a blob does. Nothing of the content is read.
    ///
    /// Fails if it is damaged as far as that shows, as when it was cut off.
    pub fn length(&self, id: BlobId) -> Result<Option<u64>, BlobError> {
        self.shared.length(id)
    }

    /// The first `limit` blobs whose ids come after `after`, in the order of their ids.
    /// Reads the names in whole directories, each with one of 256 of all blobs.
    pub fn page(&self, after: Option<BlobId>, limit: usize) -> Result<Vec<BlobEntry>, BlobError> {
        self.shared.page(after, limit)
    }

    /// Begins a list of all blobs.
    pub fn scan(&self) -> BlobScan {
        BlobScan::new(self.shared.clone())
    }

    /// Begins to remove blobs that nobody refers to and that nobody has written or held for
    /// `idle_min`, which counts as two seconds at least.
    pub fn sweep(&self, idle_min: Duration) -> BlobSweep {
        BlobSweep::new(self.clone(), self.cutoff(idle_min))
    }

    /// Verifies all of one blob; says how many bytes it has, or `None` if it is not there.
    /// Takes as long as reading it.
    pub fn check(&self, id: BlobId) -> Result<Option<u64>, BlobError> {
        self.shared.check(id)
    }

    /// Begins to verify all blobs below `dir`, which nobody has open, without opening
    /// them: nothing is changed there.
    pub fn look(dir: impl AsRef<Path>) -> BlobCheck {
        BlobCheck::new(Arc::new(Shared {
            dirs: Dirs::look(dir.as_ref()),
            holds: Arc::default(),
            clock: Clock::start(),
        }))
    }

    /// Begins to verify all blobs.
    pub fn check_all(&self) -> BlobCheck {
        BlobCheck::new(self.shared.clone())
    }
}
