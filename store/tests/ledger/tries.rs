//! Tries that stay in memory from one checkpoint to the next never show: a ledger that keeps
//! them gives the same roots as one that begins anew each time, whatever is refused, fails, is
//! deleted, comes in as a copy or is out of service in between; and what is stored has
//! these roots. And what two ledgers say of their tries is enough to find where they differ.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Cursor;
use std::os::unix::fs::FileExt;

use corelet_store::{
    Arrival, Change, ContextSlot, ExportError, ExportScope, Hlc, Op, Refused, Root, Snapshot,
    Space, StoreError, TrieEntry, TrieNode, Verdict, Write, export_context, import_context,
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

/// The context of two ledgers that is compared.
const SHARED: u8 = 1;

/// One side of a comparison: it is asked for its nodes and pages of entries, and nothing else.
struct Side {
    snapshot: Snapshot,
    slot: ContextSlot,
}

impl Side {
    fn of(bench: &Bench, slot: ContextSlot) -> Side {
        let snapshot = bench.ledger().snapshot().unwrap();
        Side { snapshot, slot }
    }

    fn root(&self) -> Root {
        self.snapshot.head(self.slot).unwrap().root
    }

    fn node(&self, nibbles: &[u8]) -> Option<TrieNode> {
        self.snapshot.trie_node(self.slot, nibbles).unwrap()
    }

    /// All entries below a place, read in pages of so many.
    fn entries(&self, nibbles: &[u8], limit: usize) -> Vec<TrieEntry> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self
                .snapshot
                .trie_entries(self.slot, nibbles, after, limit)
                .unwrap();
            let rest = page.next;
            assert!(page.entries.len() <= limit);
            assert!(rest.is_none() || page.entries.len() == limit, "it is full");
            all.extend(page.entries);
            let Some(next) = rest else { return all };
            assert!(after.is_none_or(|after| after < next), "it goes on");
            let begins =
                |(at, nibble): (usize, &u8)| next[at / 2] >> (4 - at % 2 * 4) & 15 == *nibble;
            assert!(nibbles.iter().enumerate().all(begins), "it stays below");
            after = Some(next);
        }
    }
}

type Digests = [Option<[u8; 32]>; 2];

/// Where two states differ, found from the top.
#[derive(Default)]
struct Differing {
    /// What each side says of an entry.
    entries: BTreeMap<(Space, Vec<u8>), Digests>,
    /// How many places were asked for.
    looks: usize,
}

impl Differing {
    fn between(sides: &[Side; 2]) -> Differing {
        let mut differing = Differing::default();
        if sides[0].root() != sides[1].root() {
            differing.look(sides, &mut Vec::new());
        }
        differing
    }

    fn look(&mut self, sides: &[Side; 2], nibbles: &mut Vec<u8>) {
        self.looks += 1;
        let nodes = sides.each_ref().map(|side| side.node(nibbles));
        let [Some(TrieNode::Inner(a)), Some(TrieNode::Inner(b))] = nodes else {
            // Where one side has few entries the other has few as well, or as many more that differ.
            return self.compare(sides.each_ref().map(|side| side.entries(nibbles, 5)));
        };
        for nibble in 0..16 {
            let digest = |children: &[corelet_store::TrieChild]| {
                let child = children.iter().find(|child| child.nibble == nibble);
                child.map(|child| child.digest)
            };
            if digest(&a) != digest(&b) {
                nibbles.push(nibble);
                self.look(sides, nibbles);
                nibbles.pop();
            }
        }
    }

    fn compare(&mut self, entries: [Vec<TrieEntry>; 2]) {
        let mut both: BTreeMap<_, Digests> = BTreeMap::new();
        for (side, entries) in entries.into_iter().enumerate() {
            for entry in entries {
                let digests = both.entry((entry.space, entry.key)).or_default();
                digests[side] = Some(entry.digest);
            }
        }
        both.retain(|_, [a, b]| a != b);
        self.entries.append(&mut both);
    }
}

/// Two ledgers with this context, which have given it the same entries at the same times. It
/// has another slot in the second.
fn two_alike(entries: u16) -> ([Bench; 2], [ContextSlot; 2]) {
    let mut benches = [Bench::new(), Bench::new()];
    benches[1].create(2);
    let slots = benches.each_mut().map(|bench| {
        bench.now = 5000;
        let slot = bench.create(SHARED);
        for from in (0..entries).step_by(100) {
            let keys = from..entries.min(from + 100);
            let ops = keys.map(|key| set(key.to_be_bytes(), key.to_le_bytes()));
            write(bench, slot, ops.collect());
        }
        slot
    });
    (benches, slots)
}

