//! Deleting contexts: gone at once, swept in bounded steps, never mixed up
//! with a later context of the same id.

use bytes::Bytes;
use corelet_store::{Births, Change, ContextSlot, EntryKind, Op, Write};

use crate::{Bench, event, id, remove, set};

fn fill(bench: &mut Bench, n: u8, slot: ContextSlot, entries: u32) {
    for chunk in (0..entries).collect::<Vec<_>>().chunks(100) {
        let ops = chunk
            .iter()
            .map(|n| set(n.to_be_bytes(), "value"))
            .collect();
        let mut effects = bench.effects(n, slot, ops);
        effects.events = vec![event("filled", b"")];
        bench.commit(vec![Change::Call(effects)]);
    }
}

#[test]
fn a_deleted_context_is_gone_at_once_and_swept_in_steps() {
    let mut bench = Bench::new();
    let slots = [1, 2, 3].map(|n| bench.create(n));
    for (n, slot) in (1..).zip(slots) {
        fill(&mut bench, n, slot, 1000);
    }
    let name = Change::PutName {
        name: "other".to_owned(),
        context: id(1),
    };
    bench.commit(vec![name, Change::DeleteContext(id(2))]);
    let snapshot = bench.ledger().snapshot().unwrap();
    assert_eq!(snapshot.context(&id(2)).unwrap(), None);
    assert!(snapshot.head(slots[1]).is_err());
    drop(snapshot);
    let verified = bench.verify();
    assert_eq!((verified.contexts, verified.entries), (2, 2000));

    // 1000 entries in 269 nodes of a trie, 10 events, 10 deltas and their sizes, however
    // often we restart.
    let mut steps = Vec::new();
    loop {
        let swept = bench.ledger().sweep(300).unwrap();
        steps.push(swept.records);
        bench.verify();
        bench.reopen();
        if !swept.is_more {
            break;
        }
    }
    assert_eq!(steps, [300, 300, 300, 300, 90]);
    let stats = bench.ledger().stats().unwrap();
    assert_eq!(
        (
            stats.contexts,
            stats.entries,
            stats.deltas,
            stats.events,
            stats.graves
        ),
        (2, 2000, 20, 20, 0)
    );
    assert_eq!(bench.ledger().sweep(300).unwrap().records, 0);
    assert_eq!(
        bench.ledger().snapshot().unwrap().name("other").unwrap(),
        Some(id(1))
    );
}

#[test]
fn a_budget_that_fits_exactly_needs_one_more_step() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    fill(&mut bench, 1, slot, 100);
    bench.commit(vec![Change::DeleteContext(id(1))]);
    // 100 entries in a root and 16 buckets, an event, a delta and their sizes.
    let swept = bench.ledger().sweep(120).unwrap();
    assert_eq!((swept.records, swept.is_more), (120, true));
    let swept = bench.ledger().sweep(120).unwrap();
    assert_eq!((swept.records, swept.is_more), (0, false));
}

#[test]
fn a_context_made_again_under_its_old_id_starts_empty() {
    let mut bench = Bench::new();
    let old = bench.create(1);
    fill(&mut bench, 1, old, 500);
    bench.commit(vec![Change::DeleteContext(id(1))]);
    let new = bench.create(1);
    assert_ne!(old, new);
    fill(&mut bench, 1, new, 10);
    while bench.ledger().sweep(100).unwrap().is_more {}
    assert_eq!(bench.verify().entries, 10);
    assert_eq!(bench.get(new, &3_u32.to_be_bytes()).unwrap(), b"value");
    let late = bench.call(1, old, vec![set("x", "y")]);
    assert!(
        bench.ledger().commit(vec![late]).unwrap()[0].is_err(),
        "the old slot is gone for good"
    );
}

#[test]
fn slots_are_not_given_again_after_a_restart() {
    let mut bench = Bench::new();
    let first = bench.create(1);
    bench.commit(vec![Change::DeleteContext(id(1))]);
    while bench.ledger().sweep(100).unwrap().is_more {}
    bench.reopen();
    assert!(bench.create(2) > first);
}

#[test]
fn the_name_goes_with_its_context() {
    let mut bench = Bench::new();
    let Change::CreateContext(mut new) = bench.new_context(1) else {
        unreachable!()
    };
    new.name = Some("mine".to_owned());
    let name = Change::PutName {
        name: "mine".to_owned(),
        context: id(1),
    };
    bench.commit(vec![name, Change::CreateContext(new)]);
    assert_eq!(
        bench.ledger().snapshot().unwrap().name("mine").unwrap(),
        Some(id(1))
    );
    bench.commit(vec![Change::DeleteContext(id(1))]);
    assert_eq!(
        bench.ledger().snapshot().unwrap().name("mine").unwrap(),
        None
    );
}

