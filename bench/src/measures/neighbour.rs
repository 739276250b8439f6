//! The latency of a cheap read while other contexts of the same shard do their
//! worst: an endless loop, and that together with a memory bomb and a flood of
//! log lines.
//!
//! For each of them one client keeps calling a method of `bench/guests/rude.wat`
//! that never returns by itself, so that at any moment one is running until it is
//! stopped and the next one begins. Meanwhile reads of one value are measured as in
//! `throughput.rs`, undisturbed and beside them in turns. Every answer to the rude
//! ones must be the error that is theirs; the first of each is shown. The figure at one
//! connection is there because a busy server hides a stall: at 64 connections a
//! request waits for 63 others anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::figure::{Fact, Figure, Runs, Target};
use crate::load::{Load, Observed};
use crate::run::{Found, Plan};
use crate::subject::{Kind, Subject, call_body};

const RUDE: &str = include_str!("../../guests/rude.wat");

/// The number at which nothing hides a stall.
const CONNECTIONS_ALONE: u32 = 1;

/// A way to bother others, and how it ends.
struct Way {
    method: &'static str,
    what: &'static str,
    error: &'static str,
}

const WAYS: [Way; 3] = [
    Way {
        method: "spin",
        what: "endless loops",
        error: "out_of_fuel",
    },
    Way {
        method: "bomb",
        what: "memory bombs",
        error: "out_of_memory",
    },
    Way {
        method: "yell",
        what: "floods of log lines",
        error: "limit_exceeded",
    },
];

/// The errors of all ways.
const ERRORS: [&str; 3] = [WAYS[0].error, WAYS[1].error, WAYS[2].error];

/// A context that is called in one way, and what came of it.
struct Rude {
    way: &'static Way,
    body: String,
    calls: u64,
    first_error: Option<Value>,
}

pub(crate) fn neighbour(plan: &Plan) -> Result<Found> {
    (plan.say)("neighbour: starting the server");
    // The usual budget keeps a loop going for longer than a quick run lasts.
    let settings: &[_] = if plan.check_all {
        &[("CORELET__LIMITS__QUERY_FUEL_MAX", "100000000")]
    } else {
        &[]
    };
    let subject = Subject::start(
        Kind::Corelet,
        &plan.programs,
        &plan.scratch.join("neighbour"),
        settings,
    )?;
    let kv = subject.install(&plan.kv)?;
    let reader = subject.create_context(&kv)?;
    let application = subject.install(&rude()?)?;
    let mut all = Vec::new();
    for way in &WAYS {
        let context = subject.create_context(&application)?;
        all.push(Rude {
            way,
            body: call_body(&context, way.method, &json!({})),
            calls: 0,
            first_error: None,
        });
    }

    subject.call(&call_body(
        &reader,
        "set",
        &json!({ "key": "k", "value": "v" }),
    ))?;
    let get = [call_body(&reader, "get", &json!({ "key": "k" }))];
    let load = |connections| Load {
        connections,
        excused: &ERRORS,
        ..plan.load(&get)
    };
    load(plan.connections).warm_up(&subject, plan.warm_up_seconds)?;

    let mut figures = Vec::new();
    for (beside_what, rude_ones) in [
        ("an endless loop", 1),
        ("a loop, a memory bomb and a log flood at once", WAYS.len()),
    ] {
        for connections in [plan.connections, CONNECTIONS_ALONE] {
            let (mut undisturbed, mut beside) = (Runs::default(), Runs::default());
            for round in 0..plan.rounds {
                undisturbed.push(&load(connections).run(&subject)?);
                let rude = &mut all[..rude_ones];
                beside.push(&while_bothered(&subject, rude, || {
                    load(connections).run(&subject)
                })?);
                (plan.say)(&format!(
                    "neighbour, beside {beside_what}, {connections} connections, round {} of {}",
                    round + 1,
                    plan.rounds
                ));
            }
            figures.push(Figure::of_tails(
                &format!("read beside {beside_what}, {connections} connections"),
                beside,
                "undisturbed",
                undisturbed,
                Some(Target::AtMost(10.0)),
            ));
        }
    }
    subject.stop()?;
    let mut facts = Vec::new();
    for rude in all {
        let what = rude.way.what;
        let error = rude.first_error.with_context(|| {
            format!("no one of the {what} was stopped while reads were measured")
        })?;
        facts.push(Fact::new(format!("{what} stopped"), rude.calls.to_string()));
        facts.push(Fact::new("the error they got", error.to_string()));
    }
    Ok(Found { figures, facts })
}

/// The application whose methods never return.
fn rude() -> Result<Vec<u8>> {
    let module = wat::parse_str(RUDE).context("assemble rude.wat")?;
    let module = corelet_build::embed_world(&module)?;
    Ok(corelet_build::component_of(&module)?)
}

/// Measures while other threads call these without a pause.
fn while_bothered(
    subject: &Subject,
    rude: &mut [Rude],
    measure: impl FnOnce() -> Result<Observed>,
) -> Result<Observed> {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let enough = &enough;
        let bothering: Vec<_> = rude
            .iter_mut()
            .map(|rude| scope.spawn(move || rude.bother(subject, enough)))
            .collect();
        let observed = measure();
        enough.store(true, Ordering::Relaxed);
        for client in bothering {
            client
                .join()
                .map_err(|_| anyhow!("a client that bothers others panicked"))??;
        }
        observed
    })
}

impl Rude {
    fn bother(&mut self, subject: &Subject, enough: &AtomicBool) -> Result<()> {
        while !enough.load(Ordering::Relaxed) {
            let answer = subject.rpc(&self.body)?;
            let error = &answer["error"];
            ensure!(
                error["data"]["name"] == self.way.error,
                "one of the {} ended with {answer}",
                self.way.what
            );
            self.first_error.get_or_insert_with(|| error.clone());
            self.calls += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use corelet_wasm_host::{Entry, Failure, Host, HostConfig, MethodKind, NullState, Turn};

    use super::*;

    #[test]
    fn each_way_is_stopped_by_its_own_limit() {
        let host = Host::new(HostConfig::new(8)).unwrap();
        let module = host.load(&rude().unwrap()).unwrap();
        for way in &WAYS {
            let method = module.description().method(way.method).unwrap();
            assert_eq!(method.kind, MethodKind::Query);
            let mut running = module.instantiate().unwrap().run(Turn {
                entry: Entry::Call {
                    method: way.method.into(),
                    kind: MethodKind::Query,
                },
                args: bytes::Bytes::from_static(b"{}"),
                context: [0; 32],
                caller: "test".into(),
                author: [0; 32],
                now_nanos: 0,
                seed: [0; 32],
                state_version: 0,
                fuel_max: 1_000_000_000,
                queries: 0,
                state: Box::new(NullState),
            });
            let mut context = Context::from_waker(Waker::noop());
            let finished = loop {
                if let Poll::Ready(finished) = Pin::new(&mut running).poll(&mut context) {
                    break finished;
                }
            };
            let failure = finished.outcome.unwrap_err();
            let is_its_own = match way.error {
                "out_of_fuel" => matches!(failure, Failure::OutOfFuel { .. }),
                "out_of_memory" => matches!(failure, Failure::OutOfMemory { .. }),
                _ => matches!(failure, Failure::LimitExceeded { .. }),
            };
            assert!(is_its_own, "{}: {failure}", way.method);
        }
    }
}
