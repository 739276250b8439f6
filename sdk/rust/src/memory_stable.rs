//! The stable memory of an application that runs without a server: the blocks of it that were written,
//! as the server keeps and counts them. Part of `memory_host.rs`.

use std::collections::BTreeMap;
use std::panic::resume_unwind;

use crate::memory_host::{Call, Misused, SCAN_BYTES, STABLE_BYTES, bound, with, with_writing};
use crate::stable::PAGE_BYTES;
use crate::stable_blocks::BLOCK_BYTES;

/// Bytes that are one entry on the server.
type Block = Box<[u8; BLOCK_BYTES]>;

/// What a block counts for among the bytes written: with its key.
const WRITTEN_BYTES: u64 = BLOCK_BYTES as u64 + 4;

/// What is written to say how long the memory is.
const END_BYTES: u64 = 5;

/// The memory: what is in none of its blocks is zero.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Stable {
    pages: u64,
    blocks: BTreeMap<u32, Block>,
}

/// What of it was otherwise before a call.
#[derive(Debug, Default)]
pub(crate) struct StableBefore {
    pages: Option<u64>,
    blocks: BTreeMap<u32, Option<Block>>,
}

impl StableBefore {
    /// Whether anything was.
    pub(crate) fn is_something(&self) -> bool {
        self.pages.is_some() || !self.blocks.is_empty()
    }
}

impl Stable {
    fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES
    }

    /// So many bytes from `offset` on, which are there.
    fn read(&self, offset: u64, count: usize) -> Vec<u8> {
        let mut out = vec![0; count];
        for part in parts(offset, count) {
            if let Some(block) = self.blocks.get(&part.number) {
                out[part.from..part.from + part.count]
                    .copy_from_slice(&block[part.at..part.at + part.count]);
            }
        }
        out
    }

    /// All of it.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.read(0, self.bytes() as usize)
    }

    /// Takes back what a call has done.
    pub(crate) fn go_back(&mut self, before: StableBefore) {
        self.pages = before.pages.unwrap_or(self.pages);
        for (number, block) in before.blocks {
            match block {
                Some(block) => self.blocks.insert(number, block),
                None => self.blocks.remove(&number),
            };
        }
    }
}

/// What lies in one block of bytes that are read or written.
struct Part {
    number: u32,
    /// Where in the block.
    at: usize,
    /// Which of the bytes.
    from: usize,
    count: usize,
}

fn parts(offset: u64, count: usize) -> impl Iterator<Item = Part> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let offset = offset + from as u64;
        let at = (offset % BLOCK_BYTES as u64) as usize;
        let part = Part {
            // What is there is within the bound on all of it.
            number: (offset / BLOCK_BYTES as u64) as u32,
            at,
            from,
            count: (count - from).min(BLOCK_BYTES - at),
        };
        from += part.count;
        (part.count > 0).then_some(part)
    })
}

impl Call {
    /// That so many bytes are there.
    fn check_stable(&self, how: &str, offset: u64, count: usize) -> Result<(), Misused> {
        let bytes = self.state.stable.bytes();
        let end = offset.checked_add(count as u64);
        match end.is_some_and(|end| end <= bytes) {
            true => Ok(()),
            false => Err(Misused(format!(
                "the stable memory was {how} beyond its end: {count} bytes from {offset} on, of \
                 {bytes} in all"
            ))),
        }
    }

    fn write_stable(&mut self, offset: u64, bytes: &[u8]) {
        for part in parts(offset, bytes.len()) {
            if self.stable_written.insert(part.number) {
                self.count_write(WRITTEN_BYTES);
            }
            let blocks = &mut self.state.stable.blocks;
            let before = self.stable_before.blocks.entry(part.number);
            before.or_insert_with(|| blocks.get(&part.number).cloned());
            let block = blocks.entry(part.number);
            let block = block.or_insert_with(|| Box::new([0; BLOCK_BYTES]));
            block[part.at..part.at + part.count]
                .copy_from_slice(&bytes[part.from..part.from + part.count]);
        }
    }
}

pub(crate) fn stable_size() -> u64 {
    with(|call| call.state.stable.pages)
}

pub(crate) fn stable_grow(pages: u64) -> u64 {
    with_writing(|call| {
        let before = call.state.stable.pages;
        if pages > 0 {
            let all = before.saturating_add(pages);
            bound(STABLE_BYTES, all.saturating_mul(PAGE_BYTES));
            // Of what says how long it is one goes and one comes.
            call.count_writes(2, 2 * END_BYTES);
            call.stable_before.pages.get_or_insert(before);
            call.state.stable.pages = all;
        }
        Ok(before)
    })
}

pub(crate) fn stable_read(offset: u64, count: u32) -> Vec<u8> {
    bound(SCAN_BYTES, count.into());
    let read = with(|call| {
        call.check_stable("read", offset, count as usize)?;
        Ok(call.state.stable.read(offset, count as usize))
    });
    // Not a panic of the application, as in `with_writing`.
    read.unwrap_or_else(|misused: Misused| resume_unwind(Box::new(misused)))
}

pub(crate) fn stable_write(offset: u64, bytes: &[u8]) {
    with_writing(|call| {
        call.check_stable("written", offset, bytes.len())?;
        call.write_stable(offset, bytes);
        Ok(())
    });
}
