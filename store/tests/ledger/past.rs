//! A context as it was: after each of its deltas it is what it was then, whatever
//! kinds of entries it has and however many authors wrote at once.

mod reach;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{
    Arrival, Change, ContextId, ContextSlot, DeltaId, EntryKind, EntryValue, ExportScope, Hlc,
    Keep, Op, PastBounds, PastError, PastState, RemoteDelta, Retention, Sealer, Snapshot, Space,
    Write, export_context, import_context,
};

use crate::fixtures::open;
use crate::retention::{KEEP_NOTHING, at, collect, head};
use crate::signed::{Key, Lie, LiedWrite, forge, vouched};
use crate::words::{Content, SEQUENCES, content, edit_in_words};
use crate::{Bench, id, remove, set};

fn now(snapshot: &Snapshot, slot: ContextSlot) -> Content {
    content(snapshot, slot, &SPACES)
}

const SPACES: [Space; 2] = [Space::Shared, Space::Owned];

fn entries_then(state: &PastState<'_>) -> BTreeMap<(Space, Vec<u8>), String> {
    let mut entries = BTreeMap::new();
    for space in Space::ALL {
        let visit = &mut |key: &[u8], value: EntryValue<'_>| {
            entries.insert((space, key.to_vec()), format!("{value:?}"));
            Ok(ControlFlow::Continue(()))
        };
        state.scan(space, &[], visit).unwrap();
    }
    for ((space, key), value) in &entries {
        let found = state.get(*space, key).unwrap();
        assert_eq!(format!("{:?}", found.unwrap()), *value);
    }
    entries
}

fn edits_then(state: &PastState<'_>, space: Space, key: &[u8]) -> Result<Vec<String>, PastError> {
    let mut edits = Vec::new();
    for kind in SEQUENCES {
        state.edits(space, key, kind, &mut |edit| {
            edits.push(edit_in_words(key, &edit));
            ControlFlow::Continue(())
        })?;
    }
    Ok(edits)
}

fn then(state: &PastState<'_>) -> Content {
    let entries = entries_then(state);
    let edits = entries
        .keys()
        .flat_map(|(space, key)| edits_then(state, *space, key).unwrap());
    let edits = edits.collect();
    (entries, edits)
}

/// A call that does one of everything, one after the other, to few keys.
fn op(bench: &Bench, slot: ContextSlot, n: u64) -> Op {
    let key = |name: &str| Bytes::from(format!("{name}-{}", n % 3));
    let shared = |name, write| Op::shared(key(name), write);
    let edit = |kind, name: &str| {
        let snapshot = bench.ledger().snapshot().unwrap();
        let found = snapshot
            .sequence(slot, Space::Shared, &key(name), kind)
            .unwrap();
        let write = Write::Edit {
            kind,
            births: found.map(|facts| facts.births).unwrap_or_default(),
            update: Bytes::from(format!("edit {n}")),
        };
        Op::shared(key(name), write)
    };
    match n % 11 {
        0 | 5 => set(key("register"), format!("value {n}")),
        1 => shared("counter", Write::Add(n as i64)),
        2 => shared("element", Write::Insert),
        3 | 6 => edit(EntryKind::List, "list"),
        4 | 7 => edit(EntryKind::Text, "text"),
        8 => shared("once", Write::WriteOnce(Bytes::from(n.to_string()))),
        9 => remove(key(["register", "counter", "list"][n as usize % 3])),
        _ => Op {
            removes_first: true,
            ..shared("counter", Write::Add(-1))
        },
    }
}

#[test]
fn a_context_is_seen_as_it_was_after_each_of_its_deltas() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let mut history: Vec<(DeltaId, Content)> = Vec::new();
    for n in 0..120 {
        let op = op(&bench, slot, n * 7);
        let mut effects = bench.effects(1, slot, vec![op]);
        if n % 4 == 0 {
            // In no delta, and so in no past.
            effects.ops.push(Op {
                space: Space::Private,
                ..set("secret", n.to_string())
            });
        }
        let committed = bench.commit(vec![Change::Call(effects)]).remove(0);
        let snapshot = bench.ledger().snapshot().unwrap();
        history.push((committed.delta_id().unwrap(), now(&snapshot, slot)));
    }
    let snapshot = bench.ledger().snapshot().unwrap();
    for (n, (delta, content)) in history.iter().enumerate() {
        let state = snapshot.at(slot, delta).unwrap();
        assert_eq!(&then(&state), content, "after delta {n}");
    }
    let newest = snapshot.at(slot, &history[119].0).unwrap();
    assert_eq!(newest.root(), snapshot.head(slot).unwrap().root);
    assert_eq!(newest.get(Space::Private, b"secret").unwrap(), None);
    let nobody = DeltaId::from_bytes([9; 32]);
    assert!(matches!(
        snapshot.at(slot, &nobody),
        Err(PastError::Unknown { .. })
    ));
}

