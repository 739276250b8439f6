//! Where a run took place: what a reader needs to judge a number or to repeat
//! it.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// The machine, the sources and the command of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// The file system of the data, since that is what a durable write waits
    /// for.
    pub(crate) file_system: String,
    pub(crate) commit: String,
    pub(crate) rustc: String,
    pub(crate) date: String,
    /// How busy the machine was with other things just before.
    pub(crate) load_before: String,
    pub(crate) command: String,
}

impl Machine {
    /// Asks the system. What cannot be found out is shown as a question mark
    /// rather than failing a measurement.
    pub(crate) fn describe(data: &std::path::Path) -> Self {
        let memory_kib: u64 = field("/proc/meminfo", "MemTotal")
            .split(' ')
            .next()
            .and_then(|kib| kib.parse().ok())
            .unwrap_or(0);
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_kib >> 20,
            kernel: said_by("uname", &["-sr"]),
            file_system: said_by("stat", &["-f", "-c", "%T", &data.to_string_lossy()]),
            commit: commit(),
            rustc: said_by("rustc", &["--version"]),
            date: said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            load_before: fs::read_to_string("/proc/loadavg").map_or("?".into(), |text| {
                text.split(' ').take(3).collect::<Vec<_>>().join(" ")
            }),
            command: std::env::args().collect::<Vec<_>>().join(" "),
        }
    }
}

/// The commit that the tree is at, with a mark if it has changes of its own.
fn commit() -> String {
    let hash = said_by("git", &["rev-parse", "--short=12", "HEAD"]);
    match said_by("git", &["status", "--porcelain", "--untracked-files=no"]).as_str() {
        "" => hash,
        "?" => hash,
        _ => format!("{hash} with local changes"),
    }
}

fn said_by(program: &str, args: &[&str]) -> String {
    match Command::new(program).args(args).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().into()
        }
        _ => "?".into(),
    }
}

/// The value of the first `name : value` line in a file of `/proc`.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    line.map_or("?".into(), |value| value.trim().into())
}
