//! Backups, restores and changes of the number of shards: the same contexts come out,
//! whatever the numbers, and a process that is killed in the middle at any system call
//! leaves what was there, or what was to be, and never half of it. The program that is
//! killed is `examples/copies.rs`; strace does the killing.
//!
//! `CORELET_COPY_KILLS` sets how many kills are made of each kind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use corelet_store::{
    DataDir, Hlc, ImportError, LedgerConfig, NodeId, OpenOptions, RestoreOptions, ShardCount,
    StoreError, restore,
};
use tempfile::TempDir;

/// Kills of each kind if `CORELET_COPY_KILLS` is not set.
const KILLS: usize = 40;

/// Contexts of the directory that is copied.
const CONTEXTS: &str = "12";

/// All by which files come to be, change or go.
const CALLS: &str = "pwrite64,writev,pwritev2,write,fdatasync,fsync,rename,mkdir,unlink,unlinkat,ftruncate,fallocate";

fn kills() -> usize {
    match std::env::var("CORELET_COPY_KILLS") {
        Ok(number) => number.parse().expect("CORELET_COPY_KILLS must be a number"),
        Err(_) => KILLS,
    }
}

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

/// The same, killed at its Nth call. Tells whether it was.
fn killed(nth: usize, args: &[&str]) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={CALLS}"))
        .arg("-e")
        .arg(format!("inject={CALLS}:signal=SIGKILL:when={nth}"))
        .arg(program())
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace is installed, as `scripts/setup.sh test` does");
    !status.success()
}

/// How many calls a run makes.
fn calls(args: &[&str], log: &Path) -> usize {
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(log)
        .args(["-e", &format!("trace={CALLS}")])
        .arg(program())
        .args(args)
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::read_to_string(log).unwrap().lines().count()
}

/// A data directory of two shards, its backup, and what is in both.
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
        let shown = done(&["show", &subject.path("data")]);
        assert_eq!(shown.lines().count(), 12 + 4 + 1);
        done(&["backup", &subject.path("data"), &subject.path("backup")]);
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

    /// Places in a run of so many calls, the first and the last among them.
    fn places(&self, calls: usize) -> impl Iterator<Item = usize> {
        let kills = kills().max(2);
        (0..kills).map(move |kill| 1 + kill * (calls - 1) / (kills - 1))
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
        latest: Hlc::MAX,
    };
    for place in 0..60 {
        let at = place * (backup.len() - 1) / 59;
        let mut damaged = backup.clone();
        damaged[at] ^= 4;
        let error = restore(&damaged[..], &target, &options, &mut |_| {}).unwrap_err();
        let is_told = matches!(
            error,
            ImportError::Damaged { .. } | ImportError::Version { .. }
        );
        assert!(is_told, "byte {at}: {error}");
        let cut = &backup[..at];
        restore(cut, &target, &options, &mut |_| {}).unwrap_err();
        assert_eq!(
            std::fs::read_dir(subject.dir.path()).unwrap().count(),
            2,
            "byte {at}"
        );
    }
    restore(&backup[..], &target, &options, &mut |_| {}).unwrap();
    subject.is_whole("restored");
}

#[test]
fn a_restore_killed_at_any_call_leaves_nothing_that_opens_and_works_again() {
    let subject = Subject::new();
    let (backup, target) = (subject.path("backup"), subject.path("restored"));
    let args = ["restore", &backup, &target, "3"];
    let calls = calls(&args, &subject.dir.path().join("calls"));
    std::fs::remove_dir_all(&target).unwrap();
    let mut kills = 0;
    for nth in subject.places(calls) {
        kills += usize::from(killed(nth, &args));
        let beside = PathBuf::from(format!("{target}.restoring"));
        match Path::new(&target).exists() {
            true => subject.is_whole("restored"),
            false => {
                if beside.join("shards").exists() && !beside.join("manifest").exists() {
                    let options = OpenOptions {
                        shards_if_new: ShardCount::new(1).unwrap(),
                        node_id_if_new: NodeId::from_bytes([1; 32]),
                    };
                    let error = DataDir::open(&beside, &options).unwrap_err();
                    assert!(
                        matches!(error, StoreError::ManifestMissing { .. }),
                        "{error}"
                    );
                }
                done(&args);
                subject.is_whole("restored");
                assert!(!beside.exists());
            }
        }
        std::fs::remove_dir_all(&target).unwrap();
        let _ = std::fs::remove_dir_all(&beside);
    }
    println!("{kills} kills in {calls} calls");
    assert!(kills > 1);
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

#[test]
fn a_reshard_killed_at_any_call_leaves_a_whole_directory_and_works_again() {
    let subject = Subject::new();
    subject.copy("data", "counted");
    let counted = subject.path("counted");
    let calls = calls(
        &["reshard", &counted, "3"],
        &subject.dir.path().join("calls"),
    );
    let victim = subject.path("victim");
    let args = ["reshard", &victim, "3"];
    let mut kills = 0;
    // The last calls are those that switch, so more of them.
    let last = (0..kills_of_the_switch()).map(|back| calls - back);
    for nth in subject.places(calls).chain(last) {
        subject.copy("data", "victim");
        kills += usize::from(killed(nth, &args));
        // As it lies there, and as the next start finds it.
        subject.is_whole("victim");
        done(&args);
        subject.is_whole("victim");
    }
    println!("{kills} kills in {calls} calls");
    assert!(kills > 1);
}

fn kills_of_the_switch() -> usize {
    kills().min(30)
}

/// An import into a ledger that goes on.
#[test]
fn an_import_killed_at_any_call_leaves_the_ledger_as_it_was_and_works_again() {
    let subject = Subject::new();
    let file = subject.path("context");
    done(&["fill", &subject.path("one"), "1", "3"]);
    done(&["export", &subject.path("one"), &file]);
    done(&["fill", &subject.path("target"), "1", "0"]);
    let before = done(&["show", &subject.path("target")]);
    subject.copy("target", "counted");
    let counted = subject.path("counted");
    let calls = calls(
        &["import", &file, &counted],
        &subject.dir.path().join("calls"),
    );
    let after = done(&["show", &counted]);
    let victim = subject.path("victim");
    let args = ["import", &file, &victim];
    let mut kills = 0;
    for nth in subject.places(calls) {
        subject.copy("target", "victim");
        kills += usize::from(killed(nth, &args));
        done(&["check", &victim]);
        let shown = done(&["show", &victim]);
        if shown != after {
            assert_eq!(shown, before, "after call {nth}");
            done(&args);
            assert_eq!(done(&["show", &victim]), after);
        }
        done(&["check", &victim]);
    }
    println!("{kills} kills in {calls} calls");
    assert!(kills > 1);
}