/// Deltas that the log has, the newest first, with their stamps.
fn retained(snapshot: &Snapshot, slot: ContextSlot) -> Vec<(DeltaId, Hlc)> {
    let mut deltas = Vec::new();
    let visit = &mut |_, delta: corelet_store::DeltaView<'_>| {
        deltas.push((delta.id(), delta.hlc()));
        ControlFlow::Continue(())
    };
    snapshot.deltas(slot, usize::MAX, visit).unwrap();
    deltas
}

fn keep(count_max: u64) -> Retention {
    let history = Keep {
        count_max,
        ..KEEP_NOTHING.history
    };
    Retention {
        history,
        ..KEEP_NOTHING
    }
}

/// What is pruned is refused, and all else is what it was; but for a list that was removed
/// since, of which edits are neither stored nor in the log.
#[test]
fn after_any_prune_each_delta_that_is_kept_is_read_as_it_was() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let mut history: BTreeMap<DeltaId, Content> = BTreeMap::new();
    let (mut read, mut pruned, mut removed) = (0, 0, 0);
    for n in 0..700_u64 {
        let op = op(&bench, slot, n * 7 + n / 50);
        let mut effects = bench.effects(1, slot, vec![op]);
        if n % 4 == 0 {
            effects.ops.push(Op {
                space: Space::Private,
                ..set("secret", n.to_string())
            });
        }
        let committed = bench.commit(vec![Change::Call(effects)]).remove(0);
        let snapshot = bench.ledger().snapshot().unwrap();
        history.insert(committed.delta_id().unwrap(), now(&snapshot, slot));
        drop(snapshot);
        if n % 90 != 89 {
            continue;
        }
        collect(bench.ledger(), &keep(n % 200), at(bench.now));
        while bench.ledger().sweep(100).unwrap().is_more {}
        bench.reopen();
        bench.verify();
        let snapshot = bench.ledger().snapshot().unwrap();
        let retained = retained(&snapshot, slot);
        let (_, oldest) = retained[retained.len() - 1];
        let (_, edits_now) = now(&snapshot, slot);
        for delta in history.keys() {
            if retained.iter().all(|(kept, _)| kept != delta) {
                let error = snapshot.at(slot, delta).err().unwrap();
                assert!(matches!(error, PastError::NotRetained { .. }), "{error}");
                pruned += 1;
                continue;
            }
            let state = snapshot.at(slot, delta).unwrap();
            let (entries, edits) = &history[delta];
            assert_eq!(&entries_then(&state), entries);
            for (space, key) in entries.keys() {
                let begin = format!("{key:?} ");
                let here = |edit: &&String| edit.starts_with(&begin);
                let expected: Vec<String> = edits.iter().filter(here).cloned().collect();
                match edits_then(&state, *space, key) {
                    Ok(found) => assert_eq!(found, expected),
                    Err(PastError::EditsNotRetained { .. }) => {
                        assert!(expected.iter().any(|edit| !edits_now.contains(edit)));
                        let in_log = |edit: &String| {
                            let of = |hlc: &Hlc| edit.contains(&format!("{hlc:?}"));
                            retained.iter().any(|(_, hlc)| of(hlc))
                        };
                        assert!(!expected.iter().all(in_log), "after {oldest:?}");
                        removed += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            read += 1;
        }
        let newest = snapshot.at(slot, &retained[0].0).unwrap();
        assert_eq!(newest.root(), snapshot.head(slot).unwrap().root);
    }
    assert!(
        read > 400 && pruned > 400 && removed > 0,
        "{read} {pruned} {removed}"
    );
}

/// A prefix that is read shows what was there of it, also what is there no more.
#[test]
fn a_range_of_the_past_is_what_it_was() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let keys = ["a", "b-1", "b-2", "b-3", "d"];
    let ops = keys.iter().map(|key| set(*key, "before"));
    let call = bench.effects(1, slot, ops.collect());
    let delta = bench.commit(vec![Change::Call(call)])[0]
        .delta_id()
        .unwrap();
    let mut since = vec![
        remove("a"),
        remove("b-1"),
        set("b-2", "after"),
        set("c", "after"),
        remove("d"),
    ];
    since.insert(3, set("b-4", "after"));
    let call = bench.effects(1, slot, since);
    bench.commit(vec![Change::Call(call)]);
    let snapshot = bench.ledger().snapshot().unwrap();
    let state = snapshot.at(slot, &delta).unwrap();
    let scan = |prefix: &str, limit: usize| {
        let mut found = Vec::new();
        let visit = &mut |key: &[u8], value: EntryValue<'_>| {
            assert_eq!(value, EntryValue::Register(b"before"));
            found.push(String::from_utf8(key.to_vec()).unwrap());
            Ok(match found.len() < limit {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        };
        state.scan(Space::Shared, prefix.as_bytes(), visit).unwrap();
        found
    };
    assert_eq!(scan("", usize::MAX), &keys);
    assert_eq!(scan("b-", usize::MAX), &keys[1..4]);
    for limit in 1..=keys.len() {
        assert_eq!(scan("", limit), &keys[..limit]);
    }
    assert_eq!(scan("c", usize::MAX), &[] as &[&str]);
    assert_eq!(state.get(Space::Shared, b"c").unwrap(), None);
}

/// It has removed more than is kept beside a delta.
#[test]
fn behind_a_delta_that_has_replaced_too_much_nothing_is_retained() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::in_dir(dir, 512 << 20);
    let slot = bench.create(1);
    let large = vec![7; 9 << 20];
    let mut deltas = Vec::new();
    for ops in [
        vec![set("a", large.clone())],
        vec![set("b", large)],
        vec![set("c", "small")],
        vec![remove("a"), remove("b")],
        vec![set("c", "other")],
    ] {
        let call = bench.effects(1, slot, ops);
        deltas.push(
            bench.commit(vec![Change::Call(call)])[0]
                .delta_id()
                .unwrap(),
        );
    }
    let is_there = |bench: &Bench, n: usize| {
        let snapshot = bench.ledger().snapshot().unwrap();
        match snapshot.at(slot, &deltas[n]) {
            Ok(state) => state.get(Space::Shared, b"a").unwrap().is_some(),
            Err(PastError::NotRetained { .. }) => panic!("delta {n} is not retained"),
            Err(other) => panic!("{other}"),
        }
    };
    // The log reaches back to the beginning, so that all is made anew.
    assert!(is_there(&bench, 2) && !is_there(&bench, 3));
    collect(bench.ledger(), &KEEP_NOTHING, at(bench.now));
    assert_eq!(head(&bench, slot).log_count, 3);
    assert!(!is_there(&bench, 3) && !is_there(&bench, 4));
    let snapshot = bench.ledger().snapshot().unwrap();
    let error = snapshot.at(slot, &deltas[2]).err().unwrap();
    assert!(matches!(error, PastError::NotRetained { .. }), "{error}");
    bench.verify();
}

/// A write that comes to nothing replaces nothing, however large what it leaves as it is.
#[test]
fn what_a_write_leaves_as_it_is_does_not_cost_the_past() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::in_dir(dir, 512 << 20);
    let slot = bench.create(1);
    let large = Bytes::from(vec![7; 9 << 20]);
    let once = |value: &Bytes| Op::shared(Bytes::from("b"), Write::WriteOnce(value.clone()));
    let mut deltas = Vec::new();
    for ops in [
        vec![set("a", &large)],
        vec![once(&large)],
        vec![set("c", "small")],
        // There is a value already, which stays.
        vec![set("a", "small"), once(&Bytes::from("late"))],
    ] {
        let call = bench.effects(1, slot, ops);
        let committed = bench.commit(vec![Change::Call(call)]).remove(0);
        deltas.push(committed.delta_id().unwrap());
    }
    collect(bench.ledger(), &KEEP_NOTHING, at(bench.now));
    assert_eq!(head(&bench, slot).log_count, 2);
    let snapshot = bench.ledger().snapshot().unwrap();
    for (delta, bytes) in [(&deltas[2], 9 << 20), (&deltas[3], 5)] {
        let state = snapshot.at(slot, delta).unwrap();
        let Some(EntryValue::Register(value)) = state.get(Space::Shared, b"a").unwrap() else {
            panic!("it was there");
        };
        assert_eq!(value.len(), bytes);
    }
}

