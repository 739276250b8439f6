//! Tries that stay in memory from one checkpoint to the next never show: a ledger that keeps
//! them gives the same roots as one that begins anew each time, whatever is refused, fails, is
//! deleted, comes in as a copy or is out of service in between; and what is stored has
//! these roots.

use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::fs::FileExt;

use corelet_store::{
    Arrival, Change, ContextSlot, ExportError, ExportScope, Hlc, Refused, Root, StoreError,
    Verdict, Write, export_context, import_context,
};
use proptest::prelude::*;

use crate::{Bench, id, remove, set};

const CONTEXTS: std::ops::Range<u8> = 1..4;
/// The context of calls that do not fit. It is always in service.
const TOO_LARGE: u8 = 9;
const MAP_BYTES: u64 = 24 << 20;

type Writes = Vec<(u16, Option<u8>)>;

#[derive(Clone, Debug)]
enum Step {
    /// Calls of some contexts in one batch.
    Batch {
        calls: Vec<(u8, Writes)>,
        is_shown: bool,
    },
    /// A call of which the last write is refused when all others are worked out, and one
    /// of another context.
    Refused(u8, Writes),
    /// A batch that does not fit into the ledger, behind calls that do.
    Fails(u8, Writes),
    OutOfService(u8),
    BackInService(u8),
    DeletedAndMade(u8),
    /// Deleted, and brought in again as it was before, in whatever slot.
    Copied(u8),
    Sweep,
    Restart,
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    let put = (0..400_u16, any::<u8>().prop_map(Some));
    let mixed = (0..400_u16, any::<Option<u8>>());
    let writes = prop_oneof![
        prop::collection::vec(put, 1..60),
        prop::collection::vec(mixed, 1..30),
        // Keys side by side go, so that nodes fall together.
        (0..300_u16).prop_map(|from| (from..from + 90).map(|key| (key, None)).collect()),
    ];
    let calls = prop::collection::vec((CONTEXTS, writes.clone()), 1..5);
    prop_oneof![
        12 => (calls, any::<bool>()).prop_map(|(calls, is_shown)| Step::Batch { calls, is_shown }),
        3 => (CONTEXTS, writes.clone()).prop_map(|(n, writes)| Step::Refused(n, writes)),
        1 => (CONTEXTS, writes).prop_map(|(n, writes)| Step::Fails(n, writes)),
        1 => CONTEXTS.prop_map(Step::OutOfService),
        2 => CONTEXTS.prop_map(Step::BackInService),
        1 => CONTEXTS.prop_map(Step::DeletedAndMade),
        1 => CONTEXTS.prop_map(Step::Copied),
        1 => Just(Step::Sweep),
        1 => Just(Step::Restart),
        3 => Just(Step::Check),
    ]
}

/// What a change was answered, as far as two ledgers have to agree about it.
#[derive(Debug, PartialEq)]
enum Told {
    Root(Root),
    Refused(String),
    Failed(String),
}

fn told(verdict: Verdict) -> Told {
    match verdict {
        Ok(committed) => Told::Root(committed.root()),
        Err(refused) => Told::Refused(refused.to_string()),
    }
}

/// A ledger, its contexts, and what it has told.
struct World {
    bench: Bench,
    told: Vec<Told>,
}

impl World {
    fn new(trie_bytes_max: usize) -> World {
        let mut bench = Bench::with_map(MAP_BYTES);
        bench.config.trie_bytes_max = trie_bytes_max;
        bench.reopen();
        for n in CONTEXTS.chain([TOO_LARGE]) {
            bench.create(n);
        }
        let told = Vec::new();
        World { bench, told }
    }

    fn call(&mut self, n: u8, writes: &Writes) -> Change {
        let ops = writes.iter().map(|(key, value)| match value {
            Some(value) => set(key.to_be_bytes(), [*value]),
            None => remove(key.to_be_bytes()),
        });
        self.bench.call(n, ContextSlot::UNASSIGNED, ops.collect())
    }