/// A text of 50 edits, removed; one that two nodes have begun, of which one part stays.
#[test]
fn edits_of_what_was_removed_are_swept_in_steps_and_others_stay() {
    use corelet_store::{Births, EntryKind, Op, Space, Write};

    let mut bench = Bench::new();
    let slot = bench.create(1);
    let births = |bench: &Bench, key: &[u8]| {
        let snapshot = bench.ledger().snapshot().unwrap();
        let found = snapshot.sequence(slot, Space::Shared, key, EntryKind::Text);
        found.unwrap().map(|facts| facts.births).unwrap_or_default()
    };
    let edit = |births: Births, n: u8| Write::Edit {
        kind: EntryKind::Text,
        births,
        update: vec![n; 100].into(),
    };
    for n in 0..50 {
        for key in ["gone", "kept"] {
            let write = edit(births(&bench, key.as_bytes()), n);
            let call = bench.call(1, slot, vec![Op::shared(key.into(), write)]);
            bench.commit(vec![call]);
        }
    }
    let edits = |bench: &Bench, key: &str| {
        let snapshot = bench.ledger().snapshot().unwrap();
        let mut edits = 0;
        let mut count = |_: corelet_store::EditView<'_>| {
            edits += 1;
            std::ops::ControlFlow::Continue(())
        };
        snapshot
            .edits(
                slot,
                Space::Shared,
                key.as_bytes(),
                EntryKind::Text,
                &mut count,
            )
            .unwrap();
        edits
    };
    assert_eq!((edits(&bench, "gone"), edits(&bench, "kept")), (50, 50));
    let call = bench.call(1, slot, vec![corelet_store::Op::remove("gone".into())]);
    let outcome = bench.ledger().writer().commit_shown(vec![call]).unwrap();
    assert!(outcome.leaves_litter && outcome.verdicts[0].is_ok());
    assert_eq!((edits(&bench, "gone"), edits(&bench, "kept")), (0, 50));
    assert_eq!(bench.ledger().stats().unwrap().edits, 100, "not swept yet");
    // Begun anew under the same key before the sweep has come to it.
    let call = bench.call(
        1,
        slot,
        vec![Op::shared("gone".into(), edit(Births::default(), 1))],
    );
    bench.commit(vec![call]);
    let mut steps = 0;
    while bench.ledger().sweep(20).unwrap().is_more {
        steps += 1;
        bench.verify();
        bench.reopen();
        assert_eq!((edits(&bench, "gone"), edits(&bench, "kept")), (1, 50));
    }
    assert!(steps >= 2, "{steps} steps of 20 for 51 edits");
    assert_eq!(bench.ledger().stats().unwrap().edits, 51);
    assert!(!bench.ledger().sweep(20).unwrap().is_more);
}

/// Positions of a log that was swept empty are not given again, also after a restart.
#[test]
fn positions_of_the_log_are_given_once() {
    let mut bench = Bench::new();
    let position = |bench: &mut Bench, n| {
        let slot = bench.create(n);
        let call = bench.call(n, slot, vec![set("k", "v")]);
        bench.commit(vec![call]);
        let mut newest = 0;
        let snapshot = bench.ledger().snapshot().unwrap();
        snapshot
            .deltas(slot, 1, &mut |position, _| {
                newest = position;
                std::ops::ControlFlow::Break(())
            })
            .unwrap();
        newest
    };
    let before = position(&mut bench, 1);
    bench.commit(vec![Change::DeleteContext(id(1))]);
    while bench.ledger().sweep(100).unwrap().is_more {}
    assert_eq!(bench.ledger().stats().unwrap().deltas, 0);
    bench.reopen();
    assert!(position(&mut bench, 2) > before);
}

/// What no delta took part in moves the clock on as well.
#[test]
fn a_stamp_of_a_private_write_is_remembered() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let private = corelet_store::Op {
        space: corelet_store::Space::Private,
        ..set("k", "v")
    };
    let call = bench.call(1, slot, vec![private]);
    let Change::Call(effects) = &call else {
        unreachable!("it is one")
    };
    let stamp = effects.hlc;
    bench.commit(vec![call]);
    bench.reopen();
    assert_eq!(bench.ledger().last_hlc(), stamp);
}

/// The sweep tells of it, and goes on with everything else.
#[test]
fn a_damaged_record_does_not_keep_others_from_being_swept() {
    const NEEDLE: &[u8] = b"a needle in a haystack";
    let mut bench = Bench::new();
    let slots = [1, 2, 3].map(|n| bench.create(n));
    fill(&mut bench, 2, slots[1], 50);
    let call = bench.call(1, slots[0], vec![set("first", "x")]);
    bench.commit(vec![call]);
    let call = bench.call(1, slots[0], vec![set("second", NEEDLE)]);
    bench.commit(vec![call]);
    let call = bench.call(1, slots[0], vec![set("second", "y")]);
    bench.commit(vec![call]);
    // A text that was removed, of a context that is damaged later, and one of another.
    let text = |update: &'static [u8]| {
        let write = Write::Edit {
            kind: EntryKind::Text,
            births: Births::default(),
            update: Bytes::from_static(update),
        };
        Op::shared("text".into(), write)
    };
    for (n, update) in [(3, NEEDLE), (1, b"fine")] {
        let slot = slots[usize::from(n) - 1];
        for ops in [vec![text(update)], vec![remove("text")]] {
            let call = bench.call(n, slot, ops);
            bench.commit(vec![call]);
        }
    }
    bench.commit(
        vec![1, 2]
            .into_iter()
            .map(id)
            .map(Change::DeleteContext)
            .collect(),
    );
    bench.ledger().writer().checkpoint().unwrap();
    bench.close();
    crate::damage::flip(&bench, NEEDLE, 3);
    bench.reopen();
    let mut damaged = Vec::new();
    for step in 0.. {
        let swept = bench.ledger().sweep(10).unwrap();
        damaged.extend(swept.damaged.into_iter().filter_map(|(slot, _)| slot));
        assert!(step < 100, "it never ends");
        if !swept.is_more {
            break;
        }
    }
    damaged.sort_unstable();
    damaged.dedup();
    // A delta of the deleted one, and an edit of the one that lives.
    assert_eq!(damaged, [slots[0], slots[2]]);
    let stats = bench.ledger().stats().unwrap();
    assert_eq!((stats.graves, stats.entries, stats.edits), (0, 0, 1));
    // Out of service it is not looked at again.
    bench.commit(vec![Change::Quarantine {
        context: id(3),
        why: Some("its text is damaged".to_owned()),
    }]);
    let swept = bench.ledger().sweep(10).unwrap();
    assert!(swept.damaged.is_empty() && !swept.is_more, "{swept:?}");
}
