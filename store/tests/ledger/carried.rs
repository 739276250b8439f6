//! What a copy carries beside a context's state: what others have signed, what callers were
//! told, who else has it, and what is kept of its past. Wherever it comes in, it goes on.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corelet_store::{
    Acknowledgement, AnswerKey, Arrival, BackupSource, Branch, Change, ContextSlot, DataDir,
    DeltaId, DeltaView, ExportError, ExportScope, Hlc, Keep, KeyedAnswer, Ledger, LedgerConfig,
    NodeId, OpenOptions, Refused, RemoteDelta, RequestDigest, RestoreOptions, Retention, Said,
    Sealer, ShardCount, ShardId, Snapshot, Space, StepBounds, check, export_context,
    import_context, reshard, restore, verify, write_backup,
};

use crate::copies::{WITHOUT_LOG, WITHOUT_PRIVATE, content, export, framed, other, rows};
use crate::signed::{Key, Lie, LiedWrite, forge, vouched};
use crate::{Bench, event, id, set};

const CONTEXT: u8 = 1;

fn id_of(canonical: &Bytes) -> DeltaId {
    DeltaView::parse(canonical).unwrap().id()
}

/// A delta of a node with this number that sets one key.
fn set_by(node: usize, micros: u64, parents: &[DeltaId], key: &str) -> Bytes {
    let lie = Lie {
        space: Space::Shared,
        key: key.into(),
        removes_first: false,
        write: LiedWrite::Set(vec![node as u8]),
    };
    let lies = BTreeMap::from([((0, key.into()), lie)]);
    let author = Key::new(node).node_id();
    forge(id(CONTEXT), author, micros << 12, parents, &lies, [9; 32])
}

fn apply(ledger: &Ledger, slot: ContextSlot, canonical: &Bytes) -> Result<(), Refused> {
    let delta = vouched(canonical);
    let batch = vec![Change::Delta(RemoteDelta { slot, delta })];
    ledger.commit(batch).unwrap().remove(0).map(drop)
}

fn keyed(bench: &mut Bench, slot: ContextSlot, n: u8, said: Said) -> Change {
    let ops = match said {
        Said::Output(_) => vec![set([n], "keyed")],
        Said::Error(_) => vec![],
    };
    let mut effects = bench.effects(CONTEXT, slot, ops);
    effects.answer = Some(Box::new(KeyedAnswer {
        key: AnswerKey::of(&[n]),
        request: RequestDigest::of(b"method", &[n]),
        fuel_used: n.into(),
        said,
    }));
    Change::Call(effects)
}

/// A context that has everything that a copy carries: foreign deltas with their seals, proof of
/// a fork, answers, members of whom one is away, and a log that was cut.
fn rich() -> (Bench, ContextSlot) {
    let mut bench = Bench::new();
    let slot = bench.create(CONTEXT);
    bench.commit(vec![Change::ShareContext(id(CONTEXT))]);
    let base = set_by(3, 1, &[], "a");
    let known = set_by(2, 5, &[id_of(&base)], "b");
    let refused = set_by(2, 6, &[id_of(&base)], "c");
    for canonical in [&base, &known] {
        apply(bench.ledger(), slot, canonical).unwrap();
        let author = DeltaView::parse(canonical).unwrap().author();
        let key = [2, 3].map(Key::new).into_iter();
        let key = key.into_iter().find(|key| key.node_id() == author).unwrap();
        let sealed = key.seal(id(CONTEXT), id_of(canonical));
        bench.commit(vec![Change::KeepSeal(sealed)]);
    }
    let sealed = Key::new(2).seal(id(CONTEXT), id_of(&refused));
    let branch = Branch::check(vec![refused], sealed).unwrap();
    bench.commit(vec![Change::KeepFork(branch)]);
    bench.commit(vec![Change::SetMembers {
        context: id(CONTEXT),
        members: [2, 3].map(|node| Key::new(node).node_id()).to_vec(),
        now: Hlc::from_micros(1),
    }]);
    for n in 0..150_u32 {
        let mut effects = bench.effects(CONTEXT, slot, vec![set(n.to_be_bytes(), [7; 40])]);
        effects.events = vec![event("told", &n.to_be_bytes())];
        bench.commit(vec![Change::Call(effects)]);
    }
    let said = [
        Said::Output(Bytes::from_static(b"\"done\"")),
        Said::Error(Bytes::from_static(b"\"no\"")),
    ];
    for (n, said) in (1..).zip(said) {
        let call = keyed(&mut bench, slot, n, said);
        bench.commit(vec![call]);
    }
    let snapshot = bench.ledger().snapshot().unwrap();
    let seen = snapshot.applied(&snapshot.head(slot).unwrap()).unwrap();
    drop(snapshot);
    bench.commit(vec![Change::Acknowledge(Acknowledgement {
        context: id(CONTEXT),
        member: Key::new(2).node_id(),
        seen,
        now: Hlc::from_micros(2),
    })]);
    // The other one is away from now on, so that something goes.
    let retention = Retention {
        history: keep(|keep| keep.count_max = 100),
        away_max: Duration::ZERO,
        ..Retention::default()
    };
    collect(bench.ledger(), &retention, bench.now);
    bench.verify();
    (bench, slot)
}

