//! Edits that are put together: they say what they said, to whoever reads, and go as they would have gone.

use std::io::Cursor;
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{
    AnswerKey, Arrival, Births, CallEffects, Change, ContextSlot, EntryKind, ExportScope, Hlc,
    Keep, KeyedAnswer, LedgerStats, LedgerWriter, Op, Packs, Reach, RemoteDelta, RequestDigest,
    Retention, Root, Said, Sealer, Space, StepBounds, StoreError, Write, export_context,
    import_context, verify,
};

use crate::retention::{KEEP_ALL, collect};
use crate::signed::{Key, vouched};
use crate::{Bench, event, id, set};

const CONTEXT: u8 = 1;
const KEY: &[u8] = b"text";
const TOGETHER: Retention = Retention {
    packs: Packs {
        alone: 10,
        together: 20,
    },
    ..KEEP_ALL
};

struct Node {
    bench: Bench,
    slot: ContextSlot,
    key: Key,
    now: u64,
}

impl Node {
    fn new(number: usize) -> Node {
        let mut bench = Bench::new();
        let slot = bench.create(CONTEXT);
        bench.commit(vec![Change::ShareContext(id(CONTEXT))]);
        Node {
            bench,
            slot,
            key: Key::new(number),
            now: 0,
        }
    }

    fn births(&self) -> Births {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        let facts = snapshot.sequence(self.slot, Space::Shared, KEY, EntryKind::Text);
        facts.unwrap().map(|facts| facts.births).unwrap_or_default()
    }

    fn write(&mut self, write: Write) {
        self.now += 1;
        let call = CallEffects {
            slot: self.slot,
            ops: vec![Op::shared(Bytes::from_static(KEY), write)],
            ..CallEffects::new(
                id(CONTEXT),
                self.key.node_id(),
                Hlc::from_bits(self.now << 12),
            )
        };
        self.bench.commit(vec![Change::Call(call)]);
    }

    fn edit(&mut self, update: impl Into<Vec<u8>>) {
        let births = self.births();
        self.write(Write::Edit {
            kind: EntryKind::Text,
            births,
            update: Bytes::from(update.into()),
        });
    }

    fn receive(&mut self, from: &Node) {
        let snapshot = from.bench.ledger().snapshot().unwrap();
        let mut log = Vec::new();
        let visit = &mut |_, delta: corelet_store::DeltaView<'_>| {
            log.push(Bytes::copy_from_slice(delta.canonical()));
            ControlFlow::Continue(())
        };
        snapshot.deltas(from.slot, usize::MAX, visit).unwrap();
        for canonical in log.iter().rev() {
            let delta = Change::Delta(RemoteDelta {
                slot: self.slot,
                delta: vouched(canonical),
            });
            // Some are there.
            drop(self.bench.ledger().commit(vec![delta]).unwrap());
        }
    }

    fn pack(&self) -> u64 {
        let mut all = 0;
        loop {
            self.bench.ledger().writer().look_for_packs();
            let steps = collect(self.bench.ledger(), &TOGETHER, Hlc::ZERO);
            let packed: u64 = steps.iter().map(|step| step.edits_packed).sum();
            if packed == 0 {
                self.bench.verify();
                return all;
            }
            all += packed;
        }
    }

    fn stats(&self) -> LedgerStats {
        self.bench.ledger().stats().unwrap()
    }

    /// Stamps, updates and what was seen, in their order.
    fn edits(&self) -> Vec<(Hlc, Vec<u8>, usize)> {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        let mut found = Vec::new();
        snapshot
            .edits(
                self.slot,
                Space::Shared,
                KEY,
                EntryKind::Text,
                &mut |edit| {
                    found.push((edit.hlc, edit.update.to_vec(), edit.seen.len()));
                    ControlFlow::Continue(())
                },
            )
            .unwrap();
        found
    }

    fn roots(&self) -> Vec<Root> {
        let snapshot = self.bench.ledger().snapshot().unwrap();
        let mut deltas = Vec::new();
        let visit = &mut |_, delta: corelet_store::DeltaView<'_>| {
            deltas.push((delta.id(), delta.root()));
            ControlFlow::Continue(())
        };
        snapshot.deltas(self.slot, usize::MAX, visit).unwrap();
        let past = |(delta, root)| {
            assert_eq!(snapshot.at(self.slot, &delta).unwrap().root(), root);
            root
        };
        deltas.into_iter().map(past).collect()
    }
}

/// The update of an edit that names another author, as `store/src/sequence/update.rs` has it.
fn naming(author: &Key, rest: &[u8]) -> Vec<u8> {
    [&[1, 1, 1][..], author.node_id().as_bytes(), rest].concat()
}

