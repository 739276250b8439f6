//! A turn that is running: a future that is pending exactly when a fuel slice
//! has ended, or when its guest waits for another context's query. Dropping it
//! stops the guest and discards the instance.
//!
//! Who polls it when is the shard's business.

use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use wasmtime::AsContextMut;

use crate::costs;
use crate::description::MethodKind;
use crate::failure::{Failure, capped};
use crate::functions::{is_json, is_shallow, save_stable};
use crate::guest_calls::{Answered, Line, Question};
use crate::guest_sends::CALLBACK_DEPTH_MAX;
use crate::guest_state::NullState;
use crate::host_context::{Facts, Phase, Progress, WriteBounds};
use crate::instance::{Instance, failure_of};
use crate::stats::count;
use crate::turn::{Entry, Finished, Hook, Output, Reads, Turn};

/// A turn in progress.
#[must_use = "nothing runs before the first poll"]
pub struct Running {
    turn: Pin<Box<dyn Future<Output = Finished>>>,
    progress: Arc<Progress>,
    line: Rc<Line>,
    slices_before: u64,
    /// Fuel that answers have cost which others have used.
    answered: u64,
    done: bool,
}

impl Running {
    pub(crate) fn new(mut instance: Instance, turn: Turn) -> Running {
        let fuel_max = turn.fuel_max;
        let (entry, args, ready) = begin(&mut instance, turn);
        let progress = Arc::clone(&instance.store.data().progress);
        let line = Rc::clone(instance.store.data().line());
        count(&progress.shared.stats.lane().turns);
        Running {
            slices_before: progress.slices.load(Ordering::Relaxed),
            answered: 0,
            // What the guest is told lies in its store already: this future is
            // moved into its box, and should be small.
            turn: Box::pin(async move {
                let answer = match (ready, &entry) {
                    (Err(failure), _) => return not_run(instance, failure, fuel_max),
                    (Ok(()), Entry::Call { method, .. }) => {
                        let answer = instance
                            .call
                            .call_async(&mut *instance.store, (method, &args))
                            .await;
                        answer.map(|(answer,)| answer)
                    }
                    (Ok(()), Entry::Handle { handler }) => {
                        let Some(handle) = &instance.handle else {
                            let message =
                                "the application has no handlers, as it does not export `handle`";
                            let message = message.to_owned();
                            return not_run(instance, Failure::Misused { message }, fuel_max);
                        };
                        let answer = handle
                            .call_async(&mut *instance.store, (handler, &args))
                            .await;
                        answer.map(|(answer,)| answer)
                    }
                    (Ok(()), Entry::Inspect { method }) => {
                        let Some(inspect) = &instance.inspect else {
                            let message = "the application does not look at updates, as it does not export `inspect`";
                            let message = message.to_owned();
                            return not_run(instance, Failure::Misused { message }, fuel_max);
                        };
                        let answer = inspect
                            .call_async(&mut *instance.store, (method, &args))
                            .await;
                        answer.map(|(answer,)| answer.map(|()| b"null".to_vec()))
                    }
                    // Boxed, because all turns would have room for it.
                    (Ok(()), &Entry::Hook(hook)) => match Box::pin(instance.tell(hook)).await {
                        Some(told) => told.map(|told| told.map(|()| b"null".to_vec())),
                        None => {
                            let message =
                                format!("the application does not export `{}`", hook.name());
                            return not_run(instance, Failure::Misused { message }, fuel_max);
                        }
                    },
                    (Ok(()), Entry::Init) => {
                        let answer = instance
                            .init
                            .call_async(&mut *instance.store, (&args,))
                            .await;
                        answer.map(|(answer,)| answer.map(|()| b"null".to_vec()))
                    }
                };
                let answer = match answer {
                    // Boxed, because all turns would have room for it.
                    Ok(Ok(output)) if instance.store.data().has_stable_changes() => {
                        let saved = Box::pin(save_stable(instance.store.as_context_mut())).await;
                        saved.map(|()| Ok(output))
                    }
                    answer => answer,
                };
                ended(instance, answer, fuel_max)
            }),
            progress,
            line,
            done: false,
        }
    }

