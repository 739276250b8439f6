//! A context as it was: after each of its deltas it is what it was then, whatever
//! kinds of entries it has and however many authors wrote at once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{
    Change, ContextId, ContextSlot, DeltaId, EntryKind, Op, PastError, PastState, RemoteDelta,
    Sealer, Snapshot, Space, Write,
};

use crate::fixtures::open;
use crate::signed::{Key, Lie, LiedWrite, forge, vouched};
use crate::words::{Content, SEQUENCES, content, edit_in_words};
use crate::{Bench, id, remove, set};

fn now(snapshot: &Snapshot, slot: ContextSlot) -> Content {
    content(snapshot, slot, &[Space::Shared, Space::Owned])
}

fn then(state: &PastState<'_>) -> Content {
    let entries = state.entries();
    let entries = entries.map(|(space, key, value)| ((space, key.to_vec()), format!("{value:?}")));
    let entries: BTreeMap<_, _> = entries.collect();
    let mut edits = Vec::new();
    for (space, key) in entries.keys() {
        for kind in SEQUENCES {
            state.edits(*space, key, kind, &mut |edit| {
                edits.push(edit_in_words(key, &edit));
                ControlFlow::Continue(())
            });
        }
    }
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
    assert_eq!(newest.get(Space::Private, b"secret"), None);
    let nobody = DeltaId::from_bytes([9; 32]);
    assert!(matches!(
        snapshot.at(slot, &nobody),
        Err(PastError::Unknown { .. })
    ));
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
    let newest = snapshot.head(slot).unwrap().deltas[0];
    let error = snapshot.at(slot, &newest).err().unwrap();
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
