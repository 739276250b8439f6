//! What it costs to append to a long list, against the same calls that append to short
//! ones in turn.
//!
//! The short ones are many, so that they stay short while they are measured. All are
//! filled through the API like any client would. Others have no lists, so
//! there is nothing to compare with.

use anyhow::Result;
use serde_json::json;

use crate::figure::{Figure, Runs, Target};
use crate::load::{COUNTER, Load};
use crate::run::{Found, Plan};
use crate::subject::{Kind, Subject, call_body};

/// Lists that the short appends go to in turn.
const SHORT_LISTS: u64 = 1024;

pub(crate) fn long_list(plan: &Plan) -> Result<Found> {
    let mut found = Found::default();
    let scratch = plan.scratch.join("long-list");
    let subject = Subject::start(Kind::Corelet, &plan.programs, &scratch, &[])?;
    let application = subject.install(&plan.docs)?;
    let [long, short] = [(), ()].map(|()| subject.create_context(&application));
    let (long, short) = (long?, short?);
    let to_long = vec![comment(&long, "long", COUNTER)];
    fill(plan, &subject, &to_long)?;
    let to_short: Vec<String> = (0..SHORT_LISTS)
        .map(|n| comment(&short, &format!("short {n}"), "remark"))
        .collect();
    for bodies in [&to_long, &to_short] {
        plan.load(bodies).warm_up(&subject, plan.warm_up_seconds)?;
    }
    let (mut in_long, mut in_short) = (Runs::default(), Runs::default());
    for round in 0..plan.rounds {
        in_long.push(&plan.load(&to_long).run(&subject)?);
        in_short.push(&plan.load(&to_short).run(&subject)?);
        (plan.say)(&format!("list, round {} of {}", round + 1, plan.rounds));
    }
    let measure = format!("append to a list of {}", plan.keys);
    found.figures.push(Figure::of_costs(
        &measure,
        in_long,
        "short lists",
        in_short,
        Some(Target::AtMost(1.5)),
    ));
    subject.stop()?;
    Ok(found)
}

/// Appends until the list is as long as it has to be.
fn fill(plan: &Plan, subject: &Subject, body: &[String]) -> Result<()> {
    let mut filled = 0;
    while filled < plan.keys {
        let load = Load {
            counting_from: Some(filled),
            check: true,
            ..plan.load(body)
        };
        filled += load.run(subject)?.requests;
        (plan.say)(&format!("list: {filled} of {} appended", plan.keys));
    }
    Ok(())
}

/// About nothing of a document that need not be there.
fn comment(context: &str, title: &str, remark: &str) -> String {
    let args = json!({ "title": title, "at": 0, "count": 0, "remark": remark });
    call_body(context, "comment", &args)
}
