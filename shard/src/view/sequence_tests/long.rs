//! Long and fragmented texts: each step of what is done to them has so much work, those who
//! want the same one make it together, and what is being made is bounded.

use corelet_store::Allowance;

use super::*;
use crate::sequences::STEP_WORK;

/// Whether a step has refused because others are at it.
fn is_busy(error: &StateError) -> bool {
    matches!(
        error,
        StateError::Busy {
            limit: "sequence_opening_bytes_max",
            ..
        }
    )
}

impl World {
    /// A text of so many characters, each put in at a place of its own, made by updates of 2,000
    /// edits; and it is in no memory.
    fn with_fragmented(bounds: Bounds, count: u64) -> World {
        let mut world = World::with(bounds);
        let (name, _) = KEYS[1];
        let mut place: u64 = 7;
        for n in 0..count / 2_000 {
            world.edit_text(|view| {
                for at in 0..2_000 {
                    place = place
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let at = (place >> 33) % (n * 2_000 + at + 1);
                    let elements = Elements::Text("é".to_owned());
                    view.sequence_insert(Shared, name, at, elements).unwrap();
                }
            });
        }
        world.bench.checkpoint();
        world.bench.shard.sequences.forget_all();
        world
    }

    /// Commits an update of the text, which no model follows.
    fn edit_text(&mut self, edit: impl FnOnce(&mut View)) {
        let hlc = self.bench.shard.clock.tick();
        let mut view = self.update();
        open(&mut view, 1);
        edit(&mut view);
        let written = view.into_written(hlc).unwrap();
        self.submit(hlc, written.ops, written.shown);
        written.edited.keep(&self.bench.shard.sequences);
        self.pending.push(Model::new());
        self.commit();
    }
}

fn step(view: &mut View) -> Result<SequenceStep, StateError> {
    let (name, kind) = KEYS[1];
    view.sequence_open(kind, Shared, name)
}

fn length(view: &mut View) -> u64 {
    let (name, kind) = KEYS[1];
    view.sequence_length(kind, Shared, name).unwrap()
}

/// Five updates of 2,000 edits each, of which none may be applied in one go.
#[test]
fn an_edit_that_does_much_is_applied_in_steps() {
    let world = World::with_fragmented(Bounds::default(), 10_000);
    let mut update = world.update();
    let steps = open(&mut update, 1) as u64;
    assert_eq!(length(&mut update), 10_000);
    // More than a few elementary steps for each edit.
    assert!(steps > 5 * 10_000 / STEP_WORK, "{steps}");
}

#[test]
fn a_long_removal_is_done_and_taken_back_in_steps() {
    let world = World::with_fragmented(Bounds::default(), 10_000);
    let (name, kind) = KEYS[1];
    let mut update = world.update();
    open(&mut update, 1);
    let (mut steps, mut sum) = (0, 0);
    loop {
        let step = update.sequence_remove(kind, Shared, name, 0, 10_000);
        steps += 1;
        match step.unwrap() {
            RemovalStep::More { work } => {
                assert!((STEP_WORK..2 * STEP_WORK).contains(&work), "{work}");
                sum += work;
            }
            RemovalStep::Whole { work } => {
                sum += work;
                break;
            }
        }
    }
    assert!(
        sum >= 5 * 10_000 && steps >= sum / (2 * STEP_WORK),
        "{steps}"
    );
    assert_eq!(length(&mut update), 0);
    // It fails. What is durable is read as before, and the next update finishes to take it back.
    drop(update);
    let mut query = world.query();
    open(&mut query, 1);
    assert_eq!(length(&mut query), 10_000);
    let mut update = world.update();
    assert!(open(&mut update, 1) > 0);
    assert_eq!(length(&mut update), 10_000);
    assert_eq!(read(&mut update, 1), read(&mut query, 1));
}

/// However many want it at the same time.
#[test]
fn a_text_is_made_once_for_all_queries_that_want_it() {
    let world = World::with_fragmented(Bounds::default(), 6_000);
    let stats = &world.bench.shard.stats;
    let alone = {
        let mut query = world.query();
        let steps = open(&mut query, 1);
        world.bench.shard.sequences.forget_all();
        steps
    };
    let before = stats.sequence_misses.get();
    let mut queries: Vec<View> = (0..12).map(|_| world.query()).collect();
    let (mut steps, mut largest) = (0, 0);
    loop {
        let mut is_more = false;
        for query in &mut queries {
            let step = step(query).unwrap();
            steps += usize::from(matches!(step, SequenceStep::More { .. }));
            is_more |= matches!(step, SequenceStep::More { .. });
            largest = largest.max(stats.sequence_opening_bytes.get());
            assert!(stats.sequences_opening.get() <= 1);
        }
        if !is_more {
            break;
        }
    }
    assert!(steps <= alone + queries.len(), "{steps} for {alone} alone");
    assert_eq!(stats.sequence_misses.get(), before + 1);
    for query in &mut queries {
        assert_eq!(length(query), 6_000);
    }
    assert!(largest > 0);
    assert_eq!(stats.sequence_opening_bytes.get(), 0);
    assert_eq!(stats.sequences_opening.get(), 0);
}

/// One that no cache takes is still there once, as long as somebody looks at it.
#[test]
fn a_text_that_is_too_large_to_keep_is_shared_while_it_is_used() {
    let bounds = Bounds {
        sequence_memory_bytes_max: 1_000,
        ..Bounds::default()
    };
    let world = World::with_fragmented(bounds, 4_000);
    let stats = &world.bench.shard.stats;
    let mut one = world.query();
    open(&mut one, 1);
    let bytes = stats.sequence_opening_bytes.get();
    assert!(bytes > 0);
    let mut other = world.query();
    assert_eq!(open(&mut other, 1), 0, "it is there");
    assert_eq!(stats.sequence_opening_bytes.get(), bytes);
    drop(one);
    assert_eq!(length(&mut other), 4_000);
    drop(other);
    assert_eq!(stats.sequence_opening_bytes.get(), 0);
}

