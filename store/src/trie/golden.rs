//! A node of each kind, and the root of a context, as they have always been.

use super::node::StoredNode;
use crate::fixture::two;
use crate::golden;
use crate::layout::{slot_key, split_slot};
use crate::record::{TrieRow, open};

/// Of a context of forty entries, which is one inner node above buckets.
#[test]
fn a_trie_is_what_it_always_was() {
    let (_dir, ledger, [slot, _]) = two();
    ledger.writer().checkpoint().unwrap();
    let root = ledger.snapshot().unwrap().head(slot).unwrap().root;
    let mut forms = vec![("root of all".to_owned(), root.as_bytes().to_vec())];
    let mut kinds = Vec::new();
    let txn = ledger.shared.env.read_txn().unwrap();
    let rows = ledger.shared.tables.trie;
    for row in rows.prefix_iter(&txn, &slot_key(slot)).unwrap() {
        let (key, bytes) = row.unwrap();
        let node = open::<TrieRow>(key, bytes).unwrap().node.get();
        StoredNode::parse(node).unwrap();
        if !kinds.contains(&node[0]) {
            kinds.push(node[0]);
            let (_, path) = split_slot(key).unwrap();
            forms.push((format!("{} at {path:?}", node[0]), node.to_vec()));
        }
    }
    kinds.sort_unstable();
    let unknown = StoredNode::parse(&[0]).err();
    let known = golden::known(|kind| StoredNode::parse(&[kind]).err() != unknown);
    assert_eq!(kinds, known, "a kind of node has no kept form");
    golden::check("tries.txt", &forms);
}
