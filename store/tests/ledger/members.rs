//! What is kept of a shared context for the other nodes that have it: until each has
//! acknowledged it, or is not waited for any more.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use corelet_store::{
    Acknowledgement, Births, Change, Collected, ContextSlot, DeltaView, EntryKind, Head, Hlc,
    NodeId, Op, Reach, Refused, RemoteDelta, Retention, Sealer, Space, StepBounds, Write,
};

use crate::damage::flip;
use crate::retention::{KEEP_NOTHING, SPAN, at, collect, head, tell};
use crate::signed::{Key, vouched_log};
use crate::{Bench, id, set};

/// A context on several nodes.
struct Node {
    bench: Bench,
    slot: ContextSlot,
    id: NodeId,
}

impl Node {
    fn cluster(count: u8) -> Vec<Node> {
        let ids: Vec<NodeId> = (0..count)
            .map(|n| Key::new(40 + usize::from(n)).node_id())
            .collect();
        let node = |&id: &NodeId| {
            let mut bench = Bench::new();
            let slot = bench.create(1);
            let members = ids.iter().copied().filter(|other| *other != id).collect();
            bench.commit(vec![Change::SetMembers {
                context: crate::id(1),
                members,
                now: at(1),
            }]);
            Node { bench, slot, id }
        };
        ids.iter().map(node).collect()
    }

    fn call(&mut self, op: Op) {
        let mut effects = self.bench.effects(1, self.slot, vec![op]);
        effects.author = self.id;
        self.bench.commit(vec![Change::Call(effects)]);
    }

    fn write(&mut self, calls: u32) {
        let batch = (0..calls).map(|call| {
            let ops = vec![set(
                [self.id.as_bytes()[0], call as u8 % 5],
                [call as u8; 40],
            )];
            let mut effects = self.bench.effects(1, self.slot, ops);
            effects.author = self.id;
            Change::Call(effects)
        });
        let batch = batch.collect();
        self.bench.commit(batch);
    }

    fn log(&self) -> Vec<Bytes> {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        let mut deltas = Vec::new();
        snapshot
            .deltas(self.slot, usize::MAX, &mut |_, delta| {
                deltas.push(Bytes::copy_from_slice(delta.canonical()));
                ControlFlow::Continue(())
            })
            .unwrap();
        deltas.reverse();
        deltas
    }

    /// Gets everything that the other has.
    fn receive(&mut self, deltas: Vec<Bytes>) {
        let slot = self.slot;
        let change = |delta| Change::Delta(RemoteDelta { slot, delta });
        let batch = vouched_log(deltas).into_iter().map(change).collect();
        for verdict in self.bench.ledger().commit(batch).unwrap() {
            match verdict {
                Ok(_)
                | Err(
                    Refused::AppliedBefore { .. }
                    | Refused::NotNewer { .. }
                    | Refused::Pruned { .. },
                ) => {}
                Err(other) => panic!("{other}"),
            }
        }
        let newest = self.head().hlc.micros();
        self.bench.now = self.bench.now.max(newest);
    }

    fn head(&self) -> Head {
        head(&self.bench, self.slot)
    }

    fn seen(&self) -> Vec<(NodeId, Hlc)> {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        snapshot
            .applied(&snapshot.head(self.slot).unwrap())
            .unwrap()
    }

    fn hear(&self, member: NodeId, seen: Vec<(NodeId, Hlc)>, now: u64) -> Result<(), Refused> {
        let ack = Change::Acknowledge(Acknowledgement {
            context: id(1),
            member,
            seen,
            now: at(now),
        });
        let mut verdicts = self.bench.ledger().commit(vec![ack]).unwrap();
        verdicts.remove(0).map(drop)
    }

    fn collect(&self, retention: &Retention, now: u64) -> Vec<Collected> {
        collect(self.bench.ledger(), retention, at(now))
    }
}

