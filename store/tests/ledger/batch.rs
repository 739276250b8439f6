//! What one commit does: order inside a batch, receipts, refusals, bounds.

use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{
    ApplicationId, ApplicationRecord, BATCH_BYTES_MAX, Change, ContextSlot, DELTA_BYTES_MAX, Hlc,
    KEY_BYTES_MAX, NodeId, Refused, Root, StoreError, VALUE_BYTES_MAX, Write, reconcile_names,
};

use crate::{Bench, event, id, remove, set, written};

#[test]
fn calls_of_one_batch_see_the_calls_before_them() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let batch = vec![
        bench.call(1, slot, vec![set("a", "1"), set("b", "1")]),
        bench.call(
            1,
            slot,
            vec![
                set("a", "22"),
                remove("b"),
                set("c", "3"),
                remove("nothing"),
            ],
        ),
        bench.call(1, slot, vec![set("b", "4"), remove("c")]),
    ];
    let receipts = bench.commit(batch);
    assert_eq!(
        receipts.iter().map(|r| r.version()).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let head = bench.ledger().snapshot().unwrap().head(slot).unwrap();
    assert_eq!((head.entries, head.bytes, head.version), (2, 5, 3));
    assert_eq!(head.root, receipts[2].root());
    assert_eq!(head.deltas, [receipts[2].delta_id().unwrap()]);
    assert_eq!(bench.get(slot, b"a").unwrap(), b"22");
    assert_eq!(bench.get(slot, b"b").unwrap(), b"4");
    assert_eq!(bench.get(slot, b"c"), None);
    bench.verify();
}

#[test]
fn removing_everything_gives_the_empty_root_again() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let batch = vec![
        bench.call(1, slot, vec![set("a", "1"), set("b", "2")]),
        bench.call(1, slot, vec![remove("a"), remove("b")]),
    ];
    assert_eq!(bench.commit(batch)[1].root(), Root::EMPTY);
    assert_eq!(bench.verify().entries, 0);
}

#[test]
fn the_same_deltas_give_the_same_roots_however_they_are_batched() {
    let (mut one, mut many) = (Bench::new(), Bench::new());
    let (slot, other) = (one.create(1), many.create(1));
    let calls = |bench: &mut Bench, slot| -> Vec<Change> {
        (0..20)
            .map(|n| bench.call(1, slot, vec![set([n % 7], [n]), remove([n % 3])]))
            .collect()
    };
    let batch = calls(&mut one, slot);
    let together = one.commit(batch).last().map(|r| (r.root(), r.delta_id()));
    let mut apart = None;
    for call in calls(&mut many, other) {
        apart = many
            .commit(vec![call])
            .last()
            .map(|r| (r.root(), r.delta_id()));
    }
    assert_eq!(together, apart);
}

#[test]
fn a_call_without_effects_has_a_receipt_but_no_delta() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let batch = vec![
        bench.call(1, slot, vec![set("a", "1")]),
        bench.call(1, slot, vec![]),
    ];
    let receipts = bench.commit(batch);
    assert_eq!(receipts[1].delta_id(), None);
    assert_eq!(
        (receipts[1].root(), receipts[1].version()),
        (receipts[0].root(), 1)
    );
}

