//! A writing process is killed, or its disk fails, at chosen system calls; then
//! its ledger is checked as it was left, opened and compared with what was said of it. The writer and the checker are
//! `examples/torture/`; strace does the killing and failing.
//!
//! A kill leaves what lies in the page cache, so all this happens in memory, where
//! it is quick. What a cut of the power leaves is in `damage/`.
//!
//! `CORELET_STORE_KILLS` sets how many kills at random places are made.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tempfile::TempDir;

/// Kills at random places if `CORELET_STORE_KILLS` is not set.
const RANDOM_KILLS: usize = 2_000;

/// After so many kills a ledger is large enough, and checking it takes its time.
const LEDGER_KILLS: usize = 25;

/// Faults at a time: most of their time is a process starting or stopped.
const WORKERS: usize = 2;

/// What LMDB writes with, and last the journal. That nothing else is used is
/// asserted below.
const WRITING_CALLS: [&str; 4] = ["pwrite64", "writev", "fdatasync", "pwritev2"];

/// What files and directories are made with, nearly all in the first start.
const MAKING_CALLS: [&str; 5] = ["mkdir", "rename", "unlink", "fsync", "fallocate"];

/// How batches become durable, and how many a ledger gets while each of its
/// writes is hit once: enough for a context to come and go, upkeep to run, and
/// the journal to begin anew.
const ROUTES: [(&str, u64); 2] = [("checkpoint", 6), ("journal", 11)];

/// Calls that LMDB or the journal might come to write with instead.
const UNEXPECTED_CALLS: &str = "pwritev,msync,sync_file_range,sendfile,copy_file_range,truncate,unlinkat,renameat,renameat2,linkat";

/// Calls that change files of locks, and new ones before they have the name by which they are found.
const OTHER_CALLS: &str = "write,ftruncate";

fn torture() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let torture = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/torture");
    assert!(
        torture.exists(),
        "{} is missing: build the examples, too",
        torture.display()
    );
    torture
}

/// `strace`, which the tests cannot do without.
fn strace() -> Command {
    static IS_THERE: LazyLock<bool> = LazyLock::new(|| {
        let mut command = Command::new("strace");
        command.arg("-V").stdout(Stdio::null());
        command.stderr(Stdio::null()).status().is_ok()
    });
    assert!(
        *IS_THERE,
        "strace is not installed, so no system call can be made to fail: run `scripts/setup.sh test`, as `make test` does, or install it by hand"
    );
    Command::new("strace")
}

/// A ledger and what its writers have said about it so far.
struct Victim {
    dir: TempDir,
    /// Below `dir`, as where calls are counted: there are as many then.
    data: PathBuf,
    said: Vec<u8>,
}

impl Victim {
    fn new() -> Victim {
        let dir = quick_dir();
        Victim {
            data: dir.path().join("ledger"),
            dir,
            said: Vec::new(),
        }
    }

    fn write(&mut self, inject: &str, batches: u64, route: &str) -> ExitStatus {
        let calls = [&WRITING_CALLS[..], &MAKING_CALLS].concat().join(",");
        let mut strace = strace();
        strace.args(["-f", "-qq", "-o", "/dev/null"]);
        // Other calls then run at full speed; but strace 6.1 forgets its signals.
        if !inject.contains("signal=") {
            strace.arg("--seccomp-bpf");
        }
        strace.args(["-e", &format!("trace={calls}")]);
        strace
            .args(["-e", &format!("inject={inject}")])
            .arg(torture());
        self.write_by(strace, batches, route)
    }

    fn write_undisturbed(&mut self, batches: u64, route: &str) -> ExitStatus {
        self.write_by(Command::new(torture()), batches, route)
    }

    fn write_by(&mut self, mut torture: Command, batches: u64, route: &str) -> ExitStatus {
        let output = torture
            .arg("write")
            .arg(&self.data)
            .arg(batches.to_string())
            .arg(route)
            .output()
            .unwrap();
        // A line cut off by the kill was not read by anybody.
        let whole = output
            .stdout
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        self.said.extend_from_slice(&output.stdout[..whole]);
        output.status
    }

