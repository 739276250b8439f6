//! Writing one blob: content comes in pieces of any size, goes to a private file
//! group by group, and gets its name when it is whole and on disk. No names here
//! (`dirs.rs`). Belongs to one thread at a time, which may block; memory is one
//! group and 32 bytes for each group written. Start at [`BlobWriter::write`].

use std::sync::Arc;

use super::Shared;
use super::dirs::Unfinished;
use super::format::{BLOB_BYTES_MAX, FOOTER};
use super::holds::BlobHold;
use super::tree::{BLOB_GROUP_BYTES, GroupHash, group_hash, root};
use crate::error::BlobError;
use crate::ids::BlobId;

/// Bytes between two flushes of a blob that is being written. Without them a large
/// one would fill the page cache, and its one flush at the end hold up every other
/// flush on the disk, those of ledgers among them.
const FLUSH_BYTES: usize = 32 << 20;

const _: () = assert!(FLUSH_BYTES.is_multiple_of(BLOB_GROUP_BYTES));

/// How long a blob may become, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobLimit {
    /// What it is called where it can be changed, for the error.
    pub name: &'static str,
    /// Bytes of content; [`BLOB_BYTES_MAX`] holds besides.
    pub bytes_max: u64,
}

impl BlobLimit {
    /// What holds if nobody says less.
    pub const FORMAT: BlobLimit = BlobLimit {
        name: "the format of blobs",
        bytes_max: BLOB_BYTES_MAX,
    };

    fn check(self, bytes: u64) -> Result<(), BlobError> {
        match bytes <= self.bytes_max {
            true => Ok(()),
            false => Err(BlobError::TooLarge {
                limit: self.name,
                bytes_max: self.bytes_max,
            }),
        }
    }
}

/// Writes one blob. If it is dropped before [`finish`](BlobWriter::finish), nothing
/// is left of it.
#[derive(Debug)]
pub struct BlobWriter {
    shared: Arc<Shared>,
    expected: Option<BlobId>,
    limit: BlobLimit,
    /// `None` after an error.
    file: Option<Unfinished>,
    /// Bytes taken in.
    bytes: u64,
    /// Of the groups that are in the file.
    groups: Vec<GroupHash>,
    /// The group after these; full only until it is known whether it is the last.
    begun: Vec<u8>,
}

impl BlobWriter {
    pub(super) fn new(
        shared: Arc<Shared>,
        expected: Option<BlobId>,
        limit: BlobLimit,
    ) -> Result<BlobWriter, BlobError> {
        let file = Some(shared.dirs.begin()?);
        Ok(BlobWriter {
            shared,
            expected,
            limit,
            file,
            bytes: 0,
            groups: Vec::new(),
            begun: Vec::new(),
        })
    }

    /// Bytes taken in so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes in the next bytes of the content: hashes and writes as many groups as
    /// they fill, and now and then waits for the disk. Give it about
    /// [`BLOB_GROUP_BYTES`] at a time to keep the steps short.
    ///
    /// Fails if the content gets longer than it may be, before anything of these
    /// bytes is written, and if the disk is full or fails. After an error the writer
    /// has ended, and its file is gone.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let mut file = self.file.take().ok_or(BlobError::Ended)?;
        let bytes_then = self.bytes.saturating_add(bytes.len() as u64);
        BlobLimit::FORMAT.check(bytes_then)?;
        self.limit.check(bytes_then)?;
        self.take_in(bytes, &mut file)?;
        self.bytes = bytes_then;
        self.file = Some(file);
        Ok(())
    }

    fn take_in(&mut self, mut bytes: &[u8], file: &mut Unfinished) -> Result<(), BlobError> {
        while !bytes.is_empty() {
            if self.begun.len() == BLOB_GROUP_BYTES {
                write_group(&self.begun, &mut self.groups, file)?;
                self.begun.clear();
            }
            // A whole group with something behind it needs no copy.
            if self.begun.is_empty() && bytes.len() > BLOB_GROUP_BYTES {
                let (group, rest) = bytes.split_at(BLOB_GROUP_BYTES);
                write_group(group, &mut self.groups, file)?;
                bytes = rest;
                continue;
            }
            let room = BLOB_GROUP_BYTES - self.begun.len();
            let (fitting, rest) = bytes.split_at(bytes.len().min(room));
            self.begun.extend_from_slice(fitting);
            bytes = rest;
        }
        Ok(())
    }

    /// Makes the content a blob, durably, and holds it, so that it can be referred
    /// to before anybody removes it. If the blob was there before, the content takes
    /// its place, which heals one that was damaged.
    ///
    /// Fails if another content was expected, and if the disk is full or fails; then
    /// nothing is left of it.
    pub fn finish(mut self) -> Result<BlobHold, BlobError> {
        let mut file = self.file.take().ok_or(BlobError::Ended)?;
        let id = if self.groups.is_empty() {
            BlobId::of(&self.begun)
        } else {
            let last = group_hash(self.groups.len() as u64, &self.begun);
            self.groups.push(last);
            root(&self.groups)
        };
        if let Some(expected) = self.expected.filter(|expected| *expected != id) {
            let found = id;
            return Err(BlobError::Mismatch { expected, found });
        }
        self.begun.extend_from_slice(self.groups.as_flattened());
        self.begun.extend_from_slice(&FOOTER);
        file.write(&self.begun)?;
        // Held before the time is taken: see `removal.rs`.
        let hold = BlobHold::new(id, self.shared.holds.clone());
        file.flush(self.shared.clock.now())?;
        self.shared.dirs.lock(id).place(file)?;
        Ok(hold)
    }
}

fn write_group(
    group: &[u8],
    groups: &mut Vec<GroupHash>,
    file: &mut Unfinished,
) -> Result<(), BlobError> {
    groups.push(group_hash(groups.len() as u64, group));
    file.write(group)?;
    if (groups.len() * BLOB_GROUP_BYTES).is_multiple_of(FLUSH_BYTES) {
        file.flush_content()?;
    }
    Ok(())
}
