//! The stage with a commit thread that is the test: what is seen when, what a failure takes along,
//! and what the bounds refuse.

use bytes::Bytes;
use corelet_store::{ContextSlot, EntryKind, Refused, Space};
use crossbeam_channel::Receiver;
use futures_lite::future::{block_on, poll_once};

use super::*;
use crate::bounds::Bounds;
use crate::clock::System;
use crate::fixture::{self, Disk};
use crate::overlay::Shown;
use crate::snapshots::Snapshots;

/// A stage whose commit thread is the test.
struct Bench {
    stage: CommitStage,
    queue: Receiver<Queued>,
    disk: Disk,
    snapshots: Snapshots,
    stats: Arc<ShardStats>,
    context: Rc<Context>,
    _inbox: Inbox<Report>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(&Bounds::default())
    }

    fn with(bounds: &Bounds) -> Bench {
        let stats = Arc::default();
        let guest_logs = Rc::new(GuestLogs::new(bounds, &stats, 1));
        let (stage, thread, inbox) = stage(bounds, &stats, &guest_logs, Arc::new(System));
        let disk = Disk::new();
        let slot = disk.create(1);
        Bench {
            stage,
            queue: thread.queue,
            snapshots: Snapshots::new(disk.ledger.clone()).unwrap(),
            disk,
            stats,
            context: fixture::context(1, slot),
            _inbox: inbox,
        }
    }

    fn slot(&self) -> ContextSlot {
        self.context.slot
    }

    fn submit(&self, now: u64, value: &'static str) -> Result<Answer<Receipt>, CallError> {
        self.submit_change(fixture::call(1, self.slot(), now, &[("key", value)]))
    }

    fn submit_change(&self, change: Change) -> Result<Answer<Receipt>, CallError> {
        let bytes = change.bytes();
        let shown = fixture::shown_by(&change);
        self.stage
            .submit(change, bytes, Some((&self.context, shown, None)))
    }

    fn barrier(&self) -> Answer<Result<Root, CallError>> {
        self.stage.barrier(&self.context, None)
    }

    /// Commits everything in the queue as one batch.
    fn commit(&self) {
        let batch: Vec<Change> = self.queue.try_iter().map(|queued| queued.change).collect();
        let outcome = self.disk.ledger.writer().commit(batch).unwrap();
        let report = Report::Durable {
            verdicts: outcome.verdicts,
            shown: None,
        };
        self.stage.settle(report, &self.snapshots);
    }

    /// Refuses everything in the queue.
    fn refuse(&self) {
        let context = fixture::id(1);
        let refused = |_| Err(Refused::BehindRefused { context });
        let report = Report::Durable {
            verdicts: self.queue.try_iter().map(refused).collect(),
            shown: None,
        };
        self.stage.settle(report, &self.snapshots);
    }

    fn fail(&self) {
        self.queue.try_iter().for_each(drop);
        let error = StoreError::MapFull { bytes_max: 1 };
        self.stage.settle(Report::Failed(error), &self.snapshots);
    }

    fn checkpoint(&self) {
        self.disk.ledger.writer().checkpoint().unwrap();
        let snapshot = self.disk.ledger.snapshot().unwrap();
        self.stage.settle(Report::Shown(snapshot), &self.snapshots);
    }

    /// What the next update would read in memory.
    fn pending(&self) -> Option<String> {
        let overlay = self.context.overlay.borrow();
        text(&overlay.get(Space::Shared, b"key")??.bytes)
    }

    /// What the next query would read in memory.
    fn settled(&self) -> Option<String> {
        let settled = self.context.overlay.borrow().settled();
        let shown = settled.of(Space::Shared).get(&b"key"[..])?;
        text(&shown.as_ref()?.bytes)
    }
}

fn text(value: &[u8]) -> Option<String> {
    Some(String::from_utf8(value.to_vec()).unwrap())
}

fn now<T>(answer: &mut Answer<T>) -> Option<T> {
    block_on(poll_once(answer)).map(|kept| kept.expect("no promise is broken"))
}

