//! The space of what the server is to do for contexts by itself.

use std::collections::BTreeMap;
use std::io::Cursor;

use bytes::Bytes;
use corelet_store::{
    Arrival, Change, ContextSlot, DeltaView, EntryKind, EntryValue, ExportScope, Hlc, Op, Refused,
    Space, Write, import_context, verify,
};

use crate::copies::{export, other};
use crate::signed::{Lie, LiedWrite, forge, keys};
use crate::{Bench, id, set};

fn agenda(key: &str, value: &str) -> Op {
    Op {
        space: Space::Agenda,
        ..set(key, value)
    }
}

fn firsts(bench: &Bench, prefix: &str, after: Option<ContextSlot>) -> Vec<(u64, String)> {
    let snapshot = bench.ledger().snapshot().unwrap();
    let found = snapshot.agendas(prefix.as_bytes(), after, 10).unwrap();
    assert_eq!(found.last, None);
    let found = found.entries.into_iter();
    let text = |key| String::from_utf8(key).unwrap();
    found.map(|it| (it.slot.number(), text(it.key))).collect()
}

/// It is written with everything else of a call, and is in no delta and no root.
#[test]
fn what_is_in_an_agenda_is_this_node_s_alone_and_survives_a_crash() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let calls = [
        vec![set("at", "1"), agenda("due", "2")],
        vec![agenda("due", "3")],
    ];
    let mut roots = Vec::new();
    for (n, ops) in calls.into_iter().enumerate() {
        let call = bench.call(1, slot, ops);
        // Only the journal has it then.
        let outcome = bench.ledger().writer().commit(vec![call]).unwrap();
        assert!(!outcome.is_shown);
        let mut verdicts = outcome.verdicts.into_iter();
        let committed = verdicts.next().unwrap().unwrap();
        assert_eq!(committed.delta_id().is_some(), n == 0, "no delta tells it");
        roots.push(committed.root());
    }
    assert_eq!(roots[0], roots[1]);
    for _ in 0..2 {
        bench.reopen();
        let snapshot = bench.ledger().snapshot().unwrap();
        let found = snapshot.get(slot, Space::Agenda, b"due").unwrap();
        assert_eq!(found, Some(EntryValue::Register(b"3")));
        // It counts as what the context holds.
        assert_eq!(snapshot.head(slot).unwrap().bytes, 3 + 4);
        verify(&snapshot).unwrap();
    }
}

#[test]
fn an_agenda_has_registers_only() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    for write in [
        Write::Insert,
        Write::Add(1),
        Write::WriteOnce(Bytes::new()),
        Write::Edit {
            kind: EntryKind::Text,
            births: Default::default(),
            update: Bytes::from_static(b"edit"),
        },
    ] {
        let op = Op {
            write,
            ..agenda("due", "")
        };
        let call = bench.call(1, slot, vec![op]);
        let refused = bench.ledger().commit(vec![call]).unwrap().remove(0);
        let space = Space::Agenda;
        assert!(matches!(refused, Err(Refused::NotInSpace { space: its }) if its == space));
    }
}

/// Or another node could make this one run things.
#[test]
fn a_delta_that_writes_an_agenda_is_malformed() {
    let (author, _) = keys().iter().next().unwrap();
    let lie = Lie {
        space: Space::Shared,
        key: b"due".to_vec(),
        removes_first: false,
        write: LiedWrite::Set(b"now".to_vec()),
    };
    let lies = BTreeMap::from([((0, lie.key.clone()), lie)]);
    let delta = forge(id(1), *author, 5 << 12, &[], &lies, [0; 32]);
    // In front of the key are its space and its length.
    let space = delta.windows(3).position(|at| at == b"due").unwrap() - 3;
    for number in [2, 4] {
        let mut delta = delta.to_vec();
        assert_eq!(delta[space], 0);
        delta[space] = number;
        let error = DeltaView::parse(&delta).err().unwrap();
        assert!(error.to_string().contains("private to its node"), "{error}");
    }
}

