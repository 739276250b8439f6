//! A disk without room for a checkpoint while what other nodes have made waits for one.

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

/// No file grows any more, until the old limit is set; and what the snapshot shows is not
/// used again.
fn fill(bench: &Bench) -> (Rlimit, Snapshot) {
    // So the journal's file, which has its space, is within the limit for some time.
    static LARGE: [u8; 1 << 20] = [b'x'; 1 << 20];
    let large = [("large", std::str::from_utf8(&LARGE).unwrap())];
    let large = fixture::call(1, bench.slot, 2, &large);
    let written = bench.disk.ledger.writer().commit_shown(vec![large]);
    assert!(written.unwrap().verdicts[0].is_ok());
    let shown = bench.disk.ledger.snapshot().unwrap();
    let limit = getrlimit(Resource::Fsize);
    let bytes = bench.disk.ledger.stats().unwrap().map_bytes_used;
    let current = Some(bytes);
    setrlimit(Resource::Fsize, Rlimit { current, ..limit }).unwrap();
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
    let delta = fixture::Peer::new().write(1, "theirs", "value");
    let slot = bench.slot;
    let delta = || {
        let delta = delta.clone();
        Change::Delta(RemoteDelta { slot, delta })
    };
    let (limit, _shown) = fill(&bench);
    bench.send(delta(), 0, 0);
    bench.start();
    assert_eq!(bench.verdicts(), ["no room"]);
    for now in 100..140 {
        bench.send(delta(), 0, 0);
        bench.send(bench.write(now, "value"), 0, 0);
        let mut verdicts = bench.verdicts();
        if verdicts.len() == 1 {
            verdicts.extend(bench.verdicts());
        }
        assert_eq!(verdicts, ["no room", "committed"]);
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
    let delta = fixture::Peer::new().write(1, "theirs", "value");
    let slot = bench.slot;
    let delta = || {
        let delta = delta.clone();
        Change::Delta(RemoteDelta { slot, delta })
    };
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
    static LARGE: [u8; 1 << 20] = [b'x'; 1 << 20];
    let large = std::str::from_utf8(&LARGE).unwrap();
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
