//! What state costs, inside one process and on a real disk: `state_cost DIR [--keys N]
//! [--elements N] [--rounds N]`. Prints one JSON object a line: `name`, `value` and, where
//! the project has set itself an aim, `aim` and `reached`. `make bench` puts them
//! into its table.
//!
//! Every ratio is between two sides of the same run that take turns, and a median
//! over the rounds: single figures say more about the machine than about the ledger.

mod keys;
mod ledger;
mod lists;
mod merkle;
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
    /// Elements of the long list, and edits of the text.
    elements: usize,
    /// Rounds of each comparison.
    rounds: usize,
}

const USAGE: &str = "usage: state_cost DIR [--keys N] [--elements N] [--rounds N]";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut plan = Plan {
        dir: args.next().ok_or(USAGE)?.into(),
        keys: 10_000_000,
        elements: 1_000_000,
        rounds: 7,
    };
    while let Some(name) = args.next() {
        let value = args.next().ok_or(USAGE)?;
        match &name[..] {
            "--keys" => plan.keys = value.parse()?,
            "--elements" => plan.elements = value.parse()?,
            "--rounds" => plan.rounds = value.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    keys::measure(&plan)?;
    merkle::measure(&plan)?;
    lists::measure(&plan)?;
    texts::measure(&plan)
}