#[test]
fn contexts_with_something_in_their_agenda_are_found_without_the_others() {
    let mut bench = Bench::new();
    let slots = [1, 2, 3, 4, 5].map(|n| bench.create(n));
    let write = [
        (
            1,
            vec![agenda("a", ""), agenda("t|2", ""), agenda("t|1", "")],
        ),
        (2, vec![agenda("a", ""), agenda("z", "")]),
        (3, vec![set("t|0", "")]),
        (4, vec![agenda("t|7", "")]),
        (5, vec![agenda("t|3", ""), agenda("z", "")]),
    ];
    for (n, ops) in write {
        let call = bench.call(n, slots[usize::from(n) - 1], ops);
        bench.commit(vec![call]);
    }
    bench.reopen();
    let expected = |n: usize, key: &str| (slots[n - 1].number(), key.to_owned());
    assert_eq!(
        firsts(&bench, "t|", None),
        [expected(1, "t|1"), expected(4, "t|7"), expected(5, "t|3")]
    );
    assert_eq!(firsts(&bench, "t|", Some(slots[3])), [expected(5, "t|3")]);
    assert_eq!(firsts(&bench, "t|", Some(slots[4])), []);
    assert_eq!(
        firsts(&bench, "z", None),
        [expected(2, "z"), expected(5, "z")]
    );
    // Those of a context that is deleted go with it.
    bench.commit(vec![Change::DeleteContext(id(5))]);
    while bench.ledger().sweep(100).unwrap().is_more {}
    assert_eq!(firsts(&bench, "z", None), [expected(2, "z")]);
}

/// Nearly every context has something there, and whoever looks has others to serve between two pages.
#[test]
fn a_page_of_agendas_is_bounded_by_what_is_looked_at_and_not_by_what_is_found() {
    let mut bench = Bench::new();
    for n in 1..=10 {
        let slot = bench.create(n);
        let ops = match n {
            7 => vec![agenda("t", ""), agenda("u", "")],
            _ => vec![agenda("u", "")],
        };
        let call = bench.call(n, slot, ops);
        bench.commit(vec![call]);
    }
    let snapshot = bench.ledger().snapshot().unwrap();
    let (mut after, mut found) = (None, Vec::new());
    for page in 1..=6 {
        let mut looked = snapshot.agendas(b"t", after, 2).unwrap();
        found.append(&mut looked.entries);
        after = looked.last;
        // The last one tells that there is nothing more.
        assert_eq!(after.is_none(), page == 6, "{page}");
        assert_eq!(found.len(), usize::from(page >= 4), "{page}");
    }
    let one = snapshot.agendas(b"t", None, 7).unwrap();
    assert_eq!((&one.entries, one.last), (&found, Some(found[0].slot)));
    assert_eq!(snapshot.agendas(b"t", None, 11).unwrap().last, None);
}

/// As private entries do.
#[test]
fn an_agenda_goes_along_in_a_backup_and_not_in_an_export() {
    for private in [true, false] {
        let mut bench = Bench::new();
        let slot = bench.create(1);
        let ops = vec![set("at", "1"), agenda("due", "3")];
        let call = bench.call(1, slot, ops);
        bench.commit(vec![call]);
        let scope = ExportScope { private, log: true };
        let file = export(bench.ledger(), id(1), scope);
        let target = other();
        let arrival = Arrival::trusting(Hlc::ZERO);
        import_context(target.ledger(), Cursor::new(file), arrival).unwrap();
        let snapshot = target.ledger().snapshot().unwrap();
        let slot = snapshot.slot_of(&id(1)).unwrap().unwrap();
        let found = snapshot.get(slot, Space::Agenda, b"due").unwrap();
        assert_eq!(found.is_some(), private);
        let bytes = if private { 3 + 4 } else { 3 };
        assert_eq!(snapshot.head(slot).unwrap().bytes, bytes);
        verify(&snapshot).unwrap();
    }
}
