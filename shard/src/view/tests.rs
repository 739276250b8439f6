//! What a turn reads through all layers, against a plain map, and what is told beside the values.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use bytes::Bytes;
use corelet_store::{
    ApplicationId, CallEffects, Change, ContextId, ContextSlot, EntryKind, EntryValue, Hlc,
    HlcClock, Ledger, LedgerConfig, NewContext, NodeId, Op, RemoteDelta, Space, Write,
};
use corelet_wasm_host::Space::Shared;
use corelet_wasm_host::{GuestState, Row, StateWalk};
use proptest::prelude::*;

use super::{SequenceAccess, View};
use crate::overlay::{Overlay, Shown};
use crate::snapshots::Snapshots;
use crate::{fixture, overlay};

const SHORT_KEYS: &[&[u8]] = &[
    b"",
    b"a",
    b"a\x00",
    b"a\xff",
    b"a\xff\xff",
    b"ab",
    b"b",
    b"\xff",
    b"\xff\xff",
];

type State = BTreeMap<Vec<u8>, Vec<u8>>;

fn ops(writes: &[(usize, Option<u8>)]) -> Vec<Op> {
    let mut last = BTreeMap::new();
    for (key, value) in writes {
        last.insert(
            Bytes::from_static(SHORT_KEYS[*key]),
            value.map(|v| Bytes::from(vec![v])),
        );
    }
    let op = |(key, value): (Bytes, Option<Bytes>)| match value {
        Some(value) => Op::set(key, value),
        None => Op::remove(key),
    };
    last.into_iter().map(op).collect()
}

fn layer(writes: &[(usize, Option<u8>)]) -> Vec<overlay::Write> {
    let ops = ops(writes).into_iter();
    ops.map(|op| overlay::Write {
        space: Space::Shared,
        key: op.key,
        shown: match op.write {
            Write::Set(bytes) => Some(Shown::new(EntryKind::Register, bytes)),
            _ => None,
        },
        edit: None,
    })
    .collect()
}

fn access() -> SequenceAccess {
    SequenceAccess::without_cache(NodeId::from_bytes([7; 32]))
}

fn apply(state: &mut State, writes: &[(usize, Option<u8>)]) {
    for (key, value) in writes {
        match value {
            Some(value) => state.insert(SHORT_KEYS[*key].to_vec(), vec![*value]),
            None => state.remove(SHORT_KEYS[*key]),
        };
    }
}

