//! The processes that compile for a server, as `/proc` shows them.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::Server;

/// Longer than a worker takes to begin on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The process that compiles for `server`, once it is at the component. Not
/// before: until then it is being set up.
///
/// # Panics
/// If none comes.
pub fn at_work(server: &Server) -> i32 {
    let began = Instant::now();
    loop {
        if let Some(pid) = all(server).into_iter().find(|pid| is_at_work(*pid)) {
            return pid;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for a worker");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// The processes that `server` has started.
///
/// # Panics
/// If there is no `/proc`.
pub fn all(server: &Server) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("/proc is there");
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| status(*pid, "PPid").is_some_and(|parent| parent == server.id().to_string()))
        .collect()
}

/// A worker names itself, then bounds itself; what it was before is not yet it.
fn is_at_work(pid: i32) -> bool {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let bounded = limits.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.starts_with(&["Max", "cpu", "time"]) && fields[3] != "unlimited"
    });
    bounded && status(pid, "Name").as_deref() == Some("compile-worker")
}

/// A line of a process's `/proc/PID/status`.
pub fn status(pid: i32, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Whether a process runs.
pub fn is_alive(pid: i32) -> bool {
    status(pid, "State").is_some_and(|state| !state.starts_with('Z'))
}
