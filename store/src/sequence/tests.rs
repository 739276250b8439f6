//! What a sequence promises: it does what a plain vector does, replicas come to
//! the same bytes in whatever causal order, and a lie changes nothing or the
//! same everywhere.

use proptest::prelude::*;

use super::*;

fn key(n: u8) -> NodeId {
    // The order of keys is another one than that of numbers.
    NodeId::from_bytes([n.wrapping_mul(151); 32])
}

fn hlc(n: u64) -> Hlc {
    Hlc::from_bits(n)
}

fn text(s: &str) -> Content {
    Content::Text(s.into())
}

fn values(n: std::ops::Range<u32>) -> Content {
    Content::Values(n.map(|n| Box::from(n.to_be_bytes())).collect())
}

fn all(sequence: &Sequence) -> Content {
    sequence.slice(0, sequence.len()).unwrap()
}

/// An edit by fractions, so that it fits whatever length there is.
#[derive(Clone, Debug)]
struct Edit {
    at: u16,
    delete: u16,
    insert: String,
}

fn edits(count: usize) -> impl Strategy<Value = Vec<Edit>> {
    let delete = prop_oneof![3 => Just(0u16), 1 => 1..6u16];
    let insert = prop_oneof![4 => "[a-zé漢😀]{0,4}", 1 => "[a-z]{500,1200}"];
    let edit = (any::<u16>(), delete, insert);
    prop::collection::vec(
        edit.prop_map(|(at, delete, insert)| Edit { at, delete, insert }),
        count,
    )
}

impl Edit {
    /// Does it to the sequence; where it deleted and inserted.
    fn apply(&self, sequence: &mut Sequence) -> (usize, usize, Content) {
        let at = usize::from(self.at) * (sequence.len() + 1) / 65_536;
        let delete = usize::from(self.delete).min(sequence.len() - at);
        let content = match sequence.kind() {
            SequenceKind::Text => text(&self.insert),
            SequenceKind::List => Content::Values(
                self.insert
                    .chars()
                    .map(|c| c.to_string().into_bytes().into())
                    .collect(),
            ),
        };
        sequence.delete(at, delete).unwrap();
        sequence.insert(at, content.clone()).unwrap();
        (at, delete, content)
    }
}

fn plain(content: &Content) -> Vec<Vec<u8>> {
    match content {
        Content::Text(text) => text.chars().map(|c| c.to_string().into_bytes()).collect(),
        Content::Values(values) => values.iter().map(|v| v.to_vec()).collect(),
    }
}

/// Replicas, every update with its author, stamp and what it had seen, and what
/// each replica has.
struct World {
    replicas: Vec<Sequence>,
    updates: Vec<(usize, Hlc, Vec<Hlc>, Vec<u8>)>,
    has: Vec<Vec<Hlc>>,
    clock: u64,
}

impl World {
    fn new(kind: SequenceKind, count: usize) -> Self {
        Self {
            replicas: (0..count)
                .map(|n| Sequence::new(kind, key(n as u8)))
                .collect(),
            updates: Vec::new(),
            has: vec![vec![Hlc::ZERO; count]; count],
            clock: 0,
        }
    }

    fn edit(&mut self, r: usize, edit: &Edit) {
        edit.apply(&mut self.replicas[r]);
        self.commit(r);
    }

    fn commit(&mut self, r: usize) {
        self.clock += 3;
        let stamp = hlc(self.clock);
        if let Some(bytes) = self.replicas[r].take_update(stamp).unwrap() {
            self.updates.push((r, stamp, self.has[r].clone(), bytes));
            self.has[r][r] = stamp;
        }
    }

    /// Gives a replica one of the updates that it can have; false if there is none.
    fn deliver(&mut self, r: usize, choice: usize) -> bool {
        let has = &self.has[r];
        let ready: Vec<usize> = (0..self.updates.len())
            .filter(|&u| {
                let (author, stamp, seen, _) = &self.updates[u];
                has[*author] < *stamp && seen.iter().zip(has).all(|(seen, has)| seen <= has)
            })
            .collect();
        if ready.is_empty() {
            return false;
        }
        let (author, stamp, seen, bytes) = &self.updates[ready[choice % ready.len()]];
        self.replicas[r]
            .apply(key(*author as u8), *stamp, look_up(seen), bytes)
            .unwrap();
        self.has[r][*author] = *stamp;
        true
    }

