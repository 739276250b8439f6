//! A process that writes and removes blobs is killed, or its disk fails, at each of its
//! system calls; then what it left is opened and checked. The writer and the checker are
//! `examples/blob_torture.rs`; strace does the killing and failing.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use tempfile::TempDir;

/// All calls by which blobs change anything, and last the one by which a file begins; a
/// kill there is one at the next of the others. That no more are used is asserted below.
const CHANGING_CALLS: [&str; 8] = [
    "mkdir",
    "write",
    "utimensat",
    "fsync",
    "fdatasync",
    "rename",
    "unlink",
    "openat",
];

/// Calls by which blobs might come to change things instead.
const UNEXPECTED_CALLS: &str = "pwrite64,writev,pwritev,pwritev2,ftruncate,fallocate,copy_file_range,sendfile,sync_file_range,msync,renameat,renameat2,unlinkat,rmdir,linkat,mkdirat,fchmod";

fn torture() -> Command {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().unwrap().parent().unwrap();
    let torture = target.join("examples/blob_torture");
    assert!(
        torture.exists(),
        "{} is missing: build the examples, too",
        torture.display()
    );
    Command::new(torture)
}

/// What runs the writer under strace, with these arguments.
fn traced(strace_args: &[&str], step: &str, dir: &Path) -> Command {
    let torture = torture();
    let mut strace = Command::new("strace");
    strace.arg("-qq").args(strace_args);
    strace.arg(torture.get_program()).arg(step).arg(dir);
    strace
}

/// In memory, where there is such a directory: neither a kill nor a failure that strace
/// makes can tell, and nobody waits for a disk.
fn temporary_dir() -> TempDir {
    let dir = tempfile::tempdir_in("/dev/shm");
    dir.or_else(|_| tempfile::tempdir()).unwrap()
}

/// Some blobs, and what their writers have said about them so far.
struct Victim {
    dir: TempDir,
    said: Vec<u8>,
}

impl Victim {
    fn new() -> Victim {
        Victim {
            dir: temporary_dir(),
            said: Vec::new(),
        }
    }