fn write(bench: &mut Bench, slot: ContextSlot, ops: Vec<Op>) {
    let call = bench.call(SHARED, slot, ops);
    bench.commit(vec![call]);
}

fn sides(benches: &[Bench; 2], slots: [ContextSlot; 2]) -> [Side; 2] {
    [0, 1].map(|n| Side::of(&benches[n], slots[n]))
}

/// What is different is found from two roots, whatever form the tries have there: it needs no
/// knowledge of what was done.
#[test]
fn two_ledgers_find_the_entries_that_differ_by_their_nodes_alone() {
    const ENTRIES: u16 = 3000;
    let (mut benches, slots) = two_alike(ENTRIES);
    let alike = sides(&benches, slots);
    assert_ne!(slots[0], slots[1]);
    assert_eq!(alike[0].root(), alike[1].root());
    assert_eq!(Differing::between(&alike).looks, 0);
    // All below one inner node but the first go from the second ledger, so that a bucket, or
    // nothing, is there.
    let is_inner = |nibbles: &Vec<u8>| matches!(alike[0].node(nibbles), Some(TrieNode::Inner(_)));
    let mut places = (0..=255_u8).map(|n| vec![n >> 4, n & 15]);
    let falls = places.find(is_inner).expect("they are many");
    let gone = alike[0].entries(&falls, 100).split_off(1);
    assert!(gone.len() >= 16, "a bucket would have them");
    drop(alike);

    let key = |n: u16| (Space::Shared, n.to_be_bytes().to_vec());
    let mut expected: Vec<_> = gone.iter().map(|it| (it.space, it.key.clone())).collect();
    let removals = gone.iter().map(|entry| remove(&entry.key)).collect();
    write(&mut benches[1], slots[1], removals);
    // One that both have, with other values; one that each has alone; and spaces of which other
    // nodes are told, and are not.
    let changed = (0..ENTRIES).find(|n| !expected.contains(&key(*n))).unwrap();
    for ((bench, slot), value) in benches.iter_mut().zip(slots).zip(["one", "other"]) {
        let ops = vec![set(changed.to_be_bytes(), value), set(value, "alone")];
        write(bench, slot, ops);
    }
    let owned = [&[0xaa; 32][..], b"owned"].concat();
    for (space, key) in [(Space::Owned, &owned[..]), (Space::Private, b"private")] {
        let op = Op {
            space,
            ..set(key, "value")
        };
        write(&mut benches[0], slots[0], vec![op]);
    }
    expected.push(key(changed));
    expected.extend(["one", "other"].map(|key| (Space::Shared, key.as_bytes().to_vec())));
    expected.push((Space::Owned, owned));
    expected.sort();

    let sides = sides(&benches, slots);
    let differing = Differing::between(&sides);
    let found: Vec<_> = differing.entries.keys().cloned().collect();
    assert_eq!(found, expected);
    for ((space, key), digests) in &differing.entries {
        let is_there = sides.each_ref().map(|side| {
            let found = side.snapshot.get(side.slot, *space, key).unwrap();
            found.is_some()
        });
        assert_eq!(digests.map(|digest| digest.is_some()), is_there, "{key:?}");
    }
    // Of some 300 nodes those on the ways to what differs.
    assert!(differing.looks <= 1 + 3 * 6, "{} looks", differing.looks);
}

