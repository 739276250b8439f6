//! A system call of a copy fails: with an I/O error, with a full disk, or with a disk that is full
//! from then on. The program says so and why, or the failure does no harm; what was there is
//! whole, what is not finished is nothing to anybody, and the same command comes to its end when it is
//! run again.
//!
//! `CORELET_COPY_FAULTS` sets how many calls of each name fail with each error; where there are
//! more, the first ones, the last one and some in between do, which the seed says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use corelet_store::read_copy;

use crate::kills::is_refused;
use crate::strace::{Blow, CHANGING, Call, Fate, HARMLESS, READING, calls, names, run_under};
use crate::{Subject, done};

/// Calls of each name that fail with each error if `CORELET_COPY_FAULTS` is not set.
const FAULTS: usize = 3;

/// How a run has ended.
#[derive(Debug)]
enum Ended {
    Done { said: String },
    Failed { told: String },
}

/// Lets one call of a run after the other fail. `prepare` makes what the run begins with, and `verify`
/// looks at what it has left.
fn each_fault(
    subject: &Subject,
    args: &[&str],
    prepare: impl Fn(),
    verify: impl Fn(&Blow, &Ended),
) {
    let most = match std::env::var("CORELET_COPY_FAULTS") {
        Ok(number) => number
            .parse()
            .expect("CORELET_COPY_FAULTS must be a number"),
        Err(_) => FAULTS,
    };
    let seed = getrandom::u64().unwrap();
    println!("seed {seed:#x}");
    let mut random = Random(seed | 1);
    prepare();
    let all = calls(
        &[&CHANGING[..], &READING].concat(),
        subject.dir.path(),
        args,
    );
    let mut by_name: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in &all {
        by_name.entry(&call.name).or_default().push(call);
    }
    let (mut struck, mut told, mut missed) = (0, 0, 0);
    for fate in [
        Fate::Fails("EIO"),
        Fate::Fails("ENOSPC"),
        Fate::FailsFromThenOn("ENOSPC"),
    ] {
        for (name, calls) in &by_name {
            let may_meet = |call: &&&Call| match fate {
                Fate::Fails("EIO") => true,
                // What says so is written by the same call.
                Fate::FailsFromThenOn(_) if *name == "write" => false,
                _ => call.changes,
            };
            let calls: Vec<&Call> = calls.iter().filter(may_meet).copied().collect();
            for place in random.places(calls.len(), most) {
                let call = calls[place].clone();
                let blow = Blow { call, fate };
                prepare();
                let (ended, is_struck) = ended(&blow, args);
                verify(&blow, &ended);
                struck += usize::from(is_struck);
                missed += usize::from(!is_struck);
                told += usize::from(matches!(ended, Ended::Failed { .. }));
            }
        }
    }
    // As often as calls are made in a loop that ends elsewhere.
    assert!(missed * 20 <= struck, "{missed} calls were not made");
    assert!(
        told * 2 > struck,
        "only {told} of {struck} faults were told"
    );
    println!(
        "{struck} faults of the {} calls of a {}: {told} were told, and the others did no harm",
        all.len(),
        args[0]
    );
}

/// A run with a fault ends in one of two ways, and tells why it was not done.
#[track_caller]
fn ended(blow: &Blow, args: &[&str]) -> (Ended, bool) {
    let (output, is_struck) = run_under(blow, args);
    let said = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => (Ended::Done { said }, is_struck),
        Some(1) => {
            let cause = match blow.fate {
                Fate::Fails("EIO") => "Input/output error",
                _ => "No space left on device",
            };
            let is_named = told
                .lines()
                .next_back()
                .is_some_and(|it| it.contains(cause));
            assert!(is_struck && is_named, "after {blow}: {told}");
            (Ended::Failed { told }, is_struck)
        }
        _ => panic!("after {blow}: {}: {told}", output.status),
    }
}

