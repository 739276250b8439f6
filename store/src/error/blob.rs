//! Why an operation on one blob failed, and never more than that.

use std::io;
use std::path::{Path, PathBuf};

use crate::ids::BlobId;
use crate::ledger::is_out_of_space;

/// An operation on a blob failed. None of these is fatal: a blob is in its place
/// only when it is durable, so there is no state to be in doubt about.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    // The peer's or the client's fault.
    /// The content is not the one that was announced. Nothing is left of it.
    #[error("the content has the id {found}, but {expected} was to come; send the right one")]
    Mismatch {
        /// The id that was announced.
        expected: BlobId,
        /// The id of what came.
        found: BlobId,
    },

    // Limits reached: nothing is left of what was written.
    /// The content is longer than it may be.
    #[error("the blob is larger than the {bytes_max} bytes that {limit} allows")]
    TooLarge {
        /// The bound's name.
        limit: &'static str,
        /// The bound.
        bytes_max: u64,
    },
    /// The file system has no space left.
    #[error("no space left for a blob in {}; free disk space and retry", path.display())]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    // The operator's and the machine's.
    /// The directory is already open.
    #[error("the blobs in {} are already open", path.display())]
    AlreadyOpen {
        /// The directory.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },

    // Damage.
    /// What is in the blob's file is not what was written. The same content,
    /// stored again, takes its place.
    #[error(
        "blob {blob} is damaged behind byte {offset} of its file: {why}; store its content again, from a peer or a backup"
    )]
    Damaged {
        /// The blob.
        blob: BlobId,
        /// Where in the file the part begins that is not right.
        offset: u64,
        /// Which check failed.
        why: &'static str,
    },

    // Our bug.
    /// An earlier error has ended this writer.
    #[error("this blob cannot be written on after an earlier error; begin again")]
    Ended,
}

impl BlobError {
    /// For `map_err` on a file operation.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BlobError {
        let path = path.to_owned();
        move |source| match is_out_of_space(&source) {
            true => BlobError::DiskFull { path, source },
            false => BlobError::File {
                doing,
                path,
                source,
            },
        }
    }
}
