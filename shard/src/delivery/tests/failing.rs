//! Deliveries that fail when a part of them is applied: no update runs between that and the
//! snapshot that shows it.

use super::*;
use crate::bounds::Bounds;
use crate::context::Context;
use crate::view::{SequenceAccess, View};
use corelet_wasm_host::{Elements, GuestSequences, SequenceKind, SequenceStep, Space};

/// How the second round ends.
#[derive(Clone, Copy)]
enum Fails {
    /// Its batch cannot be written.
    Batch,
    /// It cannot be handed over, as the stage is full.
    Stage,
}

/// What a peer has made for two rounds, its text in the first of them.
fn for_two_rounds(peer: &Peer) -> Vec<VouchedDelta> {
    let mut deltas = vec![peer.put_in_front(20, "t", "theirs, later. ")];
    deltas.extend((0..300).map(|n| peer.write(30 + n, "k", "theirs")));
    deltas
}

/// Delivers so that the first round is applied and the second fails. It has not ended then.
fn deliver_half(bench: &Bench, deltas: Vec<VouchedDelta>, fails: Fails) -> Delivery<'_> {
    let mut delivery = deliver(bench, deltas);
    assert!(now(&mut delivery).is_none());
    bench.commit();
    if matches!(fails, Fails::Stage) {
        while bench.shard.commits.check_room(0).is_ok() {
            let change = Change::RemoveName {
                name: "of nobody".to_owned(),
                context: fixture::id(9),
            };
            drop(bench.shard.commits.submit(change, 0, None).unwrap());
        }
    }
    let is_over = now(&mut delivery).is_some();
    if matches!(fails, Fails::Batch) {
        bench.fail();
    }

    let is_over = is_over || now(&mut delivery).is_some();
    assert!(!is_over, "what it has applied is not shown");
    delivery
}

fn check_end(delivery: &mut Delivery<'_>, fails: Fails) {
    let end = now(delivery).expect("all is shown");
    match fails {
        Fails::Batch => assert!(matches!(end, Err(CallError::Store(_)))),
        Fails::Stage => assert!(matches!(end, Err(CallError::Busy { .. }))),
    }
}

fn bench() -> (Bench, ContextSlot) {
    let disk = Disk::new();
    let slot = disk.create(1);
    let bounds = Bounds {
        uncommitted_max: 2 * ROUND_DELTAS,
        ..Bounds::default()
    };
    (Bench::bounded(disk, bounds), slot)
}

/// The text as an update finds it, made of what is in memory.
fn text(bench: &Bench, context: &Context) -> String {
    let access = SequenceAccess {
        cache: Some(Rc::clone(&bench.shard.sequences)),
        author: bench.shard.author,
        losses: context.losses.get(),
    };
    let (snapshots, overlay) = (
        Rc::clone(&bench.shard.snapshots),
        Rc::clone(&context.overlay),
    );
    let mut view = View::of_update(context.slot, snapshots, overlay, access);
    let (kind, key) = (SequenceKind::Text, &b"t"[..]);
    while let SequenceStep::More { .. } = view.sequence_open(kind, Space::Shared, key).unwrap() {}
    let length = view.sequence_length(kind, Space::Shared, key).unwrap();
    let all = view.sequence_read(kind, Space::Shared, key, 0, length, u64::MAX);
    match all.unwrap() {
        Elements::Text(text) => text,
        Elements::Values(_) => panic!("it is a text"),
    }
}

/// It would say that it follows what it has not seen, and so replace it everywhere.
#[test]
fn no_update_runs_before_what_a_failed_delivery_has_applied_is_shown() {
    for fails in [Fails::Batch, Fails::Stage] {
        let (bench, slot) = bench();
        let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
        let before = context.standing.get();
        let peer = Peer::new();
        let mut delivery = deliver_half(&bench, for_two_rounds(&peer), fails);
        bench.commit();
        let mut update = call(&bench, "keep");
        assert!(now(&mut update).is_none());
        bench.shard.run_stretch();
        assert!(bench.queue.is_empty(), "the update has not run");
        assert_eq!(context.standing.get(), before);
        assert_eq!(bench.disk.get(slot, "k"), None);
        bench.checkpoint();
        assert_ne!(context.standing.get(), before);
        check_end(&mut delivery, fails);
        drop(delivery);
        bench.shard.run_stretch();
        bench.commit();
        assert!(now(&mut update).expect("it has run").is_ok());
        assert_eq!(bench.shard.stats.deltas_applied.get(), ROUND_DELTAS as u64);
    }
}

/// What is known already is shown, or the delivery before had not ended.
#[test]
fn a_failed_delivery_that_is_made_again_waits_for_what_is_new() {
    let (bench, _) = bench();
    let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
    let peer = Peer::new();
    let mut deltas = for_two_rounds(&peer);
    let mut delivery = deliver_half(&bench, deltas.clone(), Fails::Batch);
    let second = now(&mut deliver(&bench, deltas.clone()));
    assert!(matches!(second, Some(Err(CallError::Busy { .. }))));
    bench.checkpoint();
    check_end(&mut delivery, Fails::Batch);
    drop(delivery);
    deltas.truncate(ROUND_DELTAS + 1);
    let shown = context.standing.get();
    let mut again = deliver(&bench, deltas);
    for _ in 0..2 {
        assert!(now(&mut again).is_none());
        bench.commit();
    }
    assert!(now(&mut again).is_none(), "the last is new");
    bench.checkpoint();
    assert_ne!(context.standing.get(), shown);
    let delivered = applied(now(&mut again));
    assert_eq!(delivered.iter().filter(|it| **it).count(), 1);
}

/// A text in memory counts its edits, and takes as many for the same ones.
#[test]
fn a_text_in_memory_has_what_a_failed_delivery_has_applied() {
    let (bench, _) = bench();
    let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
    let peer = Peer::new();
    let mut first = deliver(&bench, vec![peer.put_in_front(9, "t", "theirs. ")]);
    assert!(now(&mut first).is_none());
    bench.commit();
    bench.checkpoint();
    assert_eq!(applied(now(&mut first)), [true]);
    drop(first);
    let mut own = call(&bench, "note");
    assert!(now(&mut own).is_none());
    bench.commit();
    assert!(now(&mut own).is_some_and(|end| end.is_ok()));
    let mut delivery = deliver_half(&bench, for_two_rounds(&peer), Fails::Batch);
    let mut second = call(&bench, "note");
    assert!(now(&mut second).is_none());
    bench.checkpoint();
    check_end(&mut delivery, Fails::Batch);
    drop(delivery);
    bench.shard.run_stretch();
    let mut third = call(&bench, "note");
    assert!(now(&mut third).is_none());
    bench.commit();
    for mut end in [second, third] {
        assert!(now(&mut end).is_some_and(|end| end.is_ok()));
    }
    let kept = text(&bench, &context);
    bench.checkpoint();
    bench.shard.sequences.forget_all();
    assert_eq!(kept, text(&bench, &context));
    assert!(kept.starts_with("theirs, later. theirs. "), "{kept}");
    assert_eq!(kept.matches("peek").count(), 3, "{kept}");
}
