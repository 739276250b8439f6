//! Histories of one key on several replicas: whatever the order in which the writes
//! arrive, as long as causes come first, the entry is the same, and it is what the
//! rules of `store/decisions/0007-state-that-merges.md` say of the whole set of writes.
//! Authors may lie about everything that they say.
//!
//! `CORELET_HISTORIES` sets how many histories are tried, and `CORELET_SEED` which.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::kind::EntryKind;
use super::merge::{Effect, append, merge};
use super::state::{SequenceState, State, Stored};
use crate::delta::BIRTH_BYTES;
use crate::edits::Basis;
use crate::histories::try_histories;
use crate::hlc::Hlc;
use crate::version::{Dot, Past, VersionVector};

/// Histories if `CORELET_HISTORIES` is not set.
const HISTORIES: u32 = 10_000;

/// What a step of a history does.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Set(u8),
    Add {
        amount: i64,
        lies: bool,
    },
    Insert,
    WriteOnce(u8),
    /// `births` says which of those that its author sees it builds on, or lies about.
    Edit {
        is_list: bool,
        births: Births,
    },
    Remove,
    /// The replica learns what another one has.
    Learn(usize),
}

#[derive(Clone, Copy, Debug)]
enum Births {
    Seen,
    None,
    /// Of a delta that its author has not seen, or that is no birth.
    Any(usize),
}

#[derive(Clone, Debug)]
struct Step {
    replica: usize,
    deed: Deed,
    removes_first: bool,
}

/// A delta of the history.
#[derive(Clone, Debug)]
struct Delta {
    dot: Dot,
    /// What its author had seen, without itself.
    seen: VersionVector,
    removes_first: bool,
    write: Done,
}

#[derive(Clone, Debug)]
enum Done {
    Set(Vec<u8>),
    Add {
        amount: i64,
        is_new_cell: bool,
    },
    Insert,
    WriteOnce(Vec<u8>),
    Edit {
        kind: EntryKind,
        births: Vec<Dot>,
        update: Vec<u8>,
    },
    Remove,
}

/// What a node has: the entry, the edits, and which deltas it has applied.
#[derive(Clone, Debug, Default)]
struct Replica {
    entry: Vec<u8>,
    edits: BTreeMap<(EntryKind, Dot), (Vec<Dot>, Told, Vec<u8>)>,
    seen: VersionVector,
    applied: Vec<usize>,
}

impl Replica {
    fn state(&self) -> State<'_> {
        State::read(&self.entry).unwrap()
    }

    fn apply(&mut self, at: usize, delta: &Delta) {
        let told;
        let effect = match &delta.write {
            Done::Set(bytes) => Effect::Set(bytes),
            Done::Add {
                amount,
                is_new_cell,
            } => Effect::Add {
                amount: *amount,
                is_new_cell: *is_new_cell,
            },
            Done::Insert => Effect::Insert,
            Done::WriteOnce(bytes) => Effect::WriteOnce(bytes),
            Done::Edit {
                kind,
                births,
                update,
            } => {
                told = Told::of(delta, births);
                Effect::Edit {
                    kind: *kind,
                    births,
                    basis: told.basis(),
                    is_sound: true,
                    update,
                }
            }
            Done::Remove => Effect::Remove,
        };
        // As a node does: nothing is concurrent to what follows everything.
        let past = match delta.seen == self.seen {
            true => Past::Everything,
            false => Past::Seen(&delta.seen),
        };
        let before = self.entry.clone();
        let old = State::read(&before).unwrap().into_stored();
        let merged = merge(
            old,
            delta.removes_first,
            &effect,
            delta.dot,
            past,
            |a, b| a.cmp(&b),
        );
        let is_kept = merged.is_kept;
        let mut state = merged.entry.map(State::from).unwrap_or_default();
        if let (Some(kind), Done::Edit { births, update, .. }) = (merged.appended, &delta.write) {
            let edit = (births.clone(), Told::of(delta, births), update.clone());
            self.edits.insert((kind, delta.dot), edit);
        }
        for kind in merged.dropped {
            let sequence = match kind {
                EntryKind::List => &mut state.list,
                _ => &mut state.text,
            };
            let births = std::mem::take(&mut sequence.births);
            let is_needed = |dot: &Dot, named: &[Dot]| match named {
                [] => births.contains(dot),
                named => named.iter().all(|birth| births.contains(birth)),
            };
            self.edits
                .retain(|(of, dot), (named, ..)| *of != kind || is_needed(dot, named));
            *sequence = SequenceState::default();
            let own = self.edits.iter().filter(|((of, _), _)| *of == kind);
            let mut own: Vec<_> = own.map(|((_, dot), edit)| (*dot, edit)).collect();
            own.sort_by_key(|(dot, _)| (dot.hlc, dot.author));
            for (dot, (_, told, update)) in own {
                append(sequence, dot, told.basis(), update);
            }
            sequence.births = births;
        }
        self.entry.clear();
        if let Some(stored) = state.into_stored() {
            State::from(stored).write(&mut self.entry);
        }
        // Then a node writes nothing.
        assert!(
            !is_kept || self.entry == before,
            "what is kept stays as it was"
        );
        self.seen.see(delta.dot);
        self.applied.push(at);
    }
}

