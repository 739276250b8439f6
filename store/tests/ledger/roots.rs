//! Roots that are worked out together never show: calls in one batch come to the same as each
//! in a batch of its own, and as each by itself when they come out of the journal again.

use corelet_store::{Change, ContextSlot, Op, Space, Write};
use proptest::prelude::*;

use crate::{Bench, event, id, remove, set};

const CONTEXTS: std::ops::Range<u8> = 1..4;

/// What a call does.
#[derive(Clone, Debug)]
enum Kind {
    Put(u16, u8),
    Add(u16),
    Private(u16),
    Remove(u16),
    Many(Vec<(u16, u8)>),
    Tell,
    PutAndTell(u16, u8),
    Nothing,
    /// Adds to what is no counter.
    Refused,
}

fn kind() -> impl Strategy<Value = Kind> {
    let key = || 0..300_u16;
    prop_oneof![
        20 => (key(), any::<u8>()).prop_map(|(key, value)| Kind::Put(key, value)),
        4 => key().prop_map(Kind::Add),
        1 => key().prop_map(Kind::Private),
        3 => key().prop_map(Kind::Remove),
        2 => prop::collection::vec((key(), any::<u8>()), 2..40).prop_map(Kind::Many),
        1 => Just(Kind::Tell),
        3 => (key(), any::<u8>()).prop_map(|(key, value)| Kind::PutAndTell(key, value)),
        1 => Just(Kind::Nothing),
        1 => Just(Kind::Refused),
    ]
}

fn put(key: u16, value: u8) -> Op {
    set(key.to_be_bytes(), [value])
}

fn add(key: &[u8]) -> Op {
    let mut add = set(key, "");
    add.write = Write::Add(1);
    add
}

fn call(bench: &mut Bench, context: u8, kind: &Kind) -> Change {
    let ops = match kind {
        Kind::Put(key, value) | Kind::PutAndTell(key, value) => vec![put(*key, *value)],
        Kind::Add(key) => vec![add(&[&b"sum"[..], &key.to_be_bytes()].concat())],
        Kind::Private(key) => {
            let mut private = put(*key, 1);
            private.space = match key % 2 {
                0 => Space::Private,
                _ => Space::Agenda,
            };
            vec![private]
        }
        Kind::Remove(key) => vec![remove(key.to_be_bytes())],
        Kind::Many(puts) => puts.iter().map(|(key, value)| put(*key, *value)).collect(),
        Kind::Tell | Kind::Nothing => vec![],
        Kind::Refused => vec![add(b"register")],
    };
    let mut call = bench.effects(context, ContextSlot::UNASSIGNED, ops);
    if let Kind::Tell | Kind::PutAndTell(..) = kind {
        call.events = vec![event("told", b"so")];
    }
    Change::Call(call)
}

/// What each call of these batches was answered. In a batch nothing of a context follows a
/// refusal.
fn commit(batches: &[Vec<(u8, Kind)>], is_apart: bool) -> (Bench, Vec<String>) {
    let mut bench = Bench::new();
    for context in CONTEXTS {
        bench.create(context);
        let register = bench.call(context, ContextSlot::UNASSIGNED, vec![set("register", "")]);
        bench.commit(vec![register]);
    }
    // There each delta is noted with all that it follows.
    bench.commit(vec![Change::ShareContext(id(1))]);
    let mut told = Vec::new();
    let ledger = bench.ledger().clone();
    let mut writer = ledger.writer();
    for batch in batches {
        let mut refused = Vec::new();
        let mut changes = Vec::new();
        for (context, kind) in batch {
            if !refused.contains(context) {
                changes.push(call(&mut bench, *context, kind));
            }
            if let Kind::Refused = kind {
                refused.push(*context);
            }
        }
        let batches: Vec<Vec<Change>> = match is_apart {
            true => changes.into_iter().map(|change| vec![change]).collect(),
            false => vec![changes],
        };
        for batch in batches {
            let verdicts = writer.commit(batch).unwrap().verdicts;
            told.extend(verdicts.iter().map(|verdict| format!("{verdict:?}")));
        }
    }
    drop(writer);
    drop(ledger);
    (bench, told)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn calls_together_come_to_the_same_as_apart(
        batches in prop::collection::vec(prop::collection::vec((CONTEXTS, kind()), 1..150), 1..6),
    ) {
        let (mut together, told) = commit(&batches, false);
        let (_, told_apart) = commit(&batches, true);
        prop_assert_eq!(told, told_apart);
        // What is in the journal has to give the same deltas again, roots and all.
        together.reopen();
        together.verify();
    }
}

/// If they did not, the test above would compare one way with itself, and no fault would
/// strike the other.
#[test]
fn calls_of_one_batch_do_get_their_roots_together() {
    let mut bench = Bench::new();
    for context in CONTEXTS {
        bench.create(context);
    }
    let ledger = bench.ledger().clone();
    let mut together = |kinds: &[(u8, Kind)]| {
        let calls = kinds.iter().map(|(n, kind)| call(&mut bench, *n, kind));
        let outcome = ledger.writer().commit(calls.collect()).unwrap();
        assert!(outcome.verdicts.iter().all(Result::is_ok));
        outcome.roots_together
    };
    let puts: Vec<(u8, Kind)> = (0..12)
        .map(|n| (1 + n % 3, Kind::PutAndTell(n.into(), n)))
        .collect();
    assert_eq!(together(&puts), 12, "of three contexts, and with events");
    let same: Vec<(u8, Kind)> = (0..5).map(|n| (1, Kind::Put(0, n))).collect();
    assert_eq!(together(&same), 5, "of one key");
    assert_eq!(together(&[(1, Kind::Put(0, 9))]), 0, "there is no other");
    let parted = [
        (1, Kind::Put(0, 1)),
        (2, Kind::Add(2)),
        (1, Kind::Remove(0)),
        (1, Kind::Put(0, 2)),
    ];
    assert_eq!(together(&parted), 2, "a removal waits for none");
}
