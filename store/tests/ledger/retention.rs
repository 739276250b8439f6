//! What is kept of events and deltas, in steps: bounds by count, bytes and age. What other nodes
//! may still need is in `members.rs`.

use std::ops::ControlFlow;
use std::time::Duration;

use corelet_store::{
    Change, Collected, ContextSlot, Head, Hlc, Keep, Ledger, Packs, Reach, Retention, StepBounds,
};

use crate::{Bench, event, id, set};

const ALL: Keep = Keep {
    count_max: u64::MAX,
    bytes_max: u64::MAX,
    age_max: Duration::from_secs(1 << 40),
};
pub(crate) const KEEP_ALL: Retention = Retention {
    events: ALL,
    history: ALL,
    away_max: Duration::from_secs(1 << 40),
    away_bytes_max: u64::MAX,
    packs: PACKS,
};
/// Small, so that there are some.
const PACKS: Packs = Packs {
    alone: 1,
    together: 3,
};
/// As little as possible.
pub(crate) const KEEP_NOTHING: Retention = Retention {
    events: Keep {
        count_max: 0,
        ..ALL
    },
    history: Keep {
        count_max: 0,
        ..ALL
    },
    ..KEEP_ALL
};
pub(crate) const SPAN: u64 = 64;

pub(crate) fn at(micros: u64) -> Hlc {
    Hlc::from_micros(micros)
}

/// Two rounds, as one may begin in the middle.
pub(crate) fn collect(ledger: &Ledger, retention: &Retention, now: Hlc) -> Vec<Collected> {
    let mut steps = Vec::new();
    let mut rounds = 0;
    while rounds < 2 {
        let step = ledger
            .collect(retention, now, &StepBounds::default())
            .unwrap();
        rounds += u32::from(step.is_round_over);
        assert!(step.damaged.is_empty(), "{:?}", step.damaged);
        steps.push(step);
    }
    steps
}

pub(crate) fn head(bench: &Bench, slot: ContextSlot) -> Head {
    bench.ledger().snapshot().unwrap().head(slot).unwrap()
}

/// So many calls, each with an event.
pub(crate) fn tell(bench: &mut Bench, n: u8, slot: ContextSlot, calls: u32, payload: &[u8]) {
    let batch = (0..calls).map(|call| {
        let mut effects = bench.effects(n, slot, vec![set(call.to_be_bytes(), payload)]);
        effects.events = vec![event("told", payload)];
        Change::Call(effects)
    });
    let batch = batch.collect();
    bench.commit(batch);
}

