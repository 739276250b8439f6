//! Why a turn did not answer. One variant per decision its caller can take.

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
    /// A query called `storage.set` or `storage.remove`.
    #[error("a query tried to write: make the method an update")]
    WroteInQuery,
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
    /// The context's state could not answer.
    #[error("the context's state could not be read or written: {0}")]
    State(#[source] StateError),
    /// Ours to repair. The guest is not at fault.
    #[error("internal error while running a guest: {what}")]
    OurBug {
        /// For the log; not for callers.
        what: String,
    },
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
