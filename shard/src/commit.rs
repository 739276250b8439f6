//! Pipelined group commit: changes go to a thread that holds the LMDB write
//! transaction and sleeps in its flush while the shard goes on working.
//!
//! A batch is whatever has queued up while the batch before it was flushed, so
//! it closes by itself at the right moment. Receipts come back through a
//! mailbox in the order of the changes. When a batch fails, everything behind
//! it has seen effects that will never be durable: it fails with it. Each
//! change carries the epoch it was made in; a failure ends the epoch, and the
//! commit thread drops what still comes from it.
//!
//! [`CommitStage`] belongs to the shard, [`run`] is the commit thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use corelet_store::{
    BATCH_BYTES_MAX, Change, Committed, ContextId, Ledger, Refused, StoreError, Verdict,
};
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};

use crate::answer::{Answer, Promise, promise};
use crate::context::Context;
use crate::error::CallError;
use crate::mailbox::{Inbox, Outbox, mailbox};
use crate::snapshots::Snapshots;
use crate::stats::ShardStats;

/// Records of deleted contexts dropped in one transaction.
const SWEEP_RECORDS: usize = 256;

/// On a shard that is never idle, sweep after so many batches.
const SWEEP_EVERY_BATCHES: u64 = 16;

/// What became of a change.
pub(crate) type Receipt = Result<Committed, CallError>;

struct Queued {
    epoch: u64,
    // What its context had lost when the call began.
    losses: u64,
    bytes: u64,
    change: Change,
}

/// The commit thread's report on one batch.
pub(crate) enum Report {
    /// One verdict per change, in order.
    Durable(Vec<Verdict>),
    /// Nothing was written, and nothing of this epoch will be.
    Failed(StoreError),
}

/// What the shard remembers of a change on its way to the disk.
struct Uncommitted {
    // What the overlay has to forget afterwards.
    wrote: Option<(Rc<Context>, Vec<Bytes>)>,
    // What its context had lost when the call began.
    losses: u64,
    number: u64,
    bytes: u64,
    promise: Promise<Receipt>,
}

/// An entry of the queue that mirrors the commit thread's.
enum Waiting {
    Change(Uncommitted),
    // Wants to know when everything before it is durable.
    Barrier(Promise<Result<(), CallError>>),
}

/// The shard's side.
pub(crate) struct CommitStage {
    // None once closed.
    queue: RefCell<Option<Sender<Queued>>>,
    waiting: RefCell<VecDeque<Waiting>>,
    epoch: Cell<u64>,
    next_number: Cell<u64>,
    bytes: Cell<u64>,
    bytes_max: u64,
    count_max: usize,
    stats: Arc<ShardStats>,
}

/// What the commit thread is given.
pub(crate) struct CommitThread {
    queue: Receiver<Queued>,
    reports: Outbox<Report>,
    batch_changes_max: usize,
    uncommitted_max: u64,
    stats: Arc<ShardStats>,
}

