//! A disk without room. Its files may not grow, though space may be reserved for them: so what the
//! ledger takes to be sure fails as well, as on a file system that does not keep its word.

use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// Says that the process has been told to ignore the signal of a file that is too large.
const PREPARED: &str = "CORELET_TEST_OF_FULL_DISK";

/// Runs the test of this name once more, in a process whose files may be limited.
fn prepared(test: &str) -> bool {
    if std::env::var_os(PREPARED).is_some() {
        return true;
    }
    let ignoring = "trap '' XFSZ; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", ignoring])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(PREPARED, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{wrong}");
    assert!(said.contains("1 passed"), "{said}");
    false
}

static MEBIBYTE: [u8; 1 << 20] = [b'x'; 1 << 20];

fn mebibyte() -> &'static str {
    std::str::from_utf8(&MEBIBYTE).unwrap()
}

/// Takes so much that the journal's file, which has its space, is within the limits below for some
/// time.
fn prepare(bench: &Bench) {
    let large = fixture::call(1, bench.slot, 2, &[("large", mebibyte())]);
    let written = bench.disk.ledger.writer().commit_shown(vec![large]);
    assert!(written.unwrap().verdicts[0].is_ok());
}

/// No file grows beyond what the ledger has, until the old limit is set.
fn limit(bench: &Bench) -> Rlimit {
    let limit = getrlimit(Resource::Fsize);
    let current = Some(bench.disk.ledger.stats().unwrap().map_bytes_used);
    setrlimit(Resource::Fsize, Rlimit { current, ..limit }).unwrap();
    limit
}

/// The same with some space inside the ledger's file, for a few dozen calls: where something large
/// was. (A write across the limit would be done in part, and so be in doubt.)
fn limit_with_some_space(bench: &Bench) -> Rlimit {
    prepare(bench);
    for now in 3..6 {
        let small = fixture::call(1, bench.slot, now, &[("large", "small")]);
        let written = bench.disk.ledger.writer().commit_shown(vec![small]);
        assert!(written.unwrap().verdicts[0].is_ok());
    }
    limit(bench)
}

