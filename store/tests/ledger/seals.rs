//! Seals and forks, and what deltas of hostile nodes meet.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{
    Birth, Change, Content, ContextSlot, DeltaId, DeltaView, EditView, EntryKind, Hlc, Op, Reach,
    Refused, RemoteDelta, Root, Sealer, Sequence, SequenceKind, Space, StepBounds, Verdict, Write,
    replay, verify, vouch,
};

use crate::retention::{KEEP_NOTHING, at, head};
use crate::signed::{Key, Lie, LiedWrite, forge, keys, vouched};
use crate::{Bench, id, set};

const CONTEXT: u8 = 1;

fn shared(bench: &mut Bench) -> ContextSlot {
    let slot = bench.create(CONTEXT);
    bench.commit(vec![Change::ShareContext(id(CONTEXT))]);
    slot
}

fn delta_of(slot: ContextSlot, canonical: &Bytes) -> Change {
    Change::Delta(RemoteDelta {
        slot,
        delta: vouched(canonical),
    })
}

fn apply(bench: &Bench, slot: ContextSlot, canonical: &Bytes) -> Verdict {
    let batch = vec![delta_of(slot, canonical)];
    bench.ledger().commit(batch).unwrap().remove(0)
}

fn id_of(canonical: &Bytes) -> DeltaId {
    DeltaView::parse(canonical).unwrap().id()
}

/// A delta of a node with this number that writes one key.
fn write(node: usize, micros: u64, parents: &[&Bytes], key: &str, write: LiedWrite) -> Bytes {
    let lie = Lie {
        space: Space::Shared,
        key: key.into(),
        removes_first: false,
        write,
    };
    let lies = BTreeMap::from([((0, key.into()), lie)]);
    let parents: Vec<DeltaId> = parents.iter().map(|parent| id_of(parent)).collect();
    let author = Key::new(node).node_id();
    forge(id(CONTEXT), author, micros << 12, &parents, &lies, [9; 32])
}

fn set_by(node: usize, micros: u64, parents: &[&Bytes], key: &str) -> Bytes {
    write(node, micros, parents, key, LiedWrite::Set(vec![node as u8]))
}

fn root(bench: &Bench, slot: ContextSlot) -> Root {
    bench.ledger().snapshot().unwrap().head(slot).unwrap().root
}

/// The root in a delta is a check on its author. It tells when it can, and decides nothing:
/// who gets the delta a little later could not have told.
#[test]
fn a_wrong_root_is_told_and_makes_no_difference() {
    let first = set_by(2, 1, &[], "a");
    let wrong = set_by(3, 2, &[&first], "b");
    let beside = set_by(4, 3, &[&first], "c");
    let (mut one, mut other) = (Bench::new(), Bench::new());
    let (slot, other_slot) = (shared(&mut one), shared(&mut other));
    apply(&one, slot, &first).unwrap();
    let told = apply(&one, slot, &wrong).unwrap();
    assert_eq!(told.root_there(), Some(Root::from_bytes([9; 32])));
    assert_ne!(told.root(), Root::from_bytes([9; 32]));
    assert_eq!(apply(&one, slot, &beside).unwrap().root_there(), None);
    for canonical in [&first, &beside, &wrong] {
        let committed = apply(&other, other_slot, canonical).unwrap();
        assert_eq!(committed.root_there().is_some(), canonical != &wrong);
    }
    assert_eq!(root(&one, slot), root(&other, other_slot));
    // Its own roots are right.
    let call = other.call(CONTEXT, other_slot, vec![set("d", "1")]);
    let committed = other.commit(vec![call]).remove(0);
    assert_eq!(committed.root_there(), None);
    let mut own = None;
    let snapshot = other.ledger().snapshot().unwrap();
    let newest = &mut |_, delta: DeltaView<'_>| {
        own = Some((delta.root(), delta.author()));
        ControlFlow::Break(())
    };
    snapshot.deltas(other_slot, 1, newest).unwrap();
    assert_eq!(own.map(|own| own.0), Some(committed.root()));
}

