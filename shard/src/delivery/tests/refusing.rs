//! Deliveries of which something is refused by the batch, by the clock, or for damage.

use corelet_store::StoreError;

use super::*;
use crate::commit_stage::Report;

/// Commits what was sent, but for the first change, which is refused so.
fn commit_but_first(bench: &Bench, refused: Refused) {
    let mut batch = bench.queue.try_iter().map(|queued| queued.change);
    drop(batch.next());
    let outcome = bench.disk.ledger.writer().commit(batch.collect());
    let mut verdicts = outcome.unwrap().verdicts;
    verdicts.insert(0, Err(refused));
    let shown = None;
    let report = Report::Durable { verdicts, shown };
    bench.shard.commits.settle(report, &bench.shard.snapshots);
}

fn bench() -> Bench {
    let disk = Disk::new();
    disk.create(1);
    Bench::new(disk)
}

/// Commits the first so many changes of what was sent, and tells that the others found the batch
/// full.
fn commit_first(bench: &Bench, count: usize) {
    let mut batch: Vec<_> = bench.queue.try_iter().map(|queued| queued.change).collect();
    let left = batch.split_off(count);
    let outcome = bench.disk.ledger.writer().commit(batch);
    let mut verdicts = outcome.unwrap().verdicts;
    verdicts.extend(left.iter().map(|_| Err(Refused::BatchFull)));
    let shown = None;
    let report = Report::Durable { verdicts, shown };
    bench.shard.commits.settle(report, &bench.shard.snapshots);
}

/// They may have been in a later batch.
#[test]
fn what_is_applied_behind_one_that_had_no_room_is_told_so_and_not_sent_again() {
    let bench = bench();
    // Neither has seen the other.
    let deltas = vec![
        Peer::new().write(9, "a", "1"),
        Peer::new().write(10, "a", "2"),
    ];
    let mut delivery = deliver(&bench, deltas.clone());
    assert!(now(&mut delivery).is_none());
    commit_but_first(&bench, Refused::BatchFull);
    assert!(now(&mut delivery).is_none());
    let again: Vec<_> = bench.queue.try_iter().map(|queued| queued.change).collect();
    let is_first = |change: &Change| match change {
        Change::Delta(sent) => sent.delta.id() == deltas[0].id(),
        _ => true,
    };
    assert!(again.iter().all(is_first), "{again:?}");
    let verdicts = bench.disk.ledger.writer().commit(again).unwrap().verdicts;
    let shown = None;
    let report = Report::Durable { verdicts, shown };
    bench.shard.commits.settle(report, &bench.shard.snapshots);
    assert!(now(&mut delivery).is_none());
    bench.checkpoint();
    let delivered = now(&mut delivery).expect("it has ended").unwrap();
    assert!(matches!(delivered[1], Delivered::Applied), "{delivered:?}");
}

/// The update would say that it follows what it has not seen. Whoever brings the context in
/// comes between the report of the checkpoint and the delivery that has waited for it.
#[test]
fn no_update_runs_beside_a_delivery_that_goes_on_behind_a_checkpoint() {
    let bench = bench();
    let peer = Peer::new();
    let deltas = vec![peer.write(9, "a", "1"), peer.write(10, "a", "2")];
    let mut delivery = deliver(&bench, deltas);
    assert!(now(&mut delivery).is_none());
    // Each has its seal behind it.
    commit_first(&bench, 2);
    assert!(now(&mut delivery).is_none());
    commit_first(&bench, 0);
    assert!(now(&mut delivery).is_none(), "it waits for a checkpoint");
    bench.checkpoint();
    let context = block_on(bench.shard.revive(fixture::id(1))).unwrap();
    let before = context.standing.get();
    assert!(now(&mut delivery).is_none());
    let mut update = call(&bench, "keep");
    assert!(now(&mut update).is_none());
    bench.shard.run_stretch();
    assert_eq!(bench.queue.len(), 2, "a delta, its seal, and no update");
    bench.commit();
    assert!(now(&mut delivery).is_none(), "no snapshot shows it");
    assert_eq!(context.standing.get(), before);
    bench.checkpoint();
    assert_ne!(context.standing.get(), before);
    assert_eq!(applied(now(&mut delivery)), [true, true]);
    drop(delivery);
    bench.shard.run_stretch();
    bench.commit();
    assert!(now(&mut update).is_some_and(|end| end.is_ok()));
}

