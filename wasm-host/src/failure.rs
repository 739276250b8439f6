//! Why a turn did not answer. One variant per decision its caller can take.

use std::char::DecodeUtf16Error;
use std::str::Utf8Error;

use crate::guest_state::StateError;

/// Why a turn ended without an output. Nothing that it did may be kept.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The application itself said no. The only failure after which the
    /// instance is still good, if the turn had not written.
    #[error("the application returned an error")]
    Application {
        /// What it said, as JSON.
        error: Vec<u8>,
    },
    /// The guest ran into an instruction that has no answer.
    #[error("the guest trapped: {message}")]
    Trapped {
        /// The engine's words for it.
        message: String,
    },
    /// The turn's fuel is used up.
    #[error("the call used all of its {max} units of fuel ({limit})")]
    OutOfFuel {
        /// The limit's name.
        limit: &'static str,
        /// The turn's budget.
        max: u64,
    },
    /// Linear memory would have grown beyond its limit.
    #[error("the call needed more than {max} bytes of memory (memory_bytes_max)")]
    OutOfMemory {
        /// The limit in bytes.
        max: u64,
    },
    /// There was no memory left for it among all that instances may have
    /// together. The guest is not at fault.
    #[error(
        "the memory of all instances is used up: {used} of at most {max} bytes (instances_bytes_max)"
    )]
    MemoryFull {
        /// What it would have been with this one's.
        used: u64,
        /// The bound in bytes.
        max: u64,
    },
    /// Others use what there is of something. The guest is not at fault.
    #[error("{limit} is reached ({used} of {max})")]
    Busy {
        /// The bound's name.
        limit: &'static str,
        /// How much is in use.
        used: u64,
        /// The bound.
        max: u64,
    },
    /// The call has taken too long by the clock, which depends on its neighbours, too.
    #[error("the call did not end within {max} ms (call_time_max)")]
    TimedOut {
        /// The limit in milliseconds.
        max: u64,
    },
    /// Somebody has stopped the call.
    #[error("the call was cancelled")]
    Cancelled,
    /// The chain of calls is too deep.
    #[error("the call needed more than {max} bytes of stack (stack_bytes_max)")]
    StackOverflow {
        /// The limit in bytes.
        max: u64,
    },
    /// Another limit of [`crate::Limits`] was exceeded.
    #[error("{limit} exceeded: {used} of at most {max}")]
    LimitExceeded {
        /// The limit's name in [`crate::Limits::TABLE`].
        limit: &'static str,
        /// The number that was asked for; at least `max + 1`.
        used: u64,
        /// The limit.
        max: u64,
    },
    /// A query called a function that writes.
    #[error("a query tried to write: make the method an update")]
    WroteInQuery,
    /// An update or `init` asked another context's query.
    #[error("an update asked another context's query: only queries may")]
    AskedInUpdate,
    /// A host function was called where there is no context to answer for.
    #[error("{function} was called outside of a call (while {phase})")]
    OutsideTurn {
        /// Interface and function.
        function: &'static str,
        /// What was going on.
        phase: &'static str,
    },
    /// What the guest handed over is not what the world promises: a pointer
    /// out of bounds, text that is not UTF-8, an answer that is not JSON.
    #[error("the guest handed over something invalid: {message}")]
    InvalidOutput {
        /// What is wrong with it.
        message: String,
    },
    /// The guest has used an entry as what it is not, or gone beyond the end of its stable memory.
    #[error("{message}")]
    Misused {
        /// How.
        message: String,
    },
    /// The context's state could not answer: the store's own error.
    #[error("the context's state could not be read or written: {0}")]
    State(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Ours to repair. The guest is not at fault.
    #[error("internal error while running a guest: {what}")]
    OurBug {
        /// For the log; not for callers.
        what: String,
    },
}