/// Makes both sides and the inbox of the reports.
pub(crate) fn stage(
    bounds: &crate::bounds::Bounds,
    stats: &Arc<ShardStats>,
) -> (CommitStage, CommitThread, Inbox<Report>) {
    let (queue, receiver) = crossbeam_channel::bounded(bounds.uncommitted_max);
    // Every report stands for at least one change in the queue or in the
    // thread's hands.
    let (reports, inbox) = mailbox(bounds.uncommitted_max + 1);
    let stage = CommitStage {
        queue: RefCell::new(Some(queue)),
        waiting: RefCell::default(),
        epoch: Cell::new(0),
        next_number: Cell::new(1),
        bytes: Cell::new(0),
        bytes_max: bounds.uncommitted_bytes_max,
        count_max: bounds.uncommitted_max,
        stats: Arc::clone(stats),
    };
    let thread = CommitThread {
        queue: receiver,
        reports,
        batch_changes_max: bounds.batch_changes_max,
        uncommitted_max: bounds.uncommitted_max as u64,
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

    /// Sends a change to the disk. `wrote` names what it put into the overlay.
    /// Refuses when the bounds are reached; the change has then left no trace.
    pub(crate) fn submit(
        &self,
        change: Change,
        bytes: u64,
        wrote: Option<&Rc<Context>>,
    ) -> Result<Answer<Receipt>, CallError> {
        self.check_room(bytes)?;
        let queue = self.queue.borrow();
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
        let number = self.next_number.get();
        let losses = wrote.map_or(0, |context| context.losses.get());
        let wrote = wrote.map(|context| {
            let keys = match &change {
                Change::Call(effects) => effects.ops.iter().map(|op| op.key.clone()).collect(),
                _ => Vec::new(),
            };
            if let Change::Call(effects) = &change {
                let writes = effects
                    .ops
                    .iter()
                    .map(|op| (op.key.clone(), op.value.clone()));
                context.overlay.borrow_mut().absorb(number, writes);
            }
            context.uncommitted.set(context.uncommitted.get() + 1);
            if !keys.is_empty() {
                let writes = context.unsettled_writes.get();
                context.unsettled_writes.set(writes + 1);
            }
            (Rc::clone(context), keys)
        });
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
        self.next_number.set(number + 1);
        self.bytes.set(self.bytes.get() + bytes);
        let (promise, answer) = promise();
        self.waiting
            .borrow_mut()
            .push_back(Waiting::Change(Uncommitted {
                wrote,
                losses,
                number,
                bytes,
                promise,
            }));
        self.stats.uncommitted.up();
        Ok(answer)
    }

    /// Resolves when everything submitted so far is durable.
    pub(crate) fn barrier(&self) -> Answer<Result<(), CallError>> {
        let (promise, answer) = promise();
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            promise.keep(Ok(()));
        } else {
            waiting.push_back(Waiting::Barrier(promise));
        }
        answer
    }

    /// Takes in a report: renews the snapshot, then tells who waits.
    pub(crate) fn settle(&self, report: Report, snapshots: &Snapshots) {
        match report {
            Report::Durable(verdicts) => {
                if let Err(error) = snapshots.renew() {
                    // The overlay may only shrink when the snapshot shows what
                    // it held; keeping it longer is correct, but it must not
                    // grow without bound.
                    crate::node::stop_process("cannot read what was just committed", &error);
                }
                for verdict in verdicts {
                    self.settle_one(verdict);
                }
                self.settle_barriers();
            }
            Report::Failed(error) => self.fail_epoch(CallError::from(error)),
        }
    }

    fn settle_one(&self, verdict: Verdict) {
        self.settle_barriers();
        let Some(Waiting::Change(done)) = self.waiting.borrow_mut().pop_front() else {
            unreachable!("each verdict answers one change, in order");
        };
        self.forget(&done);
        if let Some((context, keys)) = &done.wrote {
            context.overlay.borrow_mut().settle(done.number, keys);
            match &verdict {
                Ok(committed) => context.advance(committed),
                // What began after the loss has not seen this change.
                Err(_) if done.losses == context.losses.get() => self.lose_effects(context),
                Err(_) => {}
            }
        }
        done.promise
            .keep(verdict.map_err(|refused| CallError::Uncommitted(Arc::new(refused))));
    }

    fn settle_barriers(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(Waiting::Barrier(_)) = waiting.front() {
            if let Some(Waiting::Barrier(promise)) = waiting.pop_front() {
                promise.keep(Ok(()));
            }
        }
    }

    fn fail_epoch(&self, error: CallError) {
        self.epoch.set(self.epoch.get() + 1);
        let failed = std::mem::take(&mut *self.waiting.borrow_mut());
        tracing::error!(%error, calls = failed.len(), "a batch could not be committed");
        for waiting in failed {
            match waiting {
                Waiting::Change(lost) => {
                    self.forget(&lost);
                    if let Some((context, _)) = &lost.wrote {
                        self.lose_effects(context);
                    }
                    self.stats.commit_failures.one();
                    lost.promise.keep(Err(error.clone()));
                }
                Waiting::Barrier(promise) => promise.keep(Err(error.clone())),
            }
        }
    }

    /// Forgets what is not durable, in the overlay and in guests' memory.
    fn lose_effects(&self, context: &Context) {
        context.lose_effects();
        let warm = context.warm.take().len() as u64;
        self.stats
            .warm_instances
            .set(self.stats.warm_instances.get() - warm);
    }

    fn forget(&self, change: &Uncommitted) {
        self.bytes.set(self.bytes.get() - change.bytes);
        self.stats.uncommitted.down();
        if let Some((context, keys)) = &change.wrote {
            context.uncommitted.set(context.uncommitted.get() - 1);
            if !keys.is_empty() {
                let writes = context.unsettled_writes.get();
                context.unsettled_writes.set(writes - 1);
            }
        }
    }
}

/// The commit thread: until its shard lets go of the queue.
pub(crate) fn run(ledger: Ledger, thread: CommitThread) {
    let mut worker = Worker {
        ledger,
        thread,
        held: None,
        lost: None,
        broken: VecDeque::new(),
        taken: 0,
        sweeping: true,
        batches: 0,
    };
    while let Some(first) = worker.next() {
        worker.commit(first);
    }
}

struct Worker {
    ledger: Ledger,
    thread: CommitThread,
    // A change that did not fit into the batch before.
    held: Option<Queued>,
    // Everything of an epoch up to this one is lost.
    lost: Option<u64>,
    // Contexts of which a call was refused, oldest first.
    broken: VecDeque<Broken>,
    // Changes taken from the queue so far.
    taken: u64,
    // Whether deleted contexts have left records behind; at the start, whether
    // an earlier life has.
    sweeping: bool,
    batches: u64,
}

/// A context of which a call was refused: calls that may have seen its writes
/// are refused too. Until its shard has read the report they keep coming, but
/// not longer than the queue is long.
struct Broken {
    context: ContextId,
    losses: u64,
    until: u64,
}