#[test]
fn a_parent_behind_a_parent_is_refused_whatever_else_is_there() {
    let first = set_by(2, 1, &[], "a");
    let second = set_by(3, 2, &[&first], "a");
    let redundant = set_by(4, 3, &[&first, &second], "a");
    let beside = set_by(5, 2, &[&first], "b");
    for order in [vec![&first, &second], vec![&first, &beside, &second]] {
        let mut bench = Bench::new();
        let slot = shared(&mut bench);
        for canonical in order {
            apply(&bench, slot, canonical).unwrap();
        }
        let refused = apply(&bench, slot, &redundant).unwrap_err();
        let parent = id_of(&first);
        assert!(
            matches!(refused, Refused::RedundantParent { parent: found, .. } if found == parent),
            "{refused}"
        );
    }
    // Without the causes it is not known yet, and nothing is said for good.
    let mut bench = Bench::new();
    let slot = shared(&mut bench);
    apply(&bench, slot, &first).unwrap();
    let refused = apply(&bench, slot, &redundant).unwrap_err();
    assert!(
        matches!(refused, Refused::ParentsMissing { .. }),
        "{refused}"
    );
}

/// Small deltas that meet a large entry: each reads all of it, so a batch takes some of them
/// and leaves the others to the next.
#[test]
fn deltas_that_make_much_work_share_it_among_batches() {
    const VALUE_BYTES: usize = 10 << 20;
    let mut bench = Bench::with_map(512 << 20);
    let slot = shared(&mut bench);
    let large = write(2, 1, &[], "a", LiedWrite::Set(vec![1; VALUE_BYTES]));
    apply(&bench, slot, &large).unwrap();
    // None of them has seen it.
    let small: Vec<Bytes> = (3..33)
        .map(|node| write(node, 5, &[], "a", LiedWrite::Remove))
        .collect();
    let batch = || {
        small
            .iter()
            .map(|canonical| delta_of(slot, canonical))
            .collect::<Vec<_>>()
    };
    let mut done = 0;
    for _ in 0..small.len() {
        let verdicts = bench.ledger().commit(batch()).unwrap();
        let count = |is: fn(&Verdict) -> bool| verdicts.iter().filter(|v| is(v)).count();
        let applied = count(|verdict| verdict.is_ok());
        let full = count(|verdict| matches!(verdict, Err(Refused::BatchFull)));
        let known = count(|verdict| matches!(verdict, Err(Refused::AppliedBefore { .. })));
        assert_eq!((known, applied + full), (done, small.len() - done));
        assert!(
            applied > 0 && applied * VALUE_BYTES < 150 << 20,
            "{applied} at once"
        );
        done += applied;
        if full == 0 {
            break;
        }
    }
    assert_eq!(done, small.len());
    assert_eq!(
        bench.get(slot, b"a").map(|value| value.len()),
        Some(VALUE_BYTES)
    );
    verify(&bench.ledger().snapshot().unwrap()).unwrap();
}

/// To bring such a delta in, all edits of the text are read, however short they are.
#[test]
fn deltas_beside_a_text_of_many_edits_share_them_among_batches() {
    const EDITS: usize = 8000;
    let mut bench = Bench::with_map(512 << 20);
    let slot = shared(&mut bench);
    let edit = |births: &[Birth], update| Write::Edit {
        kind: EntryKind::Text,
        births: births.iter().copied().collect(),
        update: Bytes::from_static(update),
    };
    let mut births = Vec::new();
    for _ in 0..EDITS / 1000 {
        let batch = (0..1000).map(|_| {
            let op = Op::shared("t".into(), edit(&births, b"xy"));
            let effects = bench.effects(CONTEXT, slot, vec![op]);
            if births.is_empty() {
                births.push(Birth {
                    author: effects.author,
                    hlc: effects.hlc,
                });
            }
            Change::Call(effects)
        });
        let batch = batch.collect();
        bench.commit(batch);
    }
    // Each begins the text anew in the place of the one before it, and knows of none of those.
    let begin = |micros, parents: &[&Bytes]| {
        let write_of = LiedWrite::Edit {
            is_list: false,
            births: vec![],
            seen: vec![],
            update: b"y".to_vec(),
        };
        write(3, micros, parents, "t", write_of)
    };
    let mut row = vec![begin(1, &[])];
    for micros in 2..60 {
        row.push(begin(micros, &[row.last().unwrap()]));
    }
    let batch = row.iter().map(|canonical| delta_of(slot, canonical));
    let verdicts = bench.ledger().commit(batch.collect()).unwrap();
    let applied = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
    let full = verdicts
        .iter()
        .filter(|verdict| matches!(verdict, Err(Refused::BatchFull)));
    assert_eq!(applied + full.count(), row.len());
    assert!((10..40).contains(&applied), "{applied} at once");
}

