//! The shard's side of pipelined group commit: changes go to the commit thread
//! (`commit_thread.rs`), which sleeps in its flush while the shard goes on
//! working; receipts come back through a mailbox in the order of the changes.
//!
//! When a batch fails, everything behind it has seen effects that will never be
//! durable: it fails with it. Each change carries the epoch it was made in; a
//! failure ends the epoch, and the commit thread drops what still comes from it.
//!
//! What is durable is not yet in a snapshot: the commit thread shows it with a
//! checkpoint, every now and then, and sends the snapshot along. Until then it
//! stays in the contexts' overlays.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use corelet_store::{
    BATCH_BYTES_MAX, BlobHold, Change, Committed, Refused, Root, Snapshot, Standing, StoreError,
    Verdict,
};
use crossbeam_channel::{Sender, TrySendError};

use crate::answer::{Answer, Promise, promise};
use crate::clock::Source;
use crate::collector::Quarantined;
use crate::commit_thread::{CommitThread, Queued};
use crate::context::Context;
use crate::error::CallError;
use crate::guest_log::{GuestLogs, TurnLog};
use crate::large::Together;
use crate::mailbox::{Inbox, mailbox};
use crate::overlay::Write;
use crate::snapshots::Snapshots;
use crate::stats::ShardStats;

/// What became of a change.
pub(crate) type Receipt = Result<Committed, CallError>;

/// What the commit thread reports, in the order in which it happened.
pub(crate) enum Report {
    /// A batch is on disk.
    Durable {
        /// One per change, in order.
        verdicts: Vec<Verdict>,
        /// What shows it, and everything before it, if it was a checkpoint.
        shown: Option<Snapshot>,
    },
    /// Nothing of a batch was written, and nothing of its epoch will be.
    Failed(StoreError),
    /// A checkpoint without a batch, and what shows it.
    Shown(Snapshot),
    /// What the collector has done. There is one at a time, for as long as `_place` lives.
    Collected {
        /// What shows it, and everything before it, if it has made a checkpoint.
        shown: Option<Snapshot>,
        /// Contexts that are out of service from now on.
        quarantined: Vec<Quarantined>,
        /// Its place in the mailbox.
        _place: Arc<()>,
    },
}

/// Whose a change is.
enum Whose {
    /// No live context's.
    Nobody,
    /// A call's, which has put this into the overlay of its context.
    Call(Rc<Context>, Vec<Write>),
    /// Another node's. What it comes to only the commit thread knows.
    Other(Rc<Context>),
}

/// What the shard remembers of a change on its way to the disk.
struct Uncommitted {
    whose: Whose,
    // What its context had lost when the call began.
    losses: u64,
    number: u64,
    bytes: u64,
    log: Option<TurnLog>,
    // Of the blobs that it attaches.
    holds: Vec<BlobHold>,
    promise: Promise<Receipt>,
}

/// An entry of the queue that mirrors the commit thread's.
enum Waiting {
    Change(Uncommitted),
    Barrier(Barrier),
}

/// Somebody who wants to know when everything before it is durable.
struct Barrier {
    context: Rc<Context>,
    // What the context had lost by then.
    losses: u64,
    // What the guest logged, which can be told from then on.
    log: Option<TurnLog>,
    promise: Promise<Result<Root, CallError>>,
}

impl Barrier {
    fn reached(self, guest_logs: &GuestLogs) {
        let Barrier {
            context,
            losses,
            log,
            promise,
        } = self;
        if context.losses.get() != losses {
            guest_logs.take(&context, log.map(TurnLog::lost));
            return promise.keep(Err(CallError::LostEffects));
        }
        guest_logs.take(&context, log);
        promise.keep(Ok(context.standing.get().root));
    }
}

