//! An allocator that counts what is live and what was asked for at once, and
//! refuses beyond a limit, so that a hostile update ends its process soon.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

pub struct Counting;

// SAFETY: every call is passed on to the system allocator; what is added is counting.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        if live > LIMIT.load(Relaxed) {
            LIVE.fetch_sub(layout.size(), Relaxed);
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's layout, unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's pointer and layout, unchanged.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Bytes that are allocated now.
pub fn live() -> usize {
    LIVE.load(Relaxed)
}

/// Forgets the greatest number of live bytes.
pub fn reset_peak() {
    PEAK.store(live(), Relaxed);
}

/// The greatest number of live bytes since the last reset.
pub fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// Makes allocations beyond `bytes` live bytes fail.
pub fn limit(bytes: usize) {
    LIMIT.store(bytes, Relaxed);
}