impl Failure {
    /// The limit of [`crate::Limits`] that was exceeded, if that is what it was, and its value.
    pub(crate) fn limit(&self) -> Option<(&'static str, u64)> {
        match self {
            Failure::OutOfFuel { limit, max } | Failure::LimitExceeded { limit, max, .. } => {
                Some((limit, *max))
            }
            Failure::OutOfMemory { max } => Some(("memory_bytes_max", *max)),
            Failure::StackOverflow { max } => Some(("stack_bytes_max", *max)),
            Failure::TimedOut { max } => Some(("call_time_max", *max)),
            Failure::Application { .. }
            | Failure::Trapped { .. }
            | Failure::MemoryFull { .. }
            | Failure::Busy { .. }
            | Failure::Cancelled
            | Failure::WroteInQuery
            | Failure::AskedInUpdate
            | Failure::OutsideTurn { .. }
            | Failure::InvalidOutput { .. }
            | Failure::Misused { .. }
            | Failure::State(_)
            | Failure::OurBug { .. } => None,
        }
    }

    /// Its name for programs, as the server gives it to clients and a guest is told it whose
    /// question ended so.
    pub fn name(&self) -> &'static str {
        match self {
            Failure::Application { .. } => "application_error",
            Failure::Trapped { .. } | Failure::OutsideTurn { .. } => "trapped",
            Failure::OutOfFuel { .. } => "out_of_fuel",
            Failure::OutOfMemory { .. } => "out_of_memory",
            Failure::MemoryFull { .. } | Failure::Busy { .. } => "busy",
            Failure::TimedOut { .. } => "timed_out",
            Failure::Cancelled => "cancelled",
            Failure::StackOverflow { .. } => "stack_overflow",
            Failure::LimitExceeded { .. } => "limit_exceeded",
            Failure::WroteInQuery => "wrote_in_query",
            Failure::AskedInUpdate => "asked_in_update",
            Failure::InvalidOutput { .. } => "invalid_output",
            Failure::Misused { .. } => "entry_misused",
            Failure::State(_) => "storage_damaged",
            Failure::OurBug { .. } => "internal_error",
        }
    }
}

/// What a state that cannot answer ends the turn with.
impl From<StateError> for Failure {
    fn from(error: StateError) -> Failure {
        match error {
            StateError::Store(source) => Failure::State(source),
            StateError::Misused(message) => Failure::Misused { message },
            StateError::Busy { limit, used, max } => Failure::Busy { limit, used, max },
        }
    }
}

/// A failure of the engine itself, or of the system under it.
pub(crate) fn engine_bug(error: wasmtime::Error) -> Failure {
    Failure::OurBug {
        what: format!("{error:#}"),
    }
}

/// Whether an error of the engine that is no trap blames the guest. It has no
/// type for a guest that breaks the rules of the border (pointers, alignment,
/// enum values): it says so in words of its own, or that text is none. What has
/// a type, or a cause, came from elsewhere: the system has no memory to give.
pub(crate) fn is_the_guests(error: &wasmtime::Error) -> bool {
    let is_text = error.is::<Utf8Error>() || error.is::<DecodeUtf16Error>();
    let is_in_words = error.is::<&'static str>() || error.is::<String>();
    is_text || is_in_words && error.chain().count() == 1
}

/// A trap's text may hold what a guest wrote (names in a backtrace, messages),
/// so callers get this much of it.
pub(crate) const MESSAGE_BYTES_MAX: usize = 512;

/// `text`, cut at a character border if it is longer than
/// [`MESSAGE_BYTES_MAX`].
pub(crate) fn capped(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use wasmtime::Error;

    use super::*;

    #[test]
    fn an_error_that_the_system_has_caused_is_not_the_guests() {
        let no_memory = || io::Error::from_raw_os_error(libc::ENOMEM);
        let max = 5;
        let no_text = String::from_utf8(vec![0xff]).unwrap_err().utf8_error();
        for (error, expected) in [
            (wasmtime::format_err!("pointer not aligned"), true),
            (wasmtime::format_err!("pointer not aligned to {max}"), true),
            (Error::new(no_text), true),
            (Error::new(no_memory()), false),
            (Error::new(no_memory()).context("no memory mapped"), false),
            (Error::new(wasmtime::OutOfMemory::new(max)), false),
        ] {
            assert_eq!(is_the_guests(&error), expected, "{error:#}");
        }
    }
}
