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
            // A handler that takes too long would do so for ever, so that is its fault here.
            _ => false,
        },
        CallError::Uncommitted(refused) => matches!(
            **refused,
            Refused::DiskFull
                | Refused::BehindRefused { .. }
                | Refused::Overtaken { .. }
                | Refused::BatchFull
                | Refused::Quarantined { .. }
                | Refused::Damaged { .. }
        ),
        _ => true,
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
