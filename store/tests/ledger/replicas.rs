//! The same context on several ledgers: random calls of every kind on each, deltas that
//! travel late, twice and in any order, restarts in between. Whoever has the same deltas
//! has the same root, and all read the same.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{
    Births, CallEffects, Change, ContextSlot, DeltaView, EntryKind, EntryValue, Event, Hlc, NodeId,
    Op, Refused, RemoteDelta, Root, Scan, Space, Write, verify,
};
use proptest::prelude::*;

use crate::{Bench, id};

const CONTEXT: u8 = 1;
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Deed {
    Set(u8),
    Add(i8),
    Insert,
    WriteOnce(u8),
    Edit(EntryKind),
    Remove,
}

#[derive(Clone, Debug)]
enum Step {
    /// A call on one replica; a number tells the space of each key.
    Call {
        on: usize,
        writes: Vec<(usize, u8, bool, Deed)>,
        events: u8,
    },
    /// One replica gets so many of another's deltas, behind those that it got before
    /// or, if it `skips`, one later, and some twice.
    Send {
        from: usize,
        to: usize,
        count: usize,
        skips: bool,
    },
    Restart(usize),
}

struct Replica {
    bench: Bench,
    slot: ContextSlot,
    author: NodeId,
    now: u64,
    /// What it has sent to whom.
    sent: BTreeMap<usize, usize>,
}

impl Replica {
    fn new(number: usize) -> Replica {
        let mut bench = Bench::new();
        // Numbers of authors are each ledger's own.
        for other in 0..number {
            let mut call = bench.effects(9, ContextSlot::UNASSIGNED, vec![]);
            call.author = author(other + 40);
            let n = 20 + other as u8;
            let create = bench.new_context(n);
            let slot = bench.commit(vec![create]).remove(0).slot();
            let mut call = bench.effects(n, slot, vec![Op::set("x".into(), "y".into())]);
            call.author = author(other + 40);
            bench.commit(vec![Change::Call(call)]);
        }
        let slot = bench.create(CONTEXT);
        bench.commit(vec![Change::ShareContext(id(CONTEXT))]);
        Replica {
            bench,
            slot,
            author: author(number),
            now: 0,
            sent: BTreeMap::new(),
        }
    }

    fn ops(&self, writes: &[(usize, u8, bool, Deed)]) -> Vec<Op> {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        let mut ops = BTreeMap::new();
        for (key, space, removes_first, deed) in writes {
            let space = match space % 4 {
                0 => Space::Owned,
                1 => Space::Private,
                _ => Space::Shared,
            };
            let key = match space {
                Space::Owned => [&self.author.as_bytes()[..], KEYS[*key].as_bytes()].concat(),
                _ => KEYS[*key].into(),
            };
            let births = |kind| {
                let found = snapshot.sequence(self.slot, space, &key, kind).unwrap();
                found.map(|facts| facts.births).unwrap_or_default()
            };
            let write = match deed {
                Deed::Set(value) => Write::Set(Bytes::from(vec![*value; 3])),
                Deed::Add(amount) => Write::Add((*amount).into()),
                Deed::Insert => Write::Insert,
                Deed::WriteOnce(value) => Write::WriteOnce(Bytes::from(vec![*value])),
                Deed::Edit(kind) => Write::Edit {
                    kind: *kind,
                    births: match removes_first {
                        true => Births::default(),
                        false => births(*kind),
                    },
                    update: Bytes::from(format!("{} {}", self.author, self.now)),
                },
                Deed::Remove => Write::Remove,
            };
            let write = match (space, write) {
                (Space::Private, Write::Set(value)) => Write::Set(value),
                (Space::Private, _) => Write::Remove,
                (_, write) => write,
            };
            let op = Op {
                space,
                key: Bytes::from(key),
                removes_first: *removes_first && write != Write::Remove,
                write,
            };
            ops.insert((op.space, op.key.clone()), op);
        }
        ops.into_values().collect()
    }