/// What is committed together.
#[derive(Default)]
struct Batch {
    // Of what is in it; what was dropped before does not count.
    epoch: u64,
    changes: Vec<Change>,
    // Whose call each change is, and what that context had lost.
    calls: Vec<Option<(ContextId, u64)>>,
    // Places of calls that are refused before they are tried.
    refused: Vec<(usize, ContextId)>,
}

impl Worker {
    /// The change that opens the next batch. Sweeps while there is none.
    fn next(&mut self) -> Option<Queued> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        while self.sweeping {
            match self.thread.queue.try_recv() {
                Ok(first) => return Some(first),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => self.sweep(),
            }
        }
        self.thread.queue.recv().ok()
    }

    /// Commits what has queued up behind `first`.
    fn commit(&mut self, first: Queued) {
        let Batch {
            epoch,
            changes,
            calls,
            refused,
        } = self.collect(first);
        if changes.is_empty() && refused.is_empty() {
            return;
        }
        let deletes = |change: &Change| matches!(change, Change::DeleteContext(_));
        self.sweeping |= changes.iter().any(deletes);
        let count = changes.len() as u64;
        let started = Instant::now();
        let report = match self.ledger.commit(changes) {
            Ok(mut verdicts) => {
                let stats = &self.thread.stats;
                stats.batches.one();
                stats.batch_changes.observe(count);
                stats.batch_micros.observe_micros(started.elapsed());
                self.remember_refusals(&calls, &verdicts);
                for (place, context) in refused {
                    verdicts.insert(place, Err(Refused::BehindRefused { context }));
                }
                Report::Durable(verdicts)
            }
            Err(error) if error.is_fatal() => crate::node::stop_process(
                "cannot tell what is on disk after a failed commit",
                &error,
            ),
            Err(error) => {
                self.lost = Some(epoch);
                Report::Failed(error)
            }
        };
        if self.thread.reports.post(report).is_err() {
            unreachable!("there is a place for a report per change");
        }
        self.batches += 1;
        if self.sweeping && self.batches.is_multiple_of(SWEEP_EVERY_BATCHES) {
            self.sweep();
        }
    }

    fn remember_refusals(&mut self, calls: &[Option<(ContextId, u64)>], verdicts: &[Verdict]) {
        for (call, verdict) in calls.iter().zip(verdicts) {
            if let (Some((context, losses)), Err(_)) = (call, verdict) {
                let until = self.taken + self.thread.uncommitted_max;
                self.broken.push_back(Broken {
                    context: *context,
                    losses: *losses,
                    until,
                });
            }
        }
    }

    fn is_broken(&self, call: (ContextId, u64)) -> bool {
        self.broken
            .iter()
            .any(|broken| broken.context == call.0 && broken.losses >= call.1)
    }

    /// `first` and what waits behind it, up to the bounds of a batch. All of
    /// one epoch: a batch that fails ends it.
    fn collect(&mut self, first: Queued) -> Batch {
        let mut bytes = 0;
        let mut batch = Batch {
            epoch: first.epoch,
            ..Batch::default()
        };
        let mut next = Some(first);
        while let Some(queued) = next {
            let is_empty = batch.changes.is_empty() && batch.refused.is_empty();
            let is_other = !is_empty
                && (queued.epoch != batch.epoch
                    || bytes + queued.bytes > BATCH_BYTES_MAX
                    || batch.changes.len() >= self.thread.batch_changes_max);
            if is_other {
                self.held = Some(queued);
                break;
            }
            self.take(queued, &mut batch, &mut bytes);
            next = self.thread.queue.try_recv().ok();
        }
        batch
    }

    fn take(&mut self, queued: Queued, batch: &mut Batch, bytes: &mut u64) {
        self.taken += 1;
        while self
            .broken
            .front()
            .is_some_and(|broken| broken.until < self.taken)
        {
            self.broken.pop_front();
        }
        if self.lost.is_some_and(|lost| queued.epoch <= lost) {
            // Its shard has failed it, or will when it reads the report.
            return;
        }
        batch.epoch = queued.epoch;
        let call = match &queued.change {
            Change::Call(effects) => Some((effects.context, queued.losses)),
            _ => None,
        };
        if let Some(call) = call
            && self.is_broken(call)
        {
            batch
                .refused
                .push((batch.changes.len() + batch.refused.len(), call.0));
            return;
        }
        *bytes += queued.bytes;
        batch.changes.push(queued.change);
        batch.calls.push(call);
    }

    /// Drops some records of deleted contexts.
    fn sweep(&mut self) {
        match self.ledger.sweep(SWEEP_RECORDS) {
            Ok(swept) => {
                self.thread.stats.swept.add(swept.records as u64);
                self.sweeping = swept.is_more;
            }
            Err(error) if error.is_fatal() => crate::node::stop_process(
                "cannot tell what is on disk after a failed sweep",
                &error,
            ),
            Err(error) => {
                // What is left only takes space; the next deletion tries again.
                tracing::warn!(%error, "deleted contexts could not be swept");
                self.sweeping = false;
            }
        }
    }
}
