//! One run of the load tool: wrk on its own core, replaying prepared bodies.
//!
//! No idea of what is measured (see `measures/`) and of who answers (see
//! `subject.rs`). The script that wrk runs is `bench/wrk/replay.lua`, which is
//! part of this program.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::subject::Subject;

const SCRIPT: &str = include_str!("../wrk/replay.lua");

/// The digits in a body that [`Load::counting_from`] replaces.
pub(crate) const COUNTER: &str = "99999999";

/// What to send, and how hard.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    /// The bodies, sent in turn.
    pub(crate) bodies: &'a [String],
    pub(crate) connections: u32,
    pub(crate) seconds: u32,
    /// With a number, the only body's [`COUNTER`] counts up from it.
    pub(crate) counting_from: Option<u64>,
    /// Look at every answer and fail on the first that is not a result. Too
    /// slow to measure with.
    pub(crate) check: bool,
    /// Refusals that others get meanwhile, and whoever brings them about looks at.
    pub(crate) excused: &'static [&'static str],
    pub(crate) core: usize,
}

/// What one run saw.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Observed {
    pub(crate) requests: u64,
    pub(crate) micros: u64,
    pub(crate) bytes: u64,
    failed: u64,
    wrong: u64,
    /// Latencies in microseconds.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
    /// Processor time that the server used per request, all its threads, in
    /// microseconds.
    #[serde(skip)]
    pub(crate) server_micros: f64,
}

impl Observed {
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 * 1e6 / self.micros as f64
    }

    pub(crate) fn response_bytes(&self) -> f64 {
        self.bytes as f64 / self.requests as f64
    }
}

impl Load<'_> {
    /// Looks at every answer for some seconds, so that what is measured
    /// afterwards is known to work. Does nothing for 0.
    pub(crate) fn warm_up(self, subject: &Subject, seconds: u32) -> Result<()> {
        if seconds > 0 {
            Load {
                seconds,
                check: true,
                ..self
            }
            .run(subject)?;
        }
        Ok(())
    }

    /// Loads `subject` and returns when the tool has ended. Any refused or lost
    /// request is an error: a server that answers quickly with refusals must
    /// not win. A refusal may have status 200, so the server's own count of them
    /// is held against the one from before.
    pub(crate) fn run(&self, subject: &Subject) -> Result<Observed> {
        let files = tempfile::tempdir().context("make room for the load tool's files")?;
        let script = files.path().join("replay.lua");
        let bodies = files.path().join("bodies");
        fs::write(&script, SCRIPT).context("write the load tool's script")?;
        fs::write(&bodies, self.bodies.join("\n") + "\n")
            .context("write the load tool's requests")?;
        let refused_before = subject.refused(self.excused)?;
        let before = subject.cpu_nanos()?;
        let output = Command::new("taskset")
            .args(["-c", &self.core.to_string(), "wrk", "-t1"])
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{}s", self.seconds))
            .arg("--latency")
            .arg("-s")
            .args([&script])
            .arg(subject.url(""))
            .args(["--", "/rpc"])
            .args([&subject.token_file(), &bodies])
            .arg(
                self.counting_from
                    .map_or("-".into(), |first| first.to_string()),
            )
            .arg(if self.check { "check" } else { "-" })
            .output()
            .context("run wrk under taskset; are both installed?")?;
        let used = subject.cpu_nanos()?.saturating_sub(before);
        let refused = subject.refused(self.excused)? - refused_before;
        parse(&output.stdout, used, refused).with_context(|| {
            format!(
                "load {} with wrk: {}{}",
                subject.name(),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }
}

/// `refused` is how many calls the server itself says that it has refused.
fn parse(stdout: &[u8], server_nanos: u64, refused: u64) -> Result<Observed> {
    // wrk prints its own report first.
    let text = std::str::from_utf8(stdout).context("wrk printed something that is not text")?;
    let line = text
        .lines()
        .rfind(|line| line.starts_with('{'))
        .context("wrk printed no result")?;
    let mut observed: Observed =
        serde_json::from_str(line).context("wrk printed a strange result")?;
    ensure!(observed.requests > 0, "not one request was answered");
    if observed.failed + observed.wrong + refused > 0 {
        bail!(
            "{} requests failed, {} got another answer than a result, and the server refused {refused}",
            observed.failed,
            observed.wrong
        );
    }
    observed.server_micros = server_nanos as f64 / 1e3 / observed.requests as f64;
    Ok(observed)
}

/// Whether the load tool is here at all.
pub(crate) fn installed() -> bool {
    ["wrk", "taskset"].iter().all(|tool| {
        std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|dir| Path::new(&dir).join(tool).is_file())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_request_fails_the_run() {
        let line = |failed, wrong| {
            format!(
                "Running 1s test\n{{\"requests\":10,\"micros\":1000000,\"bytes\":100,\"failed\":{failed},\"wrong\":{wrong},\
                 \"p50\":1,\"p99\":2,\"max\":3}}\n"
            )
        };
        let observed = parse(line(0, 0).as_bytes(), 50_000, 0).unwrap();
        assert_eq!(observed.per_second(), 10.0);
        assert_eq!(observed.server_micros, 5.0);
        assert!(parse(line(1, 0).as_bytes(), 0, 0).is_err());
        assert!(parse(line(0, 1).as_bytes(), 0, 0).is_err());
        assert!(parse(line(0, 0).as_bytes(), 0, 1).is_err());
        assert!(parse(b"connection refused", 0, 0).is_err());
    }
}
