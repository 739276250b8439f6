//! Histories of several nodes that each have a ledger: calls of every kind, also in nested
//! maps; deltas that come late, twice and in any order, as far as partitions let them through;
//! a node that is lost and goes on from another's copy. All come to the same root and read the
//! same, and that is what the rules say (`naive.rs`), of the past as well (`past.rs`). Nodes that
//! lie are in `replicas.rs`.
//!
//! `CORELET_HISTORIES` sets how many, and `CORELET_SEED` which.

mod calls;
mod naive;
mod past;
mod replica;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::thread;

use bytes::Bytes;
use corelet_store::{
    Arrival, Change, ContextId, DeltaId, EntryKind, EntryValue, ExportScope, Hlc, PendingBounds,
    PendingDeltas, Refused, RemoteDelta, Scan, ScannedEntry, Space, StepBounds, VouchedDelta,
    export_context, import_context,
};

use self::naive::{DELTAS_MAX, Known, Made, Place, Set, Value, has};
use self::replica::{Replica, elements_of};
use crate::Bench;
use crate::random::Random;
use crate::retention::KEEP_ALL;
use crate::signed::seals;

/// Histories if `CORELET_HISTORIES` is not set.
const HISTORIES: usize = 300;

const WORKERS: usize = 2;

/// So many histories, each of a context of its own, share the same ledgers.
const LEDGER_HISTORIES: usize = 40;

const REPLICAS_MAX: usize = 5;

struct History<'p> {
    random: Random,
    context: ContextId,
    all: Vec<Made>,
    canonical: Vec<Bytes>,
    numbers: HashMap<DeltaId, usize>,
    replicas: Vec<Replica<'p>>,
    elements: u32,
}