    fn said(&self, what: &str) -> usize {
        let said = String::from_utf8_lossy(&self.said);
        said.lines().filter(|line| line.starts_with(what)).count()
    }

    /// What a fault leaves must also be a good place to go on from.
    #[track_caller]
    fn goes_on(&mut self, after: &str, route: &str) {
        let status = self.write_undisturbed(2, route);
        assert!(status.success(), "after {after}");
        self.verify(after);
    }

    #[track_caller]
    fn verify(&self, after: &str) {
        let output = self.try_to_verify(Command::new(torture()));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "after {after}: {stderr}\nin {}",
            self.dir.path().display()
        );
    }

    /// The same where `calls` meet a full disk; only those on `file`
    /// if one is given.
    fn try_to_verify_without_space(&self, calls: &str, file: Option<&Path>) -> Output {
        let mut strace = strace();
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
        strace.arg(format!("inject={calls}:error=ENOSPC"));
        if let Some(file) = file {
            strace.arg("-P").arg(file);
        }
        strace.arg(torture());
        self.try_to_verify(strace)
    }

    fn try_to_verify(&self, mut torture: Command) -> Output {
        let mut child = torture
            .arg("verify")
            .arg(&self.data)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&self.said).unwrap();
        child.wait_with_output().unwrap()
    }
}

/// How often a call happens while a fresh ledger is made and `batches` written.
fn count_calls(call: &str, dir: &Path, batches: u64, route: &str) -> usize {
    let trace = dir.join("trace");
    let status = strace()
        .args(["-f", "-qq", "-e", &format!("trace={call}"), "-o"])
        .arg(&trace)
        .arg(torture())
        .arg("write")
        .arg(dir.join("ledger"))
        .arg(batches.to_string())
        .arg(route)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let trace = std::fs::read_to_string(trace).unwrap();
    trace
        .lines()
        .filter(|line| line.contains('(') && !line.contains("resumed>"))
        .count()
}

/// Every write of a fresh ledger, by route: how to hit it and how many batches
/// there are.
fn each_write(fault: &str, hit: impl Fn(&str, &str, u64) + Sync) {
    let mut writes = Vec::new();
    for (route, batches) in ROUTES {
        for call in WRITING_CALLS.into_iter().chain(MAKING_CALLS) {
            let count = count_calls(call, quick_dir().path(), batches, route);
            let injects = (1..=count).map(|nth| format!("{call}:{fault}:when={nth}"));
            writes.extend(injects.map(|inject| (inject, route, batches)));
        }
    }
    by_workers(|worker| {
        for (inject, route, batches) in writes.iter().skip(worker).step_by(WORKERS) {
            hit(inject, route, *batches);
        }
    });
}

fn by_workers<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        let done = workers.into_iter().map(|worker| worker.join().unwrap());
        done.collect()
    })
}

/// In memory if there is such a place.
fn quick_dir() -> TempDir {
    match Path::new("/dev/shm") {
        memory if memory.is_dir() => tempfile::tempdir_in(memory),
        _ => tempfile::tempdir(),
    }
    .unwrap()
}

fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9) || status.code() == Some(128 + 9)
}

/// From the first system call of a new ledger on, one kill at each.
#[test]
fn a_kill_at_every_write_of_a_new_ledger_loses_nothing() {
    let kills = AtomicUsize::new(0);
    each_write("signal=SIGKILL", |inject, route, batches| {
        let mut victim = Victim::new();
        let status = victim.write(inject, batches, route);
        assert!(was_killed(status), "{inject} did not kill");
        victim.verify(inject);
        victim.goes_on(inject, route);
        kills.fetch_add(1, Relaxed);
    });
    let kills = kills.into_inner();
    println!("{kills} kills, one at each write of a new ledger");
}

