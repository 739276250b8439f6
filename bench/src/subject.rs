//! A server under measurement: Corelet or the baseline, as a process of its own
//! on its own core.
//!
//! Starts it, waits until it is ready, speaks its admin API and ends it. Both
//! speak the same one as far as the harness needs it. No measuring here (see
//! `measures/`), and no load (see `load.rs`).

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// How long a start or a stop may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pause between two looks at something that another process does.
const POLL: Duration = Duration::from_millis(2);

/// Which of the two it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Corelet,
    Baseline,
}

/// Where the programs are and which core they get.
#[derive(Clone)]
pub(crate) struct Programs {
    pub(crate) corelet: PathBuf,
    /// This program, which is also the baseline.
    pub(crate) bench: PathBuf,
    /// The store's own measures.
    pub(crate) state_cost: PathBuf,
    pub(crate) core: usize,
}

/// A running server. Dropping it ends the process, without asking nicely.
pub(crate) struct Subject {
    kind: Kind,
    child: Child,
    address: SocketAddr,
    data_dir: PathBuf,
    token: String,
    agent: ureq::Agent,
    start_up: Duration,
}

impl Subject {
    /// Starts the server on `data_dir`, with `settings` that differ from the
    /// defaults as environment variables, and returns when it is ready for
    /// traffic.
    pub(crate) fn start(
        kind: Kind,
        programs: &Programs,
        data_dir: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let address = free_address()?;
        let log = data_dir.with_extension("log");
        let mut command = Command::new("taskset");
        command.args(["-c", &programs.core.to_string()]);
        match kind {
            Kind::Corelet => command
                .arg(&programs.corelet)
                .args(["serve", "--shards", "1"]),
            Kind::Baseline => command.arg(&programs.bench).arg("baseline"),
        };
        command
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--listen", &address.to_string()]);
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context("open the server's log")?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        command.envs(settings.iter().copied());
        let started = Instant::now();
        let child = command
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        let mut subject = Self {
            kind,
            child,
            address,
            data_dir: data_dir.into(),
            token: String::new(),
            agent: agent.into(),
            start_up: Duration::ZERO,
        };
        subject.wait_until_ready(started).with_context(|| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            format!("{} did not become ready; it said:\n{said}", subject.name())
        })?;
        subject.start_up = started.elapsed();
        subject.token = fs::read_to_string(subject.token_file())
            .context("read the server's token")?
            .trim()
            .into();
        Ok(subject)
    }

    fn wait_until_ready(&mut self, started: Instant) -> Result<()> {
        let url = self.url("/readyz");
        loop {
            if self
                .agent
                .get(&url)
                .call()
                .is_ok_and(|response| response.status() == 200)
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            if started.elapsed() > PATIENCE {
                bail!("it took longer than {PATIENCE:?}");
            }
            #[allow(clippy::disallowed_methods, reason = "this thread is no shard")]
            thread::sleep(POLL);
        }
    }

    /// Asks the process to end and waits for it.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(self.process(), Signal::TERM).context("send SIGTERM")?;
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                // The baseline has no handler and dies of the signal, which
                // loses nothing.
                if status.success() || self.kind == Kind::Baseline {
                    return Ok(());
                }
                bail!("{} ended with {status}", self.name());
            }
            #[allow(clippy::disallowed_methods, reason = "this thread is no shard")]
            thread::sleep(POLL);
        }
        bail!("{} did not end within {PATIENCE:?} of SIGTERM", self.name());
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Corelet => "corelet",
            Kind::Baseline => "baseline",
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.data_dir.join("keys").join("token")
    }

    /// From the start of the process to its first yes on `/readyz`.
    pub(crate) fn start_up(&self) -> Duration {
        self.start_up
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Processor time used so far by all threads of the process.
    pub(crate) fn cpu_nanos(&self) -> Result<u64> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))
            .context("list the server's threads")?
        {
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            nanos += text
                .split(' ')
                .next()
                .and_then(|first| first.parse::<u64>().ok())
                .unwrap_or(0);
        }
        Ok(nanos)
    }

    /// The process that traces this one; 0 if none does.
    pub(crate) fn tracer(&self) -> Result<u64> {
        self.status("TracerPid")
    }

    /// A number of `/proc/PID/status`; those of memory, such as `RssAnon`, are
    /// in KiB.
    pub(crate) fn status(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .context("read the server's status")?;
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(field)?
                    .strip_prefix(':')?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
            .with_context(|| format!("no {field} in /proc/PID/status"))
    }

    /// How many JSON-RPC calls the server has refused so far, not counting those
    /// `excused`. The baseline refuses with a status that the load tool sees.
    pub(crate) fn refused(&self, excused: &[&str]) -> Result<u64> {
        if self.kind == Kind::Baseline {
            return Ok(0);
        }
        let request = self.agent.get(self.url("/metrics"));
        let mut response = self.authorized(request).call()?;
        let page = response.body_mut().read_to_string()?;
        refused_on(&page, excused).with_context(|| format!("no count of calls in\n{page}"))
    }

    /// Installs an application and returns its id.
    pub(crate) fn install(&self, wasm: &[u8]) -> Result<String> {
        self.install_within(wasm, PATIENCE)
    }

    /// The same of one that takes its compiler long.
    pub(crate) fn install_slowly(&self, wasm: &[u8]) -> Result<String> {
        self.install_within(wasm, Duration::from_secs(600))
    }

    fn install_within(&self, wasm: &[u8], patience: Duration) -> Result<String> {
        let request = self
            .agent
            .post(self.url("/v1/applications"))
            .header("content-type", "application/wasm")
            .config()
            .timeout_global(Some(patience))
            .build();
        id_of(self.authorized(request).send(wasm)).context("install an application")
    }

    /// Creates an unnamed context and returns its id.
    pub(crate) fn create_context(&self, application: &str) -> Result<String> {
        let body = json!({ "application": application, "args": {} });
        let request = self.agent.post(self.url("/v1/contexts"));
        id_of(self.authorized(request).send_json(body)).context("create a context")
    }

    pub(crate) fn create_contexts(&self, application: &str, count: usize) -> Result<Vec<String>> {
        (0..count)
            .map(|_| self.create_context(application))
            .collect()
    }

    /// Sends a body to `/rpc` and returns the whole answer, whatever it says.
    pub(crate) fn rpc(&self, body: &str) -> Result<Value> {
        let request = self
            .agent
            .post(self.url("/rpc"))
            .header("content-type", "application/json");
        let mut response = self.authorized(request).send(body)?;
        response.body_mut().read_json().context("read an answer")
    }

    /// Runs a method and returns its output.
    pub(crate) fn call(&self, body: &str) -> Result<Value> {
        let mut answer = self.rpc(body)?;
        match answer.pointer_mut("/result/output") {
            Some(output) => Ok(output.take()),
            None => Err(anyhow!("{} answered {answer} to {body}", self.name())),
        }
    }

    fn authorized<T>(&self, request: ureq::RequestBuilder<T>) -> ureq::RequestBuilder<T> {
        request.header("authorization", format!("Bearer {}", self.token))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sum of `corelet_calls_total` over all outcomes but `ok` and `excused`;
/// nothing if it is not on the page.
fn refused_on(page: &str, excused: &[&str]) -> Option<u64> {
    let counts = page.lines().filter_map(|line| {
        let (labels, count) = line
            .strip_prefix("corelet_calls_total{")?
            .split_once("} ")?;
        let outcome = labels.split_once("outcome=\"")?.1.split('"').next()?;
        Some((outcome, count.trim().parse::<u64>().ok()?))
    });
    let mut counts = counts.peekable();
    counts.peek()?;
    let refused = counts.filter(|(outcome, _)| *outcome != "ok" && !excused.contains(outcome));
    Some(refused.map(|(_, count)| count).sum())
}

fn id_of(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String> {
    let mut response = response?;
    let status = response.status();
    let answer = response.body_mut().read_to_string()?;
    let id = serde_json::from_str::<Value>(&answer)
        .ok()
        .and_then(|value| Some(value.get("id")?.as_str()?.to_owned()));
    id.filter(|_| status.is_success())
        .with_context(|| format!("the server answered {status}: {answer}"))
}

/// A port that nothing listens on; it may be taken until the server binds it,
/// and then the start fails.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?)
}

/// The body of a call.
pub(crate) fn call_body(context: &str, method: &str, args: &Value) -> String {
    // The order of the members is the one that the documentation shows.
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"execute","params":{{"context_id":"{context}","method":"{method}","args":{args}}}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::refused_on;

    #[test]
    fn refusals_are_counted_over_shards_and_outcomes() {
        let page = "# TYPE corelet_calls counter\n\
            corelet_calls_total{shard=\"0\",outcome=\"ok\"} 100\n\
            corelet_calls_total{shard=\"0\",outcome=\"busy\"} 2\n\
            corelet_calls_total{shard=\"1\",outcome=\"out_of_fuel\"} 3\n\
            corelet_fuel_total{shard=\"0\"} 7\n";
        assert_eq!(refused_on(page, &[]), Some(5));
        assert_eq!(refused_on(page, &["out_of_fuel"]), Some(2));
        assert_eq!(refused_on("corelet_fuel_total{shard=\"0\"} 7\n", &[]), None);
    }
}
