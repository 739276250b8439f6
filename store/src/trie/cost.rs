//! What one write costs, whatever else the trie holds: the digests and the nodes of one path. They
//! are counted, so that no machine is too busy to tell.

use bytes::Bytes;

use super::digest::HASHED;
use super::flush::HANDED_OVER;
use super::{BUCKET_ENTRIES_MAX, EntryPath};
use crate::change::{Change, NewContext, Op};
use crate::entry::Space;
use crate::fixture;
use crate::ids::{ApplicationId, ContextSlot};
use crate::layout;
use crate::ledger::Ledger;
use crate::snapshot::TrieNode;

/// The one context.
const CONTEXT: u8 = 1;

/// How many keys there are beside the one that is written.
const KEYS: [u32; 3] = [10, 1_000, 100_000];

/// How many of them a call of those that fill it writes.
const FILLED_AT_ONCE: usize = 1_000;

/// The most inner nodes above any entry of so many, if their paths are as even as those of these
/// keys: buckets on this level have room for more than a thousand times as many.
fn depth_max(keys: u32) -> usize {
    keys.ilog2() as usize / 4 + 2
}

fn key(n: u32) -> Bytes {
    Bytes::copy_from_slice(format!("key {n}").as_bytes())
}

/// How many inner nodes lie above the place of a key.
fn depth(ledger: &Ledger, slot: ContextSlot, key: &[u8]) -> usize {
    let mut name = Vec::new();
    layout::trie_entry(&mut name, Space::Shared, key);
    let path = EntryPath::of(fixture::id(CONTEXT).as_bytes(), &name);
    let snapshot = ledger.snapshot().unwrap();
    let mut nibbles = Vec::new();
    while let Some(TrieNode::Inner(_)) = snapshot.trie_node(slot, &nibbles).unwrap() {
        nibbles.push(path.nibble(nibbles.len()) as u8);
    }
    nibbles.len()
}

/// A context without an entry.
fn create(ledger: &Ledger) -> ContextSlot {
    let call = fixture::call(CONTEXT, ContextSlot::UNASSIGNED, 1, vec![]);
    let new = NewContext {
        id: fixture::id(CONTEXT),
        name: None,
        application: ApplicationId::from_bytes([1; 32]),
        created: call.hlc,
        call,
    };
    let mut verdicts = ledger.commit(vec![Change::CreateContext(new)]).unwrap();
    verdicts.remove(0).unwrap().slot()
}

/// What a call and the checkpoint behind it have cost.
#[derive(Debug)]
struct Cost {
    /// Digests of nodes, and of groups of children.
    hashed: usize,
    /// Nodes that were written or deleted.
    put: usize,
}

fn commit(ledger: &Ledger, slot: ContextSlot, micros: u64, ops: Vec<Op>) -> Cost {
    let before = (HASHED.get(), HANDED_OVER.get());
    let call = fixture::call(CONTEXT, slot, micros, ops);
    let mut writer = ledger.writer();
    let outcome = writer.commit(vec![Change::Call(call)]).unwrap();
    assert!(outcome.verdicts.iter().all(Result::is_ok), "{outcome:?}");
    writer.checkpoint().unwrap();
    Cost {
        hashed: HASHED.get() - before.0,
        put: HANDED_OVER.get() - before.1,
    }
}

/// A value that is replaced, a key that is new and one that goes: each in a ledger that has its
/// nodes in memory, and in one that was just opened.
#[test]
fn one_write_hashes_and_puts_the_nodes_of_one_path() {
    for keys in KEYS {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = fixture::open(&dir);
        let slot = create(&ledger);
        let mut micros = 1_000;
        let all: Vec<u32> = (0..keys).collect();
        for part in all.chunks(FILLED_AT_ONCE) {
            micros += 1;
            let mut ops: Vec<Op> = part.iter().map(|n| Op::set(key(*n), key(*n))).collect();
            ops.sort_by(|a, b| a.key.cmp(&b.key));
            commit(&ledger, slot, micros, ops);
        }
        for round in 0..12 {
            let is_cold = round >= 8;
            if is_cold {
                drop(ledger);
                ledger = fixture::open(&dir);
            }
            let there = key(round * (keys / 12));
            let writes = [
                Op::set(there.clone(), key(round)),
                Op::set(key(keys + round), key(round)),
                Op::remove(there),
            ];
            for (nth, op) in writes.into_iter().enumerate() {
                micros += 1;
                let name = op.key.clone();
                let before = depth(&ledger, slot, &name);
                let cost = commit(&ledger, slot, micros, vec![op]);
                let after = depth(&ledger, slot, &name);
                let deepest = before.max(after);
                let what = format!("{keys} keys, round {round}, write {nth}: {cost:?}");
                assert!(deepest <= depth_max(keys), "{what}");

                // The bucket; of each inner node above it one group and itself.
                let (mut hashed, mut put) = (1 + 2 * deepest, 1 + deepest);
                if before != after {
                    // It has fallen into buckets, or is one that was several; in these few
                    // writes by one level.
                    hashed += BUCKET_ENTRIES_MAX + 4;
                    put += BUCKET_ENTRIES_MAX;
                }
                if before == after && !is_cold && nth < 2 {
                    assert_eq!((cost.hashed, cost.put), (hashed, put), "{what}");
                }
                if is_cold {
                    // Who reads a node first checks all of its digest. A removal may have to
                    // look into the buckets beside.
                    hashed += 1 + 5 * before + if nth == 2 { BUCKET_ENTRIES_MAX } else { 0 };
                }
                assert!(cost.hashed <= hashed, "{what}");
                assert!(cost.put <= put, "{what}");
            }
        }
        crate::verify::verify(&ledger.snapshot().unwrap()).unwrap();
    }
}
