//! Why a context cannot be shown as it was.

use super::StoreError;
use crate::entry::EntryKind;
use crate::ids::{DeltaId, NodeId};

/// A context cannot be shown as it was.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The context has no such delta.
    #[error("the context has no delta {delta}")]
    Unknown {
        /// The one asked for.
        delta: DeltaId,
    },
    /// It is gone, or what was replaced since is, or it came with a copy.
    #[error(
        "what it takes to show the state after {delta} is not retained in the log, where it is pruned with the oldest deltas and does not come with a copy; later states can be shown"
    )]
    NotRetained {
        /// The one asked for.
        delta: DeltaId,
    },
    /// Of a list or text that was removed since not all edits are there any more. Everything else
    /// in the state is.
    #[error(
        "not all edits of the {kind} {key:?} as it was after {delta} are retained: it was removed since, and deltas that had edited it are pruned; everything else can be shown"
    )]
    EditsNotRetained {
        /// The one asked for.
        delta: DeltaId,
        /// A list or a text.
        kind: EntryKind,
        /// The key, as text.
        key: String,
    },
    /// They may be there, but so far back in the log that it is not looked for them. Everything
    /// else in the state can be shown.
    #[error(
        "not all edits of the {kind} {key:?} as it was after {delta} are among the newest {max} {limit} of the log, which is the bound: it was removed since; everything else can be shown"
    )]
    EditsTooFar {
        /// The one asked for.
        delta: DeltaId,
        /// A list or a text.
        kind: EntryKind,
        /// The key, as text.
        key: String,
        /// Of what.
        limit: &'static str,
        /// The bound.
        max: u64,
    },
    /// Its author has said another root than the deltas give.
    #[error(
        "the deltas up to {delta} give another root than its author {author} has said; what that has seen cannot be shown"
    )]
    OtherRoot {
        /// The one asked for.
        delta: DeltaId,
        /// Who has made it.
        author: NodeId,
    },
    /// There is too much to be gone through.
    #[error("to read the state takes more than {max} {limit} of the log, which is the bound")]
    TooLong {
        /// Of what.
        limit: &'static str,
        /// The bound.
        max: u64,
    },
    /// Whoever has asked does not wait any longer.
    #[error("the state was still being read when it was to end")]
    Stopped,
    /// What is needed cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