#[test]
fn what_a_member_has_not_acknowledged_stays() {
    let mut nodes = Node::cluster(3);
    nodes[0].write(200);
    let log = nodes[0].log();
    nodes[1].receive(log.clone());
    nodes[2].receive(log[..100].to_vec());
    let steps = nodes[0].collect(&KEEP_NOTHING, 1);
    assert!(steps.iter().any(|step| step.held_up > 0));
    assert_eq!(nodes[0].head().log_count, 200);
    for member in [1, 2] {
        let (seen, member) = (nodes[member].seen(), nodes[member].id);
        nodes[0].hear(member, seen, 2).unwrap();
    }
    nodes[0].collect(&KEEP_NOTHING, 3);
    // The third has 100: with the span up to 64 goes none behind it, as none that follows
    // it is known to everybody.
    assert_eq!(nodes[0].head().log_count, 200);
    nodes[2].receive(log[100..150].to_vec());
    let (seen, member) = (nodes[2].seen(), nodes[2].id);
    nodes[0].hear(member, seen, 4).unwrap();
    nodes[0].collect(&KEEP_NOTHING, 5);
    assert_eq!(nodes[0].head().log_count, 200 - SPAN);
    nodes[0].bench.verify();
    // What is left is all that it needs.
    let rest = nodes[0].log();
    nodes[2].receive(rest);
    assert_eq!(nodes[2].head().root, nodes[0].head().root);
    // Those that went are known all the same.
    nodes[0].receive(log);
    assert_eq!(nodes[0].head().log_count, 200 - SPAN);
}

#[test]
fn a_member_that_is_away_is_not_waited_for_and_takes_a_snapshot() {
    for by_bytes in [false, true] {
        let mut nodes = Node::cluster(2);
        nodes[0].write(200);
        let start = nodes[1].seen();
        let away = nodes[1].id;
        let (retention, now) = match by_bytes {
            true => (
                Retention {
                    away_bytes_max: 10_000,
                    ..KEEP_NOTHING
                },
                10,
            ),
            false => (
                Retention {
                    away_max: Duration::from_micros(1 << 20),
                    ..KEEP_NOTHING
                },
                1 << 21,
            ),
        };
        let steps = nodes[0].collect(&retention, now);
        let told: Vec<_> = steps.iter().flat_map(|step| step.away.clone()).collect();
        assert_eq!(told, [(id(1), away)]);
        assert!(nodes[0].head().log_count <= 2 * SPAN);
        let snapshot = nodes[0].bench.ledger().snapshot().unwrap();
        let members = snapshot.members(nodes[0].slot).unwrap();
        drop(snapshot);
        assert!(members[0].is_away && members[0].seen.is_empty());
        nodes[0].bench.reopen();
        nodes[0].bench.verify();
        let refused = nodes[0].hear(away, start, now + 1);
        assert!(
            matches!(refused, Err(Refused::SnapshotNeeded { .. })),
            "{refused:?}"
        );
        // With a snapshot it has everything, and counts again.
        let everything = nodes[0].seen();
        nodes[0].hear(away, everything, now + 2).unwrap();
        nodes[0].write(200);
        let left = nodes[0].head().log_count;
        nodes[0].collect(&KEEP_NOTHING, now + 3);
        assert!(nodes[0].head().log_count > left - 2 * SPAN - 1);
        nodes[0].bench.verify();
    }
}

#[test]
fn acknowledgements_are_only_taken_from_members_and_of_what_is_here() {
    let mut nodes = Node::cluster(2);
    nodes[0].write(3);
    nodes[1].write(3);
    let (member, ahead) = (nodes[1].id, nodes[1].seen());
    let stranger = NodeId::from_bytes([9; 32]);
    let refused = nodes[0].hear(stranger, vec![], 1);
    assert!(
        matches!(refused, Err(Refused::NoMember { .. })),
        "{refused:?}"
    );
    let refused = nodes[0].hear(member, ahead, 1);
    assert!(
        matches!(refused, Err(Refused::AheadOfHere { .. })),
        "{refused:?}"
    );
    let others = nodes[0].seen();
    nodes[0].hear(member, others.clone(), 2).unwrap();
    // An older one takes nothing back.
    nodes[0].hear(member, vec![], 3).unwrap();
    let snapshot = nodes[0].bench.ledger().snapshot().unwrap();
    let members = snapshot.members(nodes[0].slot).unwrap();
    assert_eq!(members[0].seen, others);
    let many = (0..129).map(|n| NodeId::from_bytes([n; 32])).collect();
    let change = Change::SetMembers {
        context: id(1),
        members: many,
        now: at(1),
    };
    let verdict = nodes[0]
        .bench
        .ledger()
        .commit(vec![change])
        .unwrap()
        .remove(0);
    assert!(matches!(
        verdict,
        Err(Refused::OutOfBounds { max: 128, .. })
    ));
}

