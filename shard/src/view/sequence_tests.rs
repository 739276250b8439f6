//! Lists and texts of one context against a plain model: updates that commit, fail and
//! are lost, checkpoints in between, queries that go on while others commit, and
//! every size of cache.

mod long;

use std::collections::BTreeMap;
use std::rc::Rc;

use corelet_store::{CallEffects, Change, ContextSlot, Op, Write};
use corelet_wasm_host::Space::Shared;
use corelet_wasm_host::{
    Elements, GuestSequences, GuestState, RemovalStep, SequenceKind, SequenceStep, StateError,
};
use futures_lite::future::block_on;
use proptest::prelude::*;

use super::{SequenceAccess, View};
use crate::bounds::Bounds;
use crate::context::InUse;
use crate::fixture::{self, Bench, Disk};

const KEYS: [(&[u8], SequenceKind); 2] =
    [(b"list", SequenceKind::List), (b"text", SequenceKind::Text)];

/// What each key holds; none if there is no entry.
type Model = BTreeMap<usize, Vec<char>>;

#[derive(Clone, Debug)]
enum Deed {
    /// At a part of its length, so many elements.
    Insert(u8, u8),
    Remove(u8, u8),
    Clear,
}

#[derive(Clone, Debug)]
enum Step {
    /// What it does to which key, and whether it then fails.
    Update(Vec<(usize, Deed)>, bool),
    Commit,
    Lose,
    Checkpoint,
    BeginQuery(usize),
    ReadQuery(usize),
    ForgetAll,
}

struct World {
    bench: Bench,
    context: InUse,
    slot: ContextSlot,
    durable: Model,
    /// What each update on its way to the disk has made of it.
    pending: Vec<Model>,
    queries: [Option<(View, Model)>; 2],
    next: u32,
}

/// Opens it, however many steps that takes. Gives how many.
fn open(view: &mut View, key: usize) -> usize {
    let (name, kind) = KEYS[key];
    let opening = |_: &usize| {
        let step = view.sequence_open(kind, Shared, name).unwrap();
        matches!(step, SequenceStep::More { .. })
    };
    (0..1_000_000).take_while(opening).count()
}

fn read(view: &mut View, key: usize) -> Vec<char> {
    let (name, kind) = KEYS[key];
    open(view, key);
    let length = view.sequence_length(kind, Shared, name).unwrap();
    let all = view.sequence_read(kind, Shared, name, 0, length, u64::MAX);
    match all.unwrap() {
        Elements::Text(text) => text.chars().collect(),
        Elements::Values(values) => {
            let char_of = |value: Vec<u8>| String::from_utf8(value).unwrap().chars().next();
            values.into_iter().flat_map(char_of).collect()
        }
    }
}

impl World {
    fn new(cache_bytes: u64) -> World {
        World::with(Bounds {
            sequence_memory_bytes_max: cache_bytes,
            ..Bounds::default()
        })
    }

    fn with(bounds: Bounds) -> World {
        let disk = Disk::new();
        let slot = disk.create(1);
        let bench = Bench::bounded(disk, bounds);
        let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
        World {
            bench,
            context,
            slot,
            durable: Model::new(),
            pending: Vec::new(),
            queries: [None, None],
            next: 0,
        }
    }

    fn access(&self) -> SequenceAccess {
        SequenceAccess {
            cache: Some(Rc::clone(&self.bench.shard.sequences)),
            author: self.bench.shard.author,
            losses: self.context.losses.get(),
        }
    }

    fn query(&self) -> View {
        let settled = self.context.overlay.borrow().settled();
        let snapshot = self.bench.shard.snapshots.latest();
        View::of_query(self.slot, snapshot, settled, self.access())
    }

    fn update(&self) -> View {
        let overlay = Rc::clone(&self.context.overlay);
        let snapshots = Rc::clone(&self.bench.shard.snapshots);
        View::of_update(self.slot, snapshots, overlay, self.access())
    }

    fn tip(&self) -> &Model {
        self.pending.last().unwrap_or(&self.durable)
    }