fn keep(bound: impl FnOnce(&mut Keep)) -> Keep {
    let mut keep = Keep {
        count_max: u64::MAX,
        bytes_max: u64::MAX,
        age_max: Duration::from_secs(1 << 40),
    };
    bound(&mut keep);
    keep
}

fn collect(ledger: &Ledger, retention: &Retention, now: u64) {
    let mut rounds = 0;
    while rounds < 2 {
        let bounds = StepBounds::default();
        let step = ledger.collect(retention, Hlc::from_micros(now), &bounds);
        let step = step.unwrap();
        assert!(step.damaged.is_empty(), "{:?}", step.damaged);
        rounds += u32::from(step.is_round_over);
    }
}

/// Everything about a context that is not its state, in words.
fn beside(snapshot: &Snapshot, slot: ContextSlot, is_own: bool) -> Vec<String> {
    let mut said = Vec::new();
    snapshot
        .seals(slot, &mut |stamp, sealed| {
            said.push(format!("{stamp:?} {sealed:?}"));
            ControlFlow::Continue(())
        })
        .unwrap();
    let forks = snapshot.forks(slot).unwrap();
    said.extend(forks.iter().map(|fork| format!("{fork:?}")));
    if is_own {
        for n in 0..4 {
            let kept = snapshot.kept_answer(slot, &AnswerKey::of(&[n])).unwrap();
            said.push(format!("{kept:?}"));
        }
        for mut member in snapshot.members(slot).unwrap() {
            member.seen.sort();
            said.push(format!("{member:?}"));
        }
    }
    // Numbers of authors differ, and with them the order.
    said.sort();
    said
}

fn slot_in(ledger: &Ledger) -> ContextSlot {
    let context = ledger.snapshot().unwrap().context(&id(CONTEXT)).unwrap();
    context.unwrap().slot
}

/// The context is the same there, and goes on like any other.
fn goes_on(here: &Snapshot, bench: &mut Bench, ledger: &Ledger, scope: ExportScope) {
    let (from, slot) = (
        here.context(&id(CONTEXT)).unwrap().unwrap().slot,
        slot_in(ledger),
    );
    let there = ledger.snapshot().unwrap();
    assert_eq!(
        content(here, id(CONTEXT), scope),
        content(&there, id(CONTEXT), scope)
    );
    let is_own = scope.private && scope.log;
    assert_eq!(beside(here, from, is_own), beside(&there, slot, is_own));
    drop(there);
    verify(&ledger.snapshot().unwrap()).unwrap();
    // A call that was answered is not run again.
    let said = Said::Output(Bytes::from_static(b"again"));
    let again = keyed(bench, slot, 1, said);
    let verdict = ledger.commit(vec![again]).unwrap().remove(0);
    let is_answered = matches!(verdict, Err(Refused::AnsweredBefore { .. }));
    assert_eq!(is_answered, scope.private, "{verdict:?}");
    // What another node makes upon it is taken.
    let head = ledger.snapshot().unwrap().head(slot).unwrap();
    let next = set_by(2, bench.now + 1000, &head.deltas, "next");
    apply(ledger, slot, &next).unwrap();
    let sealed = Key::new(2).seal(id(CONTEXT), id_of(&next));
    let verdict = ledger.commit(vec![Change::KeepSeal(sealed)]).unwrap();
    verdict.into_iter().next().unwrap().unwrap();
    verify(&ledger.snapshot().unwrap()).unwrap();
    // So are the bounds on what is kept.
    let retention = Retention {
        events: keep(|keep| keep.count_max = 0),
        history: keep(|keep| keep.count_max = 0),
        ..Retention::default()
    };
    collect(ledger, &retention, bench.now);
    let head = ledger.snapshot().unwrap().head(slot).unwrap();
    assert_eq!(head.events_first, head.events_last + 1);
    verify(&ledger.snapshot().unwrap()).unwrap();
}

