//! Who runs next: fair between contexts by the fuel they spend, in order
//! within a context.
//!
//! Most calls never wait: if the shard has fuel left before it must look at
//! its sockets again, and nothing of the same context waits, a call runs where
//! it arrived. Otherwise it queues at its context, and contexts with something
//! ready stand in a ring that is served by deficit round robin (Shreedhar and
//! Varghese 1995): each round grants a context the same fuel, a slice that took
//! more is paid back in later rounds. Updates of a context run one at a time,
//! in the order of their arrival; queries do not wait for them.
//!
//! Owned by the shard. What running a job means is in `turn.rs`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::bounds::Bounds;
use crate::context::Context;
use crate::error::CallError;
use crate::stats::ShardStats;
use crate::turn::{Begin, TurnInProgress};

/// Fuel that every turn is held to have cost, so that turns which fail early
/// are not free.
const TURN_FUEL_MIN: i64 = 2_000;

/// The debt of a context, in slices, that is remembered.
const SLICES_OF_DEBT_MAX: i64 = 4;

/// Something that a context waits to do.
pub(crate) enum Job {
    Begin(Begin),
    Resume(TurnInProgress),
}

/// The ring and its accounts.
pub(crate) struct Schedule {
    ring: RefCell<VecDeque<Rc<Context>>>,
    // Fuel until the shard must look at its sockets.
    until_breath: Cell<i64>,
    slice_fuel: i64,
    waiting_max: usize,
    context_waiting_max: usize,
    runner: RefCell<Option<Waker>>,
    stats: Arc<ShardStats>,
}

impl Schedule {
    pub(crate) fn new(bounds: &Bounds, stats: &Arc<ShardStats>) -> Schedule {
        let slice_fuel = i64::try_from(bounds.slice_fuel).unwrap_or(i64::MAX);
        Schedule {
            ring: RefCell::default(),
            until_breath: Cell::new(slice_fuel),
            slice_fuel,
            waiting_max: bounds.waiting_max,
            context_waiting_max: bounds.context_waiting_max,
            runner: RefCell::default(),
            stats: Arc::clone(stats),
        }
    }

    /// Whether a call may run at once, where it arrived.
    pub(crate) fn may_run_now(&self, context: &Context, is_update: bool) -> bool {
        self.until_breath.get() > 0
            && !context.in_ring.get()
            && !(is_update && (context.updating.get() || !context.updates.borrow().is_empty()))
    }

    /// Books what a slice of `context` has cost.
    pub(crate) fn spend(&self, context: &Context, fuel: u64) {
        let fuel = i64::try_from(fuel).unwrap_or(i64::MAX).max(TURN_FUEL_MIN);
        self.until_breath
            .set(self.until_breath.get().saturating_sub(fuel));
        // Debt is paid back in later rounds, but not for ever.
        let debt_max = self.slice_fuel.saturating_mul(SLICES_OF_DEBT_MAX);
        let credit = context.credit.get().saturating_sub(fuel);
        context.credit.set(credit.max(-debt_max));
    }

    /// Whether one more call may wait.
    pub(crate) fn check_room(&self, context: &Context) -> Result<(), CallError> {
        let waiting = self.stats.waiting.get() as usize;
        if waiting >= self.waiting_max {
            return Err(CallError::Busy {
                limit: "waiting_max",
                used: waiting as u64,
                max: self.waiting_max as u64,
            });
        }
        let here = context.waiting();
        if here >= self.context_waiting_max {
            return Err(CallError::Busy {
                limit: "context_waiting_max",
                used: here as u64,
                max: self.context_waiting_max as u64,
            });
        }
        Ok(())
    }

    /// Queues a call that cannot run at once.
    pub(crate) fn enqueue(&self, context: &Rc<Context>, begin: Begin) {
        self.stats.waiting.up();
        if begin.is_exclusive() {
            context.updates.borrow_mut().push_back(Job::Begin(begin));
            if !context.updating.get() {
                self.promote_update(context);
            }
        } else {
            context.ready.borrow_mut().push_back(Job::Begin(begin));
            self.join_ring(context);
        }
    }

    /// Queues the rest of a turn whose slice has ended.
    pub(crate) fn requeue(&self, context: &Rc<Context>, turn: TurnInProgress) {
        self.stats.waiting.up();
        context.ready.borrow_mut().push_back(Job::Resume(turn));
        self.join_ring(context);
    }

    /// Lets the context's next update go, now that one has ended.
    pub(crate) fn update_ended(&self, context: &Rc<Context>) {
        context.updating.set(false);
        if !context.updates.borrow().is_empty() {
            self.promote_update(context);
        }
    }

    fn promote_update(&self, context: &Rc<Context>) {
        let next = context.updates.borrow_mut().pop_front();
        if let Some(job) = next {
            context.updating.set(true);
            context.ready.borrow_mut().push_back(job);
            self.join_ring(context);
        }
    }

    fn join_ring(&self, context: &Rc<Context>) {
        if !context.in_ring.replace(true) {
            // No saving up: only debt outlives an idle time.
            context.credit.set(context.credit.get().min(0));
            self.ring.borrow_mut().push_back(Rc::clone(context));
            if let Some(runner) = self.runner.borrow_mut().take() {
                runner.wake();
            }
        }
    }

    /// Waits until the ring holds a context.
    pub(crate) async fn work(&self) {
        std::future::poll_fn(|cx| {
            if !self.ring.borrow().is_empty() {
                return Poll::Ready(());
            }
            self.runner.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// One stretch between two looks at the sockets: serves the ring until the
    /// stretch's fuel is spent. `run` carries one job by one slice.
    pub(crate) fn stretch(&self, mut run: impl FnMut(&Rc<Context>, Job)) {
        self.until_breath.set(self.slice_fuel);
        let share = (self.slice_fuel / 4).max(TURN_FUEL_MIN);
        while self.until_breath.get() > 0 {
            let Some(context) = self.ring.borrow_mut().pop_front() else {
                return;
            };
            context
                .credit
                .set(context.credit.get().saturating_add(share).min(share));
            while context.credit.get() > 0 && self.until_breath.get() > 0 {
                let Some(job) = context.ready.borrow_mut().pop_front() else {
                    break;
                };
                self.stats.waiting.down();
                run(&context, job);
            }
            if context.ready.borrow().is_empty() {
                context.in_ring.set(false);
            } else {
                self.ring.borrow_mut().push_back(context);
            }
        }
    }
}
