//! What waits is charged for what it takes: allocations are counted. One test alone, as it counts
//! those of the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use corelet_store::{
    ContextId, DeltaId, Held, NodeId, PendingBounds, PendingDeltas, Sealed, Sealer, make_seals,
};
use ed25519_dalek::{Signer, SigningKey};

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator; only sizes are counted.
#[expect(unsafe_code, reason = "an allocator is asked for in no other way")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONTEXT: ContextId = ContextId::from_bytes([7; 32]);

struct Key(SigningKey);

impl Sealer for Key {
    fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    fn sign_delta(&self, message: &[u8]) -> [u8; 64] {
        let signed = [b"corelet/v1/delta\0", message].concat();
        self.0.sign(&signed).to_bytes()
    }
}

/// Attaches blobs and has no events, of the form in `store/src/delta.rs`.
fn delta(author: NodeId, hlc: u64, parents: u64, attached: u32) -> Bytes {
    let mut ids: Vec<[u8; 32]> = (0..parents)
        .map(|n| *blake3::hash(&[hlc.to_le_bytes(), n.to_le_bytes()].concat()).as_bytes())
        .collect();
    ids.sort();
    let mut out = b"CLD2".to_vec();
    out.extend_from_slice(CONTEXT.as_bytes());
    out.extend_from_slice(author.as_bytes());
    out.extend_from_slice(&hlc.to_le_bytes());
    out.extend_from_slice(&(parents as u16).to_le_bytes());
    out.extend_from_slice(ids.as_flattened());
    out.extend_from_slice(&attached.to_le_bytes());
    for n in 0..attached {
        let mut key = [0; 40];
        key[..4].copy_from_slice(&n.to_be_bytes());
        // Inserts, in the space of attached blobs.
        out.extend_from_slice(&[4, 3, 40, 0]);
        out.extend_from_slice(&key);
    }
    out.extend_from_slice(&[0; 4 + 32]);
    Bytes::from(out)
}

/// Measures what `fill` makes the pending deltas take beside the bytes that come in.
fn check(what: &str, came_bytes: usize, fill: impl FnOnce(&mut PendingDeltas)) {
    let mut pending = PendingDeltas::new(CONTEXT, PendingBounds::default());
    let before = ALLOCATED.load(Ordering::Relaxed);
    fill(&mut pending);
    let taken = ALLOCATED.load(Ordering::Relaxed) - before + came_bytes;
    let charged = pending.bytes();
    assert!(
        taken <= charged,
        "{what}: {taken} bytes are charged as {charged}"
    );
    assert!(
        charged <= 6 * taken,
        "{what}: {taken} bytes are charged as {charged}"
    );
}

#[test]
fn what_waits_takes_no_more_memory_than_it_is_charged_for() {
    let key = Key(SigningKey::from_bytes(&[1; 32]));
    let author = key.node_id();
    for (count, parents, attached) in [
        (3000, 0, 0),
        (3000, 1, 0),
        (1000, 10, 0),
        (60, 1024, 0),
        (1000, 1, 2),
        (20, 1, 10_000),
    ] {
        let deltas: Vec<Bytes> = (1..=count)
            .map(|hlc| delta(author, hlc, parents, attached))
            .collect();
        let came = deltas.iter().map(Bytes::len).sum();
        check(
            &format!("{count} deltas with {parents} parents and {attached} blobs"),
            came,
            |pending| {
                for canonical in &deltas {
                    let held = pending.receive(canonical.clone(), 0).unwrap();
                    assert_eq!(held, Held::Waits { dropped: vec![] });
                }
            },
        );
    }
    let places: Vec<(ContextId, DeltaId)> = (0..2000_u64)
        .map(|n| {
            (
                CONTEXT,
                DeltaId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes()),
            )
        })
        .collect();
    check("early seals", 0, |pending| {
        let seals = make_seals(&key, &places);
        let checked = seals.into_iter().zip(&places);
        let checked = checked.map(|(seal, place)| seal.check(place.0, place.1).unwrap());
        for sealed in checked.collect::<Vec<Sealed>>() {
            pending.seal(sealed, 0);
        }
    });
}