#[test]
fn what_is_being_made_is_bounded_and_the_oldest_goes_on() {
    let bounds = Bounds {
        sequence_opening_bytes_max: 10_000,
        ..Bounds::default()
    };
    let world = World::with_fragmented(bounds, 6_000);
    let mut first = world.query();
    for _ in 0..5 {
        let first = step(&mut first);
        assert!(matches!(first, Ok(SequenceStep::More { .. })));
    }
    // An update makes one of its own.
    let mut second = world.update();
    let refused = step(&mut second).unwrap_err();
    assert!(is_busy(&refused), "{refused}");
    drop(second);
    open(&mut first, 1);
    assert_eq!(length(&mut first), 6_000);
    let mut third = world.update();
    open(&mut third, 1);
    assert_eq!(length(&mut third), 6_000, "there is room again");
}

/// As one that has come to its end has nothing to go on with, however long it is looked at.
#[test]
fn one_that_is_whole_and_in_no_cache_lets_the_next_go_on() {
    let bounds = Bounds {
        sequence_memory_bytes_max: 1_000,
        sequence_opening_bytes_max: 10_000,
        ..Bounds::default()
    };
    let world = World::with_fragmented(bounds, 6_000);
    let mut first = world.query();
    open(&mut first, 1);
    assert_eq!(length(&mut first), 6_000);
    let taken = world.bench.shard.stats.sequence_opening_bytes.get();
    assert!(taken > 10_000, "{taken} are still in use");
    let mut second = world.update();
    assert!(matches!(step(&mut second), Ok(SequenceStep::More { .. })));
    let mut third = world.update();
    let refused = step(&mut third).unwrap_err();
    assert!(is_busy(&refused), "{refused}");
    open(&mut second, 1);
    assert_eq!(length(&mut second), 6_000);
    assert_eq!(length(&mut first), 6_000);
}

/// However many lists and texts a turn has edited that fails.
#[test]
fn what_a_failed_turn_has_edited_is_taken_back_in_one_step_together() {
    let mut world = World::with(Bounds::default());
    let both = [(0, Deed::Insert(0, 0)), (1, Deed::Insert(0, 0))];
    world.run_update(&both, false).unwrap();
    let mut update = world.update();
    for (key, (name, kind)) in KEYS.iter().enumerate() {
        open(&mut update, key);
        for _ in 0..1_500 {
            let elements = match kind {
                SequenceKind::Text => Elements::Text("x".to_owned()),
                SequenceKind::List => Elements::Values(vec![vec![1]]),
            };
            update.sequence_insert(Shared, name, 0, elements).unwrap();
        }
    }
    let all = Allowance::unbounded();
    drop(update);
    let used = all.used();
    assert!((STEP_WORK..STEP_WORK * 3 / 2).contains(&used), "{used}");
    for key in 0..KEYS.len() {
        assert_eq!(read(&mut world.update(), key), world.tip()[&key]);
    }
}

/// A query that reads on finds what was durable when it began, and has to bring it into memory
/// anew at most once, whatever becomes of it in between.
#[test]
fn a_long_text_is_read_in_parts_while_others_edit_it() {
    const CHARS: u64 = 1 << 20;
    let mut world = World::with(Bounds::default());
    let (name, kind) = KEYS[1];
    let long = "é".repeat(CHARS as usize);
    world.edit_text(|view| {
        let elements = Elements::Text(long.clone());
        view.sequence_insert(Shared, name, 0, elements).unwrap();
    });
    let mut query = world.query();
    open(&mut query, 1);
    let (mut text, mut at, mut opened) = (String::new(), 0, Vec::new());
    while at < CHARS {
        let all = Allowance::unbounded();
        let part = query.sequence_read(kind, Shared, name, at, CHARS - at, u64::MAX);
        assert!(all.used() < 5 * STEP_WORK, "{}", all.used());
        let Ok(Elements::Text(part)) = part else {
            panic!("{part:?}");
        };
        assert!(!part.is_empty());
        at += part.chars().count() as u64;
        text.push_str(&part);
        world.edit_text(|view| {
            let elements = Elements::Text("x".to_owned());
            view.sequence_insert(Shared, name, 0, elements).unwrap();
        });
        world.bench.shard.sequences.forget_all();
        opened.push(open(&mut query, 1));
    }
    assert!(text == long);
    assert!(opened.len() > 2, "{opened:?}");
    assert!(
        opened[0] > 0 && opened[1..].iter().all(|steps| *steps == 0),
        "{opened:?}"
    );
}

/// What a removal has left lies there until it is swept, and is gone through like the rest.
#[test]
fn a_list_that_was_begun_anew_is_opened_in_steps_past_its_removed_edits() {
    let mut world = World::with(Bounds::default());
    append(&mut world, 2_400);
    world.commit();
    append(&mut world, 2_400);
    world.commit();
    let anew = [(0, Deed::Clear), (0, Deed::Insert(0, 2))];
    world.run_update(&anew, false).unwrap();
    world.commit();
    world.bench.checkpoint();
    world.bench.shard.sequences.forget_all();
    let mut query = world.query();
    let steps = open(&mut query, 0) as u64;
    assert!(steps >= 4_800 / STEP_WORK, "{steps}");
    assert_eq!(read(&mut query, 0), world.durable[&0]);
}