#[test]
fn without_members_a_shared_context_keeps_nothing_for_others() {
    let mut nodes = Node::cluster(2);
    nodes[0].write(300);
    let leave = Change::SetMembers {
        context: id(1),
        members: vec![],
        now: at(5),
    };
    nodes[0].bench.commit(vec![leave]);
    nodes[0].collect(&KEEP_NOTHING, 6);
    assert!(nodes[0].head().log_count <= 2 * SPAN);
    nodes[0].bench.verify();
    let snapshot = nodes[0].bench.ledger().snapshot().unwrap();
    assert_eq!(snapshot.members(nodes[0].slot).unwrap(), []);
}

/// Nodes write, send, acknowledge and prune all that they may, in random order: nobody ever
/// lacks what a delta follows, and in the end all have the same.
#[test]
fn whatever_is_pruned_nobody_needs_it_any_more() {
    for seed in 0..6_u64 {
        let mut random = seed;
        let mut below = |max: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % max
        };
        let mut nodes = Node::cluster(3);
        let mut heard: BTreeMap<(usize, usize), Vec<(NodeId, Hlc)>> = BTreeMap::new();
        let mut pruned = 0;
        for step in 0..400 {
            let (from, to) = (below(3) as usize, below(3) as usize);
            match below(5) {
                0 | 1 => nodes[from].write(below(40) as u32 + 1),
                2 if from != to => {
                    let log = nodes[from].log();
                    nodes[to].receive(log);
                    // It travels, and arrives behind other things.
                    heard.insert((from, to), nodes[from].seen());
                    heard.insert((to, from), nodes[to].seen());
                }
                3 => {
                    if let Some(seen) = heard.remove(&(from, to)) {
                        let member = nodes[from].id;
                        match nodes[to].hear(member, seen, step) {
                            Ok(()) | Err(Refused::AheadOfHere { .. }) => {}
                            Err(other) => panic!("seed {seed}: {other}"),
                        }
                    }
                }
                _ => {
                    let steps = nodes[from].collect(&KEEP_NOTHING, step);
                    pruned += steps.iter().map(|step| step.deltas).sum::<u64>();
                }
            }
        }
        for _ in 0..2 {
            for from in 0..3 {
                let log = nodes[from].log();
                for to in (0..3).filter(|to| *to != from) {
                    nodes[to].receive(log.clone());
                }
            }
        }
        for node in &nodes {
            assert_eq!(node.head().root, nodes[0].head().root, "seed {seed}");
            node.bench.verify();
        }
        assert!(pruned > 0, "seed {seed} has pruned nothing");
    }
}

/// The first delta that one node has was made beside all that the next marks are at.
#[test]
fn history_is_cut_although_the_next_marks_do_not_follow_it() {
    let mut nodes = Node::cluster(3);
    nodes[1].write(1);
    let lone = nodes[1].log();
    nodes[0].receive(lone);
    nodes[2].write(64 * 6);
    let log = nodes[2].log();
    nodes[0].receive(log);
    for _ in 0..3 {
        for from in 0..3 {
            let log = nodes[from].log();
            for to in (0..3).filter(|to| *to != from) {
                nodes[to].receive(log.clone());
            }
        }
        nodes[0].write(64 * 5);
        let log = nodes[0].log();
        for node in &mut nodes[1..] {
            node.receive(log.clone());
        }
        for member in [1, 2] {
            let (seen, id) = (nodes[member].seen(), nodes[member].id);
            nodes[0].hear(id, seen, 1 << 30).unwrap();
        }
        // The newest are not known to anybody yet, so no head of the context is of use.
        nodes[0].write(70);
        nodes[0].collect(&KEEP_NOTHING, 1 << 40);
        let left = nodes[0].head().log_count;
        assert!(left <= 70 + 3 * SPAN, "{left}");
        nodes[0].bench.verify();
    }
}

