//! What a commit thread does between batches: steps of the collector and of the sweep, and lists and
//! texts that are kept as wholes. When there is time for it, is in `commit_thread.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use corelet_store::{Ledger, LedgerWriter, SavedSequence, SequenceName, StoreError};

use super::Worker;
use super::room::TRY_AGAIN;
use crate::collector::{Collector, Outcome};
use crate::commit_stage::Report;

/// Records of deleted contexts dropped in one transaction.
const SWEEP_RECORDS: usize = 256;

/// After each step the sweep rests for so many times as long as that has taken, with the
/// checkpoint that it needs before it: calls go first.
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
        self.have_collector(|collector, ledger, writer| collector.work(ledger, writer, now));
    }

    /// Has the collector do something, of which the shard hears.
    pub(super) fn have_collector(
        &mut self,
        work: impl FnOnce(&mut Collector, &Ledger, &mut LedgerWriter<'_>) -> Result<Outcome, StoreError>,
    ) {
        let had_unshown = self.writer.has_unshown();
        let worked = work(&mut self.collector, self.ledger, &mut self.writer);
        match worked {
            Ok(Outcome {
                is_shown,
                quarantined,
            }) => {
                self.owes_collected.is_shown |= is_shown;
                self.owes_collected.quarantined.extend(quarantined);
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
    }

    /// Brings in what the collector has done, if that is all there is.
    pub(super) fn bring_in_collected(&mut self) {
        match self.writer.checkpoint() {
            Ok(()) => {
                self.room.found(Duration::ZERO);
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
    pub(super) fn may_sweep(&self) -> bool {
        self.sweeping && self.sweep_due <= Instant::now()
    }

    /// Drops some records of deleted contexts.
    pub(super) fn sweep(&mut self) {
        let began = Instant::now();
        // It takes a checkpoint, of which the shard has to hear.
        let shown = self.show_all();
        let started = Instant::now();
        match shown.and_then(|()| self.writer.sweep(SWEEP_RECORDS)) {
            Ok(swept) => {
                let stats = &self.thread.stats;
                stats.swept.add(swept.records as u64);
                stats.sweep_micros.observe_micros(started.elapsed());
                self.sweeping = swept.is_more;
                for (slot, error) in &swept.damaged {
                    let slot = slot.map(|slot| slot.number());
                    tracing::error!(slot, %error, "a damaged record keeps something from being swept; it stays, and the rest goes on");
                }
                // What the shard reads from holds up every page that the sweep frees, and each
                // step frees some that the one before has made.
                self.owes_collected.is_shown |= swept.records > 0;
                self.report_collected(false);
            }
            Err(error) if error.is_fatal() => self.stop_in_doubt("sweep", &error),
            // Space is what everybody waits for.
            Err(error @ (StoreError::DiskFull { .. } | StoreError::MapFull { .. })) => {
                tracing::warn!(%error, "deleted contexts could not be swept; it is tried again");
                self.sweep_due = Instant::now() + TRY_AGAIN;
                return;
            }
            Err(error) => {
                // What is left only takes space; the next deletion tries again.
                tracing::warn!(%error, "deleted contexts could not be swept");
                self.sweeping = false;
                return;
            }
        }
        self.sweep_due = Instant::now() + began.elapsed() * SWEEP_REST;
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
