//! Removing blobs, and the rule by which none is removed that somebody refers to or
//! is about to. References are in the ledgers, which know nothing of files, so two
//! sides have to meet:
//!
//! - Who refers to a blob first takes a hold, or has one from writing it; then makes
//!   the reference durable; then drops the hold. Taking one counts it, then touches
//!   the file.
//! - Who removes first takes a cutoff; then asks all ledgers; then removes what none
//!   of them refers to, by that cutoff.
//!
//! Why that is enough: say that a ledger was asked before the reference was there.
//! Then the hold was dropped after the cutoff was taken. Either it was taken after
//! that, too, and so the file was touched later than the cutoff's time; or before,
//! and so the cutoff knows that the blob was held. Both keep it. How long anybody
//! takes does not matter.
//!
//! Times are by a clock that starts with the system's and then goes on by itself, so
//! they are in order however the system's is set while we run. The cutoff's idle time
//! is for those who have written a blob and come back to refer to it later: they may
//! find it gone when that is over, or if the system's clock jumped across a restart,
//! and then a hold is refused. Any thread that may block. Start at [`Shared::remove`].

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use super::Shared;
use super::dirs;
use super::holds::BlobHold;
use super::scan::BlobEntry;
use crate::error::BlobError;
use crate::ids::BlobId;

/// How far a file system may round a file's time down.
const TIME_GRAIN: Duration = Duration::from_secs(2);

/// The system's time at the start, and what has passed since.
#[derive(Debug)]
pub(super) struct Clock {
    start: SystemTime,
    since: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock {
            #[expect(
                clippy::disallowed_methods,
                reason = "compared with the times of files, which are the system's"
            )]
            start: SystemTime::now(),
            since: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.start + self.since.elapsed()
    }
}

/// Which blobs may be removed if no ledger refers to them. To be taken before the
/// ledgers are asked.
#[derive(Clone, Debug)]
pub struct BlobCutoff {
    /// Those that were last written or held before this.
    before: SystemTime,
    /// But not these, which were held then.
    held: HashSet<BlobId>,
}

impl BlobCutoff {
    /// Whether a blob may be removed, as far as a list of files tells.
    pub(super) fn may_go(&self, blob: &BlobEntry) -> bool {
        blob.touched < self.before && !self.held.contains(&blob.id)
    }
}

/// What became of a blob that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone. After a power cut it may be back.
    Removed,
    /// It was not there.
    Missing,
    /// It stays, as somebody holds it, or did when the cutoff was taken.
    Held,
    /// It stays, as it was written or held after the cutoff's time.
    Recent,
}

impl Shared {
    pub(super) fn cutoff(&self, idle_min: Duration) -> BlobCutoff {
        let now = self.clock.now();
        let idle_min = idle_min.max(TIME_GRAIN);
        BlobCutoff {
            before: now.checked_sub(idle_min).unwrap_or(SystemTime::UNIX_EPOCH),
            held: self.holds.held(),
        }
    }

    pub(super) fn hold(&self, id: BlobId) -> Result<Option<BlobHold>, BlobError> {
        let hold = BlobHold::new(id, self.holds.clone());
        let mut fan = self.dirs.lock(id);
        let is_there = fan.touch(self.clock.now())?;
        Ok(is_there.then_some(hold))
    }

    pub(super) fn remove(
        &self,
        id: BlobId,
        cutoff: Option<&BlobCutoff>,
    ) -> Result<Removal, BlobError> {
        let fan = self.dirs.lock(id);
        // Who counts a hold after this look waits for the lock, and finds no file.
        if self.holds.is_held(&id) || cutoff.is_some_and(|cutoff| cutoff.held.contains(&id)) {
            return Ok(Removal::Held);
        }
        let Some(touched) = fan.touched()? else {
            return Ok(Removal::Missing);
        };
        if cutoff.is_some_and(|cutoff| touched >= cutoff.before) {
            return Ok(Removal::Recent);
        }
        let tomb = fan.take_away()?;
        dirs::remove(&tomb);
        Ok(Removal::Removed)
    }

    /// Removes a blob on somebody's word, at once. As long as `is_referenced` asks, who takes
    /// a hold or writes the same content waits; whoever had a hold before has made its
    /// reference durable, as it is dropped.
    pub(super) fn remove_unless<E: From<BlobError>>(
        &self,
        id: BlobId,
        is_referenced: impl FnOnce() -> Result<bool, E>,
    ) -> Result<Option<Removal>, E> {
        let fan = self.dirs.lock(id);
        if self.holds.is_held(&id) {
            return Ok(Some(Removal::Held));
        }
        if fan.touched()?.is_none() {
            return Ok(Some(Removal::Missing));
        }
        if is_referenced()? {
            return Ok(None);
        }
        // Somebody may have written the same content meanwhile and wait to place it.
        if self.holds.is_held(&id) {
            return Ok(Some(Removal::Held));
        }
        let tomb = fan.take_away()?;
        dirs::remove(&tomb);
        Ok(Some(Removal::Removed))
    }
}
