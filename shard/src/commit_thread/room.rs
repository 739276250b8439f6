//! What a commit thread knows of a disk without room: that checkpoints fail, when the next one
//! may be tried, and what can go on meanwhile. Nothing is tried here (see `commit_thread.rs`).

use std::time::{Duration, Instant};

use corelet_store::StoreError;

/// What has found no room is tried again after so long.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What was applied of other nodes is read through a snapshot only, and its context's updates
/// wait for that. So checkpoints are made for it, with rests in between of so many times as
/// long as the last one has taken.
const REST: u32 = 4;

/// Room on the disk, as far as the last tries tell.
pub(super) struct Room {
    // When the next checkpoint may be made for what is of other nodes; and if the last has found
    // no room, any other.
    rested: Instant,
    // Whether the last checkpoint has found none. Until one does, batches go by the journal, and
    // what needs a checkpoint is refused: it must not take calls along that the journal has room
    // for. To fail costs more than to refuse, as what the journal has is applied anew after it.
    is_lacking: bool,
}

impl Room {
    pub(super) fn new(now: Instant) -> Room {
        Room {
            rested: now,
            is_lacking: false,
        }
    }

    /// A checkpoint was made, which has taken so long.
    pub(super) fn found(&mut self, took: Duration) {
        *self = Room::new(Instant::now() + took * REST);
    }

    /// A checkpoint has failed: it is tried again, but not at once.
    pub(super) fn missed(&mut self, error: &StoreError) {
        self.rested = Instant::now() + TRY_AGAIN;
        self.is_lacking |= matches!(error, StoreError::DiskFull { .. });
    }

    /// Whether checkpoints fail.
    pub(super) fn is_lacking(&self) -> bool {
        self.is_lacking
    }

    /// Whether checkpoints fail, and it is too early for the next try.
    pub(super) fn must_wait(&self) -> bool {
        self.is_lacking && Instant::now() < self.rested
    }

    /// Before it no checkpoint is made for what is of other nodes.
    pub(super) fn rested(&self) -> Instant {
        self.rested
    }
}
