//! Data directories that programs of each format have left, as they were written then.
//! Each opens, and is whole. Before the format changes: write one with
//! `examples/fixture.rs`, as that is then, and pack it here without its locks.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use corelet_store::{
    AnswerKey, ApplicationId, Arrival, BlobId, CallEffects, Change, ContextSlot, CounterSum,
    DataDir, DeltaId, DeltaView, EditView, EntryKind, EntryValue, ExportScope, Hlc, Ledger,
    LedgerConfig, NodeId, Op, OpenOptions, RemoteDelta, Said, Scan, Sealer, ShardCount, ShardId,
    Snapshot, Space, Verified, Write, check, export_context, import_context, verify,
};

use crate::retention::{KEEP_ALL, KEEP_NOTHING, collect};
use crate::signed::{Key, Lie, LiedWrite, forge, vouched};
use crate::{id, set};

fn unpack(dir: &Path, name: &str) {
    let packed =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.tar.gz"));
    if !dir.join(name).exists() {
        let unpacked = Command::new("tar")
            .arg("-xzf")
            .arg(&packed)
            .arg("-C")
            .arg(dir)
            .status();
        assert!(unpacked.unwrap().success(), "{}", packed.display());
    }
}

/// Unpacks the fixture and opens its only ledger.
pub(crate) fn open(dir: &Path, name: &str) -> Ledger {
    unpack(dir, name);
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).unwrap(),
        node_id_if_new: NodeId::from_bytes([7; 32]),
    };
    let data = DataDir::open(dir.join(name), &options).unwrap();
    let config = LedgerConfig {
        map_bytes_max: 16 << 20,
        readers_max: 4,
        journal_bytes_max: 64 << 10,
        checkpoint_contexts_max: 1000,
        trie_bytes_max: 48 << 10,
        answers: corelet_store::AnswerBounds::DEFAULT,
        contexts: corelet_store::ContextBounds::NONE,
        start_check_bytes_max: 1 << 30,
    };
    let shard = ShardId::new(0, options.shards_if_new).unwrap();
    Ledger::open(&data.ledger_place(shard), &config).unwrap()
}

