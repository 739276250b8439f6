//! Turns of one shard, of jobs that spend what the test says.

use std::time::{Duration, Instant};

use bytes::Bytes;
use corelet_store::ContextSlot;
use proptest::prelude::*;

use super::*;
use crate::chain::Link;
use crate::fixture;
use crate::ready::Uninspected;
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

    fn enqueue_asked(&self, context: u8, is_update: bool, number: u64, asked: Option<Box<Asked>>) {
        let begin = self.begin(is_update, number, asked);
        let context = &self.contexts[usize::from(context)];
        self.schedule.enqueue(context, begin);
    }

    fn begin(&self, is_update: bool, number: u64, asked: Option<Box<Asked>>) -> Begin {
        let method = Arc::from("method");
        let what = match is_update {
            true => What::Update(method),
            false => What::Query(method),
        };
        Begin {
            what,
            row: Row::NONE,
            args: Bytes::copy_from_slice(&number.to_le_bytes()),
            caller: Arc::from("caller"),
            deadline: Instant::now() + Duration::from_secs(600),
            promise: Some(promise().0),
            upgrades: 0,
            keyed: None,
            asked,
        }
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
                Job::Inspect(_) => unreachable!("nobody looks at calls here"),
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

/// However many slices a look takes, and wherever it is had.
#[test]
fn updates_that_wait_for_a_look_are_queued_in_the_order_of_coming() {
    let bench = Bench::new(1);
    let context = &bench.contexts[0];
    assert!(bench.schedule.may_go_on_now(context));
    for number in 1..=3 {
        let begin = bench.begin(true, number, None);
        bench.schedule.enqueue_uninspected(context, begin);
    }
    assert!(
        !bench.schedule.may_go_on_now(context),
        "one that comes now would overtake them"
    );
    assert_eq!((context.waiting(), bench.stats.waiting.get()), (3, 3));
    let (mut ran, mut looks) = (Vec::new(), 0);
    // Of stretches that are used up by one slice of a look; the first look has two.
    for _ in 0..20 {
        bench.schedule.stretch(|context, job| match job {
            Job::Inspect(Uninspected::Waiting(begin)) if looks == 0 => {
                looks += 1;
                bench.schedule.spend(context, bench.slice_fuel);
                let inspection = fixture::inspection(begin);
                bench
                    .schedule
                    .requeue_inspection(context, Box::new(inspection));
            }
            Job::Inspect(uninspected) => {
                looks += 1;
                bench.schedule.spend(context, bench.slice_fuel);
                let begin = match uninspected {
                    Uninspected::Waiting(begin) => begin,
                    Uninspected::Begun(inspection) => inspection.into_begin(),
                };
                bench.schedule.enqueue(context, begin);
            }
            Job::Begin(begin) => {
                ran.push(number_of(&begin));
                bench.schedule.spend(context, 1);
                bench.schedule.update_ended(context);
            }
            Job::Resume(_) => unreachable!("no call here has a second slice"),
        });
    }
    assert_eq!((ran, looks), (vec![1, 2, 3], 4));
    assert_eq!((context.waiting(), bench.stats.waiting.get()), (0, 0));
    assert!(!context.in_line.get());
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
