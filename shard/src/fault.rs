//! Whose fault it is when a turn fails that no client waits for: a timer's run, a call that another
//! context has sent, a callback. What is the application's is told to it or counted against it;
//! what is nobody's is tried again until it works.

use corelet_store::Refused;
use corelet_wasm_host::Failure;

use crate::error::CallError;

/// How much of a reason is told.
const WHY_BYTES_MAX: usize = 512;

/// Whether the same turn may well succeed later, without anything else in its context.
pub(crate) fn is_nobodys_fault(error: &CallError) -> bool {
    match error {
        CallError::Guest { failure, .. } => match &**failure {
            Failure::State(_)
            | Failure::OurBug { .. }
            | Failure::MemoryFull { .. }
            | Failure::Busy { .. }
            // By an operator.
            | Failure::Cancelled => true,
            Failure::Application { .. }
            | Failure::Trapped { .. }
            | Failure::OutOfFuel { .. }
            | Failure::OutOfMemory { .. }
            // One that takes too long would do so for ever.
            | Failure::TimedOut { .. }
            | Failure::StackOverflow { .. }
            | Failure::LimitExceeded { .. }
            | Failure::WroteInQuery
            | Failure::AskedInUpdate
            | Failure::OutsideTurn { .. }
            | Failure::InvalidOutput { .. }
            | Failure::Misused { .. } => false,
        },
        CallError::Uncommitted(refused) => name_of_refused(refused).is_none(),
        // Nothing of the application has run.
        _ => true,
    }
}

/// What is told of effects that cannot be committed whenever that is tried; none if they may be
/// another time, or if their context is gone, which the next attempt finds out.
pub(crate) fn name_of_refused(refused: &Refused) -> Option<&'static str> {
    match refused {
        Refused::OutOfBounds { .. } | Refused::EntryFull { .. } => Some("limit_exceeded"),
        Refused::KindMismatch { .. }
        | Refused::RemovedWriteOnce
        | Refused::NotInSpace { .. } => Some("entry_misused"),
        Refused::DiskFull
        | Refused::BehindRefused { .. }
        | Refused::Overtaken { .. }
        | Refused::BatchFull
        | Refused::Quarantined { .. }
        | Refused::Damaged { .. }
        | Refused::UnknownContext { .. }
        // Ours to repair.
        | Refused::StaleHlc { .. }
        | Refused::Unsorted { .. }
        | Refused::WrongSlot { .. }
        | Refused::NoSequence { .. }
        | Refused::AnsweredBefore { .. }
        // No turn's.
        | Refused::ContextExists { .. }
        | Refused::NameTaken { .. }
        | Refused::Malformed { .. }
        | Refused::AppliedBefore { .. }
        | Refused::NotNewer { .. }
        | Refused::Pruned { .. }
        | Refused::ParentsMissing { .. }
        | Refused::Forked { .. }
        | Refused::TooManyHeads { .. }
        | Refused::TooManyAuthors { .. }
        | Refused::RedundantParent { .. }
        | Refused::SealOfUnknown { .. }
        | Refused::NotItsAuthor { .. }
        | Refused::NoFork { .. }
        | Refused::NoMember { .. }
        | Refused::AheadOfHere { .. }
        | Refused::SnapshotNeeded { .. } => None,
    }
}

/// Whether an operator has stopped it.
pub(crate) fn was_cancelled(error: &CallError) -> bool {
    match error {
        CallError::Guest { failure, .. } => matches!(**failure, Failure::Cancelled),
        _ => false,
    }
}

/// For the context's log.
pub(crate) fn why(error: &CallError) -> String {
    let why = match error {
        CallError::Guest { failure, .. } => match &**failure {
            Failure::Application { error } => String::from_utf8_lossy(error).into_owned(),
            failure => failure.to_string(),
        },
        error => error.to_string(),
    };
    why.chars().take(WHY_BYTES_MAX).collect()
}