/// From its end a log may be too long for the bounds, and from its beginning not, or the other
/// way round. In the middle it is too long from both.
#[test]
fn a_delta_near_the_beginning_of_a_whole_log_is_read_from_there() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let mut history = Vec::new();
    for n in 0..100_u64 {
        let op = op(&bench, slot, n * 7);
        let effects = bench.effects(1, slot, vec![op]);
        let committed = bench.commit(vec![Change::Call(effects)]).remove(0);
        let snapshot = bench.ledger().snapshot().unwrap();
        history.push((committed.delta_id().unwrap(), now(&snapshot, slot)));
    }
    let deltas_max = PastBounds {
        deltas_max: 20,
        ..PastBounds::default()
    };
    let writes_max = PastBounds {
        writes_max: 20,
        ..PastBounds::default()
    };
    let snapshot = bench.ledger().snapshot().unwrap();
    for (bounds, limit) in [(deltas_max, "deltas"), (writes_max, "writes")] {
        for (n, (delta, content)) in history.iter().enumerate() {
            match snapshot.at_within(slot, delta, bounds) {
                Ok(state) => {
                    assert!(!(25..75).contains(&n), "delta {n}");
                    assert_eq!(&then(&state), content, "after delta {n}");
                }
                Err(PastError::TooLong { limit: found, max }) => {
                    // With itself, those on both sides, and that of the beginning.
                    assert!((15..85).contains(&n), "delta {n}");
                    assert_eq!((found, max), (limit, 20));
                }
                Err(other) => panic!("delta {n}: {other}"),
            }
        }
        let nobody = DeltaId::from_bytes([9; 32]);
        let error = snapshot.at_within(slot, &nobody, bounds).err().unwrap();
        assert!(matches!(error, PastError::Unknown { .. }), "{error}");
    }
    // To find what it is made of takes a walk from the log's end, which has a bound as well.
    let rows = usize::try_from(head(&bench, slot).log_count).unwrap();
    let (near, content) = &history[5];
    for rows_max in [rows, rows / 2] {
        let bounds = PastBounds {
            rows_max,
            ..deltas_max
        };
        match snapshot.at_within(slot, near, bounds) {
            Ok(state) => {
                assert_eq!(rows_max, rows);
                assert_eq!(&then(&state), content);
            }
            Err(PastError::TooLong { limit, max }) => {
                assert_eq!((limit, max), ("rows", rows as u64 / 2));
                assert_eq!(rows_max, rows / 2);
            }
            Err(other) => panic!("{rows_max}: {other}"),
        }
    }
    drop(snapshot);
    // Without its beginning there is one way.
    collect(bench.ledger(), &KEEP_NOTHING, at(bench.now));
    let snapshot = bench.ledger().snapshot().unwrap();
    let (delta, _) = &history[70];
    let error = snapshot.at_within(slot, delta, deltas_max).err().unwrap();
    assert!(matches!(error, PastError::TooLong { .. }), "{error}");
}

