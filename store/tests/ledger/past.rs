//! A context as it was: after each of its deltas it is what it was then, whatever
//! kinds of entries it has and however many authors wrote at once.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::ControlFlow;

use bytes::Bytes;
use corelet_store::{
    Arrival, Births, Change, ContextId, ContextSlot, DeltaId, EntryKind, EntryValue, ExportScope,
    Hlc, Keep, Op, PastBounds, PastError, PastState, RemoteDelta, Retention, Sealer, Snapshot,
    Space, Write, export_context, import_context,
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

/// Counts how often a reading asks whether it is over.
struct Asked {
    count: Cell<usize>,
    ends_at: Cell<usize>,
}

impl Asked {
    fn without_end() -> Asked {
        Asked {
            count: Cell::new(0),
            ends_at: Cell::new(usize::MAX),
        }
    }

    /// What the reading asks: so many times it goes on, then it is over.
    fn is_over(&self) -> bool {
        self.count.set(self.count.get() + 1);
        self.count.get() > self.ends_at.get()
    }

    /// From now on it is over after so many questions more.
    fn end_at(&self, questions: usize) {
        self.count.set(0);
        self.ends_at.set(questions);
    }

    /// How often it has asked since this was last asked for.
    fn take(&self) -> usize {
        self.count.take()
    }
}

/// Lists that are gone are looked for in the log together, within the bounds, and as long as
/// somebody waits.
#[test]
fn edits_of_all_lists_that_are_gone_are_found_in_one_walk_through_the_log() {
    const LISTS: usize = 30;
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let name = |n: usize| Bytes::from(format!("list-{n:02}"));
    let mut call = |ops: Vec<Op>| {
        let effects = bench.effects(1, slot, ops);
        let committed = bench.commit(vec![Change::Call(effects)]).remove(0);
        committed.delta_id().unwrap()
    };
    let mut last = None;
    for n in 0..LISTS {
        let births = Births::default();
        let update = Bytes::from(format!("edit {n}"));
        let kind = EntryKind::List;
        let write = Write::Edit {
            kind,
            births,
            update,
        };
        last = Some(call(vec![Op::shared(name(n), write)]));
    }
    for n in 0..100_u8 {
        call(vec![set("other", [n])]);
    }
    let since = (0..LISTS).map(|n| remove(name(n))).collect();
    call(since);
    while bench.ledger().sweep(100).unwrap().is_more {}
    let rows = usize::try_from(head(&bench, slot).log_count).unwrap();
    let asked = Asked::without_end();
    let is_over = || asked.is_over();
    let bounds = PastBounds {
        is_over: &is_over,
        ..PastBounds::default()
    };
    let snapshot = bench.ledger().snapshot().unwrap();
    let read = |state: &PastState<'_>, n: usize| edits_then(state, Space::Shared, &name(n));
    let state = snapshot.at_within(slot, &last.unwrap(), bounds).unwrap();
    let to_state = asked.take();
    // One for each delta on the way there, for each that is undone, and for each entry.
    assert_eq!(to_state, 102 + 101 + LISTS + 1);
    for n in 0..LISTS {
        assert_eq!(read(&state, n).unwrap().len(), 1);
    }
    // One for each delta of the log; the edits are in hand by then.
    assert_eq!(asked.take(), rows);
    // Whoever does not wait any longer is told so, at each of these points.
    for end in [0, 1, 150, to_state - 1] {
        asked.end_at(end);
        let error = snapshot.at_within(slot, &last.unwrap(), bounds).err();
        assert!(
            matches!(error, Some(PastError::Stopped)),
            "{end}: {error:?}"
        );
        assert_eq!(asked.take(), end + 1);
    }
    for end in [to_state, to_state + rows - 1] {
        asked.end_at(end);
        let state = snapshot.at_within(slot, &last.unwrap(), bounds).unwrap();
        let error = read(&state, 0).err();
        assert!(
            matches!(error, Some(PastError::Stopped)),
            "{end}: {error:?}"
        );
    }
    // Too far down for the bounds. What was edited last is found within them.
    let deltas_max = PastBounds {
        deltas_max: rows - LISTS / 2,
        ..PastBounds::default()
    };
    let writes = (LISTS + 100 + LISTS) as u64;
    let writes_max = PastBounds {
        writes_max: writes - LISTS as u64 / 2,
        ..PastBounds::default()
    };
    for (bounds, limit) in [(deltas_max, "deltas"), (writes_max, "writes")] {
        let state = snapshot.at_within(slot, &last.unwrap(), bounds).unwrap();
        assert_eq!(read(&state, LISTS - 1).unwrap().len(), 1);
        let error = read(&state, 0).err().unwrap();
        let is_told = matches!(error, PastError::EditsTooFar { limit: told, .. } if told == limit);
        assert!(is_told, "{error}");
    }
}

/// A context in which somebody has removed a list without having seen that another had begun it,
/// too, and somebody else has seen both, with so many deltas of the node's own that these two had
/// not seen. Gives the last delta, which says this root.
fn removed_half(beside: usize, root: [u8; 32]) -> (Bench, ContextSlot, DeltaId) {
    const BETWEEN: usize = 10;
    let mut bench = Bench::new();
    let slot = bench.create(1);
    bench.commit(vec![Change::ShareContext(id(1))]);
    let call = |bench: &mut Bench, op: Op| {
        let effects = bench.effects(1, slot, vec![op]);
        let committed = bench.commit(vec![Change::Call(effects)]).remove(0);
        committed.delta_id().unwrap()
    };
    let mut stamp = 5000;
    let mut deliver = |bench: &Bench, author, parents: &[DeltaId], write, root| {
        let lie = Lie {
            space: Space::Shared,
            key: "list".into(),
            removes_first: false,
            write,
        };
        let lies = BTreeMap::from([((0, "list".into()), lie)]);
        stamp += 1;
        let author = Key::new(author).node_id();
        let forged = forge(id(1), author, stamp << 12, parents, &lies, root);
        let delta = vouched(&forged);
        let change = Change::Delta(RemoteDelta { slot, delta });
        bench.commit(vec![change]).remove(0).delta_id().unwrap()
    };
    let write = Write::Edit {
        kind: EntryKind::List,
        births: Births::default(),
        update: "ours".into(),
    };
    let ours = call(&mut bench, Op::shared("list".into(), write));
    let write = LiedWrite::Edit {
        is_list: true,
        births: Vec::new(),
        seen: Vec::new(),
        update: b"theirs".to_vec(),
    };
    let mut last = deliver(&bench, 3, &[], write, [9; 32]);
    for n in 0..BETWEEN {
        last = call(&mut bench, set("between", n.to_string()));
    }
    for n in 0..beside {
        call(&mut bench, set("beside", n.to_string()));
    }
    let removed = deliver(&bench, 4, &[ours], LiedWrite::Remove, [9; 32]);
    let both = deliver(&bench, 5, &[removed, last], LiedWrite::Insert, root);
    (bench, slot, both)
}

/// To merge again what removes a part of a list takes the edits of all of it. Where these are too
/// far back in the log, the state is made from the beginning instead, if that is nearer.
#[test]
fn a_state_that_takes_edits_too_far_back_is_made_from_the_beginning() {
    const BESIDE: usize = 10;
    let (alone, slot, _) = removed_half(0, [9; 32]);
    let snapshot = alone.ledger().snapshot().unwrap();
    let expected = now(&snapshot, slot);
    let root = *snapshot.head(slot).unwrap().root.as_bytes();
    let seen = usize::try_from(head(&alone, slot).log_count).unwrap();
    assert_eq!(expected.1.len(), 1, "the edit that was not removed");

    let (mut bench, slot, both) = removed_half(BESIDE, root);
    let effects = bench.effects(1, slot, vec![remove("list")]);
    bench.commit(vec![Change::Call(effects)]);
    while bench.ledger().sweep(100).unwrap().is_more {}
    // Neither what it has seen nor the way back to what it has not is too much; together they are.
    let bounds = PastBounds {
        deltas_max: seen.max(BESIDE + 3),
        ..PastBounds::default()
    };
    assert!(bounds.deltas_max < seen + BESIDE);
    let snapshot = bench.ledger().snapshot().unwrap();
    for bounds in [PastBounds::default(), bounds] {
        let state = snapshot.at_within(slot, &both, bounds).unwrap();
        assert_eq!(state.root().as_bytes(), &root);
        assert_eq!(then(&state), expected);
    }
}

/// Asks as often as it takes to read the state after a delta, and ends it at each of these points.
#[track_caller]
fn ends_at_each_step(
    snapshot: &Snapshot,
    slot: ContextSlot,
    delta: &DeltaId,
    deltas_max: usize,
) -> usize {
    let asked = Asked::without_end();
    let is_over = || asked.is_over();
    let bounds = PastBounds {
        deltas_max,
        is_over: &is_over,
        ..PastBounds::default()
    };
    let read = || snapshot.at_within(slot, delta, bounds).err();
    let error = read();
    assert!(
        matches!(error, None | Some(PastError::OtherRoot { .. })),
        "{error:?}"
    );
    let steps = asked.take();
    for end in 0..steps {
        asked.end_at(end);
        let error = read();
        assert!(
            matches!(error, Some(PastError::Stopped)),
            "{end}: {error:?}"
        );
        assert_eq!(asked.take(), end + 1);
    }
    steps
}

#[test]
fn a_state_that_is_made_anew_can_be_ended_all_the_way() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let mut call = |ops: Vec<Op>| {
        let effects = bench.effects(1, slot, ops);
        let committed = bench.commit(vec![Change::Call(effects)]).remove(0);
        committed.delta_id().unwrap()
    };
    let near = call(vec![
        set("a", "value"),
        set("b", "value"),
        set("c", "value"),
    ]);
    for n in 0..20_u8 {
        call(vec![set("other", [n])]);
    }
    let snapshot = bench.ledger().snapshot().unwrap();
    let rows = usize::try_from(head(&bench, slot).log_count).unwrap();
    let deltas_max = 5;
    let steps = ends_at_each_step(&snapshot, slot, &near, deltas_max);
    // Back until that is too far, down the whole log, for the one delta, and for three entries.
    assert_eq!(steps, deltas_max + 1 + rows + 1 + 3);
}

