//! An application looks at updates before they are queued, if it wants to: what it refuses costs
//! its context no turn, no place in the queue and no commit.
//!
//! A look is a query on what is durable, of no more fuel than one slice, and the context pays for
//! it. It is had where the update arrives. If the shard has no fuel left in its stretch, or an update of the
//! context waits for its look already, the update waits for its own in a queue of the context in
//! front of that of its updates (`ready.rs`). Both queues are first come, first served, and of one context there is one look
//! at a time: so none comes past another whose look takes longer. It takes longer than a slice if it
//! brings a long list into memory, which costs no fuel; then it waits between two slices at the head of its
//! queue. What the server calls by itself is not looked at, nor is an update again that was queued when its
//! context got another application. Why so: `decisions/0014-lifecycle-hooks.md`. Runs on the shard
//! that owns the context.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use corelet_store::Hlc;
use corelet_wasm_host::{Answered, Entry, Failure, Finished, QueryError, Running, Turn};

use crate::answer::{Answer, promise};
use crate::context::Context;
use crate::error::CallError;
use crate::guest_log::TurnLog;
use crate::ready::Uninspected;
use crate::shard::Shard;
use crate::turn::{Begin, TurnEnd, What, is_the_guest_s, poll_slice};
use crate::warm_sum::Warm;

/// The export, as logs name it.
const NAME: &str = "inspect";

/// A look at an update, between two slices.
pub(crate) struct Inspection {
    begin: Begin,
    running: Running,
    // The last change that the instance's memory knew of.
    seen: u64,
    hlc: Hlc,
    fuel_seen: u64,
}

/// What becomes of an update that has arrived.
pub(crate) enum Arrived {
    /// It may be queued, or run.
    Inspected(Begin),
    /// It waits for its look.
    Queued(Answer<TurnEnd>),
}

/// What a slice of a look comes to.
enum Look {
    Passed(Begin),
    Refused(Begin, CallError),
    More(Inspection),
}

impl Begin {
    /// Whether its application looks at it before it is queued.
    pub(crate) fn is_to_be_inspected(&self, context: &Context) -> bool {
        matches!(self.what, What::Update(_)) && context.code().module.inspects()
    }
}

impl Shard {
    /// Has an update looked at that has just come, here or when it is its turn.
    pub(crate) fn inspect_arriving(
        &self,
        context: &Rc<Context>,
        mut begin: Begin,
    ) -> Result<Arrived, CallError> {
        if !self.schedule.may_go_on_now(context) {
            self.schedule.check_room(context)?;
            let (promise, answer) = promise();
            begin.promise = Some(promise);
            self.schedule.enqueue_uninspected(context, begin);
            return Ok(Arrived::Queued(answer));
        }
        if !self.schedule.may_run_now(context, None) {
            // It would be looked at in vain.
            self.schedule.check_room(context)?;
        }
        match self.begin_look(context, begin) {
            Look::Passed(begin) => Ok(Arrived::Inspected(begin)),
            Look::Refused(_, error) => Err(error),
            Look::More(mut inspection) => {
                let (promise, answer) = promise();
                inspection.begin.promise = Some(promise);
                self.schedule
                    .requeue_inspection(context, Box::new(inspection));
                Ok(Arrived::Queued(answer))
            }
        }
    }

    /// Has an update looked at that has waited for it, and queues it among the others when that is
    /// over.
    pub(crate) fn inspect_queued(&self, context: &Rc<Context>, update: Uninspected) {
        let look = match update {
            // Of which nobody knows yet what it is in the other application.
            Uninspected::Waiting(begin) if begin.upgrades != context.upgrades.get() => {
                Look::Passed(begin)
            }
            Uninspected::Waiting(begin) if Instant::now() >= begin.deadline => {
                self.schedule.spend(context, 0);
                Look::Refused(begin, self.expired())
            }
            Uninspected::Waiting(begin) => self.begin_look(context, begin),
            Uninspected::Begun(inspection) => self.look(context, *inspection),
        };
        match look {
            Look::Passed(begin) => self.schedule.enqueue(context, begin),
            Look::Refused(begin, error) => {
                if let Some(promise) = begin.promise {
                    promise.keep(Err(error));
                }
            }
            Look::More(inspection) => self
                .schedule
                .requeue_inspection(context, Box::new(inspection)),
        }
    }