#[test]
fn what_others_have_signed_and_callers_were_told_comes_along() {
    let (source, _) = rich();
    for scope in [ExportScope::ALL, WITHOUT_PRIVATE, WITHOUT_LOG] {
        let file = export(source.ledger(), id(CONTEXT), scope);
        let mut target = other();
        target.now = source.now;
        import_context(
            target.ledger(),
            Cursor::new(file.clone()),
            Arrival::trusting(Hlc::ZERO),
        )
        .unwrap();
        target.reopen();
        let ledger = target.ledger.take().unwrap();
        let here = source.ledger().snapshot().unwrap();
        goes_on(&here, &mut target, &ledger, scope);
    }
}

/// Without the log everything is pruned, also for members: whoever lacks any of it is away.
#[test]
fn a_member_that_lacks_what_a_copy_has_not_takes_a_snapshot() {
    let (source, slot) = rich();
    let [two, three] = [2, 3].map(|node| Key::new(node).node_id());
    let behind = |ledger: &Ledger, slot| {
        let members = ledger.snapshot().unwrap().members(slot).unwrap();
        let away = members.iter().filter(|member| member.is_away);
        away.map(|member| member.node).collect::<Vec<_>>()
    };
    assert_eq!(behind(source.ledger(), slot), [three]);
    let target = other();
    let file = export(source.ledger(), id(CONTEXT), WITHOUT_LOG);
    import_context(
        target.ledger(),
        Cursor::new(file.clone()),
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap();
    let slot = slot_in(target.ledger());
    // It has acknowledged all but the last calls, which is not all.
    let mut both = [two, three];
    both.sort();
    let mut away = behind(target.ledger(), slot);
    away.sort();
    assert!(away.contains(&three), "{away:?}");
    let ack = Change::Acknowledge(Acknowledgement {
        context: id(CONTEXT),
        member: three,
        seen: vec![(two, Hlc::from_micros(5))],
        now: Hlc::from_micros(3),
    });
    let verdict = target.ledger().commit(vec![ack]).unwrap().remove(0);
    assert!(
        matches!(verdict, Err(Refused::SnapshotNeeded { .. })),
        "{verdict:?}"
    );
}

/// The log of a copy is cut where its bounds say, as if it had grown there.
#[test]
fn a_copy_is_kept_within_bounds_by_bytes_and_by_age() {
    let mut source = Bench::new();
    let slot = source.create(CONTEXT);
    for n in 0..300_u32 {
        let mut effects = source.effects(CONTEXT, slot, vec![set(n.to_be_bytes(), [7; 40])]);
        effects.events = vec![event("told", &[1; 96])];
        source.commit(vec![Change::Call(effects)]);
    }
    let large = source.call(CONTEXT, slot, vec![set("large", vec![1; 300 << 10])]);
    source.commit(vec![large]);
    let file = export(source.ledger(), id(CONTEXT), ExportScope::ALL);
    let all = keep(|_| {});
    let (by_bytes, by_age) = (
        keep(|keep| keep.bytes_max = 320 << 10),
        keep(|keep| keep.age_max = Duration::from_micros(100)),
    );
    for (history, left) in [(all, 301), (by_bytes, 301 - 256), (by_age, 301 - 192)] {
        let target = Bench::new();
        import_context(
            target.ledger(),
            Cursor::new(file.clone()),
            Arrival::trusting(Hlc::ZERO),
        )
        .unwrap();
        let retention = Retention {
            events: history,
            history,
            ..Retention::default()
        };
        collect(target.ledger(), &retention, source.now);
        let slot = slot_in(target.ledger());
        let head = target.ledger().snapshot().unwrap().head(slot).unwrap();
        assert_eq!(head.log_count, left, "{history:?}");
        target.verify();
    }
}

/// What somebody who has begun with the oldest deltas makes can come before the sweep has
/// entered these, and a copy is made in between.
#[test]
fn deltas_from_before_a_context_was_shared_can_be_parents_in_a_copy() {
    let mut source = Bench::new();
    let slot = source.create(CONTEXT);
    for n in 0..100 {
        let mut effects = source.effects(CONTEXT, slot, vec![set(format!("key{n}"), "1")]);
        // The node has had another key before.
        if n < 20 {
            effects.author = NodeId::from_bytes([0xbb; 32]);
        }
        source.commit(vec![Change::Call(effects)]);
    }
    let mut log = Vec::new();
    let snapshot = source.ledger().snapshot().unwrap();
    let all = &mut |_, delta: DeltaView<'_>| {
        log.push(delta.id());
        ControlFlow::Continue(())
    };
    snapshot.deltas(slot, 100, all).unwrap();
    drop(snapshot);
    let share = vec![Change::ShareContext(id(CONTEXT))];
    source.ledger().writer().commit_shown(share).unwrap();
    for swept in [0, 30, 1000] {
        source.ledger().sweep(swept).unwrap();
        for scope in [ExportScope::ALL, WITHOUT_LOG] {
            let file = export(source.ledger(), id(CONTEXT), scope);
            let target = other();
            import_context(
                target.ledger(),
                Cursor::new(file.clone()),
                Arrival::trusting(Hlc::ZERO),
            )
            .unwrap();
            target.verify();
            let slot = slot_in(target.ledger());
            for (node, parent) in [(2, 90), (3, 50)] {
                let parent = log[99 - parent];
                let next = set_by(node, source.now + 100, &[parent], &format!("by{node}"));
                apply(target.ledger(), slot, &next).unwrap();
            }
            // The tenth has not seen the fiftieth, and the ninetieth has.
            let (tenth, fiftieth) = (log[99 - 10], log[99 - 50]);
            let late = set_by(4, source.now + 100, &[tenth], "key5");
            apply(target.ledger(), slot, &late).unwrap();
            let redundant = set_by(5, source.now + 100, &[tenth, fiftieth], "a");
            let refused = apply(target.ledger(), slot, &redundant).unwrap_err();
            assert!(
                matches!(refused, Refused::RedundantParent { .. }),
                "{refused}"
            );
            target.verify();
        }
        source.verify();
    }
}

