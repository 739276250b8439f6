//! What is committed together: changes of one epoch, up to the bounds of a batch, without those
//! that are lost or that may have seen what was refused.

use corelet_store::{BATCH_BYTES_MAX, Change, ContextId, Verdict};

use super::room::Claim;
use super::{Queued, Worker};

/// Writes in one batch, unless one call has more: its shard settles them in one
/// go, at some tenths of a microsecond each.
pub(super) const BATCH_WRITES_MAX: usize = 16_384;

/// What is committed together.
#[derive(Default)]
pub(super) struct Batch {
    // Of what is in it; what was dropped before does not count.
    pub(super) epoch: u64,
    // Of all that is in it, if the disk has no room; else of what it began with.
    pub(super) claim: Claim,
    // Whether there is a call in it, of which others may have seen the effects.
    pub(super) has_calls: bool,
    pub(super) changes: Vec<Change>,
    pub(super) bytes: u64,
    pub(super) writes: usize,
    // Whose call each change is, and what that context had lost.
    pub(super) calls: Vec<Option<(ContextId, u64)>>,
    // Places of calls that are refused before they are tried.
    pub(super) refused: Vec<(usize, ContextId)>,
}

/// A context of which a call was refused: calls that may have seen its writes
/// are refused too. Until its shard has read the report they keep coming, but
/// not longer than the queue is long.
pub(super) struct Broken {
    context: ContextId,
    losses: u64,
    until: u64,
}

impl Worker<'_> {
    /// `first` and what waits behind it, up to the bounds of a batch. All of
    /// one epoch: a batch that fails ends it.
    pub(super) fn collect(&mut self, first: Queued) -> Batch {
        let mut batch = Batch {
            epoch: first.epoch,
            ..Batch::default()
        };
        let mut next = Some(first);
        while let Some(queued) = next {
            let is_empty = batch.changes.is_empty() && batch.refused.is_empty();
            let is_other = !is_empty
                && (queued.epoch != batch.epoch
                    || is_release(&queued.change)
                    || batch.changes.last().is_some_and(is_release)
                    || self.room.is_lacking() && Claim::of(&queued.change) != batch.claim
                    || batch.bytes + queued.bytes > BATCH_BYTES_MAX
                    || batch.writes + queued.change.writes() > BATCH_WRITES_MAX
                    || batch.changes.len() >= self.thread.batch_changes_max);
            if is_other {
                self.held = Some(queued);
                break;
            }
            self.take(queued, &mut batch);
            next = self.thread.queue.try_recv().ok();
        }
        batch
    }

    fn take(&mut self, queued: Queued, batch: &mut Batch) {
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
        if batch.changes.is_empty() && batch.refused.is_empty() {
            batch.epoch = queued.epoch;
            batch.claim = Claim::of(&queued.change);
        }
        let call = match &queued.change {
            Change::Call(effects) => Some((effects.context, queued.losses)),
            _ => None,
        };
        batch.has_calls |= call.is_some();
        if let Some(call) = call
            && self.is_broken(call)
        {
            batch
                .refused
                .push((batch.changes.len() + batch.refused.len(), call.0));
            return;
        }
        batch.bytes += queued.bytes;
        batch.writes += queued.change.writes();
        batch.changes.push(queued.change);
        batch.calls.push(call);
    }

    pub(super) fn remember_refusals(
        &mut self,
        calls: &[Option<(ContextId, u64)>],
        verdicts: &[Verdict],
    ) {
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
}

/// Whether it has to be in a batch of its own: what it does may fail half way.
fn is_release(change: &Change) -> bool {
    matches!(change, Change::Quarantine { why: None, .. })
}