/// Runs a history and gives its deltas and replicas.
fn run(replicas: usize, steps: &[Step]) -> (Vec<Delta>, Vec<Replica>) {
    let mut deltas: Vec<Delta> = Vec::new();
    let mut all = vec![Replica::default(); replicas];
    let mut clocks = vec![0_u64; replicas];
    for step in steps {
        let at = step.replica % replicas;
        if let Deed::Learn(from) = step.deed {
            let from = from % replicas;
            let news: Vec<usize> = all[from].applied.clone();
            for delta in news {
                if !all[at].applied.contains(&delta) {
                    clocks[at] = clocks[at].max(deltas[delta].dot.hlc.bits());
                    all[at].apply(delta, &deltas[delta]);
                }
            }
            continue;
        }
        clocks[at] += 1;
        let author = at as u32;
        let dot = Dot {
            author,
            hlc: Hlc::from_bits(clocks[at]),
        };
        let write = write_of(&step.deed, &all[at], &deltas, author, deltas.len());
        let seen = all[at].seen.clone();
        deltas.push(Delta {
            dot,
            seen,
            removes_first: step.removes_first && !matches!(write, Done::Remove),
            write,
        });
        let delta = deltas.last().unwrap().clone();
        all[at].apply(deltas.len() - 1, &delta);
    }
    (deltas, all)
}

fn write_of(deed: &Deed, replica: &Replica, deltas: &[Delta], author: u32, number: usize) -> Done {
    let state = replica.state();
    match *deed {
        Deed::Set(value) => Done::Set(vec![value]),
        Deed::Add { amount, lies } => {
            let has_cell = state.counter.iter().any(|c| c.first.author == author);
            Done::Add {
                amount,
                is_new_cell: has_cell == lies,
            }
        }
        Deed::Insert => Done::Insert,
        Deed::WriteOnce(value) => Done::WriteOnce(vec![value]),
        Deed::Edit { is_list, births } => {
            let (kind, sequence) = match is_list {
                true => (EntryKind::List, &state.list),
                false => (EntryKind::Text, &state.text),
            };
            let births = match births {
                Births::Seen => sequence.births.clone(),
                Births::None => vec![],
                Births::Any(at) => deltas
                    .iter()
                    .cycle()
                    .nth(at)
                    .map(|d| d.dot)
                    .into_iter()
                    .collect(),
            };
            let update = number.to_le_bytes().to_vec();
            Done::Edit {
                kind,
                births,
                update,
            }
        }
        Deed::Remove => Done::Remove,
        Deed::Learn(_) => unreachable!("the caller takes these"),
    }
}

