//! The same context on several ledgers: random calls of every kind on each, deltas that
//! travel late, twice and in any order, restarts in between, and a liar with a key whose deltas
//! say anything. Whoever has the same deltas has the same root, and all read the same; what
//! one refuses for good, all refuse.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{
    Birth, Births, CallEffects, Change, ContextSlot, DeltaId, DeltaView, EntryKind, EntryValue,
    Event, Hlc, NodeId, Op, PendingBounds, PendingDeltas, Refused, RemoteDelta, Root, Scan, Sealer,
    Space, VouchedDelta, Write, verify,
};
use proptest::prelude::*;

use crate::signed::{Key, Lie, LiedWrite, forge, seals, vouched};
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
    /// The liar tells one replica something: behind these of its deltas, perhaps not behind
    /// its own last one, with a stamp that is so much later than theirs.
    Lie {
        to: usize,
        parents: Vec<prop::sample::Index>,
        forks: bool,
        later: u64,
        writes: Vec<(usize, u8, bool, Deed)>,
        root: u8,
    },
}

/// Has a key, and no ledger.
struct Liar {
    last: Option<Bytes>,
    /// What replicas have refused.
    refused: Vec<Bytes>,
}

/// The number of the liar's key.
const LIAR: usize = 49;

/// The key of a block of a stable memory.
fn block(number: usize) -> Vec<u8> {
    (number as u32).to_be_bytes().to_vec()
}