/// What the writer of the fixtures has done: a hundred calls that each set a key of
/// their own and `last`, every tenth with an event; 500 keys in another context; a third
/// context with nothing, a fourth that was deleted; and, in the journal, five calls of the first
/// that remove a key, set another and a large one, each with an event, and five of the second.
fn check_content(ledger: &Ledger) {
    let snapshot = ledger.snapshot().unwrap();
    let slot = |n| {
        snapshot
            .context(&id(n))
            .unwrap()
            .map(|context| context.slot)
    };
    let register = |n, key: &str| {
        let value = snapshot.register(slot(n).unwrap(), key.as_bytes()).unwrap();
        value.map(<[u8]>::to_vec)
    };
    assert_eq!(slot(4), None);
    assert_eq!(register(1, "made"), Some(vec![1]));
    for n in 0..100_u32 {
        let expected = (n >= 5).then(|| format!("value {n}").into_bytes());
        assert_eq!(register(1, &format!("key-{n:03}")), expected);
    }
    for n in 0..5_u8 {
        assert_eq!(register(1, &format!("journaled-{n}")), Some(vec![n]));
    }
    assert_eq!(register(1, "last"), Some(99_u32.to_be_bytes().to_vec()));
    assert_eq!(register(1, "large"), Some(vec![4; 9000]));
    assert_eq!(register(3, "m0000"), Some(b"again".to_vec()));
    assert_eq!(register(3, "m0499"), Some(499_u32.to_le_bytes().to_vec()));
    let heads = [1, 2, 3].map(|n| snapshot.head(slot(n).unwrap()).unwrap());
    assert_eq!(heads.each_ref().map(|head| head.entries), [103, 0, 501]);
    assert_eq!(heads.each_ref().map(|head| head.events_last), [15, 0, 0]);
    let mut events = Vec::new();
    snapshot
        .events(slot(1).unwrap(), 1, usize::MAX, &mut |event| {
            events.push((event.kind.to_owned(), event.payload.to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(events[9], ("tenth".to_owned(), b"90".to_vec()));
    assert_eq!(events[14], ("journaled".to_owned(), b"4".to_vec()));
    let all = Scan {
        prefix: b"m",
        limit: usize::MAX,
        ..Scan::default()
    };
    let mut found = 0;
    snapshot
        .scan(slot(3).unwrap(), all, &mut |_| {
            found += 1;
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(found, 501, "500 keys and `made`");
    assert_eq!(snapshot.name("context-1").unwrap(), Some(id(1)));
    let application = ApplicationId::from_bytes([9; 32]);
    assert_eq!(
        snapshot.application(&application).unwrap().unwrap().name,
        "kv"
    );
}

#[test]
fn a_directory_of_format_3_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    // What is in the journal becomes deltas of this format; the log before is gone.
    let expected = Verified {
        contexts: 3,
        entries: 604,
        deltas: 10,
        events: 15,
        answers: 0,
    };
    for _ in 0..2 {
        let ledger = open(dir.path(), "format-3");
        check_content(&ledger);
        assert_eq!(verify(&ledger.snapshot().unwrap()).unwrap(), expected);
    }
    let ledger = open(dir.path(), "format-3");
    while ledger.sweep(100).unwrap().is_more {}
    let slot = ledger
        .snapshot()
        .unwrap()
        .context(&id(2))
        .unwrap()
        .unwrap()
        .slot;
    let mut bench = crate::Bench::new();
    bench.now = 1 << 40;
    let call = bench.call(2, slot, vec![set("new", "value")]);
    ledger.commit(vec![call]).unwrap().remove(0).unwrap();
    verify(&ledger.snapshot().unwrap()).unwrap();
}

fn slot_of(snapshot: &Snapshot, n: u8) -> ContextSlot {
    snapshot.context(&id(n)).unwrap().unwrap().slot
}

/// What it has done since there are kinds of entries: one of each kind in context 5, and in
/// context 6 writes of two nodes.
fn check_kinds(snapshot: &Snapshot) {
    let value = |n, space, key: &[u8]| snapshot.get(slot_of(snapshot, n), space, key).unwrap();
    let shared = |key: &str| value(5, Space::Shared, key.as_bytes());
    assert_eq!(
        shared("counter"),
        Some(EntryValue::Counter(CounterSum::default().plus(42)))
    );
    assert_eq!(shared("element"), Some(EntryValue::SetElement));
    assert_eq!(shared("once"), Some(EntryValue::WriteOnce(b"first")));
    assert_eq!(shared("list"), Some(EntryValue::List));
    assert_eq!(shared("text"), Some(EntryValue::Text));
    assert_eq!(shared("gone"), None);
    let owned = [&[7; 32][..], b"mine"].concat();
    let register = |value| Some(EntryValue::Register(value));
    assert_eq!(value(5, Space::Owned, &owned), register(b"value"));
    assert_eq!(value(5, Space::Private, b"secret"), register(b"journaled"));
    let list = snapshot.sequence(
        slot_of(snapshot, 5),
        Space::Shared,
        b"list",
        EntryKind::List,
    );
    assert_eq!(list.unwrap().unwrap().edits, 2);
    // Two nodes have written at once; theirs was later.
    assert_eq!(value(6, Space::Shared, b"both"), register(b"theirs"));
    assert_eq!(value(6, Space::Shared, b"one"), register(b"theirs"));
    assert_eq!(
        value(6, Space::Shared, b"added"),
        Some(EntryValue::Counter(CounterSum::default().plus(1)))
    );
    assert_eq!(snapshot.head(slot_of(snapshot, 6)).unwrap().deltas.len(), 2);
}

#[test]
fn a_directory_of_format_4_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    for is_swept in [false, true] {
        let ledger = open(dir.path(), "format-4");
        check_content(&ledger);
        let snapshot = ledger.snapshot().unwrap();
        check_kinds(&snapshot);
        verify(&snapshot).unwrap();
        let edits = ledger.stats().unwrap().edits;
        assert_eq!(edits, if is_swept { 3 } else { 4 });
        drop(snapshot);
        while ledger.sweep(100).unwrap().is_more {}
    }
}

/// Since there are attachments: context 7 has attached four blobs, two of them no longer, and
/// keeps an answer, and context 6 has members. The last two calls are in the journal.
#[test]
fn a_directory_of_format_5_is_whole() {
    check_since_attachments("format-5", |_| {});
}

/// Since there are befores: what a delta has replaced can be undone. Otherwise it is like one of
/// format 5.
#[test]
fn a_directory_of_format_6_is_whole() {
    check_since_befores("format-6");
}

/// Since befores leave out what survives; in context 6 two nodes have written one key at once.
#[test]
fn a_directory_of_format_7_is_whole() {
    check_since_befores("format-7");
}

/// Since the digests of lists and texts tell what their edits build on, and edits are put together:
/// context 8 has a text of which the oldest are.
#[test]
fn a_directory_of_format_8_is_whole() {
    check_since_befores("format-8");
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path(), "format-8");
    let check = || {
        let snapshot = ledger.snapshot().unwrap();
        let mut updates = Vec::new();
        let visit = &mut |edit: EditView<'_>| {
            updates.push(edit.update.to_vec());
            ControlFlow::Continue(())
        };
        let (slot, kind) = (slot_of(&snapshot, 8), EntryKind::Text);
        let read = snapshot.edits(slot, Space::Shared, b"packed", kind, visit);
        read.unwrap();
        let expected: Vec<_> = (0..300).map(|n| format!("edit {n}").into_bytes()).collect();
        assert_eq!(updates, expected);
        verify(&snapshot).unwrap();
    };
    assert_eq!(ledger.stats().unwrap().packs, 2);
    check();
    // What is read goes on being packed.
    let steps = collect(&ledger, &KEEP_ALL, Hlc::ZERO);
    assert!(steps.iter().any(|step| step.edits_packed > 0));
    check();
}

/// Since there is the agenda: context 5 has something in it, of which the newest is in the journal.
#[test]
fn a_directory_of_format_9_is_whole() {
    check_since_befores("format-9");
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path(), "format-9");
    let snapshot = ledger.snapshot().unwrap();
    let slot = slot_of(&snapshot, 5);
    let agenda = |key: &[u8]| snapshot.get(slot, Space::Agenda, key).unwrap();
    assert_eq!(agenda(b"due"), None);
    assert_eq!(agenda(b"later"), Some(EntryValue::Register(b"journaled")));
    let all = snapshot.agendas(b"", None, 10).unwrap().entries;
    let all: Vec<_> = all.iter().map(|it| (it.slot, &it.key[..])).collect();
    assert_eq!(all, [(slot, &b"later"[..])]);
}

/// Since there are stable memories: context 5 has one, of which some is in the journal.
#[test]
fn a_directory_of_format_10_is_whole() {
    check_since_befores("format-10");
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path(), "format-10");
    let snapshot = ledger.snapshot().unwrap();
    let slot = slot_of(&snapshot, 5);
    let stable = |key: &[u8]| snapshot.get(slot, Space::Stable, key).unwrap();
    let register = |value| Some(EntryValue::Register(value));
    assert_eq!(stable(&[0, 0, 0, 9]), register(b"journaled"));
    assert_eq!(stable(&[0, 0, 0, 10]), register(b"value"));
    assert_eq!(stable(&[0, 0, 0, 127, 0]), register(b""));
}

