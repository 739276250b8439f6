//! Deleting contexts: gone at once, swept in bounded steps, never mixed up
//! with a later context of the same id.

use corelet_store::{Change, ContextSlot};

use crate::{Bench, event, id, set};

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

    // 1000 entries in 269 nodes of a trie, 10 events and 10 deltas, however often we
    // restart.
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
    assert_eq!(steps, [300, 300, 300, 300, 89]);
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
    // 100 entries in a root and 16 buckets, an event and a delta.
    let swept = bench.ledger().sweep(119).unwrap();
    assert_eq!((swept.records, swept.is_more), (119, true));
    let swept = bench.ledger().sweep(119).unwrap();
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
