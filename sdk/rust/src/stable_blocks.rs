//! Blocks of the stable memory that the running call has read, kept in the application's own memory:
//! what is read again is then a copy, and no call of the host. Who begins a call forgets them
//! (`guest.rs`, `memory_host.rs`), as an instance serves many, and the state may be another by then.
//! What is asked of the host is in `stable.rs`.

use std::cell::RefCell;

/// Bytes that the host reads and writes as one entry.
pub(crate) const BLOCK_BYTES: usize = 1024;

/// Blocks that are kept, each at the place that its number has here.
const BLOCKS: usize = 16;

/// The number of no block.
const NONE: u64 = u64::MAX;

/// What the call knows.
struct Known {
    /// Of the block at each place.
    numbers: [u64; BLOCKS],
    /// How long the memory is, in pages.
    pages: Option<u64>,
}

const NOTHING: Known = Known {
    numbers: [NONE; BLOCKS],
    pages: None,
};

thread_local! {
    static KNOWN: RefCell<Known> = const { RefCell::new(NOTHING) };
    /// Apart, so that an application without a stable memory has no room for this; and in its place from
    /// the beginning, so that no call pays for making room.
    static BLOCKS_KEPT: RefCell<[[u8; BLOCK_BYTES]; BLOCKS]> =
        const { RefCell::new([[0; BLOCK_BYTES]; BLOCKS]) };
}

/// Forgets everything.
pub(crate) fn forget() {
    KNOWN.with_borrow_mut(|known| *known = NOTHING);
}

/// How long the memory is, in pages; `ask` tells, if nobody has asked before.
pub(crate) fn pages(ask: impl FnOnce() -> u64) -> u64 {
    KNOWN.with_borrow_mut(|known| *known.pages.get_or_insert_with(ask))
}

/// It has become longer.
pub(crate) fn grown_to(pages: u64) {
    KNOWN.with_borrow_mut(|known| known.pages = Some(pages));
}

/// Fills `out` from the blocks that it lies in. `fetch` gives all bytes of one that is not kept, from
/// this offset on, or does not come back.
pub(crate) fn read(offset: u64, out: &mut [u8], fetch: impl Fn(u64) -> Vec<u8>) {
    let mut left = out;
    visit(offset, left.len(), |known, kept, part| {
        if *known != part.number {
            // None while it is asked for, as the answer may be that the call ends.
            *known = NONE;
            kept.copy_from_slice(&fetch(part.number * BLOCK_BYTES as u64));
            *known = part.number;
        }
        let (now, behind) = std::mem::take(&mut left).split_at_mut(part.count);
        now.copy_from_slice(&kept[part.at..part.at + part.count]);
        left = behind;
    });
}

/// Writes what the host has written to the blocks that are kept as well.
pub(crate) fn write(offset: u64, bytes: &[u8]) {
    let mut left = bytes;
    visit(offset, left.len(), |known, kept, part| {
        let (now, behind) = left.split_at(part.count);
        if *known == part.number {
            kept[part.at..part.at + part.count].copy_from_slice(now);
        }
        left = behind;
    });
}

/// What lies in one block.
struct Part {
    number: u64,
    at: usize,
    count: usize,
}

/// Calls `f` with each block that these bytes lie in, and with what is known of the one at its place.
fn visit(
    mut offset: u64,
    mut count: usize,
    mut f: impl FnMut(&mut u64, &mut [u8; BLOCK_BYTES], Part),
) {
    KNOWN.with_borrow_mut(|known| {
        BLOCKS_KEPT.with_borrow_mut(|kept| {
            while count > 0 {
                let number = offset / BLOCK_BYTES as u64;
                let at = (offset % BLOCK_BYTES as u64) as usize;
                let part = Part {
                    number,
                    at,
                    count: count.min(BLOCK_BYTES - at),
                };
                offset = offset.saturating_add(part.count as u64);
                count -= part.count;
                let place = (number % BLOCKS as u64) as usize;
                f(&mut known.numbers[place], &mut kept[place], part);
            }
        });
    });
}