/// What one node has made beside another's is undone with that, which is merged again.
#[test]
fn a_state_of_which_a_part_is_merged_again_can_be_ended_all_the_way() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    bench.commit(vec![Change::ShareContext(id(1))]);
    let effects = bench.effects(1, slot, vec![set("ours", "value")]);
    bench.commit(vec![Change::Call(effects)]);
    let lie = Lie {
        space: Space::Shared,
        key: "theirs".into(),
        removes_first: false,
        write: LiedWrite::Set(b"value".to_vec()),
    };
    let lies = BTreeMap::from([((0, "theirs".into()), lie)]);
    let forged = forge(
        id(1),
        Key::new(3).node_id(),
        5000 << 12,
        &[],
        &lies,
        [9; 32],
    );
    let delta = vouched(&forged);
    let change = Change::Delta(RemoteDelta { slot, delta });
    let theirs = bench.commit(vec![change]).remove(0).delta_id().unwrap();
    let snapshot = bench.ledger().snapshot().unwrap();
    let rows = usize::try_from(head(&bench, slot).log_count).unwrap();
    let steps = ends_at_each_step(&snapshot, slot, &theirs, usize::MAX);
    // There, back over all of them, for the one that is merged again, and for two entries.
    assert_eq!(steps, rows + rows + 1 + 2);
}

