//! What reading a past may take: how much it goes through, and whether it is to go on.

use crate::error::PastError;

/// The most deltas that are gone through, if nothing else is asked for.
pub const PAST_DELTAS_MAX: usize = 1 << 20;

/// The most writes in these.
pub const PAST_WRITES_MAX: u64 = 1 << 22;

/// The most rows of the log that are walked over to find those that a state is made of. A row
/// takes little beside a delta that is merged, and there may be as many of others between.
pub const PAST_ROWS_MAX: usize = 1 << 24;

const _: () = assert!(PAST_ROWS_MAX >= PAST_DELTAS_MAX);

/// What reading a past may take.
#[derive(Clone, Copy)]
pub struct PastBounds<'b> {
    /// The most deltas that are gone back over, that a state is made of, and that edits of
    /// lists and texts are looked for in: each of these by itself.
    pub deltas_max: usize,
    /// The most writes in these.
    pub writes_max: u64,
    /// The most rows of the log that are walked over where a state is made anew.
    pub rows_max: usize,
    /// Asked for each delta that is read, for each edit that is stored or of which it is read what
    /// its delta had seen, and for each entry that is hashed. When it says true the reading ends with [`PastError::Stopped`].
    pub is_over: &'b dyn Fn() -> bool,
}

impl Default for PastBounds<'_> {
    fn default() -> Self {
        PastBounds {
            deltas_max: PAST_DELTAS_MAX,
            writes_max: PAST_WRITES_MAX,
            rows_max: PAST_ROWS_MAX,
            is_over: &|| false,
        }
    }
}

impl PastBounds<'_> {
    pub(super) fn go_on(&self) -> Result<(), PastError> {
        match (self.is_over)() {
            true => Err(PastError::Stopped),
            false => Ok(()),
        }
    }

    /// Whether it may be so many deltas.
    pub(super) fn check_deltas(&self, count: usize) -> Result<(), PastError> {
        check("deltas", count as u64, self.deltas_max as u64)
    }

    /// Whether it may be so many rows.
    pub(super) fn check_rows(&self, count: usize) -> Result<(), PastError> {
        check("rows", count as u64, self.rows_max as u64)
    }

    /// Whether it may be so many writes.
    pub(super) fn check_writes(&self, count: u64) -> Result<(), PastError> {
        check("writes", count, self.writes_max)
    }
}

fn check(limit: &'static str, count: u64, max: u64) -> Result<(), PastError> {
    match count > max {
        true => Err(PastError::TooLong { limit, max }),
        false => Ok(()),
    }
}