/// A past that says what one of the time before sharing would say, of a delta that was made
/// since: that its author has seen everything with a lower stamp.
#[test]
fn a_past_that_claims_to_be_from_before_a_context_was_shared_is_told() {
    let mut source = Bench::new();
    let slot = source.create(CONTEXT);
    let mut own = Vec::new();
    for n in 0..3 {
        let call = source.call(CONTEXT, slot, vec![set([n], "1")]);
        own.extend(source.commit(vec![call]).remove(0).delta_id());
    }
    source.commit(vec![Change::ShareContext(id(CONTEXT))]);
    while source.ledger().sweep(100).unwrap().is_more {}
    // It follows the first call, and not the two behind that.
    let stamp = (source.now + 1000) << 12;
    let foreign = set_by(2, source.now + 1000, &own[..1], "a");
    apply(source.ledger(), slot, &foreign).unwrap();
    let honest = rows(&export(source.ledger(), id(CONTEXT), ExportScope::ALL));
    let at = honest.windows(foreign.len()).position(|it| it == foreign);
    // Behind the delta: that its past follows, its dot, how many authors it has seen, the first.
    let at = at.unwrap() + foreign.len() + 1 + 12 + 4 + 4;
    let mut lie = honest.clone();
    lie[at..at + 8].copy_from_slice(&(stamp - 1).to_le_bytes());
    assert_ne!(lie, honest);
    let target = other();
    let error = import_context(
        target.ledger(),
        Cursor::new(framed(&lie)),
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap_err();
    assert!(
        matches!(error, corelet_store::ImportError::Disagrees { .. }),
        "{error}"
    );
    import_context(
        target.ledger(),
        Cursor::new(framed(&honest)),
        Arrival::trusting(Hlc::ZERO),
    )
    .unwrap();
    target.verify();
}

/// Until the sweep comes to it, what was kept of a deleted context lies there.
#[test]
fn what_is_left_of_a_deleted_context_is_no_damage() {
    let (bench, _) = rich();
    let delete = vec![Change::DeleteContext(id(CONTEXT))];
    bench.ledger().writer().commit_shown(delete).unwrap();
    bench.verify();
    while bench.ledger().sweep(20).unwrap().is_more {
        bench.verify();
    }
    bench.verify();
}

/// All rows that there are, as they have been written since.
#[test]
fn the_format_is_the_one_of_the_file_that_is_kept() {
    let (source, _) = rich();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/context-1-of-2.clx1");
    let file = export(source.ledger(), id(CONTEXT), ExportScope::ALL);
    if std::env::var_os("CORELET_WRITE_FIXTURE").is_some() {
        std::fs::write(&kept, &file).unwrap();
    }
    assert!(
        std::fs::read(&kept).unwrap() == file,
        "the format has changed"
    );
}

fn config() -> LedgerConfig {
    LedgerConfig {
        map_bytes_max: 64 << 20,
        readers_max: 8,
        ..LedgerConfig::default()
    }
}

/// The ledger of a data directory where the context is.
fn open_owner(path: &Path) -> Ledger {
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).unwrap(),
        node_id_if_new: NodeId::from_bytes([4; 32]),
    };
    let data = DataDir::open(path, &options).unwrap();
    let shard = ShardId::of(&id(CONTEXT), data.manifest().shards);
    Ledger::open(&data.ledger_place(shard), &config()).unwrap()
}