impl<'p> History<'p> {
    fn new(ledgers: &'p [Bench], number: usize, seed: u64) -> History<'p> {
        let mut random = Random::of(seed);
        let mut id = [0xcc; 32];
        id[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let context = ContextId::from_bytes(id);
        let count = 2 + random.below(REPLICAS_MAX - 1);
        let replica =
            |(number, bench): (usize, &'p Bench)| Replica::new(bench.ledger(), number, context);
        History {
            random,
            context,
            all: Vec::new(),
            canonical: Vec::new(),
            numbers: HashMap::new(),
            replicas: ledgers
                .iter()
                .take(count)
                .enumerate()
                .map(replica)
                .collect(),
            elements: 0,
        }
    }

    fn run(&mut self) {
        let count = self.replicas.len();
        for _ in 0..5 + self.random.below(40) {
            let (one, other) = (self.random.below(count), self.random.below(count));
            let is_reached = self.replicas[one].group == self.replicas[other].group;
            match self.random.below(100) {
                0..50 if self.all.len() < DELTAS_MAX => self.call(one),
                50..85 if one != other && is_reached => {
                    let share = 1 + self.random.below(100);
                    self.send(one, other, share);
                }
                85..93 => {
                    let groups = 1 + self.random.below(3);
                    for replica in &mut self.replicas {
                        replica.group = self.random.below(groups);
                    }
                }
                93..96 if one != other && is_reached => self.replace(one, other),
                96..98 => {
                    // Edits are put together, of whatever contexts.
                    let ledger = self.replicas[one].ledger;
                    let now = Hlc::ZERO;
                    ledger.writer().look_for_packs();
                    ledger
                        .collect(&KEEP_ALL, now, &StepBounds::default())
                        .unwrap();
                }
                _ => self.check(one),
            }
        }
        // Now all get all, each in an order of its own.
        for to in 0..count {
            let everything: Vec<usize> = (0..self.all.len()).collect();
            self.receive(to, everything);
            let replica = &self.replicas[to];
            let all = Known::MAX.checked_shr(Known::BITS - self.all.len() as u32);
            assert_eq!(replica.has, all.unwrap_or(0));
            assert!(replica.pending.is_empty(), "{:?}", replica.pending);
            self.check(to);
            assert_eq!(self.replicas[to].root(), self.replicas[0].root());
            let places = self.known(to).places();
            let edits = |replica: &Replica<'_>| replica.edits(&places);
            assert_eq!(edits(&self.replicas[to]), edits(&self.replicas[0]));
        }
        self.check_pasts(0, false, &mut past::Read::default());
    }

    fn known(&self, replica: usize) -> Set<'_> {
        Set {
            all: &self.all,
            known: self.replicas[replica].has,
        }
    }

    /// One gets some of what another has, and perhaps some of it again.
    fn send(&mut self, from: usize, to: usize, percent: usize) {
        let (theirs, ours) = (self.replicas[from].has, self.replicas[to].has);
        let mut deltas = Vec::new();
        for number in (0..self.all.len()).filter(|number| has(theirs, *number)) {
            let chance = if has(ours, number) { 10 } else { percent };
            for _ in 0..=usize::from(self.random.percent(10)) {
                if self.random.percent(chance) {
                    deltas.push(number);
                }
            }
        }
        self.receive(to, deltas);
    }

    /// Takes deltas in, in any order: what comes before its parents waits.
    fn receive(&mut self, to: usize, mut deltas: Vec<usize>) {
        for at in (1..deltas.len()).rev() {
            deltas.swap(at, self.random.below(at + 1));
        }
        let deltas: Vec<Bytes> = deltas.iter().map(|n| self.canonical[*n].clone()).collect();
        let replica = &mut self.replicas[to];
        for sealed in seals(&deltas) {
            replica.pending.seal(sealed, 0);
        }
        for canonical in deltas {
            replica.pending.receive(canonical, 0).unwrap();
        }
        loop {
            let ready = replica.pending.take_ready(8);
            if ready.is_empty() {
                break;
            }
            let slot = replica.slot;
            let change = |delta: &VouchedDelta| {
                let delta = delta.clone();
                Change::Delta(RemoteDelta { slot, delta })
            };
            let verdicts = replica.ledger.commit(ready.iter().map(change).collect());
            for (delta, verdict) in ready.iter().zip(verdicts.unwrap()) {
                match verdict {
                    Ok(committed) => {
                        let number = self.numbers[&delta.id()];
                        let made = &self.all[number];
                        assert_eq!(made.seen & !replica.has, 0, "causes come first");
                        assert_eq!(committed.root_there(), None, "nobody has lied");
                        replica.has |= 1 << number;
                        replica.now = replica.now.max(made.stamp >> 12);
                        replica.pending.applied(&delta.id());
                    }
                    Err(Refused::AppliedBefore { .. }) => replica.pending.applied(&delta.id()),
                    Err(Refused::ParentsMissing { missing, .. }) => {
                        replica.pending.waits(&delta.id(), &missing);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }

    /// One is lost, and goes on from another's copy. That has all that it has made itself, as
    /// nobody may go on behind less.
    fn replace(&mut self, lost: usize, from: usize) {
        let all = (0..self.all.len()).filter(|number| has(self.replicas[lost].has, *number));
        self.receive(from, all.collect());
        let scope = ExportScope {
            private: false,
            log: self.random.percent(50),
        };
        let mut copy = Vec::new();
        export_context(
            &self.replicas[from].snapshot(),
            &self.context,
            scope,
            &mut copy,
        )
        .unwrap();
        let (known, now) = (self.replicas[from].has, self.replicas[from].now);
        let replica = &mut self.replicas[lost];
        let delete = vec![Change::DeleteContext(self.context)];
        replica.ledger.commit(delete).unwrap().remove(0).unwrap();
        import_context(
            replica.ledger,
            Cursor::new(copy),
            Arrival::trusting(Hlc::ZERO),
        )
        .unwrap();
        let context = replica.snapshot().context(&self.context).unwrap();
        replica.slot = context.unwrap().slot;
        replica.has = known;
        replica.now = replica.now.max(now);
        replica.private.clear();
        replica.pending = PendingDeltas::new(self.context, PendingBounds::default());
    }

    /// What it reads is what the rules say of the deltas that it has.
    fn check(&self, on: usize) {
        let (replica, known) = (&self.replicas[on], self.known(on));
        let mut expected: BTreeMap<Place, Value> = known
            .places()
            .into_iter()
            .filter_map(|place| known.value(place).map(|value| (place.clone(), value)))
            .collect();
        let private = replica.private.iter();
        expected.extend(private.map(|(key, value)| {
            let place = (Space::Private, key.clone());
            (place, Value::Register(value.clone()))
        }));
        let snapshot = replica.snapshot();
        let mut found = BTreeMap::new();
        for space in [Space::Shared, Space::Owned, Space::Private] {
            let scan = Scan {
                space,
                limit: usize::MAX,
                ..Scan::default()
            };
            let visit = &mut |entry: ScannedEntry<'_>| {
                let place = (space, entry.key().to_vec());
                let value = match entry.value()? {
                    EntryValue::Register(value) => Value::Register(value.to_vec()),
                    EntryValue::Counter(sum) => Value::Counter(sum.nearest()),
                    EntryValue::SetElement => Value::Element,
                    EntryValue::WriteOnce(value) => Value::Once(value.to_vec()),
                    EntryValue::List => Value::List(self.elements(on, &place, EntryKind::List)),
                    EntryValue::Text => Value::Text(self.elements(on, &place, EntryKind::Text)),
                };
                found.insert(place, value);
                Ok(ControlFlow::Continue(()))
            };
            snapshot.scan(replica.slot, scan, visit).unwrap();
        }
        assert_eq!(found, expected);
    }

    fn elements(&self, on: usize, place: &Place, kind: EntryKind) -> BTreeSet<u32> {
        let (sequence, _) = self.replicas[on].sequence(place, kind);
        let found = elements_of(&sequence);
        let is_ordered = self.known(on).is_ordered(place, kind, &found);
        assert!(is_ordered, "{place:?} is in another order than it was seen");
        found.into_iter().collect()
    }
}

/// Ledgers in which authors have different numbers, in memory if there is such a place.
fn ledgers() -> Vec<Bench> {
    let ledger = |number| {
        let dir = match Path::new("/dev/shm") {
            memory if memory.is_dir() => tempfile::tempdir_in(memory),
            _ => tempfile::tempdir(),
        };
        let bench = Bench::in_dir(dir.unwrap(), 64 << 20);
        for other in 0..number {
            let context = ContextId::from_bytes([other as u8; 32]);
            Replica::new(bench.ledger(), REPLICAS_MAX + other, context);
        }
        bench
    };
    (0..REPLICAS_MAX).map(ledger).collect()
}

fn work(seeds: &[u64]) {
    for seeds in seeds.chunks(LEDGER_HISTORIES) {
        let ledgers = ledgers();
        for (number, seed) in seeds.iter().enumerate() {
            let mut history = History::new(&ledgers, number, *seed);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| history.run())) {
                println!("CORELET_SEED={seed:#x} CORELET_HISTORIES=1 repeats the history");
                resume_unwind(panic);
            }
        }
        for bench in &ledgers {
            bench.verify();
        }
    }
}

#[test]
fn histories_of_replicas_come_to_what_the_rules_say() {
    let histories = match std::env::var("CORELET_HISTORIES") {
        Ok(number) => number.parse().expect("CORELET_HISTORIES is a number"),
        Err(_) => HISTORIES,
    };
    let seed = Random::seed();
    let seeds: Vec<u64> = (0..histories as u64)
        .map(|n| seed.wrapping_add(n << 1))
        .collect();
    thread::scope(|scope| {
        for seeds in seeds.chunks(seeds.len().div_ceil(WORKERS).max(1)) {
            scope.spawn(|| work(seeds));
        }
    });
    println!("{histories} histories of 2 to {REPLICAS_MAX} replicas");
}
