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

    /// Whether a turn that has begun may go on where its answer arrived.
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
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use corelet_store::ContextSlot;
    use proptest::prelude::*;

    use super::*;
    use crate::chain::Link;
    use crate::fixture;
    use crate::statistics::Row;
    use crate::turn::{Asked, What};

    /// Far more than a slice.
    const ENDLESS: u64 = 1 << 40;

    struct Bench {
        schedule: Schedule,
        contexts: Vec<Rc<Context>>,
        stats: Arc<ShardStats>,
        slice_fuel: u64,
    }

    impl Bench {
        fn new(contexts: u8) -> Bench {
            Bench::with(contexts, &Bounds::default())
        }

        fn with(contexts: u8, bounds: &Bounds) -> Bench {
            let stats = Arc::default();
            let contexts = (0..contexts).map(|n| fixture::context(n, ContextSlot::UNASSIGNED));
            Bench {
                schedule: Schedule::new(bounds, &stats),
                contexts: contexts.collect(),
                stats,
                slice_fuel: bounds.slice_fuel,
            }
        }

        /// Queues a call that `stretch` will know by its number.
        fn enqueue(&self, context: u8, is_update: bool, number: u64) {
            self.enqueue_asked(context, is_update, number, None);
        }

        /// The same of a query that an outermost one has asked.
        fn enqueue_below(&self, context: u8, number: u64) {
            let asked = Asked {
                chain: Link::new(fixture::id(9), None),
                fuel_max: 1,
                queries: 1,
            };
            self.enqueue_asked(context, false, number, Some(Box::new(asked)));
        }

        fn enqueue_asked(
            &self,
            context: u8,
            is_update: bool,
            number: u64,
            asked: Option<Box<Asked>>,
        ) {
            let method = Arc::from("method");
            let what = match is_update {
                true => What::Update(method),
                false => What::Query(method),
            };
            let begin = Begin {
                what,
                row: Row::NONE,
                args: Bytes::copy_from_slice(&number.to_le_bytes()),
                caller: Arc::from("caller"),
                deadline: Instant::now() + Duration::from_secs(600),
                promise: Some(promise().0),
                upgrades: 0,
                keyed: None,
                asked,
            };
            let context = &self.contexts[usize::from(context)];
            self.schedule.enqueue(context, begin);
        }

        /// One stretch in which every call ends with its first slice. `fuel`
        /// says what the slice costs. The calls that ran: context and number.
        fn stretch(&self, fuel: impl Fn(u8) -> u64) -> Vec<(u8, u64)> {
            let mut ran = Vec::new();
            self.schedule.stretch(|context, job| {
                let Job::Begin(begin) = job else {
                    unreachable!("no call here has a second slice")
                };
                let n = context.id.as_bytes()[0];
                ran.push((n, number_of(&begin)));
                self.schedule.spend(context, fuel(n));
                if begin.is_exclusive() {
                    self.schedule.update_ended(context);
                }
            });
            ran
        }
    }

    fn number_of(begin: &Begin) -> u64 {
        u64::from_le_bytes(begin.args[..].try_into().unwrap())
    }

    #[test]
    fn so_many_queries_of_a_context_begin_and_no_update_waits_for_them() {
        let bounds = Bounds {
            context_queries_max: 2,
            ..Bounds::default()
        };
        let bench = Bench::with(1, &bounds);
        for number in 1..=3 {
            bench.enqueue(0, false, number);
        }
        bench.enqueue(0, true, 4);
        bench.enqueue(0, true, 5);
        // The number of a call that begins, 0 for a further slice. `ends` says
        // whether it is a turn's last.
        let one = |ends: bool| {
            let mut ran = Vec::new();
            bench.schedule.stretch(|context, job| {
                let (number, turn) = match job {
                    Job::Begin(begin) => (
                        number_of(&begin),
                        fixture::turn_in_progress(!begin.is_exclusive()),
                    ),
                    Job::Resume(turn) => (0, turn),
                };
                ran.push(number);
                bench.schedule.spend(context, bench.slice_fuel);
                match (ends, turn.is_query()) {
                    (false, _) => bench.schedule.requeue(context, turn),
                    (true, true) => {}
                    (true, false) => bench.schedule.update_ended(context),
                }
            });
            assert!(ran.len() <= 1);
            assert!(!bench.schedule.may_run_now(&bench.contexts[0], Some(0)));
            ran.pop()
        };
        let next = |ends| one(ends).unwrap();
        assert_eq!([next(false), next(false)], [1, 2]);
        assert_eq!(next(false), 4, "the third query waits, the update does not");
        assert_eq!([next(false), next(false)], [0, 0], "both queries go on");
        assert_eq!(next(true), 0, "the update ends");
        assert_eq!(next(true), 0, "the first query ends");
        assert_eq!(next(false), 3, "and makes room for the third");
        assert_eq!([next(false), next(false)], [0, 5]);
    }

    /// Else those that wait for each other's places would wait for ever.
    #[test]
    fn queries_that_ask_hold_the_places_of_their_depth_alone_and_nobody_spins_for_them() {
        let bounds = Bounds {
            context_queries_max: 1,
            ..Bounds::default()
        };
        let bench = Bench::with(1, &bounds);
        let context = &bench.contexts[0];
        let ran = || -> Vec<u64> { bench.stretch(|_| 1).iter().map(|(_, n)| *n).collect() };
        let turn = fixture::turn_in_progress(true);
        let number = bench.schedule.put_aside(context, turn);
        assert_eq!(bench.stats.asking_queries.get(), 1);
        let may_run = |query| bench.schedule.may_run_now(context, query);
        assert_eq!([Some(0), Some(1), None].map(may_run), [false, true, true]);

        bench.enqueue(0, false, 1);
        assert!(!context.in_line.get(), "there is nothing to do for it");
        assert!(ran().is_empty());
        bench.enqueue_below(0, 2);
        bench.enqueue(0, true, 3);
        assert_eq!(ran(), [2, 3]);
        assert!(!context.in_line.get());

        assert!(bench.schedule.take_aside(context, number).is_some());
        assert!(bench.schedule.take_aside(context, number).is_none(), "once");
        assert!(!may_run(Some(0)), "it would overtake the one that waits");
        bench.schedule.let_go(context);
        assert_eq!(ran(), [1]);
        assert!(may_run(Some(0)));
        let figures = [&bench.stats.asking_queries, &bench.stats.waiting];
        assert_eq!(figures.map(|gauge| gauge.get()), [0, 0]);

        let turn = fixture::turn_in_progress(true);
        bench.schedule.put_aside(context, turn);
        bench.enqueue(0, false, 4);
        assert_eq!(bench.schedule.take_begun(context).len(), 1);
        bench.schedule.let_go(context);
        assert_eq!(ran(), [4]);
        assert_eq!(figures.map(|gauge| gauge.get()), [0, 0]);
    }

    #[test]
    fn contexts_share_fuel_and_not_calls() {
        let bench = Bench::new(2);
        for number in 0..10_000 {
            bench.enqueue(0, false, number);
            bench.enqueue(1, false, number);
        }
        // Calls of the first cost ten times as much as calls of the second.
        let fuel = |n| if n == 0 { 100_000 } else { 10_000 };
        let mut spent = [0, 0];
        for _ in 0..20 {
            for (n, _) in bench.stretch(fuel) {
                spent[usize::from(n)] += fuel(n);
            }
        }
        let [dear, cheap] = spent;
        assert!(dear > 5 * bench.slice_fuel, "{spent:?}");
        assert!(dear.abs_diff(cheap) <= bench.slice_fuel, "{spent:?}");
    }

    #[test]
    fn a_slice_over_its_share_is_paid_back_and_not_for_ever() {
        let bench = Bench::new(2);
        for number in 0..1_000 {
            bench.enqueue(0, false, number);
            bench.enqueue(1, false, number);
        }
        assert_eq!(bench.stretch(|_| ENDLESS), [(0, 0)]);
        let debt = bench.schedule.line.debt(&bench.contexts[0]);
        assert_eq!(debt, SLICES_OF_DEBT_MAX * bench.slice_fuel);
        let mut alone = 0;
        while bench
            .stretch(|_| bench.slice_fuel / 8)
            .iter()
            .all(|(n, _)| *n == 1)
        {
            alone += 1;
        }
        assert_eq!(alone, SLICES_OF_DEBT_MAX, "stretches, each of a slice");
    }

    /// What each of these contexts spends in so many stretches, all of which have enough to do. A
    /// call of the `n`th costs `fuel[n]`.
    fn spent(bench: &Bench, fuel: &[u64], stretches: usize) -> Vec<u64> {
        let mut spent = vec![0; fuel.len()];
        for _ in 0..stretches {
            for (n, _) in bench.stretch(|n| fuel[usize::from(n)]) {
                spent[usize::from(n)] += fuel[usize::from(n)];
            }
        }
        spent
    }

    fn with_weights(weights: &[u64], calls: u64) -> Bench {
        let bench = Bench::new(weights.len() as u8);
        for (n, weight) in weights.iter().enumerate() {
            let weight = Weight::new(*weight).unwrap();
            bench.contexts[n].share.weight.set(weight);
            for number in 0..calls {
                bench.enqueue(n as u8, false, number);
            }
        }
        bench
    }

    #[test]
    fn contexts_share_fuel_by_their_weights_whatever_a_call_costs() {
        for (weights, fuel) in [
            (&[100, 300][..], &[10_000, 10_000][..]),
            (&[100, 300], &[400_000, 3_000]),
            (&[300, 100], &[7_000, 1_000_000]),
            (&[50, 100, 1_000], &[20_000, 50_000, 90_000]),
        ] {
            let bench = with_weights(weights, 20_000);
            let spent = spent(&bench, fuel, 50);
            let (sum, weight): (u64, u64) = (spent.iter().sum(), weights.iter().sum());
            for (n, spent) in spent.iter().enumerate() {
                let due = sum * weights[n] / weight;
                // One is at most one visit or one call ahead of the others.
                let visit = fuel.iter().max().unwrap() + bench.slice_fuel / 4;
                assert!(
                    spent.abs_diff(due) <= 2 * visit,
                    "{weights:?} {fuel:?}: {n} has {spent}, not {due}"
                );
            }
        }
    }

    /// However small its weight, it is served.
    #[test]
    fn the_least_weight_gets_its_part_beside_the_greatest() {
        let bench = with_weights(&[1, 1_000], 20_000);
        let spent = spent(&bench, &[50_000, 50_000], 600);
        assert!(spent[0] > 0, "{spent:?}");
        assert!(
            spent[0] <= spent[1] / 1_000 + 2 * bench.slice_fuel / 4,
            "{spent:?}"
        );
    }

    #[test]
    fn who_was_idle_gets_no_more_than_his_part_and_waits_for_nobody_s_past() {
        let bench = with_weights(&[100, 100], 10_000);
        let late = &bench.contexts[1];
        // As if it had come only now: nothing of it was in the line.
        let others = bench.schedule.line.next().unwrap();
        assert!(Rc::ptr_eq(&bench.schedule.line.next().unwrap(), late));
        bench.schedule.line.join(others);
        let alone = spent(&bench, &[10_000, 10_000], 20);
        assert_eq!(alone[1], 0);
        bench.schedule.line.join(Rc::clone(late));
        let both = spent(&bench, &[10_000, 10_000], 20);
        assert!(both[0].abs_diff(both[1]) <= bench.slice_fuel, "{both:?}");
    }

    /// It has taken nothing from anybody.
    #[test]
    fn what_was_spent_while_nobody_waited_is_no_debt() {
        let bench = with_weights(&[1, 1_000], 0);
        let [light, heavy] = &bench.contexts[..] else {
            unreachable!("there are two")
        };
        for _ in 0..100 {
            bench.schedule.spend(light, bench.slice_fuel);
        }
        let debt = bench.schedule.line.debt(light);
        assert_eq!(
            debt,
            100 * bench.slice_fuel,
            "the last slice, by its weight"
        );
        // Who comes begins at the same time.
        assert_eq!(bench.schedule.line.debt(heavy), 0);
        bench.schedule.spend(heavy, bench.slice_fuel);
        let debt = bench.schedule.line.debt(heavy);
        assert_eq!(debt, bench.slice_fuel / 10);
    }

    #[test]
    fn another_weight_counts_for_what_was_spent_before_it_as_well() {
        for is_in_line in [false, true] {
            let bench = with_weights(&[1, 1_000], 0);
            let light = &bench.contexts[0];
            bench.enqueue(1, false, 1);
            bench.schedule.spend(light, ENDLESS);
            let debt = || bench.schedule.line.debt(light);
            assert_eq!(debt(), SLICES_OF_DEBT_MAX * bench.slice_fuel * 100);
            if is_in_line {
                bench.enqueue(0, false, 2);
            }
            bench
                .schedule
                .set_weight(light, Weight::new(1_000).unwrap());
            assert_eq!(debt(), SLICES_OF_DEBT_MAX * bench.slice_fuel / 10);
            for number in 3..100 {
                bench.enqueue(1, false, number);
            }
            if is_in_line {
                // As late as its new weight says: behind what the other one has in as many slices.
                let ran: Vec<_> = (0..6)
                    .flat_map(|_| bench.stretch(|_| bench.slice_fuel / 8))
                    .collect();
                let place = ran.iter().position(|(n, _)| *n == 0);
                assert!(place.is_some_and(|place| place >= 30), "{ran:?}");
            }
        }
    }

    #[test]
    fn a_stretch_ends_when_its_fuel_is_spent() {
        let bench = Bench::new(3);
        for n in 0..3 {
            for number in 0..100 {
                bench.enqueue(n, false, number);
            }
        }
        let ran = bench.stretch(|_| bench.slice_fuel / 10);
        assert_eq!(ran.len(), 10);
        assert!(!bench.schedule.may_run_now(&bench.contexts[0], Some(0)));
    }

    #[test]
    fn queries_do_not_wait_for_the_updates_of_their_context() {
        let bench = Bench::new(1);
        let context = &bench.contexts[0];
        assert!(bench.schedule.may_run_now(context, None));
        // An update is between two slices.
        context.updating.set(true);
        assert!(bench.schedule.may_run_now(context, Some(0)));
        assert!(!bench.schedule.may_run_now(context, None));
        bench.enqueue(0, true, 1);
        bench.enqueue(0, false, 2);
        bench.enqueue(0, true, 3);
        assert_eq!(bench.stretch(|_| 1), [(0, 2)]);
        bench.schedule.update_ended(context);
        assert_eq!(bench.stretch(|_| 1), [(0, 1), (0, 3)]);
        assert_eq!(bench.stats.waiting.get(), 0);
    }

    #[test]
    fn whoever_holds_a_context_is_alone_with_it_in_the_order_of_coming() {
        use futures_lite::future::{block_on, poll_once};
        let bench = Bench::new(1);
        let context = &bench.contexts[0];
        let mut first = bench.schedule.hold(context);
        assert!(block_on(poll_once(&mut first)).is_some());
        bench.enqueue(0, true, 1);
        let mut second = bench.schedule.hold(context);
        bench.enqueue(0, true, 2);
        bench.enqueue(0, false, 3);
        assert!(!bench.schedule.may_run_now(context, None));
        assert_eq!(bench.stretch(|_| 1), [(0, 3)]);
        bench.schedule.update_ended(context);
        assert!(block_on(poll_once(&mut second)).is_none());
        assert_eq!(bench.stretch(|_| 1), [(0, 1)]);
        assert!(block_on(poll_once(&mut second)).is_some());
        assert_eq!(bench.stretch(|_| 1), []);
        bench.schedule.update_ended(context);
        assert_eq!(bench.stretch(|_| 1), [(0, 2)]);
        assert_eq!(bench.stats.waiting.get(), 0);
        assert!(!context.updating.get());
    }

    /// One that could not wait would be overtaken for ever.
    #[test]
    fn a_call_does_not_overtake_what_waits_in_its_context() {
        let bench = Bench::new(2);
        bench.enqueue(0, false, 1);
        assert!(!bench.schedule.may_run_now(&bench.contexts[0], Some(0)));
        assert!(bench.schedule.may_run_now(&bench.contexts[1], Some(0)));
    }

    #[test]
    fn a_full_queue_names_its_bound() {
        let bounds = Bounds {
            waiting_max: 3,
            context_waiting_max: 2,
            ..Bounds::default()
        };
        let bench = Bench::with(2, &bounds);
        let refusal = |n: usize| match bench.schedule.check_room(&bench.contexts[n]) {
            Ok(()) => None,
            Err(CallError::Busy { limit, used, max }) => Some((limit, used, max)),
            Err(other) => panic!("{other}"),
        };
        bench.enqueue(0, false, 1);
        assert_eq!(refusal(0), None);
        bench.enqueue(0, true, 2);
        assert_eq!(refusal(0), Some(("context_waiting_max", 2, 2)));
        assert_eq!(refusal(1), None);
        bench.enqueue(1, false, 3);
        assert_eq!(refusal(1), Some(("waiting_max", 3, 3)));
        bench.stretch(|_| 1);
        assert_eq!(refusal(0), None);
    }

    #[test]
    fn who_works_on_the_line_is_woken_by_the_first_call_in_it() {
        use futures_lite::future::{block_on, poll_once};
        let bench = Bench::new(1);
        let mut work = Box::pin(bench.schedule.work());
        assert!(block_on(poll_once(&mut work)).is_none());
        assert!(bench.schedule.runner.borrow().is_some());
        bench.enqueue(0, false, 1);
        assert!(bench.schedule.runner.borrow().is_none(), "it was woken");
        assert!(block_on(poll_once(&mut work)).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn every_call_runs_once_and_those_of_a_context_in_order(
            calls in prop::collection::vec((0u8..4, any::<bool>(), 0u64..3_000_000), 1..120),
            between in 1usize..40,
        ) {
            let bench = Bench::new(4);
            let mut ran = Vec::new();
            let fuel = |n: u8| calls[usize::from(n) % calls.len()].2;
            for (number, (n, is_update, _)) in calls.iter().enumerate() {
                bench.enqueue(*n, *is_update, number as u64);
                if number % between == 0 {
                    ran.extend(bench.stretch(fuel));
                }
            }
            while bench.stats.waiting.get() > 0 {
                let more = bench.stretch(fuel);
                prop_assert!(!more.is_empty());
                ran.extend(more);
            }
            for n in 0..4 {
                for kind in [true, false] {
                    let of_one = |(number, _): &(usize, &(u8, bool, u64))| *number as u64;
                    let expected: Vec<u64> = calls.iter().enumerate()
                        .filter(|(_, call)| call.0 == n && call.1 == kind)
                        .map(|call| of_one(&call))
                        .collect();
                    let found: Vec<u64> = ran.iter()
                        .filter(|(context, number)| *context == n && calls[*number as usize].1 == kind)
                        .map(|(_, number)| *number)
                        .collect();
                    prop_assert_eq!(found, expected);
                }
                prop_assert!(!bench.contexts[usize::from(n)].in_line.get());
                prop_assert!(!bench.contexts[usize::from(n)].updating.get());
            }
        }
    }
}
