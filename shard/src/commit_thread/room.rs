//! What a commit thread knows of a disk without room: what has found none, when the next try may
//! be made, and what goes on meanwhile. Nothing is tried here (see `commit_thread.rs`).
//!
//! Where the file system reserves space, the ledger has some for all that it has acknowledged:
//! what the journal has can always be brought in, and only what is new finds no room. Where it
//! reserves none, or does not keep its word, calls go on by the journal, which has its space, and
//! nothing can be brought in until there is some.

use std::io::{Error, ErrorKind};
use std::time::{Duration, Instant};

use corelet_store::{Change, StoreError};

/// What has found no room is tried again after so long.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What was applied of other nodes is read through a snapshot only, and its context's updates
/// wait for that; and who wants to read beside the shard waits for one, too. So checkpoints are made
/// for them, with rests in between of so many times as long as the last one has taken.
pub(super) const REST: u32 = 4;

/// What a change wants of a disk without room. Changes of two kinds are in different batches
/// then, as a batch fails as a whole.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Claim {
    /// A call: room in the journal. Those behind it may have seen its effects, so they fail
    /// with it.
    #[default]
    Journal,
    /// What makes room: it has some that others have not, and is always tried.
    Margin,
    /// A checkpoint. Nobody sees such a change before it is made, so it is refused alone.
    Checkpoint,
}

impl Claim {
    pub(super) fn of(change: &Change) -> Claim {
        match change {
            Change::Call(_) => Claim::Journal,
            change if change.frees() => Claim::Margin,
            _ => Claim::Checkpoint,
        }
    }
}

/// Room on the disk, as far as the last tries tell.
pub(super) struct Room {
    // When the next checkpoint may be made for what is of other nodes or for a reader; and if something has found
    // no room, when that may be tried again.
    rested: Instant,
    // Whether the last checkpoint has failed, for whatever reason.
    has_failed: bool,
    // Whether something has found none, and nothing has since then. To fail costs more than to
    // refuse: what the journal has is applied anew after it.
    is_lacking: bool,
    // Whether what the journal has could not be brought in either.
    is_stuck: bool,
    // As long as room is lacking: calls of more bytes find none. Half of the fewest that have
    // found none.
    journaled_max: u64,
}

impl Room {
    pub(super) fn new(now: Instant) -> Room {
        Room {
            rested: now,
            has_failed: false,
            is_lacking: false,
            is_stuck: false,
            journaled_max: u64::MAX,
        }
    }

    /// A checkpoint was made, which has taken so long.
    pub(super) fn found(&mut self, took: Duration) {
        self.is_stuck = false;
        // Of what is new it tells nothing if that was just tried: it had its space reserved, or
        // what makes room has.
        if !self.must_wait() {
            *self = Room::new(Instant::now() + took * REST);
        }
    }

    /// A checkpoint has failed: it is tried again, but not at once. `has_unshown` says whether
    /// the journal has something that waits for one.
    pub(super) fn missed(&mut self, error: &StoreError, has_unshown: bool) {
        let is_disk_full = matches!(error, StoreError::DiskFull { .. });
        self.rested = Instant::now() + TRY_AGAIN;
        self.has_failed = true;
        self.is_lacking |= is_disk_full;
        self.is_stuck |= is_disk_full && has_unshown;
    }

    /// Nor had the journal room for calls of so many bytes.
    pub(super) fn missed_in_journal(&mut self, bytes: u64) {
        self.journaled_max = self.journaled_max.min(bytes / 2);
    }

    /// Whether something has found no room.
    pub(super) fn is_lacking(&self) -> bool {
        self.is_lacking
    }

    /// Whether that is so, and it is too early for the next try.
    pub(super) fn must_wait(&self) -> bool {
        self.is_lacking && Instant::now() < self.rested
    }

    /// Whether it is too early to try again to bring in what the journal has.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck && self.must_wait()
    }

    /// Whether the journal may take calls of so many bytes.
    pub(super) fn may_journal(&self, bytes: u64) -> bool {
        bytes <= self.journaled_max
    }

    /// Before it no checkpoint is made for what is of other nodes, or for a reader.
    pub(super) fn rested(&self) -> Instant {
        self.rested
    }

    /// Whether a checkpoint was made, and it is too early for the next one that is made for others
    /// than callers.
    pub(super) fn is_resting(&self) -> bool {
        !self.has_failed && Instant::now() < self.rested
    }

    /// `due`, or when the next try may be made if that is later and all depends on it.
    pub(super) fn or_next_try(&self, due: Instant) -> Instant {
        match self.is_stuck {
            true => due.max(self.rested),
            false => due,
        }
    }
}

/// What is said of what is not even tried.
pub(super) fn disk_full() -> StoreError {
    let source = Error::new(ErrorKind::StorageFull, "there was no room a moment ago");
    StoreError::DiskFull { source }
}