    fn deliver_all(&mut self, mut choice: usize) {
        for r in 0..self.replicas.len() {
            while self.deliver(r, choice) {
                choice = choice.wrapping_mul(31).wrapping_add(7);
            }
        }
    }
}

fn look_up(seen: &[Hlc]) -> impl Fn(&NodeId) -> Hlc + '_ {
    |author| {
        (0..seen.len())
            .find(|&n| key(n as u8) == *author)
            .map_or(Hlc::ZERO, |n| seen[n])
    }
}

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

    /// Four replicas, edits and deliveries in any causal order, one of them
    /// opened from what it saved in between: all end with the same bytes.
    #[test]
    fn replicas_converge(steps in edits(60), roles in prop::collection::vec((0..4usize, 0..3u8, any::<usize>()), 60), list in any::<bool>()) {
        let kind = if list { SequenceKind::List } else { SequenceKind::Text };
        let mut world = World::new(kind, 4);
        for (edit, (r, what, choice)) in steps.iter().zip(roles) {
            match what {
                0 => drop(world.deliver(r, choice)),
                1 => {
                    world.deliver(r, choice);
                    world.edit(r, edit);
                }
                _ => world.edit(r, edit),
            }
            if r == 3 {
                let saved = world.replicas[3].save().unwrap();
                world.replicas[3] = Sequence::open(key(3), &saved).unwrap();
            }
        }
        world.deliver_all(5);
        let saved: Vec<Vec<u8>> = world.replicas.iter().map(|r| r.save().unwrap()).collect();
        for other in &saved[1..] {
            prop_assert_eq!(other, &saved[0]);
        }
    }

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

/// Two who type at one place do not mix their words.
#[test]
fn words_stay_whole() {
    let mut world = World::new(SequenceKind::Text, 2);
    for (a, b) in "hello".chars().zip("WORLD".chars()) {
        for (r, c) in [(0, a), (1, b)] {
            let len = world.replicas[r].len();
            world.replicas[r].insert(len, text(&c.to_string())).unwrap();
            world.commit(r);
        }
    }
    world.deliver_all(0);
    let Content::Text(merged) = all(&world.replicas[0]) else {
        panic!("a text")
    };
    assert!(
        ["helloWORLD", "WORLDhello"].contains(&merged.as_str()),
        "{merged}"
    );
    assert_eq!(all(&world.replicas[1]), text(&merged));
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

/// What does not fit is refused with the number that was exceeded.
#[test]
fn bounds_hold() {
    let mut list = Sequence::new(SequenceKind::List, key(1));
    assert_eq!(
        list.insert(1, values(0..1)),
        Err(SequenceError::OutOfRange { index: 1, len: 0 })
    );
    assert!(matches!(
        list.insert(0, text("x")),
        Err(SequenceError::WrongKind { .. })
    ));
    let big = Content::Values(vec![vec![0; UPDATE_BYTES_MAX].into()]);
    assert!(matches!(
        list.insert(0, big),
        Err(SequenceError::TooLarge { .. })
    ));
    assert!(list.is_empty());
    list.insert(0, values(0..3)).unwrap();
    assert_eq!(list.save(), Err(SequenceError::EditsWait));
    assert_eq!(
        list.delete(2, 2),
        Err(SequenceError::OutOfRange { index: 4, len: 3 })
    );
}

/// A hundred thousand pieces, which chunks must keep up with.
#[test]
fn many_pieces() {
    let mut list = Sequence::new(SequenceKind::List, key(1));
    let mut stamp = 0;
    for n in 0..20 {
        list.insert(0, values(n * 2000..(n + 1) * 2000)).unwrap();
        stamp += 1;
        list.take_update(hlc(stamp)).unwrap();
    }
    for n in 0..20_000 {
        list.delete(n, 1).unwrap();
    }
    assert_eq!(list.len(), 20_000);
    list.roll_back();
    assert_eq!(list.len(), 40_000);
    for n in 0..20_000 {
        list.insert(2 * n, values(7..8)).unwrap();
    }
    assert_eq!(list.slice(39_998, 2).unwrap().len(), 2);
    list.take_update(hlc(stamp + 1)).unwrap();
    let saved = list.save().unwrap();
    assert_eq!(all(&Sequence::open(key(1), &saved).unwrap()), all(&list));
}