/// Of a list that is still there they are stored.
#[test]
fn reading_the_edits_that_are_stored_can_be_ended_at_each() {
    const EDITS: usize = 5;
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let mut last = None;
    for n in 0..EDITS {
        let snapshot = bench.ledger().snapshot().unwrap();
        let found = snapshot
            .sequence(slot, Space::Shared, b"list", EntryKind::List)
            .unwrap();
        let write = Write::Edit {
            kind: EntryKind::List,
            births: found.map(|facts| facts.births).unwrap_or_default(),
            update: Bytes::from(format!("edit {n}")),
        };
        drop(snapshot);
        let effects = bench.effects(1, slot, vec![Op::shared("list".into(), write)]);
        last = bench.commit(vec![Change::Call(effects)])[0].delta_id();
    }
    let asked = Asked::without_end();
    let is_over = || asked.is_over();
    let bounds = PastBounds {
        is_over: &is_over,
        ..PastBounds::default()
    };
    let snapshot = bench.ledger().snapshot().unwrap();
    let state = snapshot.at_within(slot, &last.unwrap(), bounds).unwrap();
    asked.take();
    let edits = edits_then(&state, Space::Shared, b"list").unwrap();
    assert_eq!((edits.len(), asked.take()), (EDITS, EDITS));
    for end in 0..EDITS {
        asked.end_at(end);
        let error = edits_then(&state, Space::Shared, b"list").err();
        assert!(
            matches!(error, Some(PastError::Stopped)),
            "{end}: {error:?}"
        );
        assert_eq!(asked.take(), end + 1);
    }
}

/// However many lists a delta has edited, it is read once for all of them. Where others may write
/// as well, what it had seen is read for each.
#[test]
fn a_delta_that_has_edited_many_lists_is_read_once_for_their_edits() {
    const LISTS: usize = 200;
    for is_shared in [false, true] {
        let mut bench = Bench::new();
        let slot = bench.create(1);
        if is_shared {
            bench.commit(vec![Change::ShareContext(id(1))]);
        }
        let name = |n: usize| Bytes::from(format!("list-{n:03}"));
        let mut call = |ops: Vec<Op>| {
            let effects = bench.effects(1, slot, ops);
            let committed = bench.commit(vec![Change::Call(effects)]).remove(0);
            committed.delta_id().unwrap()
        };
        let edit = |n| {
            let write = Write::Edit {
                kind: EntryKind::List,
                births: Births::default(),
                update: Bytes::from(format!("edit {n}")),
            };
            Op::shared(name(n), write)
        };
        let begun = call((0..LISTS).map(edit).collect());
        call((0..LISTS).map(|n| remove(name(n))).collect());
        while bench.ledger().sweep(100).unwrap().is_more {}
        let rows = usize::try_from(head(&bench, slot).log_count).unwrap();
        let asked = Asked::without_end();
        let is_over = || asked.is_over();
        let bounds = PastBounds {
            is_over: &is_over,
            ..PastBounds::default()
        };
        let snapshot = bench.ledger().snapshot().unwrap();
        let state = snapshot.at_within(slot, &begun, bounds).unwrap();
        asked.take();
        for n in 0..LISTS {
            let edits = edits_then(&state, Space::Shared, &name(n)).unwrap();
            let update = format!("{:?}", format!("edit {n}").as_bytes());
            assert!(
                matches!(&edits[..], [edit] if edit.contains(&update)),
                "{edits:?}"
            );
        }
        let seen = if is_shared { LISTS } else { 0 };
        assert_eq!(asked.take(), rows + seen);
    }
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
