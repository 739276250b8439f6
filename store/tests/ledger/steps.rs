//! Steps of the collector, the sweep and the scrub: none goes on for longer than its clock says,
//! none makes a checkpoint, and what a crash undoes is done again. The clocks are made up, so that each look at one is
//! a leap.

use std::cell::Cell;

use corelet_store::{
    AnswerKey, Budget, Change, ContextSlot, Hlc, KeyedAnswer, LedgerWriter, Reach, RequestDigest,
    Said, Scrub, StepBounds, Swept,
};

use crate::retention::{KEEP_NOTHING, SPAN, at, head, tell};
use crate::{Bench, event, id, set};

/// As many records as a step can do when its time is over at its first look at the clock, unless one look
/// for something takes more.
const UNTIL_FIRST_LOOK: u64 = 8;

const ALL: StepBounds = StepBounds {
    rows_max: u64::MAX,
    bytes_max: u64::MAX,
};

/// Does `step` with a clock that is late whenever it is looked at. Tells how often it was.
fn late<T>(step: impl FnOnce(Budget<'_>) -> T) -> (T, u32) {
    let looks = Cell::new(0);
    let leap = || {
        looks.set(looks.get() + 1);
        true
    };
    let done = step(ALL.until(&leap));
    (done, looks.get())
}

fn fill(bench: &mut Bench, n: u8, slot: ContextSlot, entries: u32) {
    let ops = (0..entries).map(|n| set(n.to_be_bytes(), "value"));
    let mut effects = bench.effects(n, slot, ops.collect());
    effects.events = vec![event("filled", b"")];
    bench.commit(vec![Change::Call(effects)]);
}

fn sweep_late(writer: &mut LedgerWriter<'_>) -> Swept {
    let (swept, looks) = late(|budget| writer.sweep(budget));
    assert!(looks <= 1, "it has gone on behind {looks} looks");
    swept.unwrap()
}

#[test]
fn a_step_of_the_collector_ends_when_its_time_is_over_and_the_next_goes_on() {
    let mut bench = Bench::new();
    let slots = [1, 2].map(|n| bench.create(n));
    for (n, slot) in (1..).zip(slots) {
        tell(&mut bench, n, slot, 200, &[3; 30]);
    }
    let ledger = bench.ledger().clone();
    let mut writer = ledger.writer();
    let (mut steps, mut dropped, mut rounds) = (0, (0, 0), 0);
    let (now, mut asked_for_space) = (at(bench.now), 0);
    while rounds < 2 {
        let (step, looks) = late(|budget| writer.collect(&KEEP_NOTHING, now, budget, Reach::All));
        let step = step.unwrap();
        assert!(looks <= 1, "{looks} looks: {step:?}");
        if step.is_full && step.rows == 0 {
            // That is a step by itself.
            asked_for_space += 1;
            assert!(asked_for_space <= 2, "{step:?}");
            continue;
        }
        // A span that it was looking for when its time was over is found, and some of it dropped.
        assert!(step.rows <= 2 * UNTIL_FIRST_LOOK + SPAN, "{step:?}");
        assert!(
            step.events <= UNTIL_FIRST_LOOK && step.deltas <= UNTIL_FIRST_LOOK,
            "{step:?}"
        );
        assert_eq!(step.is_full, looks == 1, "{step:?}");
        (dropped.0, dropped.1) = (dropped.0 + step.events, dropped.1 + step.deltas);
        rounds += u32::from(step.is_round_over);
        steps += 1;
    }
    assert!(steps >= 400 / UNTIL_FIRST_LOOK, "{steps}");
    assert_eq!(dropped.0, 400);
    writer.checkpoint().unwrap();
    drop(writer);
    for slot in slots {
        let left = head(&bench, slot).log_count;
        assert!((1..=SPAN).contains(&left), "{left}");
    }
    bench.verify();
}

#[test]
fn a_step_of_the_sweep_ends_when_its_time_is_over_and_the_next_goes_on() {
    let mut bench = Bench::new();
    let slots = [1, 2].map(|n| bench.create(n));
    for (n, slot) in (1..).zip(slots) {
        fill(&mut bench, n, slot, 300);
    }
    bench.commit(vec![Change::DeleteContext(id(2))]);
    let mut steps = 0;
    loop {
        let ledger = bench.ledger().clone();
        let mut writer = ledger.writer();
        let swept = sweep_late(&mut writer);
        assert!(swept.records as u64 <= UNTIL_FIRST_LOOK, "{swept:?}");
        steps += 1;
        // Some steps are lost in a crash.
        if steps % 4 != 0 {
            writer.checkpoint().unwrap();
        }
        drop(writer);
        drop(ledger);
        if steps % 4 == 0 {
            bench.reopen();
        } else if !swept.is_more {
            break;
        }
        if steps % 50 == 0 {
            bench.verify();
        }
    }
    assert!(steps >= 300 / UNTIL_FIRST_LOOK, "{steps}");
    let stats = bench.ledger().stats().unwrap();
    assert_eq!((stats.graves, stats.entries, stats.deltas), (0, 300, 1));
    bench.verify();
}

/// Nothing is left of them but that they were.
#[test]
fn many_deleted_contexts_that_were_empty_take_many_steps() {
    let mut bench = Bench::new();
    for n in 1..=60 {
        bench.create(n);
        bench.commit(vec![Change::DeleteContext(id(n))]);
    }
    let mut writer = bench.ledger().writer();
    let mut steps = 1;
    while writer.sweep(&StepBounds::rows(64)).unwrap().is_more {
        steps += 1;
    }
    assert!(steps > 6, "{steps}");
    writer.checkpoint().unwrap();
    drop(writer);
    assert_eq!(bench.ledger().stats().unwrap().graves, 0);
}

#[test]
fn a_step_over_old_answers_ends_when_its_time_is_over_and_the_next_goes_on() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    for n in 0..100_u8 {
        let mut effects = bench.effects(1, slot, vec![]);
        effects.answer = Some(Box::new(KeyedAnswer {
            key: AnswerKey::of(&[n]),
            request: RequestDigest::of(b"method", &[n]),
            fuel_used: 1,
            said: Said::Output("1".into()),
        }));
        bench.commit(vec![Change::Call(effects)]);
    }
    let ledger = bench.ledger().clone();
    let mut writer = ledger.writer();
    let mut from = Some(ContextSlot::UNASSIGNED);
    let (mut steps, mut answers) = (0, 0);
    while let Some(slot) = from {
        let (expired, looks) = late(|budget| writer.expire_answers(Hlc::MAX, slot, budget));
        let expired = expired.unwrap();
        assert!(looks <= 1 && expired.answers <= 16, "{looks}: {expired:?}");
        answers += expired.answers;
        steps += 1;
        from = expired.next;
    }
    assert!(steps > 6 && answers == 100, "{answers} in {steps}");
}