/// What came with a copy is the newest state, and from there on all is kept.
#[test]
fn behind_a_copy_without_its_log_nothing_is_retained() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let mut history = Vec::new();
    let mut call = |bench: &mut Bench, slot, n: u64| {
        let op = op(bench, slot, n);
        let effects = bench.effects(1, slot, vec![op]);
        let committed = bench.commit(vec![Change::Call(effects)]).remove(0);
        let snapshot = bench.ledger().snapshot().unwrap();
        history.push((committed.delta_id().unwrap(), now(&snapshot, slot)));
    };
    for n in 0..30 {
        call(&mut bench, slot, n);
    }
    let mut copy = Vec::new();
    let scope = ExportScope {
        private: false,
        log: false,
    };
    let snapshot = bench.ledger().snapshot().unwrap();
    export_context(&snapshot, &id(1), scope, &mut copy).unwrap();
    drop(snapshot);
    bench.commit(vec![Change::DeleteContext(id(1))]);
    import_context(
        bench.ledger(),
        Cursor::new(copy),
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap();
    let snapshot = bench.ledger().snapshot().unwrap();
    let slot = snapshot.context(&id(1)).unwrap().unwrap().slot;
    drop(snapshot);
    for n in 30..60 {
        call(&mut bench, slot, n);
    }
    let snapshot = bench.ledger().snapshot().unwrap();
    for (n, (delta, content)) in history.iter().enumerate() {
        match snapshot.at(slot, delta) {
            Ok(state) => {
                assert!(n >= 30, "delta {n}");
                assert_eq!(&entries_then(&state), &content.0, "after delta {n}");
            }
            Err(error) => {
                assert!(n < 30, "delta {n}: {error}");
                assert!(matches!(error, PastError::NotRetained { .. }), "{error}");
            }
        }
    }
}