#[test]
fn events_are_numbered_without_gaps_and_outlive_a_restart() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    for round in 0..3_u8 {
        let mut effects = bench.effects(1, slot, vec![]);
        effects.events = vec![event("said", &[round, 0]), event("said", &[round, 1])];
        let receipt = bench.commit(vec![Change::Call(effects)]).remove(0);
        assert!(receipt.delta_id().is_some());
        assert_eq!(receipt.version(), 0, "an event is no change of the state");
        let sequences: Vec<u64> = receipt
            .events()
            .iter()
            .map(|event| event.sequence)
            .collect();
        let first = u64::from(round) * 2 + 1;
        assert_eq!(sequences, [first, first + 1]);
        bench.reopen();
    }
    let mut seen = Vec::new();
    let snapshot = bench.ledger().snapshot().unwrap();
    snapshot
        .events(slot, 3, 3, &mut |event| {
            seen.push((
                event.sequence,
                event.kind.to_owned(),
                event.payload.to_vec(),
            ));
            ControlFlow::Continue(())
        })
        .unwrap();
    let expected: Vec<(u64, String, Vec<u8>)> = [(3, [1, 0]), (4, [1, 1]), (5, [2, 0])]
        .map(|(n, p)| (n, "said".to_owned(), p.to_vec()))
        .into();
    assert_eq!(seen, expected);
    bench.verify();
}

