//! The ledger against the simplest thing that could be right: a map of maps in
//! memory. Random batches, refusals, deletions, sweeps and restarts; after each
//! step both must say the same, and the ledger must agree with itself.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use corelet_store::{BatchOutcome, Change, ContextSlot, Refused, Scan, StoreError};
use proptest::prelude::*;

use crate::{Bench, event, id, remove, set, value_of};

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Act>),
    /// Some by one writer, which may stay in the journal.
    Journaled(Vec<Vec<Act>>),
    Sweep(usize),
    Restart,
}

#[derive(Clone, Debug)]
enum Act {
    Create(u8),
    Delete(u8),
    Call {
        context: u8,
        writes: Vec<(u8, Option<Vec<u8>>)>,
        events: u8,
    },
}

#[derive(Default)]
struct ModelContext {
    slot: Option<ContextSlot>,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    version: u64,
    events: u64,
    deltas: u64,
}

fn act() -> impl Strategy<Value = Act> {
    let context = 0..4_u8;
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Some),
        1 => (2000..9000_usize).prop_map(|length| Some(vec![7; length])),
        2 => Just(None),
    ];
    prop_oneof![
        2 => context.clone().prop_map(Act::Create),
        1 => context.clone().prop_map(Act::Delete),
        8 => (context, prop::collection::vec((0..12_u8, value), 0..6), 0..3_u8)
            .prop_map(|(context, writes, events)| Act::Call { context, writes, events }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(act(), 0..12).prop_map(Step::Batch),
        8 => prop::collection::vec(prop::collection::vec(act(), 0..6), 1..6)
            .prop_map(Step::Journaled),
        1 => (1..20_usize).prop_map(Step::Sweep),
        1 => Just(Step::Restart),
    ]
}

fn run(steps: &[Step]) {
    let mut bench = Bench::new();
    let mut model: BTreeMap<u8, ModelContext> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Sweep(max) => drop(bench.ledger().sweep(*max).unwrap()),
            Step::Restart => bench.reopen(),
            Step::Batch(acts) => {
                let ledger = bench.ledger().clone();
                let mut writer = ledger.writer();
                step_of(&mut bench, &mut model, acts, |batch| {
                    writer.commit_shown(batch)
                });
            }
            Step::Journaled(batches) => {
                // What is not shown is replayed by the next writer.
                let ledger = bench.ledger().clone();
                let mut writer = ledger.writer();
                for acts in batches {
                    step_of(&mut bench, &mut model, acts, |batch| writer.commit(batch));
                }
            }
        }
        // A look would bring the journal in; some are left to grow.
        if !matches!(step, Step::Journaled(_)) {
            bench.ledger().writer().checkpoint().unwrap();
            compare(&bench, &model);
        }
    }
    while bench.ledger().sweep(7).unwrap().is_more {}
    compare(&bench, &model);
    let stats = bench.ledger().stats().unwrap();
    assert_eq!(
        stats.entries,
        model
            .values()
            .map(|context| context.state.len() as u64)
            .sum::<u64>()
    );
    assert_eq!(
        stats.deltas,
        model.values().map(|context| context.deltas).sum::<u64>()
    );
    assert_eq!(
        stats.events,
        model.values().map(|context| context.events).sum::<u64>()
    );
}

fn step_of(
    bench: &mut Bench,
    model: &mut BTreeMap<u8, ModelContext>,
    acts: &[Act],
    commit: impl FnOnce(Vec<Change>) -> Result<BatchOutcome, StoreError>,
) {
    let batch = acts.iter().map(|act| change(bench, model, act)).collect();
    let verdicts = commit(batch).unwrap().verdicts;
    assert_eq!(verdicts.len(), acts.len());
    for (act, verdict) in acts.iter().zip(verdicts) {
        apply(model, act, verdict);
    }
}