    /// Works through the steps while `inject` strikes.
    fn write(&mut self, inject: &str, step: &str) -> ExitStatus {
        let calls = format!("trace={}", CHANGING_CALLS.join(","));
        let inject = format!("inject={inject}");
        let args = ["-o", "/dev/null", "-e", &calls, "-e", &inject];
        let output = traced(&args, step, self.dir.path())
            .output()
            .expect("strace is installed, by `scripts/setup.sh test` or by hand");
        // A line cut off by the kill was not read by anybody.
        let whole = output.stdout.iter().rposition(|&byte| byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        self.said.extend_from_slice(&output.stdout[..whole]);
        output.status
    }

    fn said(&self, what: &str) -> usize {
        let said = String::from_utf8_lossy(&self.said);
        said.lines().filter(|line| line.starts_with(what)).count()
    }

    #[track_caller]
    fn verify(&self, after: &str) {
        let mut child = torture()
            .arg("verify")
            .arg(self.dir.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&self.said).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8_lossy(&self.said);
        assert!(output.status.success(), "after {after}: {stderr}\n{said}");
    }
}

/// How often each call happens in a first run.
fn count_calls(calls: &str, step: &str) -> usize {
    let dir = temporary_dir();
    let trace = dir.path().join("trace");
    let blobs = dir.path().join("blobs");
    let calls = format!("trace={calls}");
    let args = ["-e", &calls, "-o", trace.to_str().unwrap()];
    let mut command = traced(&args, step, &blobs);
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
    std::fs::read_to_string(trace).unwrap().lines().count()
}

/// Each call of a first run: how to hit it.
fn each_call(fault: &str, mut hit: impl FnMut(&str, &str)) {
    for call in CHANGING_CALLS {
        if call == "openat" && fault.starts_with("signal") {
            continue;
        }
        // One blob is as large as to be flushed in the middle; the others need no such call.
        let step = if call == "fdatasync" {
            "large"
        } else {
            "write"
        };
        let count = count_calls(call, step);
        assert!(count > 0, "{call} is never used");
        for nth in 1..=count {
            hit(&format!("{call}:{fault}:when={nth}"), step);
        }
    }
}

#[test]
fn a_kill_at_any_call_leaves_whole_blobs_only() {
    let mut kills = 0;
    each_call("signal=SIGKILL", |inject, step| {
        let mut victim = Victim::new();
        let status = victim.write(inject, step);
        let was_killed = status.signal() == Some(9) || status.code() == Some(128 + 9);
        assert!(was_killed, "{inject} did not kill, but {status}");
        victim.verify(inject);
        kills += 1;
    });
    // What is left by a kill is a good place to go on from.
    let mut victim = Victim::new();
    for nth in [4, 9, 13] {
        victim.write(&format!("fsync:signal=SIGKILL:when={nth}"), "write");
        victim.verify("a kill");
    }
    let status = victim.write("fsync:delay_enter=0:when=65535", "write");
    assert!(status.success() && victim.said("failed") == 0, "{status}");
    victim.verify("all kills");
    println!("{kills} kills, one at each call");
}

/// One call fails: then one step does, and says so, and leaves nothing; or none, where
/// only a file that nobody can see is left to the next start.
fn each_failure(error: &str, shown: &str) {
    let (mut failed, mut left) = (0, 0);
    each_call(&format!("error={error}"), |inject, step| {
        let mut victim = Victim::new();
        let status = victim.write(inject, step);
        match (status.code(), victim.said("failed")) {
            (Some(0), 1) => {
                failed += 1;
                assert_eq!(victim.said("left 0"), 1, "{inject}");
            }
            // The program could be loaded all the same.
            (Some(0), 0) if inject.starts_with("openat") => {
                assert_eq!(victim.said("left 0"), 1, "{inject}");
            }
            (Some(0), 0) => {
                left += 1;
                assert!(inject.starts_with("unlink"), "{inject}");
                assert_eq!(victim.said("left 1"), 1, "{inject}");
            }
            // The blobs could not be opened, or the line could not be written.
            (Some(1), 0) => {}
            // Nor could the program.
            (Some(127), 0) => assert!(inject.starts_with("openat"), "{inject}"),
            _ => panic!("after {inject}: {status}"),
        }
        victim.verify(inject);
    });
    assert!(failed > 50, "only {failed} steps failed");
    println!(
        "{failed} steps failed by {shown} and left nothing; {left} files were left to the next start"
    );
}

#[test]
fn a_full_disk_at_any_call_fails_one_blob_and_leaves_nothing() {
    each_failure("ENOSPC", "a full disk");
}

#[test]
fn an_io_error_at_any_call_fails_one_blob_and_leaves_nothing() {
    each_failure("EIO", "an I/O error");
}

#[test]
fn blobs_are_changed_by_no_other_calls() {
    for step in ["write", "large"] {
        assert_eq!(count_calls(UNEXPECTED_CALLS, step), 0, "{step}");
    }
}

/// A kill leaves what lies in the page cache, and a power cut does not. Nobody cuts the
/// power here; this follows the calls by which a blob and its name get to the disk.
#[test]
fn a_stored_blob_rests_on_nothing_that_a_power_cut_takes() {
    for (step, stored) in [("write", 5), ("large", 1)] {
        let dir = temporary_dir();
        let trace = dir.path().join("trace");
        let blobs = dir.path().join("blobs");
        std::fs::create_dir(&blobs).unwrap();
        let args = ["-y", "-s", "8", "-o", trace.to_str().unwrap(), "-e"];
        let args = [&args[..], &["trace=write,mkdir,rename,fsync,fdatasync"]].concat();
        let mut command = traced(&args, step, &blobs);
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
        let mut disk = PageCache::default();
        let trace = std::fs::read_to_string(trace).unwrap();
        for line in trace.lines() {
            disk.follow(line, &blobs);
        }
        assert_eq!((disk.stored, disk.placed), (stored, stored), "{step}");
    }
}

/// What would be gone with the power: content of files, and names in directories.
#[derive(Debug, Default)]
struct PageCache {
    unflushed: BTreeSet<PathBuf>,
    placed: usize,
    stored: usize,
}

impl PageCache {
    /// Takes in one call, as `strace -y` writes it down.
    fn follow(&mut self, line: &str, blobs: &Path) {
        let (call, rest) = line.split_once('(').unwrap();
        let parent = |path: &Path| path.parent().unwrap().to_owned();
        match call {
            "write" if rest.contains("\"stored ") => {
                assert_eq!(self.unflushed, BTreeSet::new(), "at {line}");
                self.stored += 1;
            }
            "write" => {
                let file = opened(rest);
                if file.starts_with(blobs) {
                    self.unflushed.insert(file);
                }
            }
            "fsync" => drop(self.unflushed.remove(&opened(rest))),
            // It leaves the file's time, and what comes later.
            "fdatasync" => assert!(opened(rest).starts_with(blobs)),
            "mkdir" => {
                let path = PathBuf::from(rest.split('"').nth(1).unwrap());
                if path != blobs && line.ends_with("= 0") {
                    self.unflushed.insert(parent(&path));
                }
            }
            "rename" => {
                let paths: Vec<&str> = rest.split('"').collect();
                let (from, to) = (Path::new(paths[1]), Path::new(paths[3]));
                assert!(!self.unflushed.contains(from), "not whole at {line}");
                // That a name went from `unfinished` matters to nobody, and a removal
                // may come undone.
                if !to.starts_with(blobs.join("unfinished")) {
                    self.unflushed.insert(parent(to));
                    self.placed += 1;
                }
            }
            _ => panic!("what is {line:?}?"),
        }
    }
}

/// The file in `6</path>` and what follows.
fn opened(text: &str) -> PathBuf {
    let (_, rest) = text.split_once('<').unwrap();
    PathBuf::from(rest.split_once('>').unwrap().0)
}