fn edit(node: usize, micros: u64, parents: &[&Bytes], births: &[&Bytes], update: &[u8]) -> Bytes {
    edit_naming(node, micros, parents, births, &[], update)
}

/// The same, which has seen the authors whom it names up to these stamps.
fn edit_naming(
    node: usize,
    micros: u64,
    parents: &[&Bytes],
    births: &[&Bytes],
    seen: &[u64],
    update: &[u8],
) -> Bytes {
    let birth = |canonical: &&Bytes| {
        let delta = DeltaView::parse(canonical).unwrap();
        Birth {
            author: delta.author(),
            hlc: delta.hlc(),
        }
    };
    let mut births: Vec<Birth> = births.iter().map(birth).collect();
    births.sort_unstable();
    let edit = LiedWrite::Edit {
        is_list: false,
        births,
        seen: seen.iter().map(|micros| micros << 12).collect(),
        update: update.to_vec(),
    };
    write(node, micros, parents, "t", edit)
}

/// The root, and what the text under `t` is, where these deltas came in this order.
fn root_and_text(deltas: &[&Bytes]) -> (Root, Content) {
    let mut bench = Bench::new();
    let slot = shared(&mut bench);
    for canonical in deltas {
        apply(&bench, slot, canonical).unwrap();
    }
    let snapshot = bench.ledger().snapshot().unwrap();
    verify(&snapshot).unwrap();
    let mut text = Sequence::new(SequenceKind::Text, Key::new(0).node_id());
    let visit = &mut |edit: EditView<'_>| {
        replay(&mut text, &edit);
        ControlFlow::Continue(())
    };
    let edits = snapshot.edits(slot, Space::Shared, b"t", EntryKind::Text, visit);
    edits.unwrap();
    (root(&bench, slot), text.slice(0, text.len()).unwrap())
}

/// A forker can sign two deltas under one stamp. What differs may be only on which births an edit
/// builds: that decides later what a removal takes with it.
#[test]
fn roots_tell_on_which_births_edits_build() {
    let births = [2, 3].map(|node| edit(node, node as u64 - 1, &[], &[], b"the first"));
    let [first, second] = [&births[0], &births[1]];
    let root_with = |fork: &Bytes| root_and_text(&[first, second, fork]).0;
    let follows = [first, second];
    let [on_one, on_other, on_both] =
        [&[first][..], &[second], &follows].map(|births| edit(3, 3, &follows, births, b"the same"));
    let roots = [&on_one, &on_other, &on_both].map(root_with);
    assert_eq!(BTreeSet::from(roots).len(), 3);

    // As the first programs have made it, which told nobody.
    for (made, deed) in [
        (on_one, 4 + 32 + 32 + 8 + 2 + 2 * 32 + 4),
        (births[0].clone(), 4 + 32 + 32 + 8 + 2 + 4),
    ] {
        let mut unlinked = made.to_vec();
        assert_eq!(unlinked[deed], 10, "an edit of a text");
        unlinked[deed] = 7;
        let births = usize::from(unlinked[deed + 5]);
        let no_seen = deed + 7 + 40 * births;
        assert_eq!(unlinked.drain(no_seen..no_seen + 2).sum::<u8>(), 0);
        let delta = DeltaView::parse(&unlinked).unwrap();
        let author = delta.author();
        let sealed = keys()[&author].seal(id(CONTEXT), delta.id());
        let refused = vouch(id(CONTEXT), [Bytes::from(unlinked)], [sealed]);
        assert!(refused.unwrap_err().to_string().contains("not linked"));
    }
}