/// A ledger that is killed again and again, and goes on each time.
#[test]
fn kills_at_random_writes_of_a_growing_ledger_lose_nothing() {
    let kills = match std::env::var("CORELET_STORE_KILLS") {
        Ok(kills) => kills.parse().expect("CORELET_STORE_KILLS must be a number"),
        Err(_) => RANDOM_KILLS,
    };
    let seed = getrandom::u64().unwrap();
    println!("seed {seed:#x}");
    let acked =
        by_workers(|worker| kill(kills.div_ceil(WORKERS), seed.wrapping_add(worker as u64)));
    let acked: usize = acked.into_iter().sum();
    assert!(
        acked > kills,
        "only {acked} batches were acknowledged in {kills} lives"
    );
    println!("{kills} kills at random writes, {acked} acknowledged batches, none lost");
}

/// Gives how many batches were acknowledged.
fn kill(kills: usize, seed: u64) -> usize {
    let mut random = seed | 1;
    let mut acked = 0;
    let mut victim = Victim::new();
    for kill in 1..=kills {
        // xorshift: any spread will do, and the seed above repeats it
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (route, _) = ROUTES[(random >> 4) as usize % ROUTES.len()];
        let calls = if route == "journal" { 4 } else { 3 };
        let call = WRITING_CALLS[(random >> 40) as usize % calls];
        let nth = 1 + (random >> 8) % if call == "fdatasync" { 20 } else { 50 };
        let inject = format!("{call}:signal=SIGKILL:when={nth}");
        let status = victim.write(&inject, 1000, route);
        assert!(was_killed(status), "{inject} did not kill, but {status}");
        victim.verify(&format!("kill {kill} by {inject} of seed {seed:#x}"));
        if kill % LEDGER_KILLS == 0 || kill == kills {
            acked += victim.said("acked");
            victim = Victim::new();
        }
    }
    acked
}

/// The disk is full at the Nth write: the batch fails without a trace and the
/// ledger goes on, or, where LMDB had begun to write its meta page, it stops.
#[test]
fn a_full_disk_at_any_write_fails_one_batch_and_no_more() {
    let (failed, stopped) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let fill = |inject: &str, route: &str, batches: u64| {
        let mut victim = Victim::new();
        let status = victim.write(inject, batches, route);
        match status.code() {
            // The one failure struck a batch, and the others were written.
            Some(0) if victim.said("failed") == 1 => {
                assert_eq!(victim.said("acked"), batches as usize - 1, "after {inject}");
                failed.fetch_add(1, Relaxed);
            }
            // The failure struck a sweep, which is done again later.
            Some(0) => assert_eq!(victim.said("acked"), batches as usize, "after {inject}"),
            Some(3) => drop(stopped.fetch_add(1, Relaxed)),
            Some(1) => assert_eq!(victim.said("acked"), 0, "after {inject}"), // while opening
            _ => panic!("after {inject}: {status}"),
        }
        victim.verify(inject);
        victim.goes_on(inject, route);
    };
    each_write("error=ENOSPC", fill);
    // Before anything can be written, space is reserved: behind that of two lock files.
    let mut victim = Victim::new();
    let reserving = "fallocate:error=ENOSPC:when=3+";
    assert_eq!(victim.write(reserving, 12, "journal").code(), Some(1));
    assert_eq!(victim.said("acked"), 0);
    victim.goes_on(reserving, "journal");
    // A journal that gets no space is done without. It is the next to take some.
    let mut victim = Victim::new();
    let status = victim.write("fallocate:error=ENOSPC:when=4+", 12, "journal");
    assert!(status.success(), "{status}");
    assert_eq!(victim.said("acked"), 12);
    assert_eq!(count_calls("pwritev2", victim.dir.path(), 0, "journal"), 0);
    victim.verify("no space for the journal");
    let (failed, stopped) = (failed.into_inner(), stopped.into_inner());
    assert!(failed > 10, "only {failed} batches failed by a full disk");
    println!(
        "{failed} batches failed by a full disk and left nothing; {stopped} times the meta page was hit"
    );
}

