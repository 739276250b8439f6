//! A process that is killed at any of its system calls leaves what was there, or what was to
//! be, and never half of it.

use std::path::{Path, PathBuf};

use corelet_store::{DataDir, NodeId, OpenOptions, ShardCount, StoreError, unfinished_restore};

use crate::strace::{Blow, CHANGING, Call, Fate, calls, run_under};
use crate::{Subject, done};

/// Kills of each kind if `CORELET_COPY_KILLS` is not set.
const KILLS: usize = 40;

fn kills() -> usize {
    match std::env::var("CORELET_COPY_KILLS") {
        Ok(number) => number.parse().expect("CORELET_COPY_KILLS must be a number"),
        Err(_) => KILLS,
    }
}

fn kill(call: &Call, args: &[&str]) -> bool {
    let call = call.clone();
    let fate = Fate::Killed;
    run_under(&Blow { call, fate }, args).1
}

/// Some of the calls, the first and the last among them.
fn some(calls: &[Call]) -> impl Iterator<Item = &Call> {
    let kills = kills().max(2);
    (0..kills).map(move |kill| &calls[kill * (calls.len() - 1) / (kills - 1)])
}

/// Those by which anything changes.
fn changing_calls(subject: &Subject, args: &[&str]) -> Vec<Call> {
    let mut calls = calls(&CHANGING, subject.dir.path(), args);
    calls.retain(|call| call.changes);
    calls
}

#[test]
fn a_restore_killed_at_any_call_leaves_nothing_that_opens_and_works_again() {
    let subject = Subject::new();
    let (backup, target) = (subject.path("backup"), subject.path("restored"));
    let args = ["restore", &backup, &target, "3"];
    let calls = changing_calls(&subject, &args);
    std::fs::remove_dir_all(&target).unwrap();
    let mut kills = 0;
    for call in some(&calls) {
        kills += usize::from(kill(call, &args));
        let beside = PathBuf::from(format!("{target}.restoring"));
        match Path::new(&target).exists() {
            true => subject.is_whole("restored"),
            false => {
                is_refused(&beside);
                let left = beside.exists().then(|| beside.clone());
                assert_eq!(unfinished_restore(Path::new(&target)), left);
                done(&args);
                assert_eq!(unfinished_restore(Path::new(&target)), None);
                subject.is_whole("restored");
                assert!(!beside.exists());
            }
        }
        std::fs::remove_dir_all(&target).unwrap();
        let _ = std::fs::remove_dir_all(&beside);
    }
    println!("{kills} kills in {} calls", calls.len());
    assert!(kills > 1);
}

/// What is half restored is no data directory to anybody.
#[track_caller]
pub(crate) fn is_refused(beside: &Path) {
    if !beside.join("shards").exists() || beside.join("manifest").exists() {
        return;
    }
    let options = OpenOptions {
        shards_if_new: ShardCount::new(1).unwrap(),
        node_id_if_new: NodeId::from_bytes([1; 32]),
    };
    let error = DataDir::open(beside, &options).unwrap_err();
    assert!(
        matches!(error, StoreError::ManifestMissing { .. }),
        "{error}"
    );
}

#[test]
fn a_reshard_killed_at_any_call_leaves_a_whole_directory_and_works_again() {
    let subject = Subject::new();
    subject.copy("data", "victim");
    let victim = subject.path("victim");
    let args = ["reshard", &victim, "3"];
    let calls = changing_calls(&subject, &args);
    let mut kills = 0;
    // The last calls are those that switch, so more of them.
    let last = calls.iter().rev().take(kills_of_the_switch());
    for call in some(&calls).chain(last) {
        subject.copy("data", "victim");
        kills += usize::from(kill(call, &args));
        // As it lies there, and as the next start finds it.
        subject.is_whole("victim");
        done(&args);
        subject.is_whole("victim");
    }
    println!("{kills} kills in {} calls", calls.len());
    assert!(kills > 1);
}

fn kills_of_the_switch() -> usize {
    kills().min(30)
}

/// An import into ledgers that go on.
#[test]
fn an_import_killed_at_any_call_leaves_the_ledger_as_it_was_and_works_again() {
    let subject = Subject::new();
    let import = subject.import();
    let args = import.args();
    let calls = changing_calls(&subject, &args);
    let mut kills = 0;
    for call in some(&calls) {
        subject.copy("target", "victim");
        kills += usize::from(kill(call, &args));
        import.is_whole_and_can_be_done_again(&format!("a kill at {call:?}"));
    }
    println!("{kills} kills in {} calls", calls.len());
    assert!(kills > 1);
}