/// It is not damaged for that, and the program that wrote it is not needed.
#[test]
fn a_check_of_an_earlier_format_says_that_a_start_takes_it_over() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), "format-7"));
    let taken_over = check(&dir.path().join("format-7"), &mut |_| {}).unwrap();
    assert!(taken_over.is_whole(), "{:?}", taken_over.findings);
    unpack(dir.path(), "format-6");
    let report = check(&dir.path().join("format-6"), &mut |_| {}).unwrap();
    let found = &report.findings[0];
    assert_eq!(report.findings.len(), 1);
    assert!(found.why.contains("it is of format 6"), "{}", found.why);
    assert!(found.advice.contains("takes it over"), "{}", found.advice);
    assert!(!found.to_string().contains("wrote it"), "{found}");
}

/// A list and its edits of the first form, of which no digest tells what they build on, go on with such of
/// which it does; and keep them when some go.
#[test]
fn edits_of_format_7_are_gone_on_with() {
    const OWN: NodeId = NodeId::from_bytes([7; 32]);
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path(), "format-7");
    let commit = |change| ledger.commit(vec![change]).unwrap().remove(0).unwrap();
    commit(Change::ShareContext(id(5)));
    let slot = slot_of(&ledger.snapshot().unwrap(), 5);
    let births = || {
        let snapshot = ledger.snapshot().unwrap();
        let facts = snapshot.sequence(slot, Space::Shared, b"list", EntryKind::List);
        facts.unwrap().unwrap().births
    };
    let edit = |micros: u64| {
        let edit = Write::Edit {
            kind: EntryKind::List,
            births: births(),
            update: Bytes::from_static(b"of this format"),
        };
        commit(Change::Call(CallEffects {
            slot,
            ops: vec![Op::shared("list".into(), edit)],
            ..CallEffects::new(id(5), OWN, Hlc::from_bits(micros << 12))
        }))
    };
    let last = || ledger.snapshot().unwrap().head(slot).unwrap().deltas[0];
    let edits = || {
        let snapshot = ledger.snapshot().unwrap();
        verify(&snapshot).unwrap();
        let facts = snapshot.sequence(slot, Space::Shared, b"list", EntryKind::List);
        (
            facts.unwrap().unwrap().edits,
            snapshot.head(slot).unwrap().root,
        )
    };
    let old = last();
    let new = edit(1 << 20).delta_id().unwrap();
    let alone = edits();
    assert_eq!(alone.0, 3);
    // Another begins the list beside it, and removes what it has made: that is worked out anew.
    let other = Key::new(1);
    let lie = |micros: u64, parents: &[DeltaId], write| {
        let lie = Lie {
            space: Space::Shared,
            key: b"list".to_vec(),
            removes_first: false,
            write,
        };
        let lies = BTreeMap::from([((0, b"list".to_vec()), lie)]);
        let canonical = forge(
            id(5),
            other.node_id(),
            micros << 12,
            parents,
            &lies,
            [9; 32],
        );
        let delta = DeltaView::parse(&canonical).unwrap().id();
        commit(Change::Delta(RemoteDelta {
            slot,
            delta: vouched(&canonical),
        }));
        delta
    };
    let birth = LiedWrite::Edit {
        is_list: true,
        births: vec![],
        seen: vec![],
        update: b"theirs".to_vec(),
    };
    let theirs = lie((1 << 20) + 1, &[], birth);
    assert_eq!(edits().0, 4);
    lie((1 << 20) + 2, &[theirs], LiedWrite::Remove);
    assert_eq!(edits(), alone);
    collect(&ledger, &KEEP_ALL, Hlc::ZERO);
    while ledger.sweep(100).unwrap().is_more {}
    assert_eq!(edits(), alone);
    let snapshot = ledger.snapshot().unwrap();
    for delta in [old, new] {
        snapshot.at(slot, &delta).unwrap();
    }
    let mut copy = Vec::new();
    export_context(&snapshot, &id(5), ExportScope::ALL, &mut copy).unwrap();
    let bench = crate::Bench::new();
    let arrival = Arrival::at(Hlc::from_bits(1 << 40));
    import_context(bench.ledger(), Cursor::new(copy), arrival).unwrap();
    bench.verify();
}