/// Every write fails, from the start on.
#[test]
fn a_ledger_with_an_empty_journal_opens_on_a_full_disk() {
    let writing = format!("{},rename,unlink,ftruncate", WRITING_CALLS.join(","));
    let mut victim = Victim::new();
    let status = victim.write_undisturbed(5, "checkpoint");
    assert!(status.success());
    let lock = victim.data.join("lock");
    for (calls, file) in [
        (writing.as_str(), None),
        ("write,ftruncate", Some(lock.as_path())),
    ] {
        let output = victim.try_to_verify_without_space(calls, file);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{calls}: {stderr}");
    }
    // What is in the journal has to go into LMDB first, for only then it is seen.
    let status = victim.write_undisturbed(1, "journal");
    assert!(status.success());
    let output = victim.try_to_verify_without_space(&writing, None);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("DiskFull"), "{stderr}");
    victim.verify("a start on a full disk");
}

/// An I/O error at the Nth write: the error is fatal, and the next start finds
/// every acknowledged batch and no half of one.
#[test]
fn an_io_error_at_any_write_is_fatal_and_loses_nothing() {
    let fatal = AtomicUsize::new(0);
    each_write("error=EIO", |inject, route, batches| {
        let mut victim = Victim::new();
        let status = victim.write(inject, batches, route);
        match status.code() {
            Some(3) => drop(fatal.fetch_add(1, Relaxed)),
            Some(1) => assert_eq!(victim.said("acked"), 0, "after {inject}"), // while opening
            _ => panic!("after {inject}: {status}"),
        }
        let failed = victim.said("failed");
        assert_eq!(failed, 0, "after {inject} an error was taken for harmless");
        victim.verify(inject);
        victim.goes_on(inject, route);
    });
    let fatal = fatal.into_inner();
    assert!(fatal > 10, "only {fatal} errors were fatal");
    println!("{fatal} I/O errors, each fatal, none with a loss");
}

/// If LMDB or the journal begin to write by other calls, the tests above must learn them.
#[test]
fn the_ledger_writes_by_no_other_calls() {
    for (route, _) in ROUTES {
        let dir = tempfile::tempdir().unwrap();
        let unexpected = count_calls(UNEXPECTED_CALLS, dir.path(), 20, route);
        assert_eq!(unexpected, 0, "{route}");
        let dir = tempfile::tempdir().unwrap();
        let trace = trace_writes(dir.path(), OTHER_CALLS, 20, route);
        let data = dir.path().join("ledger");
        let written = trace.lines().filter_map(|line| {
            let (_, path) = descriptor(line.split_once('(')?.1)?;
            path.starts_with(&data)
                .then(|| path.file_name().unwrap().to_owned())
        });
        let written: BTreeSet<_> = written.collect();
        assert!(written.contains(OsStr::new("lock")), "{written:?}");
        let is_other = |name: &&OsString| {
            let is_lock = [OsStr::new("lock"), OsStr::new("lock.mdb")].contains(&&***name);
            !is_lock && Path::new(name).extension() != Some(OsStr::new("new"))
        };
        let others: Vec<_> = written.iter().filter(is_other).collect();
        assert!(others.is_empty(), "{route}: {others:?}");
    }
}

/// A kill leaves what lies in the page cache, and a power cut does not. Nobody
/// cuts the power here; this follows the calls by which a write leaves the page
/// cache, up to each acknowledgement.
#[test]
fn an_acknowledgement_rests_on_nothing_that_a_power_cut_takes() {
    for (route, _) in ROUTES {
        let dir = tempfile::tempdir().unwrap();
        let writing = WRITING_CALLS.join(",");
        let calls = format!("{writing},write,fsync,openat,{UNEXPECTED_CALLS}");
        let trace = trace_writes(dir.path(), &calls, 60, route);
        let mut disk = PageCache::default();
        for line in trace.lines() {
            disk.follow(line);
        }
        println!("{route}: {disk:?}");
        assert_eq!(disk.acked, 60, "{route}");
        assert!(disk.checkpoints > 10, "{route}: {}", disk.checkpoints);
        let is_journaled = disk.journaled > 10;
        assert_eq!(is_journaled, route == "journal", "{}", disk.journaled);
    }
}

