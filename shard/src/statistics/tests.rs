//! Calls of a real application on a shard of which the test is the commit thread.

use std::pin::Pin;
use std::sync::Arc;

use futures_lite::future::poll_once;

use super::*;
use crate::bounds::Bounds;
use crate::fixture::{self, Bench, Disk};
use crate::message::{Call, Reply};

fn run(disk: Disk, bounds: Bounds, scenario: impl AsyncFnOnce(Bench)) {
    let config = rt::ExecutorConfig::default();
    rt::run("a test", &config, || scenario(Bench::bounded(disk, bounds))).unwrap();
}

fn with_contexts(count: u8) -> Disk {
    let disk = Disk::new();
    for n in 1..=count {
        disk.create(n);
    }
    disk
}

type Calling = Pin<Box<dyn Future<Output = Result<Reply, CallError>>>>;

fn calling(bench: &Bench, n: u8, method: &'static str) -> Calling {
    let call = Call {
        method: Bytes::from_static(method.as_bytes()),
        args: Bytes::from_static(b"{}"),
        caller: Arc::from("caller"),
        key: None,
    };
    let shard = Rc::clone(&bench.shard);
    Box::pin(async move { shard.call_here(fixture::id(n), call).await })
}

/// A call, to its durable end.
async fn call(bench: &Bench, n: u8, method: &'static str) -> Result<Reply, CallError> {
    let mut calling = calling(bench, n, method);
    if let Some(end) = poll_once(&mut calling).await {
        return end;
    }
    bench.commit();
    calling.await
}

/// Has what is new kept, while `commit` does what a commit thread would.
async fn keep_by(bench: &Bench, commit: impl Fn(&Bench)) {
    let shard = Rc::clone(&bench.shard);
    let mut keeping = Box::pin(async move { shard.keep_new_statistics().await });
    while poll_once(&mut keeping).await.is_none() {
        commit(bench);
        rt::breathe().await;
    }
}

/// The same, with a checkpoint.
async fn keep(bench: &Bench) {
    keep_by(bench, Bench::commit_shown).await;
}

fn row(bench: &Bench, n: u8, method: &str) -> Option<MethodStatistics> {
    let found = bench.shard.statistics_here(fixture::id(n)).unwrap();
    let whose = MethodRow::Method(method.to_owned());
    let row = found.rows.into_iter().find(|(other, _)| *other == whose);
    row.map(|(_, row)| row)
}

#[test]
fn calls_are_counted_by_method_and_by_how_they_end() {
    run(with_contexts(1), Bounds::default(), async |bench| {
        let first = call(&bench, 1, "keep").await.unwrap();
        let second = call(&bench, 1, "keep").await.unwrap();
        call(&bench, 1, "deny").await.unwrap_err();
        call(&bench, 1, "missing").await.unwrap_err();
        call(&bench, 1, "absent").await.unwrap_err();

        let kept = row(&bench, 1, "keep").unwrap();
        assert_eq!((kept.calls, kept.failed()), (2, 0));
        assert_eq!(kept.fuel, first.fuel_used + second.fuel_used);
        assert_eq!(kept.fuel_max, first.fuel_used.max(second.fuel_used));
        assert_eq!(kept.bytes_in, 4);
        let bytes_out = first.output.len() + second.output.len();
        assert_eq!(kept.bytes_out, bytes_out as u64);
        let times: u64 = kept.times.counted().map(|(_, count)| count).sum();
        assert_eq!(times, 2);

        let denied = row(&bench, 1, "deny").unwrap();
        assert_eq!((denied.calls, denied.bytes_out), (1, 0));
        assert_eq!(denied.failures[FailureKind::Application as usize], 1);
        assert!(denied.fuel > 0);

        let rows = bench.shard.statistics_here(fixture::id(1)).unwrap().rows;
        let (whose, unknown) = rows.last().unwrap();
        assert_eq!(*whose, MethodRow::Unknown, "one row for all of them");
        assert_eq!(unknown.failures[FailureKind::Refused as usize], 2);
        assert_eq!((unknown.calls, unknown.bytes_in), (2, 4));
        let timed = unknown.times.counted().count();
        assert_eq!((unknown.micros, timed), (0, 0), "nothing was served");
        assert_eq!(rows.len(), 3);
        let all: u64 = rows.iter().map(|(_, row)| row.fuel).sum();
        assert_eq!(all, bench.shard.stats.fuel.get());
    });
}

