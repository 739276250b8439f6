//! What state costs, inside one process and on a real disk: `state_cost DIR [--keys N]
//! [--elements N] [--edits N] [--trace FILE] [--deltas N] [--copied-mib N] [--rounds N]
//! [--only MEASURE,MEASURE]`. Prints one JSON object a line: `name`, `value` and, where
//! the project has set itself an aim, `aim` and `reached`; what the trie takes also as a number in
//! `trie`. `make bench` puts them into its table.
//!
//! Every ratio is between two sides of the same run that take turns, and a median
//! over the rounds: single figures say more about the machine than about the ledger.

mod copies;
mod instructions;
mod keys;
mod ledger;
mod lists;
mod merkle;
mod nodes;
mod remote;
mod report;
mod steps;
mod texts;
mod together;
mod trace;

// The trie is private to the crate, and sees nothing of it.
#[expect(dead_code, unused_imports, reason = "only its costs are of interest")]
#[path = "../../src/trie/mod.rs"]
mod trie;

use std::error::Error;
use std::path::PathBuf;

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the measures share.
struct Plan {
    /// Where ledgers are made.
    dir: PathBuf,
    /// Keys of the large context.
    keys: u64,
    /// Elements of the long list.
    elements: usize,
    /// Edits of one author's text, at most, and of texts by several.
    edits: usize,
    edits_together: usize,
    /// A recorded trace of a text. Otherwise the typing is made up.
    trace: Option<PathBuf>,
    /// Deltas of other nodes.
    deltas: usize,
    /// Bytes of values in the contexts that are copied.
    copied_bytes: usize,
    /// Rounds of each comparison.
    rounds: usize,
}

type Measure = fn(&Plan) -> Result<(), Box<dyn Error>>;

const MEASURES: [(&str, Measure); 8] = [
    ("keys", keys::measure),
    ("merkle", merkle::measure),
    ("lists", lists::measure),
    ("texts", texts::measure),
    ("together", together::measure),
    ("remote", remote::measure),
    ("steps", steps::measure),
    ("copies", copies::measure),
];

/// As many as the recorded sessions of two and three people have.
const EDITS_TOGETHER_MAX: usize = 25_000;

const USAGE: &str = "usage: state_cost DIR [--keys N] [--elements N] [--edits N] [--trace FILE] \
                     [--deltas N] [--copied-mib N] [--rounds N] [--only MEASURE,MEASURE]";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut plan = Plan {
        dir: args
            .next()
            .filter(|dir| !dir.starts_with('-'))
            .ok_or(USAGE)?
            .into(),
        keys: 10_000_000,
        elements: 1_000_000,
        edits: usize::MAX,
        edits_together: EDITS_TOGETHER_MAX,
        trace: None,
        deltas: 200_000,
        copied_bytes: 64 << 20,
        rounds: 7,
    };
    let mut measures = MEASURES.to_vec();
    while let Some(name) = args.next() {
        let value = args.next().ok_or(USAGE)?;
        match &name[..] {
            "--keys" => plan.keys = value.parse()?,
            "--elements" => plan.elements = value.parse()?,
            "--edits" => {
                plan.edits = value.parse()?;
                plan.edits_together = plan.edits.min(EDITS_TOGETHER_MAX);
            }
            "--trace" => plan.trace = Some(value.into()),
            "--deltas" => plan.deltas = value.parse()?,
            "--copied-mib" => plan.copied_bytes = value.parse::<usize>()? << 20,
            "--rounds" => plan.rounds = value.parse()?,
            "--only" => {
                let names: Vec<&str> = value.split(',').collect();
                let is_known = |name: &&str| MEASURES.iter().any(|known| known.0 == *name);
                if !names.iter().all(is_known) {
                    return Err(USAGE.into());
                }
                measures.retain(|(name, _)| names.contains(name));
            }
            _ => return Err(USAGE.into()),
        }
    }
    let dir = plan.dir;
    for (name, measure) in measures {
        eprintln!("state_cost: {name}");
        plan.dir = dir.join(name);
        std::fs::create_dir_all(&plan.dir)?;
        measure(&plan)?;
        std::fs::remove_dir_all(&plan.dir)?;
    }
    Ok(())
}
