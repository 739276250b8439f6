//! Replicas come to the same bytes, in whatever causal order updates come.

use super::*;

proptest! {
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
        world.replicas.iter().for_each(check_invariants);
        let saved: Vec<Vec<u8>> = world.replicas.iter().map(|r| r.save().unwrap()).collect();
        for other in &saved[1..] {
            prop_assert_eq!(other, &saved[0]);
        }
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
