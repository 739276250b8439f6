//! What sequences take of memory, counted by the allocator: what they say of it is about
//! right, and saved bytes do not make it much more than they are. One test, as the count is
//! of the whole process.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use corelet_store::{Content, Hlc, NodeId, Sequence, SequenceKind, UPDATE_EDITS_MAX};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system allocator; what is added is counting.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's layout, unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's pointer and layout, unchanged.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> usize {
    LIVE.load(Relaxed)
}

fn key(n: u8) -> NodeId {
    NodeId::from_bytes([n; 32])
}

/// Compares what a sequence says with what the allocator says; gives the bytes of its
/// updates, and what it takes.
fn check(
    what: &str,
    kind: SequenceKind,
    fill: impl Fn(&mut Sequence, &mut dyn FnMut(&mut Sequence)),
) {
    let before = live();
    let mut sequence = Sequence::new(kind, key(1));
    let (mut stamp, mut bytes) = (0, 0);
    fill(&mut sequence, &mut |sequence: &mut Sequence| {
        stamp += 1;
        let update = sequence.take_update(Hlc::from_bits(stamp)).unwrap();
        bytes += update.map_or(0, |update| update.len());
    });
    let (taken, said) = (
        live() - before + size_of::<Sequence>(),
        sequence.memory_bytes(),
    );
    eprintln!("{what}: {taken} bytes taken, {said} said, {bytes} of updates");
    assert!(
        said <= 2 * taken && taken <= 2 * said,
        "{what}: {taken} {said}"
    );
    let saved = sequence.save().unwrap();
    drop(sequence);
    let before = live();
    PEAK.store(before, Relaxed);
    let opened = Sequence::open(key(1), &saved).unwrap();
    let (taken, said) = (
        live() - before + size_of::<Sequence>(),
        opened.memory_bytes(),
    );
    let peak = PEAK.load(Relaxed) - before;
    eprintln!(
        "    opened of {}: {taken} taken, {peak} at most, {said} said",
        saved.len()
    );
    assert!(
        said <= 2 * taken && taken <= 2 * said,
        "{what}, opened: {taken} {said}"
    );
    assert!(
        peak < 20 * saved.len() + 4096,
        "{what}: {peak} of {}",
        saved.len()
    );
}

fn text(s: &str) -> Content {
    Content::Text(s.into())
}

fn values(count: usize, bytes: usize) -> Content {
    Content::Values(vec![vec![7; bytes].into(); count])
}

#[test]
fn memory_is_as_said_and_bounded_by_what_is_opened() {
    check("nothing", SequenceKind::Text, |_, _| {});
    check("one text", SequenceKind::Text, |sequence, take| {
        sequence.insert(0, text(&"word ".repeat(200_000))).unwrap();
        take(sequence);
    });
    check("typing", SequenceKind::Text, |sequence, take| {
        for n in 0..50_000 {
            sequence.insert(n, text("x")).unwrap();
            take(sequence);
        }
    });
    check("inserts anywhere", SequenceKind::Text, |sequence, take| {
        for n in 0..50_000_usize {
            let at = n.wrapping_mul(7919) % (sequence.len() + 1);
            sequence.insert(at, text("y")).unwrap();
            take(sequence);
        }
    });
    check("deletions", SequenceKind::Text, |sequence, take| {
        for _ in 0..20 {
            sequence.insert(0, text(&"abcd".repeat(1_000))).unwrap();
            take(sequence);
        }
        for n in 0..UPDATE_EDITS_MAX - 10 {
            sequence.delete(3 * n, 1).unwrap();
        }
        take(sequence);
    });
    check("empty values", SequenceKind::List, |sequence, take| {
        sequence.insert(0, values(300_000, 0)).unwrap();
        take(sequence);
    });
    check("values", SequenceKind::List, |sequence, take| {
        for n in 0..100 {
            sequence.insert(n * 500, values(1_000, 8)).unwrap();
            take(sequence);
        }
    });
    // Edits that wait count too.
    let before = live();
    let mut sequence = Sequence::new(SequenceKind::Text, key(1));
    for n in 0..UPDATE_EDITS_MAX / 2 {
        sequence.insert(n / 2, text("waiting")).unwrap();
    }
    sequence.delete(100, 5_000).unwrap();
    let (taken, said) = (live() - before, sequence.memory_bytes());
    assert!(
        said <= 2 * taken && taken <= 2 * said,
        "waiting: {taken} {said}"
    );
    // And go with the edits, but for the room of one chunk.
    sequence.roll_back();
    assert!(
        live() - before < 16_384,
        "{} bytes are left",
        live() - before
    );
}
