//! Backups, restores, exports, imports and changes of the number of shards: the same contexts
//! come out, whatever the numbers, and a process that is killed in the middle, or whose disk
//! fails, leaves what was there, or what was to be, and never half of it. The program that is
//! killed is `examples/copies.rs`; strace does the killing and failing.
//!
//! `CORELET_COPY_KILLS` sets how many kills are made of each kind, and `CORELET_COPY_FAULTS` how
//! many calls of each name fail.

mod faults;
mod kills;
mod strace;

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use corelet_store::{Arrival, Hlc, ImportError, LedgerConfig, RestoreOptions, restore};
use tempfile::TempDir;

/// Contexts of the directory that is copied.
const CONTEXTS: &str = "0..12";

/// A place in memory, if there is one: no test here rests on a disk.
fn quick_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    let program = built.join("examples/copies");
    assert!(
        program.exists(),
        "{} is missing: build the examples, too",
        program.display()
    );
    program
}

fn run(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().unwrap()
}

#[track_caller]
fn done(args: &[&str]) -> String {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A data directory of two shards as a kill leaves it, its backup, and what is in both.
struct Subject {
    dir: TempDir,
    shown: String,
}

impl Subject {
    fn new() -> Subject {
        let dir = quick_dir();
        let subject = Subject {
            shown: String::new(),
            dir,
        };
        done(&["fill", &subject.path("data"), "2", CONTEXTS]);
        // A start brings in what is in the journals, and here it stays there.
        subject.copy("data", "seen");
        let shown = done(&["show", &subject.path("seen")]);
        assert_eq!(shown.lines().count(), 12 + 4 + 1 + 1);
        done(&["backup", &subject.path("seen"), &subject.path("backup")]);
        std::fs::remove_dir_all(subject.path("seen")).unwrap();
        Subject { shown, ..subject }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    #[track_caller]
    fn is_whole(&self, name: &str) {
        let dir = self.path(name);
        done(&["check", &dir]);
        assert_eq!(done(&["show", &dir]), self.shown, "{name}");
        done(&["check", &dir]);
    }

    fn copy(&self, from: &str, to: &str) {
        let _ = std::fs::remove_dir_all(self.path(to));
        let copied = Command::new("cp")
            .arg("-r")
            .arg(self.path(from))
            .arg(self.path(to))
            .status();
        assert!(copied.unwrap().success());
    }

    /// Prepares an import of a context with a name into `target`, which has others, and of
    /// which `victim` is a copy.
    fn import(&self) -> Import<'_> {
        let (file, target) = (self.path("context"), self.path("target"));
        done(&["fill", &self.path("one"), "1", "0..2"]);
        done(&["export", &self.path("one"), &file]);
        done(&["fill", &target, "2", "1..4"]);
        self.copy("target", "victim");
        let before = done(&["show", &self.path("victim")]);
        done(&["import", &file, &self.path("victim")]);
        let after = done(&["show", &self.path("victim")]);
        // The context and its name.
        assert_eq!(after.lines().count(), before.lines().count() + 2);
        self.copy("target", "victim");
        Import {
            subject: self,
            file,
            victim: self.path("victim"),
            before,
            after,
        }
    }
}

/// An import that is to be interrupted.
struct Import<'s> {
    subject: &'s Subject,
    file: String,
    victim: String,
    before: String,
    after: String,
}

impl Import<'_> {
    fn args(&self) -> [&str; 3] {
        ["import", &self.file, &self.victim]
    }

    /// The directory is what it was before or after the import, to a server as to whoever imports
    /// at once again. Says which.
    #[track_caller]
    fn is_whole_and_can_be_done_again(&self, after: &str) -> bool {
        let Import { subject, .. } = self;
        done(&["check", &self.victim]);
        subject.copy("victim", "again");
        let again = subject.path("again");
        let shown = done(&["show", &self.victim]);
        let is_there = shown == self.after;
        if !is_there {
            assert_eq!(shown, self.before, "after {after}");
        }
        let imported = run(&["import", &self.file, &again]);
        let stderr = String::from_utf8_lossy(&imported.stderr);
        match is_there {
            true => assert!(stderr.contains("exists already"), "after {after}: {stderr}"),
            false => assert!(imported.status.success(), "after {after}: {stderr}"),
        }
        done(&["check", &again]);
        assert_eq!(done(&["show", &again]), self.after, "after {after}");
        is_there
    }
}

#[test]
fn a_backup_is_restored_into_any_number_of_shards() {
    let subject = Subject::new();
    let backup = subject.path("backup");
    for shards in ["1", "2", "5"] {
        let name = format!("restored-{shards}");
        done(&["restore", &backup, &subject.path(&name), shards]);
        subject.is_whole(&name);
        let key = subject.dir.path().join(&name).join("keys/node.key");
        assert_eq!(std::fs::read(key).unwrap(), b"not a real one");
        // It is never written over.
        let again = run(&["restore", &backup, &subject.path(&name), shards]);
        assert!(!again.status.success());
        subject.is_whole(&name);
    }
}

#[test]
fn a_damaged_backup_is_refused_and_nothing_is_there() {
    let subject = Subject::new();
    let backup = std::fs::read(subject.path("backup")).unwrap();
    let target = subject.dir.path().join("restored");
    let options = RestoreOptions {
        shards: None,
        component: &|id| format!("{id}.wasm"),
        ledger: LedgerConfig::default(),
        arrival: Arrival::trusting(Hlc::ZERO),
    };
    for place in 0..60 {
        let at = place * (backup.len() - 1) / 59;
        let mut damaged = backup.clone();
        damaged[at] ^= 4;
        let error = restore(Cursor::new(damaged), &target, &options, &mut |_| {}).unwrap_err();
        let is_told = matches!(
            error,
            ImportError::Damaged { .. } | ImportError::Version { .. }
        );
        assert!(is_told, "byte {at}: {error}");
        let cut = Cursor::new(backup[..at].to_vec());
        restore(cut, &target, &options, &mut |_| {}).unwrap_err();
        assert_eq!(
            std::fs::read_dir(subject.dir.path()).unwrap().count(),
            2, // the data and the backup
            "byte {at}"
        );
    }
    restore(Cursor::new(backup.clone()), &target, &options, &mut |_| {}).unwrap();
    subject.is_whole("restored");
}

#[test]
fn another_number_of_shards_keeps_everything() {
    let subject = Subject::new();
    let data = subject.path("data");
    for shards in ["5", "1", "2", "2"] {
        done(&["reshard", &data, shards]);
        subject.is_whole("data");
        let ledgers = std::fs::read_dir(subject.dir.path().join("data/shards")).unwrap();
        let ledgers = ledgers
            .filter(|it| it.as_ref().unwrap().path().is_dir())
            .count();
        assert_eq!(ledgers.to_string(), shards);
        assert!(!subject.dir.path().join("data/shards.new").exists());
        assert!(!subject.dir.path().join("data/shards.old").exists());
    }
}
