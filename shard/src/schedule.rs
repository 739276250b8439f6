//! Who runs next: fair between contexts by the fuel they spend, in order
//! within a context.
//!
//! Most calls never wait: if the shard has fuel left before it must look at
//! its sockets again, and nothing of the same context waits, a call runs where
//! it arrived. Otherwise it queues at its context, and contexts with something
//! ready stand in a ring that is served by deficit round robin (Shreedhar and
//! Varghese 1995): each round grants a context the same fuel, a slice that took
//! more is paid back in later rounds. Updates of a context run one at a time,
//! in the order of their arrival; queries do not wait for them, nor they for
//! queries. Each turn that has begun holds an instance until it ends, so only
//! so many queries of a context may have begun: the others wait for those. What comes from
//! other nodes waits among the updates, as it changes the state that they see.
//!
//! Owned by the shard. What running a job means is in `turn.rs`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::answer::{Answer, Promise, promise};
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

/// Something that waits to have a context's state for itself.
pub(crate) enum Exclusive {
    Update(Begin),
    /// Whoever gets this has it until [`Schedule::update_ended`].
    Hold(Promise<()>),
}

/// What of one context can run as soon as it is its turn. Each has a number: its
/// place in the order in which they came here.
#[derive(Default)]
pub(crate) struct Ready {
    queries: VecDeque<(u64, Begin)>,
    // The update whose turn it is.
    update: Option<(u64, Begin)>,
    // Turns between two slices, each with an instance.
    parked: VecDeque<(u64, TurnInProgress)>,
    queries_parked: usize,
    came: u64,
}

