//! What holds of every sequence at any time.

use std::collections::{BTreeMap, BTreeSet};

use super::super::id::{Id, Side};
use super::super::settle::Settling;
use super::super::tree::{continues, precedes};
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
    let mut walk = Walk::new();
    let next = || walk.next(&sequence.tree, &sequence.authors);
    let walked = join(std::iter::from_fn(next));
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
    let (tree, authors) = (&sequence.tree, &sequence.authors);
    let mut found = BTreeSet::new();
    for (id, parent, side) in tree.starts() {
        assert!(!continues(id, parent, side));
        let first = tree.brother(authors, parent, side, None);
        if first == Some(id) {
            let next = |id: &Id| tree.brother(authors, parent, side, Some(*id));
            let own: Vec<Id> = std::iter::successors(first, next).collect();
            assert!(own.is_sorted_by(|a, b| precedes(authors, *a, *b)));
            found.extend(own.into_iter().map(|id| (id, parent, side)));
        }
    }
    assert!(tree.starts().eq(found));
    let mut anew = sequence.tree.clone();
    anew.unsettle();
    let mut settling = Settling::default();
    let whole = settling.step(&mut anew, &Allowance::unbounded());
    assert_eq!(whole, Some(true));
    assert!(anew.depths().eq(sequence.tree.depths()));
    assert!(tree.brother(authors, Id::ROOT, Side::Left, None).is_none());
}
