//! What keys, the trie, lists, texts, deltas of other nodes and copies cost, as `state_cost`
//! tells it: a program of the store's that works on ledgers without a server, so that
//! figures of a microsecond are not lost in those of a request. It is run on the core that the server otherwise has; how each figure comes about
//! stands in `store/examples/state_cost/`.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::figure::Fact;
use crate::run::{Found, Plan};

/// One line of the program's output.
#[derive(Deserialize)]
struct Line {
    name: String,
    value: String,
    /// What the project wants, if it wants anything.
    aim: Option<String>,
    #[serde(default)]
    reached: bool,
}

pub(crate) fn state(plan: &Plan) -> Result<Found> {
    (plan.say)("state: what ledgers cost; takes minutes with many keys");
    let mut command = Command::new("taskset");
    command
        .args(["-c", &plan.programs.core.to_string()])
        .arg(&plan.programs.state_cost)
        .arg(plan.scratch.join("state"))
        .args(["--keys", &(10 * plan.keys).to_string()])
        .args(["--elements", &plan.keys.to_string()])
        .args(["--deltas", &(plan.keys / 5).to_string()])
        .args(["--copied-mib", &(plan.keys >> 14).max(1).to_string()])
        .args(["--rounds", &plan.rounds.to_string()]);
    if let Some(edits) = plan.edits {
        command.args(["--edits", &edits.to_string()]);
    }
    match plan.trace.is_file() {
        true => drop(command.arg("--trace").arg(&plan.trace)),
        false => (plan.say)(
            "state: the recorded trace is not there, so typing is made up: scripts/trace.sh brings it",
        ),
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("run state_cost: make build builds it")?;
    ensure!(output.status.success(), "state_cost failed");
    let output = String::from_utf8(output.stdout).context("state_cost prints UTF-8")?;
    let mut found = Found::default();
    for line in output.lines() {
        let line: Line =
            serde_json::from_str(line).with_context(|| format!("state_cost printed {line}"))?;
        let value = match (line.aim, line.reached) {
            (None, _) => line.value,
            (Some(aim), true) => format!("{} (aim {aim}: reached)", line.value),
            (Some(aim), false) => format!("{} (aim {aim}: MISSED)", line.value),
        };
        found.facts.push(Fact::new(line.name, value));
    }
    Ok(found)
}