/// Or only what the edit's author had seen: where it had not seen what it deletes, it is void.
#[test]
fn roots_tell_what_the_author_of_an_edit_had_seen() {
    let micros = |n: u64| Hlc::from_micros(n);
    let mut theirs = Sequence::new(SequenceKind::Text, Key::new(2).node_id());
    let mut updates = ["ab", "c"].iter().zip(1..).map(|(more, n)| {
        theirs
            .insert(theirs.len(), Content::Text((*more).into()))
            .unwrap();
        theirs.take_update(micros(n)).unwrap().unwrap()
    });
    let (one, two) = (updates.next().unwrap(), updates.next().unwrap());
    let mut own = Sequence::new(SequenceKind::Text, Key::new(3).node_id());
    for (n, update) in [(1, &one), (2, &two)] {
        own.apply(Key::new(2).node_id(), micros(n), |_| Hlc::ZERO, update)
            .unwrap();
    }
    own.delete(2, 1).unwrap();
    let deletes = own.take_update(micros(3)).unwrap().unwrap();

    let birth = edit(2, 1, &[], &[], &one);
    let more = edit(2, 2, &[&birth], &[&birth], &two);
    let by_three = |parents: &[&Bytes], seen| edit_naming(3, 3, parents, &[&birth], seen, &deletes);
    let knew = by_three(&[&more], &[2]);
    let knew_not = by_three(&[&birth], &[1]);
    let [(root, text), (other_root, other_text)] =
        [&knew, &knew_not].map(|fork| root_and_text(&[&birth, &more, fork]));
    assert_eq!(
        (text, other_text),
        (Content::Text("ab".into()), Content::Text("abc".into()))
    );
    assert_ne!(root, other_root);
    // Whatever has come before it, it has seen the same.
    assert_eq!(root_and_text(&[&birth, &knew_not, &more]).0, other_root);
    // Who says that it has seen what it cannot have, or what is no edit, or says it of nobody or of too many, has no
    // edit at all, whatever has come before.
    let without = root_and_text(&[&birth, &more]);
    for (parents, seen) in [
        (&birth, &[2][..]),
        (&more, &[3]),
        (&more, &[]),
        (&more, &[2, 2]),
    ] {
        let lie = by_three(&[parents], seen);
        assert_eq!(root_and_text(&[&birth, &more, &lie]), without, "{seen:?}");
    }
    let lie = by_three(&[&birth], &[2]);
    assert_eq!(root_and_text(&[&birth, &lie, &more]), without);
}

#[test]
fn a_call_that_has_not_read_a_delta_is_not_committed_as_if_it_had() {
    let mut bench = Bench::new();
    let slot = shared(&mut bench);
    let first = set_by(2, 1, &[], "a");
    apply(&bench, slot, &first).unwrap();
    let seen = bench.ledger().snapshot().unwrap().seen(slot).unwrap();
    let call = |bench: &mut Bench, key, read| {
        let mut call = bench.effects(CONTEXT, slot, vec![set(key, "1")]);
        call.read = Some(read);
        Change::Call(call)
    };
    // Its own calls before it are no reason, those in flight among them.
    let batch = ["b", "c"].map(|key| call(&mut bench, key, seen.clone()));
    bench.commit(batch.to_vec());
    let in_flight = ["d", "e"].map(|key| call(&mut bench, key, seen.clone()));
    let second = set_by(3, 2, &[&first], "d");
    apply(&bench, slot, &second).unwrap();
    let verdicts = bench.ledger().commit(in_flight.to_vec()).unwrap();
    assert!(
        matches!(verdicts[0], Err(Refused::Overtaken { .. })),
        "{:?}",
        verdicts[0]
    );
    assert!(matches!(verdicts[1], Err(Refused::BehindRefused { .. })));
    assert_eq!(bench.get(slot, b"e"), None);
    let mut again = seen;
    again.note(Key::new(3).node_id(), Hlc::from_bits(2 << 12));
    let now = bench.ledger().snapshot().unwrap().seen(slot).unwrap();
    for node in [2, 3].map(|node| Key::new(node).node_id()) {
        assert_eq!(again.stamp(&node), now.stamp(&node));
    }
    let again = call(&mut bench, "e", again);
    bench.commit(vec![again]);
    bench.verify();
}

#[test]
fn a_call_behind_a_later_stamp_gets_the_next_one() {
    let mut bench = Bench::new();
    let slot = shared(&mut bench);
    let far = bench.now + 1_000_000;
    apply(&bench, slot, &set_by(2, far, &[], "a")).unwrap();
    let call = bench.effects(CONTEXT, slot, vec![set("b", "1")]);
    assert!(call.hlc < Hlc::from_bits(far << 12));
    let outcome = bench
        .ledger()
        .writer()
        .commit(vec![Change::Call(call)])
        .unwrap();
    let committed = outcome.verdicts.into_iter().next().unwrap().unwrap();
    assert_eq!(committed.hlc(), Hlc::from_bits((far << 12) + 1));
    // Replayed, it is the same call.
    bench.reopen();
    let head = bench.ledger().snapshot().unwrap().head(slot).unwrap();
    assert_eq!((head.hlc, head.root), (committed.hlc(), committed.root()));
    // What begins a text is named by its stamp, perhaps already.
    let edit = |update: &'static str| {
        Op::shared(
            "t".into(),
            Write::Edit {
                kind: EntryKind::Text,
                births: Default::default(),
                update: update.into(),
            },
        )
    };
    let call = bench.call(CONTEXT, slot, vec![edit("x")]);
    let refused = bench
        .ledger()
        .commit(vec![call])
        .unwrap()
        .remove(0)
        .unwrap_err();
    assert!(matches!(refused, Refused::StaleHlc { .. }), "{refused}");
    bench.verify();
}

