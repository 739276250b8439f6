//! Why something about blobs was not done. One variant per decision the caller can take;
//! `server` maps each to its code.

use corelet_store::{BlobError, BlobId, ContextId, ShardId, StoreError};

use crate::asks::NotAnswered;
use crate::places::NoPlace;

/// Contexts that an error or a description of a blob names at most.
pub const BLOB_CONTEXTS_MAX: usize = 100;

/// Why a request about blobs was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum BlobRequestError {
    /// There is no such blob on this node.
    #[error("there is no blob {blob}")]
    Unknown {
        /// The id asked for.
        blob: BlobId,
    },
    /// Contexts refer to the blob, or are about to.
    #[error("blob {blob} is in use {}; detach it there first", by(contexts, *is_held))]
    InUse {
        /// The blob.
        blob: BlobId,
        /// Contexts that have attached it, [`BLOB_CONTEXTS_MAX`] at most.
        contexts: Vec<ContextId>,
        /// Whether somebody uploads it, or is about to attach it.
        is_held: bool,
    },
    /// A backup is being made, and may have to read the blob.
    #[error("a backup is being made, during which no blob is removed; try again behind it")]
    BackupUnderWay,
    /// As many are at it as may be.
    #[error("{limit} is reached ({max} of {max}); retry with backoff")]
    Busy {
        /// The bound's name.
        limit: &'static str,
        /// The bound.
        max: u64,
    },
    /// The file system has less space left than has to stay free.
    #[error(
        "only {free} bytes are left on the disk of the blobs, and {min} have to stay free; free disk space and retry"
    )]
    DiskNearlyFull {
        /// Bytes that are free, without those that were announced.
        free: u64,
        /// The bound, `disk_free_bytes_min`.
        min: u64,
    },
    /// The blob's file said no.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A ledger could not be asked who refers to the blob.
    #[error("cannot tell who refers to the blob")]
    Ledger(#[source] StoreError),
    /// Calls that were answered may be put aside, and have attached any blob.
    #[error(
        "{} is out of service, and calls of it that are put aside may have attached the blob, so none is removed; put it back with `corelet context release`, or delete it",
        context.map_or_else(|| "a context".to_owned(), |context| format!("context {context}"))
    )]
    OutOfService {
        /// The first one of them, if its record can be read.
        context: Option<ContextId>,
    },
    /// What a ledger has noted of attachments is damaged, so any blob may be attached.
    #[error(
        "shard {shard} cannot tell which blobs are attached, and what may be stays until that is mended: stop the server and let `corelet check` say what is damaged"
    )]
    Unsure {
        /// Whose notes are wrong.
        shard: ShardId,
        /// The first that is.
        #[source]
        error: StoreError,
    },
    /// The server is shutting down.
    #[error("the server is shutting down; retry elsewhere or later")]
    Stopping,
    /// Ours to repair.
    #[error("internal error: {what}")]
    OurBug {
        /// For the log; not for callers.
        what: &'static str,
    },
}

impl BlobRequestError {
    pub(super) fn bug(what: &'static str) -> BlobRequestError {
        BlobRequestError::OurBug { what }
    }
}

impl From<NoPlace> for BlobRequestError {
    fn from(NoPlace { limit, max }: NoPlace) -> Self {
        BlobRequestError::Busy { limit, max }
    }
}

impl From<NotAnswered> for BlobRequestError {
    fn from(error: NotAnswered) -> Self {
        match error {
            NotAnswered::Stopping => BlobRequestError::Stopping,
            NotAnswered::Store(error) => BlobRequestError::Ledger(error),
        }
    }
}

/// By whom a blob is in use.
fn by(contexts: &[ContextId], is_held: bool) -> String {
    match (contexts, is_held) {
        ([], false) => "by a context that is being deleted".to_owned(),
        ([], true) => "by a call or an upload under way".to_owned(),
        ([one], _) => format!("by context {one}"),
        ([first, rest @ ..], _) => format!("by context {first} and {} more", rest.len()),
    }
}
