//! What the Merkle trie of a context takes of a write.
//!
//! How long it takes is what `state_cost` tells, which measures it in a ledger without a server and
//! in a model of one. Held against that is what a server needs for the same writes as
//! clients send them: one `set` a call, to all keys of a context in turn, scattered, so that
//! checkpoints write as many nodes. Both are processor time, of one core.

use anyhow::{Result, ensure};
use serde_json::json;

use super::state::{TrieTakes, state_cost};
use crate::figure::{Fact, Series, Target};
use crate::load::Load;
use crate::run::{Found, Plan};
use crate::subject::{Kind, Subject, call_body};

/// The most of a served write that may be the trie's.
const AIM: Target = Target::AtMost(0.3);
/// As long as those of `state_cost`.
const VALUE: &str = "a value that is neither short nor long, sixty-four bytes of text";
/// Keys that are written with one run of the load tool, which has a request for each in memory.
const KEYS_AT_ONCE: u64 = 20_000;
/// Most keys that are written to in turn while it is measured.
const KEYS_WRITTEN_MAX: u64 = 100_000;
/// Seconds after which a server that has not written that many is given up.
const PATIENCE_SECONDS: u32 = 64;

pub(crate) fn merkle(plan: &Plan) -> Result<Found> {
    let mut found = Found::default();
    for line in state_cost(plan, "merkle", &[plan.programs.core])? {
        let takes = line.trie;
        found.facts.push(line.fact());
        if let Some(takes) = takes {
            found.facts.extend(served(plan, takes)?);
        }
    }
    Ok(found)
}

/// What a server needs for a write, and how much of that is the trie's.
fn served(plan: &Plan, takes: TrieTakes) -> Result<[Fact; 2]> {
    let TrieTakes { keys, micros } = takes;
    let scratch = plan.scratch.join(format!("merkle-{keys}"));
    let subject = Subject::start(Kind::Corelet, &plan.programs, &scratch, &[])?;
    let application = subject.install(&plan.kv)?;
    let context = subject.create_context(&application)?;
    let numbers: Vec<u64> = (0..keys).collect();
    for numbers in numbers.chunks(KEYS_AT_ONCE as usize) {
        let bodies: Vec<String> = numbers.iter().map(|key| set(&context, *key)).collect();
        write_all(plan, &subject, &bodies)?;
    }
    let scattered = (0..keys.min(KEYS_WRITTEN_MAX)).map(|number| number * 7_919 % keys);
    let bodies: Vec<String> = scattered.map(|key| set(&context, key)).collect();
    plan.load(&bodies).warm_up(&subject, plan.warm_up_seconds)?;
    let mut server = Series::default();
    for round in 0..plan.rounds {
        server.push(plan.load(&bodies).run(&subject)?.server_micros);
        let rounds = plan.rounds;
        (plan.say)(&format!(
            "merkle, {keys} keys, round {} of {rounds}",
            round + 1
        ));
    }
    subject.stop()?;
    let part = micros / server.median();
    let verdict = match AIM.reached(part) {
        true => "reached",
        false => "MISSED",
    };
    Ok([
        Fact::new(
            format!("the trie's part of a write to a server among {keys} keys, processor time"),
            format!("{part:.2} (aim <= 0.3: {verdict})"),
        ),
        Fact::new(
            format!("a write to a server among {keys} keys, processor time"),
            format!(
                "{:.2} us ({:.2}..{:.2})",
                server.median(),
                server.min(),
                server.max()
            ),
        ),
    ])
}

/// Sends each at least once, in a run that is as long as that takes.
fn write_all(plan: &Plan, subject: &Subject, bodies: &[String]) -> Result<()> {
    let mut seconds = 1;
    loop {
        let load = Load {
            seconds,
            ..plan.load(bodies)
        };
        if load.run(subject)?.requests >= bodies.len() as u64 + u64::from(plan.connections) {
            return Ok(());
        }
        ensure!(
            seconds < PATIENCE_SECONDS,
            "{} keys were not written within {seconds} s",
            bodies.len()
        );
        seconds *= 2;
    }
}

fn set(context: &str, key: u64) -> String {
    let args = json!({ "key": format!("key-{key:08}"), "value": VALUE });
    call_body(context, "set", &args)
}
