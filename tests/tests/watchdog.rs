//! A shard that hangs ends the process, and says so, instead of holding its
//! contexts for ever. A pause of the whole process is no hang.
//!
//! The hang is real: the shard's thread parks and nobody unparks it. So is the
//! pause. They happen in a second process, which is this test's own binary
//! started again.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use corelet_shard::WatchdogConfig;
use corelet_tests::TestNode;
use rustix::process::{Pid, Signal, kill_process};

const HANGS: &str = "CORELET_TEST_HANGS";

#[test]
fn a_hanging_shard_ends_the_process() {
    if let Some(data) = std::env::var_os(HANGS) {
        hang(data.as_ref());
        return;
    }
    let data = tempfile::tempdir().expect("a directory for data");
    let this = std::env::current_exe().expect("the test knows its own file");
    let child = Command::new(this)
        .args(["--exact", "a_hanging_shard_ends_the_process", "--nocapture"])
        .env(HANGS, data.path())
        .output()
        .expect("the test starts itself");
    assert_eq!(
        child.status.signal(),
        Some(libc::SIGABRT),
        "it aborts: {child:?}"
    );
    let log = String::from_utf8_lossy(&child.stderr);
    assert!(log.contains("a shard is late"), "first it warns: {log}");
    assert!(log.contains("a shard hangs"), "then it gives up: {log}");
    assert!(
        log.contains("shard-1"),
        "and tells what its threads do: {log}"
    );
}

#[test]
fn a_hanging_shard_ends_the_process_although_nobody_reads_its_log() {
    if let Some(data) = std::env::var_os(HANGS) {
        fill_log();
        hang(data.as_ref());
        return;
    }
    let data = tempfile::tempdir().expect("a directory for data");
    let this = std::env::current_exe().expect("the test knows its own file");
    let name = "a_hanging_shard_ends_the_process_although_nobody_reads_its_log";
    let mut child = Command::new(this)
        .args(["--exact", name, "--nocapture"])
        .env(HANGS, data.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test starts itself");
    // Its end of the pipe stays open, and unread, until the child is gone.
    let log = child.stderr.take();
    let status = child.wait().expect("our own child");
    drop(log);
    assert_eq!(status.signal(), Some(libc::SIGABRT), "it aborts: {status}");
}

/// As a container is when its cgroup is frozen, or a machine by its hypervisor.
#[test]
fn a_process_that_was_paused_for_longer_than_a_shard_may_hang_goes_on() {
    if let Some(data) = std::env::var_os(HANGS) {
        serve_until_standard_input_ends(data.as_ref());
        return;
    }
    let data = tempfile::tempdir().expect("a directory for data");
    let this = std::env::current_exe().expect("the test knows its own file");
    let name = "a_process_that_was_paused_for_longer_than_a_shard_may_hang_goes_on";
    let mut child = Command::new(this)
        .args(["--exact", name, "--nocapture"])
        .env(HANGS, data.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test starts itself");
    let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(
        said.any(|line| line.expect("text").contains(RUNS)),
        "it starts"
    );
    let pid = Pid::from_child(&child);
    // Either may be the first to run again, the watchdog or the shards.
    for _ in 0..3 {
        kill_process(pid, Signal::STOP).expect("it runs");
        // The pause has to be long, and nothing happens in it.
        let paused = Instant::now();
        while paused.elapsed() < ABORT_AFTER + ABORT_AFTER / 2 {
            std::thread::park_timeout(ABORT_AFTER);
        }
        kill_process(pid, Signal::CONT).expect("it is stopped");
    }
    drop(child.stdin.take());
    let status = child.wait().expect("our own child");
    assert!(status.success(), "it was well all the time: {status}");
}

const RUNS: &str = "the node runs";

/// Of the process that is paused.
const ABORT_AFTER: Duration = Duration::from_secs(2);

fn serve_until_standard_input_ends(data: &std::path::Path) {
    let watchdog = WatchdogConfig {
        warn_after: Duration::from_millis(500),
        abort_after: ABORT_AFTER,
    };
    let node = TestNode {
        watchdog,
        ..TestNode::default()
    };
    node.run(data, |_shard| async {
        let input = std::thread::Builder::new()
            .name("standard-input".to_owned())
            .spawn(|| std::io::stdin().read_to_end(&mut Vec::new()))
            .expect("a thread");
        println!("{RUNS}");
        while !input.is_finished() {
            corelet_shard::rt::sleep(Duration::from_millis(1)).await;
        }
    });
}

/// Leaves no room in the pipe that standard error is.
fn fill_log() {
    let log = std::io::stderr();
    let before = rustix::fs::fcntl_getfl(&log).expect("standard error is open");
    rustix::fs::fcntl_setfl(&log, before | rustix::fs::OFlags::NONBLOCK).expect("flags are set");
    for size in [4096, 1] {
        while rustix::io::write(&log, &[b'.'; 4096][..size]).is_ok() {}
    }
    rustix::fs::fcntl_setfl(&log, before).expect("flags are set");
}

fn hang(data: &std::path::Path) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let watchdog = WatchdogConfig {
        warn_after: Duration::from_millis(300),
        abort_after: Duration::from_millis(900),
    };
    TestNode {
        watchdog,
        ..TestNode::default()
    }
    .run(data, |_shard| async {
        loop {
            std::thread::park();
        }
    });
}