/// The shard's side.
pub(crate) struct CommitStage {
    // None once closed.
    queue: RefCell<Option<Sender<Queued>>>,
    waiting: RefCell<VecDeque<Waiting>>,
    // Contexts of which something durable is in no snapshot yet.
    unshown: RefCell<Vec<Rc<Context>>>,
    // The same of deltas of other nodes, and what their contexts amount to with them.
    unshown_deltas: RefCell<Vec<(Rc<Context>, Standing)>>,
    // The numbers of the last change that was reported, and of the last that is shown.
    settled: Cell<u64>,
    shown: Cell<u64>,
    // Who waits for a change with this number to be shown.
    until_shown: RefCell<Vec<(u64, Promise<()>)>>,
    epoch: Cell<u64>,
    // How often effects were lost, over all contexts.
    losses: Cell<u64>,
    next_number: Cell<u64>,
    bytes: Cell<u64>,
    bytes_max: u64,
    count_max: usize,
    guest_logs: Rc<GuestLogs>,
    stats: Arc<ShardStats>,
}

/// Makes both sides and the inbox of the reports.
pub(crate) fn stage(
    bounds: &crate::bounds::Bounds,
    stats: &Arc<ShardStats>,
    guest_logs: &Rc<GuestLogs>,
    time: Arc<dyn Source>,
) -> (CommitStage, CommitThread, Inbox<Report>) {
    let (queue, receiver) = crossbeam_channel::bounded(bounds.uncommitted_max);
    // A report stands for at least one change in the queue or in the thread's
    // hands, or follows on such a one; the collector has one of its own.
    let (reports, inbox) = mailbox(2 * (bounds.uncommitted_max + 1) + 1);
    let stage = CommitStage {
        queue: RefCell::new(Some(queue)),
        waiting: RefCell::default(),
        unshown: RefCell::default(),
        unshown_deltas: RefCell::default(),
        settled: Cell::new(0),
        shown: Cell::new(0),
        until_shown: RefCell::default(),
        epoch: Cell::new(0),
        losses: Cell::new(0),
        next_number: Cell::new(1),
        bytes: Cell::new(0),
        bytes_max: bounds.uncommitted_bytes_max,
        count_max: bounds.uncommitted_max,
        guest_logs: Rc::clone(guest_logs),
        stats: Arc::clone(stats),
    };
    let thread = CommitThread {
        queue: receiver,
        reports,
        asks: crossbeam_channel::never(),
        batch_changes_max: bounds.batch_changes_max,
        uncommitted_max: bounds.uncommitted_max as u64,
        collector: bounds.collector.clone(),
        time,
        stats: Arc::clone(stats),
    };
    (stage, thread, inbox)
}

