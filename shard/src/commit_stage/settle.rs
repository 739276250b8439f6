//! What becomes of changes: the commit thread's reports are taken in, in their order, and whoever
//! waits for a change is told.

use std::rc::Rc;
use std::sync::Arc;

use corelet_store::{Refused, Snapshot, StoreError, Verdict};

use super::{CommitStage, Report, Uncommitted, Waiting, Whose};
use crate::answer::Promise;
use crate::context::Context;
use crate::error::CallError;
use crate::guest_log::TurnLog;
use crate::large::Together;
use crate::snapshots::Snapshots;

impl CommitStage {
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
                        if context.advance(committed) {
                            self.listeners.told(context.id);
                        }
                        if let Some(code) = done.code.take() {
                            context.install(*code);
                        }
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
