//! Replicas come to the same bytes, in whatever causal order updates come.

use super::*;

/// Histories if `CORELET_HISTORIES` is not set.
const HISTORIES: u32 = 256;

/// Four replicas, edits and deliveries in any causal order, one of them opened from what it
/// saved in between: all end with the same bytes.
#[test]
fn histories_converge() {
    let roles = prop::collection::vec((0..4_usize, 0..3_u8, any::<usize>()), 60);
    let history = (edits(60), roles, any::<bool>());
    try_histories(HISTORIES, history, |(steps, roles, list)| {
        let kind = if list {
            SequenceKind::List
        } else {
            SequenceKind::Text
        };
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
        world.replicas.iter().for_each(check_invariants);
        let saved: Vec<Vec<u8>> = world.replicas.iter().map(|r| r.save().unwrap()).collect();
        for other in &saved[1..] {
            prop_assert_eq!(other, &saved[0]);
        }
        Ok(())
    });
}

/// Two to four replicas of which any may lie: a lie is void everywhere or nowhere, voids no
/// honest edit, and what was applied as it came is what is made anew in the order of stamps.
#[test]
fn lies_in_histories_are_void_everywhere_or_nowhere() {
    let roles = (0..4_usize, 0..4_usize, 0..5_u8, any::<usize>());
    let roles = prop::collection::vec(roles, 50);
    let changes = prop::collection::vec((any::<u8>(), 0..4_u8), 0..3);
    let changes = prop::collection::vec(changes, 50);
    let history = (2..=4_usize, edits(50), roles, changes, any::<bool>());
    try_histories(
        HISTORIES,
        history,
        |(count, steps, roles, changes, list)| {
            let kind = if list {
                SequenceKind::List
            } else {
                SequenceKind::Text
            };
            let mut world = World::new(kind, count);
            for ((edit, (r, other, what, choice)), changes) in steps.iter().zip(roles).zip(&changes)
            {
                let (r, other) = (r % count, other % count);
                match what {
                    0 => drop(world.deliver(r, choice)),
                    1 => {
                        world.deliver(r, choice);
                        world.edit(r, edit);
                    }
                    2 | 3 => world.edit(r, edit),
                    _ => world.lie(r, other, edit, changes),
                }
            }
            world.deliver_all(11);
            let mut anew = Sequence::new(kind, key(99));
            let mut updates: Vec<_> = world.updates.iter().collect();
            updates.sort_by_key(|update| update.1);
            for (author, stamp, seen, update) in updates {
                let answer = anew.apply(key(*author as u8), *stamp, look_up(seen), update);
                prop_assert!(answer.is_ok() || world.lies.contains(stamp));
            }
            let expected = anew.save().unwrap();
            for replica in &world.replicas {
                check_invariants(replica);
                prop_assert!(replica.save().unwrap() == expected);
            }
            Ok(())
        },
    );
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