    fn begin_look(&self, context: &Rc<Context>, begin: Begin) -> Look {
        let method = match &begin.what {
            What::Update(method) => Arc::clone(method),
            _ => return Look::Passed(begin),
        };
        self.stats.inspections.one();
        let Warm { instance, seen, .. } = match self.check_out(context, false) {
            Ok(warm) => warm,
            Err(error) => {
                self.spend(context, 0);
                return Look::Refused(begin, error);
            }
        };
        let limits = self.host.limits();
        let hlc = self.clock.tick();
        let state = self.view_of_query(context).with_origin(hlc, 0);
        let running = instance.run(Turn {
            entry: Entry::Inspect { method },
            args: begin.args.clone(),
            context: *context.id.as_bytes(),
            caller: Arc::clone(&begin.caller),
            author: *self.author.as_bytes(),
            now_nanos: hlc.micros() * 1_000,
            seed: self.clock.seed(),
            state_version: context.standing.get().version,
            fuel_max: limits.inspect_fuel_max.min(limits.slice_fuel),
            queries: 0,
            state: Box::new(state),
        });
        let inspection = Inspection {
            begin,
            running,
            seen,
            hlc,
            fuel_seen: 0,
        };
        self.look(context, inspection)
    }

    /// Runs one slice of a look.
    fn look(&self, context: &Rc<Context>, mut inspection: Inspection) -> Look {
        let finished = loop {
            match poll_slice(&mut inspection.running) {
                Poll::Ready(finished) => break finished,
                Poll::Pending if refuse_question(&mut inspection.running) => {}
                Poll::Pending if Instant::now() >= inspection.begin.deadline => {
                    let max = self.host.limits().call_time_max;
                    break inspection.running.stop(Failure::TimedOut { max });
                }
                Poll::Pending => {
                    let fuel = inspection.see_fuel(inspection.running.fuel_used());
                    self.count_fuel(context, inspection.begin.row, fuel);
                    self.stats.fuel.add(fuel);
                    // As a turn's: its context pays for what costs no fuel.
                    self.schedule
                        .spend(context, fuel.max(self.bounds.slice_fuel));
                    self.stats.slices.one();
                    return Look::More(inspection);
                }
            }
        };
        self.conclude_look(context, inspection, finished)
    }

    fn conclude_look(
        &self,
        context: &Rc<Context>,
        mut inspection: Inspection,
        finished: Finished,
    ) -> Look {
        let fuel = inspection.see_fuel(finished.fuel_used);
        self.spend(context, fuel);
        let Inspection {
            begin, seen, hlc, ..
        } = inspection;
        self.count_fuel(context, begin.row, fuel);
        let used = finished.instance.map(|instance| Warm {
            instance,
            seen,
            is_used: true,
        });
        self.check_in(context, used);
        let (outcome, lines) = (finished.outcome, finished.logs);
        let succeeded = outcome.is_ok();
        let look = match outcome {
            Ok(_) => Look::Passed(begin),
            Err(failure) => {
                if is_the_guest_s(&failure) {
                    self.stats.inspections_refused.one();
                    self.stats.guest_failures.one();
                }
                Look::Refused(begin, CallError::inspection(failure, &lines))
            }
        };
        if !lines.is_empty() {
            let log = TurnLog {
                method: Arc::from(NAME),
                began: hlc,
                succeeded,
                lines,
            };
            self.guest_logs.take(context, Some(log));
        }
        look
    }
}

impl Inspection {
    /// What it has used since it was last asked.
    fn see_fuel(&mut self, used: u64) -> u64 {
        let spent = used.saturating_sub(self.fuel_seen);
        self.fuel_seen = self.fuel_seen.max(used);
        spent
    }

    /// One for the schedule to queue.
    #[cfg(test)]
    pub(crate) fn of(begin: Begin, running: Running) -> Inspection {
        Inspection {
            begin,
            running,
            seen: 0,
            hlc: Hlc::from_bits(0),
            fuel_seen: 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn into_begin(self) -> Begin {
        self.begin
    }
}

/// Tells the guest at once that the context which it asks cannot be asked from here, if that is why
/// it is pending: what it does is to wait for nobody.
pub(crate) fn refuse_question(running: &mut Running) -> bool {
    let Some(question) = running.take_question() else {
        return false;
    };
    running.answer(Answered {
        outcome: Err(QueryError::TooDeep),
        fuel_used: 0,
        queries: question.queries,
    });
    true
}
