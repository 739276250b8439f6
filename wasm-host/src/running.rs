//! A turn that is running: a future that is pending exactly when a fuel slice
//! has ended. Dropping it stops the guest and discards the instance.
//!
//! Who polls it when is the shard's business.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use crate::costs;
use crate::description::MethodKind;
use crate::failure::{Failure, capped};
use crate::functions::is_json;
use crate::guest_state::NullState;
use crate::host::Shared;
use crate::host_context::{Facts, Phase, Progress};
use crate::instance::{Instance, failure_of};
use crate::stats::count;
use crate::turn::{Entry, Finished, Output, Turn};

/// A turn in progress.
#[must_use = "nothing runs before the first poll"]
pub struct Running {
    turn: Pin<Box<dyn Future<Output = Finished>>>,
    progress: Arc<Progress>,
    shared: Arc<Shared>,
    slices_before: u64,
    done: bool,
}

impl Running {
    pub(crate) fn new(instance: Instance, turn: Turn) -> Running {
        let progress = Arc::clone(&instance.store.data().progress);
        let shared = Arc::clone(&instance.module.linked.shared);
        count(&shared.stats.turns);
        progress.fuel_used.store(0, Ordering::Relaxed);
        Running {
            slices_before: progress.slices.load(Ordering::Relaxed),
            turn: Box::pin(run(instance, turn)),
            progress,
            shared,
            done: false,
        }
    }

    /// Slices that have ended so far.
    pub fn slices(&self) -> u64 {
        self.progress.slices.load(Ordering::Relaxed) - self.slices_before
    }

    /// Fuel used so far, while the turn is parked: at least this much. What is
    /// missing is less than two slices and the price of the last instruction or
    /// host call, which may be a long copy; the end of the turn tells exactly.
    pub fn fuel_used(&self) -> u64 {
        let by_slices = self.slices().saturating_mul(self.shared.limits.slice_fuel);
        self.progress
            .fuel_used
            .load(Ordering::Relaxed)
            .max(by_slices)
    }
}

impl Future for Running {
    type Output = Finished;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Finished> {
        let poll = self.turn.as_mut().poll(cx);
        if poll.is_ready() {
            self.done = true;
        } else {
            count(&self.progress.slices);
            count(&self.shared.stats.slices);
        }
        poll
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            count(&self.shared.stats.turns_cancelled);
        }
    }
}

async fn run(mut instance: Instance, turn: Turn) -> Finished {
    let Turn {
        entry,
        args,
        context,
        caller,
        now_nanos,
        seed,
        state_version,
        fuel_max,
        state,
    } = turn;
    let phase = match &entry {
        Entry::Init
        | Entry::Call {
            kind: MethodKind::Update,
            ..
        } => Phase::Update,
        Entry::Call {
            kind: MethodKind::Query,
            ..
        } => Phase::Query,
    };
    let fuel = fuel_max.saturating_sub(costs::TURN.of_bytes(args.len() as u64));
    let facts = Facts {
        context,
        caller,
        now_nanos,
        seed,
        state_version,
        fuel_max,
    };
    instance.store.data_mut().begin(phase, facts, state, fuel);

    let ready = before(&mut instance, args.len() as u64, fuel);
    let has_run = ready.is_ok();
    let (outcome, fuel_left) = match ready {
        Ok(()) => {
            let answer = enter_guest(&mut instance, &entry, &args).await;
            let fuel_left = instance.store.get_fuel().unwrap_or(0);
            checked(&instance, answer, fuel_left, fuel_max)
        }
        // What the store holds now is left from another turn.
        Err(failure @ Failure::OutOfFuel { .. }) => (Err(failure), 0),
        Err(failure) => (Err(failure), fuel_max),
    };

    let context = instance.store.data_mut();
    let mut events = std::mem::take(&mut context.events);
    let logs = std::mem::take(&mut context.logs);
    let state = context.end().unwrap_or_else(|| Box::new(NullState));
    if let Err(failure) = &outcome {
        events.clear();
        instance.module.linked.shared.stats.count_failure(failure);
    }
    let instance = match &outcome {
        Ok(_) | Err(Failure::Application { .. }) => Some(instance),
        Err(_) if !has_run => Some(instance),
        // Dropped here, so that its slot is free before anyone hears of it.
        Err(_) => None,
    };
    Finished {
        instance,
        outcome,
        state,
        events,
        logs,
        fuel_used: fuel_max - fuel_left,
    }
}

/// What is refused before the guest runs.
fn before(instance: &mut Instance, args_bytes: u64, fuel: u64) -> Result<(), Failure> {
    let context = instance.store.data();
    let max = context.limits.args_bytes_max;
    if args_bytes > max {
        return Err(Failure::LimitExceeded {
            limit: "args_bytes_max",
            used: args_bytes,
            max,
        });
    }
    if fuel == 0 {
        return Err(Failure::OutOfFuel {
            max: context.facts.fuel_max,
        });
    }
    let fueled = instance.store.set_fuel(fuel);
    fueled.map_err(|error| Failure::OurBug {
        what: format!("{error:#}"),
    })
}

/// The guest's answer, or why there is none.
async fn enter_guest(
    instance: &mut Instance,
    entry: &Entry,
    args: &[u8],
) -> Result<Result<Vec<u8>, Vec<u8>>, Failure> {
    let store = &mut instance.store;
    let answer = match entry {
        Entry::Call { method, .. } => instance
            .call
            .call_async(&mut *store, (method, args))
            .await
            .map(|(answer,)| answer),
        Entry::Init => {
            let answer = instance.init.call_async(&mut *store, (args,)).await;
            answer.map(|(answer,)| answer.map(|()| b"null".to_vec()))
        }
    };
    answer.map_err(|error| failure_of(&mut instance.store, error))
}

/// The door for what the guest hands over: its size, its price, its JSON.
fn checked(
    instance: &Instance,
    answer: Result<Result<Vec<u8>, Vec<u8>>, Failure>,
    fuel_left: u64,
    fuel_max: u64,
) -> (Result<Output, Failure>, u64) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure @ Failure::OutOfFuel { .. }) => return (Err(failure), 0),
        Err(failure) => return (Err(failure), fuel_left),
    };
    let (Ok(bytes) | Err(bytes)) = &answer;
    let used = bytes.len() as u64;
    let max = instance.store.data().limits.output_bytes_max;
    if used > max {
        let failure = Failure::LimitExceeded {
            limit: "output_bytes_max",
            used,
            max,
        };
        return (Err(failure), fuel_left);
    }
    let Some(fuel_left) = fuel_left.checked_sub(costs::TURN.per_byte * used) else {
        return (Err(Failure::OutOfFuel { max: fuel_max }), 0);
    };
    let outcome = match (is_json(bytes), answer) {
        (Ok(()), Ok(bytes)) => Ok(Output { bytes }),
        (Ok(()), Err(error)) => Err(Failure::Application { error }),
        (Err(why), answer) => {
            let what = if answer.is_ok() { "answer" } else { "error" };
            Err(Failure::InvalidOutput {
                message: capped(format!("its {what} is {why}")),
            })
        }
    };
    (outcome, fuel_left)
}