fn scan_of(
    view: &mut View,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
    reverse: bool,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut seen = Vec::new();
    let walk = StateWalk {
        prefix,
        after,
        limit,
        reverse,
        ..StateWalk::default()
    };
    view.scan(walk, &mut |key, row| {
        if let Some(value) = row.value() {
            seen.push((key.to_vec(), value.to_vec()));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    seen
}

fn model_scan(
    state: &State,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
    reverse: bool,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all: Vec<_> = state
        .iter()
        .filter(|(key, _)| key.starts_with(prefix))
        .filter(|(key, _)| {
            after.is_none_or(|after| {
                if reverse {
                    &key[..] < after
                } else {
                    &key[..] > after
                }
            })
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if reverse {
        all.reverse();
    }
    all.truncate(limit);
    all
}

/// A ledger with one context that holds what `on_disk` leaves.
fn ledger_with(on_disk: &[(usize, Option<u8>)]) -> (tempfile::TempDir, Ledger, ContextSlot) {
    let dir = tempfile::tempdir().unwrap();
    let config = LedgerConfig {
        map_bytes_max: 4 << 20,
        readers_max: 8,
        ..LedgerConfig::default()
    };
    let ledger = fixture::ledger(dir.path(), &config);
    let (id, author) = (ContextId::random(), NodeId::from_bytes([7; 32]));
    let hlc = HlcClock::after(Hlc::ZERO).tick(1);
    let call = CallEffects {
        context: id,
        slot: ContextSlot::UNASSIGNED,
        author,
        hlc,
        read: None,
        ops: ops(on_disk),
        events: vec![],
        answer: None,
    };
    let application = ApplicationId::from_bytes([1; 32]);
    let new = NewContext {
        id,
        name: None,
        application,
        created: hlc,
        call,
    };
    let verdicts = ledger.commit(vec![Change::CreateContext(new)]).unwrap();
    let slot = verdicts[0].as_ref().unwrap().slot();
    (dir, ledger, slot)
}

#[test]
fn removals_are_told_and_a_turn_s_own_apart() {
    let (_dir, ledger, slot) =
        ledger_with(&[(1, Some(1)), (5, Some(2)), (6, Some(3)), (7, Some(4))]);
    let overlay = Rc::new(RefCell::new(Overlay::default()));
    overlay.borrow_mut().absorb(1, &layer(&[(5, None)]));
    let mut view = View::of_update(
        slot,
        Rc::new(Snapshots::new(ledger).unwrap()),
        overlay,
        access(),
    );
    assert!(view.remove(Shared, SHORT_KEYS[1]).unwrap());
    assert!(
        !view.remove(Shared, SHORT_KEYS[5]).unwrap(),
        "an update before has removed it"
    );
    let mut rows = Vec::new();
    let walk = StateWalk {
        limit: 1,
        ..StateWalk::default()
    };
    view.scan(walk, &mut |key, row| {
        let row = match row {
            Row::Shown(_) => "shown",
            Row::WrittenOnce(_) => "written once",
            Row::Removed => "removed",
            Row::Hidden => "hidden",
            Row::Unseen(_) => "unseen",
        };
        rows.push((key.to_vec(), row));
        ControlFlow::Continue(())
    })
    .unwrap();
    let expected = [(b"a".to_vec(), "removed"), (b"ab".to_vec(), "hidden")];
    assert_eq!(rows[..2], expected);
    assert_eq!(rows[2..], [(b"b".to_vec(), "shown")]);
}

/// Another node has written the key once, and this one has a register there, which is read:
/// on the disk, or in the overlay above it.
#[test]
fn what_is_removed_from_above_a_write_once_value_shows_that() {
    for is_overlaid in [false, true] {
        let disk = fixture::Disk::new();
        let slot = disk.create(1);
        let delta = fixture::Peer::new().write_once(9, "key", "once");
        let theirs = Change::Delta(RemoteDelta { slot, delta });
        let ours = fixture::call(1, slot, 2, &[("key", "register")]);
        for change in [ours, theirs] {
            disk.ledger.commit(vec![change]).unwrap().remove(0).unwrap();
        }
        let overlay = Rc::new(RefCell::new(Overlay::default()));
        if is_overlaid {
            let call = fixture::call(1, slot, 10, &[("key", "another")]);
            overlay.borrow_mut().absorb(10, &fixture::shown_by(&call));
        }
        let snapshots = Rc::new(Snapshots::new(disk.ledger.clone()).unwrap());
        let view = || View::of_update(slot, Rc::clone(&snapshots), Rc::clone(&overlay), access());
        let shown = |view: &mut View| {
            let mut rows = Vec::new();
            view.scan(
                StateWalk {
                    limit: 9,
                    ..StateWalk::default()
                },
                &mut |key, row| {
                    rows.push(format!("{} {row:?}", key.escape_ascii()));
                    ControlFlow::Continue(())
                },
            )
            .unwrap();
            rows
        };
        let once = [format!("key {:?}", Row::WrittenOnce(b"once"))];
        let mut first = view();
        assert!(first.remove(Shared, b"key").unwrap());
        assert_eq!(first.get(Shared, b"key").unwrap().unwrap(), b"once");
        assert_eq!(shown(&mut first), once);
        first.remove(Shared, b"key").unwrap_err();
        // Whoever comes next sees the same, before it is committed and after that.
        let written = first.into_written(Hlc::from_micros(11)).unwrap();
        let kept = written.shown[0].shown.as_ref().unwrap();
        assert!(kept.bytes.is_empty(), "what is beneath may be large");
        overlay.borrow_mut().absorb(11, &written.shown);
        assert_eq!(shown(&mut view()), once);
        view().remove(Shared, b"key").unwrap_err();
        assert!(!view().write_once(Shared, b"key", b"ours").unwrap());
        let Change::Call(mut call) = fixture::call(1, slot, 11, &[]) else {
            unreachable!("it is made as a call");
        };
        call.ops = written.ops;
        let verdicts = disk.ledger.commit(vec![Change::Call(call)]).unwrap();
        verdicts[0].as_ref().unwrap();
        let (snapshots, overlay) = (Snapshots::new(disk.ledger.clone()), Rc::default());
        let snapshots = Rc::new(snapshots.unwrap());
        let mut after = View::of_update(slot, snapshots, overlay, access());
        assert_eq!(shown(&mut after), once);
    }
}

/// Another node has written much once beneath a register, which is all that is shown.
#[test]
fn what_is_read_and_not_shown_is_told() {
    const BYTES: usize = 1 << 20;
    let large: &'static str = "x".repeat(BYTES).leak();
    let disk = fixture::Disk::new();
    let slot = disk.create(1);
    let peer = fixture::Peer::new();
    let keys = ["a", "b"];
    let delta = peer.write_once(9, "a", large);
    let theirs = Change::Delta(RemoteDelta { slot, delta });
    let ours = fixture::call(1, slot, 2, &[("a", "1"), ("b", "2")]);
    for change in [ours, theirs] {
        disk.ledger.commit(vec![change]).unwrap().remove(0).unwrap();
    }
    let snapshots = Rc::new(Snapshots::new(disk.ledger.clone()).unwrap());
    let mut view = View::of_update(slot, snapshots, Rc::default(), access());
    let is_much = |bytes: u64| (BYTES as u64..BYTES as u64 + 1_000).contains(&bytes);
    let told = |view: &mut View, limit| {
        let (mut rows, mut unseen) = (Vec::new(), 0);
        let walk = StateWalk {
            limit,
            ..StateWalk::default()
        };
        view.scan(walk, &mut |key, row| {
            match row {
                Row::Unseen(bytes) => unseen += bytes,
                row => rows.push((key.to_vec(), row.bytes())),
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        (rows, unseen)
    };
    let rows = |lengths: [usize; 2]| {
        keys.map(|key| key.as_bytes().to_vec())
            .into_iter()
            .zip(lengths)
            .collect::<Vec<_>>()
    };
    let (seen, unseen) = told(&mut view, 9);
    assert_eq!(seen, rows([1, 1]));
    assert!(is_much(unseen) && view.take_unseen() == 0, "{unseen}");
    // Behind the last one it is not told any more.
    let (seen, unseen) = told(&mut view, 1);
    assert_eq!((&seen[..], unseen), (&rows([1, 1])[..1], 0));
    assert!(is_much(view.take_unseen()));
    assert_eq!(view.get(Shared, b"a").unwrap().unwrap(), b"1");
    assert!(is_much(view.take_unseen()));
    assert_eq!(view.get(Shared, b"b").unwrap().unwrap(), b"2");
    assert_eq!(view.take_unseen(), 0);
    assert!(view.remove(Shared, b"a").unwrap());
    assert!(
        is_much(view.take_unseen() / 2),
        "to find it, and what it leaves"
    );
    // What a removal has left is shown.
    assert_eq!(told(&mut view, 9), (rows([BYTES, 1]), 0));
    assert_eq!(view.get(Shared, b"a").unwrap().unwrap(), large.as_bytes());
}

/// What is beyond 64 bits is not lost: what is taken away afterwards is taken from it.
#[test]
fn a_counter_beyond_64_bits_reads_the_same_before_and_after_its_commit() {
    let (max, min) = (i64::MAX, i64::MIN);
    // With the overlay alone, and from the disk alone.
    for is_committed in [false, true] {
        let disk = fixture::Disk::new();
        let slot = disk.create(1);
        let overlay = Rc::new(RefCell::new(Overlay::default()));
        let mut sum = 0_i128;
        for (now, amount) in (2..).zip([max, max, -5, min, min, min, min, 7, max]) {
            sum += i128::from(amount);
            let nearest = sum.clamp(min.into(), max.into()) as i64;
            let snapshots = Rc::new(Snapshots::new(disk.ledger.clone()).unwrap());
            let mut view = View::of_update(slot, snapshots, Rc::clone(&overlay), access());
            // Within its own call, too.
            let half = amount / 2;
            view.add(Shared, b"key", half).unwrap();
            assert_eq!(view.add(Shared, b"key", amount - half).unwrap(), nearest);
            let read = view.get(Shared, b"key").unwrap().unwrap();
            assert_eq!(read, nearest.to_le_bytes());
            let Change::Call(mut call) = fixture::call(1, slot, now, &[]) else {
                unreachable!("it is made as a call");
            };
            let written = view.into_written(call.hlc).unwrap();
            if is_committed {
                call.ops = written.ops;
                let verdicts = disk.ledger.commit(vec![Change::Call(call)]).unwrap();
                assert!(verdicts[0].is_ok());
                let snapshot = disk.ledger.snapshot().unwrap();
                let value = snapshot.get(slot, Space::Shared, b"key").unwrap();
                let Some(EntryValue::Counter(found)) = value else {
                    panic!("it was added to");
                };
                assert_eq!(found.nearest(), nearest);
            } else {
                overlay.borrow_mut().absorb(now, &written.shown);
            }
        }
    }
}

fn writes() -> impl Strategy<Value = Vec<(usize, Option<u8>)>> {
    proptest::collection::vec(
        (0..SHORT_KEYS.len(), proptest::option::of(any::<u8>())),
        0..8,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    // Disk, both parts of the overlay and the changeset together read as one
    // plain map; a query does not see what is pending.
    #[test]
    fn all_layers_read_like_one_map(
        on_disk in writes(), settled in writes(), pending in writes(), own in writes()
    ) {
        let (_dir, ledger, slot) = ledger_with(&on_disk);
        let snapshots = Rc::new(Snapshots::new(ledger).unwrap());
        let overlay = Rc::new(RefCell::new(Overlay::default()));
        let mut state = State::new();
        apply(&mut state, &on_disk);
        overlay.borrow_mut().settle(1, layer(&settled));
        apply(&mut state, &settled);
        overlay.borrow_mut().absorb(2, &layer(&pending));

        let durable = overlay.borrow().settled();
        let mut query = View::of_query(slot, snapshots.latest(), durable, access());
        compare_all(&mut query, &state)?;

        apply(&mut state, &pending);
        let mut update = View::of_update(slot, snapshots, overlay, access());
        for (key, value) in &own {
            let name = SHORT_KEYS[*key];
            match value {
                Some(value) => update.set(Shared, name, &[*value]).unwrap(),
                None => prop_assert_eq!(update.remove(Shared, name).unwrap(), state.contains_key(name)),
            }
            apply(&mut state, &[(*key, *value)]);
        }
        compare_all(&mut update, &state)?;
    }
}

fn compare_all(view: &mut View, state: &State) -> Result<(), TestCaseError> {
    for key in SHORT_KEYS {
        prop_assert_eq!(view.get(Shared, key).unwrap(), state.get(*key).cloned());
    }
    for prefix in SHORT_KEYS {
        for after in std::iter::once(None).chain(SHORT_KEYS.iter().map(|k| Some(*k))) {
            for (limit, reverse) in [(0, false), (1, false), (1, true), (100, false), (100, true)] {
                prop_assert_eq!(
                    scan_of(view, prefix, after, limit, reverse),
                    model_scan(state, prefix, after, limit, reverse),
                    "prefix {:?} after {:?} limit {} reverse {}",
                    prefix,
                    after,
                    limit,
                    reverse
                );
            }
        }
    }
    Ok(())
}
