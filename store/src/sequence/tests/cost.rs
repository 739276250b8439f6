//! What an update costs, in steps and not in time: what it names and the logarithm of
//! what is there, however the sequence was made.

use super::super::id::{Id, Side};
use super::super::update::{Insertion, Written, encode};
use super::super::work::steps_of;
use super::*;

/// Steps that an edit may take in a sequence of a million elements.
const STEPS_AN_EDIT: u64 = 1_000;

/// Two authors who write in turn, each behind what the other wrote, so that the tree
/// is as deep as the sequence is long; or each before it.
fn deep(runs: usize, left: bool) -> Sequence {
    let seen_all = |_: &NodeId| hlc(u64::MAX);
    let mut writers = [1, 2].map(|n| Sequence::new(SequenceKind::List, key(n)));
    for n in 0..runs {
        let (writer, stamp) = (n % 2, hlc(n as u64 + 1));
        let at = if left { 0 } else { writers[writer].len() };
        writers[writer].insert(at, values(0..1)).unwrap();
        let update = writers[writer].take_update(stamp).unwrap().unwrap();
        let author = key(writer as u8 + 1);
        let answer = writers[1 - writer].apply(author, stamp, seen_all, &update);
        answer.unwrap();
    }
    let [_, sequence] = writers;
    sequence
}

/// An update with as many insertions as it may have, each beside everything that hangs
/// below a brother.
#[test]
fn a_deep_tree_costs_its_logarithm() {
    for left in [false, true] {
        let mut sequence = deep(30_000, left);
        // Authors before and behind the others in the order of keys.
        for n in [4, 90, 200] {
            let saved = sequence.save().unwrap();
            let liar = Sequence::open(key(n), &saved).unwrap();
            let insertion = |counter: usize| Insertion {
                first: Id {
                    author: liar.own,
                    counter: counter as u32,
                },
                parent: liar.pieces.id_at(10 + 7 * counter),
                side: if left { Side::Left } else { Side::Right },
                content: values(0..1),
            };
            let insertions = (0..UPDATE_EDITS_MAX).map(|n| Written::of(&insertion(n)));
            let insertions: Vec<Written> = insertions.collect();
            let none = std::iter::empty();
            let update = encode(liar.kind, &liar.authors, liar.own, 0, &insertions, none);
            let stamp = hlc((1 << 40) + u64::from(n));
            let apply = || sequence.apply(key(n), stamp, |_| hlc(1 << 50), &update);
            let (steps, answer) = steps_of(apply);
            answer.unwrap();
            let allowed = STEPS_AN_EDIT * UPDATE_EDITS_MAX as u64;
            assert!(steps < allowed, "{steps} for {UPDATE_EDITS_MAX} edits");
        }
        check_invariants(&sequence);
    }
}

/// Authors who put all that they insert on the right of one element, the greatest first, so
/// that each one's go in front of all the others'.
#[test]
fn many_brothers_cost_their_logarithm() {
    let mut sequence = Sequence::new(SequenceKind::List, key(0));
    let mut keys: Vec<NodeId> = (1..9).map(key).collect();
    keys.sort_unstable();
    for (n, author) in keys.into_iter().rev().enumerate() {
        let liar = Sequence::open(author, &sequence.save().unwrap()).unwrap();
        let insertion = |counter: usize| Insertion {
            first: Id {
                author: liar.own,
                counter: counter as u32,
            },
            parent: Id::ROOT,
            side: Side::Right,
            content: values(0..1),
        };
        let insertions = (0..UPDATE_EDITS_MAX).map(|n| Written::of(&insertion(n)));
        let insertions: Vec<Written> = insertions.collect();
        let none = std::iter::empty();
        let update = encode(liar.kind, &liar.authors, liar.own, 0, &insertions, none);
        let apply = || sequence.apply(author, hlc(n as u64 + 1), |_| Hlc::ZERO, &update);
        let (steps, answer) = steps_of(apply);
        answer.unwrap();
        assert!(steps < 40 * UPDATE_EDITS_MAX as u64, "{steps}");
    }
    check_invariants(&sequence);
}

/// To delete what is deleted costs no more than to say so, in however many pieces it
/// lies; and what is not costs by what there is.
#[test]
fn what_is_deleted_costs_nothing_to_delete() {
    let mut a = Sequence::new(SequenceKind::List, key(1));
    let mut b = Sequence::new(SequenceKind::List, key(2));
    let seen_all = |_: &NodeId| hlc(u64::MAX);
    let count = 20_000;
    a.insert(0, values(0..count)).unwrap();
    let update = a.take_update(hlc(1)).unwrap().unwrap();
    b.apply(key(1), hlc(1), seen_all, &update).unwrap();
    // Another's element between any two, so that none can be one with the next.
    for n in 0..count {
        b.insert(2 * n as usize + 1, values(0..1)).unwrap();
        if n % 4000 == 3999 {
            let stamp = hlc(u64::from(n));
            let update = b.take_update(stamp).unwrap().unwrap();
            a.apply(key(2), stamp, seen_all, &update).unwrap();
        }
    }
    let mut deletion = vec![1, 0, 1];
    deletion.extend_from_slice(key(1).as_bytes());
    deletion.extend([0, 2, 2, 0]);
    let len = count;
    deletion.extend([len as u8 | 0x80, (len >> 7) as u8 | 0x80, (len >> 14) as u8]);
    let mut costs = Vec::new();
    for n in 3..6 {
        let (steps, answer) = steps_of(|| a.apply(key(n), hlc(1 << 30), seen_all, &deletion));
        answer.unwrap();
        costs.push(steps);
    }
    assert_eq!(a.len(), count as usize);
    assert!(costs[0] < 10 * u64::from(count), "{costs:?}");
    assert!(costs[1] < 10 && costs[2] < 10, "{costs:?}");
    check_invariants(&a);
}

/// Opening takes steps in proportion to the pieces.
#[test]
fn opening_costs_by_the_pieces() {
    let (small, large) = (deep(4_000, false), deep(64_000, false));
    let steps = |sequence: &Sequence| {
        let saved = sequence.save().unwrap();
        steps_of(|| Sequence::open(key(9), &saved).unwrap()).0
    };
    let (small, large) = (steps(&small), steps(&large));
    assert!(large < 20 * small, "{small} {large}");
}
