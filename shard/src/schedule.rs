//! Who runs next: fair between contexts by the fuel they spend and their weights, in order
//! within a context.
//!
//! Most calls never wait: if the shard has fuel left before it must look at
//! its sockets again, and nothing of the same context waits, a call runs where
//! it arrived. Otherwise it queues at its context, and contexts with something
//! ready stand in a line (`fair.rs`), out of which the one comes first that has spent the least
//! for its weight. Updates of a context run one at a time,
//! in the order of their arrival; queries do not wait for them, nor they for
//! queries. Each turn that has begun holds an instance until it ends, so only
//! so many queries of a context may have begun: the others wait for those. What comes from
//! other nodes waits among the updates, as it changes the state that they see.
//!
//! A query that waits for another context's has begun, and is not in the line meanwhile. So
//! that contexts which ask each other never wait in a circle, queries have places by their
//! depth: an outermost one waits for outermost ones alone, one that it asks for such as were
//! asked by outermost ones, and the deepest ask nobody
//! (`decisions/0009-queries-that-ask.md`).
//!
//! Owned by the shard. What of one context can run is in `ready.rs`, what running a job means is in `turn.rs`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::answer::{Answer, Promise, promise};
use crate::bounds::Bounds;
use crate::context::Context;
use crate::error::CallError;
use crate::fair::Line;
use crate::inspecting::Inspection;
use crate::ready::Job;
use crate::stats::ShardStats;
use crate::turn::{Begin, TurnInProgress};
use crate::weight::Weight;

/// Fuel that every turn is held to have cost, so that turns which fail early
/// are not free.
const TURN_FUEL_MIN: u64 = 2_000;

/// What a context has spent ahead of others, in slices, as far as it is remembered.
const SLICES_OF_DEBT_MAX: u64 = 4;

/// Jobs of a context run one after the other until they have taken this part of a slice, as what they
/// need is at hand then.
const VISITS_PER_SLICE: i64 = 4;

/// Something that waits to have a context's state for itself.
pub(crate) enum Exclusive {
    Update(Begin),
    /// Whoever gets this has it until [`Schedule::update_ended`].
    Hold(Promise<()>),
}

/// The line and its accounts.
pub(crate) struct Schedule {
    line: Line,
    // Fuel until the shard must look at its sockets.
    until_breath: Cell<i64>,
    slice_fuel: i64,
    waiting_max: usize,
    context_waiting_max: usize,
    context_queries_max: usize,
    runner: RefCell<Option<Waker>>,
    stats: Arc<ShardStats>,
}

impl Schedule {
    pub(crate) fn new(bounds: &Bounds, stats: &Arc<ShardStats>) -> Schedule {
        let slice_fuel = i64::try_from(bounds.slice_fuel).unwrap_or(i64::MAX);
        Schedule {
            line: Line::new(bounds.slice_fuel.saturating_mul(SLICES_OF_DEBT_MAX)),
            until_breath: Cell::new(slice_fuel),
            slice_fuel,
            waiting_max: bounds.waiting_max,
            context_waiting_max: bounds.context_waiting_max,
            context_queries_max: bounds.context_queries_max.max(1),
            runner: RefCell::default(),
            stats: Arc::clone(stats),
        }
    }

    /// Whether a call may run at once, where it arrived; a query of which depth, if it is no
    /// update.
    pub(crate) fn may_run_now(&self, context: &Context, query: Option<usize>) -> bool {
        self.may_go_on_now(context)
            && match query {
                Some(depth) => {
                    let ready = context.ready.borrow();
                    ready.may_begin(depth, self.context_queries_max)
                }
                None => !context.updating.get() && context.updates.borrow().is_empty(),
            }
    }

    /// Whether a turn that has begun may go on where its answer arrived, or an update be looked at
    /// where it has.
    pub(crate) fn may_go_on_now(&self, context: &Context) -> bool {
        self.until_breath.get() > 0 && !context.in_line.get()
    }

    /// Books what a slice of `context` has cost.
    pub(crate) fn spend(&self, context: &Context, fuel: u64) {
        let fuel = fuel.max(TURN_FUEL_MIN);
        self.line.spend(&context.share, fuel);
        let fuel = i64::try_from(fuel).unwrap_or(i64::MAX);
        self.until_breath
            .set(self.until_breath.get().saturating_sub(fuel));
    }

    /// Gives a context another weight.
    pub(crate) fn set_weight(&self, context: &Rc<Context>, weight: Weight) {
        self.line.set_weight(context, weight);
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
        if begin.is_exclusive() {
            self.enqueue_exclusive(context, Exclusive::Update(begin));
        } else {
            self.stats.waiting.up();
            context.ready.borrow_mut().put_query(begin);
            // Else it waits for a query that asks, out of the line.
            self.let_go(context);
        }
    }

    /// Queues an update that has to be looked at before it is queued among the others. Whoever is
    /// looked at at once must not overtake it, so [`may_go_on_now`](Self::may_go_on_now) says no meanwhile.
    pub(crate) fn enqueue_uninspected(&self, context: &Rc<Context>, begin: Begin) {
        self.stats.waiting.up();
        context.ready.borrow_mut().put_uninspected(begin);
        self.join_line(context);
    }