    fn run_update(&mut self, deeds: &[(usize, Deed)], fails: bool) -> Result<(), TestCaseError> {
        let hlc = self.bench.shard.clock.tick();
        let mut view = self.update();
        let mut model = self.tip().clone();
        for (key, deed) in deeds {
            let (name, kind) = KEYS[*key];
            open(&mut view, *key);
            let length = view.sequence_length(kind, Shared, name).unwrap();
            prop_assert_eq!(length as usize, model.get(key).map_or(0, Vec::len));
            match deed {
                Deed::Insert(at, count) => {
                    let at = length * u64::from(*at) / 255;
                    let new: Vec<char> = (0..u32::from(*count % 5) + 1)
                        .map(|n| char::from_u32(0x4e00 + (self.next + n) % 10_000).unwrap())
                        .collect();
                    self.next += new.len() as u32;
                    let elements = match kind {
                        SequenceKind::Text => Elements::Text(new.iter().collect()),
                        SequenceKind::List => {
                            let value = |c: &char| c.to_string().into_bytes();
                            Elements::Values(new.iter().map(value).collect())
                        }
                    };
                    view.sequence_insert(Shared, name, at, elements).unwrap();
                    let at = at as usize;
                    drop(model.entry(*key).or_default().splice(at..at, new));
                }
                Deed::Remove(at, count) => {
                    let at = length * u64::from(*at) / 256;
                    let count = u64::from(*count % 7).min(length - at);
                    if count > 0 {
                        let step = view.sequence_remove(kind, Shared, name, at, count);
                        let is_whole = matches!(step, Ok(RemovalStep::Whole { .. }));
                        prop_assert!(is_whole, "{step:?}");
                        let range = at as usize..(at + count) as usize;
                        drop(model.entry(*key).or_default().drain(range));
                    }
                }
                Deed::Clear => {
                    let is_there = model.remove(key).is_some();
                    prop_assert_eq!(view.remove(Shared, name).unwrap(), is_there);
                }
            }
            let expected = model.get(key).cloned().unwrap_or_default();
            prop_assert_eq!(
                read(&mut view, *key),
                expected,
                "an update sees its own edits"
            );
        }
        if fails {
            return Ok(());
        }
        let written = view.into_written(hlc).unwrap();
        if written.ops.is_empty() {
            return Ok(());
        }
        for op in &written.ops {
            if let Write::Edit { update, .. } = &op.write {
                prop_assert!(!update.is_empty());
            }
        }
        self.submit(hlc, written.ops, written.shown);
        written.edited.keep(&self.bench.shard.sequences);
        self.pending.push(model);
        Ok(())
    }

    fn submit(&self, hlc: corelet_store::Hlc, ops: Vec<Op>, shown: Vec<crate::overlay::Write>) {
        let change = Change::Call(CallEffects {
            context: fixture::id(1),
            slot: self.slot,
            author: self.bench.shard.author,
            hlc,
            ops,
            events: Vec::new(),
            read: None,
            answer: None,
        });
        let bytes = change.bytes();
        let wrote = Some((&*self.context, shown, None));
        let _answer = self
            .bench
            .shard
            .commits
            .submit(change, bytes, wrote)
            .unwrap();
    }

    fn commit(&mut self) {
        let before = self.context.standing.get().version;
        let count = self.pending.len() as u64;
        self.bench.commit();
        assert_eq!(self.context.standing.get().version, before + count);
        if let Some(last) = self.pending.drain(..).next_back() {
            self.durable = last;
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Update(deeds, fails) => self.run_update(deeds, *fails)?,
            Step::Commit => self.commit(),
            Step::Lose => {
                self.bench.fail();
                self.pending.clear();
            }
            // It shows what is durable, and nothing else is on its way then.
            Step::Checkpoint if self.pending.is_empty() => self.bench.checkpoint(),
            Step::Checkpoint => {}
            Step::BeginQuery(n) => self.queries[*n] = Some((self.query(), self.durable.clone())),
            Step::ReadQuery(n) => {
                if let Some((view, model)) = &mut self.queries[*n] {
                    for key in 0..KEYS.len() {
                        let expected = model.get(&key).cloned().unwrap_or_default();
                        prop_assert_eq!(read(view, key), expected, "as when it began");
                    }
                }
            }
            Step::ForgetAll => self.bench.shard.sequences.forget_all(),
        }
        // Whoever comes now sees what there is.
        for key in 0..KEYS.len() {
            let expected = self.durable.get(&key).cloned().unwrap_or_default();
            prop_assert_eq!(read(&mut self.query(), key), expected);
            let expected = self.tip().get(&key).cloned().unwrap_or_default();
            prop_assert_eq!(read(&mut self.update(), key), expected);
        }
        Ok(())
    }
}