impl CommitStage {
    /// The epoch that a turn begins in. If it has ended when the turn has, the
    /// turn saw effects that were lost.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// What a context that comes into memory begins with as its losses: no less
    /// than any call of its life before, which the commit thread may remember.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.get()
    }

    /// Lets the commit thread end. Nothing may be on its way.
    pub(crate) fn close(&self) {
        assert!(self.is_idle(), "changes are on their way to the disk");
        self.queue.borrow_mut().take();
    }

    /// Whether nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Whether another change of `bytes` would be taken.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<(), CallError> {
        let count = self.waiting.borrow().len();
        if count >= self.count_max {
            return Err(CallError::Busy {
                limit: "uncommitted_max",
                used: count as u64,
                max: self.count_max as u64,
            });
        }
        let used = self.bytes.get();
        if used > 0 && used + bytes > self.bytes_max {
            return Err(CallError::Busy {
                limit: "uncommitted_bytes_max",
                used: used + bytes,
                max: self.bytes_max,
            });
        }
        Ok(())
    }

    /// Sends a change to the disk. `wrote` names the context that it changes, what it
    /// puts into the overlay of that, and what its guest has logged. Of `bytes` the log's are no
    /// part: it stays here.
    /// Refuses when the bounds are reached; the change has then left no trace.
    pub(crate) fn submit(
        &self,
        change: Change,
        bytes: u64,
        wrote: Option<(&Rc<Context>, Vec<Write>, Option<TurnLog>)>,
    ) -> Result<Answer<Receipt>, CallError> {
        let log = wrote.as_ref().and_then(|(_, _, log)| log.as_ref());
        let taken = bytes + log.map_or(0, TurnLog::bytes);
        let queue = self.queue.borrow();
        let queue = match self.open_queue(&queue, bytes, taken) {
            Ok(queue) => queue,
            Err(refused) => {
                if let Some((context, _, log)) = wrote {
                    self.guest_logs.take(context, log.map(TurnLog::lost));
                }
                return Err(refused);
            }
        };
        let number = self.next_number.get();
        let mut kept_log = None;
        let (whose, losses) = match wrote {
            None => (Whose::Nobody, 0),
            Some((context, writes, log)) => {
                kept_log = log;
                context.overlay.borrow_mut().absorb(number, &writes);
                context.uncommitted.set(context.uncommitted.get() + 1);
                if !writes.is_empty() {
                    let count = context.unsettled_writes.get();
                    context.unsettled_writes.set(count + 1);
                }
                (
                    Whose::Call(Rc::clone(context), writes),
                    context.losses.get(),
                )
            }
        };
        Ok(self.send(queue, change, bytes, losses, |number, promise| {
            Uncommitted {
                whose,
                losses,
                number,
                bytes: taken,
                log: kept_log,
                holds: Vec::new(),
                promise,
            }
        }))
    }

    /// Sends a delta of another node to the disk, or what comes with one, whose context is
    /// live here or not. Whoever does it holds the context until the change is
    /// [shown](Self::until_shown): its number says when that is.
    pub(crate) fn submit_delta(
        &self,
        change: Change,
        live: Option<&Rc<Context>>,
    ) -> Result<(Answer<Receipt>, u64), CallError> {
        let bytes = change.bytes();
        let queue = self.queue.borrow();
        let queue = self.open_queue(&queue, bytes, bytes)?;
        let number = self.next_number.get();
        let whose = live.map_or(Whose::Nobody, |context| Whose::Other(Rc::clone(context)));
        let answer = self.send(queue, change, bytes, 0, |number, promise| Uncommitted {
            whose,
            losses: 0,
            number,
            bytes,
            log: None,
            holds: Vec::new(),
            promise,
        });
        Ok((answer, number))
    }

    /// Puts a change into the queue, which has room, and remembers it.
    fn send(
        &self,
        queue: &Sender<Queued>,
        change: Change,
        bytes: u64,
        losses: u64,
        uncommitted: impl FnOnce(u64, Promise<Receipt>) -> Uncommitted,
    ) -> Answer<Receipt> {
        match queue.try_send(Queued {
            epoch: self.epoch.get(),
            losses,
            bytes,
            change,
        }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => unreachable!("the queue is as long as check_room allows"),
            // The commit thread ends before its shard only by ending the process.
            Err(TrySendError::Disconnected(_)) => {
                unreachable!("the commit thread outlives its shard")
            }
        }
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let (promise, answer) = promise();
        let uncommitted = uncommitted(number, promise);
        self.bytes.set(self.bytes.get() + uncommitted.bytes);
        self.waiting
            .borrow_mut()
            .push_back(Waiting::Change(uncommitted));
        self.stats.uncommitted.up();
        answer
    }

    /// The number of the change that is submitted next.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.get()
    }

    /// Resolves when a change with this number, and all before it, can be read in the shard's
    /// snapshot, as far as they were committed.
    pub(crate) fn until_shown(&self, number: u64) -> Answer<()> {
        let (promise, answer) = promise();
        match self.is_shown(number) {
            true => promise.keep(()),
            false => self.until_shown.borrow_mut().push((number, promise)),
        }
        answer
    }

    /// Whether that is so already.
    pub(crate) fn is_shown(&self, number: u64) -> bool {
        number <= self.shown.get()
    }

    /// What a context, which was not live when deltas were applied to it, amounts to as soon as
    /// the next snapshot shows them.
    pub(crate) fn show_later(&self, context: &Rc<Context>, standing: Standing) {
        let mut unshown = self.unshown_deltas.borrow_mut();
        unshown.push((Rc::clone(context), standing));
    }

    /// Whether a context has what came from other nodes and no snapshot shows: its updates wait.
    pub(crate) fn has_unshown_deltas(&self, context: &Rc<Context>) -> bool {
        let unshown = self.unshown_deltas.borrow();
        unshown.iter().any(|(other, _)| Rc::ptr_eq(other, context))
    }

    /// Keeps what holds blobs of the change that was submitted last, or of those before it,
    /// until it is durable or lost.
    pub(crate) fn hold(&self, holds: Vec<BlobHold>) {
        if let Some(Waiting::Change(last)) = self.waiting.borrow_mut().back_mut() {
            last.holds.extend(holds);
        }
    }

    /// The queue, if it takes a change of `bytes`, which takes up `taken` here.
    fn open_queue<'q>(
        &self,
        queue: &'q Option<Sender<Queued>>,
        bytes: u64,
        taken: u64,
    ) -> Result<&'q Sender<Queued>, CallError> {
        self.check_room(taken)?;
        if bytes > BATCH_BYTES_MAX {
            // Any batch with it would fail, and so everybody's calls.
            return Err(CallError::from(StoreError::BatchTooLarge {
                bytes,
                bytes_max: BATCH_BYTES_MAX,
            }));
        }
        let queue = queue.as_ref().ok_or(CallError::Draining)?;
        // Lost changes stay in the queue until the commit thread has dropped them.
        if queue.is_full() {
            let max = self.count_max as u64;
            return Err(CallError::Busy {
                limit: "uncommitted_max",
                used: max,
                max,
            });
        }
        Ok(queue)
    }

    /// Resolves when everything submitted so far is durable, with the context's
    /// root at that moment. Then the log is taken.
    pub(crate) fn barrier(
        &self,
        context: &Rc<Context>,
        log: Option<TurnLog>,
    ) -> Answer<Result<Root, CallError>> {
        let (promise, answer) = promise();
        let barrier = Barrier {
            context: Rc::clone(context),
            losses: context.losses.get(),
            log,
            promise,
        };
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            barrier.reached(&self.guest_logs);
        } else {
            waiting.push_back(Waiting::Barrier(barrier));
        }
        answer
    }

    /// Takes in a report and tells who waits.
    pub(crate) fn settle(&self, report: Report, snapshots: &Snapshots) {
        match report {
            Report::Durable { verdicts, shown } => {
                for verdict in verdicts {
                    self.settle_one(verdict);
                }
                self.settle_barriers();
                if let Some(snapshot) = shown {
                    self.shown(snapshot, snapshots);
                }
            }
            // It is nobody's damage in particular, so no context goes out of service for it.
            Report::Failed(error @ StoreError::Corrupt { .. }) => {
                self.fail_epoch(CallError::BatchDamaged(Arc::new(error)));
            }
            Report::Failed(error) => self.fail_epoch(CallError::from(error)),
            Report::Shown(snapshot) => self.shown(snapshot, snapshots),
            Report::Collected { shown, .. } => {
                if let Some(snapshot) = shown {
                    self.shown(snapshot, snapshots);
                }
            }
        }
    }

    /// From now on the snapshot shows what the overlays had to keep.
    fn shown(&self, snapshot: Snapshot, snapshots: &Snapshots) {
        snapshots.renew(snapshot);
        {
            // Thousands of contexts may have a few writes each.
            let _together = Together::begin();
            for context in self.unshown.take() {
                context.shown();
            }
        }
        // Only now, as the root and the version belong to what is read.
        for (context, standing) in self.unshown_deltas.take() {
            context.standing.set(standing);
        }
        let shown = self.settled.get();
        self.shown.set(shown);
        let is_shown = |waiting: &mut (u64, Promise<()>)| waiting.0 <= shown;
        let mut until_shown = self.until_shown.borrow_mut();
        for (_, promise) in until_shown.extract_if(.., is_shown) {
            promise.keep(());
        }
    }

    fn settle_one(&self, mut verdict: Verdict) {
        self.settle_barriers();
        let Some(Waiting::Change(mut done)) = self.waiting.borrow_mut().pop_front() else {
            unreachable!("each verdict answers one change, in order");
        };
        self.forget(&done);
        self.settled.set(done.number);
        if let Err(Refused::DiskFull) = &verdict {
            self.stats.refused_by_full_disk.one();
        }
        match done.whose {
            Whose::Nobody => {}
            Whose::Call(context, writes) => {
                let log = done.log.take();
                let log = match &verdict {
                    Ok(_) => log,
                    Err(_) => log.map(TurnLog::lost),
                };
                match &mut verdict {
                    Ok(committed) => {
                        let was_shown = context.is_shown();
                        context.overlay.borrow_mut().settle(done.number, writes);
                        context.advance(committed);
                        if was_shown && !context.is_shown() {
                            self.unshown.borrow_mut().push(Rc::clone(&context));
                        }
                    }
                    // What began after the loss has not seen this change.
                    Err(_) if done.losses == context.losses.get() => self.lose_effects(&context),
                    Err(_) => context.overlay.borrow_mut().forget(done.number, &writes),
                }
                self.guest_logs.take(&context, log);
            }
            Whose::Other(context) => {
                if let Ok(committed) = &verdict
                    && committed.delta_id().is_some()
                {
                    let standing = committed.standing();
                    self.unshown_deltas.borrow_mut().push((context, standing));
                }
            }
        }
        done.promise
            .keep(verdict.map_err(|refused| CallError::Uncommitted(Arc::new(refused))));
    }

    fn settle_barriers(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(Waiting::Barrier(_)) = waiting.front() {
            if let Some(Waiting::Barrier(barrier)) = waiting.pop_front() {
                barrier.reached(&self.guest_logs);
            }
        }
    }

    fn fail_epoch(&self, error: CallError) {
        self.epoch.set(self.epoch.get() + 1);
        self.settled.set(self.next_number.get() - 1);
        let failed = std::mem::take(&mut *self.waiting.borrow_mut());
        tracing::error!(%error, calls = failed.len(), "a batch could not be committed");
        let for_want_of_space = match &error {
            CallError::Store(error) => match &**error {
                StoreError::DiskFull { .. } => Some(&self.stats.refused_by_full_disk),
                StoreError::MapFull { .. } => Some(&self.stats.refused_by_full_ledger),
                _ => None,
            },
            _ => None,
        };
        for waiting in failed {
            match waiting {
                Waiting::Change(lost) => {
                    self.forget(&lost);
                    if let Whose::Call(context, _) = &lost.whose {
                        self.guest_logs.take(context, lost.log.map(TurnLog::lost));
                        self.lose_effects(context);
                    }
                    self.stats.commit_failures.one();
                    if let Some(counter) = for_want_of_space {
                        counter.one();
                    }
                    lost.promise.keep(Err(error.clone()));
                }
                Waiting::Barrier(barrier) => {
                    let log = barrier.log.map(TurnLog::lost);
                    self.guest_logs.take(&barrier.context, log);
                    barrier.promise.keep(Err(error.clone()));
                }
            }
        }
    }

    /// Forgets what is not durable, in the overlay and in guests' memory.
    fn lose_effects(&self, context: &Context) {
        self.losses.set(self.losses.get() + 1);
        context.lose_effects(self.losses.get());
        context.warm.take();
    }

    fn forget(&self, change: &Uncommitted) {
        self.bytes.set(self.bytes.get() - change.bytes);
        self.stats.uncommitted.down();
        if let Whose::Call(context, writes) = &change.whose {
            context.uncommitted.set(context.uncommitted.get() - 1);
            if !writes.is_empty() {
                let count = context.unsettled_writes.get();
                context.unsettled_writes.set(count - 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use corelet_store::{ContextSlot, EntryKind, Refused, Space};
    use crossbeam_channel::Receiver;
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::bounds::Bounds;
    use crate::clock::System;
    use crate::fixture::{self, Disk};
    use crate::overlay::Shown;

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
}