fn check_since_befores(format: &str) {
    check_since_attachments(format, |ledger| {
        collect(ledger, &KEEP_NOTHING, Hlc::from_micros(10_000));
        let snapshot = ledger.snapshot().unwrap();
        let slot = slot_of(&snapshot, 1);
        assert!(snapshot.head(slot).unwrap().log_pruned > 0);
        for n in [1, 5, 6, 7] {
            let slot = slot_of(&snapshot, n);
            let mut deltas = Vec::new();
            let visit = &mut |_, delta: DeltaView<'_>| {
                deltas.push((delta.id(), delta.root()));
                ControlFlow::Continue(())
            };
            snapshot.deltas(slot, usize::MAX, visit).unwrap();
            assert!(!deltas.is_empty());
            for (delta, root) in deltas {
                assert_eq!(snapshot.at(slot, &delta).unwrap().root(), root);
            }
        }
    });
}

fn check_since_attachments(format: &str, check_more: impl Fn(&Ledger)) {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let ledger = open(dir.path(), format);
        check_content(&ledger);
        let snapshot = ledger.snapshot().unwrap();
        check_kinds(&snapshot);
        let slot = slot_of(&snapshot, 7);
        let blobs = [1, 2, 3, 4].map(|n| BlobId::of(&[n; 20_000]));
        let attached_by = blobs.map(|blob| snapshot.attached_by(blob, 2).unwrap());
        assert_eq!(attached_by, [vec![], vec![], vec![slot], vec![slot]]);
        let sum = snapshot.attached(slot).unwrap();
        assert_eq!((sum.blobs, sum.bytes), (2, 40_000));
        let kept = snapshot.kept_answer(slot, &AnswerKey::of(b"key")).unwrap();
        let expected = Said::Output(Bytes::from_static(b"\"done\""));
        assert_eq!(kept.unwrap().said, expected);
        let members = snapshot.members(slot_of(&snapshot, 6)).unwrap();
        let seen = members.iter().map(|member| member.seen.len());
        assert_eq!(seen.collect::<Vec<_>>(), [2, 0]);
        verify(&snapshot).unwrap();
        drop(snapshot);
        while ledger.sweep(100).unwrap().is_more {}
    }
    check_more(&open(dir.path(), format));
    let report = check(&dir.path().join(format), &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
    assert_eq!((report.blobs, report.blobs_missing), (3, 1));
}
