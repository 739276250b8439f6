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
//!
//! How changes go out is here, what becomes of them in `commit_stage/settle.rs`.

mod settle;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use corelet_store::{
    BATCH_BYTES_MAX, BlobHold, Change, Committed, Root, Snapshot, Standing, StoreError, Verdict,
};
use crossbeam_channel::{Sender, TrySendError};

use crate::answer::{Answer, Promise, promise};
use crate::clock::Source;
use crate::collector::Quarantined;
use crate::commit_thread::{CommitThread, Queued};
use crate::context::{Code, Context};
use crate::error::CallError;
use crate::guest_log::{GuestLogs, TurnLog};
use crate::mailbox::{Inbox, mailbox};
use crate::overlay::Write;
use crate::stats::ShardStats;
use crate::subscriptions::Listeners;

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
    // What its context runs as soon as it is durable, if that is something else.
    code: Option<Box<Code>>,
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
    // Who wants to know when there are new events.
    listeners: Listeners,
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
        listeners: Listeners::default(),
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

    /// Which shards listen to the events of this one's contexts.
    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
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
                code: None,
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
            code: None,
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

    /// Has the context of the change that was submitted last run this from the moment on at which
    /// that is durable, and not at all if it is lost.
    pub(crate) fn install(&self, code: Code) {
        if let Some(Waiting::Change(last)) = self.waiting.borrow_mut().back_mut() {
            last.code = Some(Box::new(code));
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
}

#[cfg(test)]
mod tests;
