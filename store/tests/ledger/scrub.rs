//! The slow scrub: it comes by everything, a few records at a time, finds every flipped bit
//! that is in use, and takes nothing for damage that is none.

use corelet_store::{Change, ContextSlot, Damage, Op, Scrub, Scrubbed, StepBounds, Write};

use crate::damage::flip;
use crate::{Bench, event, id, set};

const SMALL: StepBounds = StepBounds {
    rows_max: 7,
    bytes_max: 1 << 20,
};

fn scrub(bench: &Bench, bounds: &StepBounds) -> Vec<Scrubbed> {
    let mut scrub = Scrub::default();
    let mut steps = Vec::new();
    loop {
        let snapshot = bench.ledger().snapshot().unwrap();
        let step = scrub.step(&snapshot, bounds).unwrap();
        let is_over = step.is_round_over;
        steps.push(step);
        if is_over {
            return steps;
        }
    }
}

fn filled() -> (Bench, [ContextSlot; 2]) {
    let mut bench = Bench::new();
    let slots = [1, 2].map(|n| bench.create(n));
    for (n, slot) in (1..).zip(slots) {
        for call in 0..70_u8 {
            let text = format!("value {call} of context {n}");
            let mut effects = bench.effects(n, slot, vec![set([call], &text)]);
            effects.ops.push(Op::shared("list".into(), Write::Add(1)));
            effects.events = vec![event(
                "told",
                format!("event {call} of context {n}").as_bytes(),
            )];
            bench.commit(vec![Change::Call(effects)]);
        }
    }
    bench.commit(vec![
        Change::ShareContext(id(2)),
        Change::PutName {
            name: "two".to_owned(),
            context: id(2),
        },
    ]);
    (bench, slots)
}

#[test]
fn a_clean_ledger_is_scrubbed_in_bounded_steps_without_a_finding() {
    let (mut bench, _) = filled();
    let steps = scrub(&bench, &SMALL);
    for step in &steps {
        // A node of a trie is read with the 16 that lie below it, and counts twice.
        assert!(step.rows <= 6 + 2 + 16, "{step:?}");
        assert!(
            step.damaged.is_empty() && step.orphans.is_empty(),
            "{step:?}"
        );
    }
    let rows: u64 = steps.iter().map(|step| step.rows).sum();
    // An entry, a delta and an event for each call.
    assert!(rows > 2 * 3 * 70, "{rows}");
    let all = scrub(
        &bench,
        &StepBounds {
            rows_max: u64::MAX,
            bytes_max: u64::MAX,
        },
    );
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].rows, rows);

    // What is deleted and not yet swept is nobody's damage, and no orphan.
    bench.commit(vec![Change::DeleteContext(id(1))]);
    bench.ledger().sweep(50).unwrap();
    for step in scrub(&bench, &SMALL) {
        assert!(
            step.damaged.is_empty() && step.orphans.is_empty(),
            "{step:?}"
        );
    }
    while bench.ledger().sweep(50).unwrap().is_more {}
    let call = bench.new_context(3);
    bench.commit(vec![call]);
    assert!(
        scrub(&bench, &SMALL)
            .iter()
            .all(|step| step.damaged.is_empty())
    );
}

#[test]
fn damage_is_found_with_the_context_that_it_has_hit() {
    for needle in ["value 33 of context 2", "event 44 of context 2"] {
        let (mut bench, slots) = filled();
        bench.close();
        flip(&bench, needle.as_bytes(), 4);
        bench.reopen();
        let found: Vec<_> = scrub(&bench, &SMALL)
            .into_iter()
            .flat_map(|step| step.damaged)
            .collect();
        // In its table and in the log, where it is also beyond telling whose it is.
        assert!(found.len() >= 2, "{found:?}");
        assert!(found.iter().any(|damage| damage.slot == Some(slots[1])));
        assert!(found.iter().all(|damage| damage.slot != Some(slots[0])));
        let named = |damage: &Damage| damage.slot.is_none() || damage.context == Some(id(2));
        assert!(found.iter().all(named), "{found:?}");
    }
}

/// A bucket lists up to 16 entries, each as large as it likes: they are not hashed in one go.
#[test]
fn a_step_over_large_entries_ends_between_two_of_them() {
    const BYTES: u64 = 100 << 10;
    let mut bench = Bench::new();
    let slot = bench.create(1);
    for n in 0..14_u8 {
        let call = bench.call(1, slot, vec![set([n], vec![n; BYTES as usize])]);
        bench.commit(vec![call]);
    }
    let bounds = StepBounds {
        rows_max: 64,
        bytes_max: 64 << 10,
    };
    let steps = scrub(&bench, &bounds);
    for step in &steps {
        assert!(
            step.bytes < (64 << 10) + BYTES + 4096,
            "{} bytes",
            step.bytes
        );
        assert!(step.damaged.is_empty(), "{step:?}");
    }
    // Each of them in its own record, in the log, and for the bucket.
    let bytes: u64 = steps.iter().map(|step| step.bytes).sum();
    assert!((3 * 14 * BYTES..3 * 15 * BYTES).contains(&bytes), "{bytes}");
}