/// In whatever pages they are asked for, and wherever they lie.
#[test]
fn what_lies_below_a_place_of_a_trie_is_read_in_pages() {
    let (benches, slots) = two_alike(900);
    let side = Side::of(&benches[0], slots[0]);
    let head = side.snapshot.head(side.slot).unwrap();
    let all = side.entries(&[], usize::MAX);
    assert_eq!(all.len() as u64, head.replicated);
    for limit in [1, 7, 899, 900, 901] {
        assert_eq!(side.entries(&[], limit), all, "in pages of {limit}");
    }
    // Every node says what is below it, and all together it is everything.
    let (mut left, mut listed) = (vec![Vec::new()], Vec::new());
    while let Some(nibbles) = left.pop() {
        match side.node(&nibbles).expect("the one above says so") {
            TrieNode::Inner(children) => {
                assert!(children.is_sorted_by(|a, b| a.nibble < b.nibble));
                // The last one first, so that the first is looked at next.
                for child in children.iter().rev() {
                    let nibbles = [&nibbles[..], &[child.nibble]].concat();
                    let below = side.entries(&nibbles, 10).len() as u64;
                    assert_eq!(below, child.entries, "{nibbles:?}");
                    left.push(nibbles);
                }
            }
            TrieNode::Bucket(bucket) => {
                let by_hash = side.entries(&nibbles, 3);
                let mut by_key = by_hash.clone();
                by_key.sort_by(|a, b| (a.space, &a.key).cmp(&(b.space, &b.key)));
                assert_eq!(bucket, by_key, "{nibbles:?}");
                // There are no nodes below it, and its entries are found there all the same.
                let mut below = Vec::new();
                for nibble in 0..16 {
                    let nibbles = [&nibbles[..], &[nibble]].concat();
                    assert_eq!(side.node(&nibbles), None);
                    below.extend(side.entries(&nibbles, 2));
                }
                assert_eq!(below, by_hash, "{nibbles:?}");
                listed.extend(by_hash);
            }
        }
    }
    assert_eq!(listed, all);

    // No entry has such a hash, so nothing is there, and nobody is told of damage.
    for nowhere in [vec![16], vec![0, 255], vec![0; 65]] {
        assert_eq!(side.node(&nowhere), None, "{nowhere:?}");
        assert!(side.entries(&nowhere, 1).is_empty(), "{nowhere:?}");
    }
    let last = side
        .snapshot
        .trie_entries(side.slot, &[], Some([255; 32]), 1);
    assert_eq!(last.unwrap(), corelet_store::TriePage::default());
    let unknown = ContextSlot::UNASSIGNED;
    assert_eq!(side.snapshot.trie_node(unknown, &[]).unwrap(), None);
    let error = side.snapshot.trie_entries(unknown, &[], None, 1);
    assert!(
        matches!(error, Err(StoreError::Corrupt { .. })),
        "{error:?}"
    );
}

/// Being out of service changes nothing of what a context is; damage is told by whoever meets it.
#[test]
fn a_trie_out_of_service_is_told_and_damage_in_it_gives_no_node_and_no_entries() {
    let mut bench = Bench::new();
    let slots = [1, 2].map(|n| bench.create(n));
    for (n, slot) in [1, 2].into_iter().zip(slots) {
        let keys = (0..40_u16).map(|key| set(key.to_be_bytes(), "value"));
        let needle = set(format!("a needle in haystack {n}"), "1");
        let call = bench.call(n, slot, keys.chain([needle]).collect());
        bench.commit(vec![call]);
    }
    let before = slots.map(|slot| Side::of(&bench, slot).entries(&[], 7));
    let change = Change::Quarantine {
        context: id(1),
        why: Some("it looks odd".to_owned()),
    };
    bench.commit(vec![change]);
    let [bad, good] = slots.map(|slot| Side::of(&bench, slot));
    let is_out = |side: &Side| side.snapshot.quarantined(side.slot).unwrap().is_some();
    assert_eq!([&bad, &good].map(is_out), [true, false]);
    assert_eq!([&bad, &good].map(|side| side.entries(&[], 7)), before);
    drop([bad, good]);

    // In its own record, which stays as it is, the slot lies between space and key.
    flip_in_use(&bench, b"\0a needle in haystack 1");
    let [bad, good] = slots.map(|slot| Side::of(&bench, slot));
    assert_eq!(good.entries(&[], 7), before[1]);
    // The bucket that lists it, and all that would have to be read through it.
    let place = (0..16).find(|nibble| bad.snapshot.trie_node(bad.slot, &[*nibble]).is_err());
    let place = [place.expect("its node is damaged")];
    let node = bad.snapshot.trie_node(bad.slot, &place).map(drop);
    let below = bad
        .snapshot
        .trie_entries(bad.slot, &place, None, 100)
        .map(drop);
    let all = bad
        .snapshot
        .trie_entries(bad.slot, &[], None, 100)
        .map(drop);
    for told in [node, below, all] {
        let is_told = |error: &StoreError| error.to_string().contains("trie");
        assert!(told.as_ref().is_err_and(is_told), "{told:?}");
    }
    assert!(matches!(bad.node(&[]), Some(TrieNode::Inner(_))));
}
