//! `corelet-bench`: the program behind `make bench`.
//!
//! Two commands: `baseline` is the server that Corelet is measured against, and
//! `run` starts both, loads them in turn and prints the table. The measures
//! live in `measures/`, each with what it does to a server and what the number
//! means; nothing here knows how the server under test works inside. Start
//! reading at `run.rs`.

use anyhow::Result;
use clap::{Parser, Subcommand};

#[cfg(clippy)]
mod bans;
mod baseline;
mod figure;
mod large;
mod load;
mod machine;
mod measures;
mod report;
mod run;
mod subject;

/// Both programs of a comparison use the same allocator: otherwise the table
/// would compare allocators.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "corelet-bench",
    about = "Measures Corelet against a plain tokio + axum + heed server"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the baseline: the same JSON bodies from LMDB, without any WASM.
    Baseline(baseline::BaselineArgs),
    /// Measure, and print a table.
    Run(run::RunArgs),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Baseline(args) => baseline::serve(args),
        Command::Run(args) => run::run(args),
    }
}