struct Replica {
    bench: Bench,
    slot: ContextSlot,
    author: NodeId,
    now: u64,
    /// What it has sent to whom.
    sent: BTreeMap<usize, usize>,
    /// What it cannot apply yet.
    pending: PendingDeltas,
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
            pending: nothing_pending(),
        }
    }

    fn restart(&mut self) {
        self.bench.reopen();
        self.pending = nothing_pending();
        // Whoever sends counts on what it has sent.
    }

    fn ops(&self, writes: &[(usize, u8, bool, Deed)]) -> Vec<Op> {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        let mut ops = BTreeMap::new();
        for (key, space, removes_first, deed) in writes {
            let space = match space % 5 {
                0 => Space::Owned,
                1 => Space::Private,
                2 => Space::Stable,
                _ => Space::Shared,
            };
            let key = match space {
                Space::Owned => [&self.author.as_bytes()[..], KEYS[*key].as_bytes()].concat(),
                Space::Stable => block(*key),
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
                (Space::Private | Space::Stable, Write::Set(value)) => Write::Set(value),
                (Space::Private | Space::Stable, _) => Write::Remove,
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
            slot: self.slot,
            read: Some(
                self.bench
                    .ledger()
                    .snapshot()
                    .unwrap()
                    .seen(self.slot)
                    .unwrap(),
            ),
            ops: self.ops(writes),
            events: (0..events)
                .map(|n| Event {
                    kind: "said".to_owned(),
                    payload: Bytes::from(vec![n]),
                })
                .collect(),
            ..CallEffects::new(id(CONTEXT), self.author, Hlc::from_bits(self.now << 12))
        };
        let outcome = self
            .bench
            .ledger()
            .commit(vec![Change::Call(call)])
            .unwrap();
        match &outcome[0] {
            Ok(_) | Err(Refused::KindMismatch { .. } | Refused::RemovedWriteOnce) => {}
            // The snapshot did not show what the journal has. Now it does.
            Err(Refused::Overtaken { .. }) => self.call(writes, events),
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

    /// Takes the deltas in, with the seals of their authors, and applies what can be applied.
    fn receive(&mut self, deltas: &[Bytes], journaled: bool) {
        for sealed in seals(deltas) {
            self.pending.seal(sealed, 0);
        }
        for canonical in deltas {
            self.pending.receive(canonical.clone(), 0).unwrap();
        }
        loop {
            let ready = self.pending.take_ready(4);
            if ready.is_empty() {
                break;
            }
            let kept = ready.iter().filter_map(VouchedDelta::sealed);
            let kept: Vec<Change> = kept.cloned().map(Change::KeepSeal).collect();
            let change = |delta: &VouchedDelta| {
                Change::Delta(RemoteDelta {
                    slot: self.slot,
                    delta: delta.clone(),
                })
            };
            let batch = ready.iter().map(change).chain(kept).collect();
            let verdicts = match journaled {
                true => self.bench.ledger().writer().commit(batch).unwrap().verdicts,
                false => self.bench.ledger().commit(batch).unwrap(),
            };
            let mut verdicts = verdicts.into_iter();
            for (delta, verdict) in ready.iter().zip(&mut verdicts) {
                let stamp = DeltaView::parse(delta.canonical()).unwrap().hlc();
                match verdict {
                    Ok(_) => {
                        self.now = self.now.max(stamp.bits() >> 12);
                        self.pending.applied(&delta.id());
                    }
                    Err(Refused::AppliedBefore { .. }) => self.pending.applied(&delta.id()),
                    Err(Refused::ParentsMissing { missing, .. }) => {
                        self.pending.waits(&delta.id(), &missing);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            for verdict in verdicts {
                assert!(
                    matches!(verdict, Ok(_) | Err(Refused::SealOfUnknown { .. })),
                    "{verdict:?}"
                );
            }
        }
    }

    fn commit_one(&mut self, canonical: &Bytes) -> Result<(), Refused> {
        let change = Change::Delta(RemoteDelta {
            slot: self.slot,
            delta: vouched(canonical),
        });
        let mut verdicts = self.bench.ledger().commit(vec![change]).unwrap();
        let committed = verdicts.remove(0)?;
        self.now = self.now.max(committed.hlc().bits() >> 12);
        Ok(())
    }

    fn root(&self) -> Root {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        snapshot.head(self.slot).unwrap().root
    }

    /// Everything that other nodes have as well, as it is read.
    fn content(&self) -> Vec<String> {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        let mut content = Vec::new();
        for space in [Space::Shared, Space::Owned, Space::Stable] {
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
    Key::new(number).node_id()
}

fn nothing_pending() -> PendingDeltas {
    PendingDeltas::new(id(CONTEXT), PendingBounds::default())
}

impl Liar {
    /// Makes up a delta, and gives it to a replica. What that takes, all have to take.
    fn lie(
        &mut self,
        to: &mut Replica,
        parents: &[prop::sample::Index],
        forks: bool,
        later: u64,
        writes: &[(usize, u8, bool, Deed)],
        root: u8,
    ) {
        let known = to.deltas();
        let mut behind: Vec<&Bytes> = Vec::new();
        if !known.is_empty() {
            behind.extend(parents.iter().map(|parent| parent.get(&known)));
        }
        if let Some(last) = self
            .last
            .as_ref()
            .filter(|last| !forks && known.contains(last))
        {
            behind.push(last);
        }
        let parse = |canonical: &Bytes| {
            let delta = DeltaView::parse(canonical).unwrap();
            (delta.id(), delta.author(), delta.hlc())
        };
        let behind: Vec<(DeltaId, NodeId, Hlc)> = behind.into_iter().map(parse).collect();
        let stamp = behind.iter().map(|parent| parent.2.bits() >> 12).max();
        let stamp = stamp.unwrap_or(0) + later;
        let births: Vec<Birth> = known
            .iter()
            .map(parse)
            .map(|(_, author, hlc)| Birth { author, hlc })
            .collect();
        let own = author(LIAR);
        let mut lies = BTreeMap::new();
        for (key, any, removes_first, deed) in writes {
            let space = match any % 5 {
                0 | 2 => Space::Owned,
                4 => Space::Stable,
                _ => Space::Shared,
            };
            let key = match space {
                Space::Owned => [&own.as_bytes()[..], KEYS[*key].as_bytes()].concat(),
                Space::Stable => block(*key),
                _ => KEYS[*key].into(),
            };
            let write = match deed {
                Deed::Set(value) => LiedWrite::Set(vec![*value]),
                _ if space == Space::Stable => LiedWrite::Remove,
                Deed::Add(amount) => LiedWrite::Add {
                    amount: i64::from(*amount) << 50,
                    is_new_cell: any % 4 < 2,
                },
                Deed::Insert => LiedWrite::Insert,
                Deed::WriteOnce(value) => LiedWrite::WriteOnce(vec![*value]),
                Deed::Edit(kind) => {
                    let named = births.get(usize::from(any / 8)).copied();
                    LiedWrite::Edit {
                        is_list: *kind == EntryKind::List,
                        births: named.into_iter().collect(),
                        seen: vec![],
                        update: vec![*any],
                    }
                }
                Deed::Remove => LiedWrite::Remove,
            };
            // As spaces are ordered.
            let number = space as u8;
            let lie = Lie {
                space,
                key: key.clone(),
                removes_first: *removes_first,
                write,
            };
            lies.insert((number, key), lie);
        }
        let ids: Vec<DeltaId> = behind.iter().map(|parent| parent.0).collect();
        let hlc = stamp.max(1) << 12;
        let canonical = forge(id(CONTEXT), own, hlc, &ids, &lies, [root; 32]);
        match to.commit_one(&canonical) {
            Ok(()) => self.last = Some(canonical),
            Err(refused) => {
                assert!(is_for_good(&refused), "{refused}");
                self.refused.push(canonical);
            }
        }
    }
}

/// Whether a delta that has been refused so is refused by everybody who has what it follows.
fn is_for_good(refused: &Refused) -> bool {
    matches!(
        refused,
        Refused::RedundantParent { .. }
            | Refused::StaleHlc { .. }
            | Refused::Forked { .. }
            | Refused::NotNewer { .. }
            | Refused::AppliedBefore { .. }
    )
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
        3 => lie(),
    ]
}

fn lie() -> impl Strategy<Value = Step> {
    let write = (
        0..KEYS.len(),
        any::<u8>(),
        prop::bool::weighted(0.2),
        deed(),
    );
    (
        0..4_usize,
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        prop::bool::weighted(0.1),
        0..3_u64,
        prop::collection::vec(write, 0..4),
        any::<u8>(),
    )
        .prop_map(|(to, parents, forks, later, writes, root)| Step::Lie {
            to,
            parents,
            forks,
            later,
            writes,
            root,
        })
}

fn check(count: usize, steps: &[Step]) {
    let mut replicas: Vec<Replica> = (0..count).map(Replica::new).collect();
    let mut liar = Liar {
        last: None,
        refused: Vec::new(),
    };
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
                replicas[to].receive(&deltas[first..last], some % 2 == 0);
                if replicas[to].pending.is_empty() && !skips {
                    replicas[from].sent.insert(to, last);
                }
            }
            Step::Restart(on) => replicas[on % count].restart(),
            Step::Lie {
                to,
                parents,
                forks,
                later,
                writes,
                root,
            } => {
                // Who has not heard of its last one would take another beside it.
                let to = &mut replicas[to % count];
                let last = liar.last.clone();
                if last.is_none_or(|last| to.deltas().contains(&last)) {
                    liar.lie(to, parents, *forks, *later, writes, *root);
                }
            }
        }
    }
    // Now all get all, each in another order.
    let all: Vec<Vec<Bytes>> = replicas.iter().map(Replica::deltas).collect();
    for (to, replica) in replicas.iter_mut().enumerate() {
        let everything: Vec<Bytes> = (0..count)
            .flat_map(|n| all[(n + to) % count].clone())
            .collect();
        replica.receive(&everything, to % 2 == 0);
        assert!(
            replica.pending.is_empty(),
            "some deltas lack their parents or seals for ever: {:?}",
            replica.pending
        );
        if to % 2 == 0 {
            replica.restart();
        }
        for canonical in &liar.refused {
            let refused = replica
                .commit_one(canonical)
                .expect_err("another has refused it");
            assert!(is_for_good(&refused), "{refused}");
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