#[test]
fn what_is_kept_adds_up_wherever_it_lies() {
    run(with_contexts(1), Bounds::default(), async |bench| {
        let calls = || row(&bench, 1, "keep").map_or(0, |row| row.calls);
        let totals = || bench.shard.statistics.totals.borrow().len();
        assert_eq!(calls(), 0);
        let version = |bench: &Bench| bench.shard.show_here(fixture::id(1)).unwrap().version;
        call(&bench, 1, "keep").await.unwrap();
        assert_eq!(calls(), 1, "in memory");
        keep_by(&bench, Bench::commit).await;
        assert_eq!((calls(), totals()), (1, 1), "in the transaction");
        call(&bench, 1, "keep").await.unwrap();
        assert_eq!(calls(), 2);
        keep(&bench).await;
        call(&bench, 1, "keep").await.unwrap();
        bench.checkpoint();
        assert_eq!(calls(), 3, "in the snapshot and in memory");
        assert!(bench.shard.forget_one());
        assert_eq!(calls(), 3, "its context has left memory");
        call(&bench, 1, "keep").await.unwrap();
        assert_eq!(calls(), 4, "and is back");
        keep(&bench).await;
        keep(&bench).await;
        assert_eq!(totals(), 0, "nothing is kept twice");
        assert_eq!(calls(), 4);
        assert_eq!(version(&bench), 4, "it is no change of the state");
        assert!(bench.shard.forget_one());
        assert_eq!(calls(), 4);
        keep(&bench).await;
        assert!(bench.queue.is_empty(), "who does nothing costs nothing");
    });
}

/// A batch may fail for reasons of its neighbours.
#[test]
fn a_note_that_was_lost_is_sent_again_and_one_that_is_refused_is_not() {
    run(with_contexts(1), Bounds::default(), async |bench| {
        let shard = Rc::clone(&bench.shard);
        call(&bench, 1, "keep").await.unwrap();
        keep_by(&bench, Bench::fail).await;
        bench.checkpoint();
        assert_eq!(row(&bench, 1, "keep").unwrap().calls, 1);
        keep(&bench).await;
        keep(&bench).await;
        assert!(shard.statistics.totals.borrow().is_empty());
        assert_eq!(row(&bench, 1, "keep").unwrap().calls, 1);

        call(&bench, 1, "keep").await.unwrap();
        let deleted = corelet_store::Change::DeleteContext(fixture::id(1));
        bench.disk.ledger.commit(vec![deleted]).unwrap();
        keep(&bench).await;
        assert!(
            shard.statistics.totals.borrow().is_empty(),
            "there is nobody"
        );
        assert_eq!(shard.stats.statistics_lost.get(), 0, "there is nobody");
    });
}

/// Whatever fails behind it takes a note along that nobody awaits.
#[test]
fn a_note_that_was_told_to_be_written_and_is_in_no_snapshot_is_sent_again() {
    run(with_contexts(1), Bounds::default(), async |bench| {
        let totals = || bench.shard.statistics.totals.borrow().len();
        let calls = || row(&bench, 1, "keep").map_or(0, |row| row.calls);
        call(&bench, 1, "keep").await.unwrap();
        // Its transaction is given up behind the verdict.
        keep_by(&bench, Bench::commit).await;
        bench.checkpoint();
        keep_by(&bench, Bench::commit).await;
        bench.checkpoint();
        assert_eq!((calls(), totals()), (1, 1));
        call(&bench, 1, "keep").await.unwrap();
        keep(&bench).await;
        keep(&bench).await;
        assert_eq!((calls(), totals()), (2, 0), "a snapshot has both");
        assert_eq!(bench.shard.stats.statistics_lost.get(), 0);
    });
}

/// Ten seconds later, as far as statistics can tell.
fn age(bench: &Bench) {
    let mut totals = bench.shard.statistics.totals.borrow_mut();
    for total in totals.values_mut() {
        total.since = total.since.checked_sub(KEEP_EVERY).unwrap();
    }
}

/// One checkpoint for that in a minute, and none where others make them.
#[test]
fn a_note_is_awaited_only_if_nothing_has_made_it_durable_for_long() {
    for has_checkpoints in [true, false] {
        run(with_contexts(2), Bounds::default(), async |bench| {
            let awaited = Cell::new(0);
            let commit = |bench: &Bench| {
                let batch: Vec<Change> = bench.queue.try_iter().map(|it| it.change).collect();
                let is_awaited =
                    |change: &&Change| matches!(change, Change::PutNote(note) if note.is_awaited);
                let count = batch.iter().filter(is_awaited).count();
                awaited.set(awaited.get() + count);
                let mut writer = bench.disk.ledger.writer();
                let outcome = match has_checkpoints {
                    true => writer.commit_shown(batch).unwrap(),
                    false => writer.commit(batch).unwrap(),
                };
                let snapshot = || bench.disk.ledger.snapshot().unwrap();
                let report = crate::commit_stage::Report::Durable {
                    verdicts: outcome.verdicts,
                    shown: outcome.is_shown.then(snapshot),
                };
                bench.shard.commits.settle(report, &bench.shard.snapshots);
            };
            for interval in 0..13 {
                for n in 1..=2 {
                    call(&bench, n, "keep").await.unwrap();
                }
                keep_by(&bench, commit).await;
                let expected = match has_checkpoints {
                    true => 0,
                    false => (interval + 1) / 7,
                };
                assert_eq!(awaited.get(), expected, "{interval}");
                age(&bench);
            }
            assert_eq!(row(&bench, 1, "keep").unwrap().calls, 13);
        });
    }
}