#[test]
fn a_step_of_the_scrub_ends_when_its_time_is_over_and_the_next_goes_on() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    fill(&mut bench, 1, slot, 100);
    let mut scrub = Scrub::default();
    for steps in 1.. {
        let snapshot = bench.ledger().snapshot().unwrap();
        let (step, looks) = late(|budget| scrub.step(&snapshot, budget));
        let step = step.unwrap();
        // A node of a trie is read with the 16 that lie below it.
        assert!(looks <= 1 && step.rows <= UNTIL_FIRST_LOOK + 17, "{step:?}");
        assert!(
            step.damaged.is_empty() && step.orphans.is_empty(),
            "{step:?}"
        );
        if step.is_round_over {
            assert!(steps >= 10, "{steps}");
            break;
        }
    }
}

/// What steps have done and batches have written becomes visible together, when whoever has the writer says
/// so.
#[test]
fn a_step_that_has_filled_the_transaction_says_so_and_makes_no_checkpoint() {
    let mut bench = Bench::with_map(6 << 20);
    let [slot, other] = [1, 2].map(|n| bench.create(n));
    fill(&mut bench, 2, other, 600);
    tell(&mut bench, 1, slot, 300, b"x");
    bench.commit(vec![Change::DeleteContext(id(2))]);
    let ledger = bench.ledger().clone();
    let mut writer = ledger.writer();
    let call = bench.call(1, slot, vec![set("journaled", "1")]);
    let outcome = writer.commit(vec![call]).unwrap();
    assert!(!outcome.is_shown && outcome.verdicts[0].is_ok());
    let mut due = (0, 0);
    let mut is_more = true;
    while is_more {
        let swept = writer.sweep(&StepBounds::rows(100)).unwrap();
        is_more = swept.is_more;
        let now = at(bench.now);
        let bounds = StepBounds::rows(100);
        let collected = writer.collect(&KEEP_NOTHING, now, &bounds, Reach::All);
        let collected = collected.unwrap();
        if due == (0, 0) {
            assert!(writer.has_unshown(), "it was brought in");
            assert_eq!(bench.get(slot, b"journaled"), None);
            assert_eq!(bench.ledger().stats().unwrap().graves, 1);
        }
        due.0 += u32::from(swept.is_checkpoint_due);
        due.1 += u32::from(collected.is_checkpoint_due);
        if swept.is_checkpoint_due || collected.is_checkpoint_due {
            writer.checkpoint().unwrap();
            assert_eq!(bench.get(slot, b"journaled").unwrap(), b"1");
        }
    }
    assert!(due.0 > 0 && due.1 > 0, "{due:?}");
    writer.checkpoint().unwrap();
    drop(writer);
    drop(ledger);
    assert_eq!(bench.ledger().stats().unwrap().graves, 0);
    bench.verify();
}