    /// What the guest asks of another context, once: until [`Running::answer`] polling it again
    /// is of no use.
    pub fn take_question(&mut self) -> Option<Question> {
        self.line.take_question()
    }

    /// Tells the guest what became of its question. It goes on when it is polled.
    pub fn answer(&mut self, answered: Answered) {
        self.answered = self.answered.saturating_add(answered.fuel_used);
        self.line.answer(answered);
    }

    /// Queries of other contexts that the outermost call has caused so far.
    pub fn queries(&self) -> u64 {
        self.line.queries()
    }

    /// Ends the turn where it is, with what it has logged and nothing else: its instance
    /// goes, and the state that it was given. Not to be polled any more.
    pub fn stop(&mut self, why: Failure) -> Finished {
        let fuel_used = self.fuel_used();
        self.turn = Box::pin(std::future::pending());
        if !mem::replace(&mut self.done, true) {
            self.progress.shared.stats.count_failure(&why);
        }
        let left = Arc::get_mut(&mut self.progress).and_then(|left| left.logs_left.take());
        Finished {
            instance: None,
            outcome: Err(why),
            state: Box::new(NullState),
            events: Vec::new(),
            logs: left.unwrap_or_default(),
            reads: Reads::default(),
            fuel_used,
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
        let slice_fuel = self.progress.shared.limits.slice_fuel;
        let since = self.progress.slices_unpaid().saturating_mul(slice_fuel);
        let paid = self.progress.fuel_used.load(Ordering::Relaxed);
        paid.saturating_add(since).max(self.answered)
    }
}

impl Future for Running {
    type Output = Finished;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Finished> {
        let poll = self.turn.as_mut().poll(cx);
        if poll.is_ready() {
            self.done = true;
        } else if !self.line.is_waiting() {
            count(&self.progress.slices);
            count(&self.progress.shared.stats.lane().slices);
        }
        poll
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            count(&self.progress.shared.stats.lane().turns_cancelled);
        }
    }
}

/// Puts a turn into the instance's store, or says why it must not begin.
fn begin(instance: &mut Instance, turn: Turn) -> (Entry, Bytes, Result<(), Failure>) {
    let Turn {
        entry,
        args,
        context,
        caller,
        author,
        now_nanos,
        seed,
        state_version,
        fuel_max,
        queries,
        state,
    } = turn;
    let (phase, fuel_limit) = match &entry {
        Entry::Init => (Phase::Update, "init_fuel_max"),
        Entry::Hook(Hook::BeforeUpgrade | Hook::Migrate { .. } | Hook::AfterUpgrade) => {
            (Phase::Update, "upgrade_fuel_max")
        }
        Entry::Hook(Hook::Stop) => (Phase::Update, "stop_fuel_max"),
        Entry::Hook(Hook::LowMemory) => (Phase::Query, "low_memory_fuel_max"),
        Entry::Inspect { .. } => (Phase::Query, "inspect_fuel_max"),
        Entry::Handle { .. }
        | Entry::Call {
            kind: MethodKind::Update,
            ..
        } => (Phase::Update, "update_fuel_max"),
        Entry::Call {
            kind: MethodKind::Query,
            ..
        } => (Phase::Query, "query_fuel_max"),
    };
    let limits = &instance.store.data().limits;
    let writes = match &entry {
        Entry::Hook(Hook::BeforeUpgrade | Hook::Migrate { .. } | Hook::AfterUpgrade) => {
            WriteBounds::of_upgrade(limits)
        }
        _ => WriteBounds::of_call(limits),
    };
    let fuel = fuel_max.saturating_sub(costs::TURN.of_bytes(args.len() as u64));
    let facts = Facts {
        context,
        caller,
        author,
        now_nanos,
        seed,
        state_version,
        fuel_max,
        fuel_limit,
        writes,
    };
    instance
        .store
        .data_mut()
        .begin(phase, facts, state, fuel, queries);
    if matches!(entry, Entry::Hook(Hook::LowMemory)) {
        instance.store.data_mut().tell_of_memory();
    }
    let ready = before(instance, args.len() as u64, fuel);
    (entry, args, ready)
}