    /// Queues the rest of a look whose slice has ended, before all updates that wait for theirs.
    pub(crate) fn requeue_inspection(&self, context: &Rc<Context>, inspection: Box<Inspection>) {
        self.stats.waiting.up();
        context.ready.borrow_mut().put_inspection(inspection);
        self.join_line(context);
    }

    /// Resolves when the context's state is the caller's alone, behind the updates that
    /// wait already. It is until [`update_ended`](Self::update_ended), so the answer must not
    /// be dropped.
    pub(crate) fn hold(&self, context: &Rc<Context>) -> Answer<()> {
        let (promise, answer) = promise();
        self.enqueue_exclusive(context, Exclusive::Hold(promise));
        answer
    }

    fn enqueue_exclusive(&self, context: &Rc<Context>, exclusive: Exclusive) {
        self.stats.waiting.up();
        context.updates.borrow_mut().push_back(exclusive);
        if !context.updating.get() {
            self.promote_update(context);
        }
    }

    /// Queues a turn of whoever [holds](Self::hold) the context. It stays held when that ends.
    pub(crate) fn enqueue_held(&self, context: &Rc<Context>, begin: Begin) {
        self.stats.waiting.up();
        context.ready.borrow_mut().put_update(begin);
        self.join_line(context);
    }

    /// Queues the rest of a turn whose slice has ended.
    pub(crate) fn requeue(&self, context: &Rc<Context>, turn: TurnInProgress) {
        self.stats.waiting.up();
        context.ready.borrow_mut().park(turn);
        self.join_line(context);
    }

    /// Takes a query aside that waits for another context's; by the number it is found again.
    pub(crate) fn put_aside(&self, context: &Context, turn: TurnInProgress) -> u64 {
        self.stats.asking_queries.up();
        context.ready.borrow_mut().put_asking(turn)
    }

    /// Takes it back, if nobody else has. Its place may be another's from now on: whoever takes
    /// it calls [`let_go`](Self::let_go) when the turn has gone on.
    pub(crate) fn take_aside(&self, context: &Context, number: u64) -> Option<TurnInProgress> {
        let turn = context.ready.borrow_mut().take_asking(number)?;
        self.stats.asking_queries.down();
        Some(turn)
    }

    /// Lets the queries of a context go that have waited for a place.
    pub(crate) fn let_go(&self, context: &Rc<Context>) {
        if self.can_go(context) {
            self.join_line(context);
        }
    }

    fn can_go(&self, context: &Context) -> bool {
        context.ready.borrow().can_go(self.context_queries_max)
    }

    /// Takes the turns of a context that have begun out of the queue.
    pub(crate) fn take_begun(&self, context: &Context) -> Vec<TurnInProgress> {
        let parked = context.ready.borrow_mut().take_parked();
        parked.iter().for_each(|_| self.stats.waiting.down());
        let mut begun = self.take_asking(context);
        begun.extend(parked.into_iter().map(|(_, turn)| turn));
        begun
    }

    /// Those among them that wait for another context.
    pub(crate) fn take_asking(&self, context: &Context) -> Vec<TurnInProgress> {
        let asking = context.ready.borrow_mut().take_all_asking();
        asking.iter().for_each(|_| self.stats.asking_queries.down());
        asking.into_iter().map(|(_, turn)| turn).collect()
    }

    /// Lets the context's next update go, now that one has ended.
    pub(crate) fn update_ended(&self, context: &Rc<Context>) {
        context.updating.set(false);
        if !context.updates.borrow().is_empty() {
            self.promote_update(context);
        }
    }

    fn promote_update(&self, context: &Rc<Context>) {
        let Some(next) = context.updates.borrow_mut().pop_front() else {
            return;
        };
        context.updating.set(true);
        match next {
            Exclusive::Update(begin) => {
                context.ready.borrow_mut().put_update(begin);
                self.join_line(context);
            }
            Exclusive::Hold(promise) => {
                self.stats.waiting.down();
                promise.keep(());
            }
        }
    }

    fn join_line(&self, context: &Rc<Context>) {
        if !context.in_line.replace(true) {
            self.line.join(Rc::clone(context));
            if let Some(runner) = self.runner.borrow_mut().take() {
                runner.wake();
            }
        }
    }

    /// Waits until a context is in the line.
    pub(crate) async fn work(&self) {
        std::future::poll_fn(|cx| {
            if !self.line.is_empty() {
                return Poll::Ready(());
            }
            self.runner.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// One stretch between two looks at the sockets: serves the line until the
    /// stretch's fuel is spent. `run` carries one job by one slice.
    pub(crate) fn stretch(&self, mut run: impl FnMut(&Rc<Context>, Job)) {
        self.until_breath.set(self.slice_fuel);
        while self.until_breath.get() > 0 {
            let Some(context) = self.line.next() else {
                return;
            };
            let end = self.until_breath.get() - self.slice_fuel / VISITS_PER_SLICE;
            while self.until_breath.get() > end.max(0) {
                let next = context.ready.borrow_mut().take(self.context_queries_max);
                let Some(job) = next else {
                    break;
                };
                self.stats.waiting.down();
                run(&context, job);
            }
            if self.can_go(&context) {
                self.line.join(context);
            } else {
                context.in_line.set(false);
            }
        }
    }
}

#[cfg(test)]
mod tests;