#[test]
fn edits_that_are_put_together_are_what_they_were() {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    for n in 0..30_u8 {
        one.edit([1, 2, 0, n]);
    }
    two.receive(&one);
    two.now = 100;
    for n in 0..35_u8 {
        let update = naming(&one.key, &[n]);
        two.edit(update);
    }
    one.receive(&two);
    one.now = 200;
    // One that is too large to be put together with others, and one that is not.
    one.edit(vec![7; 2000]);
    one.edit(naming(&two.key, &[1; 900]));
    let (edits, roots) = (one.edits(), one.roots());
    assert_eq!(edits.len(), 67);
    assert_eq!(edits.iter().filter(|edit| edit.2 == 1).count(), 36);
    assert_eq!(one.stats().edits, 67);

    assert_eq!(one.pack(), 40);
    assert_eq!((one.stats().edits, one.stats().packs), (27, 2));
    assert_eq!((one.edits(), one.roots()), (edits.clone(), roots.clone()));
    assert_eq!(one.pack(), 0, "the newest stay by themselves");
    one.bench.reopen();
    assert_eq!(one.edits(), edits);

    // A copy has them, and whoever takes it in puts them together for itself.
    let snapshot = one.bench.ledger().snapshot().unwrap();
    let mut copy = Vec::new();
    let context = snapshot.context(&id(CONTEXT)).unwrap().unwrap();
    export_context(&snapshot, &context.id, ExportScope::ALL, &mut copy).unwrap();
    let mut third = Node {
        bench: Bench::new(),
        ..Node::new(3)
    };
    let arrival = Arrival::at(Hlc::from_bits(1 << 40));
    import_context(third.bench.ledger(), Cursor::new(copy), arrival).unwrap();
    let taken = third.bench.ledger().snapshot().unwrap();
    third.slot = taken.slot_of(&id(CONTEXT)).unwrap().unwrap();
    drop(taken);
    assert_eq!((third.edits(), third.stats().edits), (edits.clone(), 67));
    assert_eq!(third.pack(), 40);
    assert_eq!(third.edits(), edits);
    assert_eq!(third.roots(), roots);
}

/// A delta that another has made before, and that comes when those around it are together.
#[test]
fn an_edit_that_comes_late_has_its_place_among_those_in_a_pack() {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    one.edit("birth");
    two.receive(&one);
    for _ in 0..40 {
        one.edit("one");
    }
    assert_eq!(one.pack(), 20);
    // Beside the third, the fifth and those that are by themselves.
    for micros in [2, 4, 4, 35] {
        two.now = two.now.max(micros);
        two.edit("two");
    }
    one.receive(&two);
    let edits = one.edits();
    assert_eq!(edits.len(), 45);
    assert!(edits.is_sorted_by_key(|edit| edit.0));
    one.bench.verify();
    one.roots();
    for _ in 0..20 {
        one.edit("more");
    }
    assert_eq!(one.pack(), 20);
    assert!(one.edits().is_sorted_by_key(|edit| edit.0));
    assert_eq!(one.edits()[..45], edits);
    one.roots();
    // Read from the midst of a pack on.
    let snapshot = one.bench.ledger().snapshot().unwrap();
    for at in [0, 3, 19, 20, 44, 64] {
        let mut places = Vec::new();
        let (slot, kind) = (one.slot, EntryKind::Text);
        let all = &mut |edit: corelet_store::EditView<'_>| {
            places.push(edit.place);
            ControlFlow::Continue(())
        };
        snapshot.edits(slot, Space::Shared, KEY, kind, all).unwrap();
        let mut behind = 0;
        let count = &mut |_: corelet_store::EditView<'_>| {
            behind += 1;
            ControlFlow::Continue(())
        };
        let place = places[at];
        let read = snapshot.edits_behind(slot, Space::Shared, KEY, kind, place, count);
        read.unwrap();
        assert_eq!(behind, 64 - at);
    }
}

#[test]
fn what_a_removal_leaves_of_packs_goes() {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    // Each begins the text, and goes on with its own.
    one.edit("birth");
    two.now = 1;
    two.edit("birth");
    for _ in 0..40 {
        one.edit("one");
        two.edit("two");
    }
    one.receive(&two);
    let together = one.pack();
    assert_eq!((together, one.stats().packs), (60, 3));
    // The second removes what it has made.
    two.write(Write::Remove);
    one.receive(&two);
    assert_eq!(one.edits().len(), 41);
    one.bench.verify();
    assert_eq!(one.pack(), 0, "what goes is not put together");
    let mut steps = 0;
    while one.bench.ledger().sweep(7).unwrap().is_more {
        one.bench.verify();
        assert_eq!(one.edits().len(), 41);
        steps += 1;
    }
    assert!(steps > 3);
    one.bench.verify();
    assert_eq!(one.edits().len(), 41);
    let stats = one.stats();
    assert_eq!(stats.packs, 3);
    assert!(stats.edits < 41);
    one.roots();
    one.now = 300;
    one.write(Write::Remove);
    while one.bench.ledger().sweep(7).unwrap().is_more {}
    assert_eq!((one.stats().edits, one.stats().packs), (0, 0));
    one.bench.verify();
}

