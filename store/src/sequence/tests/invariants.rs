//! What holds of every sequence at any time.

use std::collections::BTreeMap;

use super::super::id::{Id, Side};
use super::super::tree::continues;
use super::super::walk::Walk;
use super::*;

/// Panics if anything about a sequence does not fit together.
pub(super) fn check_invariants(sequence: &Sequence) {
    sequence.pieces.check();
    check_elements(sequence);
    check_tree(sequence);
    for (author, past) in sequence.authors.iter().zip(&sequence.pasts) {
        let is_own = author.key == sequence.authors[sequence.own as usize].key;
        assert!(past.next() == author.next || (is_own && !sequence.waiting.is_empty()));
        let growing: Vec<(Hlc, u32)> = past.insertions().collect();
        assert!(growing.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
        assert!(
            growing
                .iter()
                .all(|&(stamp, count)| stamp <= past.last() && count > 0)
        );
        assert!(growing.first().is_none_or(|first| first.0 > Hlc::ZERO));
    }
    let insertions = sequence.pasts.iter().map(|past| past.insertions().len());
    assert_eq!(sequence.insertions, insertions.sum::<usize>());
    if let Ok(saved) = sequence.save() {
        let own = sequence.authors[sequence.own as usize].key;
        let opened = Sequence::open(own, &saved).expect("what was saved");
        assert!(opened.save().unwrap() == saved);
        assert!(opened.slice(0, opened.len()) == sequence.slice(0, sequence.len()));
        let (here, there) = (sequence.memory_bytes(), opened.memory_bytes());
        assert!(there <= 3 * here && here <= 3 * there, "{here} {there}");
    }
}

/// The pieces are all elements of all authors, each once, in the order of the tree.
fn check_elements(sequence: &Sequence) {
    let mut by_author: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
    for piece in sequence.pieces.iter() {
        let ranges = by_author.entry(piece.first.author).or_default();
        ranges.push((piece.first.counter, piece.len));
    }
    for (author, number) in sequence.authors.iter().zip(0..) {
        let mut ranges = by_author.remove(&number).unwrap_or_default();
        ranges.sort_unstable();
        let mut next = 0;
        for (first, len) in ranges {
            assert_eq!(first, next);
            next += len;
        }
        assert_eq!(next, author.next);
    }
    assert!(by_author.is_empty());
    let walked = join(Walk::new(&sequence.tree, &sequence.authors));
    let lying = join(sequence.pieces.iter().map(|piece| (piece.first, piece.len)));
    assert_eq!(walked, lying);
}

fn join(runs: impl Iterator<Item = (Id, u32)>) -> Vec<(Id, u32)> {
    let mut joined: Vec<(Id, u32)> = Vec::new();
    for (first, len) in runs {
        match joined.last_mut() {
            Some((start, run)) if start.plus(*run) == first => *run += len,
            _ => joined.push((first, len)),
        }
    }
    joined
}

/// Runs hang on elements that are there, know how deep they are, and a run above.
fn check_tree(sequence: &Sequence) {
    let mut brothers = 0;
    for (id, parent, side) in sequence.tree.starts() {
        assert!(!continues(id, parent, side));
        let own = sequence.tree.brothers(parent, side);
        assert!(own.contains(&id));
        brothers += usize::from(own[0] == id) * own.len();
    }
    assert_eq!(brothers, sequence.tree.starts().len());
    let mut anew = sequence.tree.clone();
    assert!(anew.settle_all(&sequence.authors));
    assert!(anew.depths().eq(sequence.tree.depths()));
    assert!(sequence.tree.brothers(Id::ROOT, Side::Left).is_empty());
}