/// Two nodes have written at once: each delta shows what its author had seen.
#[test]
fn what_was_concurrent_is_not_in_the_past() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path(), "format-4");
    let snapshot = ledger.snapshot().unwrap();
    let slot = |context: &ContextId| snapshot.context(context).unwrap().unwrap().slot;
    let mut shown = 0;
    for n in [1, 3, 5, 6] {
        let slot = slot(&id(n));
        let mut deltas = Vec::new();
        snapshot
            .deltas(slot, usize::MAX, &mut |_, delta| {
                deltas.push((delta.id(), delta.root()));
                ControlFlow::Continue(())
            })
            .unwrap();
        for (delta, root) in deltas {
            assert_eq!(
                snapshot.at(slot, &delta).unwrap().root(),
                root,
                "context {n}"
            );
            shown += 1;
        }
    }
    assert!(shown > 100, "{shown}");
    let head = snapshot.head(slot(&id(6))).unwrap();
    assert_eq!(head.deltas.len(), 2);
    let states = head
        .deltas
        .iter()
        .map(|delta| snapshot.at(slot(&id(6)), delta).unwrap());
    for state in states {
        assert_ne!(state.root(), head.root);
    }
}

#[test]
fn a_past_that_is_not_retained_is_said_to_be_gone() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path(), "format-3");
    let snapshot = ledger.snapshot().unwrap();
    let slot = snapshot.context(&id(1)).unwrap().unwrap().slot;
    let head = snapshot.head(slot).unwrap();
    let newest = snapshot.at(slot, &head.deltas[0]).unwrap();
    assert_eq!(newest.root(), head.root);
    // The deltas of that format are gone.
    let mut before = None;
    let visit = &mut |_, delta: corelet_store::DeltaView<'_>| {
        before = delta.parents().next();
        ControlFlow::Continue(())
    };
    snapshot.deltas(slot, usize::MAX, visit).unwrap();
    let error = snapshot.at(slot, &before.unwrap()).err().unwrap();
    assert!(matches!(error, PastError::NotRetained { .. }), "{error}");
}

/// Its author has said it, and nobody has checked: that is no damage of a disk.
#[test]
fn a_root_that_a_peer_has_said_and_its_deltas_do_not_give_is_told_as_the_peers() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    bench.commit(vec![Change::ShareContext(id(1))]);
    let liar = Key::new(3);
    let lie = Lie {
        space: Space::Shared,
        key: "key".into(),
        removes_first: false,
        write: LiedWrite::Set(b"value".to_vec()),
    };
    let lies = BTreeMap::from([((0, "key".into()), lie)]);
    let forged = forge(id(1), liar.node_id(), 5000 << 12, &[], &lies, [9; 32]);
    let delta = vouched(&forged);
    let change = Change::Delta(RemoteDelta { slot, delta });
    let id_of = bench.commit(vec![change]).remove(0).delta_id().unwrap();
    let snapshot = bench.ledger().snapshot().unwrap();
    let error = snapshot.at(slot, &id_of).err().unwrap();
    let PastError::OtherRoot { delta, author } = &error else {
        panic!("{error}");
    };
    assert_eq!((*delta, *author), (id_of, liar.node_id()));
    let text = error.to_string();
    assert!(text.contains(&id_of.to_string()) && text.contains(&author.to_string()));
}