/// What the rules say of a set of deltas, however they were applied.
fn model(deltas: &[Delta]) -> State<'_> {
    let is_removal = |d: &&Delta| d.removes_first || matches!(d.write, Done::Remove);
    let removals = || deltas.iter().filter(is_removal);
    let is_removed = |dot: Dot| removals().any(|removal| removal.seen.has_seen(dot));
    let mut state = State::default();
    for delta in deltas {
        let dot = delta.dot;
        match &delta.write {
            Done::Set(bytes) => {
                let is_replaced = deltas
                    .iter()
                    .any(|other| matches!(other.write, Done::Set(_)) && other.seen.has_seen(dot));
                if !is_replaced && !is_removed(dot) {
                    state.register.push(super::state::Value { dot, bytes });
                }
            }
            Done::Insert => {
                let is_replaced = deltas
                    .iter()
                    .any(|other| matches!(other.write, Done::Insert) && other.seen.has_seen(dot));
                if !is_replaced && !is_removed(dot) {
                    state.element.push(dot);
                }
            }
            Done::WriteOnce(bytes) => {
                let earlier = |value: super::state::Value<'_>| {
                    (dot.hlc, dot.author) < (value.dot.hlc, value.dot.author)
                };
                if state.once.is_none_or(earlier) {
                    state.once = Some(super::state::Value { dot, bytes });
                }
            }
            Done::Add { .. } | Done::Edit { .. } | Done::Remove => {}
        }
    }
    state.register.sort_by_key(|value| value.dot);
    state.element.sort();
    // An author's last cell, if no removal has seen its first addition.
    let authors: BTreeSet<u32> = deltas.iter().map(|d| d.dot.author).collect();
    for author in authors {
        let mut own: Vec<&Delta> = deltas.iter().filter(|d| d.dot.author == author).collect();
        own.sort_by_key(|d| d.dot);
        let mut cell: Option<super::state::Cell> = None;
        for delta in own {
            if let Done::Add {
                amount,
                is_new_cell,
            } = delta.write
            {
                match (&mut cell, is_new_cell) {
                    (_, true) => {
                        let first = delta.dot;
                        let sum = amount.into();
                        cell = Some(super::state::Cell { first, sum });
                    }
                    (Some(cell), false) => cell.sum += i128::from(amount),
                    (None, false) => {}
                }
            }
        }
        state
            .counter
            .extend(cell.filter(|cell| !is_removed(cell.first)));
    }
    for kind in [EntryKind::List, EntryKind::Text] {
        let sequence = sequence_model(deltas, kind, is_removed);
        match kind {
            EntryKind::List => state.list = sequence,
            _ => state.text = sequence,
        }
    }
    state
}

fn sequence_model(
    deltas: &[Delta],
    kind: EntryKind,
    is_removed: impl Fn(Dot) -> bool,
) -> SequenceState {
    let mut sequence = SequenceState::default();
    // A birth takes those that its author has made before.
    let is_replaced = |dot: Dot| {
        deltas.iter().any(|d| {
            (d.dot.author, &d.dot.hlc) > (dot.author, &dot.hlc) && d.dot.author == dot.author
                && matches!(&d.write, Done::Edit { kind: k, births, .. } if *k == kind && births.is_empty())
        })
    };
    let mut ordered: Vec<&Delta> = deltas.iter().collect();
    ordered.sort_by_key(|d| (d.dot.hlc, d.dot.author));
    let is_birth = |dot: Dot| {
        deltas.iter().any(|d| {
            d.dot == dot && matches!(&d.write, Done::Edit { kind: k, births, .. } if *k == kind && births.is_empty())
        })
    };
    for delta in ordered {
        let Done::Edit {
            kind: of,
            births,
            update,
        } = &delta.write
        else {
            continue;
        };
        let roots = match births[..] {
            [] => vec![delta.dot],
            _ => births.clone(),
        };
        let is_seen = births.iter().all(|birth| delta.seen.has_seen(*birth));
        let is_alive = roots
            .iter()
            .all(|root| is_birth(*root) && !is_removed(*root) && !is_replaced(*root));
        if *of == kind && is_seen && is_alive {
            append(
                &mut sequence,
                delta.dot,
                Told::of(delta, births).basis(),
                update,
            );
            if births.is_empty() {
                sequence.births.push(delta.dot);
            }
        }
    }
    sequence.births.sort();
    sequence
}

/// What an edit builds on, by name: here it names every other author.
#[derive(Clone, Debug)]
struct Told {
    births: Vec<[u8; BIRTH_BYTES]>,
    seen: Vec<[u8; BIRTH_BYTES]>,
}

impl Told {
    fn of(delta: &Delta, births: &[Dot]) -> Told {
        let name = |author: u32, hlc: Hlc| {
            let mut name = [0; BIRTH_BYTES];
            name[..4].copy_from_slice(&author.to_le_bytes());
            name[32..].copy_from_slice(&hlc.bits().to_le_bytes());
            name
        };
        let seen = delta.seen.pairs().iter();
        let seen = seen.filter(|(author, _)| *author != delta.dot.author);
        Told {
            births: births
                .iter()
                .map(|birth| name(birth.author, birth.hlc))
                .collect(),
            seen: seen.map(|(author, hlc)| name(*author, *hlc)).collect(),
        }
    }