const DELTA: usize = 300 << 10;

/// What is read of a large delta between two looks at the clock.
const PIECE: u64 = 16 << 10;

/// Two nodes that have ten deltas, each of which is a span by itself.
fn with_large_deltas() -> Vec<Node> {
    let mut nodes = Node::cluster(2);
    for n in 0..10 {
        let node = &mut nodes[0];
        let mut effects = (node.bench).effects(1, node.slot, vec![set([n], vec![n; DELTA])]);
        effects.author = node.id;
        node.bench.commit(vec![Change::Call(effects)]);
    }
    let log = nodes[0].log();
    nodes[1].receive(log);
    let (seen, id) = (nodes[1].seen(), nodes[1].id);
    nodes[0].hear(id, seen, 1 << 30).unwrap();
    nodes
}

/// To look whether a span is followed, whole deltas are hashed: no more of them in one step than
/// it has bytes for, but for the first.
#[test]
fn a_step_that_looks_at_large_deltas_is_bounded() {
    let bounds = StepBounds {
        rows_max: 128,
        bytes_max: 64 << 10,
    };
    let nodes = with_large_deltas();
    let ledger = nodes[0].bench.ledger();
    let mut rounds = 0;
    while rounds < 2 {
        let step = ledger.collect(&KEEP_NOTHING, at(1 << 40), &bounds).unwrap();
        rounds += u32::from(step.is_round_over);
        // One that is looked at, and one that goes: each of them in a span of its own.
        assert!(step.bytes < 2 * DELTA as u64 + 10_000, "{step:?}");
    }
    let left = nodes[0].head().log_count;
    assert!(left <= 2, "{left}");
    nodes[0].bench.verify();
}

/// The clock is late whenever it is looked at: none reads a second piece, and what it has read the next step
/// knows.
#[test]
fn a_step_whose_time_is_over_reads_a_piece_of_a_large_delta_and_the_next_goes_on_with_it() {
    let bounds = StepBounds {
        rows_max: u64::MAX,
        bytes_max: u64::MAX,
    };
    let nodes = with_large_deltas();
    let ledger = nodes[0].bench.ledger().clone();
    let mut writer = ledger.writer();
    let (mut steps, mut read, mut deltas) = (0, 0, 0);
    while deltas < 8 {
        let budget = bounds.until(&|| true);
        let step = writer.collect(&KEEP_NOTHING, at(1 << 40), budget, Reach::All);
        let step = step.unwrap();
        assert!(step.bytes <= PIECE, "{step:?}");
        steps += 1;
        read += step.bytes;
        deltas += step.deltas;
        assert!(steps < 1_000, "it does not get on");
    }
    assert!(
        read < 11 * (DELTA as u64 + 2 * PIECE),
        "{read} bytes, some of them twice"
    );
    writer.checkpoint().unwrap();
    drop(writer);
    nodes[0].bench.verify();
}

/// It is found where the last piece has been read, and nothing goes that depends on it.
#[test]
fn damage_at_the_end_of_a_large_delta_is_told_by_the_step_that_comes_to_it() {
    let nodes = with_large_deltas();
    flip(&nodes[0].bench, &[0; 64], 60);
    let ledger = nodes[0].bench.ledger().clone();
    let mut writer = ledger.writer();
    let bounds = StepBounds::rows(usize::MAX);
    let mut damaged = Vec::new();
    for _ in 0..400 {
        let budget = bounds.until(&|| true);
        let step = writer.collect(&KEEP_NOTHING, at(1 << 40), budget, Reach::All);
        let step = step.unwrap();
        assert_eq!(step.deltas, 0, "{step:?}");
        damaged.extend(step.damaged);
    }
    let (slot, error) = damaged.first().expect("damage");
    assert_eq!(*slot, nodes[0].slot);
    assert!(error.to_string().contains("checksum"), "{error}");
}

