//! `corelet-bench run`: the measures in order, and what becomes of their
//! results.
//!
//! The server under test has core 0 to itself and the load tool core 1. Only
//! one server is loaded at a time; the other one of a comparison waits, and the
//! two take turns round by round. Start reading at [`run`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::figure::{Fact, Figure};
use crate::load::{self, Load};
use crate::machine::Machine;
use crate::measures;
use crate::report::Report;
use crate::subject::Programs;

/// Arguments of `corelet-bench run`.
#[derive(clap::Args)]
pub(crate) struct RunArgs {
    /// Only these measures, with commas between them.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measure>,
    /// Rounds of each measure.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds that each load lasts.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Keep-alive connections of the load tool.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// A tenth of the keys in the large context, and elements of the long list.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Contexts of the idle measure.
    #[arg(long, default_value_t = 100_000)]
    contexts: usize,
    /// Everything once and tiny: shows that the harness works, and no more.
    #[arg(long)]
    quick: bool,
    /// The server under test; the corelet beside this program if not said.
    #[arg(long)]
    server: Option<PathBuf>,
    /// The example application; target/apps/kv.wasm if not said.
    #[arg(long, default_value = "target/apps/kv.wasm")]
    kv: PathBuf,
    /// The one with lists; target/apps/docs.wasm if not said.
    #[arg(long, default_value = "target/apps/docs.wasm")]
    docs: PathBuf,
    /// The one with a stable memory; target/apps/tape.wasm if not said.
    #[arg(long, default_value = "target/apps/tape.wasm")]
    tape: PathBuf,
    /// The recorded trace of a text, which scripts/trace.sh brings; typing is made up if it is not
    /// there.
    #[arg(long, default_value = "target/traces/automerge-paper.json")]
    trace: PathBuf,
    /// Where the servers keep their data while they run; the system's temporary
    /// directory if not said.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Also write the results to this page.
    #[arg(long)]
    results: Option<PathBuf>,
    /// What goes to standard output.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// The measures by name, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Measure {
    /// Reads and durable writes, over many contexts and to a single one,
    /// against the baseline.
    Throughput,
    /// Reads beside an endless loop on the same shard, and beside worse.
    Neighbour,
    /// Writes into a context with many keys against an empty one.
    Large,
    /// Compiling 64 MiB, and reads beside that.
    LargeModule,
    /// Appends to a long list against those to short ones.
    LongList,
    /// Memory and start-up time with many idle contexts.
    Idle,
    /// Calls inside the process: warm, fresh, cold.
    Inside,
    /// Single host calls.
    Border,
    /// What counting fuel costs guests that compute.
    Fuel,
    /// The Merkle trie's part of a write.
    Merkle,
    /// Writes of every kind to a ledger with ten times as many keys, without a server.
    State,
    /// Steps of the collector, the scrub and the sweep.
    Steps,
    /// System calls per request.
    SystemCalls,
}

/// What the measures share.
pub(crate) struct Plan {
    pub(crate) programs: Programs,
    pub(crate) load_core: usize,
    pub(crate) kv: Vec<u8>,
    pub(crate) docs: Vec<u8>,
    pub(crate) tape: Vec<u8>,
    /// A directory for each measure's servers goes in here.
    pub(crate) scratch: PathBuf,
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    /// 0 for no warm-up.
    pub(crate) warm_up_seconds: u32,
    /// Look at every answer in measured runs too, which spoils their figures.
    pub(crate) check_all: bool,
    /// Samples of the figures inside the process, per round.
    pub(crate) samples: u32,
    pub(crate) connections: u32,
    pub(crate) keys: u64,
    pub(crate) contexts: usize,
    /// A recorded trace of a text, if it is there, and how much of it is typed at most.
    pub(crate) trace: PathBuf,
    pub(crate) edits: Option<usize>,
    /// Names the measure in progress.
    pub(crate) say: fn(&str),
}

impl Plan {
    /// The usual load.
    pub(crate) fn load<'a>(&self, bodies: &'a [String]) -> Load<'a> {
        Load {
            bodies,
            connections: self.connections,
            seconds: self.seconds,
            counting_from: None,
            check: self.check_all,
            excused: &[],
            core: self.load_core,
        }
    }
}

