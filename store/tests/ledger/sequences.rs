//! Lists and texts through ledgers: what the stored edits make is the same on every
//! ledger that has the same deltas, whoever lies and whatever is removed.

use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{
    Allowance, Births, CallEffects, Change, Content, ContextSlot, DeltaView, EntryKind, Hlc,
    NodeId, Op, Refused, RemoteDelta, Root, Sealer, Sequence, SequenceKind, SequenceName, Space,
    Write, replay,
};
use proptest::prelude::*;

use crate::retention::{KEEP_ALL, collect};
use crate::signed::{Key, vouched};
use crate::{Bench, id};

const CONTEXT: u8 = 1;
const KEY: &[u8] = b"text";

#[derive(Clone, Debug)]
enum Step {
    /// An edit at a place, by a fraction of the length; what it deletes and inserts.
    Edit {
        on: usize,
        at: u8,
        delete: u8,
        insert: String,
    },
    /// An edit whose bytes are changed before they are committed.
    Lie {
        on: usize,
        at: u8,
        how: u8,
        changed: u8,
        births: bool,
    },
    Remove(usize),
    /// A birth, although there may be one.
    Begin(usize),
    Send {
        from: usize,
        to: usize,
        count: usize,
    },
    /// What it makes is saved, to be gone on from.
    Save(usize),
    /// Its edits are put into packs.
    Pack(usize),
    /// What a removal has left goes.
    Sweep(usize),
    Restart(usize),
}

struct Replica {
    bench: Bench,
    slot: ContextSlot,
    author: NodeId,
    now: u64,
}

/// A text that was made of its edits.
struct Made {
    sequence: Sequence,
    births: Births,
    voided: usize,
}

impl Replica {
    fn new(number: usize) -> Replica {
        let mut bench = Bench::new();
        let slot = bench.create(CONTEXT);
        bench.commit(vec![Change::ShareContext(id(CONTEXT))]);
        Replica {
            bench,
            slot,
            author: Key::new(number).node_id(),
            now: 0,
        }
    }

    fn name(&self) -> SequenceName {
        SequenceName {
            slot: self.slot,
            space: Space::Shared,
            key: Bytes::from_static(KEY),
            kind: EntryKind::Text,
        }
    }

    /// The text, made anew of all its edits.
    fn read(&self) -> Option<Made> {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        let kind = EntryKind::Text;
        let facts = snapshot.sequence(self.slot, Space::Shared, KEY, kind);
        let mut made = Made {
            births: facts.unwrap()?.births,
            ..empty_text(self.author)
        };
        snapshot
            .edits(self.slot, Space::Shared, KEY, kind, &mut |edit| {
                made.voided += usize::from(!replay(&mut made.sequence, &edit));
                ControlFlow::Continue(())
            })
            .unwrap();
        Some(made)
    }

    fn live(&self) -> Made {
        // While nothing is there, an edit is a birth.
        self.read().unwrap_or_else(|| empty_text(self.author))
    }

    /// Keeps it as a whole, to be gone on from.
    fn save(&self) {
        let ledger = self.bench.ledger();
        let saved = ledger.snapshot().unwrap().save_sequence(&self.name());
        if let Some(saved) = saved.unwrap() {
            ledger.writer().keep_saved(&self.name(), &saved).unwrap();
        }
    }

    /// Puts edits together until there is nothing more to put together.
    fn pack(&self) {
        while {
            self.bench.ledger().writer().look_for_packs();
            let steps = collect(self.bench.ledger(), &KEEP_ALL, Hlc::ZERO);
            steps.iter().any(|step| step.edits_packed > 0)
        } {}
    }

    fn commit(&mut self, write: Write) {
        self.now += 1;
        let op = Op::shared(Bytes::from_static(KEY), write);
        let call = CallEffects {
            slot: self.slot,
            ops: vec![op],
            ..CallEffects::new(id(CONTEXT), self.author, Hlc::from_bits(self.now << 12))
        };
        self.bench.commit(vec![Change::Call(call)]);
    }

