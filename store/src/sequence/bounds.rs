//! The bounds of what a sequence takes, from a guest and from a peer alike. All are
//! on one update and its author, never on the whole: so all replicas refuse the
//! same updates.

use super::error::SequenceError;
use crate::layout::VALUE_BYTES_MAX;

/// The most bytes of one update.
pub const UPDATE_BYTES_MAX: usize = VALUE_BYTES_MAX;

/// The most edits of one update: insertions at different places, and runs of deleted
/// elements. Each costs a search, which for an insertion goes as deep as the sequence's
/// tree, by its logarithm.
pub const UPDATE_EDITS_MAX: usize = 4096;

/// The most elements that one author can insert into one sequence, deleted ones
/// too.
pub const AUTHOR_ELEMENTS_MAX: u32 = 1 << 31;

pub(super) fn check_bytes(got: usize) -> Result<(), SequenceError> {
    check("bytes of an update", got, UPDATE_BYTES_MAX)
}

pub(super) fn check_edits(got: usize) -> Result<(), SequenceError> {
    check("edits of an update", got, UPDATE_EDITS_MAX)
}

/// Whether an author who has `next` elements can have this many more.
pub(super) fn check_elements(next: u32, more: usize) -> Result<(), SequenceError> {
    let max = AUTHOR_ELEMENTS_MAX as usize;
    check("elements of an author", next as usize + more, max)
}

fn check(what: &'static str, got: usize, max: usize) -> Result<(), SequenceError> {
    match got <= max {
        true => Ok(()),
        false => Err(SequenceError::TooLarge { what, got, max }),
    }
}
