//! System calls per request, in both servers, counted by strace.
//!
//! strace slows a server down several times, so batches are of another size
//! than at full speed and no time is taken from these runs. What the numbers
//! show is how much of a request's way goes through the kernel. A figure per
//! request includes whatever the server does on its own meanwhile, such as
//! heartbeats.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::figure::Fact;
use crate::load::Load;
use crate::run::{Found, Plan};
use crate::subject::{Kind, Subject, call_body};

const CONTEXTS: usize = 64;
/// How many kinds of calls are named; the rest is in the sum.
const NAMED: usize = 6;
/// Counts do not get better by counting longer.
const SECONDS_MAX: u32 = 2;
const POLL: Duration = Duration::from_millis(5);

pub(crate) fn system_calls(plan: &Plan) -> Result<Found> {
    if Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        (plan.say)("system calls: strace is not installed, left out");
        return Ok(Found::default());
    }
    let mut facts = Vec::new();
    for kind in [Kind::Corelet, Kind::Baseline] {
        let subject = Subject::start(
            kind,
            &plan.programs,
            &plan.scratch.join(format!("calls-{kind:?}")),
            &[],
        )?;
        let application = subject.install(&plan.kv)?;
        let contexts = subject.create_contexts(&application, CONTEXTS)?;
        let bodies = |method: &str, args: &serde_json::Value| -> Vec<String> {
            contexts
                .iter()
                .map(|context| call_body(context, method, args))
                .collect()
        };
        let loads = [
            ("write", bodies("set", &json!({ "key": "k", "value": "v" }))),
            ("read", bodies("get", &json!({ "key": "k" }))),
        ];
        for (name, bodies) in &loads {
            let load = Load {
                seconds: plan.seconds.min(SECONDS_MAX),
                ..plan.load(bodies)
            };
            let summary = plan.scratch.join(format!("calls-{kind:?}-{name}.txt"));
            let tracer = attach(&subject, &summary)?;
            let observed = load.run(&subject);
            detach(tracer)?;
            let counts = parse(&fs::read_to_string(&summary).context("read strace's summary")?)?;
            let name = format!("system calls per {name}, {}", subject.name());
            facts.push(Fact::new(name, show(&counts, observed?.requests)));
        }
        subject.stop()?;
    }
    Ok(Found {
        figures: Vec::new(),
        facts,
    })
}

/// Starts counting; returns when strace holds the process.
fn attach(subject: &Subject, summary: &Path) -> Result<Child> {
    let mut tracer = Command::new("strace")
        .args(["-c", "-f", "-q", "-p", &subject.pid().to_string(), "-o"])
        .arg(summary)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start strace")?;
    while subject.tracer()? == 0 {
        if let Some(status) = tracer.try_wait()? {
            bail!(
                "strace ended with {status}: may this user trace its own processes (kernel.yama.ptrace_scope)?"
            );
        }
        #[allow(clippy::disallowed_methods, reason = "this thread is no shard")]
        thread::sleep(POLL);
    }
    Ok(tracer)
}

fn detach(mut tracer: Child) -> Result<()> {
    kill_process(Pid::from_child(&tracer), Signal::INT).context("stop strace")?;
    tracer.wait().context("wait for strace")?;
    Ok(())
}

/// Calls by name, from the table that `strace -c` writes: name last, count
/// fourth.
fn parse(summary: &str) -> Result<Vec<(String, u64)>> {
    let counts: Vec<(String, u64)> = summary
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let count = columns.get(3)?.parse().ok()?;
            Some(((*columns.last()?).to_owned(), count))
        })
        .filter(|(name, _)| name != "total")
        .collect();
    if counts.is_empty() {
        bail!("strace counted nothing: {summary}");
    }
    Ok(counts)
}

fn show(counts: &[(String, u64)], requests: u64) -> String {
    let mut sorted = counts.to_vec();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let each = |count: u64| count as f64 / requests as f64;
    let named: Vec<String> = sorted
        .iter()
        .take(NAMED)
        .map(|(name, count)| format!("{name} {:.2}", each(*count)))
        .collect();
    let sum = each(counts.iter().map(|(_, count)| count).sum());
    format!("{sum:.2} ({})", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_understood() {
        let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 25.11    0.171031          26      6500           writev
 18.47    0.125757         252       498         5 futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.681048          34      6998         5 total
";
        let counts = parse(summary).unwrap();
        assert_eq!(
            counts,
            [("writev".to_owned(), 6500), ("futex".to_owned(), 498)]
        );
        assert_eq!(show(&counts, 1000), "7.00 (writev 6.50, futex 0.50)");
        assert!(parse("").is_err());
    }
}