#[test]
fn deltas_tell_what_happened_newest_first() {
    let mut bench = Bench::new();
    let (slot, other) = (bench.create(1), bench.create(2));
    let mut ids = Vec::new();
    for n in 0..4_u8 {
        let batch = vec![
            bench.call(1, slot, vec![set("k", [n])]),
            bench.call(2, other, vec![set("x", "y")]),
        ];
        ids.extend(bench.commit(batch)[0].delta_id());
    }
    let snapshot = bench.ledger().snapshot().unwrap();
    let mut seen = Vec::new();
    snapshot
        .deltas(slot, 3, &mut |_, delta| {
            let op = delta.ops().next().unwrap();
            seen.push((
                delta.id(),
                delta.parents().collect::<Vec<_>>(),
                written(op.write),
            ));
            assert_eq!(delta.context(), id(1));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(
        seen,
        [
            (ids[3], vec![ids[2]], vec![3]),
            (ids[2], vec![ids[1]], vec![2]),
            (ids[1], vec![ids[0]], vec![1])
        ]
    );
}

/// A batch in which some changes are refused: they leave nothing, and their
/// neighbours do not notice.
#[test]
fn a_refused_change_leaves_no_trace_and_disturbs_nobody() {
    fn check(refuse: impl FnOnce(&mut Bench, ContextSlot) -> Change, expected: &str) {
        let mut bench = Bench::new();
        let slot = bench.create(1);
        let name = Change::PutName {
            name: "taken".to_owned(),
            context: id(1),
        };
        bench.commit(vec![name]);
        // Calls of the same context behind a refused one are refused, too (see
        // refusals.rs), so the neighbour is another one.
        let neighbour = bench.create(3);
        let before = bench.call(1, slot, vec![set("a", "1")]);
        let refused = refuse(&mut bench, slot);
        let after = bench.call(3, neighbour, vec![set("b", "2")]);
        let mut verdicts = bench.ledger().commit(vec![before, refused, after]).unwrap();
        let last = verdicts.pop().unwrap().unwrap();
        let refused = verdicts.pop().unwrap().unwrap_err();
        let first = verdicts.pop().unwrap().unwrap();
        assert!(refused.to_string().contains(expected), "{refused}");
        let snapshot = bench.ledger().snapshot().unwrap();
        for (slot, committed) in [(slot, first), (neighbour, last)] {
            let head = snapshot.head(slot).unwrap();
            assert_eq!(head.root, committed.root());
            assert_eq!((head.version, head.entries), (1, 1));
        }
        assert_eq!(snapshot.context_count().unwrap(), 2);
        bench.verify();
    }
    let long_key = vec![0; KEY_BYTES_MAX + 1];
    check(
        |bench, slot| bench.call(1, slot, vec![set("x", "x"), set(&long_key, "")]),
        "504",
    );
    let long_value = vec![0; VALUE_BYTES_MAX + 1];
    check(
        |bench, slot| bench.call(1, slot, vec![set("x", "x"), set("y", &long_value)]),
        "10485761",
    );
    check(
        |bench, slot| bench.call(9, slot, vec![set("x", "x")]),
        "does not belong",
    );
    check(
        |bench, _| bench.call(9, ContextSlot::UNASSIGNED, vec![set("x", "x")]),
        "does not exist",
    );
    check(|bench, _| bench.new_context(1), "exists already");
    check(|_, _| Change::DeleteContext(id(9)), "does not exist");
    check(
        |_, _| Change::PutName {
            name: "taken".to_owned(),
            context: id(2),
        },
        "already belongs",
    );
    check(
        |_, _| Change::PutName {
            name: String::new(),
            context: id(2),
        },
        "must lie in 1..=128",
    );
    let stale = |bench: &mut Bench, slot| {
        let mut effects = bench.effects(1, slot, vec![set("x", "x")]);
        effects.hlc = Hlc::from_bits(1);
        Change::Call(effects)
    };
    check(stale, "before the context's last stamp");
    for (first, second) in [("a", "a"), ("b", "a")] {
        let unsorted = |bench: &mut Bench, slot| {
            let mut effects = bench.effects(1, slot, vec![]);
            effects.ops = vec![set(first, "1"), set(second, "2")];
            Change::Call(effects)
        };
        check(unsorted, "ascending order");
    }
}

#[test]
fn the_largest_key_and_value_fit() {
    let mut bench = Bench::with_map(256 << 20);
    let slot = bench.create(1);
    let (key, value) = (vec![0xff; KEY_BYTES_MAX], vec![7; VALUE_BYTES_MAX]);
    let call = bench.call(1, slot, vec![set(&key, &value), set("", "the empty key")]);
    bench.commit(vec![call]);
    bench.reopen();
    assert_eq!(bench.get(slot, &key).unwrap(), value);
    assert_eq!(bench.get(slot, b"").unwrap(), b"the empty key");
    assert_eq!(bench.get(slot, &[0xff; KEY_BYTES_MAX + 1]), None);
    bench.verify();
}

#[test]
fn a_batch_above_its_bound_is_refused_whole() {
    let mut bench = Bench::with_map(1 << 30);
    let slot = bench.create(1);
    let big = Bytes::from(vec![0; VALUE_BYTES_MAX]);
    let calls = BATCH_BYTES_MAX as usize / VALUE_BYTES_MAX + 1;
    let batch = (0..calls)
        .map(|n| {
            let mut op = set([n as u8], "");
            op.write = Write::Set(big.clone());
            bench.call(1, slot, vec![op])
        })
        .collect();
    let error = bench.ledger().commit(batch).unwrap_err();
    assert!(
        matches!(error, StoreError::BatchTooLarge { .. }) && !error.is_fatal(),
        "{error}"
    );
    assert_eq!(bench.verify().entries, 0);
}

#[test]
fn a_context_can_be_made_used_and_deleted_in_one_batch() {
    let mut bench = Bench::new();
    let create = bench.new_context(1);
    let call = bench.call(1, ContextSlot::UNASSIGNED, vec![set("a", "1")]);
    let again = bench.call(1, ContextSlot::UNASSIGNED, vec![set("a", "1")]);
    let verdicts = bench
        .ledger()
        .commit(vec![create, call, Change::DeleteContext(id(1)), again])
        .unwrap();
    let ok: Vec<bool> = verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, true, true, false]);
    assert!(matches!(verdicts[3], Err(Refused::UnknownContext { .. })));
    bench.verify();
}

#[test]
fn a_second_author_is_told_apart() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let mut roots = Vec::new();
    for author in [1, 2, 1] {
        let mut effects = bench.effects(1, slot, vec![set("a", "1")]);
        effects.author = NodeId::from_bytes([author; 32]);
        roots.push(bench.commit(vec![Change::Call(effects)])[0].root());
        bench.reopen();
    }
    assert_ne!(roots[0], roots[1]);
    bench.verify();
}