/// A member says that it has everything, and what it makes never follows what others have made:
/// it is waited for up to a bound.
#[test]
fn what_nothing_follows_is_kept_up_to_a_bound() {
    let mut nodes = Node::cluster(3);
    nodes[1].write(1);
    let lone = nodes[1].log();
    nodes[0].receive(lone.clone());
    let dear = Retention {
        away_bytes_max: 100_000,
        ..KEEP_NOTHING
    };
    for round in 0..3 {
        let before = nodes[2].log().len();
        nodes[2].write(64 * 5);
        let log = nodes[2].log()[before..].to_vec();
        nodes[0].receive(log);
        for member in [1, 2] {
            let (everything, id) = (nodes[0].seen(), nodes[member].id);
            nodes[0].hear(id, everything, 1 << 30).unwrap();
        }
        nodes[0].collect(&KEEP_NOTHING, 1 << 40);
        let kept = nodes[0].head().log_count;
        assert_eq!(kept, 1 + 320 * (round + 1), "it is cheap still");
        if round == 2 {
            let steps = nodes[0].collect(&dear, 1 << 40);
            let away: usize = steps.iter().map(|step| step.away.len()).sum();
            assert_eq!(away, 2);
        }
    }
    let left = nodes[0].head().log_count;
    assert!(left <= 2 * SPAN, "{left}");
    nodes[0].bench.verify();
    // Both have all there is, as far as they say, and what is a head here can be followed.
    for member in [1, 2] {
        let (everything, id) = (nodes[0].seen(), nodes[member].id);
        nodes[0].hear(id, everything, 1 << 30).unwrap();
    }
    nodes[1].write(1);
    let next = nodes[1].log()[1..].to_vec();
    nodes[0].receive(next);
    assert_eq!(nodes[0].seen().len(), 2);
    assert_eq!(
        nodes[0].head().hlc,
        nodes[0].head().hlc.max(nodes[1].head().hlc)
    );
    nodes[0].bench.verify();
}

/// A member writes next to nothing, again and again, to a key with a large value that it does
/// not want to know of. What these deltas cost is what they bring and have replaced, and not what
/// has survived them: so the others are waited for as long as ever.
#[test]
fn small_deltas_beside_a_large_value_put_nobody_away() {
    const SMALL: u64 = 40;
    /// What befores of one of them may come to.
    const BEFORES_BYTES: u64 = 256;
    let key = Bytes::from_static(b"key");
    let large = Bytes::from(vec![7; 1 << 20]);
    let small = Bytes::from_static(b"small");
    let writes = [Write::Add(1), Write::Insert, Write::Set(small.clone())];
    let edits = [EntryKind::List, EntryKind::Text].map(|kind| Write::Edit {
        kind,
        births: Births::default(),
        update: small.clone(),
    });
    for write in writes.into_iter().chain(edits) {
        for large in [Write::Set(large.clone()), Write::WriteOnce(large.clone())] {
            let mut nodes = Node::cluster(3);
            nodes[0].call(Op::shared(key.clone(), large));
            for _ in 0..SMALL {
                let mut write = write.clone();
                if let Write::Edit { kind, births, .. } = &mut write {
                    let snapshot = nodes[2].bench.ledger().snapshot().unwrap();
                    let found = snapshot.sequence(nodes[2].slot, Space::Shared, &key, *kind);
                    *births = found.unwrap().map(|it| it.births).unwrap_or_default();
                }
                nodes[2].call(Op::shared(key.clone(), write));
            }
            let hostile = nodes[2].log();
            nodes[0].receive(hostile);
            let log = nodes[0].log();
            assert_eq!(log.len() as u64, 1 + SMALL);
            let brought: u64 = log.iter().map(|delta| delta.len() as u64).sum();
            let retention = Retention {
                away_bytes_max: brought + SMALL * BEFORES_BYTES,
                ..KEEP_NOTHING
            };
            let steps = nodes[0].collect(&retention, 10);
            assert!(steps.iter().any(|step| step.held_up > 0), "{write:?}");
            let away: usize = steps.iter().map(|step| step.away.len()).sum();
            assert_eq!(
                (away, nodes[0].head().log_count),
                (0, 1 + SMALL),
                "{write:?}"
            );
            // Each of them has the state that it had, without what was beside it.
            let snapshot = nodes[0].bench.ledger().snapshot().unwrap();
            for delta in &log {
                let delta = DeltaView::parse(delta).unwrap();
                let state = snapshot.at(nodes[0].slot, &delta.id()).unwrap();
                assert_eq!(state.root(), delta.root(), "{write:?}");
            }
            drop(snapshot);
            nodes[0].bench.verify();
            nodes[1].receive(log);
            assert_eq!(nodes[1].head().root, nodes[0].head().root);
        }
    }
}