/// Somebody has begun with the oldest deltas of a context, and writes before the others come.
#[test]
fn deltas_from_before_a_context_was_shared_can_be_parents() {
    let mut bench = Bench::new();
    let slot = bench.create(CONTEXT);
    let mut own = Vec::new();
    for n in 0..100 {
        let call = bench.call(CONTEXT, slot, vec![set(format!("key{n}"), "1")]);
        own.extend(bench.commit(vec![call]).remove(0).delta_id());
    }
    let mut log = Vec::new();
    let snapshot = bench.ledger().snapshot().unwrap();
    let all = &mut |_, delta: DeltaView<'_>| {
        log.push(Bytes::copy_from_slice(delta.canonical()));
        ControlFlow::Continue(())
    };
    snapshot.deltas(slot, 100, all).unwrap();
    drop(snapshot);
    log.reverse();
    let (tenth, newest) = (&log[10], &log[99]);
    let micros = DeltaView::parse(tenth).unwrap().hlc().micros();
    let early = set_by(2, micros + 3, &[tenth], "key5");
    let late = set_by(3, micros + 3, &[tenth], "key50");
    let redundant = set_by(4, micros + 500, &[tenth, newest], "a");
    let outcome = bench
        .ledger()
        .writer()
        .commit_shown(vec![Change::ShareContext(id(CONTEXT))]);
    assert!(outcome.unwrap().leaves_litter);
    let refused = apply(&bench, slot, &early).unwrap_err();
    assert!(
        matches!(refused, Refused::ParentsMissing { .. }),
        "{refused}"
    );
    let mut steps = 0;
    while bench.ledger().sweep(7).unwrap().is_more {
        steps += 1;
        bench.verify();
    }
    assert!(steps >= 100 / 7, "{steps} steps");
    apply(&bench, slot, &early).unwrap();
    assert_eq!(
        bench.get(slot, b"key5"),
        Some(vec![2]),
        "it has seen what it replaces"
    );
    apply(&bench, slot, &late).unwrap();
    // The first value was not there for it: both are, and the later one is read.
    assert_eq!(bench.get(slot, b"key50"), Some(b"1".to_vec()));
    let refused = apply(&bench, slot, &redundant).unwrap_err();
    assert!(
        matches!(refused, Refused::RedundantParent { .. }),
        "{refused}"
    );
    bench.verify();
}

/// A context with a hundred deltas of its own that was shared behind them, and the deltas.
fn shared_late(bench: &mut Bench) -> (ContextSlot, Vec<Bytes>) {
    let slot = bench.create(CONTEXT);
    for n in 0..100 {
        let call = bench.call(CONTEXT, slot, vec![set(format!("key{n}"), "1")]);
        bench.commit(vec![call]);
    }
    let mut log = Vec::new();
    let snapshot = bench.ledger().snapshot().unwrap();
    let all = &mut |_, delta: DeltaView<'_>| {
        log.push(Bytes::copy_from_slice(delta.canonical()));
        ControlFlow::Continue(())
    };
    snapshot.deltas(slot, 100, all).unwrap();
    log.reverse();
    bench.commit(vec![Change::ShareContext(id(CONTEXT))]);
    (slot, log)
}

