//! Checkpoints, and the snapshots that show the shard what they have brought into LMDB.

use std::time::{Duration, Instant};

use corelet_store::{Snapshot, StoreError};

use super::Worker;
use super::room::disk_full;
use crate::commit_stage::Report;

pub(super) const CHECKPOINT_FAILED: &str =
    "a checkpoint failed; what is in the journal is safe, and the next one tries again";

impl Worker<'_> {
    /// Brings in what there is, and gives the shard what it is owed. Tells whether that went well.
    pub(super) fn bring_in_idle(&mut self) -> bool {
        if self.writer.has_unshown() {
            let brought_in = self.checkpoint();
            return brought_in
                .inspect_err(|error| tracing::warn!(%error, "{CHECKPOINT_FAILED}"))
                .is_ok();
        }
        self.show_owed();
        !self.writer.has_collected() || self.bring_in_collected()
    }

    /// Brings everything into LMDB, if it is not there, for what goes on from that. While the disk
    /// has no room for it, that is not tried again for everyone who comes.
    pub(super) fn show_all(&mut self) -> Result<(), StoreError> {
        match self.writer.has_unshown() {
            true if self.room.is_stuck() => Err(disk_full()),
            true => self.checkpoint(),
            false => Ok(()),
        }
    }

    /// Brings everything into LMDB and gives the shard the snapshot that shows it.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        let started = Instant::now();
        match self.writer.checkpoint() {
            Ok(()) => {
                self.show(started.elapsed());
                Ok(())
            }
            Err(error) if error.is_fatal() => self.stop_in_doubt("checkpoint", &error),
            Err(error) => {
                self.missed(&error);
                Err(error)
            }
        }
    }

    /// Notes that a checkpoint has failed, also one for a batch.
    pub(super) fn missed(&mut self, error: &StoreError) {
        self.room.missed(error, self.writer.has_unshown());
        self.thread.stats.checkpoint_failures.one();
    }

    /// Gives the shard what shows a checkpoint that was made without a batch.
    pub(super) fn show(&mut self, took: Duration) {
        self.count_checkpoint(took);
        if let Some(snapshot) = self.snapshot() {
            self.report(Report::Shown(snapshot));
        }
    }

    /// Gives the shard the snapshot that it is owed, if that shows all that was reported.
    pub(super) fn show_owed(&mut self) {
        if self.owes_snapshot
            && !self.writer.has_unshown()
            && let Some(snapshot) = self.snapshot()
        {
            self.report(Report::Shown(snapshot));
        }
    }

    /// The snapshot of the last checkpoint, which shows all that was reported.
    pub(super) fn snapshot(&mut self) -> Option<Snapshot> {
        match self.ledger.snapshot() {
            Ok(snapshot) => {
                self.owes_snapshot = false;
                Some(snapshot)
            }
            Err(error @ StoreError::ReadersFull { .. }) => {
                if !self.owes_snapshot {
                    tracing::warn!(%error, "what was committed is shown later");
                }
                self.owes_snapshot = true;
                None
            }
            Err(error) => self
                .ending
                .in_doubt("cannot read what was just committed", &error),
        }
    }

    pub(super) fn count_checkpoint(&mut self, took: Duration) {
        self.room.found(took);
        self.owes_deltas = false;
        let stats = &self.thread.stats;
        stats.checkpoints.one();
        stats.checkpoint_micros.observe_micros(took);
        stats.journal_bytes.set(self.writer.journal_bytes());
    }
}
