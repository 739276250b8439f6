//! Reads and durable writes at full load, Corelet against the baseline.
//!
//! Three kinds of load, each over 64 keep-alive connections: `get` of a 64-byte
//! value over 64 contexts, `set` of one over 64 contexts, and `set` to a single
//! context. Both servers stay up all the time and are loaded one at a time, in
//! turns, so that the machine's moods hit both. A write is answered when it is
//! on disk, in both.
//!
//! Before the rounds every answer of a warm-up run is looked at, and the
//! outputs of both servers are compared byte by byte.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::figure::{Fact, Figure, Runs, Target};
use crate::run::{Found, Plan};
use crate::subject::{Kind, Subject, call_body};

/// As many contexts as connections.
const CONTEXTS: usize = 64;
/// Different keys that the writes of one context go to.
const KEYS_PER_CONTEXT: usize = 16;
/// The length of a written value.
const VALUE_BYTES: usize = 64;

const KINDS: [(&str, &str); 3] = [
    ("read", "read call through WASM, 64 contexts"),
    ("write", "durable write, 64 contexts"),
    ("hot", "durable write, one hot context"),
];

/// One server with the bodies for each kind of load.
struct Side {
    subject: Subject,
    bodies: [Vec<String>; 3],
    runs: [Runs; 3],
}

impl Side {
    fn start(kind: Kind, plan: &Plan) -> Result<Self> {
        let subject = Subject::start(
            kind,
            &plan.programs,
            &plan.scratch.join(format!("throughput-{kind:?}")),
            &[],
        )?;
        let application = subject.install(&plan.kv)?;
        let contexts = subject.create_contexts(&application, CONTEXTS)?;
        let hot = &contexts[..1];
        let bodies = [
            bodies(&contexts, KEYS_PER_CONTEXT, get),
            bodies(&contexts, KEYS_PER_CONTEXT, set),
            bodies(hot, CONTEXTS * KEYS_PER_CONTEXT, set),
        ];
        Ok(Self {
            subject,
            bodies,
            runs: Default::default(),
        })
    }

    fn warm_up(&self, plan: &Plan) -> Result<()> {
        // Each key is written once first, so that no read ever finds nothing.
        for body in self.bodies[1].iter().chain(&self.bodies[2]) {
            self.subject.call(body)?;
        }
        for bodies in &self.bodies {
            plan.load(bodies)
                .warm_up(&self.subject, plan.warm_up_seconds)?;
        }
        Ok(())
    }

    /// A digest of what reads and writes answer, without what must differ: ids,
    /// roots and fuel.
    fn outputs(&self) -> Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        for body in self.bodies[0].iter().chain(&self.bodies[1]) {
            hasher
                .update(self.subject.call(body)?.to_string().as_bytes())
                .update(b"\n");
        }
        Ok(hasher.finalize())
    }
}

pub(crate) fn throughput(plan: &Plan) -> Result<Found> {
    (plan.say)("throughput: starting both servers and warming them up");
    let mut sides = [
        Side::start(Kind::Corelet, plan)?,
        Side::start(Kind::Baseline, plan)?,
    ];
    for side in &sides {
        side.warm_up(plan)?;
    }
    let outputs = sides[0].outputs()?;
    ensure!(
        outputs == sides[1].outputs()?,
        "the two servers answer the same calls differently"
    );

    for round in 0..plan.rounds {
        for (kind, (name, _)) in KINDS.iter().enumerate() {
            // Who goes first changes, so that neither always runs on a machine
            // warmed up by the other.
            for turn in 0..sides.len() {
                let side = &mut sides[(turn + round as usize) % 2];
                let observed = plan.load(&side.bodies[kind]).run(&side.subject)?;
                (plan.say)(&format!(
                    "{name}, round {} of {}: {} {:.0}/s, p99 {} us",
                    round + 1,
                    plan.rounds,
                    side.subject.name(),
                    observed.per_second(),
                    observed.p99
                ));
                side.runs[kind].push(&observed);
            }
        }
    }
    let [corelet, baseline] = sides;
    let mut figures: Vec<Figure> = KINDS
        .iter()
        .enumerate()
        .map(|(kind, (_, measure))| {
            // The hot context has its own target below.
            let target = (kind < 2).then_some(Target::AtLeast(1.0));
            Figure::of_rates(
                measure,
                corelet.runs[kind].clone(),
                "baseline",
                baseline.runs[kind].clone(),
                target,
            )
        })
        .collect();
    let [_, spread, hot] = corelet.runs;
    figures.push(Figure::of_rates(
        KINDS[2].1,
        hot,
        "corelet over 64 contexts",
        spread,
        Some(Target::AtLeast(0.8)),
    ));
    corelet.subject.stop()?;
    baseline.subject.stop()?;
    let facts = vec![
        Fact::new(
            "digest of all outputs, equal in both servers",
            outputs.to_hex().as_str(),
        ),
        Fact::new(
            "value and keys",
            format!("{VALUE_BYTES} bytes; {KEYS_PER_CONTEXT} keys per context"),
        ),
    ];
    Ok(Found { figures, facts })
}

/// One body per key and context; neighbours in the list belong to different
/// contexts.
fn bodies(contexts: &[String], keys: usize, body: fn(&str, usize) -> String) -> Vec<String> {
    (0..keys)
        .flat_map(|key| contexts.iter().map(move |context| body(context, key)))
        .collect()
}

fn get(context: &str, key: usize) -> String {
    call_body(context, "get", &json!({ "key": format!("key-{key:04}") }))
}

fn set(context: &str, key: usize) -> String {
    call_body(
        context,
        "set",
        &json!({ "key": format!("key-{key:04}"), "value": "v".repeat(VALUE_BYTES) }),
    )
}