/// None of the sweep is in the journal. So a delta that was applied thanks to it alone is not, either: it would
/// be replayed where its parents are unknown.
#[test]
fn a_delta_that_follows_what_was_just_entered_survives_a_crash() {
    let mut bench = Bench::new();
    let (slot, log) = shared_late(&mut bench);
    let micros = DeltaView::parse(&log[10]).unwrap().hlc().micros();
    let ledger = bench.ledger().clone();
    let mut writer = ledger.writer();
    while writer.sweep(&StepBounds::rows(7)).unwrap().is_more {}
    assert!(writer.has_collected());
    let call = bench.call(CONTEXT, slot, vec![set("ours", "1")]);
    let outcome = writer.commit(vec![call]).unwrap();
    assert!(!outcome.is_shown && outcome.verdicts[0].is_ok());
    let follows = |node, key| set_by(node, micros + 3, &[&log[10]], key);
    for (node, key, is_shown) in [(2, "key5", true), (3, "key6", false)] {
        let delta = delta_of(slot, &follows(node, key));
        let outcome = writer.commit(vec![delta]).unwrap();
        outcome
            .verdicts
            .into_iter()
            .for_each(|it| drop(it.unwrap()));
        assert_eq!(outcome.is_shown, is_shown, "{key}");
    }
    drop(writer);
    drop(ledger);
    bench.reopen();
    bench.verify();
    assert_eq!(bench.get(slot, b"key5"), Some(vec![2]));
    assert_eq!(bench.get(slot, b"key6"), Some(vec![3]));
    assert_eq!(bench.get(slot, b"ours"), Some(b"1".to_vec()));
}

/// Both go on in one transaction, from the two ends of a history.
#[test]
fn what_is_pruned_before_it_was_entered_is_no_damage() {
    let mut bench = Bench::new();
    let (slot, _) = shared_late(&mut bench);
    bench.commit(vec![Change::SetMembers {
        context: id(CONTEXT),
        members: vec![],
        now: at(1),
    }]);
    let mut writer = bench.ledger().writer();
    let mut dropped = 0;
    for _ in 0..20 {
        let swept = writer.sweep(&StepBounds::rows(10)).unwrap();
        assert!(swept.damaged.is_empty(), "{:?}", swept.damaged);
        let now = at(bench.now);
        let collected = writer.collect(&KEEP_NOTHING, now, &StepBounds::default(), Reach::All);
        let collected = collected.unwrap();
        assert!(collected.damaged.is_empty(), "{:?}", collected.damaged);
        dropped += collected.deltas;
    }
    assert!(dropped > 0, "nothing was pruned");
    writer.checkpoint().unwrap();
    drop(writer);
    assert!(head(&bench, slot).log_pruned > 0);
    bench.verify();
}

#[test]
fn the_newest_seal_of_each_author_is_kept() {
    let mut bench = Bench::new();
    let slot = shared(&mut bench);
    let key = Key::new(2);
    let first = set_by(2, 1, &[], "a");
    let second = set_by(2, 2, &[&first], "a");
    let seal = |canonical: &Bytes| Change::KeepSeal(key.seal(id(CONTEXT), id_of(canonical)));
    let other = Key::new(3);
    let refused = bench
        .ledger()
        .commit(vec![seal(&first)])
        .unwrap()
        .remove(0)
        .unwrap_err();
    assert!(
        matches!(refused, Refused::SealOfUnknown { .. }),
        "{refused}"
    );
    apply(&bench, slot, &first).unwrap();
    let foreign = Change::KeepSeal(other.seal(id(CONTEXT), id_of(&first)));
    let refused = bench
        .ledger()
        .commit(vec![foreign])
        .unwrap()
        .remove(0)
        .unwrap_err();
    assert!(matches!(refused, Refused::NotItsAuthor { .. }), "{refused}");
    let batch = vec![delta_of(slot, &second), seal(&second), seal(&first)];
    let outcome = bench.ledger().writer().commit(batch).unwrap();
    assert!(!outcome.is_shown && outcome.verdicts.iter().all(Result::is_ok));
    // They come back out of the journal.
    bench.reopen();
    let kept = |bench: &Bench| {
        let mut kept = Vec::new();
        let snapshot = bench.ledger().snapshot().unwrap();
        let show = &mut |stamp, sealed: corelet_store::Sealed| {
            kept.push((stamp, sealed.delta(), sealed.author()));
            ControlFlow::Continue(())
        };
        snapshot.seals(slot, show).unwrap();
        kept
    };
    let newest = (Hlc::from_bits(2 << 12), id_of(&second), key.node_id());
    assert_eq!(kept(&bench), [newest]);
    bench.verify();
    let snapshot = bench.ledger().snapshot().unwrap();
    assert_eq!(
        snapshot.newest_delta(slot, key.node_id(), 9).unwrap(),
        Some(id_of(&second))
    );
    assert_eq!(
        snapshot.newest_delta(slot, other.node_id(), 9).unwrap(),
        None
    );
    drop(snapshot);
    // They go with their context.
    bench.commit(vec![Change::DeleteContext(id(CONTEXT))]);
    while bench.ledger().sweep(100).unwrap().is_more {}
    bench.verify();
}

