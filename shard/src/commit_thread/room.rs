//! What a commit thread knows of a disk without room: that checkpoints fail, when the next one
//! may be tried, and what can go on meanwhile. Nothing is tried here (see `commit_thread.rs`).

use std::io::{Error, ErrorKind};
use std::time::{Duration, Instant};

use corelet_store::StoreError;

/// What has found no room is tried again after so long.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What was applied of other nodes is read through a snapshot only, and its context's updates
/// wait for that. So checkpoints are made for it, with rests in between of so many times as
/// long as the last one has taken.
pub(super) const REST: u32 = 4;

/// Room on the disk, as far as the last tries tell.
pub(super) struct Room {
    // When the next checkpoint may be made for what is of other nodes; and if the last has found
    // no room, any other.
    rested: Instant,
    // Whether the last checkpoint has found none. Until one does, batches go by the journal, and
    // what needs a checkpoint is refused: it must not take calls along that the journal has room
    // for. To fail costs more than to refuse, as what the journal has is applied anew after it.
    is_lacking: bool,
    // As long as it is: batches of more bytes find no room in the journal either. Half of the
    // smallest that has found none.
    journaled_max: u64,
}

impl Room {
    pub(super) fn new(now: Instant) -> Room {
        Room {
            rested: now,
            is_lacking: false,
            journaled_max: u64::MAX,
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

    /// The same for a batch of so many bytes that the journal had no room for.
    pub(super) fn missed_in_journal(&mut self, error: &StoreError, bytes: u64) {
        self.missed(error);
        self.journaled_max = self.journaled_max.min(bytes / 2);
    }

    /// Whether checkpoints fail.
    pub(super) fn is_lacking(&self) -> bool {
        self.is_lacking
    }

    /// Whether checkpoints fail, and it is too early for the next try.
    pub(super) fn must_wait(&self) -> bool {
        self.is_lacking && Instant::now() < self.rested
    }

    /// Whether the journal may take a batch of so many bytes.
    pub(super) fn may_journal(&self, bytes: u64) -> bool {
        bytes <= self.journaled_max
    }

    /// Before it no checkpoint is made for what is of other nodes.
    pub(super) fn rested(&self) -> Instant {
        self.rested
    }

    /// `due`, or when the next try may be made if that is later.
    pub(super) fn or_next_try(&self, due: Instant) -> Instant {
        match self.is_lacking {
            true => due.max(self.rested),
            false => due,
        }
    }
}

/// What is said of what is not even tried.
pub(super) fn disk_full() -> StoreError {
    let source = Error::new(
        ErrorKind::StorageFull,
        "a checkpoint has found no room a moment ago",
    );
    StoreError::DiskFull { source }
}
