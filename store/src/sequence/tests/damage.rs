//! Saved bytes, damaged or made by hand: they are opened whole, or refused.

use super::super::wire::put_number;
use super::*;

/// A sequence of three authors who have edited at once and deleted.
fn sample(kind: SequenceKind, seed: u64, steps: usize) -> Sequence {
    let mut random = Random(seed);
    let mut world = World::new(kind, 3);
    for _ in 0..steps {
        let r = random.below(3);
        if random.below(2) == 0 {
            world.deliver(r, random.below(99));
        }
        let edit = Edit {
            at: random.next() as u16,
            delete: [0, 0, 1, 4][random.below(4)],
            insert: ["a", "bc", "漢é", "😀", ""][random.below(5)].into(),
        };
        world.edit(r, &edit);
    }
    world.deliver_all(3);
    world.replicas.swap_remove(0)
}

/// Opens bytes; whatever they are, the answer is a whole sequence or a refusal.
fn open(saved: &[u8]) -> bool {
    match Sequence::open(key(7), saved) {
        Ok(opened) => {
            check_invariants(&opened);
            assert!(opened.save().unwrap() == saved, "two forms of one sequence");
            true
        }
        Err(SequenceError::Malformed { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

/// Forty thousand damages: bytes changed, cut off, moved, and parts of one sequence
/// put into another.
#[test]
fn damaged_bytes_are_opened_whole_or_refused() {
    let mut random = Random(0xda);
    let mut opened = 0;
    for round in 0..40 {
        let kind = match round % 2 {
            0 => SequenceKind::List,
            _ => SequenceKind::Text,
        };
        let saved = sample(kind, round, 4 + random.below(30)).save().unwrap();
        let other = sample(kind, round + 100, 4 + random.below(30))
            .save()
            .unwrap();
        assert!(open(&saved) && open(&other));
        for _ in 0..1_000 {
            let mut bytes = saved.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(bytes.len());
                match random.below(8) {
                    0 => bytes.truncate(at),
                    1 => drop(bytes.drain(at..(at + 1 + random.below(4)).min(bytes.len()))),
                    2 => bytes.insert(at, random.next() as u8),
                    3 => {
                        let from = random.below(other.len());
                        let to = (from + random.below(40)).min(other.len());
                        bytes.splice(
                            at..(at + to - from).min(bytes.len()),
                            other[from..to].iter().copied(),
                        );
                    }
                    4 => bytes[at] = random.below(6) as u8,
                    5 => bytes[at] = bytes[at].wrapping_add(1),
                    _ => bytes[at] ^= 1 << random.below(8),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            opened += usize::from(open(&bytes));
        }
    }
    // Content and keys can be anything, so some are.
    assert!(opened > 1_000, "{opened}");
}

/// Saved bytes by hand: one author for each list of updates (stamp and elements since the
/// one before), starts (name, counter, parent's name, counter, side), runs, text.
fn forge(authors: &[&[(u64, u64)]], starts: &[[u64; 5]], runs: &[u64], text: &str) -> Vec<u8> {
    let mut out = vec![1, 1];
    put_number(&mut out, authors.len() as u64);
    for (n, updates) in authors.iter().enumerate() {
        out.extend([n as u8 + 1; 32]);
        put_number(&mut out, updates.iter().map(|u| u.0).sum::<u64>());
        put_number(&mut out, updates.len() as u64);
        for (stamp, count) in *updates {
            put_number(&mut out, *stamp);
            put_number(&mut out, *count);
        }
    }
    put_number(&mut out, starts.len() as u64);
    for [name, counter, parent, at, side] in starts {
        put_number(&mut out, *name);
        put_number(&mut out, *counter);
        put_number(&mut out, *parent);
        if *parent > 0 {
            put_number(&mut out, *at);
        }
        out.push(*side as u8);
    }
    runs.iter().for_each(|run| put_number(&mut out, *run));
    out.extend_from_slice(text.as_bytes());
    out
}

#[test]
fn lies_by_hand_are_refused() {
    let one: &[&[(u64, u64)]] = &[&[(5, 3)]];
    let two: &[&[(u64, u64)]] = &[&[(5, 3)], &[(6, 2)]];
    let root = [1, 0, 0, 0, 1];
    let on_one = [2, 0, 1, 1, 1];
    assert!(open(&forge(&[], &[], &[], "")));
    assert!(open(&forge(one, &[root], &[3], "abc")));
    assert!(open(&forge(one, &[root], &[0, 3], "")));
    assert!(open(&forge(two, &[root, on_one], &[2, 2, 1], "abc")));
    assert!(open(&forge(one, &[root, [1, 2, 1, 0, 0]], &[3], "abc")));
    let huge = 1u64 << 31;
    assert!(open(&forge(&[&[(1, huge)]], &[root], &[0, huge], "")));
    let lies: &[(&str, Vec<u8>)] = &[
        ("no run for an element", forge(one, &[], &[3], "abc")),
        (
            "a run of one who has none",
            forge(one, &[root, on_one], &[3], "abc"),
        ),
        ("on itself", forge(one, &[[1, 0, 1, 0, 1]], &[3], "abc")),
        (
            "on its own later element",
            forge(one, &[[1, 0, 1, 2, 0]], &[3], "abc"),
        ),
        (
            "a circle",
            forge(two, &[[1, 0, 2, 0, 1], [2, 0, 1, 0, 1]], &[5], "abcde"),
        ),
        (
            "a circle aside",
            forge(
                &[&[(5, 3)], &[(6, 2)], &[(7, 1)]],
                &[[1, 0, 0, 0, 1], [2, 0, 3, 0, 1], [3, 0, 2, 0, 0]],
                &[6],
                "abcdef",
            ),
        ),
        (
            "a circle within a run",
            forge(one, &[[1, 0, 1, 1, 0], [1, 1, 1, 0, 0]], &[3], "abc"),
        ),
        (
            "the left of the root",
            forge(one, &[[1, 0, 0, 0, 0]], &[3], "abc"),
        ),
        (
            "a run that only goes on",
            forge(one, &[root, [1, 1, 1, 0, 1]], &[3], "abc"),
        ),
        ("a run twice", forge(one, &[root, root], &[3], "abc")),
        (
            "runs in no order",
            forge(two, &[on_one, root], &[5], "abcde"),
        ),
        (
            "a run beyond the last element",
            forge(one, &[root, [1, 3, 1, 0, 1]], &[3], "abc"),
        ),
        (
            "a parent beyond the last element",
            forge(one, &[root, [1, 1, 1, 3, 0]], &[3], "abc"),
        ),
        (
            "a parent of nobody",
            forge(one, &[[1, 0, 2, 0, 1]], &[3], "abc"),
        ),
        ("another side", forge(one, &[[1, 0, 0, 0, 2]], &[3], "abc")),
        ("too few elements", forge(one, &[root], &[2], "ab")),
        ("too many elements", forge(one, &[root], &[4], "abcd")),
        ("a run of none", forge(one, &[root], &[1, 0, 2], "abc")),
        ("too little text", forge(one, &[root], &[3], "ab")),
        ("too much text", forge(one, &[root], &[3], "abcd")),
        (
            "text of deleted elements",
            forge(one, &[root], &[0, 3], "abc"),
        ),
        (
            "runs that overflow",
            forge(two, &[root, on_one], &[u64::MAX, 6], ""),
        ),
        (
            "stamps that overflow",
            forge(
                &[&[(u64::MAX - 1, 1), (1, 1)], &[(1, 1)]],
                &[root],
                &[2],
                "ab",
            )[..60]
                .to_vec(),
        ),
        (
            "an author's too many elements",
            forge(&[&[(1, huge + 1)]], &[root], &[0, huge + 1], ""),
        ),
        (
            "counts that overflow",
            forge(&[&[(1, huge), (1, huge)]], &[root], &[0, 2 * huge], ""),
        ),
        (
            "an update of nothing",
            forge(&[&[(1, 3), (1, 0)]], &[root], &[3], "abc"),
        ),
        (
            "two updates at once",
            forge(&[&[(1, 2), (0, 1)]], &[root], &[3], "abc"),
        ),
        ("an author without an update", forge(&[&[]], &[], &[], "")),
    ];
    for (what, bytes) in lies {
        assert!(!open(bytes), "{what}");
    }
    // Keys in another order, and one twice.
    for first in [9, 2] {
        let mut bytes = forge(two, &[root, on_one], &[5], "abcde");
        bytes[3..35].fill(first);
        assert!(!open(&bytes));
    }
}