/// What a measure adds to the report.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) figures: Vec<Figure>,
    pub(crate) facts: Vec<Fact>,
}

/// Runs the measures and shows what they found. Fails if a server refuses,
/// loses or wrongly answers a request, and never because a figure misses its
/// target: that is for a reader to judge.
pub(crate) fn run(args: RunArgs) -> Result<()> {
    ensure!(
        load::installed(),
        "wrk and taskset are needed: run scripts/setup.sh bench"
    );
    let scratch = match &args.scratch {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let scratch = scratch.context("make room for the servers' data")?;
    let plan = plan(&args, scratch.path())?;
    let machine = Machine::describe(scratch.path());
    let mut report = Report {
        machine,
        parameters: parameters(&plan),
        figures: Vec::new(),
        facts: Vec::new(),
    };
    for measure in chosen(&args) {
        let found = match measure {
            Measure::Throughput => measures::throughput(&plan),
            Measure::Neighbour => measures::neighbour(&plan),
            Measure::Large => measures::large_context(&plan),
            Measure::LargeModule => measures::large_module(&plan),
            Measure::LongList => measures::long_list(&plan),
            Measure::Idle => measures::idle_contexts(&plan),
            Measure::Inside => measures::inside(&plan),
            Measure::Border => measures::border(&plan),
            Measure::Fuel => measures::fuel(&plan),
            Measure::Merkle => measures::merkle(&plan),
            Measure::State => measures::state(&plan),
            Measure::Steps => measures::steps(&plan),
            Measure::SystemCalls => measures::system_calls(&plan),
        };
        let found = found.with_context(|| format!("measure {measure:?}"))?;
        report.figures.extend(found.figures);
        report.facts.extend(found.facts);
    }
    if let Some(path) = &args.results {
        fs::write(path, report.markdown()).with_context(|| format!("write {}", path.display()))?;
    }
    match args.output {
        Format::Table => println!("{}", report.table()),
        Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(())
}

fn chosen(args: &RunArgs) -> Vec<Measure> {
    Measure::value_variants()
        .iter()
        .copied()
        .filter(|measure| args.only.is_empty() || args.only.contains(measure))
        .collect()
}

fn plan(args: &RunArgs, scratch: &Path) -> Result<Plan> {
    let bench = std::env::current_exe().context("find this program")?;
    let corelet = args
        .server
        .clone()
        .unwrap_or_else(|| bench.with_file_name("corelet"));
    ensure!(
        corelet.is_file(),
        "{} is missing: run make build",
        corelet.display()
    );
    let read = |path: &Path| {
        fs::read(path).with_context(|| format!("read {}: run make apps", path.display()))
    };
    let (kv, docs, tape) = (read(&args.kv)?, read(&args.docs)?, read(&args.tape)?);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let quick = args.quick;
    Ok(Plan {
        programs: Programs {
            corelet,
            state_cost: bench.with_file_name("examples").join("state_cost"),
            bench,
            core: 0,
        },
        // With a single core the two share it: the harness works, and the
        // figures mean nothing.
        load_core: usize::from(cores > 1),
        kv,
        docs,
        tape,
        scratch: scratch.into(),
        rounds: if quick { 1 } else { args.rounds },
        seconds: if quick { 1 } else { args.seconds },
        warm_up_seconds: if quick { 0 } else { 2 },
        check_all: quick,
        samples: if quick { 1 } else { 20 },
        connections: args.connections,
        keys: if quick { 2_000 } else { args.keys },
        contexts: if quick { 200 } else { args.contexts },
        trace: args.trace.clone(),
        edits: quick.then_some(500),
        say: |what| eprintln!("bench: {what}"),
    })
}

fn parameters(plan: &Plan) -> Vec<Fact> {
    vec![
        Fact::new("connections", plan.connections.to_string()),
        Fact::new(
            "rounds",
            format!("{} of {} s each", plan.rounds, plan.seconds),
        ),
        Fact::new(
            "cores",
            format!(
                "server on {}, load tool on {}",
                plan.programs.core, plan.load_core
            ),
        ),
    ]
}