fn limit(refused: Result<Answer<Receipt>, CallError>) -> (&'static str, u64, u64) {
    match refused {
        Err(CallError::Busy { limit, used, max }) => (limit, used, max),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[test]
fn a_write_is_seen_by_updates_then_by_queries_then_on_disk() {
    let bench = Bench::new();
    let mut receipt = bench.submit(2, "new").unwrap();
    assert!(now(&mut receipt).is_none());
    assert_eq!(bench.pending().as_deref(), Some("new"));
    assert_eq!(bench.settled(), None, "a query must not see it yet");
    assert!(!bench.context.is_idle());

    bench.commit();
    let committed = now(&mut receipt).unwrap().unwrap();
    assert!(committed.delta_id().is_some());
    assert_eq!(bench.context.standing.get(), committed.standing());
    assert_eq!(bench.settled().as_deref(), Some("new"));
    assert!(bench.context.is_idle() && !bench.context.is_shown());

    bench.checkpoint();
    assert!(bench.context.is_shown());
    assert_eq!(bench.pending(), None);
    assert_eq!(bench.disk.get(bench.slot(), "key").as_deref(), Some("new"));
}

/// Bytes that tell which thread has freed them.
struct Told(crossbeam_channel::Sender<std::thread::ThreadId>);

impl AsRef<[u8]> for Told {
    fn as_ref(&self) -> &[u8] {
        b"value"
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(std::thread::current().id());
    }
}

/// None of them is large, and all of them are.
#[test]
fn what_a_checkpoint_shows_of_many_contexts_is_freed_beside_the_shard() {
    let bench = Bench::new();
    let (tell, told) = crossbeam_channel::unbounded();
    let contexts: Vec<_> = (0..100)
        .map(|n| fixture::context(n, bench.slot()))
        .collect();
    for context in &contexts {
        let writes = (0..10_u8).map(|key| {
            let value = Bytes::from_owner(Told(tell.clone()));
            Write {
                space: Space::Shared,
                key: Bytes::copy_from_slice(&[key]),
                shown: Some(Shown::new(EntryKind::Register, value)),
                edit: None,
            }
        });
        context.overlay.borrow_mut().settle(1, writes.collect());
        bench.stage.unshown.borrow_mut().push(Rc::clone(context));
    }
    drop(tell);
    bench.checkpoint();
    assert!(contexts.iter().all(|context| context.is_shown()));
    let here = std::thread::current().id();
    let freed: Vec<_> = told.iter().collect();
    assert_eq!(freed.len(), 1_000);
    assert!(freed.iter().all(|thread| *thread != here));
}

#[test]
fn a_private_write_has_no_delta_and_moves_the_version_on() {
    let bench = Bench::new();
    let before = bench.context.standing.get().version;
    let mut change = fixture::call(1, bench.slot(), 2, &[("key", "mine")]);
    if let Change::Call(call) = &mut change {
        call.ops[0].space = Space::Private;
    }
    let mut receipt = bench.submit_change(change).unwrap();
    bench.commit();
    let committed = now(&mut receipt).unwrap().unwrap();
    assert_eq!(committed.delta_id(), None);
    assert_eq!(bench.context.standing.get().version, before + 1);
    assert_eq!(
        bench.settled(),
        None,
        "in the shared space there is nothing"
    );
    bench.checkpoint();
    assert_eq!(bench.disk.get(bench.slot(), "key"), None);
}

#[test]
fn what_is_refused_for_want_of_space_is_counted_by_what_is_full() {
    let bench = Bench::new();
    let counted = || {
        let of = |counter: &crate::stats::Counter| counter.get();
        (
            of(&bench.stats.refused_by_full_disk),
            of(&bench.stats.refused_by_full_ledger),
        )
    };
    let settle = |report| {
        bench.queue.try_iter().for_each(drop);
        bench.stage.settle(report, &bench.snapshots);
    };
    let full_disk = || StoreError::DiskFull {
        source: std::io::Error::from(std::io::ErrorKind::StorageFull),
    };
    let _receipts = [2, 3].map(|now| bench.submit(now, "value").unwrap());
    settle(Report::Failed(full_disk()));
    assert_eq!(counted(), (2, 0));
    let _receipt = bench.submit(4, "value").unwrap();
    bench.fail();
    assert_eq!(counted(), (2, 1));
    let _receipt = bench.submit(5, "value").unwrap();
    settle(Report::Durable {
        verdicts: vec![Err(Refused::DiskFull)],
        shown: None,
    });
    assert_eq!(counted(), (3, 1));
    let _receipt = bench.submit(6, "value").unwrap();
    settle(Report::Failed(StoreError::Stopped));
    bench.refuse();
    assert_eq!(counted(), (3, 1), "it was for something else");
}

#[test]
fn a_failed_batch_fails_everything_that_has_seen_it() {
    let bench = Bench::new();
    let mut durable = bench.submit(2, "durable").unwrap();
    bench.commit();
    now(&mut durable).unwrap().unwrap();

    let epoch = bench.stage.epoch();
    let mut lost = [
        bench.submit(3, "lost").unwrap(),
        bench.submit(4, "too").unwrap(),
    ];
    let mut barrier = bench.barrier();
    bench.fail();
    for receipt in &mut lost {
        assert!(matches!(now(receipt), Some(Err(CallError::Store(_)))));
    }
    assert!(now(&mut barrier).unwrap().is_err());
    assert_ne!(bench.stage.epoch(), epoch);
    assert_eq!(bench.context.losses.get(), 2);
    assert_eq!(bench.stats.commit_failures.get(), 2);
    assert_eq!(bench.stats.uncommitted.get(), 0);
    assert_eq!(bench.pending().as_deref(), Some("durable"));

    // And it goes on.
    let mut next = bench.submit(5, "next").unwrap();
    bench.commit();
    now(&mut next).unwrap().unwrap();
    assert_eq!(bench.settled().as_deref(), Some("next"));
}

#[test]
fn a_refused_change_takes_its_effects_back_once() {
    let bench = Bench::new();
    let mut first = bench.submit(2, "first").unwrap();
    let mut second = bench.submit(3, "second").unwrap();
    bench.refuse();
    assert!(matches!(
        now(&mut first),
        Some(Err(CallError::Uncommitted(_)))
    ));
    assert!(matches!(
        now(&mut second),
        Some(Err(CallError::Uncommitted(_)))
    ));
    assert_eq!(bench.pending(), None);
    // The second had seen the first, so its loss is no news.
    assert_eq!(bench.context.losses.get(), 1);
}

#[test]
fn what_began_after_a_loss_keeps_its_writes() {
    let bench = Bench::new();
    let _first = bench.submit(2, "first").unwrap();
    let _second = bench.submit(3, "second").unwrap();
    let refused = || {
        let context = fixture::id(1);
        vec![Err(Refused::BehindRefused { context })]
    };
    let report = || Report::Durable {
        verdicts: refused(),
        shown: None,
    };
    bench.stage.settle(report(), &bench.snapshots);
    let mut third = bench.submit(4, "third").unwrap();
    bench.stage.settle(report(), &bench.snapshots);
    assert_eq!(bench.pending().as_deref(), Some("third"));
    let third_only: Vec<_> = bench.queue.try_iter().skip(2).map(|q| q.change).collect();
    let outcome = bench.disk.ledger.writer().commit(third_only).unwrap();
    let report = Report::Durable {
        verdicts: outcome.verdicts,
        shown: None,
    };
    bench.stage.settle(report, &bench.snapshots);
    now(&mut third).unwrap().unwrap();
    assert_eq!(bench.settled().as_deref(), Some("third"));
}

#[test]
fn a_barrier_waits_for_what_was_there_before_it() {
    let bench = Bench::new();
    assert!(now(&mut bench.barrier()).unwrap().is_ok());
    let _before = bench.submit(2, "before").unwrap();
    let mut barrier = bench.barrier();
    assert!(now(&mut barrier).is_none());
    bench.commit();
    assert!(now(&mut barrier).unwrap().is_ok());
    assert!(bench.stage.is_idle());
}

#[test]
fn a_full_stage_names_its_bound_and_keeps_no_trace_of_the_change() {
    const LARGE: &str = match std::str::from_utf8(&[b'x'; 800]) {
        Ok(text) => text,
        Err(_) => unreachable!(),
    };
    // Room for two small changes.
    let bounds = Bounds {
        uncommitted_max: 2,
        uncommitted_bytes_max: 700,
        ..Bounds::default()
    };
    let bench = Bench::with(&bounds);
    // Alone, one may be larger than the bound.
    let _large = bench.submit(2, LARGE).unwrap();
    let small = fixture::call(1, bench.slot(), 3, &[("key", "x")]).bytes();
    assert!(small > 300, "what is around a write counts");
    let expected = (
        "uncommitted_bytes_max",
        bench.stage.bytes.get() + small,
        700,
    );
    assert_eq!(limit(bench.submit(3, "x")), expected);
    assert_eq!(bench.context.uncommitted.get(), 1);
    assert_eq!(bench.pending().as_deref(), Some(LARGE));
    bench.commit();

    let _first = bench.submit(4, "1").unwrap();
    let _second = bench.submit(5, "2").unwrap();
    assert_eq!(limit(bench.submit(6, "3")), ("uncommitted_max", 2, 2));
    assert_eq!(bench.pending().as_deref(), Some("2"));
}

/// A batch of its own would fail, and with it what others have sent.
#[test]
fn a_change_that_no_batch_could_take_is_refused_alone() {
    let bench = Bench::new();
    let mut good = bench.submit(2, "good").unwrap();
    let change = fixture::call(1, bench.slot(), 3, &[("key", "large")]);
    let refused = bench.stage.submit(
        change,
        BATCH_BYTES_MAX + 1,
        Some((&bench.context, Vec::new(), None)),
    );
    assert!(matches!(refused, Err(CallError::Store(_))));
    assert_eq!(bench.pending().as_deref(), Some("good"));
    bench.commit();
    assert!(now(&mut good).unwrap().is_ok());
    let change = fixture::call(1, bench.slot(), 4, &[("key", "largest")]);
    let taken = bench.stage.submit(
        change,
        BATCH_BYTES_MAX,
        Some((&bench.context, Vec::new(), None)),
    );
    assert!(taken.is_ok());
}

/// They are out of the stage's books, and still take up their places.
#[test]
fn lost_changes_that_are_still_queued_count() {
    let bounds = Bounds {
        uncommitted_max: 1,
        ..Bounds::default()
    };
    let bench = Bench::with(&bounds);
    let _lost = bench.submit(2, "lost").unwrap();
    let error = StoreError::MapFull { bytes_max: 1 };
    bench.stage.settle(Report::Failed(error), &bench.snapshots);
    assert_eq!(limit(bench.submit(3, "next")), ("uncommitted_max", 1, 1));
    bench.queue.try_iter().for_each(drop);
    assert!(bench.submit(4, "next").is_ok());
}

/// Whoever wrote the application learns what it said, and that it came to nothing.
#[test]
fn what_a_call_has_logged_is_kept_however_its_commit_ends() {
    let bench = Bench::new();
    let submit = |now, message: &str| {
        let change = fixture::call(1, bench.slot(), now, &[("key", "value")]);
        let (bytes, shown) = (change.bytes(), fixture::shown_by(&change));
        let log = TurnLog {
            method: Arc::from("method"),
            began: corelet_store::Hlc::from_bits(now << 12),
            succeeded: true,
            lines: vec![corelet_wasm_host::GuestLog {
                level: corelet_wasm_host::LogLevel::Info,
                message: message.to_owned(),
            }],
        };
        let wrote = Some((&bench.context, shown, Some(log)));
        bench.stage.submit(change, bytes, wrote)
    };
    let ends = || -> Vec<(String, bool)> {
        let found = bench.stage.guest_logs.read(bench.context.id, 0);
        let ends = found.lines.iter();
        ends.map(|line| (line.message.to_string(), line.succeeded))
            .collect()
    };
    let _durable = submit(2, "durable").unwrap();
    assert!(ends().is_empty(), "it is not known how it ends");
    bench.commit();
    let _refused = submit(3, "refused").unwrap();
    bench.refuse();
    let _lost = submit(4, "lost").unwrap();
    bench.fail();
    assert_eq!(bench.stats.uncommitted.get(), 0);
    assert_eq!(bench.stage.bytes.get(), 0);
    bench.stage.close();
    assert!(submit(5, "late").is_err());
    let expected = [
        ("durable", true),
        ("refused", false),
        ("lost", false),
        ("late", false),
    ];
    assert_eq!(
        ends(),
        expected.map(|(message, end)| (message.to_owned(), end))
    );
}

#[test]
fn a_closed_stage_takes_nothing() {
    let bench = Bench::new();
    bench.stage.close();
    assert!(matches!(bench.submit(2, "late"), Err(CallError::Draining)));
    assert_eq!(bench.context.uncommitted.get(), 0);
}
