//! What a component of 64 MiB costs: the time and the memory of its compiler, and the latency
//! of another context's cheap reads while that is at work.
//!
//! The component is made here (`large.rs`): somewhat more code than data, as programs of that
//! size have, in functions of some hundred bytes. It is compiled once for each round, under
//! another seed, as a component that was compiled is not compiled again. Reads over one
//! connection hide nothing.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::json;

use crate::figure::{Fact, Figure, Runs, Target};
use crate::large;
use crate::load::{Load, Observed};
use crate::run::{Found, Plan};
use crate::subject::{Kind, Subject, call_body};

/// Bytes of function bodies and of data, which are nearly all of the component.
const CODE_BYTES: usize = 36 << 20;
const DATA_BYTES: usize = 27 << 20;

/// The same for a run that shows that the harness works.
const QUICK_BYTES: usize = 256 << 10;

/// In which Linux counts a process's time for others.
const TICKS_PER_SECOND: f64 = 100.0;

/// How often the compiler's process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) fn large_module(plan: &Plan) -> Result<Found> {
    (plan.say)("large module: starting the server");
    let dir = plan.scratch.join("large-module");
    let subject = Subject::start(Kind::Corelet, &plan.programs, &dir, &[])?;
    let reader = subject.create_context(&subject.install(&plan.kv)?)?;
    subject.call(&call_body(
        &reader,
        "set",
        &json!({ "key": "k", "value": "v" }),
    ))?;
    let get = [call_body(&reader, "get", &json!({ "key": "k" }))];
    let load = Load {
        connections: 1,
        ..plan.load(&get)
    };
    load.warm_up(&subject, plan.warm_up_seconds)?;
    let (mut undisturbed, mut beside) = (Runs::default(), Runs::default());
    let (mut facts, mut runs) = (Vec::new(), 0);
    for round in 0..plan.rounds.min(3) {
        let (code, data) = match plan.check_all {
            true => (QUICK_BYTES, QUICK_BYTES),
            false => (CODE_BYTES, DATA_BYTES),
        };
        let wasm = large::component(code, data, u64::from(round) + 1)?;
        undisturbed.push(&load.run(&subject)?);
        let compiled = compile_beside(&subject, &wasm, || load.run(&subject))?;
        runs += compiled.observed.len();
        compiled.observed.iter().for_each(|run| beside.push(run));
        (plan.say)(&format!("large module, round {}", round + 1));
        facts.push(Fact::new(
            format!("large module, round {}", round + 1),
            format!(
                "{:.1} MiB installed in {:.1} s; its compiler took {:.1} s of CPU time and {:.0} MiB of memory (data: {:.0} MiB)",
                wasm.len() as f64 / f64::from(1 << 20),
                compiled.took.as_secs_f64(),
                compiled.most.cpu_seconds,
                compiled.most.resident_kib / 1024.0,
                compiled.most.data_kib / 1024.0,
            ),
        ));
    }
    subject.stop()?;
    ensure!(
        plan.check_all || runs > 0,
        "the component was compiled before reads were measured beside that"
    );
    let figures = match runs {
        0 => Vec::new(),
        _ => vec![Figure::of_tails(
            "read beside the compiler of 64 MiB, 1 connection",
            beside,
            "undisturbed",
            undisturbed,
            // The compiler is a neighbour like others.
            Some(Target::AtMost(10.0)),
        )],
    };
    Ok(Found { figures, facts })
}

/// What came of one compilation.
struct Compiled {
    took: Duration,
    /// What its process had used whenever it was looked at.
    most: Used,
    /// Runs that have begun and ended meanwhile.
    observed: Vec<Observed>,
}

fn compile_beside(
    subject: &Subject,
    wasm: &[u8],
    measure: impl Fn() -> Result<Observed>,
) -> Result<Compiled> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let installing = scope.spawn(|| {
            let began = Instant::now();
            let installed = subject.install_slowly(wasm);
            is_over.store(true, Ordering::Relaxed);
            installed.map(|_| began.elapsed())
        });
        let looking = scope.spawn(|| {
            let mut most = Used::default();
            while !is_over.load(Ordering::Relaxed) {
                // A process may end between two looks at it.
                let _ = most.look(subject.pid());
                thread::park_timeout(LOOK_EVERY);
            }
            most
        });
        let mut observed = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let run = measure()?;
            if !is_over.load(Ordering::Relaxed) {
                observed.push(run);
            }
        }
        let panicked = |_| anyhow!("a thread of the measure panicked");
        Ok(Compiled {
            took: installing.join().map_err(panicked)??,
            most: looking.join().map_err(panicked)?,
            observed,
        })
    })
}

/// What the compiler's process has used at most.
#[derive(Default)]
struct Used {
    cpu_seconds: f64,
    resident_kib: f64,
    /// As RLIMIT_DATA counts it.
    data_kib: f64,
}

impl Used {
    /// Looks at the children of the server's threads, of which there is one at most.
    fn look(&mut self, server: u32) -> Result<()> {
        let threads = fs::read_dir(format!("/proc/{server}/task"));
        for thread in threads.context("list the server's threads")? {
            let children = fs::read_to_string(thread?.path().join("children"))?;
            for child in children.split_whitespace() {
                let status = fs::read_to_string(format!("/proc/{child}/status"))?;
                let kib = |field: &str| -> Option<f64> {
                    let rest = status.lines().find_map(|line| line.strip_prefix(field))?;
                    rest.split_whitespace().next()?.parse().ok()
                };
                self.resident_kib = self.resident_kib.max(kib("VmHWM:").unwrap_or(0.0));
                self.data_kib = self.data_kib.max(kib("VmData:").unwrap_or(0.0));
                let stat = fs::read_to_string(format!("/proc/{child}/stat"))?;
                // Behind the name, which may have anything in it: user and system ticks.
                let behind = stat.rsplit(')').next().unwrap_or_default();
                let ticks = behind.split_whitespace().skip(11).take(2);
                let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
                self.cpu_seconds = self.cpu_seconds.max(ticks / TICKS_PER_SECOND);
            }
        }
        Ok(())
    }
}
