//! How long steps of the collector, the scrub and the sweep hold the thread that makes them, while a
//! ledger is filled and contexts are deleted. `state_cost` of the store tells it, which makes them as a shard's commit
//! thread does, on the core that the server otherwise has.

use anyhow::Result;

use super::state::{Line, state_cost};
use crate::run::{Found, Plan};

pub(crate) fn steps(plan: &Plan) -> Result<Found> {
    (plan.say)("steps: collector, scrub and sweep, while contexts are filled and deleted");
    let lines = state_cost(plan, "steps", &[plan.programs.core])?;
    Ok(Found {
        figures: Vec::new(),
        facts: lines.into_iter().map(Line::fact).collect(),
    })
}
