//! What applications are told that concerns the server and not their contexts: that it stops, and
//! that an instance's memory has grown. Those of an upgrade are in `upgrade.rs`, looks at updates in
//! `inspecting.rs`.
//!
//! *Stop*: when nothing comes in any more, and what has come has ended, contexts that have a warm
//! instance are told, many at a time, as an update of little fuel: it may write, and that is durable
//! before the shard leaves. Nothing holds the stop up: what has not ended in the time for all of them is
//! stopped between two slices, and a failure is logged.
//!
//! *Low memory*: an instance is told behind the turn that has let it grow, and before it is kept. As a
//! query, where it is: in other hands its memory would be another's. Why so: `decisions/0014-lifecycle-hooks.md`.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use corelet_wasm_host::{Entry, Failure, Finished, GuestLog, Hook, LogLevel, Turn};

use crate::context::{Context, InUse};
use crate::error::CallError;
use crate::guest_log::TurnLog;
use crate::inspecting::refuse_question;
use crate::live::is_unused;
use crate::shard::{Shard, Started, settle};
use crate::statistics::Row;
use crate::timers::NODE_CALLER;
use crate::turn::{Begin, What, poll_slice};
use crate::warm_sum::Warm;

/// Contexts that are told at the same time that the server stops: what they write shares a batch.
const AT_ONCE: usize = 64;

/// Contexts of which it is said how they have failed; the others are counted.
const FAILURES_SAID_MAX: u64 = 16;

/// Slices of one telling that memory is low, which has no more fuel than one: some of what a guest does
/// takes time and no fuel.
const LOW_MEMORY_SLICES: usize = 4;

/// Who was told that the server stops.
#[derive(Default)]
struct Stopping {
    told: u64,
    failed: u64,
    /// Not told, for want of time or because something of theirs still runs.
    left: u64,
}

impl Shard {
    /// Tells contexts that the server stops.
    pub(crate) async fn tell_of_stop(self: &Rc<Self>) {
        let until = Instant::now() + self.bounds.stop_hooks_timeout;
        let contexts = self.warm.all(|context| {
            let is_warm = !context.warm.borrow().is_empty();
            is_warm && context.code().module.has_hook(Hook::Stop)
        });
        if contexts.is_empty() {
            return;
        }
        let mut stopping = Stopping::default();
        for some in contexts.chunks(AT_ONCE) {
            let mut telling = Vec::with_capacity(some.len());
            for context in some {
                let may_be_told = is_unused(context) && self.check_service(context.id).is_ok();
                if !may_be_told || Instant::now() >= until {
                    stopping.left += 1;
                    continue;
                }
                let context = InUse::new(Rc::clone(context));
                let started = self.start(&context, stop_turn(&context, until));
                telling.push((context, started));
            }
            for (context, started) in telling {
                match told(started).await {
                    Ok(()) => stopping.told += 1,
                    Err(_) if stopping.failed >= FAILURES_SAID_MAX => stopping.failed += 1,
                    Err(error) => {
                        stopping.failed += 1;
                        // Whatever the error says of the time for a call.
                        let is_late = Instant::now() >= until;
                        tracing::warn!(shard = self.id.number(), context = %context.id, %error, is_late, "a context was told that the server stops, and has failed");
                    }
                }
            }
        }
        let Stopping { told, failed, left } = stopping;
        tracing::info!(
            shard = self.id.number(),
            told,
            failed,
            left,
            "contexts were told that the server stops"
        );
    }

    /// Tells an instance that is about to be kept if its memory has grown too much. Gives it back if it
    /// is still good.
    pub(crate) fn tell_of_memory(&self, context: &Rc<Context>, used: Warm) -> Option<Warm> {
        match used.instance.is_low_on_memory() {
            false => Some(used),
            true => self.tell_that_memory_is_low(context, used),
        }
    }

    #[cold]
    fn tell_that_memory_is_low(&self, context: &Rc<Context>, used: Warm) -> Option<Warm> {
        let Warm {
            instance,
            seen,
            is_used,
        } = used;
        self.stats.low_memory_told.one();
        let limits = self.host.limits();
        let fuel_max = limits.low_memory_fuel_max.min(limits.slice_fuel);
        let hlc = self.clock.tick();
        let state = self.view_of_query(context).with_origin(hlc, 0);
        let mut running = instance.run(Turn {
            entry: Entry::Hook(Hook::LowMemory),
            args: Bytes::new(),
            context: *context.id.as_bytes(),
            caller: Arc::from(NODE_CALLER),
            author: *self.author.as_bytes(),
            now_nanos: hlc.micros() * 1_000,
            seed: self.clock.seed(),
            state_version: context.standing.get().version,
            fuel_max,
            queries: 0,
            state: Box::new(state),
        });
        let mut slices = 1;
        let finished = loop {
            match poll_slice(&mut running) {
                Poll::Ready(finished) => break finished,
                Poll::Pending if refuse_question(&mut running) => {}
                Poll::Pending if slices < LOW_MEMORY_SLICES => slices += 1,
                Poll::Pending => {
                    break running.stop(Failure::OutOfFuel {
                        limit: "low_memory_fuel_max",
                        max: fuel_max,
                    });
                }
            }
        };
        let Finished {
            instance,
            outcome,
            mut logs,
            fuel_used,
            ..
        } = finished;
        let unpriced = (slices as u64 - 1).saturating_mul(limits.slice_fuel);
        self.spend(context, fuel_used.saturating_add(unpriced));
        let succeeded = outcome.is_ok();
        if let Err(failure) = outcome {
            self.stats.low_memory_failed.one();
            let message = format!("it was told that little memory is left, and failed: {failure}");
            let level = LogLevel::Error;
            logs.push(GuestLog { level, message });
        }
        if !logs.is_empty() {
            let log = TurnLog {
                method: Arc::from(Hook::LowMemory.name()),
                began: hlc,
                succeeded,
                lines: logs,
            };
            // What it remembers may not be durable yet.
            drop(self.commits.barrier(context, Some(log)));
        }
        instance.map(|instance| Warm {
            instance,
            seen,
            is_used,
        })
    }
}

fn stop_turn(context: &Context, until: Instant) -> Begin {
    Begin {
        what: What::Stop,
        row: Row::NONE,
        args: Bytes::new(),
        caller: Arc::from(NODE_CALLER),
        deadline: until,
        upgrades: context.upgrades.get(),
        keyed: None,
        asked: None,
        promise: None,
    }
}

/// Waits until what a context has done is durable.
async fn told(started: Result<Started, CallError>) -> Result<(), CallError> {
    let executed = started?.end().await?;
    settle(executed).await?;
    Ok(())
}
