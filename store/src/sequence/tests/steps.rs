//! Whatever grows with a sequence or with what a liar sends is done in parts, of which none is
//! much more work than it was allowed. Counted in steps and not in time.

use std::ops::ControlFlow;

use super::super::id::{Id, Side};
use super::super::update::{Insertion, Written, encode};
use super::super::work::steps_of;
use super::*;

/// What a part is allowed here.
const ALLOWED: u64 = 300;

/// What it may come to beyond that: the last thing that it has begun.
const BEYOND: u64 = 1_000;

/// So many parts of work, the largest of them, and what all of it has come to.
#[derive(Default)]
struct Parts {
    count: u64,
    largest: u64,
    sum: u64,
}

impl Parts {
    /// Does one.
    fn part<T>(&mut self, work: impl FnOnce(&Allowance) -> T) -> T {
        let (steps, result) = steps_of(|| work(&Allowance::steps(ALLOWED)));
        self.count += 1;
        self.largest = self.largest.max(steps);
        self.sum += steps;
        result
    }

    /// There were as many as it takes for work that is in proportion to `pieces`.
    fn check(&self, what: &str, pieces: usize) {
        assert!(self.sum >= pieces as u64, "{what}: {} steps", self.sum);
        let most = ALLOWED + BEYOND;
        assert!(self.largest <= most, "{what}: {} in one", self.largest);
        assert!(self.count >= self.sum / most, "{what}: {}", self.count);
        assert!(self.count > 10, "{what}: {}", self.count);
    }
}

/// A sequence of so many single elements, each put in at a place of its own.
fn fragmented(kind: SequenceKind, count: usize) -> Sequence {
    let mut sequence = Sequence::new(kind, key(1));
    let mut random = Random(7);
    for n in 0..count {
        let at = random.below(sequence.len() + 1);
        let content = match kind {
            SequenceKind::Text => text("é"),
            SequenceKind::List => values(0..1),
        };
        sequence.insert(at, content).unwrap();
        if n % 4000 == 3999 || n + 1 == count {
            sequence.take_update(hlc(n as u64 + 1)).unwrap();
        }
    }
    sequence
}

fn load(parts: &mut Parts, saved: &[u8]) -> Result<Sequence, SequenceError> {
    let mut loading = Loading::begin(key(9), saved.to_vec())?;
    loop {
        match parts.part(|allowance| loading.step(allowance))? {
            ControlFlow::Break(sequence) => return Ok(sequence),
            ControlFlow::Continue(more) => loading = more,
        }
    }
}

#[test]
fn a_saved_one_is_opened_in_parts_of_bounded_work() {
    for kind in [SequenceKind::Text, SequenceKind::List] {
        let sequence = fragmented(kind, 20_000);
        let saved = sequence.save().unwrap();
        let mut parts = Parts::default();
        let opened = load(&mut parts, &saved).unwrap();
        parts.check("opening", 20_000);
        assert!(opened.save().unwrap() == saved);
        check_invariants(&opened);
        let cut = load(&mut Parts::default(), &saved[..saved.len() - 1]);
        assert!(cut.is_err(), "what is wrong is found at any part");
    }
}

/// Whoever types, and one author beside it whose deletion hits every piece.
#[test]
fn an_update_is_applied_in_parts_of_bounded_work() {
    let mut sequence = fragmented(SequenceKind::List, 20_000);
    let before = sequence.save().unwrap();
    let mut other = Sequence::open(key(2), &before).unwrap();
    other.delete(0, 20_000).unwrap();
    other.insert(0, values(0..30_000)).unwrap();
    let update = other.take_update(hlc(1 << 30)).unwrap().unwrap();
    let seen_all = |_: &NodeId| hlc(1 << 29);
    let mut arriving = sequence.begin_apply(key(2), hlc(1 << 30), &update).unwrap();
    let mut parts = Parts::default();
    while !parts
        .part(|allowance| sequence.go_on_applying(&mut arriving, seen_all, &update, allowance))
        .unwrap()
    {}
    parts.check("applying", 20_000);
    assert!(sequence.save().unwrap() == other.save().unwrap());
    check_invariants(&sequence);
}