/// What is in memory of it may be wrong as well, and the next call would meet it.
#[test]
fn damage_takes_the_context_out_of_service() {
    let config = crate::rt::ExecutorConfig::default();
    let scenario = async || {
        let bench = bench();
        let peer = Peer::new();
        let deltas = vec![peer.write(9, "a", "1"), peer.write(10, "a", "2")];
        let mut delivery = deliver(&bench, deltas);
        assert!(poll_once(&mut delivery).await.is_none());
        let (what, key, why) = ("entry", String::new(), "a test says so");
        let source = StoreError::Corrupt { what, key, why };
        commit_but_first(&bench, Refused::Damaged { source });
        bench.checkpoint();
        let end = poll_once(&mut delivery).await.expect("it has ended");
        assert!(
            matches!(end, Err(CallError::OutOfService { .. })),
            "{end:?}"
        );
        let refused = bench.shard.check_service(fixture::id(1));
        assert!(matches!(refused, Err(CallError::OutOfService { .. })));
        assert_eq!(
            bench.shard.stats.deltas_refused.get(),
            2,
            "and it is counted"
        );
        crate::rt::breathe().await;
        let noted = bench.queue.try_iter().map(|queued| queued.change);
        let is_noted = |change: &Change| matches!(change, Change::Quarantine { why: Some(_), .. });
        assert_eq!(noted.filter(is_noted).count(), 1);
    };
    crate::rt::run("a test", &config, scenario).unwrap();
}

/// However many there are, the shard goes on between them.
#[test]
fn many_from_the_future_are_looked_at_in_rounds() {
    let bench = bench();
    let early = Peer::new().write(u64::MAX >> 12, "a", "1");
    let mut delivery = deliver(&bench, vec![early; 2 * ROUND_DELTAS + 1]);
    for _ in 0..3 {
        assert!(now(&mut delivery).is_none());
    }
    let delivered = now(&mut delivery).expect("it has ended").unwrap();
    assert!(bench.queue.is_empty());
    let is_early = |outcome: &Delivered| matches!(outcome, Delivered::FromTheFuture(_));
    assert!(delivered.iter().all(is_early));
}

/// Whoever waits for it would wait for the disk.
#[test]
fn a_delivery_for_which_the_disk_has_no_room_ends_and_its_context_goes_on() {
    for is_live in [true, false] {
        let bench = bench();
        if is_live {
            block_on(bench.shard.revive(fixture::id(1))).unwrap();
        }
        let delta = Peer::new().write(9, "a", "theirs");
        let mut delivery = deliver(&bench, vec![delta.clone()]);
        assert!(now(&mut delivery).is_none());
        let mut update = call(&bench, "keep");
        let mut query = call(&bench, "peek");
        assert!(now(&mut update).is_none());
        assert_eq!(now(&mut query).is_some(), is_live);
        commit_but_first(&bench, Refused::DiskFull);
        let end = now(&mut delivery).expect("it has ended");
        let Err(CallError::Uncommitted(refused)) = end else {
            panic!("{end:?}")
        };
        assert!(matches!(*refused, Refused::DiskFull));
        drop(delivery);
        if !is_live {
            assert!(now(&mut query).is_some_and(|end| end.is_ok()));
        }
        assert!(now(&mut update).is_none());
        bench.shard.run_stretch();
        bench.commit();
        assert!(now(&mut update).is_some_and(|end| end.is_ok()));
        // There is room again.
        let mut again = deliver(&bench, vec![delta]);
        assert!(now(&mut again).is_none());
        bench.commit();
        bench.checkpoint();
        assert_eq!(applied(now(&mut again)), [true]);
    }
}