/// Of a long history some seals in between stay, so that it can be sent on in parts.
#[test]
fn a_long_history_keeps_some_seals_on_the_way() {
    let mut bench = Bench::with_map(256 << 20);
    let slot = shared(&mut bench);
    let key = Key::new(2);
    let mut last: Option<Bytes> = None;
    for chunk in 0..50 {
        let mut batch = Vec::new();
        for n in 0..100 {
            let parents: Vec<&Bytes> = last.iter().collect();
            let next = set_by(2, 1 + chunk * 100 + n, &parents, "a");
            batch.push(delta_of(slot, &next));
            last = Some(next);
        }
        let newest = id_of(last.as_ref().unwrap());
        batch.push(Change::KeepSeal(key.seal(id(CONTEXT), newest)));
        bench.commit(batch);
    }
    let mut stamps = Vec::new();
    let snapshot = bench.ledger().snapshot().unwrap();
    let show = &mut |stamp: Hlc, _| {
        stamps.push(stamp.micros());
        ControlFlow::Continue(())
    };
    snapshot.seals(slot, show).unwrap();
    drop(snapshot);
    assert_eq!(stamps.last(), Some(&5000));
    let steps: Vec<u64> = stamps.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (last, between) = steps.split_last().unwrap();
    assert!(
        between.iter().all(|step| (1024..1300).contains(step)),
        "{stamps:?}"
    );
    assert!(*last <= 1300 && stamps[0] <= 1300, "{stamps:?}");
    bench.verify();
}

/// Two deltas of one author that do not know of each other: the second is refused, and both
/// together are proof, whoever sees them.
#[test]
fn an_author_who_forks_is_found_out_and_proof_is_kept() {
    let base = set_by(3, 1, &[], "a");
    let one = set_by(2, 5, &[&base], "b");
    let other = set_by(2, 6, &[&base], "c");
    let key = Key::new(2);
    let seal = |canonical: &Bytes| key.seal(id(CONTEXT), id_of(canonical));
    let branch = |canonical: &Bytes| {
        let path = vec![canonical.clone()];
        corelet_store::Branch::check(path, seal(canonical)).unwrap()
    };
    for (known, refused) in [(&one, &other), (&other, &one)] {
        let mut bench = Bench::new();
        let slot = shared(&mut bench);
        apply(&bench, slot, &base).unwrap();
        apply(&bench, slot, known).unwrap();
        let keep = |bench: &Bench, canonical: &Bytes| {
            let batch = vec![Change::KeepFork(branch(canonical))];
            bench.ledger().commit(batch).unwrap().remove(0)
        };
        let error = apply(&bench, slot, refused).unwrap_err();
        let is_found = matches!(error, Refused::Forked { .. } | Refused::NotNewer { .. });
        assert!(is_found, "{error}");
        // What is here is no proof, nor is anything without the seal of what is here.
        let error = keep(&bench, known).unwrap_err();
        assert!(matches!(error, Refused::NoFork { .. }), "{error}");
        let error = keep(&bench, refused).unwrap_err();
        assert!(matches!(error, Refused::NoFork { .. }), "{error}");
        bench.commit(vec![Change::KeepSeal(seal(known))]);
        // A delta that follows what is here is none, either.
        let next = set_by(2, 9, &[known], "d");
        let error = keep(&bench, &next).unwrap_err();
        assert!(matches!(error, Refused::NoFork { .. }), "{error}");
        let unknown = set_by(2, 9, &[refused], "d");
        let error = keep(&bench, &unknown).unwrap_err();
        assert!(matches!(error, Refused::ParentsMissing { .. }), "{error}");
        let before = root(&bench, slot);
        keep(&bench, refused).unwrap();
        keep(&bench, refused).unwrap();
        bench.reopen();
        let forks = bench.ledger().snapshot().unwrap().forks(slot).unwrap();
        assert_eq!(forks.len(), 1);
        assert_eq!(forks[0].known, branch(known));
        assert_eq!(forks[0].other, branch(refused));
        assert_eq!(root(&bench, slot), before);
        bench.verify();
        // The branch that is here goes on.
        apply(&bench, slot, &next).unwrap();
        bench.commit(vec![Change::DeleteContext(id(CONTEXT))]);
        while bench.ledger().sweep(100).unwrap().is_more {}
        bench.verify();
    }
}