/// No file grows any more, until the old limit is set; and what the snapshot shows is not
/// used again.
fn fill(bench: &Bench) -> (Rlimit, Snapshot) {
    prepare(bench);
    let shown = bench.disk.ledger.snapshot().unwrap();
    let limit = limit(bench);
    for now in 3..100 {
        let change = bench.write(now, "value");
        match bench.disk.ledger.writer().commit_shown(vec![change]) {
            Ok(_) => {}
            Err(StoreError::DiskFull { .. }) => {
                return (limit, shown);
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("there is always room");
}

fn put_name(name: &str) -> Change {
    Change::PutName {
        name: name.to_owned(),
        context: fixture::id(1),
    }
}

/// The verdicts of so many changes, whatever batches they are in.
fn verdicts_of(bench: &mut Bench, count: usize) -> Vec<&'static str> {
    let mut verdicts = Vec::new();
    while verdicts.len() < count {
        verdicts.extend(bench.verdicts());
    }
    verdicts
}

#[track_caller]
fn expect_loss(bench: &mut Bench) {
    loop {
        match bench.report() {
            Report::Failed(StoreError::DiskFull { .. }) => return,
            Report::Failed(error) => panic!("{error}"),
            Report::Durable { verdicts, .. } => panic!("{verdicts:?}"),
            Report::Shown(_) | Report::Collected { .. } => {}
        }
    }
}

/// One delta, as often as it is asked for.
fn delta_of_another_node(slot: ContextSlot) -> impl Fn() -> Change {
    let delta = fixture::Peer::new().write(1, "theirs", "value");
    move || {
        let delta = delta.clone();
        Change::Delta(RemoteDelta { slot, delta })
    }
}

/// The journal has its room already, so calls go on. What other nodes have made is refused, as no
/// snapshot could show it; and what is tried in vain is tried seldom.
#[test]
fn calls_go_on_while_checkpoints_for_other_nodes_fail() {
    if !prepared(
        "commit_thread::tests::full_disk::calls_go_on_while_checkpoints_for_other_nodes_fail",
    ) {
        return;
    }
    let started = Instant::now();
    let mut bench = Bench::new();
    let slot = bench.slot;
    let delta = delta_of_another_node(slot);
    let (limit, _shown) = fill(&bench);
    bench.send(delta(), 0, 0);
    bench.start();
    assert_eq!(bench.verdicts(), ["no room"]);
    for now in 100..140 {
        bench.send(delta(), 0, 0);
        bench.send(bench.write(now, "value"), 0, 0);
        assert_eq!(verdicts_of(&mut bench, 2), ["no room", "committed"]);
    }
    assert_eq!(bench.stats.disk_full.get(), 1);
    let failures = bench.stats.checkpoint_failures.get();
    // One with the first batch, and one for what an earlier life may have left to sweep.
    let tries = 2 + started.elapsed().as_secs() / CHECKPOINT_IDLE.as_secs();
    assert!((1..=tries).contains(&failures), "{failures} of {tries}");
    assert_eq!(bench.disk.get(slot, "theirs"), None);
    setrlimit(Resource::Fsize, limit).unwrap();
    let Report::Shown(_) = bench.report() else {
        panic!("there is room again")
    };
    bench.send(delta(), 0, 0);
    assert_eq!(bench.verdicts(), ["committed"]);
    bench.finish();
    assert_eq!(bench.stats.disk_full.get(), 0);
    assert_eq!(bench.disk.get(slot, "theirs").unwrap(), "value");
}

/// Without anything in the journal nothing else tells that there is room again.
#[test]
fn what_was_refused_for_want_of_room_is_taken_once_there_is_some() {
    if !prepared(
        "commit_thread::tests::full_disk::what_was_refused_for_want_of_room_is_taken_once_there_is_some",
    ) {
        return;
    }
    let mut bench = Bench::new();
    let slot = bench.slot;
    let delta = delta_of_another_node(slot);
    let (limit, _shown) = fill(&bench);
    bench.start();
    bench.send(delta(), 0, 0);
    assert_eq!(bench.verdicts(), ["no room"]);
    setrlimit(Resource::Fsize, limit).unwrap();
    loop {
        bench.send(delta(), 0, 0);
        match bench.verdicts()[..] {
            ["no room"] => std::thread::yield_now(),
            ["committed"] => break,
            ref other => panic!("{other:?}"),
        }
    }
    bench.finish();
    assert_eq!(bench.disk.get(slot, "theirs").unwrap(), "value");
}

/// Each failure costs what the journal has: it is applied anew for the next batch.
#[test]
fn a_full_journal_on_a_full_disk_refuses_updates_without_trying_each() {
    if !prepared(
        "commit_thread::tests::full_disk::a_full_journal_on_a_full_disk_refuses_updates_without_trying_each",
    ) {
        return;
    }
    let started = Instant::now();
    let mut bench = Bench::new();
    let (limit, _shown) = fill(&bench);
    bench.start();
    let large = mebibyte();
    let update = |bench: &mut Bench, now, epoch| {
        bench.send(bench.write(now, large), epoch, epoch);
        loop {
            match bench.report() {
                Report::Durable { verdicts, .. } => {
                    assert!(verdicts.iter().all(Result::is_ok));
                    return true;
                }
                Report::Failed(StoreError::DiskFull { .. }) => return false,
                Report::Failed(error) => panic!("{error}"),
                Report::Shown(_) | Report::Collected { .. } => {}
            }
        }
    };
    let (mut now, mut epoch) = (200, 0);
    while update(&mut bench, now, epoch) {
        now += 1;
        assert!(now < 300, "the journal is never full");
    }
    for _ in 0..20 {
        (now, epoch) = (now + 1, epoch + 1);
        assert!(!update(&mut bench, now, epoch));
    }
    let failures = bench.stats.checkpoint_failures.get();
    // One with the batch that has found the journal full, and one for the sweep at the start.
    let tries = 2 + started.elapsed().as_secs() / CHECKPOINT_IDLE.as_secs();
    assert!((1..=tries).contains(&failures), "{failures} of {tries}");
    // What is small goes on.
    epoch += 1;
    bench.send(bench.write(now + 1, "value"), epoch, epoch);
    assert_eq!(bench.verdicts(), ["committed"]);
    setrlimit(Resource::Fsize, limit).unwrap();
    loop {
        (now, epoch) = (now + 2, epoch + 1);
        if update(&mut bench, now, epoch) {
            break;
        }
    }
    bench.finish();
    assert_eq!(bench.disk.get(bench.slot, "key").unwrap(), large);
}

/// As one of a new context, an application, or a name: nobody knows of them yet. What makes room
/// is tried whenever it comes.
#[test]
fn what_is_no_call_is_refused_alone_on_a_full_disk() {
    if !prepared("commit_thread::tests::full_disk::what_is_no_call_is_refused_alone_on_a_full_disk")
    {
        return;
    }
    let mut bench = Bench::new();
    let named = bench.disk.ledger.commit(vec![put_name("kept")]).unwrap();
    assert!(named[0].is_ok());
    let remove = || Change::RemoveName {
        name: "kept".to_owned(),
        context: fixture::id(1),
    };
    let (limit, _shown) = fill(&bench);
    // Of an epoch of its own, and so in a batch of its own.
    bench.send(put_name("first"), 0, 0);
    bench.send(bench.write(100, "value"), 1, 0);
    bench.send(put_name("second"), 1, 0);
    bench.send(remove(), 1, 0);
    bench.send(bench.write(101, "newest"), 1, 0);
    bench.start();
    assert_eq!(
        verdicts_of(&mut bench, 5),
        ["no room", "committed", "no room", "no room", "committed"]
    );
    setrlimit(Resource::Fsize, limit).unwrap();
    bench.send(remove(), 1, 0);
    assert_eq!(bench.verdicts(), ["committed"]);
    bench.finish();
    assert_eq!(bench.disk.get(bench.slot, "key").unwrap(), "newest");
}

/// Whoever came behind it and has seen its effects would be answered, and it would not.
#[test]
fn a_call_is_not_taken_for_the_lost_delta_before_it() {
    if !prepared(
        "commit_thread::tests::full_disk::a_call_is_not_taken_for_the_lost_delta_before_it",
    ) {
        return;
    }
    let mut bench = Bench::new();
    let slot = bench.slot;
    let delta = delta_of_another_node(slot);
    let large: &str = mebibyte().repeat(4).leak();
    let (_limit, _shown) = fill(&bench);
    bench.send(delta(), 0, 0);
    // Not in one batch with the delta behind it, as something has found no room.
    bench.send(bench.write(100, large), 1, 0);
    bench.send(delta(), 1, 0);
    bench.send(bench.write(101, "value"), 2, 1);
    bench.send(bench.write(102, "has seen it"), 2, 1);
    bench.start();
    assert_eq!(bench.verdicts(), ["no room"]);
    expect_loss(&mut bench);
    assert_eq!(bench.verdicts(), ["committed", "committed"]);
    bench.finish();
}

/// Where space is reserved, the writer brings in what the journal has before it refuses what is
/// new; and from then on, too, only what is new has no room.
#[test]
fn what_was_acknowledged_is_shown_on_a_full_disk() {
    if !prepared("commit_thread::tests::full_disk::what_was_acknowledged_is_shown_on_a_full_disk") {
        return;
    }
    let mut bench = Bench::new();
    let large: &str = mebibyte().repeat(8).leak();
    let delta = fixture::Peer::new().write(1, "theirs", large);
    let slot = bench.slot;
    let (ask, asks) = crate::asks::asks();
    bench.thread.as_mut().unwrap().asks = asks;
    limit_with_some_space(&bench);
    bench.send(bench.write(100, "value"), 0, 0);
    bench.send(Change::Delta(RemoteDelta { slot, delta }), 1, 0);
    bench.start();
    assert_eq!(bench.verdicts(), ["committed"]);
    assert_eq!(bench.verdicts(), ["no room"]);
    bench.send(bench.write(101, "newest"), 1, 0);
    assert!(bench.next_shows(), "the first call is kept secret");
    let (answer, snapshot) = crossbeam_channel::bounded(1);
    ask.send(Ask::Snapshot(answer)).unwrap();
    let snapshot = snapshot.recv().unwrap().unwrap();
    let value = snapshot.register(slot, b"key").unwrap();
    assert_eq!(value, Some(&b"newest"[..]));
    bench.finish();
}

/// All places for snapshots are in use, and then the disk becomes full.
#[test]
fn calls_do_not_wait_for_a_snapshot_that_is_owed() {
    if !prepared("commit_thread::tests::full_disk::calls_do_not_wait_for_a_snapshot_that_is_owed") {
        return;
    }
    for is_free in [true, false] {
        let mut bench = Bench::new();
        let delta = fixture::Peer::new().write(1, "theirs", "value");
        let slot = bench.slot;
        let limit = limit_with_some_space(&bench);
        let mut readers = Vec::new();
        while let Ok(reader) = bench.disk.ledger.snapshot() {
            readers.push(reader);
        }
        bench.start();
        bench.send(Change::Delta(RemoteDelta { slot, delta }), 0, 0);
        assert!(!bench.next_shows());
        let mut now = 100;
        bench.send(bench.write(now, "value"), 0, 0);
        loop {
            match bench.report() {
                Report::Durable { verdicts, shown } => {
                    assert!(verdicts[0].is_ok() && shown.is_none());
                    now += 1;
                    bench.send(bench.write(now, "value"), 0, 0);
                }
                Report::Failed(StoreError::DiskFull { .. }) => break,
                Report::Collected { shown: None, .. } => {}
                _ => panic!("nothing can be shown"),
            }
        }
        if is_free {
            readers.clear();
            bench.send(bench.write(now + 1, "value"), 1, 1);
            let Report::Shown(snapshot) = bench.report() else {
                panic!("it is shown before anything that it does not show")
            };
            let value = snapshot.register(slot, b"theirs").unwrap();
            assert_eq!(value, Some(&b"value"[..]));
            assert_eq!(bench.verdicts(), ["committed"]);
        } else {
            for more in 1..10 {
                bench.send(bench.write(now + more, "value"), 1, 1);
                assert_eq!(bench.verdicts(), ["committed"]);
            }
            readers.clear();
        }
        setrlimit(Resource::Fsize, limit).unwrap();
        let Report::Shown(_) = bench.report() else {
            panic!("there is room again, and nothing to do")
        };
        bench.finish();
    }
}

/// Nothing else would try it: the next deletion may be far off.
#[test]
fn what_could_not_be_swept_for_want_of_room_is_swept_later() {
    if !prepared(
        "commit_thread::tests::full_disk::what_could_not_be_swept_for_want_of_room_is_swept_later",
    ) {
        return;
    }
    let mut bench = Bench::new();
    let deleted = bench.disk.create(2);
    let keys: Vec<&str> = (0..1_000).map(|n| &*format!("{n:0100}").leak()).collect();
    let writes: Vec<_> = keys.iter().map(|key| (*key, "value")).collect();
    let batch = vec![
        fixture::call(2, deleted, 2, &writes),
        Change::DeleteContext(fixture::id(2)),
    ];
    let verdicts = bench.disk.ledger.commit(batch).unwrap();
    assert!(verdicts.iter().all(Result::is_ok));
    let (limit, shown) = fill(&bench);
    bench.start_and_sweep();
    let graves = |bench: &Bench| bench.disk.ledger.stats().unwrap().graves;
    assert_eq!(graves(&bench), 1);
    drop(shown);
    setrlimit(Resource::Fsize, limit).unwrap();
    while graves(&bench) > 0 {
        std::thread::yield_now();
    }
    bench.finish();
}
