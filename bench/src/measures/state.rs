//! What keys, lists, texts, deltas of other nodes and copies cost, as `state_cost` tells it: a
//! program of the store's that works on ledgers without a server, so that figures of a
//! microsecond are not lost in those of a request. It is run on the core that the server
//! otherwise has; but for copies, which commands make that have a machine to themselves: one
//! thread reads and compares there, and one writes. How each figure comes about stands in `store/examples/state_cost/`. What it
//! tells of the trie is in `merkle.rs`, beside what a server says to that.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::figure::Fact;
use crate::run::{Found, Plan};

/// One line of the program's output.
#[derive(Deserialize)]
pub(super) struct Line {
    name: String,
    value: String,
    /// What the project wants, if it wants anything.
    aim: Option<String>,
    #[serde(default)]
    reached: bool,
    /// What the trie takes of a write, if the line is about that.
    pub(super) trie: Option<TrieTakes>,
}

/// Processor time that a ledger spends for the trie of a context, with each write.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct TrieTakes {
    /// How many keys the context has.
    pub(super) keys: u64,
    pub(super) micros: f64,
}

impl Line {
    pub(super) fn fact(self) -> Fact {
        let value = match (self.aim, self.reached) {
            (None, _) => self.value,
            (Some(aim), true) => format!("{} (aim {aim}: reached)", self.value),
            (Some(aim), false) => format!("{} (aim {aim}: MISSED)", self.value),
        };
        Fact::new(self.name, value)
    }
}

pub(crate) fn state(plan: &Plan) -> Result<Found> {
    (plan.say)("state: what ledgers cost; takes minutes with many keys");
    if !plan.trace.is_file() {
        (plan.say)(
            "state: the recorded trace is not there, so typing is made up: scripts/trace.sh brings it",
        );
    }
    let core = [plan.programs.core];
    let mut lines = state_cost(plan, "keys,lists,texts,together,remote", &core)?;
    lines.extend(state_cost(plan, "copies", &[])?);
    Ok(Found {
        figures: Vec::new(),
        facts: lines.into_iter().map(Line::fact).collect(),
    })
}

/// Runs these measures of `state_cost`, with commas between them, on these cores; on all if none
/// are given.
pub(super) fn state_cost(plan: &Plan, only: &str, cores: &[usize]) -> Result<Vec<Line>> {
    let program = &plan.programs.state_cost;
    let mut command = match cores {
        [] => Command::new(program),
        cores => {
            let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
            let mut command = Command::new("taskset");
            command.args(["-c", &cores.join(",")]).arg(program);
            command
        }
    };
    command
        .arg(plan.scratch.join("state"))
        .args(["--only", only])
        .args(["--keys", &(10 * plan.keys).to_string()])
        .args(["--elements", &plan.keys.to_string()])
        .args(["--deltas", &(plan.keys / 5).to_string()])
        .args(["--copied-mib", &(plan.keys >> 14).max(1).to_string()])
        .args(["--rounds", &plan.rounds.to_string()]);
    if let Some(edits) = plan.edits {
        command.args(["--edits", &edits.to_string()]);
    }
    if plan.trace.is_file() {
        command.arg("--trace").arg(&plan.trace);
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("run state_cost: make build builds it")?;
    ensure!(output.status.success(), "state_cost failed");
    let output = String::from_utf8(output.stdout).context("state_cost prints UTF-8")?;
    let lines = output.lines();
    lines
        .map(|line| {
            serde_json::from_str(line).with_context(|| format!("state_cost printed {line}"))
        })
        .collect()
}
