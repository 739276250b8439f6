//! Why something about an upload was not done, and never more than that.

use std::io;
use std::path::{Path, PathBuf};

use crate::ids::UploadId;
use crate::ledger::is_out_of_space;

/// An operation on an upload failed. What had come of it before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    // The client's fault.
    /// There is none of this id: it was ended, installed, or is too old.
    #[error("there is no upload {upload}; begin a new one")]
    Unknown {
        /// The id.
        upload: UploadId,
    },
    /// What comes does not go on where the upload has got to.
    #[error("the upload goes on at offset {offset}, and not at {given}")]
    Offset {
        /// Where it goes on: as much of it is on disk.
        offset: u64,
        /// Where the client wanted to.
        given: u64,
    },
    /// It is to be used and has not come as a whole.
    #[error("only {offset} of the upload's {bytes} bytes have come; send the rest first")]
    Incomplete {
        /// Bytes that have come.
        offset: u64,
        /// Bytes that were announced.
        bytes: u64,
    },
    /// Somebody else writes to it, or installs from it.
    #[error("upload {upload} is being written or installed; ask for its offset and try again")]
    InUse {
        /// The id.
        upload: UploadId,
    },

    // Limits reached: nothing of what came is kept.
    /// There would be more of it than allowed, or than was announced.
    #[error("the upload would have {got} bytes, and {limit} = {max}")]
    TooLarge {
        /// What says so.
        limit: &'static str,
        /// Bytes with what came.
        got: u64,
        /// The bound.
        max: u64,
    },
    /// All uploads together have what they may.
    #[error("{limit} = {max} is reached; end an upload that is not wanted any more")]
    Full {
        /// The bound's name.
        limit: &'static str,
        /// What there would be.
        used: u64,
        /// The bound.
        max: u64,
    },
    /// The file system has no space left.
    #[error("no space left for an upload in {}; free disk space and retry", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    // The machine's.
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
}

impl UploadError {
    /// For `map_err` on a file operation.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> UploadError {
        let path = path.to_owned();
        move |source| match is_out_of_space(&source) {
            true => UploadError::DiskFull { path, source },
            false => UploadError::File {
                doing,
                path,
                source,
            },
        }
    }
}