fn deed() -> impl Strategy<Value = (usize, Deed)> {
    let deed = prop_oneof![
        6 => (any::<u8>(), any::<u8>()).prop_map(|(at, count)| Deed::Insert(at, count)),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(at, count)| Deed::Remove(at, count)),
        1 => Just(Deed::Clear),
    ];
    (0..KEYS.len(), deed)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (proptest::collection::vec(deed(), 0..4), prop::bool::weighted(0.2))
            .prop_map(|(deeds, fails)| Step::Update(deeds, fails)),
        4 => Just(Step::Commit),
        1 => Just(Step::Lose),
        2 => Just(Step::Checkpoint),
        2 => (0..2_usize).prop_map(Step::BeginQuery),
        3 => (0..2_usize).prop_map(Step::ReadQuery),
        1 => Just(Step::ForgetAll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn lists_and_texts_read_like_plain_ones(
        cache_bytes in prop_oneof![Just(0_u64), Just(3_000), Just(1 << 20)],
        steps in proptest::collection::vec(step(), 1..24),
    ) {
        let mut world = World::new(cache_bytes);
        for step in &steps {
            world.step(step)?;
        }
    }
}

fn append(world: &mut World, count: usize) {
    for _ in 0..count {
        world
            .run_update(&[(0, Deed::Insert(255, 0))], false)
            .unwrap();
    }
}

fn counts(world: &World) -> (u64, u64) {
    let stats = &world.bench.shard.stats;
    (stats.sequence_hits.get(), stats.sequence_misses.get())
}

/// Nothing is read from the disk for it, however often the edits have been brought there.
#[test]
fn a_list_in_memory_stays_there() {
    let mut world = World::new(1 << 20);
    append(&mut world, 3);
    let (_, misses) = counts(&world);
    assert_eq!(misses, 0, "the first edit has begun it");
    for _ in 0..3 {
        world.commit();
        world.bench.checkpoint();
        append(&mut world, 2);
        assert_eq!(read(&mut world.query(), 0).len(), world.durable[&0].len());
    }
    // The query that came while something was pending has made one for queries, once,
    // and the others have added to it what it lacked.
    let (hits, misses) = counts(&world);
    assert_eq!(misses, 1);
    assert!(hits > 6, "{hits} hits");
}

/// The one before has more edits, and none of them is of this.
#[test]
fn a_list_that_was_begun_anew_is_kept_in_the_place_of_the_one_before() {
    let mut world = World::new(1 << 20);
    append(&mut world, 30);
    world.commit();
    // Not durable, so that queries keep one of their own.
    append(&mut world, 1);
    assert_eq!(read(&mut world.query(), 0), world.durable[&0]);
    let anew = [(0, Deed::Clear), (0, Deed::Insert(0, 0))];
    world.run_update(&anew, false).unwrap();
    append(&mut world, 2);
    world.commit();
    append(&mut world, 1);
    assert_eq!(read(&mut world.query(), 0), world.durable[&0]);
    let (hits, misses) = counts(&world);
    assert_eq!(read(&mut world.query(), 0), world.durable[&0]);
    assert_eq!(counts(&world), (hits + 1, misses));
}

/// A long one is made in steps, between which others may run.
#[test]
fn a_long_list_is_opened_in_steps() {
    let mut world = World::new(1 << 20);
    append(&mut world, 2_400);
    world.commit();
    assert_eq!(open(&mut world.query(), 0), 0);
    world.bench.shard.sequences.forget_all();
    assert!(open(&mut world.query(), 0) >= 1);
    world.bench.checkpoint();
    world.bench.shard.sequences.forget_all();
    let mut update = world.update();
    assert!(open(&mut update, 0) >= 1);
    assert_eq!(read(&mut update, 0), world.durable[&0]);
}

/// It has made it, as it seemed; nobody else may take it for the list that there is.
#[test]
fn what_was_begun_by_a_failed_call_is_not_kept() {
    let mut world = World::new(1 << 20);
    world.run_update(&[(0, Deed::Insert(0, 0))], true).unwrap();
    assert_eq!(world.bench.shard.stats.sequences.get(), 0);
    assert!(read(&mut world.update(), 0).is_empty());
}

#[test]
fn a_list_is_used_as_what_it_is() {
    let mut world = World::new(1 << 20);
    append(&mut world, 1);
    let mut view = world.update();
    let misused = |result: Result<SequenceStep, corelet_wasm_host::StateError>| {
        result.err().map(|error| error.to_string())
    };
    let opened = view.sequence_open(SequenceKind::Text, Shared, b"list");
    let expected = "an entry that is a list was used as a text";
    assert_eq!(misused(opened).as_deref(), Some(expected));
    open(&mut view, 0);
    let set = view
        .add(Shared, b"list", 1)
        .err()
        .map(|error| error.to_string());
    let expected = "an entry that is a list was written as a counter";
    assert_eq!(set.as_deref(), Some(expected));
    let private = corelet_wasm_host::Space::Private;
    let elements = Elements::Text("x".to_owned());
    let edited = view.sequence_insert(private, b"key", 0, elements);
    let message = edited.err().map(|error| error.to_string()).unwrap();
    assert!(message.contains("private space"), "{message}");
}
