//! What a commit thread does between batches: steps of the collector and of the sweep, and lists and
//! texts that are kept as wholes. When there is time for it, is in `commit_thread.rs`. A step is as short as
//! `STEP_MAX` says and makes no checkpoint: what it does rides along with the batches, and where it says that a checkpoint is due, that is made
//! here behind it, as any other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use corelet_store::{
    Ledger, LedgerWriter, SavedSequence, SequenceName, StepBounds, StoreError, Swept,
};

use super::Worker;
use super::room::{TRY_AGAIN, disk_full};
use crate::collector::{Collector, Outcome, STEP_MAX};
use crate::commit_stage::Report;

/// After each step the sweep rests for so many times as long as that has taken, with the
/// checkpoint that was due behind it: calls go first.
pub(super) const SWEEP_REST: u32 = 4;

impl Worker<'_> {
    /// When the collector's next step is due. It may need a checkpoint.
    pub(super) fn collect_due(&self) -> Instant {
        let due = self.collector.due(self.writer.has_grown());
        self.room.or_next_try(due)
    }

    /// One step of the collector.
    pub(super) fn step_collector(&mut self) {
        let now = self.thread.time.wall();
        self.have_collector(|collector, ledger, writer| {
            // Not by the step, which is to be short.
            let opened = writer.open();
            opened.inspect_err(|_| collector.pause())?;
            collector.work(ledger, writer, now)
        });
    }

    /// Has the collector do something, of which the shard hears.
    pub(super) fn have_collector(
        &mut self,
        work: impl FnOnce(&mut Collector, &Ledger, &mut LedgerWriter<'_>) -> Result<Outcome, StoreError>,
    ) {
        let had_unshown = self.writer.has_unshown();
        let worked = work(&mut self.collector, self.ledger, &mut self.writer);
        let mut is_checkpoint_due = false;
        match worked {
            Ok(outcome) => {
                is_checkpoint_due = outcome.is_checkpoint_due;
                self.owes_collected.is_shown |= outcome.is_shown;
                self.owes_collected.quarantined.extend(outcome.quarantined);
            }
            Err(error) if error.is_fatal() => self.stop_in_doubt("step of the collector", &error),
            Err(error) => {
                if matches!(error, StoreError::DiskFull { .. }) {
                    self.missed(&error);
                }
                tracing::warn!(%error, "the collector could not go on; it tries again later");
            }
        }
        self.report_collected(had_unshown);
        if is_checkpoint_due {
            self.bring_in_behind_step();
        }
    }

    /// Makes the checkpoint that a step says is due. Tells whether that went well. Other steps rest behind it as
    /// well, and what could not be brought in is done again later.
    fn bring_in_behind_step(&mut self) -> bool {
        let began = Instant::now();
        let is_done = self.bring_in_idle();
        let took = began.elapsed();
        match is_done {
            true => {
                self.collector.rest_behind(took);
                self.sweep_due = self.sweep_due.max(Instant::now() + took * SWEEP_REST);
            }
            false => {
                self.collector.pause();
                self.sweep_alone_later();
            }
        }
        is_done
    }

    /// Brings in what the collector and the sweep have done, if that is all there is. Tells whether that went well.
    pub(super) fn bring_in_collected(&mut self) -> bool {
        let started = Instant::now();
        let brought_in = self.writer.checkpoint();
        let is_done = brought_in.is_ok();
        match brought_in {
            Ok(()) => {
                self.count_checkpoint(started.elapsed());
                self.owes_collected.is_shown = true;
            }
            Err(error) if error.is_fatal() => self.stop_in_doubt("checkpoint", &error),
            Err(error) => {
                // The transaction is gone, and with it what was done: there is nothing to bring in.
                self.missed(&error);
                tracing::warn!(%error, "what the collector has done could not be brought in; it does it again");
            }
        }
        self.report_collected(false);
        is_done
    }

    /// Tells the shard what the collector has done, as soon as it has read what was
    /// told before. `had_unshown` says whether calls were waiting for a checkpoint.
    pub(super) fn report_collected(&mut self, had_unshown: bool) {
        // Only a snapshot that shows every call that was told as durable may be given.
        let has_unshown = self.writer.has_unshown();
        self.owes_deltas &= has_unshown;
        let is_due = had_unshown && !has_unshown;
        if is_due {
            self.room.found(Duration::ZERO);
        }
        let is_shown = (self.owes_collected.is_shown || is_due) && !has_unshown;
        self.owes_collected.is_shown = is_shown;
        if !is_shown && self.owes_collected.quarantined.is_empty() {
            return;
        }
        if Arc::strong_count(&self.collected) > 1 {
            if is_due {
                // A report that stands for those calls.
                self.owes_collected.is_shown = false;
                self.show(Duration::ZERO);
            }
            return;
        }
        let shown = if is_shown { self.snapshot() } else { None };
        let quarantined = std::mem::take(&mut self.owes_collected).quarantined;
        self.report(Report::Collected {
            shown,
            quarantined,
            _place: Arc::clone(&self.collected),
        });
    }

    /// Whether a step of the sweep is due.
    pub(super) fn may_sweep(&mut self) -> bool {
        self.sweeping |= self.writer.take_unswept();
        self.sweeping && self.sweep_due <= Instant::now()
    }

    /// Drops some records of deleted contexts.
    pub(super) fn sweep(&mut self) {
        let is_alone = self.sweeps_alone;
        let opened = match self.writer.has_unshown() {
            // Before that nothing can be brought in.
            true if self.room.is_stuck() => Err(disk_full()),
            true if is_alone => self.show_all(),
            _ => Ok(()),
        };
        // Not by the step, which is to be short.
        let opened = opened.and_then(|()| self.writer.open());
        let started = Instant::now();
        let is_over = || started.elapsed() >= STEP_MAX;
        let budget = StepBounds::default().until(&is_over);
        let swept = opened.and_then(|()| self.writer.sweep(budget));
        let took = started.elapsed();
        match swept {
            Ok(swept) => {
                self.count_swept(&swept, took);
                self.sweeping = swept.is_more;
                self.sweep_due = Instant::now() + took * SWEEP_REST;
                let is_waited_for = is_alone || self.room.is_lacking();
                if swept.is_checkpoint_due || is_waited_for && swept.records > 0 {
                    self.sweeps_alone &= !self.bring_in_behind_step();
                } else {
                    self.sweeps_alone = false;
                }
            }
            Err(error) if error.is_fatal() => self.stop_in_doubt("sweep", &error),
            // Space is what everybody waits for.
            Err(error @ (StoreError::DiskFull { .. } | StoreError::MapFull { .. })) => {
                tracing::warn!(%error, "deleted contexts could not be swept; it is tried again");
                self.sweep_alone_later();
            }
            Err(error) => {
                // What is left only takes space; the next deletion tries again.
                tracing::warn!(%error, "deleted contexts could not be swept");
                self.sweeping = false;
                self.writer.take_unswept();
            }
        }
    }

    /// There was no room for what was swept together with what the journal has: the next time that is
    /// brought in before, and what is swept behind it at once.
    pub(super) fn sweep_alone_later(&mut self) {
        self.sweeps_alone = true;
        self.sweep_due = Instant::now() + TRY_AGAIN;
    }

    fn count_swept(&self, swept: &Swept, took: Duration) {
        let stats = &self.thread.stats;
        stats.swept.add(swept.records as u64);
        stats.sweep_micros.observe_micros(took);
        for (slot, error) in &swept.damaged {
            let slot = slot.map(|slot| slot.number());
            tracing::error!(slot, %error, "a damaged record keeps something from being swept; it stays, and the rest goes on");
        }
    }

    /// Keeps a list or text as a whole, if it is still there.
    pub(super) fn keep_saved(&mut self, name: &SequenceName, saved: &SavedSequence) {
        // It takes a checkpoint, of which the shard has to hear.
        let shown = self.show_all();
        match shown.and_then(|()| self.writer.keep_saved(name, saved)) {
            Ok(true) => self.thread.stats.sequences_saved.one(),
            Ok(false) => {}
            Err(error) if error.is_fatal() => self.stop_in_doubt("save", &error),
            Err(error) => {
                tracing::warn!(%error, "a list or text could not be kept as a whole; opening it takes longer");
            }
        }
    }
}