/// xorshift: any spread will do, and the seed repeats it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    /// At most so many places of a row: half of them the first ones, one the last, and the rest
    /// anywhere.
    fn places(&mut self, length: usize, most: usize) -> BTreeSet<usize> {
        if length <= most {
            return (0..length).collect();
        }
        let mut places: BTreeSet<usize> = (0..most / 2).collect();
        if most > 1 {
            places.insert(length - 1);
        }
        while places.len() < most {
            places.insert(self.below(length));
        }
        places
    }
}

/// A data directory that was only read is what it was.
#[track_caller]
fn source_is_whole(subject: &Subject, name: &str, shown: &str, blow: &Blow) {
    let dir = subject.path(name);
    done(&["check", &dir]);
    assert_eq!(done(&["show", &dir]), shown, "after {blow}");
}

/// The file is all of the copy, or nobody takes it for one.
#[track_caller]
fn file_is_whole_or_refused(file: &str, whole: &[u8], ended: &Ended, blow: &Blow) {
    match (std::fs::read(file), ended) {
        (Ok(bytes), _) if bytes == whole => {}
        (Ok(bytes), Ended::Failed { .. }) => {
            let read = read_copy(&bytes[..]);
            assert!(read.is_err(), "after {blow} it is taken for {read:?}");
        }
        (Ok(bytes), Ended::Done { said }) => {
            // It has all but a blob that could not be read, and says so.
            let lacks = read_copy(&bytes[..]).unwrap().blobs_left_out;
            assert_eq!(lacks.len(), 1, "after {blow}");
            let name = lacks[0].0.to_string();
            assert!(said.contains(&name), "after {blow}: {said}");
        }
        (Err(_), Ended::Failed { .. }) => {}
        (Err(error), Ended::Done { .. }) => panic!("after {blow}: {error}"),
    }
}

/// Of a command that makes the file with these bytes of a data directory.
fn each_fault_of_a_copy(subject: &Subject, command: &str, whole: &[u8]) {
    let (victim, file) = (subject.path("victim"), subject.path("file"));
    let args = [command, &victim, &file];
    let prepare = || {
        subject.copy("data", "victim");
        let _ = std::fs::remove_file(&file);
    };
    each_fault(subject, &args, prepare, |blow, ended| {
        file_is_whole_or_refused(&file, whole, ended, blow);
        source_is_whole(subject, "victim", &subject.shown, blow);
        done(&args);
        assert!(std::fs::read(&file).unwrap() == whole, "after {blow}");
    });
}

#[test]
fn faults_of_a_backup_leave_its_source_as_it_was_and_no_backup_with_a_hole() {
    let subject = Subject::new();
    let whole = std::fs::read(subject.path("backup")).unwrap();
    each_fault_of_a_copy(&subject, "backup", &whole);
}

#[test]
fn faults_of_an_export_leave_its_source_as_it_was_and_no_copy_with_a_hole() {
    let subject = Subject::new();
    let (victim, file) = (subject.path("victim"), subject.path("file"));
    subject.copy("data", "victim");
    done(&["export", &victim, &file]);
    let whole = std::fs::read(&file).unwrap();
    each_fault_of_a_copy(&subject, "export", &whole);
}

#[test]
fn faults_of_a_restore_leave_nothing_and_it_works_again() {
    let subject = Subject::new();
    let (backup, target) = (subject.path("backup"), subject.path("restored"));
    let beside = format!("{target}.restoring");
    let (target_dir, beside) = (Path::new(&target), Path::new(&beside));
    let args = ["restore", &backup, &target, "3"];
    let prepare = || {
        let _ = std::fs::remove_dir_all(&target);
        let _ = std::fs::remove_dir_all(beside);
    };
    each_fault(&subject, &args, prepare, |blow, ended| {
        match ended {
            Ended::Done { .. } => assert!(!beside.exists(), "after {blow}"),
            Ended::Failed { told } => {
                assert!(!target_dir.exists(), "after {blow}: {told}");
                // What could not be removed either.
                is_refused(beside);
                let is_taken_for_one = beside.join("manifest").exists();
                let is_lasting = matches!(blow.fate, Fate::FailsFromThenOn(_));
                assert!(!is_taken_for_one || is_lasting, "after {blow}: {told}");
                done(&args);
                assert!(!beside.exists(), "after {blow}");
            }
        }
        subject.is_whole("restored");
    });
}

