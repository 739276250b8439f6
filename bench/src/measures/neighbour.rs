//! The latency of a cheap read while another context of the same shard runs an
//! endless loop.
//!
//! One client keeps calling `spin` (`bench/guests/spin.wat`), which never
//! returns, so that at any moment a loop is running until its fuel is used up
//! and the next one begins. Meanwhile reads of one value are measured as in
//! `throughput.rs`, undisturbed and beside the loop in turns. Every answer to
//! `spin` must be an error; the first one is shown. The figure at one
//! connection is there because a busy server hides a stall: at 64 connections a
//! request waits for 63 others anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::figure::{Fact, Figure, Runs, Target};
use crate::load::{Load, Observed};
use crate::run::{Found, Plan};
use crate::subject::{Kind, Subject, call_body};

const SPIN: &str = include_str!("../../guests/spin.wat");

/// The one that the target is about, and the one that hides nothing.
const CONNECTIONS_ALONE: u32 = 1;

/// What came of the calls that never return by themselves.
struct Spun {
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
    let spinner = subject.create_context(&subject.install(&spinner()?)?)?;

    subject.call(&call_body(
        &reader,
        "set",
        &json!({ "key": "k", "value": "v" }),
    ))?;
    let get = [call_body(&reader, "get", &json!({ "key": "k" }))];
    let spin = call_body(&spinner, "spin", &json!({}));
    let load = |connections| Load {
        connections,
        // What the loops get.
        excused: Some("out_of_fuel"),
        ..plan.load(&get)
    };
    load(plan.connections).warm_up(&subject, plan.warm_up_seconds)?;

    let mut figures = Vec::new();
    let mut spun = Spun {
        calls: 0,
        first_error: None,
    };
    for connections in [plan.connections, CONNECTIONS_ALONE] {
        let (mut undisturbed, mut beside) = (Runs::default(), Runs::default());
        for round in 0..plan.rounds {
            undisturbed.push(&load(connections).run(&subject)?);
            beside.push(&while_spinning(&subject, &spin, &mut spun, || {
                load(connections).run(&subject)
            })?);
            (plan.say)(&format!(
                "neighbour, {connections} connections, round {} of {}",
                round + 1,
                plan.rounds
            ));
        }
        let target = (connections == plan.connections).then_some(Target::AtMost(10.0));
        let measure = format!("read beside an endless loop, {connections} connections");
        figures.push(Figure::of_tails(
            &measure,
            beside,
            "undisturbed",
            undisturbed,
            target,
        ));
    }
    subject.stop()?;
    let error = spun
        .first_error
        .context("the endless loop was never stopped while reads were measured")?;
    Ok(Found {
        figures,
        facts: vec![
            Fact::new("endless loops stopped", spun.calls.to_string()),
            Fact::new("the error they got", error.to_string()),
        ],
    })
}

/// The application that never returns.
fn spinner() -> Result<Vec<u8>> {
    let module = wat::parse_str(SPIN).context("assemble spin.wat")?;
    let module = corelet_build::embed_world(&module)?;
    Ok(corelet_build::component_of(&module)?)
}

/// Measures while another thread calls `spin` without a pause.
fn while_spinning(
    subject: &Subject,
    spin: &str,
    spun: &mut Spun,
    measure: impl FnOnce() -> Result<Observed>,
) -> Result<Observed> {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let spinning = scope.spawn(|| -> Result<()> {
            while !enough.load(Ordering::Relaxed) {
                let answer = subject.rpc(spin)?;
                match answer.get("error") {
                    Some(error) => spun.first_error.get_or_insert_with(|| error.clone()),
                    None => bail!("an endless loop returned: {answer}"),
                };
                spun.calls += 1;
            }
            Ok(())
        });
        let observed = measure();
        enough.store(true, Ordering::Relaxed);
        spinning
            .join()
            .map_err(|_| anyhow!("the spinning client panicked"))??;
        observed
    })
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use corelet_wasm_host::{Entry, Failure, Host, HostConfig, MethodKind, NullState, Turn};

    use super::*;

    #[test]
    fn the_spinner_is_an_application_that_only_fuel_stops() {
        let host = Host::new(HostConfig::new(8)).unwrap();
        let module = host.load(&spinner().unwrap()).unwrap();
        let method = module.description().method("spin").unwrap();
        assert_eq!(method.kind, MethodKind::Query);
        let mut running = module.instantiate().unwrap().run(Turn {
            entry: Entry::Call {
                method: "spin".into(),
                kind: MethodKind::Query,
            },
            args: bytes::Bytes::from_static(b"{}"),
            context: [0; 32],
            caller: "test".into(),
            author: [0; 32],
            now_nanos: 0,
            seed: [0; 32],
            state_version: 0,
            fuel_max: 10_000_000,
            state: Box::new(NullState),
        });
        let mut context = Context::from_waker(Waker::noop());
        let finished = loop {
            if let Poll::Ready(finished) = Pin::new(&mut running).poll(&mut context) {
                break finished;
            }
        };
        let failure = finished.outcome.unwrap_err();
        assert!(matches!(failure, Failure::OutOfFuel { .. }), "{failure}");
    }
}
