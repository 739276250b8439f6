//! The context's stable memory: an array of bytes that lasts, for structures that are nobody's
//! [collection](crate::collections): a file format, an index, a buffer.
//!
//! ```
//! use corelet_sdk::prelude::*;
//!
//! #[corelet::application]
//! pub struct Sketch {}
//!
//! #[corelet::methods]
//! impl Sketch {
//!     #[update]
//!     pub fn set(&mut self, at: u64, value: u8) {
//!         let pages = at / stable::PAGE_BYTES + 1;
//!         stable::grow(pages.saturating_sub(stable::size()));
//!         stable::write(at, &[value]);
//!     }
//!
//!     #[query]
//!     pub fn get(&self, at: u64) -> u8 {
//!         let mut byte = [0];
//!         stable::read(at, &mut byte);
//!         byte[0]
//!     }
//! }
//!
//! # fn main() {
//! let mut context = corelet_sdk::testing::Context::<Sketch>::new();
//! context.update("set", json!({ "at": 70_000, "value": 7 })).unwrap();
//! assert_eq!(context.query("get", json!({ "at": 70_000 })).unwrap(), 7);
//! # }
//! ```
//!
//! At first it is empty. It grows by pages, which are zero, and never becomes shorter; of what it has room
//! for only what was written takes any. It is kept in blocks of 1 KiB, and each that a call writes to counts as
//! 1 KiB of what the call writes.
//!
//! It merges by the block: of what several nodes write into one at the same time the last writer's
//! bytes are read, and those of the others are lost, also if they are other bytes of it. An
//! application that is written on several nodes at once keeps what it has in collections, which know how
//! they merge.

use std::io;

use crate::host;
use crate::stable_blocks::{self, BLOCK_BYTES};

/// Bytes by which the memory grows.
pub const PAGE_BYTES: u64 = 64 << 10;

/// Bytes that are asked for, or written, at a time: what the server itself does in one step. A call of the host
/// is next to nothing beside the blocks that these are.
const PART_BYTES: usize = 64 << 10;

/// How long it is, in pages.
pub fn size() -> u64 {
    stable_blocks::pages(host::stable_size)
}

/// Makes it longer by so many pages, and gives how many it had. How long it may become is bounded:
/// more stops the call, and so does a query that comes here.
pub fn grow(pages: u64) -> u64 {
    let before = host::stable_grow(pages);
    stable_blocks::grown_to(before + pages);
    before
}

/// Fills `bytes` from what is there from `offset` on. Reading beyond the end stops the call, also if no bytes
/// are read there.
///
/// The first read of up to 1 KiB in a block of that size brings in all of it, and the call keeps the last
/// few of them: further such reads there take a few nanoseconds, and ask nobody. Larger reads are made
/// in parts of up to 64 KiB: a server whose `limits.scan_bytes_max` is below what is asked for at once stops the call.
pub fn read(offset: u64, bytes: &mut [u8]) {
    // What is not there is asked for as it is, so that the server says what the call wanted.
    if bytes.len() <= BLOCK_BYTES && has(offset, bytes.len()) {
        let whole = |at| host::stable_read(at, BLOCK_BYTES as u32);
        return stable_blocks::read(offset, bytes, whole);
    }
    let (mut at, mut rest) = (offset, bytes);
    loop {
        let (part, behind) = rest.split_at_mut(PART_BYTES.min(rest.len()));
        part.copy_from_slice(&host::stable_read(at, part.len() as u32));
        if behind.is_empty() {
            return;
        }
        at = at.saturating_add(part.len() as u64);
        rest = behind;
    }
}

/// Writes bytes from `offset` on. Writing beyond the end stops the call, also if no bytes are written, and so
/// does a query that comes here.
pub fn write(offset: u64, bytes: &[u8]) {
    let (mut at, mut rest) = (offset, bytes);
    loop {
        let (part, behind) = rest.split_at(PART_BYTES.min(rest.len()));
        host::stable_write(at, part);
        stable_blocks::write(at, part);
        if behind.is_empty() {
            return;
        }
        at = at.saturating_add(part.len() as u64);
        rest = behind;
    }
}

/// Whether all of these bytes are there.
fn has(offset: u64, count: usize) -> bool {
    let end = offset.checked_add(count as u64);
    end.is_some_and(|end| end <= bytes())
}

/// A place in the memory, from which it is read and written as a file is. Reading ends where the
/// memory does; writing makes it longer. Each write asks the server, so small ones go better through
/// [`io::BufWriter`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cursor {
    offset: u64,
}

impl Cursor {
    /// At so many bytes from the beginning, be that in the memory or behind it.
    pub fn new(offset: u64) -> Cursor {
        Cursor { offset }
    }

    /// Bytes from the beginning.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

fn bytes() -> u64 {
    size() * PAGE_BYTES
}

fn beyond() -> io::Error {
    let what = "no stable memory reaches so far";
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

impl io::Read for Cursor {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = bytes().saturating_sub(self.offset);
        let count = out.len().min(left.try_into().unwrap_or(usize::MAX));
        // Nothing may be read behind the end, and it would stop the call.
        if count > 0 {
            read(self.offset, &mut out[..count]);
        }
        self.offset += count as u64;
        Ok(count)
    }
}

impl io::Write for Cursor {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let end = self.offset.checked_add(from.len() as u64);
        let end = end.ok_or_else(beyond)?;
        let lacking = end.saturating_sub(bytes()).div_ceil(PAGE_BYTES);
        if lacking > 0 && !from.is_empty() {
            grow(lacking);
        }
        if !from.is_empty() {
            write(self.offset, from);
        }
        self.offset = end;
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Seek for Cursor {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let offset = match to {
            io::SeekFrom::Start(offset) => Some(offset),
            io::SeekFrom::End(by) => bytes().checked_add_signed(by),
            io::SeekFrom::Current(by) => self.offset.checked_add_signed(by),
        };
        self.offset = offset.ok_or_else(beyond)?;
        Ok(self.offset)
    }
}