fn sequences(bench: &Bench, slot: ContextSlot) -> Vec<u64> {
    let snapshot = bench.ledger().snapshot().unwrap();
    let mut found = Vec::new();
    snapshot
        .events(slot, 0, usize::MAX, &mut |event| {
            found.push(event.sequence);
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

#[test]
fn events_are_kept_within_bounds_by_count_bytes_and_age() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    tell(&mut bench, 1, slot, 300, &[7; 96]);
    let now = at(bench.now);
    collect(bench.ledger(), &KEEP_ALL, now);
    assert_eq!(sequences(&bench, slot).len(), 300);
    let keep = |events| Retention { events, ..KEEP_ALL };

    let by_count = keep(Keep {
        count_max: 250,
        ..ALL
    });
    let steps = collect(bench.ledger(), &by_count, now);
    assert_eq!(steps.iter().map(|step| step.events).sum::<u64>(), 50);
    assert_eq!(sequences(&bench, slot), (51..=300).collect::<Vec<_>>());
    bench.verify();

    // Kind and payload have 100 bytes.
    let by_bytes = keep(Keep {
        bytes_max: 20_050,
        ..ALL
    });
    collect(bench.ledger(), &by_bytes, now);
    assert_eq!(sequences(&bench, slot), (101..=300).collect::<Vec<_>>());
    bench.reopen();
    bench.verify();

    let by_age = keep(Keep {
        age_max: Duration::from_micros(99),
        ..ALL
    });
    collect(bench.ledger(), &by_age, now);
    assert_eq!(sequences(&bench, slot), (201..=300).collect::<Vec<_>>());
    let first = head(&bench, slot).events_first;
    assert_eq!(first, 201);

    // Numbers go on, also when nothing is left.
    collect(bench.ledger(), &KEEP_NOTHING, now);
    assert_eq!(sequences(&bench, slot), Vec::<u64>::new());
    bench.reopen();
    tell(&mut bench, 1, slot, 1, b"x");
    assert_eq!(sequences(&bench, slot), [301]);
    let head = head(&bench, slot);
    assert_eq!((head.events_first, head.events_last), (301, 301));
    bench.verify();
}

#[test]
fn one_event_that_is_larger_than_what_is_kept_stays_until_the_next() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    let retention = Retention {
        events: Keep {
            bytes_max: 10,
            ..ALL
        },
        ..KEEP_ALL
    };
    tell(&mut bench, 1, slot, 2, &[1; 1000]);
    collect(bench.ledger(), &retention, at(bench.now));
    assert_eq!(sequences(&bench, slot), [2]);
}

#[test]
fn history_is_kept_within_bounds_by_count_bytes_and_age() {
    for kept in [
        Keep {
            count_max: 200,
            ..ALL
        },
        Keep {
            bytes_max: 60_000,
            ..ALL
        },
        Keep {
            age_max: Duration::from_micros(200),
            ..ALL
        },
    ] {
        let mut bench = Bench::new();
        let slot = bench.create(1);
        let other = bench.create(2);
        tell(&mut bench, 1, slot, 500, &[7; 40]);
        tell(&mut bench, 2, other, 10, &[7; 40]);
        let retention = Retention {
            history: kept,
            ..KEEP_ALL
        };
        let before = head(&bench, slot);
        collect(bench.ledger(), &retention, at(bench.now));
        let after = head(&bench, slot);
        let left = after.log_count;
        assert!(
            (500 - left).is_multiple_of(SPAN) && (140..=264).contains(&left),
            "{left} with {kept:?}"
        );
        assert_eq!(
            (after.root, after.deltas.clone()),
            (before.root, before.deltas)
        );
        assert_eq!(head(&bench, other).log_count, 10);
        bench.verify();
        bench.reopen();
        tell(&mut bench, 1, slot, 1, b"on");
        assert_eq!(bench.verify().deltas, left + 11);
    }
}

/// The newest delta stays, and so does the span that it is in.
#[test]
fn the_newest_deltas_stay_whatever_the_bounds_say() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    for calls in [63, 1, 1, 130] {
        tell(&mut bench, 1, slot, calls, b"x");
        collect(bench.ledger(), &KEEP_NOTHING, at(bench.now));
        let left = head(&bench, slot).log_count;
        assert!((1..=SPAN).contains(&left), "{left}");
        bench.verify();
        bench.reopen();
    }
}

/// Large deltas make short spans; what each has replaced counts as well.
#[test]
fn few_large_deltas_can_be_dropped_as_well() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    for _ in 0..6 {
        tell(&mut bench, 1, slot, 1, &[1; 200_000]);
    }
    let retention = Retention {
        history: Keep {
            bytes_max: 1_300_000,
            ..ALL
        },
        ..KEEP_ALL
    };
    collect(bench.ledger(), &retention, at(bench.now));
    assert_eq!(head(&bench, slot).log_count, 2);
    bench.verify();
}

#[test]
fn a_step_is_bounded_and_a_crash_between_two_loses_nothing() {
    let mut bench = Bench::new();
    let slots = [1, 2, 3].map(|n| bench.create(n));
    for (n, slot) in (1..).zip(slots) {
        tell(&mut bench, n, slot, 400, &[3; 30]);
    }
    let bounds = StepBounds {
        rows_max: 70,
        bytes_max: 1 << 20,
    };
    let effects = bench.effects(1, slots[0], vec![]);
    let mut now = bench.now;
    let mut rounds = 0;
    let mut dropped = (0, 0);
    while rounds < 2 {
        let mut writer = bench.ledger().writer();
        let mut collect = || {
            let step = writer.collect(&KEEP_NOTHING, at(now), &bounds, Reach::All);
            step.unwrap()
        };
        let mut step = collect();
        if step.is_full && step.rows == 0 {
            // It has asked for space, and done nothing else.
            step = collect();
        }
        // What it was about when it was full is finished: a span, and looking at marks.
        assert!(step.rows < 70 + 2 * SPAN + 10, "{step:?}");
        dropped = (dropped.0 + step.events, dropped.1 + step.deltas);
        rounds += u32::from(step.is_round_over);
        // Neither this step nor the call behind it is in LMDB yet; the call is in the journal.
        now += 1;
        let mut effects = effects.clone();
        effects.hlc = at(now);
        effects.events = vec![event("told", b"meanwhile")];
        let outcome = writer.commit(vec![Change::Call(effects)]).unwrap();
        outcome
            .verdicts
            .into_iter()
            .for_each(|verdict| drop(verdict.unwrap()));
        if step.deltas.is_multiple_of(2) {
            writer.checkpoint().unwrap();
        }
        drop(writer);
        bench.reopen();
        bench.verify();
    }
    assert!(
        dropped.0 >= 1200 && dropped.1 >= 1200 - 3 * SPAN,
        "{dropped:?}"
    );
}

