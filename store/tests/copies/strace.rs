//! System calls of a run of `examples/copies.rs`: which it makes on the files of a test, and what
//! happens if one of them does not come back or fails. strace does both.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::process::{Command, Output};

use crate::program;

/// All by which files come to be, change or go.
pub(crate) const CHANGING: [&str; 13] = [
    "openat",
    "write",
    "pwrite64",
    "writev",
    "utimensat",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "mkdir",
    "rename",
    "unlink",
    "unlinkat",
];

/// All by which they are read, looked for or locked; what is mapped is read without a call.
pub(crate) const READING: [&str; 6] = [
    "read",
    "pread64",
    "getdents64",
    "statx",
    "readlink",
    "flock",
];

/// What else is done with them. None of these asks a disk for anything.
pub(crate) const HARMLESS: [&str; 8] = [
    "close",
    "fadvise64",
    "fcntl",
    "fstat",
    "fstatfs",
    "lseek",
    "mmap",
    "newfstatat",
];

/// One call of a run: so many of its name come before it in its thread. strace counts in each thread apart, so what
/// it meets another thread's call of the same name and number meets, too.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) nth: usize,
    /// Whether a file may come to be by it, change or go.
    pub(crate) changes: bool,
}

/// What a call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Killed,
    /// It fails with this error.
    Fails(&'static str),
    /// And so do all of its name behind it.
    FailsFromThenOn(&'static str),
}

/// A call, and what it is to meet.
#[derive(Clone, Debug)]
pub(crate) struct Blow {
    pub(crate) call: Call,
    pub(crate) fate: Fate,
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { name, nth, .. } = &self.call;
        match self.fate {
            Fate::Killed => write!(f, "{name}:signal=SIGKILL:when={nth}"),
            Fate::Fails(error) => write!(f, "{name}:error={error}:when={nth}"),
            Fate::FailsFromThenOn(error) => write!(f, "{name}:error={error}:when={nth}+"),
        }
    }
}

fn strace(log: &Path, calls: &str) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-y", "-s", "0", "-o"]).arg(log);
    strace.args(["-e", &format!("trace={calls}"), "-e", "signal=none"]);
    strace
}

fn run(mut strace: Command, args: &[&str]) -> Output {
    let output = strace.arg(program()).args(args).output();
    output.expect("strace is installed, as `scripts/setup.sh test` does")
}

/// The calls with these names that a run makes on what lies in `dir`, in order, but for those that
/// cannot be struck without one elsewhere. It has to come to its end.
pub(crate) fn calls(names: &[&str], dir: &Path, args: &[&str]) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut counts = HashMap::new();
    // What a thread does elsewhere: the first one reads libraries before it begins.
    let mut elsewhere = HashSet::new();
    for Traced { thread, name, line } in trace(&names.join(","), args) {
        let nth = counts.entry((thread, name.clone())).or_insert(0);
        *nth += 1;
        if !line.contains(dir.to_str().unwrap()) {
            elsewhere.insert((name, *nth));
            continue;
        }
        let changes = match name.as_str() {
            "openat" => line.contains("O_CREAT"),
            name => CHANGING.contains(&name),
        };
        calls.push(Call {
            name,
            nth: *nth,
            changes,
        });
    }
    calls.retain(|call| !elsewhere.contains(&(call.name.clone(), call.nth)));
    calls
}

/// Names of all calls of a run that have to do with a file in `dir`.
pub(crate) fn names(dir: &Path, args: &[&str]) -> BTreeSet<String> {
    let dir = dir.to_str().unwrap();
    let lines = trace("%file,%desc", args).into_iter();
    let ours = lines.filter(|call| call.line.contains(dir));
    // What starts the program names its arguments.
    ours.map(|call| call.name)
        .filter(|name| name != "execve")
        .collect()
}

/// A call, with the line in which strace writes it down.
struct Traced {
    thread: String,
    name: String,
    line: String,
}

fn trace(calls: &str, args: &[&str]) -> Vec<Traced> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let output = run(strace(log.path(), calls), args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    let text = std::fs::read_to_string(log.path()).unwrap();
    let mut lines = Vec::new();
    for line in text.lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        // The second half of one that another thread has interrupted; the first one names the file.
        if call.starts_with("<...") {
            continue;
        }
        let (name, _) = call.split_once('(').unwrap();
        lines.push(Traced {
            thread: thread.to_owned(),
            name: name.to_owned(),
            line: call.to_owned(),
        });
    }
    lines
}

/// A run of which a call meets its fate, and whether it came to that.
pub(crate) fn run_under(blow: &Blow, args: &[&str]) -> (Output, bool) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut strace = strace(log.path(), &blow.call.name);
    // Other calls then run at full speed; but strace 6.1 forgets its signals.
    if blow.fate != Fate::Killed {
        strace.arg("--seccomp-bpf");
    }
    strace.args(["-e", &format!("inject={blow}")]);
    let output = run(strace, args);
    let is_struck = match blow.fate {
        Fate::Killed => !output.status.success(),
        _ => std::fs::read_to_string(log.path())
            .unwrap()
            .contains("(INJECTED)"),
    };
    (output, is_struck)
}