    fn commit(&mut self, batches: Vec<Vec<Change>>, is_shown: bool) {
        let ledger = self.bench.ledger().clone();
        let mut writer = ledger.writer();
        for batch in batches {
            let outcome = match is_shown {
                true => writer.commit_shown(batch),
                false => writer.commit(batch),
            };
            match outcome {
                Ok(outcome) => self.told.extend(outcome.verdicts.into_iter().map(told)),
                Err(error @ StoreError::MapFull { .. }) => {
                    self.told.push(Told::Failed(error.to_string()));
                }
                Err(error) => panic!("{error}"),
            }
        }
        // Without this the writer's transaction goes, and all tries with it.
        if is_shown {
            writer.checkpoint().unwrap();
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Batch { calls, is_shown } => {
                let calls = calls.iter().map(|(n, writes)| self.call(*n, writes));
                let batches = calls.map(|call| vec![call]).collect();
                self.commit(batches, *is_shown);
            }
            Step::Refused(n, writes) => {
                let key = 500_u16.to_be_bytes();
                let before = self
                    .bench
                    .call(*n, ContextSlot::UNASSIGNED, vec![set(key, "x")]);
                let refused = self.call(*n, writes);
                let Change::Call(mut refused) = refused else {
                    unreachable!("it is a call");
                };
                let mut add = set(key, "");
                add.write = Write::Add(1);
                refused.ops.push(add);
                let other = self.call(*n % 3 + 1, writes);
                let first = self.told.len();
                let batches = vec![vec![before], vec![Change::Call(refused), other]];
                self.commit(batches, true);
                assert!(
                    !matches!(self.told[first + 1], Told::Root(_)),
                    "no key has two kinds"
                );
            }
            Step::Fails(n, writes) => {
                let before = self.call(*n, writes);
                let beside = self.call(*n, &vec![(7, Some(7))]);
                let [a, b, c] = ["a", "b", "c"].map(|key| {
                    let value = set(key, vec![1; 9 << 20]);
                    let slot = ContextSlot::UNASSIGNED;
                    self.bench.call(TOO_LARGE, slot, vec![value])
                });
                let after = self.call(*n, writes);
                let batches = vec![vec![before], vec![beside, a, b, c], vec![after]];
                let first = self.told.len();
                self.commit(batches, false);
                let failed = &self.told[first + 1];
                assert!(matches!(failed, Told::Failed(_)), "{failed:?}");
            }
            Step::OutOfService(n) => self.quarantine(*n, Some("it looks odd")),
            Step::BackInService(n) => self.quarantine(*n, None),
            Step::DeletedAndMade(n) => {
                let new = self.bench.new_context(*n);
                let batch = vec![Change::DeleteContext(id(*n)), new];
                self.commit(vec![batch], true);
            }
            Step::Copied(n) => {
                self.bench.ledger().writer().checkpoint().unwrap();
                let snapshot = self.bench.ledger().snapshot().unwrap();
                let mut file = Vec::new();
                match export_context(&snapshot, &id(*n), ExportScope::ALL, &mut file) {
                    Ok(_) => drop(snapshot),
                    Err(ExportError::Quarantined { .. }) => return,
                    Err(other) => panic!("{other}"),
                }
                self.commit(vec![vec![Change::DeleteContext(id(*n))]], true);
                import_context(
                    self.bench.ledger(),
                    Cursor::new(file.clone()),
                    Arrival::trusting(Hlc::ZERO),
                )
                .unwrap();
            }
            Step::Sweep => while self.bench.ledger().sweep(1000).unwrap().is_more {},
            Step::Restart => self.bench.reopen(),
            Step::Check => {
                self.bench.ledger().writer().checkpoint().unwrap();
                self.bench.verify();
            }
        }
    }

    fn quarantine(&mut self, n: u8, why: Option<&str>) {
        let change = Change::Quarantine {
            context: id(n),
            why: why.map(str::to_owned),
        };
        self.commit(vec![vec![change]], true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_trie_in_memory_is_never_another_than_the_one_on_disk(
        steps in prop::collection::vec(step(), 1..25),
        // Too little for all of one, for all of them, and plenty.
        trie_bytes_max in prop_oneof![Just(20 << 10), Just(100 << 10), Just(1 << 20)],
    ) {
        let mut kept = World::new(trie_bytes_max);
        let mut anew = World::new(0);
        for step in &steps {
            kept.step(step);
            anew.step(step);
        }
        for world in [&mut kept, &mut anew] {
            world.step(&Step::Check);
        }
        prop_assert_eq!(kept.told, anew.told);
    }
}

/// What was in memory when a context was taken out of service is no reason to believe that what
/// is stored of it is well.
#[test]
fn nodes_are_read_again_after_a_quarantine() {
    let mut bench = Bench::new();
    bench.config.trie_bytes_max = 1 << 20;
    bench.reopen();
    let slot = bench.create(1);
    let call = bench.call(1, slot, vec![set("a needle in a haystack", "1")]);
    bench.commit(vec![call]);
    // Only in the trie there is a space right before the key.
    flip_in_use(&bench, b"\0a needle in a haystack");
    for why in [Some("it looks odd"), None] {
        let change = Change::Quarantine {
            context: id(1),
            why: why.map(str::to_owned),
        };
        bench.commit(vec![change]);
    }
    let call = bench.call(1, slot, vec![set("other", "2")]);
    let verdict = bench.ledger().commit(vec![call]).unwrap().remove(0);
    assert!(
        matches!(verdict, Err(Refused::Damaged { .. })),
        "{verdict:?}"
    );
}

/// Flips a bit in every place where `needle` lies in the file of a ledger that is open.
fn flip_in_use(bench: &Bench, needle: &[u8]) {
    let path = bench.place.dir().join("data.mdb");
    let bytes = fs::read(&path).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    let places = 0..bytes.len() - needle.len();
    let places: Vec<usize> = places
        .filter(|&at| bytes[at..].starts_with(needle))
        .collect();
    assert!(!places.is_empty(), "the ledger does not contain the needle");
    for at in places {
        file.write_all_at(&[bytes[at + 3] ^ 1], at as u64 + 3)
            .unwrap();
    }
}