    fn edit(&self, at: u8, delete: u8, insert: &str) -> Option<(Births, Vec<u8>)> {
        let live = self.live();
        let mut sequence = live.sequence;
        let at = usize::from(at) * (sequence.len() + 1) / 256;
        let delete = usize::from(delete).min(sequence.len() - at);
        sequence.delete(at, delete).unwrap();
        sequence.insert(at, Content::Text(insert.into())).unwrap();
        let stamp = Hlc::from_bits((self.now + 1) << 12);
        let update = sequence.take_update(stamp).unwrap()?;
        Some((live.births, update))
    }

    fn write(&mut self, births: Births, update: Vec<u8>) {
        self.commit(Write::Edit {
            kind: EntryKind::Text,
            births,
            update: Bytes::from(update),
        });
    }

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

    /// Applies what it has not and can; how many that were.
    fn receive(&mut self, deltas: &[Bytes], count: usize) -> usize {
        let mut applied = 0;
        for canonical in deltas {
            if applied == count {
                break;
            }
            let change = Change::Delta(RemoteDelta {
                slot: self.slot,
                delta: vouched(canonical),
            });
            let verdict = self.bench.ledger().commit(vec![change]).unwrap().remove(0);
            let stamp = DeltaView::parse(canonical).unwrap().hlc().bits() >> 12;
            match verdict {
                Ok(_) => {
                    applied += 1;
                    self.now = self.now.max(stamp);
                }
                Err(Refused::ParentsMissing { .. } | Refused::AppliedBefore { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        applied
    }

    fn root(&self) -> Root {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        snapshot.head(self.slot).unwrap().root
    }

    /// What is gone on from is what is made anew of all edits.
    fn check(&self) -> Option<(Births, Vec<u8>)> {
        let anew = self
            .read()
            .map(|made| (made.births, made.sequence.save().unwrap()));
        let snapshot = self.bench.ledger().snapshot().unwrap();
        let further = snapshot.save_sequence(&self.name()).unwrap();
        assert_eq!(anew, further.map(|saved| (saved.births, saved.bytes)));
        anew
    }
}

fn empty_text(author: NodeId) -> Made {
    Made {
        sequence: Sequence::new(SequenceKind::Text, author),
        births: Births::default(),
        voided: 0,
    }
}

fn step() -> impl Strategy<Value = Step> {
    let insert = prop_oneof!["[a-z]{1,4}", Just(String::new()), Just("漢é".to_owned())];
    prop_oneof![
        8 => (0..4_usize, any::<u8>(), 0..4_u8, insert)
            .prop_map(|(on, at, delete, insert)| Step::Edit { on, at, delete, insert }),
        3 => (0..4_usize, any::<u8>(), 0..4_u8, any::<u8>(), prop::bool::weighted(0.7))
            .prop_map(|(on, at, how, changed, births)| Step::Lie { on, at, how, changed, births }),
        1 => (0..4_usize).prop_map(Step::Remove),
        1 => (0..4_usize).prop_map(Step::Begin),
        8 => (0..4_usize, 0..4_usize, 1..6_usize)
            .prop_map(|(from, to, count)| Step::Send { from, to, count }),
        2 => (0..4_usize).prop_map(Step::Save),
        2 => (0..4_usize).prop_map(Step::Pack),
        1 => (0..4_usize).prop_map(Step::Sweep),
        1 => (0..4_usize).prop_map(Step::Restart),
    ]
}

/// Bytes of an update with something else in them. Its end is most of what it says.
fn changed(mut update: Vec<u8>, how: u8, by: u8) -> Vec<u8> {
    let at = update.len() - 1 - usize::from(by) % update.len().min(8);
    match how {
        0 => update[at] ^= 1 << (by % 8),
        1 => update[at] = update[at].wrapping_add(1),
        2 => update.extend([2, 2, by % 4, 1]),
        _ => update.truncate(at),
    }
    update
}

fn check(count: usize, steps: &[Step]) {
    let mut replicas: Vec<Replica> = (0..count).map(Replica::new).collect();
    for step in steps {
        match step {
            Step::Edit {
                on,
                at,
                delete,
                insert,
            } => {
                let replica = &mut replicas[on % count];
                if let Some((births, update)) = replica.edit(*at, *delete, insert) {
                    let voided = replica.read().map_or(0, |made| made.voided);
                    replica.write(births, update);
                    // What is made by index is never void where it was made.
                    let anew = replica.read().unwrap();
                    assert_eq!(anew.voided, voided);
                }
            }
            Step::Lie {
                on,
                at,
                how,
                changed: by,
                births,
            } => {
                let replica = &mut replicas[on % count];
                if let Some((named, update)) = replica.edit(*at, 2, "lie") {
                    // Some births of those that are there, or all.
                    let few = named.iter().take(1).collect();
                    let named = if *births { named } else { few };
                    replica.write(named, changed(update, *how, *by));
                }
            }
            Step::Remove(on) => replicas[on % count].commit(Write::Remove),
            Step::Begin(on) => {
                let replica = &mut replicas[on % count];
                let mut fresh = empty_text(replica.author).sequence;
                fresh.insert(0, Content::Text("new".into())).unwrap();
                let stamp = Hlc::from_bits((replica.now + 1) << 12);
                let update = fresh.take_update(stamp).unwrap().unwrap();
                replica.write(Births::default(), update);
            }
            Step::Send {
                from,
                to,
                count: some,
            } => {
                let deltas = replicas[from % count].deltas();
                replicas[to % count].receive(&deltas, *some);
                replicas[to % count].check();
            }
            Step::Save(on) => replicas[on % count].save(),
            Step::Pack(on) => replicas[on % count].pack(),
            Step::Sweep(on) => {
                let ledger = replicas[on % count].bench.ledger();
                while ledger.sweep(2).unwrap().is_more {}
            }
            Step::Restart(on) => replicas[on % count].bench.reopen(),
        }
    }
    let all: Vec<Vec<Bytes>> = replicas.iter().map(Replica::deltas).collect();
    for (to, replica) in replicas.iter_mut().enumerate() {
        let left: Vec<Bytes> = (0..count)
            .flat_map(|n| all[(n + to) % count].clone())
            .collect();
        while replica.receive(&left, usize::MAX) > 0 {}
        replica.bench.ledger().sweep(1000).unwrap();
        replica.bench.verify();
    }
    let expected = replicas[0].check();
    for replica in &replicas {
        replica.pack();
        replica.bench.verify();
        let found = replica.check();
        assert_eq!(found, expected);
        assert_eq!(replica.root(), replicas[0].root());
        let births = expected.as_ref().map_or(0, |expected| expected.0.len());
        assert!(births <= count, "{births} births of {count} authors");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Edits, lies about edits and births, removals, births that need not be, restarts, and
    /// deltas in any causal order: whoever has the same deltas has the same sequence, to the
    /// byte, gone on from what was saved or made anew.
    #[test]
    fn the_same_deltas_make_the_same_sequence(
        count in 2..=4_usize,
        steps in prop::collection::vec(step(), 1..40),
    ) {
        check(count, &steps);
    }
}

/// A birth is removed while another stands, and somebody had built on both: what is left is
/// made of the edits that built on the other alone.
#[test]
fn what_a_removal_leaves_is_made_anew() {
    let (mut a, mut b, mut c) = (Replica::new(0), Replica::new(1), Replica::new(2));
    for (replica, word) in [(&mut a, "one"), (&mut b, "two")] {
        let (births, update) = replica.edit(0, 0, word).unwrap();
        replica.write(births, update);
    }
    // The third has both, and builds on both; the second has its own alone, and goes on.
    c.receive(&a.deltas(), 9);
    c.receive(&b.deltas(), 9);
    let (births, update) = c.edit(128, 0, "both").unwrap();
    assert_eq!(births.len(), 2);
    c.write(births, update);
    let (births, update) = b.edit(255, 0, "!").unwrap();
    b.write(births, update);
    c.check();
    c.save();
    assert_eq!(c.live().sequence.len(), 10);
    // The first removes what it has seen, which is its own.
    a.commit(Write::Remove);
    assert!(a.check().is_none());
    for _ in 0..2 {
        c.receive(&a.deltas(), 9);
        c.receive(&b.deltas(), 9);
        let left = c.check().unwrap();
        assert_eq!(left.0.len(), 1);
        let text = c.live().sequence.slice(0, 4).unwrap();
        assert_eq!(text, Content::Text("two!".into()));
        assert_eq!(c.live().sequence.len(), 4);
        c.bench.ledger().sweep(100).unwrap();
        c.bench.verify();
    }
    // Whose edits are gone begins anew, behind what is left.
    let (births, update) = c.edit(255, 0, "?").unwrap();
    c.write(births, update);
    b.receive(&a.deltas(), 9);
    b.receive(&c.deltas(), 9);
    assert_eq!(b.check().unwrap().1, c.check().unwrap().1);
    assert_eq!(b.live().voided, 0);
}

/// Nobody has more than one birth of a sequence: one who begins it again and again takes
/// its own away, so that births are as many as authors and edits can always name them.
#[test]
fn an_author_has_one_birth_of_a_sequence() {
    let (mut a, mut b) = (Replica::new(0), Replica::new(1));
    let (births, update) = b.edit(0, 0, "kept").unwrap();
    b.write(births, update);
    a.receive(&b.deltas(), 9);
    for n in 0..5 {
        let mut fresh = empty_text(a.author).sequence;
        let word = Content::Text(format!("birth {n}"));
        fresh.insert(0, word).unwrap();
        let stamp = Hlc::from_bits((a.now + 1) << 12);
        let update = fresh.take_update(stamp).unwrap().unwrap();
        a.write(Births::default(), update);
        b.receive(&a.deltas(), 9);
        for replica in [&a, &b] {
            let live = replica.live();
            assert_eq!(live.births.len(), 2);
            assert_eq!(live.sequence.len(), "kept".len() + "birth 0".len());
            replica.bench.verify();
        }
    }
    assert_eq!(a.check().unwrap().1, b.check().unwrap().1);
    b.bench.ledger().sweep(100).unwrap();
    b.bench.verify();
}

/// What an edit had seen is looked up author by author, however little the edit itself does.
#[test]
fn what_edits_had_seen_counts_as_work_of_a_step() {
    const AUTHORS: usize = 60;
    const STEP: u64 = 100;
    let mut replica = Replica::new(0);
    for n in 0..AUTHORS {
        replica.author = Key::new(100 + n).node_id();
        let Made {
            mut sequence,
            births,
            ..
        } = replica.live();
        // It names all others: something of each goes. Of each there is one less than of the next.
        let mut begins = sequence.len();
        sequence
            .insert(begins, Content::Text("x".repeat(AUTHORS)))
            .unwrap();
        for before in 1..=n {
            begins -= AUTHORS + 1 - before;
            sequence.delete(begins, 1).unwrap();
        }
        let stamp = Hlc::from_bits((replica.now + 1) << 12);
        replica.write(births, sequence.take_update(stamp).unwrap().unwrap());
    }
    let snapshot = replica.bench.ledger().snapshot().unwrap();
    let (mut behind, mut steps, mut edits, mut pasts) = (None, 0, 0, 0);
    loop {
        let allowance = Allowance::steps(STEP);
        let (slot, kind) = (replica.slot, EntryKind::Text);
        let more = snapshot.walk_edits(
            slot,
            Space::Shared,
            KEY,
            kind,
            behind,
            &allowance,
            &mut |edit| {
                edits += 1;
                pasts += edit.seen.len();
                ControlFlow::Continue(())
            },
        );
        // It stops behind the first row with which it has done enough.
        assert!(allowance.used() < STEP + AUTHORS as u64 + 2);
        steps += 1;
        behind = more.unwrap();
        if behind.is_none() {
            break;
        }
    }
    assert_eq!((edits, pasts), (AUTHORS, AUTHORS * (AUTHORS - 1) / 2));
    assert!(steps > pasts as u64 / (2 * STEP), "{steps} for {pasts}");
}