#[test]
fn a_clock_can_go_on_behind_the_last_stamp() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    assert_eq!(bench.ledger().last_hlc(), Hlc::ZERO);
    let effects = bench.effects(1, slot, vec![set("a", "1")]);
    let hlc = effects.hlc;
    bench.commit(vec![Change::Call(effects)]);
    assert_eq!(bench.ledger().last_hlc(), hlc);
    bench.reopen();
    assert_eq!(bench.ledger().last_hlc(), hlc);
}

#[test]
fn applications_and_names_are_kept() {
    let mut bench = Bench::new();
    bench.create(1);
    let record = ApplicationRecord {
        id: ApplicationId::from_bytes([5; 32]),
        name: "kv".to_owned(),
        version: "1.0".to_owned(),
        size_bytes: 7,
        installed: Hlc::from_bits(9),
        description: "{}".to_owned(),
        reuse: corelet_store::Reuse::default(),
    };
    let name = |name: &str, n| Change::PutName {
        name: name.to_owned(),
        context: id(n),
    };
    bench.commit(vec![
        Change::PutApplication(record.clone()),
        name("b", 1),
        name("a", 1),
        name("lost", 2),
    ]);
    bench.reopen();
    let snapshot = bench.ledger().snapshot().unwrap();
    assert_eq!(
        snapshot.applications().unwrap(),
        std::slice::from_ref(&record)
    );
    assert_eq!(snapshot.application(&record.id).unwrap().unwrap(), record);
    assert_eq!(snapshot.name("a").unwrap(), Some(id(1)));
    let (key, found) = snapshot.names(Some(b"a"), 1).unwrap().remove(0);
    assert_eq!(
        (&key[..], found.unwrap()),
        (&b"b"[..], ("b".to_owned(), id(1)))
    );
    drop(snapshot);
    // The context that "lost" stands for was never made.
    assert_eq!(
        reconcile_names(&[bench.ledger().clone()]).unwrap().freed,
        ["lost"]
    );
    let snapshot = bench.ledger().snapshot().unwrap();
    assert_eq!(snapshot.name("lost").unwrap(), None);
    assert_eq!(snapshot.name("a").unwrap(), Some(id(1)));
    bench.commit(vec![
        Change::RemoveApplication(record.id),
        Change::RemoveName {
            name: "a".to_owned(),
            context: id(1),
        },
    ]);
    let snapshot = bench.ledger().snapshot().unwrap();
    assert!(snapshot.applications().unwrap().is_empty());
    assert_eq!(snapshot.name("a").unwrap(), None);
}

#[test]
fn a_snapshot_does_not_move() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let call = bench.call(1, slot, vec![set("a", "old")]);
    bench.commit(vec![call]);
    let snapshot = bench.ledger().snapshot().unwrap();
    let call = bench.call(1, slot, vec![set("a", "new"), set("b", "")]);
    bench.commit(vec![call]);
    assert_eq!(snapshot.register(slot, b"a").unwrap().unwrap(), b"old");
    assert_eq!(snapshot.register(slot, b"b").unwrap(), None);
    assert_eq!(bench.get(slot, b"a").unwrap(), b"new");
}

/// However its parts are bounded: other nodes would take no such delta.
#[test]
fn a_call_whose_delta_no_node_would_take_is_refused() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let half = vec![7; 8 << 20];
    let both = vec![set("a", half.clone()), set("b", half.clone())];
    let call = bench.call(1, slot, both);
    let outcome = bench.ledger().commit(vec![call]).unwrap();
    let bounded = matches!(
        outcome[0],
        Err(Refused::OutOfBounds {
            max: DELTA_BYTES_MAX,
            ..
        })
    );
    assert!(bounded, "{:?}", outcome[0]);
    let less = vec![
        set("a", half.clone()),
        set("b", &half[..half.len() - (64 << 10)]),
    ];
    let call = bench.call(1, slot, less);
    let receipts = bench.commit(vec![call]);
    assert_eq!(receipts[0].version(), 1);
    bench.verify();
}