#[test]
fn a_deleted_context_leaves_no_packs() {
    let mut one = Node::new(1);
    for _ in 0..50 {
        one.edit("edit");
    }
    assert_eq!(one.pack(), 40);
    one.bench.commit(vec![Change::DeleteContext(id(CONTEXT))]);
    let mut steps = 0;
    while one.bench.ledger().sweep(2).unwrap().is_more {
        steps += 1;
    }
    assert!(steps > 2);
    assert_eq!((one.stats().edits, one.stats().packs), (0, 0));
    verify(&one.bench.ledger().snapshot().unwrap()).unwrap();
}

/// Of a deleted context some records go before those that tell of them, so a check in between has to know.
#[test]
fn a_check_finds_nothing_wrong_while_a_deleted_context_is_swept() {
    let (mut one, mut two) = (Node::new(1), Node::new(2));
    for _ in 0..40 {
        one.edit("one");
    }
    two.receive(&one);
    two.now = 100;
    for _ in 0..20 {
        let update = naming(&one.key, b"two");
        two.edit(update);
    }
    one.receive(&two);
    for n in 0..10_u8 {
        one.now = 200 + u64::from(n);
        let hlc = Hlc::from_bits(one.now << 12);
        let answer = KeyedAnswer {
            key: AnswerKey::of(&[n]),
            request: RequestDigest::of(b"method", b""),
            fuel_used: 1,
            said: Said::Output(Bytes::from_static(b"1")),
        };
        let call = CallEffects {
            slot: one.slot,
            answer: Some(Box::new(answer)),
            ..CallEffects::new(id(CONTEXT), one.key.node_id(), hlc)
        };
        one.bench.commit(vec![Change::Call(call)]);
    }
    assert_eq!(one.pack(), 40);
    one.bench.commit(vec![Change::DeleteContext(id(CONTEXT))]);
    let mut steps = 0;
    while one.bench.ledger().sweep(1).unwrap().is_more {
        verify(&one.bench.ledger().snapshot().unwrap()).unwrap();
        steps += 1;
    }
    assert!(steps > 100, "{steps}");
    let stats = one.stats();
    assert_eq!((stats.edits, stats.packs, stats.answers), (0, 0, 0));
}

/// Those that have grown are looked at soon, and packs are as large as a server's.
#[test]
fn a_text_that_grows_is_packed_without_a_round() {
    let mut one = Node::new(1);
    let retention = Retention {
        packs: Packs::DEFAULT,
        ..KEEP_ALL
    };
    one.edit("birth");
    let births = one.births();
    let mut writer = one.bench.ledger().writer();
    let mut packed = 0;
    for n in 2..=1024_u64 {
        let edit = Write::Edit {
            kind: EntryKind::Text,
            births: births.clone(),
            update: Bytes::from_static(b"edit"),
        };
        let call = Change::Call(CallEffects {
            slot: one.slot,
            ops: vec![Op::shared(Bytes::from_static(KEY), edit)],
            ..CallEffects::new(id(CONTEXT), one.key.node_id(), Hlc::from_bits(n << 12))
        });
        writer
            .commit(vec![call])
            .unwrap()
            .verdicts
            .remove(0)
            .unwrap();
        while writer.has_grown() {
            let (bounds, reach) = (StepBounds::default(), Reach::Grown);
            let step = writer.collect(&retention, Hlc::ZERO, &bounds, reach);
            packed += step.unwrap().edits_packed;
        }
        assert!(n - packed < 256);
    }
    writer.checkpoint().unwrap();
    drop(writer);
    let stats = one.stats();
    assert_eq!((stats.packs, stats.edits), (14, 128));
    one.bench.verify();
}

/// Texts of one context, and so many edits of each: more texts than are remembered.
const TEXTS: u64 = 300;
const EDITS: u64 = 400;

/// What packs of 20 leave of these.
const EDITS_LEFT: u64 = 20;

fn text(n: u64) -> Bytes {
    Bytes::from(format!("text {n:03}"))
}