/// The end of a turn that the guest has not seen: there is nothing wrong with
/// its instance.
fn not_run(mut instance: Instance, failure: Failure, fuel_max: u64) -> Finished {
    let fuel_used = match &failure {
        Failure::OutOfFuel { .. } => fuel_max,
        _ => 0,
    };
    let mut finished = effects(&mut instance, Err(failure), fuel_used);
    finished.instance = Some(instance);
    finished
}

/// The end of a turn that the guest has answered, or was stopped in.
fn ended(
    mut instance: Instance,
    answer: wasmtime::Result<Result<Vec<u8>, Vec<u8>>>,
    fuel_max: u64,
) -> Finished {
    let answer = answer.map_err(|error| failure_of(&mut instance.store, error));
    let fuel_left = instance.store.get_fuel().unwrap_or(0);
    let (outcome, fuel_left) = checked(&instance, answer, fuel_left);
    let is_good = match &outcome {
        Ok(_) => true,
        // Its memory may know of writes, and those have not happened.
        Err(Failure::Application { .. }) => instance.store.data().used.writes == 0,
        Err(_) => false,
    };
    let mut fuel_used = fuel_max - fuel_left;
    let context = instance.store.data();
    if context.has_lost_count {
        // Or whoever traps at the end of each slice would have the core for nothing.
        fuel_used = fuel_used.max(context.fuel_to_slice_end()).min(fuel_max);
    }
    let mut finished = effects(&mut instance, outcome, fuel_used);
    if is_good {
        finished.instance = Some(instance);
    }
    // Else it is dropped here, so that its place is free before anyone hears of
    // it.
    finished
}

/// Takes out of the store what the turn has done; nothing of it on a failure
/// but log lines.
fn effects(instance: &mut Instance, outcome: Result<Output, Failure>, fuel_used: u64) -> Finished {
    let context = instance.store.data_mut();
    let mut events = mem::take(&mut context.events);
    let logs = mem::take(&mut context.logs);
    let state = context.end().unwrap_or_else(|| Box::new(NullState));
    if let Err(failure) = &outcome {
        events.clear();
        context.progress.shared.stats.count_failure(failure);
    }
    Finished {
        instance: None,
        outcome,
        state,
        events,
        logs,
        reads: context.used.reads,
        fuel_used,
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
        return Err(context.facts.out_of_fuel());
    }
    let fueled = instance.store.set_fuel(fuel);
    fueled.map_err(|error| Failure::OurBug {
        what: format!("{error:#}"),
    })
}

/// The door for what the guest hands over: its size, its price, its JSON.
fn checked(
    instance: &Instance,
    answer: Result<Result<Vec<u8>, Vec<u8>>, Failure>,
    fuel_left: u64,
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
    let max = instance.store.data().limits.outcome_bytes_max;
    if used > max && instance.store.data().keeps_outcome() {
        let failure = Failure::LimitExceeded {
            limit: "outcome_bytes_max",
            used,
            max,
        };
        return (Err(failure), fuel_left);
    }
    let Some(fuel_left) = fuel_left.checked_sub(costs::TURN.per_byte * used) else {
        return (Err(instance.store.data().facts.out_of_fuel()), 0);
    };
    let mut is_good = is_json(bytes);
    // Asked last, and of long ones alone, as there is a call behind it.
    if is_good.is_ok() && bytes.len() > CALLBACK_DEPTH_MAX && instance.store.data().keeps_outcome()
    {
        is_good = is_shallow(bytes);
    }
    let outcome = match (is_good, answer) {
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