#[test]
fn of_contexts_that_leave_memory_only_so_many_wait_to_be_kept() {
    run(with_contexts(2), Bounds::default(), async |bench| {
        let shard = &bench.shard;
        for n in 1..=2 {
            // Reads nothing and writes nothing, so its context may go at once.
            call(&bench, n, "missing").await.unwrap_err();
        }
        let fill = |count: usize| {
            let mut totals = shard.statistics.totals.borrow_mut();
            totals.clear();
            for n in 0..count {
                let mut id = [9; 32];
                id[..8].copy_from_slice(&(n as u64).to_le_bytes());
                let total = Total {
                    slot: corelet_store::ContextSlot::UNASSIGNED,
                    value: Bytes::new(),
                    sent: None,
                    since: Instant::now(),
                };
                totals.insert(ContextId::from_bytes(id), total);
            }
        };
        fill(shard.totals_max());
        assert!(shard.forget_one());
        assert_eq!(shard.stats.statistics_lost.get(), 1);
        fill(shard.totals_max() - 1);
        assert!(shard.forget_one());
        assert_eq!(shard.stats.statistics_lost.get(), 1);
    });
}

#[test]
fn the_busiest_come_first_and_only_as_many_as_are_asked_for() {
    run(with_contexts(4), Bounds::default(), async |bench| {
        for (n, calls) in [(1, 2), (2, 5), (3, 1), (4, 0)] {
            for _ in 0..calls {
                call(&bench, n, "keep").await.unwrap();
            }
        }
        call(&bench, 3, "deny").await.unwrap_err();
        let ask = async |by, over, limit| {
            let question = BusyQuestion { by, over, limit };
            let found = bench.shard.busiest_here(question).await.unwrap();
            let merged = Busiest::merge(vec![found], &question);
            let ids = merged.contexts.iter().map(|it| it.id.as_bytes()[0]);
            (ids.collect::<Vec<_>>(), merged)
        };
        let (ids, found) = ask(RankedBy::Calls, RankedOver::Recent, 10).await;
        assert_eq!(ids[0], 2);
        assert_eq!(ids.len(), 3, "who does nothing is not told of");
        assert_eq!((found.recent.calls, found.recent.failures), (9, 1));
        assert_eq!(found.contexts[0].total.calls, 5);
        assert!(found.contexts[0].memory_bytes > 0);
        assert_eq!(ask(RankedBy::Fuel, RankedOver::Recent, 1).await.0, [2]);
        assert_eq!(ask(RankedBy::Failures, RankedOver::Recent, 9).await.0, [3]);
        // Two intervals later it is all over, but not forgotten.
        keep(&bench).await;
        assert_eq!(ask(RankedBy::Calls, RankedOver::Recent, 1).await.0, [2]);
        keep(&bench).await;
        assert!(
            ask(RankedBy::Calls, RankedOver::Recent, 1)
                .await
                .0
                .is_empty()
        );
        let (ids, found) = ask(RankedBy::Time, RankedOver::Memory, 9).await;
        assert_eq!(ids.len(), 3);
        assert_eq!(found.in_memory.calls, 9);
        assert_eq!(
            found.contexts[0].total.calls,
            found.contexts[0].in_memory.calls
        );
    });
}

#[test]
fn a_context_whose_statistics_are_damaged_is_out_of_service() {
    let disk = with_contexts(2);
    run(disk, Bounds::default(), async |bench| {
        for n in 1..=2 {
            call(&bench, n, "keep").await.unwrap();
        }
        keep(&bench).await;
        keep(&bench).await;
        bench.disk.flip(b"\x01\x00\x04keep", 3);
        let refused = bench.shard.statistics_here(fixture::id(1)).unwrap_err();
        assert!(refused.damage().is_some(), "{refused:?}");
        let again = bench.shard.statistics_here(fixture::id(1)).unwrap_err();
        assert!(matches!(again, CallError::OutOfService { .. }));
    });
}