#[test]
fn faults_of_a_reshard_leave_a_whole_directory_and_it_works_again() {
    let subject = Subject::new();
    let victim = subject.path("victim");
    let args = ["reshard", &victim, "3"];
    let shards = || {
        let manifest = std::fs::read_to_string(Path::new(&victim).join("manifest"));
        let manifest = manifest.unwrap();
        let line = manifest.lines().find(|line| line.starts_with("shards"));
        line.unwrap().to_owned()
    };
    each_fault(
        &subject,
        &args,
        || subject.copy("data", "victim"),
        |blow, ended| {
            let is_decided = match ended {
                Ended::Done { .. } => true,
                Ended::Failed { told } => told.contains("run this again, which finishes it"),
            };
            let shards_then = shards();
            // Where no file can be opened any more, nobody sees what the manifest says.
            let is_seen = blow.call.name != "openat" || matches!(blow.fate, Fate::Fails(_));
            let is_changed = shards_then == "shards = 3";
            assert!(
                is_changed == is_decided || !is_seen,
                "after {blow}: {ended:?}"
            );
            if !is_decided && matches!(blow.fate, Fate::Fails(_)) {
                // Its room is free again.
                assert_eq!(left_in(&victim), NOTHING, "after {blow}");
            }
            // As it lies there, as a server finds it, and as whoever does it again at once.
            done(&["check", &victim]);
            subject.copy("victim", "again");
            subject.is_whole("victim");
            assert_eq!(shards(), shards_then, "after {blow}");
            done(&["reshard", &subject.path("again"), "3"]);
            subject.is_whole("again");
            assert_eq!(left_in(&subject.path("again")), NOTHING, "after {blow}");
        },
    );
}

const NOTHING: [&str; 0] = [];

/// What there is only in the middle of a change of shards.
fn left_in(data: &str) -> Vec<&'static str> {
    let is_there = |name: &&str| Path::new(data).join(name).exists();
    let names = ["shards.new", "shards.old", "manifest.new"].into_iter();
    names.filter(is_there).collect()
}

#[test]
fn faults_of_an_import_leave_the_ledgers_as_they_were_and_it_works_again() {
    let subject = Subject::new();
    let import = subject.import();
    let copy = std::fs::read(&import.file).unwrap();
    let prepare = || subject.copy("target", "victim");
    each_fault(&subject, &import.args(), prepare, |blow, ended| {
        let is_there = import.is_whole_and_can_be_done_again(&blow.to_string());
        let is_done = matches!(ended, Ended::Done { .. });
        assert_eq!(is_there, is_done, "after {blow}: {ended:?}");
        assert!(std::fs::read(&import.file).unwrap() == copy);
    });
}

/// If a command begins to use another call, the tests above must learn it.
#[test]
fn copies_touch_files_by_no_other_calls() {
    let subject = Subject::new();
    let import = subject.import();
    let [data, backup, restored, file] =
        ["data", "backup", "restored", "file"].map(|name| subject.path(name));
    let mut used = BTreeSet::new();
    for args in [
        &["backup", &data, &file][..],
        &["export", &data, &file],
        &["restore", &backup, &restored, "3"],
        &["reshard", &data, "3"],
        &import.args(),
    ] {
        used.extend(names(subject.dir.path(), args));
    }
    let known = [&CHANGING[..], &READING, &HARMLESS].concat();
    let unknown: Vec<&String> = used
        .iter()
        .filter(|it| !known.contains(&it.as_str()))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?} are not known here");
    for name in CHANGING {
        assert!(used.contains(name), "{name} is never used");
    }
}