/// An update can name as many authors as it has edits, and each has to be looked up.
#[test]
fn the_authors_that_an_update_names_are_read_in_parts_of_bounded_work() {
    const AUTHORS: usize = UPDATE_EDITS_MAX;
    let many = |n: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&Random(n as u64).next().to_be_bytes());
        NodeId::from_bytes(bytes)
    };
    let mut sequence = Sequence::new(SequenceKind::List, key(1));
    for n in 0..AUTHORS {
        let mut other = Sequence::new(SequenceKind::List, many(n));
        other.insert(0, values(0..1)).unwrap();
        let update = other.take_update(hlc(1)).unwrap().unwrap();
        sequence
            .apply(many(n), hlc(1), |_| Hlc::ZERO, &update)
            .unwrap();
    }
    let before = sequence.save().unwrap();
    let mut other = Sequence::open(key(2), &before).unwrap();
    other.delete(0, AUTHORS).unwrap();
    let update = other.take_update(hlc(2)).unwrap().unwrap();
    // All but the last one was seen: that is known when its key is read, and judged behind.
    for (unseen, is_void) in [(many(AUTHORS - 1), true), (key(2), false)] {
        let seen = |author: &NodeId| hlc(u64::from(*author != unseen));
        let (begun, arriving) = steps_of(|| sequence.begin_apply(key(2), hlc(2), &update));
        assert_eq!(begun, 0, "nothing is looked up when it begins");
        let mut arriving = arriving.unwrap();
        let mut parts = Parts::default();
        // The keys alone, which are the first of what it says.
        while parts.sum < AUTHORS as u64 {
            let step = parts
                .part(|allowance| sequence.go_on_applying(&mut arriving, seen, &update, allowance));
            assert!(!step.unwrap());
        }
        assert!(parts.count > 10 && parts.largest <= 2 * ALLOWED, "keys");
        let applied = loop {
            let step = parts
                .part(|allowance| sequence.go_on_applying(&mut arriving, seen, &update, allowance));
            match step {
                Ok(false) => {}
                other => break other,
            }
        };
        parts.check("naming many", AUTHORS);
        if is_void {
            assert_eq!(applied, Err(SequenceError::Unseen { author: key(2) }));
            assert!(sequence.save().unwrap() == before);
        } else {
            applied.unwrap();
            assert!(sequence.save().unwrap() == other.save().unwrap());
        }
    }
    check_invariants(&sequence);
}

/// It is judged whole before it changes anything, in however many parts it is read.
#[test]
fn an_update_that_is_refused_in_parts_changes_nothing() {
    let mut sequence = fragmented(SequenceKind::Text, 5_000);
    let before = sequence.save().unwrap();
    let liar = Sequence::open(key(2), &before).unwrap();
    let insertion = |counter: u32| Insertion {
        first: Id {
            author: liar.own,
            counter,
        },
        parent: match counter {
            // Of an author that has no such element.
            3_999 => Id {
                author: 0,
                counter: 5_000,
            },
            _ => Id { author: 0, counter },
        },
        side: Side::Right,
        content: text("x"),
    };
    let insertions = (0..4_000).map(|n| Written::of(&insertion(n)));
    let insertions: Vec<Written> = insertions.collect();
    let none = std::iter::empty();
    let update = encode(liar.kind, &liar.authors, liar.own, 0, &insertions, none);
    let seen_all = |_: &NodeId| hlc(1 << 29);
    let mut arriving = sequence.begin_apply(key(2), hlc(1 << 30), &update).unwrap();
    let mut parts = Parts::default();
    let refused = loop {
        match parts
            .part(|allowance| sequence.go_on_applying(&mut arriving, seen_all, &update, allowance))
        {
            Ok(whole) => assert!(!whole),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, SequenceError::Unseen { author: key(2) });
    assert!(parts.count > 10);
    assert!(sequence.save().unwrap() == before);
}

#[test]
fn elements_are_deleted_and_restored_in_parts_of_bounded_work() {
    for kind in [SequenceKind::Text, SequenceKind::List] {
        let mut sequence = fragmented(kind, 20_000);
        let before = sequence.save().unwrap();
        let pieces = sequence.pieces.counts();
        let elements = all(&sequence);
        let mut parts = Parts::default();
        let mut deleting = sequence.begin_delete(1, 19_998).unwrap();
        while !parts
            .part(|allowance| sequence.go_on_deleting(&mut deleting, allowance))
            .unwrap()
        {}
        parts.check("deleting", 20_000);
        assert_eq!(sequence.len(), 2);
        check_invariants(&sequence);
        sequence.insert(1, elements.clone()).unwrap();
        let mut parts = Parts::default();
        while !parts.part(|allowance| sequence.roll_back_some(allowance)) {}
        parts.check("rolling back", 20_000);
        assert!(!sequence.has_edits());
        assert!(all(&sequence) == elements);
        assert!(sequence.save().unwrap() == before);
        assert_eq!(sequence.pieces.counts().0, pieces.0);
        check_invariants(&sequence);
    }
}

/// A turn may end in the midst of it.
#[test]
fn what_is_half_deleted_is_rolled_back() {
    let mut sequence = fragmented(SequenceKind::Text, 5_000);
    let before = sequence.save().unwrap();
    let mut deleting = sequence.begin_delete(0, 5_000).unwrap();
    while sequence.len() > 2_500 {
        let allowance = Allowance::steps(ALLOWED);
        assert!(!sequence.go_on_deleting(&mut deleting, &allowance).unwrap());
    }
    sequence.roll_back();
    assert!(sequence.save().unwrap() == before);
    check_invariants(&sequence);
}