fn type_into_all(node: &mut Node) {
    let mut births = vec![Births::default(); TEXTS as usize];
    for n in 0..EDITS {
        let edit = |at: u64| Write::Edit {
            kind: EntryKind::Text,
            births: births[at as usize].clone(),
            update: Bytes::from_static(b"edit"),
        };
        let ops = (0..TEXTS).map(|at| Op::shared(text(at), edit(at)));
        let call = CallEffects {
            slot: node.slot,
            ops: ops.collect(),
            ..CallEffects::new(
                id(CONTEXT),
                node.key.node_id(),
                Hlc::from_bits((n + 1) << 12),
            )
        };
        node.bench.commit(vec![Change::Call(call)]);
        if n == 0 {
            let snapshot = node.bench.ledger().snapshot().unwrap();
            for (at, births) in (0..).zip(&mut births) {
                let facts = snapshot.sequence(node.slot, Space::Shared, &text(at), EntryKind::Text);
                *births = facts.unwrap().unwrap().births;
            }
        }
    }
}

/// Nobody has counted those of before the start, and later more grow than are remembered.
#[test]
fn texts_of_which_no_note_was_taken_are_packed_as_well() {
    for has_begun in [false, true] {
        let mut one = Node::new(1);
        if has_begun {
            assert!(collect(one.bench.ledger(), &TOGETHER, Hlc::ZERO).len() > 1);
        }
        type_into_all(&mut one);
        assert_eq!(one.stats().edits, EDITS * TEXTS);
        collect(one.bench.ledger(), &TOGETHER, Hlc::ZERO);
        let stats = one.stats();
        let packs = TEXTS * (EDITS - EDITS_LEFT) / 20;
        assert_eq!((stats.edits, stats.packs), (TEXTS * EDITS_LEFT, packs));
        one.bench.verify();
    }
}

/// Neither contexts nor what comes behind a round waits for it.
#[test]
fn a_walk_through_many_texts_holds_nothing_up() {
    let mut one = Node::new(1);
    type_into_all(&mut one);
    let slot = one.bench.create(2);
    let retention = Retention {
        events: Keep {
            count_max: 0,
            ..KEEP_ALL.events
        },
        ..TOGETHER
    };
    let ledger = one.bench.ledger().clone();
    let mut writer = ledger.writer();
    let step = |writer: &mut LedgerWriter<'_>| {
        // As where the clock ends each behind the first thing that it does.
        writer
            .collect(&retention, Hlc::ZERO, &StepBounds::rows(1), Reach::All)
            .unwrap()
    };
    let (mut packed, mut rounds, mut waited) = (0, 0, None);
    for steps in 0.. {
        let done = step(&mut writer);
        if done.is_checkpoint_due {
            writer.checkpoint().unwrap();
        }
        packed += done.edits_packed;
        rounds += u64::from(done.is_round_over);
        match waited {
            // It has passed the contexts by then.
            None if packed > 5_000 => {
                let mut call = one.bench.effects(2, slot, vec![]);
                call.events = vec![event("told", b"something")];
                let mut verdicts = writer.commit(vec![Change::Call(call)]).unwrap().verdicts;
                verdicts.remove(0).unwrap();
                waited = Some(steps);
            }
            Some(since) if done.events > 0 => {
                assert!(steps - since <= 6, "{}", steps - since);
                waited = Some(u64::MAX);
            }
            _ => {}
        }
        if packed == TEXTS * (EDITS - EDITS_LEFT) {
            break;
        }
        assert!(
            steps < 100_000,
            "{packed} edits are packed in {rounds} rounds"
        );
    }
    assert_eq!(waited, Some(u64::MAX));
    assert!(rounds > 0, "a round has ended before all was packed");
    writer.checkpoint().unwrap();
    drop(writer);
    one.bench.verify();
}

/// They are in no journal, and no note is left of the text.
#[test]
fn packs_that_a_failed_batch_takes_along_are_made_again() {
    let mut one = Node::new(1);
    let large = one.bench.create(2);
    for _ in 0..60 {
        one.edit("edit");
    }
    let ledger = one.bench.ledger().clone();
    let mut writer = ledger.writer();
    let mut packed = 0;
    while packed == 0 {
        let (bounds, reach) = (StepBounds::default(), Reach::All);
        let step = writer.collect(&TOGETHER, Hlc::ZERO, &bounds, reach);
        packed = step.unwrap().edits_packed;
    }
    let value = Bytes::from(vec![7; 8 << 20]);
    let batch = (0..12_u8).map(|n| {
        let effects = one.bench.effects(2, large, vec![set([n], value.clone())]);
        Change::Call(effects)
    });
    let refused = writer.commit(batch.collect()).unwrap_err();
    assert!(matches!(refused, StoreError::MapFull { .. }), "{refused}");
    drop(writer);
    assert_eq!(one.stats().packs, 0);
    collect(one.bench.ledger(), &TOGETHER, Hlc::ZERO);
    assert_eq!((one.stats().packs, one.stats().edits), (2, 20));
    one.bench.verify();
}
