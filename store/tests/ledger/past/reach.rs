//! How far a reading of the past goes: it is ended by its bounds, or by whoever asked, and takes no
//! more steps than what it looks for needs. What it finds is tested in `past.rs`.

use std::cell::Cell;
use std::collections::BTreeMap;

use bytes::Bytes;
use corelet_store::{
    Births, Change, ContextSlot, DeltaId, EntryKind, Op, PastBounds, PastError, PastState,
    RemoteDelta, Sealer, Snapshot, Space, Write,
};

use super::{edits_then, now, then};
use crate::retention::head;
use crate::signed::{Key, Lie, LiedWrite, forge, vouched};
use crate::{Bench, id, remove, set};

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