#[track_caller]
fn is_whole(path: &Path) {
    let report = check(path, &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
}

fn backup(ledger: &Ledger, file: &mut Vec<u8>) -> corelet_store::BackupCounts {
    let snapshots = [ledger.snapshot().unwrap()];
    let source = BackupSource {
        node: NodeId::from_bytes([4; 32]),
        snapshots: &snapshots,
        component: &|_| unreachable!("nothing is installed"),
        blobs: None,
    };
    write_backup(&source, file, &mut |_| {}).unwrap()
}

#[test]
fn a_restored_and_a_resharded_node_has_all_of_it() {
    let (source, _) = rich();
    let here = source.ledger().snapshot().unwrap();
    let from = here.context(&id(CONTEXT)).unwrap().unwrap().slot;
    let mut file = Vec::new();
    assert_eq!(backup(source.ledger(), &mut file).contexts, 1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("restored");
    let options = RestoreOptions {
        shards: Some(ShardCount::new(2).unwrap()),
        component: &|id| format!("{id}.wasm"),
        ledger: config(),
        arrival: Arrival::trusting(Hlc::ZERO),
    };
    restore(Cursor::new(file.clone()), &path, &options, &mut |_| {}).unwrap();
    is_whole(&path);
    let events = || {
        let ledger = open_owner(&path);
        let head = ledger.snapshot().unwrap().head(slot_in(&ledger)).unwrap();
        head.events_first..=head.events_last
    };
    let numbered = events();
    assert!(*numbered.start() > here.head(from).unwrap().events_last + 1);
    let shards = ShardCount::new(3).unwrap();
    reshard(&path, shards, &config(), &mut |_, _| {}).unwrap();
    is_whole(&path);
    assert_eq!(events(), numbered, "nobody has told anything between");
    let ledger = open_owner(&path);
    let mut bench = other();
    bench.now = source.now;
    goes_on(&here, &mut bench, &ledger, ExportScope::ALL);
    drop(ledger);
    is_whole(&path);
}

/// What is damaged is not spread, and holds up no backup of its neighbours.
#[test]
fn a_context_that_is_out_of_service_is_not_copied_and_a_backup_says_so() {
    let mut bench = Bench::new();
    let (bad, good) = (bench.create(CONTEXT), bench.create(2));
    for (n, slot) in [(CONTEXT, bad), (2, good)] {
        let call = bench.call(n, slot, vec![set("key", "value")]);
        bench.commit(vec![call]);
    }
    let quarantine = |bench: &Bench, why: Option<&str>| {
        bench.commit(vec![Change::Quarantine {
            context: id(CONTEXT),
            why: why.map(str::to_owned),
        }])
    };
    quarantine(&bench, Some("an entry is damaged"));
    let snapshot = bench.ledger().snapshot().unwrap();
    let refused = export_context(&snapshot, &id(CONTEXT), ExportScope::ALL, Vec::new());
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, ExportError::Quarantined { context, why }
            if *context == id(CONTEXT) && why == "an entry is damaged"),
        "{refused}"
    );
    drop(snapshot);
    let mut file = Vec::new();
    let counts = backup(bench.ledger(), &mut file);
    assert_eq!((counts.contexts, counts.left_out), (1, 1));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("restored");
    let options = RestoreOptions {
        shards: None,
        component: &|id| format!("{id}.wasm"),
        ledger: config(),
        arrival: Arrival::trusting(Hlc::ZERO),
    };
    let restored = restore(Cursor::new(file.clone()), &path, &options, &mut |_| {}).unwrap();
    assert_eq!(restored.counts, counts);
    let ledger = open_owner(&path);
    let contexts = ledger.snapshot().unwrap().contexts(None, 9).unwrap();
    assert_eq!(contexts.iter().map(|it| it.id).collect::<Vec<_>>(), [id(2)]);
    drop(ledger);
    is_whole(&path);

    // A change of shards would lose it, so it is refused, and leaves everything as it was.
    bench.close();
    let data = bench._dir.path().to_owned();
    let shards = ShardCount::new(2).unwrap();
    let refused = reshard(&data, shards, &config(), &mut |_, _| {}).unwrap_err();
    assert!(
        matches!(refused, ExportError::Quarantined { .. }),
        "{refused}"
    );
    bench.reopen();
    assert_eq!(bench.get(bad, b"key").unwrap(), b"value");
    quarantine(&bench, None);
    bench.close();
    let done = reshard(&data, shards, &config(), &mut |_, _| {}).unwrap();
    assert_eq!(done.contexts, 2);
    is_whole(&data);
}
