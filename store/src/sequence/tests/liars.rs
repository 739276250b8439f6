//! A lie changes nothing, or the same everywhere.

use super::*;

proptest! {
    /// A changed update is refused and changes nothing, or is applied the same
    /// by two replicas with different histories, one of which knows more.
    #[test]
    fn lies_do_not_part_replicas(steps in edits(24), target in any::<usize>(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4), list in any::<bool>()) {
        let kind = if list { SequenceKind::List } else { SequenceKind::Text };
        let mut world = World::new(kind, 3);
        for (n, edit) in steps.iter().enumerate() {
            world.deliver(n % 3, n);
            world.edit(n % 3, edit);
        }
        let (author, stamp, seen, bytes) = world.updates[target % world.updates.len()].clone();
        let mut lie = bytes;
        for (at, byte, how) in changes {
            let at = at.index(lie.len());
            match how {
                0 => lie[at] ^= 1 << (byte % 8),
                1 => lie[at] = byte,
                2 => lie.truncate(at.max(1)),
                _ => lie.insert(at, byte % 4),
            }
        }
        // The one has just what the liar had seen, the other all that is not after it.
        let mut answers = Vec::new();
        for more in [false, true] {
            let mut replica = Sequence::new(kind, key(9));
            for (a, s, had, update) in &world.updates {
                let after = had[author] >= stamp || (*a == author && *s >= stamp);
                if !after && (more || seen[*a] >= *s) {
                    replica.apply(key(*a as u8), *s, look_up(had), update).unwrap();
                }
            }
            let before = replica.save().unwrap();
            let answer = replica.apply(key(author as u8), stamp, look_up(&seen), &lie);
            if answer.is_err() {
                prop_assert_eq!(replica.save().unwrap(), before);
            }
            // Whoever knew less hears of the rest now.
            for (a, s, had, update) in &world.updates {
                let after = had[author] >= stamp || (*a == author && *s >= stamp);
                if !after && !more && seen[*a] < *s {
                    replica.apply(key(*a as u8), *s, look_up(had), update).unwrap();
                }
            }
            check_invariants(&replica);
            let saved = replica.save().unwrap();
            prop_assert!(Sequence::open(key(9), &saved).is_ok());
            answers.push((answer, saved));
        }
        prop_assert!(answers[0] == answers[1]);
    }

    /// Whatever bytes are read, as an update or as a save, nothing panics.
    #[test]
    fn any_bytes_are_an_answer(bytes in prop::collection::vec(prop_oneof![0..4u8, any::<u8>()], 0..200)) {
        let mut sequence = Sequence::new(SequenceKind::Text, key(1));
        let mut update = vec![1, 1, 0, 0];
        update.extend(&bytes);
        let _ = sequence.apply(key(2), hlc(1), |_| Hlc::ZERO, &update);
        let _ = sequence.apply(key(2), hlc(2), |_| Hlc::ZERO, &bytes);
        let _ = Sequence::open(key(1), &bytes);
    }
}

/// An author can neither write as another, nor twice, nor with a gap, nor name
/// what it had not seen although the receiver has it.
#[test]
fn forgeries_are_refused() {
    let none = |_: &NodeId| Hlc::ZERO;
    let mut a = Sequence::new(SequenceKind::Text, key(1));
    a.insert(0, text("one")).unwrap();
    let one = a.take_update(hlc(1)).unwrap().unwrap();
    a.insert(3, text(" two")).unwrap();
    let two = a.take_update(hlc(2)).unwrap().unwrap();

    let mut b = Sequence::new(SequenceKind::Text, key(2));
    let gap = b.apply(key(1), hlc(2), none, &two);
    assert!(matches!(
        gap,
        Err(SequenceError::Discontinuous {
            got: 3,
            expected: 0,
            ..
        })
    ));
    assert!(b.is_empty());
    b.apply(key(1), hlc(1), none, &one).unwrap();
    let twice = b.apply(key(1), hlc(2), none, &one);
    assert!(matches!(
        twice,
        Err(SequenceError::Discontinuous {
            got: 0,
            expected: 3,
            ..
        })
    ));
    let back = b.apply(key(1), hlc(1), none, &two);
    assert!(matches!(back, Err(SequenceError::NotLater { .. })));
    // In another's name it would go on from that one's elements.
    let other = b.apply(key(3), hlc(3), none, &two);
    assert!(matches!(other, Err(SequenceError::Discontinuous { .. })));

    b.insert(1, text("!")).unwrap();
    let on_one = b.take_update(hlc(4)).unwrap().unwrap();
    let unseen = a.apply(key(2), hlc(4), none, &on_one);
    assert!(matches!(unseen, Err(SequenceError::Unseen { .. })));
    assert_eq!(all(&a), text("one two"));
    a.apply(key(2), hlc(4), |_| hlc(1), &on_one).unwrap();
    assert_eq!(all(&a), text("o!ne two"));
    let wrong = Sequence::new(SequenceKind::List, key(2)).apply(key(1), hlc(1), none, &one);
    assert!(matches!(wrong, Err(SequenceError::Malformed { .. })));
}

/// Random bytes, and updates that were real before they were changed, into a sequence
/// that others edit: none panics, and none that is refused changes anything.
#[test]
fn what_is_refused_changes_nothing() {
    let mut random = Random(0x11e5);
    let (mut refused, mut applied) = (0, 0);
    for round in 0..60 {
        let kind = match round % 2 {
            0 => SequenceKind::List,
            _ => SequenceKind::Text,
        };
        let mut world = World::new(kind, 3);
        for n in 0..20 {
            let r = random.below(3);
            world.deliver(r, n);
            let edit = Edit {
                at: random.next() as u16,
                delete: random.below(4) as u16,
                insert: ["a", "bc", "漢é", "😀", "xyz"][random.below(5)].into(),
            };
            world.edit(r, &edit);
        }
        world.deliver_all(1);
        let sequence = &world.replicas[0];
        let before = sequence.save().unwrap();
        for _ in 0..300 {
            let (author, _, _, update) = &world.updates[random.below(world.updates.len())];
            let mut bytes = update.clone();
            // Where it says from which count it goes on, it is to be believed.
            let next = sequence.authors[sequence.numbers[&key(*author as u8)] as usize].next;
            let at = 3 + 32 * usize::from(bytes[2]);
            if bytes[at] < 0x80 && next < 0x80 {
                bytes[at] = next as u8;
            }
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len());
                match random.below(5) {
                    0 => bytes[at] ^= 1 << random.below(8),
                    1 => bytes[at] = random.below(5) as u8,
                    2 => bytes.insert(at, random.below(5) as u8),
                    3 => bytes.truncate(at.max(1)),
                    _ => bytes = (0..at + 1).map(|_| random.next() as u8).collect(),
                }
            }
            let mut replica = sequence.clone();
            let seen = |_: &NodeId| hlc(u64::MAX);
            let answer = replica.apply(key(*author as u8), hlc(1 << 40), seen, &bytes);
            check_invariants(&replica);
            match answer {
                Ok(()) => applied += 1,
                Err(_) => {
                    refused += 1;
                    assert!(replica.save().unwrap() == before);
                    assert_eq!(replica.memory_bytes(), sequence.memory_bytes());
                }
            }
        }
    }
    assert!(refused > 1_000 && applied > 1_000, "{refused} {applied}");
}
