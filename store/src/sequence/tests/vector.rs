//! One replica does what a plain vector does, in one piece or in very many.

use super::*;

proptest! {
    /// One replica does what a vector does; rolled back, it is what it was; and
    /// it is the same again after a save.
    #[test]
    fn edits_are_those_of_a_vector(all_edits in edits(40), list in any::<bool>(), keep in prop::collection::vec(any::<bool>(), 40)) {
        let kind = if list { SequenceKind::List } else { SequenceKind::Text };
        let mut sequence = Sequence::new(kind, key(1));
        let mut model: Vec<Vec<u8>> = Vec::new();
        for (n, (edit, keep)) in all_edits.iter().zip(keep).enumerate() {
            let (at, delete, content) = edit.apply(&mut sequence);
            if keep {
                model.splice(at..at + delete, plain(&content));
                sequence.take_update(hlc(n as u64 + 1)).unwrap();
            } else {
                sequence.roll_back();
                prop_assert_eq!(sequence.take_update(hlc(n as u64 + 1)).unwrap(), None);
            }
            if n % 8 == 7 {
                check_invariants(&sequence);
            }
            prop_assert_eq!(&plain(&all(&sequence)), &model);
            let (from, len) = (model.len() / 3, model.len() / 2);
            let part = plain(&sequence.slice(from, len).unwrap());
            prop_assert_eq!(&part[..], &model[from..from + len]);
        }
        let saved = sequence.save().unwrap();
        let opened = Sequence::open(key(1), &saved).unwrap();
        prop_assert_eq!(&plain(&all(&opened)), &model);
        prop_assert_eq!(opened.save().unwrap(), saved);
    }
}

/// Forty thousand pieces, which chunks must keep up with.
#[test]
fn many_pieces() {
    let mut list = Sequence::new(SequenceKind::List, key(1));
    let mut stamp = 0;
    for n in 0..20 {
        list.insert(0, values(n * 2000..(n + 1) * 2000)).unwrap();
        stamp += 1;
        list.take_update(hlc(stamp)).unwrap();
    }
    for n in 0..4_000 {
        list.delete(n, 1).unwrap();
    }
    assert_eq!(list.len(), 36_000);
    list.roll_back();
    assert_eq!(list.len(), 40_000);
    for n in 0..20_000 {
        list.insert(2 * n, values(7..8)).unwrap();
        if n % 4_000 == 3_999 {
            stamp += 1;
            list.take_update(hlc(stamp)).unwrap();
        }
    }
    assert_eq!(list.slice(39_998, 2).unwrap().len(), 2);
    check_invariants(&list);
    let saved = list.save().unwrap();
    assert_eq!(all(&Sequence::open(key(1), &saved).unwrap()), all(&list));
}

/// A guest that edits and fails, again and again, leaves nothing behind: no piece, no
/// chunk, no byte.
#[test]
fn what_is_rolled_back_leaves_nothing() {
    for kind in [SequenceKind::List, SequenceKind::Text] {
        let content = |n: usize| match kind {
            SequenceKind::List => values(0..n as u32),
            SequenceKind::Text => text(&"é".repeat(n)),
        };
        let mut random = Random(4);
        let mut sequence = Sequence::new(kind, key(1));
        for n in 1..200 {
            let at = random.below(sequence.len() + 1);
            sequence.insert(at, content(1 + random.below(60))).unwrap();
            let at = random.below(sequence.len());
            let len = random.below(5).min(sequence.len() - at);
            sequence.delete(at, len).unwrap();
            sequence.take_update(hlc(n)).unwrap();
        }
        let saved = sequence.save().unwrap();
        let (pieces, chunks) = sequence.pieces.counts();
        let starts = sequence.tree.starts().len();
        let bytes = sequence.memory_bytes();
        for _ in 0..300 {
            for _ in 0..1 + random.below(400) {
                let at = random.below(sequence.len() + 1);
                match random.below(3) {
                    0 => {
                        let len = random.below(40).min(sequence.len() - at);
                        sequence.delete(at, len).unwrap();
                    }
                    _ => sequence.insert(at, content(1 + random.below(3))).unwrap(),
                }
            }
            sequence.roll_back();
            let (now, chunks_now) = sequence.pieces.counts();
            // A piece may stay cut where a chunk was.
            assert!(now <= pieces + chunks_now, "{now} pieces of {pieces}");
            assert!(
                chunks_now <= 2 * chunks + 2,
                "{chunks_now} chunks of {chunks}"
            );
            assert!(sequence.memory_bytes() <= bytes * 5 / 4);
            assert_eq!(sequence.tree.starts().len(), starts);
        }
        check_invariants(&sequence);
        assert!(sequence.save().unwrap() == saved);
    }
}

/// To empty a sequence that is in very many pieces takes few edits.
#[test]
fn a_sequence_in_many_pieces_can_be_emptied() {
    let mut sequence = Sequence::new(SequenceKind::List, key(1));
    for n in 0..3 * UPDATE_EDITS_MAX {
        sequence.insert(n / 2, values(0..2)).unwrap();
        if n % 4000 == 3999 {
            sequence.take_update(hlc(n as u64)).unwrap();
        }
    }
    sequence.take_update(hlc(1 << 20)).unwrap();
    let mut other = Sequence::new(SequenceKind::List, key(2));
    let len = sequence.len();
    sequence.delete(len / 4, 100).unwrap();
    let at = sequence.len() / 3;
    sequence.insert(at, values(5..6)).unwrap();
    sequence.delete(0, sequence.len()).unwrap();
    assert!(sequence.is_empty());
    let update = sequence.take_update(hlc(1 << 21)).unwrap().unwrap();
    assert!(update.len() < 40, "{} bytes", update.len());
    check_invariants(&sequence);
    assert!(
        other
            .apply(key(1), hlc(1 << 21), |_| Hlc::ZERO, &update)
            .is_err()
    );
}