impl Ready {
    pub(crate) fn len(&self) -> usize {
        self.queries.len() + usize::from(self.update.is_some()) + self.parked.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn number(&mut self) -> u64 {
        self.came += 1;
        self.came
    }

    fn put_query(&mut self, begin: Begin) {
        let number = self.number();
        self.queries.push_back((number, begin));
    }

    fn put_update(&mut self, begin: Begin) {
        debug_assert!(self.update.is_none(), "updates go one at a time");
        let number = self.number();
        self.update = Some((number, begin));
    }

    /// All that have begun.
    pub(crate) fn take_parked(&mut self) -> impl Iterator<Item = TurnInProgress> + use<> {
        self.queries_parked = 0;
        std::mem::take(&mut self.parked)
            .into_iter()
            .map(|(_, turn)| turn)
    }

    fn park(&mut self, turn: TurnInProgress) {
        let number = self.number();
        self.queries_parked += usize::from(turn.is_query());
        self.parked.push_back((number, turn));
    }

    /// The one that came first, but no further query while as many as may be
    /// have begun.
    fn take(&mut self, queries_max: usize) -> Option<Job> {
        let may_begin = self.queries_parked < queries_max;
        let number = |first: Option<u64>| first.unwrap_or(u64::MAX);
        let query = number(self.queries.front().filter(|_| may_begin).map(|q| q.0));
        let update = number(self.update.as_ref().map(|u| u.0));
        let parked = number(self.parked.front().map(|p| p.0));
        if parked < query.min(update) {
            let (_, turn) = self.parked.pop_front()?;
            self.queries_parked -= usize::from(turn.is_query());
            return Some(Job::Resume(turn));
        }
        let begin = match update < query {
            true => self.update.take(),
            false if may_begin => self.queries.pop_front(),
            false => None,
        };
        begin.map(|(_, begin)| Job::Begin(begin))
    }
}

/// The ring and its accounts.
pub(crate) struct Schedule {
    ring: RefCell<VecDeque<Rc<Context>>>,
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
            ring: RefCell::default(),
            until_breath: Cell::new(slice_fuel),
            slice_fuel,
            waiting_max: bounds.waiting_max,
            context_waiting_max: bounds.context_waiting_max,
            context_queries_max: bounds.context_queries_max.max(1),
            runner: RefCell::default(),
            stats: Arc::clone(stats),
        }
    }

    /// Whether a call may run at once, where it arrived. A context with a turn
    /// between two slices is in the ring, so this begins none beyond the bound.
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
        if begin.is_exclusive() {
            self.enqueue_exclusive(context, Exclusive::Update(begin));
        } else {
            self.stats.waiting.up();
            context.ready.borrow_mut().put_query(begin);
            self.join_ring(context);
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

    /// Queues the rest of a turn whose slice has ended.
    pub(crate) fn requeue(&self, context: &Rc<Context>, turn: TurnInProgress) {
        self.stats.waiting.up();
        context.ready.borrow_mut().park(turn);
        self.join_ring(context);
    }

    /// Takes the turns of a context that have begun out of the queue.
    pub(crate) fn take_begun(&self, context: &Context) -> Vec<TurnInProgress> {
        let begun: Vec<_> = context.ready.borrow_mut().take_parked().collect();
        begun.iter().for_each(|_| self.stats.waiting.down());
        begun
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
                self.join_ring(context);
            }
            Exclusive::Hold(promise) => {
                self.stats.waiting.down();
                promise.keep(());
            }
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
                let next = context.ready.borrow_mut().take(self.context_queries_max);
                let Some(job) = next else {
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use corelet_store::ContextSlot;
    use proptest::prelude::*;

    use super::*;
    use crate::fixture;
    use crate::turn::What;

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
            let method = Arc::from("method");
            let what = match is_update {
                true => What::Update(method),
                false => What::Query(method),
            };
            let begin = Begin {
                what,
                args: Bytes::copy_from_slice(&number.to_le_bytes()),
                caller: Arc::from("caller"),
                deadline: Instant::now() + Duration::from_secs(600),
                promise: Some(promise().0),
                keyed: None,
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
            assert!(!bench.schedule.may_run_now(&bench.contexts[0], false));
            // Rounds that pay back debt run nothing.
            ran.pop()
        };
        let next = |ends| (0..8).find_map(|_| one(ends)).unwrap();
        assert_eq!([next(false), next(false)], [1, 2]);
        assert_eq!(next(false), 4, "the third query waits, the update does not");
        assert_eq!([next(false), next(false)], [0, 0], "both queries go on");
        assert_eq!(next(true), 0, "the update ends");
        assert_eq!(next(true), 0, "the first query ends");
        assert_eq!(next(false), 3, "and makes room for the third");
        assert_eq!([next(false), next(false)], [0, 5]);
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
        assert_eq!(
            bench.contexts[0].credit.get(),
            -SLICES_OF_DEBT_MAX * bench.slice_fuel as i64
        );
        let mut rounds = 0;
        while bench
            .stretch(|_| bench.slice_fuel / 8)
            .iter()
            .all(|(n, _)| *n == 1)
        {
            rounds += 1;
        }
        assert!((2..=4 * SLICES_OF_DEBT_MAX).contains(&rounds), "{rounds}");
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
        assert!(!bench.schedule.may_run_now(&bench.contexts[0], false));
    }

    #[test]
    fn queries_do_not_wait_for_the_updates_of_their_context() {
        let bench = Bench::new(1);
        let context = &bench.contexts[0];
        assert!(bench.schedule.may_run_now(context, true));
        // An update is between two slices.
        context.updating.set(true);
        assert!(bench.schedule.may_run_now(context, false));
        assert!(!bench.schedule.may_run_now(context, true));
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
        assert!(!bench.schedule.may_run_now(context, true));
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
        assert!(!bench.schedule.may_run_now(&bench.contexts[0], false));
        assert!(bench.schedule.may_run_now(&bench.contexts[1], false));
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
    fn who_works_on_the_ring_is_woken_by_the_first_call_in_it() {
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
                // What pays back debt is not stuck.
                let in_debt = bench.contexts.iter().any(|context| context.credit.get() < 0);
                prop_assert!(!more.is_empty() || in_debt);
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
                prop_assert!(!bench.contexts[usize::from(n)].in_ring.get());
                prop_assert!(!bench.contexts[usize::from(n)].updating.get());
            }
        }
    }
}