/// Nobody else would ask for it.
#[test]
fn what_was_swept_in_a_transaction_that_is_lost_comes_back_and_is_told() {
    let mut bench = Bench::new();
    let slot = bench.create(1);
    fill(&mut bench, 1, slot, 50);
    bench.commit(vec![Change::DeleteContext(id(1))]);
    let ledger = bench.ledger().clone();
    let mut writer = ledger.writer();
    assert!(!writer.sweep(&ALL).unwrap().is_more);
    assert!(!writer.take_unswept() && writer.has_collected());
    drop(writer);
    let mut writer = ledger.writer();
    assert!(writer.take_unswept() && !writer.take_unswept());
    let swept = writer.sweep(&ALL).unwrap();
    assert!(swept.records > 50 && !swept.is_more, "{swept:?}");
    writer.checkpoint().unwrap();
    drop(writer);
    let mut writer = ledger.writer();
    assert!(!writer.take_unswept());
    assert_eq!(writer.sweep(&ALL).unwrap().records, 0);
}

/// Of a removed text nobody needs anything any more, so the journal is replayed beside edits that are there
/// again as well as without them.
#[test]
fn calls_behind_a_sweep_that_a_crash_undoes_are_replayed_on_what_it_had_swept() {
    use corelet_store::{Births, EntryKind, Op, Write};

    let mut bench = Bench::new();
    bench.config.journal_bytes_max = 1 << 20;
    bench.reopen();
    let slot = bench.create(1);
    let edit = |n: u8| {
        let write = Write::Edit {
            kind: EntryKind::Text,
            births: Births::default(),
            update: vec![n; 10].into(),
        };
        vec![Op::shared("text".into(), write)]
    };
    let ledger = bench.ledger().clone();
    let mut writer = ledger.writer();
    let commit = |bench: &mut Bench, writer: &mut LedgerWriter<'_>, ops| {
        let call = bench.call(1, slot, ops);
        let outcome = writer.commit(vec![call]).unwrap();
        assert!(!outcome.is_shown && outcome.verdicts[0].is_ok());
    };
    for n in 1..20 {
        commit(&mut bench, &mut writer, edit(n));
        commit(&mut bench, &mut writer, vec![Op::remove("text".into())]);
        if n % 3 == 0 {
            let swept = writer.sweep(&ALL).unwrap();
            assert!(swept.records > 0 && !swept.is_more, "{swept:?}");
            assert_eq!(writer.sweep(&ALL).unwrap().records, 0);
        }
    }
    commit(&mut bench, &mut writer, edit(100));
    drop(writer);
    drop(ledger);
    bench.reopen();
    bench.verify();
    assert!(bench.ledger().stats().unwrap().edits > 1, "it is undone");
    while bench.ledger().sweep(7).unwrap().is_more {}
    assert_eq!(bench.ledger().stats().unwrap().edits, 1);
    bench.verify();
}

/// Large records have pages of their own: they are not written, but listed as free by the checkpoint.
#[test]
fn dropping_large_records_makes_a_checkpoint_due() {
    const VALUE_BYTES: usize = 8 << 20;
    const FREED_MAX: usize = 64 << 20;
    let mut bench = Bench::with_map(1 << 30);
    let slot = bench.create(1);
    let values = 2 * FREED_MAX / VALUE_BYTES;
    for n in 0..values as u32 {
        let set = set(n.to_be_bytes(), vec![7; VALUE_BYTES]);
        let effects = bench.effects(1, slot, vec![set]);
        bench.commit(vec![Change::Call(effects)]);
    }
    bench.commit(vec![Change::DeleteContext(id(1))]);
    let ledger = bench.ledger().clone();
    let mut writer = ledger.writer();
    let (mut freed, mut checkpoints) = (0, 0);
    loop {
        let swept = writer.sweep(&StepBounds::rows(1)).unwrap();
        freed += swept.bytes as usize;
        assert_eq!(swept.is_checkpoint_due, freed > FREED_MAX, "{freed}");
        if swept.is_checkpoint_due {
            writer.checkpoint().unwrap();
            (freed, checkpoints) = (0, checkpoints + 1);
        }
        if !swept.is_more {
            break;
        }
    }
    // Values lie in entries and in the log.
    assert!((2..=4).contains(&checkpoints), "{checkpoints}");
}