    fn basis(&self) -> Option<Basis<'_>> {
        let Told { births, seen } = self;
        Some(Basis { births, seen })
    }
}

fn deed() -> impl Strategy<Value = Deed> {
    let births = prop_oneof![
        6 => Just(Births::Seen),
        1 => Just(Births::None),
        1 => (0..20_usize).prop_map(Births::Any),
    ];
    prop_oneof![
        3 => (0..4_u8).prop_map(Deed::Set),
        3 => (-5..9_i64, prop::bool::weighted(0.1)).prop_map(|(amount, lies)| Deed::Add { amount, lies }),
        2 => Just(Deed::Insert),
        1 => (0..4_u8).prop_map(Deed::WriteOnce),
        3 => (any::<bool>(), births).prop_map(|(is_list, births)| Deed::Edit { is_list, births }),
        3 => Just(Deed::Remove),
        6 => (0..5_usize).prop_map(Deed::Learn),
    ]
}

fn history() -> impl Strategy<Value = (usize, Vec<Step>, Vec<u16>)> {
    let step = (0..5_usize, deed(), prop::bool::weighted(0.1)).prop_map(
        |(replica, deed, removes_first)| Step {
            replica,
            deed,
            removes_first,
        },
    );
    (
        2..=5_usize,
        prop::collection::vec(step, 1..24),
        prop::collection::vec(any::<u16>(), 64),
    )
}

/// Applies all deltas to a new replica, each as soon as `choices` take it among those
/// whose causes are there.
fn in_another_order(deltas: &[Delta], choices: &[u16]) -> Replica {
    let mut replica = Replica::default();
    let mut left: Vec<usize> = (0..deltas.len()).collect();
    for turn in 0.. {
        let is_ready = |at: &&usize| {
            let delta = &deltas[**at];
            let mut seen = replica.seen.clone();
            seen.join(&delta.seen);
            seen == replica.seen
        };
        let ready: Vec<usize> = left.iter().filter(is_ready).copied().collect();
        let Some(last) = ready.len().checked_sub(1) else {
            break;
        };
        let at = ready[usize::from(choices[turn % choices.len()]) % (last + 1)];
        left.retain(|other| *other != at);
        replica.apply(at, &deltas[at]);
    }
    assert!(left.is_empty(), "every delta has its causes");
    replica
}

#[test]
fn histories_in_any_order_give_what_the_rules_say() {
    let check = |(replicas, steps, choices): (usize, Vec<Step>, Vec<u16>)| {
        let (deltas, all) = run(replicas, &steps);
        for replica in &all {
            let applied: Vec<Delta> = replica
                .applied
                .iter()
                .map(|at| deltas[*at].clone())
                .collect();
            prop_assert_eq!(replica.state(), model(&applied), "a part of the history");
        }
        let expected = model(&deltas);
        for order in 0..3 {
            let replica = in_another_order(&deltas, &choices[order * 20..]);
            prop_assert_eq!(replica.state(), expected.clone(), "order {}", order);
            let edits = replica.edits.len() as u64;
            let chains = [&expected.list, &expected.text]
                .map(|s| s.chains.iter().map(|c| c.edits).sum::<u64>());
            prop_assert_eq!(edits, chains.iter().sum::<u64>());
        }
        Ok(())
    };
    try_histories(HISTORIES, history(), check);
}

/// The test above can fail: histories in which deltas come before their causes part.
#[test]
fn an_order_without_causes_is_another_state() {
    let steps = [
        Step {
            replica: 0,
            deed: Deed::Set(1),
            removes_first: false,
        },
        Step {
            replica: 0,
            deed: Deed::Remove,
            removes_first: false,
        },
    ];
    let (deltas, _) = run(1, &steps);
    let mut replica = Replica::default();
    for at in [1, 0] {
        replica.apply(at, &deltas[at]);
    }
    assert_ne!(replica.state(), model(&deltas));
}

#[test]
fn one_value_has_one_form() {
    let (deltas, all) = run(
        1,
        &[Step {
            replica: 0,
            deed: Deed::Set(1),
            removes_first: false,
        }],
    );
    let state = all[0].state();
    assert!(
        matches!(state.into_stored(), Some(Stored::Value(value)) if value.dot == deltas[0].dot)
    );
}
