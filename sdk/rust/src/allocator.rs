//! The memory of a component: small blocks from lists of their own, the rest
//! from the standard allocator.
//!
//! A call allocates a dozen small blocks (method, arguments, what the host
//! returns, the answer) and frees them all before it ends, so most of what a
//! general allocator does is for nothing: with it a read takes 4283 units of
//! fuel, with these lists 3308. Small blocks are never given back to the
//! standard allocator; they are bounded by the most that one size ever took.
//! Large ones are, so that a buffer that grew and went leaves no hole.
//!
//! Thread: a component has one.
#![allow(unsafe_code)] // an allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;

#[global_allocator]
static ALLOCATOR: SmallBlocks = SmallBlocks(UnsafeCell::new(Lists {
    free: [ptr::null_mut(); LISTS],
    fresh: ptr::null_mut(),
    fresh_bytes: 0,
}));

/// Block sizes are powers of two, from 16 bytes to 1 KiB.
const SMALLEST_LOG2: u32 = 4;
const LARGEST_LOG2: u32 = 10;
const LISTS: usize = (LARGEST_LOG2 - SMALLEST_LOG2 + 1) as usize;

/// What is asked of the standard allocator when a list is empty.
const REFILL_BYTES: usize = 8 * 1024;
/// Each block begins at a multiple of the smallest size.
const REFILL_ALIGN: usize = 1 << SMALLEST_LOG2;

const _: () = assert!(REFILL_BYTES.is_multiple_of(1 << LARGEST_LOG2));

struct SmallBlocks(UnsafeCell<Lists>);

struct Lists {
    /// Free blocks by size; each holds the pointer to the next one.
    free: [*mut u8; LISTS],
    /// Where blocks come from that were never handed out.
    fresh: *mut u8,
    fresh_bytes: usize,
}

// SAFETY: components are built without threads (`guest.rs` exists for the target
// wasm32-unknown-unknown only), and no allocator function calls another one of
// this allocator while it holds the lists.
unsafe impl Sync for SmallBlocks {}

/// The list that serves `layout`, or `None` if it is too large or wants more
/// than the smallest alignment.
#[inline(always)]
fn list_of(layout: Layout) -> Option<usize> {
    if layout.size() > 1 << LARGEST_LOG2 || layout.align() > REFILL_ALIGN {
        return None;
    }
    let log2 = usize::BITS - (layout.size().max(REFILL_ALIGN) - 1).leading_zeros();
    Some((log2 - SMALLEST_LOG2) as usize)
}

// SAFETY: a block is handed out by one list or by `System` and comes back to the
// same one, because both directions go by the layout alone; blocks of a list are
// as large as its size, which is at least the layout's, and aligned to 16.
unsafe impl GlobalAlloc for SmallBlocks {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(list) = list_of(layout) else {
            // SAFETY: the caller's promises are the same as ours to `System`.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: see `Sync`. A block in a list is free, at least 16 bytes long,
        // and its first bytes were written by `dealloc`.
        unsafe {
            let lists = &mut *self.0.get();
            let block = lists.free[list];
            if block.is_null() {
                return fresh_block(lists, list);
            }
            lists.free[list] = block.cast::<*mut u8>().read();
            block
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller hands over a block of this layout, so it came from
        // the same list or from `System`, and nobody uses it any more.
        unsafe {
            let Some(list) = list_of(layout) else {
                return System.dealloc(block, layout);
            };
            let lists = &mut *self.0.get();
            block.cast::<*mut u8>().write(lists.free[list]);
            lists.free[list] = block;
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size` rounds up to a valid layout,
        // and that the block is of the old one.
        unsafe {
            let wanted = Layout::from_size_align_unchecked(size, layout.align());
            match (list_of(layout), list_of(wanted)) {
                (Some(old), Some(new)) if old == new => block,
                (None, None) => System.realloc(block, layout, size),
                _ => {
                    let moved = self.alloc(wanted);
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

/// A block that was never handed out. What is left of a refill that is too
/// small for it is given up: less than 1 KiB of 8.
///
/// # Safety
/// The caller holds the lists.
#[cold]
#[inline(never)]
unsafe fn fresh_block(lists: &mut Lists, list: usize) -> *mut u8 {
    let size = 1_usize << (list as u32 + SMALLEST_LOG2);
    if lists.fresh_bytes < size {
        // SAFETY: neither number is zero, and the alignment is a power of two.
        let refill = unsafe {
            System.alloc(Layout::from_size_align_unchecked(
                REFILL_BYTES,
                REFILL_ALIGN,
            ))
        };
        if refill.is_null() {
            return refill;
        }
        lists.fresh = refill;
        lists.fresh_bytes = REFILL_BYTES;
    }
    let block = lists.fresh;
    // SAFETY: at least `size` bytes are left behind `fresh`. Sizes are multiples
    // of 16, so what follows stays aligned.
    lists.fresh = unsafe { block.add(size) };
    lists.fresh_bytes -= size;
    block
}