    /// The call may be refused, as kinds need not fit.
    fn call(&mut self, writes: &[(usize, u8, bool, Deed)], events: u8) {
        self.now += 1;
        let call = CallEffects {
            context: id(CONTEXT),
            slot: self.slot,
            author: self.author,
            hlc: Hlc::from_bits(self.now << 12),
            ops: self.ops(writes),
            events: (0..events)
                .map(|n| Event {
                    kind: "said".to_owned(),
                    payload: Bytes::from(vec![n]),
                })
                .collect(),
            logs: vec![],
        };
        let outcome = self
            .bench
            .ledger()
            .commit(vec![Change::Call(call)])
            .unwrap();
        match &outcome[0] {
            Ok(_) | Err(Refused::KindMismatch { .. } | Refused::RemovedWriteOnce) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// Its deltas, in the order in which it has applied them.
    fn deltas(&self) -> Vec<Bytes> {
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

    /// Applies what can be applied; the rest is told.
    fn receive(&mut self, deltas: &[Bytes], journaled: bool) -> Vec<Bytes> {
        let change = |canonical: &Bytes| {
            Change::Delta(RemoteDelta {
                slot: self.slot,
                canonical: canonical.clone(),
            })
        };
        let batch: Vec<Change> = deltas.iter().map(change).collect();
        let verdicts = match journaled {
            true => self.bench.ledger().writer().commit(batch).unwrap().verdicts,
            false => self.bench.ledger().commit(batch).unwrap(),
        };
        let mut missing = Vec::new();
        for (canonical, verdict) in deltas.iter().zip(verdicts) {
            let stamp = DeltaView::parse(canonical).unwrap().hlc();
            match verdict {
                Ok(_) => self.now = self.now.max(stamp.bits() >> 12),
                Err(Refused::ParentsMissing { .. }) => missing.push(canonical.clone()),
                Err(Refused::AppliedBefore { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        missing
    }

    fn root(&self) -> Root {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        snapshot.head(self.slot).unwrap().root
    }

    /// Everything that other nodes have as well, as it is read.
    fn content(&self) -> Vec<String> {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        let mut content = Vec::new();
        for space in [Space::Shared, Space::Owned] {
            let scan = Scan {
                space,
                limit: usize::MAX,
                ..Scan::default()
            };
            snapshot
                .scan(self.slot, scan, &mut |entry| {
                    let value = entry.value()?;
                    let mut line = format!("{space:?} {:?} {value:?}", entry.key());
                    // Those of one stamp come in each ledger's own order.
                    let mut edits = Vec::new();
                    if let EntryValue::List | EntryValue::Text = value {
                        let kind = value.kind();
                        snapshot.edits(self.slot, space, entry.key(), kind, &mut |edit| {
                            edits.push((edit.hlc, edit.author, edit.update.to_vec()));
                            ControlFlow::Continue(())
                        })?;
                    }
                    edits.sort();
                    line += &format!(" {edits:?}");
                    content.push(line);
                    Ok(ControlFlow::Continue(()))
                })
                .unwrap();
        }
        content
    }
}

fn author(number: usize) -> NodeId {
    NodeId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => any::<u8>().prop_map(Deed::Set),
        3 => any::<i8>().prop_map(Deed::Add),
        2 => Just(Deed::Insert),
        1 => any::<u8>().prop_map(Deed::WriteOnce),
        2 => Just(Deed::Edit(EntryKind::List)),
        2 => Just(Deed::Edit(EntryKind::Text)),
        3 => Just(Deed::Remove),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let write = (
        0..KEYS.len(),
        any::<u8>(),
        prop::bool::weighted(0.2),
        deed(),
    );
    prop_oneof![
        6 => (0..4_usize, prop::collection::vec(write, 0..4), 0..2_u8)
            .prop_map(|(on, writes, events)| Step::Call { on, writes, events }),
        5 => (0..4_usize, 0..4_usize, 1..6_usize, prop::bool::weighted(0.2))
            .prop_map(|(from, to, count, skips)| Step::Send { from, to, count, skips }),
        1 => (0..4_usize).prop_map(Step::Restart),
    ]
}

fn check(count: usize, steps: &[Step]) {
    let mut replicas: Vec<Replica> = (0..count).map(Replica::new).collect();
    for step in steps {
        match step {
            Step::Call { on, writes, events } => replicas[on % count].call(writes, *events),
            Step::Send {
                from,
                to,
                count: some,
                skips,
            } => {
                let (from, to) = (from % count, to % count);
                let deltas = replicas[from].deltas();
                let sent = replicas[from].sent.get(&to).copied().unwrap_or(0);
                let first = (sent.saturating_sub(1) + 2 * usize::from(*skips)).min(deltas.len());
                let last = (first + some).min(deltas.len());
                let missing = replicas[to].receive(&deltas[first..last], some % 2 == 0);
                if missing.is_empty() && !skips {
                    replicas[from].sent.insert(to, last);
                }
            }
            Step::Restart(on) => replicas[on % count].bench.reopen(),
        }
    }
    // Now all get all, each in another order.
    let all: Vec<Vec<Bytes>> = replicas.iter().map(Replica::deltas).collect();
    for (to, replica) in replicas.iter_mut().enumerate() {
        let mut left: Vec<Bytes> = (0..count)
            .flat_map(|n| all[(n + to) % count].clone())
            .collect();
        while !left.is_empty() {
            let before = left.len();
            left = replica.receive(&left, to % 2 == 0);
            assert!(
                left.len() < before,
                "some deltas lack their parents for ever"
            );
        }
        if to % 2 == 0 {
            replica.bench.reopen();
        }
    }
    for replica in &replicas {
        assert_eq!(replica.root(), replicas[0].root());
        assert_eq!(replica.content(), replicas[0].content());
        verify(&replica.bench.ledger().snapshot().unwrap()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn replicas_with_the_same_deltas_are_the_same(
        count in 2..=4_usize,
        steps in prop::collection::vec(step(), 1..30),
    ) {
        check(count, &steps);
    }
}

/// Two deltas of one author that do not know of each other.
#[test]
fn an_author_who_forks_is_found_out() {
    let (mut one, mut other, mut third) = (Replica::new(0), Replica::new(1), Replica::new(2));
    other.author = one.author;
    one.call(&[(0, 2, false, Deed::Set(1))], 0);
    other.now = 5;
    other.call(&[(0, 2, false, Deed::Set(2))], 0);
    assert!(third.receive(&one.deltas(), false).is_empty());
    let canonical = other.deltas().remove(0);
    let change = Change::Delta(RemoteDelta {
        slot: third.slot,
        canonical,
    });
    let verdict = third.bench.ledger().commit(vec![change]).unwrap().remove(0);
    assert!(
        matches!(verdict, Err(Refused::Forked { .. })),
        "{verdict:?}"
    );
    assert_eq!(third.root(), one.root());
}

/// A delta that follows everything, from a node with another state.
#[test]
fn a_delta_that_leads_to_another_root_is_refused() {
    let (mut one, mut other) = (Replica::new(0), Replica::new(1));
    one.call(&[(0, 2, false, Deed::Set(1))], 0);
    let mut canonical = one.deltas().remove(0).to_vec();
    let last = canonical.len() - 1;
    canonical[last] ^= 1;
    let change = Change::Delta(RemoteDelta {
        slot: other.slot,
        canonical: Bytes::from(canonical),
    });
    let verdict = other.bench.ledger().commit(vec![change]).unwrap().remove(0);
    assert!(
        matches!(verdict, Err(Refused::Diverged { .. })),
        "{verdict:?}"
    );
    assert!(other.receive(&one.deltas(), false).is_empty());
    other.call(&[(1, 2, false, Deed::Add(1))], 1);
    assert_eq!(other.content().len(), 2);
}
