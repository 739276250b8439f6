//! What a `set` costs in a context that holds ten million keys, against the same
//! calls in an empty one.
//!
//! The calls are the same in both: 1024 keys in turn, which in the large
//! context lie evenly among all its keys and in the other are all there is.
//! The large context is filled through the API like any client would. The
//! baseline goes through the same, because part of the difference is LMDB's:
//! scattered keys dirty more pages per transaction.

use anyhow::Result;
use serde_json::json;

use crate::figure::{Figure, Runs, Target};
use crate::load::{COUNTER, Load};
use crate::run::{Found, Plan};
use crate::subject::{Kind, Subject, call_body};

/// Keys that the measured calls write to.
const KEYS_WRITTEN: u64 = 1024;
const VALUE: &str = "a value that is neither short nor long, sixty-four bytes of text.";

pub(crate) fn large_context(plan: &Plan) -> Result<Found> {
    let keys = 10 * plan.keys;
    let mut found = Found::default();
    for (kind, target) in [
        (Kind::Corelet, Some(Target::AtMost(1.5))),
        (Kind::Baseline, None),
    ] {
        let subject = Subject::start(
            kind,
            &plan.programs,
            &plan.scratch.join(format!("large-{kind:?}")),
            &[],
        )?;
        let application = subject.install(&plan.kv)?;
        let large = subject.create_context(&application)?;
        let empty = subject.create_context(&application)?;
        fill(plan, &subject, &large, keys)?;
        let bodies = |context: &str| -> Vec<String> {
            let apart = (keys / KEYS_WRITTEN).max(1);
            (0..KEYS_WRITTEN)
                .map(|index| set(context, &format!("{:08}", index * apart)))
                .collect()
        };
        let (large, empty) = (bodies(&large), bodies(&empty));
        for bodies in [&large, &empty] {
            plan.load(bodies).warm_up(&subject, plan.warm_up_seconds)?;
        }
        let (mut in_large, mut in_empty) = (Runs::default(), Runs::default());
        for round in 0..plan.rounds {
            in_large.push(&plan.load(&large).run(&subject)?);
            in_empty.push(&plan.load(&empty).run(&subject)?);
            (plan.say)(&format!(
                "large, {}, round {} of {}",
                subject.name(),
                round + 1,
                plan.rounds
            ));
        }
        let measure = format!("set in a context of {keys} keys, {}", subject.name());
        let figure = Figure::of_costs(&measure, in_large, "an empty context", in_empty, target);
        (plan.say)(&format!(
            "{measure}: {:.2} of one in an empty context",
            figure.ratio
        ));
        found.figures.push(figure);
        subject.stop()?;
    }
    Ok(found)
}

/// Writes keys 0, 1, 2… until there are enough of them.
fn fill(plan: &Plan, subject: &Subject, context: &str, keys: u64) -> Result<()> {
    let body = [set(context, COUNTER)];
    let mut filled = 0;
    while filled < keys {
        // Repeats a few keys rather than leaving a gap: what was in flight when
        // the tool stopped is not counted.
        let load = Load {
            counting_from: Some(filled),
            ..plan.load(&body)
        };
        filled += load.run(subject)?.requests;
        (plan.say)(&format!(
            "large, {}: {filled} of {keys} keys written",
            subject.name(),
        ));
    }
    Ok(())
}

fn set(context: &str, number: &str) -> String {
    call_body(
        context,
        "set",
        &json!({ "key": format!("key-{number}"), "value": VALUE }),
    )
}
