//! Why a copy of a context or a data directory was not made, or not taken in.

use std::io;
use std::path::PathBuf;

use super::{BlobError, StoreError};
use crate::hlc::Hlc;
use crate::ids::ContextId;

/// A copy of a context or a data directory could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such context on this shard.
    #[error("context {context} does not exist")]
    UnknownContext {
        /// The id asked for.
        context: ContextId,
    },
    /// The context is out of service: a copy of it would spread what is damaged.
    #[error(
        "context {context} is out of service ({why}); put it back into service or delete it, then copy again"
    )]
    Quarantined {
        /// Which context.
        context: ContextId,
        /// What was found of it.
        why: String,
    },
    /// A record of the context is damaged. Out of service it is left out of the next backup.
    #[error(
        "context {context} cannot be copied; delete it, or take it out of service and copy again"
    )]
    Damaged {
        /// Which context.
        context: ContextId,
        /// What is damaged.
        source: StoreError,
    },
    /// One record is longer than a copy takes.
    #[error(
        "a record of {bytes} bytes exceeds the {bytes_max} bytes that a copy takes; remove it or make it smaller"
    )]
    RecordTooLarge {
        /// Bytes of it.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// A file that belongs into the copy cannot be read.
    #[error("cannot read {}, which belongs into the copy", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The component of an application is not the one that was installed.
    #[error(
        "{} is not the component that was installed; install the application again from the same file, or remove it",
        path.display()
    )]
    WrongComponent {
        /// Where it lies.
        path: PathBuf,
    },
    /// A blob cannot be read.
    #[error("a blob cannot be read")]
    Blob(#[from] BlobError),
    /// What is to be copied cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy cannot be written.
    #[error("the copy cannot be written")]
    Write(#[from] io::Error),
    /// Whoever takes the copy in has refused it.
    #[error("the copy was not taken in")]
    Refused(#[source] Box<ImportError>),
    /// All is copied into another number of shards, and that it counts may be decided, but not all
    /// is in its place. Nothing is lost: opening the data directory finishes what was decided.
    #[error(
        "the ledgers of the new shards are whole, but could not be put into their place; start the server or run this again, which finishes it"
    )]
    Unfinished {
        /// Which step failed.
        source: StoreError,
    },
}

/// A copy was not taken in. Nothing of it is there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file was written by another version.
    #[error(
        "the file has format version {found}, but this program reads versions up to {supported}; use the program version that wrote it"
    )]
    Version {
        /// The version it says.
        found: u16,
        /// The latest that this program reads.
        supported: u16,
    },
    /// The file is not as it was written.
    #[error("the file is damaged behind byte {at}: {why}; get it once more")]
    Damaged {
        /// Where the part begins that is not right.
        at: u64,
        /// Which check failed.
        why: &'static str,
    },
    /// The file is as it was written, but no program of ours writes such a thing.
    #[error("the file is not what it says: {why}; nothing of it was taken in")]
    Malformed {
        /// What is wrong.
        why: &'static str,
    },
    /// What the file holds does not agree with itself.
    #[error(
        "context {context} in the file does not agree with itself, and nothing of it was taken in"
    )]
    Disagrees {
        /// Which context.
        context: ContextId,
        /// What does not fit.
        source: StoreError,
    },
    /// What was made of the file is not whole. A disk that loses writes, or our bug.
    #[error("what was made of the file is not whole, and was removed: {finding}")]
    NotWhole {
        /// What a check has found.
        finding: String,
    },
    /// Its clock is not believed.
    #[error(
        "it has the stamp {stamp}, and none later than {latest} is taken in; one of the two clocks is wrong"
    )]
    FromTheFuture {
        /// The stamp.
        stamp: Hlc,
        /// The latest that is taken.
        latest: Hlc,
    },
    /// The directory cannot be exchanged for another one.
    #[error(
        "{} is where a file system is mounted, which nothing can take the place of; restore into a directory in it, or beside it",
        path.display()
    )]
    PlaceFixed {
        /// The directory.
        path: PathBuf,
    },
    /// There is something where the copy should go.
    #[error("{} is there already; choose a place that is free", path.display())]
    PlaceTaken {
        /// The file or directory.
        path: PathBuf,
    },
    /// There is such a context already.
    #[error("context {context} exists already; delete it first")]
    Exists {
        /// Its id.
        context: ContextId,
    },
    /// The file cannot be read.
    #[error("the file cannot be read behind byte {at}")]
    Read {
        /// How far it was read.
        at: u64,
        /// Why not further.
        source: io::Error,
    },
    /// No thread can be had that reads it.
    #[error("no thread can be started that reads the file; raise the limit on threads or memory")]
    NoReader {
        /// Why not.
        source: io::Error,
    },
    /// Our bug.
    #[error(
        "the thread that reads the file has panicked somewhere behind byte {at}, which is a bug; nothing of the file was taken in"
    )]
    ReaderPanicked {
        /// How far what it handed on goes.
        at: u64,
    },
    /// A file that is in the copy cannot be put into its place.
    #[error("cannot write {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A blob that is in the copy cannot be stored.
    #[error("a blob cannot be stored")]
    Blob(#[from] BlobError),
    /// The ledger does not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImportError {
    pub(crate) const fn damaged(at: u64, why: &'static str) -> ImportError {
        ImportError::Damaged { at, why }
    }

    pub(crate) const fn malformed(why: &'static str) -> ImportError {
        ImportError::Malformed { why }
    }
}
