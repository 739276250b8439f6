//! What state costs, inside one process and on a real disk: `state_cost DIR [--keys N]
//! [--elements N] [--deltas N] [--copied-mib N] [--rounds N] [--only MEASURE,MEASURE]`. Prints
//! one JSON object a line: `name`, `value` and, where
//! the project has set itself an aim, `aim` and `reached`. `make bench` puts them
//! into its table.
//!
//! Every ratio is between two sides of the same run that take turns, and a median
//! over the rounds: single figures say more about the machine than about the ledger.

mod copies;
mod keys;
mod ledger;
mod lists;
mod merkle;
mod nodes;
mod remote;
mod report;
mod texts;

// The trie is private to the crate, and sees nothing of it.
#[expect(dead_code, unused_imports, reason = "only its costs are of interest")]
#[path = "../../src/trie/mod.rs"]
mod trie;

use std::error::Error;
use std::path::PathBuf;

/// What the measures share.
struct Plan {
    /// Where ledgers are made.
    dir: PathBuf,
    /// Keys of the large context.
    keys: u64,
    /// Elements of the long list, and four times the keys that are typed into a text.
    elements: usize,
    /// Deltas of other nodes.
    deltas: usize,
    /// Bytes of values in the contexts that are copied.
    copied_bytes: usize,
    /// Rounds of each comparison.
    rounds: usize,
}

type Measure = fn(&Plan) -> Result<(), Box<dyn Error>>;

const MEASURES: [(&str, Measure); 6] = [
    ("keys", keys::measure),
    ("merkle", merkle::measure),
    ("lists", lists::measure),
    ("texts", texts::measure),
    ("remote", remote::measure),
    ("copies", copies::measure),
];

const USAGE: &str = "usage: state_cost DIR [--keys N] [--elements N] [--deltas N] \
                     [--copied-mib N] [--rounds N] [--only MEASURE,MEASURE]";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut plan = Plan {
        dir: args.next().ok_or(USAGE)?.into(),
        keys: 10_000_000,
        elements: 1_000_000,
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
    for (name, measure) in measures {
        eprintln!("state_cost: {name}");
        measure(&plan)?;
    }
    Ok(())
}
