//! What one call costs inside the process: no network, no disk, no queue.
//!
//! Uses the public API of `corelet-wasm-host` with a map in memory for the
//! state, so the figures are the engine's border and the guest's own work (the
//! kv application parses its arguments and writes its answer as JSON):
//!
//! - warm: the context's instance is there already, which is the usual case
//! - fresh: an instance is made for the call and dropped behind it
//! - passing: the same of an application whose method does nothing at all
//! - cold from the disk cache: a new host loads the compiled module from disk,
//!   makes an instance and calls; also of a component of 1 MiB, in a host that is there
//! - cold from nothing: as before, but the module is compiled first
//!
//! Runs on the core that the server otherwise has.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use corelet_wasm_host::{
    Entry, Finished, GuestState, Host, HostConfig, Instance, MethodKind, Module, Turn,
};

use crate::figure::{Fact, Series};
use crate::run::{Found, Plan};

/// Calls per sample of a warm figure: long enough for the clock, short enough
/// to fit between two interruptions.
const CALLS_PER_SAMPLE: u32 = 1000;
const INSTANCES_PER_SAMPLE: u32 = 100;
/// Far more than any of these calls needs.
const FUEL_MAX: u64 = 1_000_000_000;

pub(crate) fn inside(plan: &Plan) -> Result<Found> {
    on_the_servers_core(plan, measure)
}

/// Measures on the core that the server otherwise has.
pub(super) fn on_the_servers_core(
    plan: &Plan,
    measure: fn(&Plan) -> Result<Found>,
) -> Result<Found> {
    // A thread of its own, because pinning lasts.
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| {
            let mut cores = rustix::thread::CpuSet::new();
            cores.set(plan.programs.core);
            rustix::thread::sched_setaffinity(None, &cores).context("pin to the server's core")?;
            measure(plan)
        });
        measuring
            .join()
            .map_err(|_| anyhow!("the measuring thread panicked"))?
    })
}

fn measure(plan: &Plan) -> Result<Found> {
    (plan.say)("inside: calls without a server");
    let cache = plan.scratch.join("inside");
    let (mut warm_get, mut warm_set, mut fresh_get) =
        (Series::default(), Series::default(), Series::default());
    let (mut cold_disk, mut cold_nothing) = (Series::default(), Series::default());
    let (mut passing, mut cold_large) = (Series::default(), Series::default());
    let pass = super::border::guest()?;
    let large = large()?;
    for round in 0..plan.rounds {
        let dir = cache.join(round.to_string());
        cold_nothing.push(millis(first_call(&dir, &plan.kv)?));
        cold_disk.push(millis(first_call(&dir, &plan.kv)?));
        host(&dir)?.load(&large).context("compile a large one")?;
        cold_large.push(millis(first_call_in(&host(&dir)?, &large, "pass", b"{}")?));

        let module = host(&dir)?
            .load(&plan.kv)
            .context("load the kv application")?;
        let mut caller = Caller::new(&module)?;
        let mut passer = Caller::new(&host(&dir)?.load(&pass).context("load border.wat")?)?;
        for _ in 0..plan.samples {
            passing.push(passer.sample(CALLS_PER_SAMPLE, "pass", b"{}")?);
            warm_get.push(caller.sample(CALLS_PER_SAMPLE, "get", GET)?);
            warm_set.push(caller.sample(CALLS_PER_SAMPLE, "set", SET)?);
            fresh_get.push(fresh_sample(&module)?);
        }
    }
    let micros = |series: &Series| {
        format!(
            "{:.2} us ({:.2}..{:.2})",
            series.median(),
            series.min(),
            series.max()
        )
    };
    let millis = |series: &Series| {
        format!(
            "{:.1} ms ({:.1}..{:.1})",
            series.median(),
            series.min(),
            series.max()
        )
    };
    Ok(Found {
        figures: Vec::new(),
        facts: vec![
            Fact::new(
                "one call inside the process: get, warm instance",
                micros(&warm_get),
            ),
            Fact::new(
                "one call inside the process: set, warm instance",
                micros(&warm_set),
            ),
            Fact::at_most(
                "one call inside the process: a method that does nothing, warm instance",
                &passing,
                "us",
                1.0,
                2,
            ),
            Fact::at_most(
                "one call inside the process: get, fresh instance",
                &fresh_get,
                "us",
                30.0,
                2,
            ),
            Fact::at_most(
                format!(
                    "first call of a component of {:.1} MiB, from the disk cache",
                    large.len() as f64 / f64::from(1 << 20)
                ),
                &cold_large,
                "ms",
                2.0,
                2,
            ),
            Fact::new(
                "first call, module from the disk cache, new host included",
                millis(&cold_disk),
            ),
            Fact::new(
                "first call, module compiled from nothing",
                millis(&cold_nothing),
            ),
        ],
    })
}

