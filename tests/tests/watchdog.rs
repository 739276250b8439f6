//! A shard that hangs ends the process, and says so, instead of holding its
//! contexts for ever.
//!
//! The hang is real: the shard's thread parks and nobody unparks it. It happens
//! in a second process, which is this test's own binary started again.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use corelet_shard::WatchdogConfig;
use corelet_tests::TestNode;

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