fn change(bench: &mut Bench, model: &BTreeMap<u8, ModelContext>, act: &Act) -> Change {
    match act {
        Act::Create(n) => bench.new_context(*n),
        Act::Delete(n) => Change::DeleteContext(id(*n)),
        Act::Call {
            context,
            writes,
            events,
        } => {
            // Half of the calls know the slot, as the server does. One that was
            // deleted earlier in the batch makes them late.
            let known = model
                .get(context)
                .and_then(|context| context.slot)
                .filter(|_| writes.len() % 2 == 0);
            let ops = writes.iter().map(|(key, value)| match value {
                Some(value) => set([*key], value),
                None => remove([*key]),
            });
            let mut effects = bench.effects(
                *context,
                known.unwrap_or(ContextSlot::UNASSIGNED),
                ops.collect(),
            );
            effects.events = (0..*events).map(|n| event("event", &[n])).collect();
            Change::Call(effects)
        }
    }
}

fn apply(model: &mut BTreeMap<u8, ModelContext>, act: &Act, verdict: corelet_store::Verdict) {
    match (act, verdict) {
        (Act::Create(n), Ok(receipt)) => {
            let slot = Some(receipt.slot());
            assert!(
                model
                    .insert(
                        *n,
                        ModelContext {
                            slot,
                            ..ModelContext::default()
                        }
                    )
                    .is_none()
            );
        }
        (Act::Create(n), Err(Refused::ContextExists { .. })) => assert!(model.contains_key(n)),
        (Act::Delete(n), Ok(_)) => assert!(model.remove(n).is_some()),
        (Act::Delete(n), Err(Refused::UnknownContext { .. })) => assert!(!model.contains_key(n)),
        (
            Act::Call { context, .. },
            Err(Refused::UnknownContext { .. } | Refused::BehindRefused { .. }),
        ) => {
            // Also a call to the slot of a context that was deleted and made
            // again within the batch: to it, the context is gone.
            let _ = context;
        }
        (
            Act::Call {
                context,
                writes,
                events,
            },
            Ok(receipt),
        ) => {
            let context = model.get_mut(context).unwrap();
            for (key, value) in writes {
                match value {
                    Some(value) => drop(context.state.insert(vec![*key], value.clone())),
                    None => drop(context.state.remove(&vec![*key])),
                }
            }
            context.version += u64::from(!writes.is_empty());
            context.events += u64::from(*events);
            let has_delta = !writes.is_empty() || *events > 0;
            context.deltas += u64::from(has_delta);
            assert_eq!(receipt.delta_id().is_some(), has_delta);
            assert_eq!(receipt.version(), context.version);
            assert_eq!(
                receipt.events().last().map_or(0, |event| event.sequence),
                if *events > 0 { context.events } else { 0 }
            );
        }
        (act, Err(refused)) => panic!("{act:?}: {refused}"),
    }
}

fn compare(bench: &Bench, model: &BTreeMap<u8, ModelContext>) {
    let snapshot = bench.ledger().snapshot().unwrap();
    let ids: Vec<_> = snapshot
        .contexts(None, 100)
        .unwrap()
        .into_iter()
        .map(|context| context.id)
        .collect();
    assert_eq!(ids, model.keys().map(|n| id(*n)).collect::<Vec<_>>());
    assert_eq!(snapshot.context_count().unwrap(), model.len() as u64);
    for (n, context) in model {
        let slot = snapshot.context(&id(*n)).unwrap().unwrap().slot;
        assert_eq!(Some(slot), context.slot);
        let head = snapshot.head(slot).unwrap();
        assert_eq!(
            (head.version, head.events_last),
            (context.version, context.events)
        );
        assert_eq!(head.entries, context.state.len() as u64);
        assert_eq!(
            head.bytes,
            context
                .state
                .iter()
                .map(|(key, value)| (key.len() + value.len()) as u64)
                .sum::<u64>()
        );
        let mut state = BTreeMap::new();
        snapshot
            .scan(
                slot,
                Scan {
                    limit: usize::MAX,
                    ..Scan::default()
                },
                &mut |entry| {
                    state.insert(entry.key().to_vec(), value_of(&entry)?.to_vec());
                    Ok(ControlFlow::Continue(()))
                },
            )
            .unwrap();
        assert_eq!(state, context.state);
    }
    bench.verify();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_agrees_with_a_map_in_memory(steps in prop::collection::vec(step(), 1..25)) {
        run(&steps);
    }
}