#[test]
fn a_member_of_a_context_that_was_pruned_before_it_had_members_takes_a_snapshot() {
    for is_shared_first in [false, true] {
        let mut bench = Bench::new();
        let slot = bench.create(1);
        tell(&mut bench, 1, slot, 300, b"x");
        collect(bench.ledger(), &KEEP_NOTHING, at(bench.now));
        assert!(head(&bench, slot).log_pruned > 0);
        if is_shared_first {
            bench.commit(vec![Change::ShareContext(id(1))]);
            while bench.ledger().sweep(100).unwrap().is_more {}
        }
        let member = Key::new(50).node_id();
        bench.commit(vec![Change::SetMembers {
            context: id(1),
            members: vec![member],
            now: at(1),
        }]);
        let hear = |stamp: u64| {
            let author = NodeId::from_bytes([0xaa; 32]);
            let seen = match stamp {
                0 => vec![],
                stamp => vec![(author, at(stamp))],
            };
            let ack = Change::Acknowledge(Acknowledgement {
                context: id(1),
                member,
                seen,
                now: at(2),
            });
            bench.ledger().commit(vec![ack]).unwrap().remove(0)
        };
        let kept = head(&bench, slot).log_count;
        let oldest = bench.now - kept + 1;
        for stamp in [0, oldest - 2] {
            let verdict = hear(stamp);
            assert!(
                matches!(verdict, Err(Refused::SnapshotNeeded { .. })),
                "{verdict:?}"
            );
        }
        hear(oldest).unwrap();
        bench.verify();
    }
}

/// What that costs is in `store/decisions/0012-what-is-kept.md`.
#[test]
fn what_was_pruned_on_a_false_word_is_refused_as_what_it_is() {
    let mut nodes = Node::cluster(3);
    nodes[0].write(300);
    let log = nodes[0].log();
    nodes[1].receive(log.clone());
    nodes[2].receive(log[..50].to_vec());
    let everything = nodes[0].seen();
    let (honest, liar) = (nodes[1].id, nodes[2].id);
    nodes[0].hear(honest, everything.clone(), 2).unwrap();
    nodes[0].hear(liar, everything, 2).unwrap();
    nodes[0].collect(&KEEP_NOTHING, 3);
    assert!(nodes[0].head().log_count < 300);
    let commit = |node: &Node, log: Vec<Bytes>| {
        let slot = node.slot;
        let change = |delta| Change::Delta(RemoteDelta { slot, delta });
        let batch = vouched_log(log).into_iter().map(change).collect();
        node.bench.ledger().commit(batch).unwrap()
    };
    let verdicts = commit(&nodes[0], log[..60].to_vec());
    for verdict in verdicts {
        assert!(
            matches!(verdict, Err(Refused::Pruned { context, .. }) if context == id(1)),
            "{verdict:?}"
        );
    }
    nodes[2].write(1);
    let follows = nodes[2].log()[50..].to_vec();
    let verdict = commit(&nodes[0], follows).remove(0);
    assert!(
        matches!(verdict, Err(Refused::ParentsMissing { .. })),
        "{verdict:?}"
    );
}