const GET: &[u8] = br#"{"key":"key-0001"}"#;
const SET: &[u8] = br#"{"key":"key-0001","value":"sixty-four bytes are neither a short nor a long value to be stored"}"#;

pub(super) fn host(cache_dir: &Path) -> Result<Host> {
    let config = HostConfig {
        cache_dir: Some(cache_dir.into()),
        cache_key: [7; 32],
        ..HostConfig::new(64)
    };
    Host::new(config).context("set up a host")
}

/// From nothing but files to the answer of one call.
fn first_call(cache_dir: &Path, wasm: &[u8]) -> Result<Duration> {
    std::fs::create_dir_all(cache_dir)?;
    let started = Instant::now();
    first_call_in(&host(cache_dir)?, wasm, "get", GET)?;
    Ok(started.elapsed())
}

/// From a component to the answer of one call.
fn first_call_in(host: &Host, wasm: &[u8], method: &str, args: &'static [u8]) -> Result<Duration> {
    let started = Instant::now();
    let module = host.load(wasm).context("load an application")?;
    Caller::new(&module)?.call(method, args)?;
    Ok(started.elapsed())
}

/// A component of a MiB, most of it code that is never run.
fn large() -> Result<Vec<u8>> {
    const FUNCTIONS: usize = 4_000;
    // Some 260 bytes each.
    let body =
        "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 1103515245)) (i32.const 12345)))";
    let function = format!(
        "(func (param i32) (result i32) {} (local.get 0))",
        body.repeat(17)
    );
    super::border::guest_with(&function.repeat(FUNCTIONS))
}

fn fresh_sample(module: &Arc<Module>) -> Result<f64> {
    let mut state = Some(empty_state());
    let started = Instant::now();
    for _ in 0..INSTANCES_PER_SAMPLE {
        let instance = module.instantiate().context("make an instance")?;
        let turn = turn(
            module,
            "get",
            GET,
            state.take().context("the state came back")?,
        )?;
        state = Some(finish(instance, turn)?.state);
    }
    Ok(micros_each(started.elapsed(), INSTANCES_PER_SAMPLE))
}

/// A context's warm instance with its state.
pub(super) struct Caller {
    module: Arc<Module>,
    /// Both are away only while a call runs.
    at_rest: Option<(Instance, Box<dyn GuestState>)>,
}

impl Caller {
    pub(super) fn new(module: &Arc<Module>) -> Result<Self> {
        let instance = module.instantiate().context("make an instance")?;
        Ok(Self {
            module: module.clone(),
            at_rest: Some((instance, empty_state())),
        })
    }

    pub(super) fn call(&mut self, method: &str, args: &'static [u8]) -> Result<()> {
        let (instance, state) = self
            .at_rest
            .take()
            .context("the call before this one failed")?;
        let finished = finish(instance, turn(&self.module, method, args, state)?)?;
        self.at_rest = Some((
            finished.instance.context("the instance was discarded")?,
            finished.state,
        ));
        Ok(())
    }

    /// Microseconds per call.
    pub(super) fn sample(&mut self, calls: u32, method: &str, args: &'static [u8]) -> Result<f64> {
        let started = Instant::now();
        for _ in 0..calls {
            self.call(method, args)?;
        }
        Ok(micros_each(started.elapsed(), calls))
    }
}

/// A context's state in memory, without a store.
fn empty_state() -> Box<dyn GuestState> {
    Box::new(BTreeMap::<Vec<u8>, Vec<u8>>::new())
}

fn turn(
    module: &Module,
    method: &str,
    args: &'static [u8],
    state: Box<dyn GuestState>,
) -> Result<Turn> {
    let kind: MethodKind = module
        .description()
        .method(method)
        .context("the application has this method")?
        .kind;
    Ok(Turn {
        entry: Entry::Call {
            method: method.into(),
            kind,
        },
        args: bytes::Bytes::from_static(args),
        context: [1; 32],
        caller: "bench".into(),
        author: [3; 32],
        now_nanos: 1,
        seed: [2; 32],
        state_version: 1,
        fuel_max: FUEL_MAX,
        queries: 0,
        state,
    })
}

/// Polls to the end; a pending turn only means that a slice of fuel is used up.
fn finish(instance: Instance, turn: Turn) -> Result<Finished> {
    let mut running = instance.run(turn);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(finished) = Pin::new(&mut running).poll(&mut context) {
            if let Err(failure) = &finished.outcome {
                return Err(anyhow!("the call failed: {failure}"));
            }
            return Ok(finished);
        }
    }
}

fn micros_each(elapsed: Duration, count: u32) -> f64 {
    elapsed.as_secs_f64() * 1e6 / f64::from(count)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
