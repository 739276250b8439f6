//! Space of the disk that the data file is sure to have. What is acknowledged by the journal
//! has to go into LMDB later, whatever the disk has left by then: so the pages for it are
//! reserved before, behind the end of the file, where LMDB lets it grow. A little more is kept
//! for what frees space, so that a full disk can be made emptier. Asked by
//! `writer.rs` and what is beside it. Start at [`Reserve::reach`].

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::error::StoreError;
use crate::layout::PAGE_BYTES;
use crate::ledger::is_out_of_space;

/// So much is reserved at once: a call of the system for each 4,096 pages, and no more than that
/// is taken of the disk by a ledger that needs little.
const STEP_BYTES: u64 = 16 << 20;

/// Pages that are left for deletions and for the collector, which need some before they free
/// any: 4 MiB.
pub(crate) const PAGES_FOR_FREEING: u64 = 1_024;

/// What is reserved of the disk for a data file.
pub(crate) struct Reserve {
    file: File,
    bytes: Reserved,
    /// No disk can be filled by a unit test.
    #[cfg(test)]
    pub(crate) is_disk_full: bool,
}

/// Where the reserved space ends, counted from the file's beginning, for those who count.
#[derive(Clone, Default)]
pub(crate) struct Reserved(Arc<AtomicU64>);

/// As far as the file may ever grow, without any space for it.
const UNRESERVED: u64 = u64::MAX;

impl Reserved {
    /// How much is reserved behind so many bytes.
    pub(crate) fn behind(&self, bytes: u64) -> u64 {
        match self.bytes() {
            UNRESERVED => 0,
            end => end.saturating_sub(bytes),
        }
    }

    fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

impl Reserve {
    /// Nothing is reserved before somebody asks for it.
    pub(crate) fn of(data_file: &Path) -> Result<Reserve, StoreError> {
        let file = OpenOptions::new().write(true).open(data_file);
        Ok(Reserve {
            file: file.map_err(StoreError::file("open the data file", data_file))?,
            bytes: Reserved::default(),
            #[cfg(test)]
            is_disk_full: false,
        })
    }

    pub(crate) fn reserved(&self) -> Reserved {
        self.bytes.clone()
    }

    /// Whether what was reached is sure.
    pub(crate) fn is_sure(&self) -> bool {
        self.bytes.bytes() != UNRESERVED
    }

    /// Whether it is known that the file has that space, without asking for any.
    pub(crate) fn has(&self, pages: u64) -> bool {
        let end = (pages + PAGES_FOR_FREEING).saturating_mul(PAGE_BYTES);
        end <= self.bytes.bytes()
    }

    /// Sees to it that the file has space for its first `pages` pages and those for freeing.
    /// Whether it has; what it has once, it keeps.
    ///
    /// Where the file system cannot reserve anything, it is taken to have space: then
    /// what a full disk keeps from being brought in waits in the journal.
    pub(crate) fn reach(&mut self, pages: u64) -> Result<bool, StoreError> {
        if self.has(pages) {
            return Ok(true);
        }
        let end = (pages + PAGES_FOR_FREEING).saturating_mul(PAGE_BYTES);
        Ok(self.take(end.next_multiple_of(STEP_BYTES))? || self.take(end)?)
    }

    fn take(&mut self, end: u64) -> Result<bool, StoreError> {
        let begin = self.bytes.bytes();
        #[cfg(test)]
        if self.is_disk_full {
            return Ok(false);
        }
        loop {
            // The size is LMDB's own: it writes behind the end of the file.
            let taken =
                rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, begin, end - begin);
            match taken.map_err(std::io::Error::from) {
                Ok(()) => {
                    self.bytes.set(end);
                    return Ok(true);
                }
                Err(error) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => {}
                Err(error) if is_out_of_space(&error) => return Ok(false),
                Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                    self.bytes.set(UNRESERVED);
                    return Ok(true);
                }
                Err(source) => {
                    let doing = "the reservation of space for the data file";
                    return Err(StoreError::Io { doing, source });
                }
            }
        }
    }
}