/// These calls, while a fresh ledger is made and `batches` are written, in order. Of the one thread only
/// that does all of it.
fn trace_writes(dir: &Path, calls: &str, batches: u64, route: &str) -> String {
    let trace = dir.join("trace");
    let status = strace()
        .args([
            "-y",
            "-qq",
            "-s",
            "8",
            "-e",
            &format!("trace={calls}"),
            "-o",
        ])
        .arg(&trace)
        .arg(torture())
        .arg("write")
        .arg(dir.join("ledger"))
        .arg(batches.to_string())
        .arg(route)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::read_to_string(trace).unwrap()
}

/// What of a ledger's two files would be gone with the power.
#[derive(Debug, Default)]
struct PageCache {
    /// Files with writes that are not on disk.
    unflushed: BTreeSet<PathBuf>,
    /// Descriptors whose every write is on disk when it returns: LMDB has one for
    /// its meta pages.
    flushing: BTreeSet<u32>,
    /// Since the last acknowledgement something got to the disk by which a start
    /// finds the batch: a record of the journal, or a meta page.
    is_durable: bool,
    acked: u64,
    journaled: u64,
    checkpoints: u64,
}

impl PageCache {
    /// Takes in one call, as `strace -y` writes it down.
    fn follow(&mut self, line: &str) {
        let Some((call, rest)) = line.split_once('(') else {
            panic!("what is {line:?}?");
        };
        if call == "openat" {
            // What it gives is told at the end: `… O_DSYNC|O_CLOEXEC) = 6</path>`.
            if let Some((fd, _)) = line.rsplit_once(" = ").and_then(|(_, fd)| descriptor(fd)) {
                self.flushing.remove(&fd);
                if line.contains("O_DSYNC") {
                    self.flushing.insert(fd);
                }
            }
            return;
        }
        let Some((fd, path)) = descriptor(rest) else {
            panic!("what is {line:?}?");
        };
        if call == "write" && rest.contains("\"acked ") {
            assert_eq!(self.unflushed, BTreeSet::new(), "at {line}");
            assert!(self.is_durable, "nothing was written through before {line}");
            self.is_durable = false;
            self.acked += 1;
            return;
        }
        let name = path.file_name().unwrap_or_default();
        let is_journal = name == "journal";
        if !is_journal && name != "journal.new" && name != "data.mdb" {
            return;
        }
        match call {
            "fdatasync" | "fsync" => {
                self.unflushed.remove(path);
            }
            "pwritev2" => {
                assert!(is_journal, "{line}");
                let flags = line.rsplit_once(") = ").map(|(call, _)| call);
                let is_through = flags.is_some_and(|call| call.ends_with(", RWF_DSYNC"));
                assert!(is_through, "a record only got into the page cache: {line}");
                self.is_durable = true;
                self.journaled += 1;
            }
            // The mark is not flushed, as it may be missing or too low.
            "pwrite64" if is_journal && line.contains(", 16, 4096) = 16") => {}
            "pwrite64" if self.flushing.contains(&fd) => {
                let is_whole = !self.unflushed.contains(path);
                assert!(is_whole, "a meta page before what it points to: {line}");
                self.is_durable = true;
                self.checkpoints += 1;
            }
            _ => {
                self.unflushed.insert(path.to_owned());
            }
        }
    }
}

/// A descriptor and its file, from `6</path>` and what follows.
fn descriptor(text: &str) -> Option<(u32, &Path)> {
    let (fd, rest) = text.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    Some((fd.parse().ok()?, Path::new(path)))
}