/// Steps of which each can do less than what the first context tells between two of them; and
/// how many of those were needed until the second one, which has told something before, is done.
fn steps_beside_a_hot_context(reach: Reach) -> u32 {
    const STEPS: u32 = 200;
    let mut bench = Bench::new();
    let [hot, other] = [1, 2].map(|n| bench.create(n));
    tell(&mut bench, 2, other, 30, &[3; 30]);
    if reach == Reach::All {
        // Then nobody remembers that it has grown.
        bench.reopen();
    }
    let bounds = StepBounds {
        rows_max: 10,
        bytes_max: 1 << 20,
    };
    for step in 1..=STEPS {
        tell(&mut bench, 1, hot, 40, &[3; 30]);
        let mut writer = bench.ledger().writer();
        let now = at(bench.now);
        let collected = writer.collect(&KEEP_NOTHING, now, &bounds, reach).unwrap();
        assert!(collected.rows >= 10, "there is always more: {collected:?}");
        writer.checkpoint().unwrap();
        drop(writer);
        if sequences(&bench, other).is_empty() {
            return step;
        }
    }
    panic!("after {STEPS} steps it has never come to the other context");
}

#[test]
fn a_context_that_always_grows_does_not_keep_others_that_have_grown_waiting() {
    let steps = steps_beside_a_hot_context(Reach::Grown);
    assert!(steps <= 12, "{steps}, although every second one is its own");
}

/// Nor does it hold up a round for longer than some steps.
#[test]
fn a_context_that_always_grows_does_not_hold_up_a_round() {
    let steps = steps_beside_a_hot_context(Reach::All);
    assert!(steps <= 150, "{steps}");
}

/// A format without marks has left it.
#[test]
fn the_history_of_an_older_ledger_is_cut_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = crate::fixtures::open(dir.path(), "format-4");
    let slot = |ledger: &Ledger, n| {
        let context = ledger.snapshot().unwrap().context(&id(n)).unwrap();
        context.unwrap().slot
    };
    let one = slot(&ledger, 1);
    let before = ledger.snapshot().unwrap().head(one).unwrap();
    assert!(before.log_count > SPAN, "{}", before.log_count);
    collect(&ledger, &KEEP_NOTHING, Hlc::from_bits(u64::MAX));
    let after = ledger.snapshot().unwrap().head(one).unwrap();
    assert!(after.log_count <= SPAN, "{}", after.log_count);
    assert_eq!(after.events_first, after.events_last + 1);
    corelet_store::verify(&ledger.snapshot().unwrap()).unwrap();
}

/// It is not hashed, as nobody could name it as a parent: then a step would end behind it.
#[test]
fn large_deltas_and_events_are_counted() {
    const BYTES: usize = 1 << 20;
    let mut bench = Bench::new();
    let slot = bench.create(1);
    for _ in 0..4 {
        tell(&mut bench, 1, slot, 1, &vec![1; BYTES]);
    }
    let mut steps = Vec::new();
    while steps.len() < 20 {
        let step = bench
            .ledger()
            .collect(&KEEP_NOTHING, at(bench.now), &StepBounds::default())
            .unwrap();
        let is_over = step.is_round_over;
        // An event or a span with its mark, beside what the next look has come to.
        assert!(step.bytes <= 3 * (2 * BYTES as u64 + 4096), "{step:?}");
        assert!(step.events + step.deltas <= 2, "{step:?}");
        steps.push(step);
        if is_over && head(&bench, slot).log_count == 1 {
            break;
        }
    }
    assert!(steps.iter().map(|step| step.events).sum::<u64>() == 4);
}
