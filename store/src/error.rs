//! What can go wrong in the store, one variant per decision the caller can
//! take. [`StoreError`] fails a whole operation; [`Refused`] answers one change
//! of a batch while its neighbours are committed; [`BlobError`] fails an
//! operation on one blob and never more than that, and [`UploadError`] one on an
//! upload; [`PastError`] says why a
//! context cannot be shown as it was, [`ExportError`] and [`ImportError`] why a
//! copy was not made or taken in. [`StoreError`] is in this file, the others are
//! in `error/`. No mapping to status codes here: that is `server`'s.

mod blob;
mod copy;
mod past;
mod refused;
mod upload;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::place::LedgerIdentity;

pub use self::blob::BlobError;
pub use self::copy::{ExportError, ImportError};
pub use self::past::PastError;
pub use self::refused::Refused;
pub use self::upload::UploadError;

/// A store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    // The operator's mistakes and the machine's limits.
    /// Another process has the data directory open.
    #[error("data directory {} is in use by {}; stop it first or choose another directory", path.display(), holder(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The holder as it wrote itself into the lock file.
        pid: Option<u32>,
    },
    /// The data on disk was written in a format that this program does not read.
    #[error("{} has format version {found}, but this program reads version {supported}; use the program version that wrote it", path.display())]
    WrongFormat {
        /// The file or directory.
        path: PathBuf,
        /// The version it says.
        found: u32,
        /// The version that this program reads and writes.
        supported: u32,
    },
    /// The directory has data but its manifest is gone.
    #[error("{} has data but no manifest; restore the manifest from a backup", path.display())]
    ManifestMissing {
        /// The data directory.
        path: PathBuf,
    },
    /// There is no data directory.
    #[error("{} is no data directory; choose another one", path.display())]
    NoData {
        /// What was named.
        path: PathBuf,
    },
    /// A file that has held durable state is gone, or only a part of it is left.
    #[error("{} {loss}, and with it what was stored there; put the file back, or restore the whole data directory from a backup", path.display())]
    Lost {
        /// The file or directory.
        path: PathBuf,
        /// What is left of it.
        loss: Loss,
    },
    /// A file of one ledger lies in the place of another.
    #[error("{} belongs to {found}, but lies in the place of {expected}; files were swapped: put the right one back, or restore the whole data directory from a backup", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: Box<LedgerIdentity>,
        /// Whose it should be.
        expected: Box<LedgerIdentity>,
    },
    /// A ledger's data file is an old copy: its journal has seen later
    /// checkpoints than it.
    #[error("{} is older than the journal beside it (checkpoint {found} against {journaled}): an old copy was put back; put the newer one back, or restore the whole data directory from one backup", path.display())]
    Stale {
        /// The data file.
        path: PathBuf,
        /// Its own last checkpoint.
        found: u64,
        /// The last checkpoint that the journal knows of.
        journaled: u64,
    },
    /// A file operation outside a commit failed.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The ledger's directory is already open in this process.
    #[error("ledger {} is already open in this process", path.display())]
    AlreadyOpen {
        /// The directory.
        path: PathBuf,
    },
    /// LMDB refused to open or begin.
    #[error("cannot {doing} the ledger: {reason}")]
    Engine {
        /// What was attempted.
        doing: &'static str,
        /// What the engine said.
        reason: String,
    },

    // Limits reached: nothing was written, and the ledger goes on.
    /// The ledger has grown to its configured size.
    #[error(
        "the ledger is full ({bytes_max} bytes of address space); raise storage.map_bytes_max or delete contexts"
    )]
    MapFull {
        /// The configured size.
        bytes_max: u64,
    },
    /// The file system has no space left; nothing of the batch was written.
    #[error("no space left for the ledger; free disk space and retry")]
    DiskFull {
        /// What the system said.
        source: io::Error,
    },
    /// More snapshots at once than configured.
    #[error(
        "no place for a snapshot of the ledger is left, of {readers_max}; retry or raise storage.readers_max"
    )]
    ReadersFull {
        /// The configured count.
        readers_max: u32,
    },
    /// The batch does not fit into one transaction.
    #[error(
        "a batch of {bytes} bytes exceeds the {bytes_max} bytes of one transaction; commit in smaller batches"
    )]
    BatchTooLarge {
        /// Bytes of the batch; 0 where the engine found out by itself.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },

    // Damage.
    /// Bytes read from disk are not what was written.
    #[error("{what} under key {key} is corrupt: {why}; restore it from a peer or a backup")]
    Corrupt {
        /// Which kind of record or file.
        what: &'static str,
        /// Its key in hexadecimal, or its path.
        key: String,
        /// Which check failed.
        why: &'static str,
    },
    /// Pages of a ledger's file are not as the engine writes them. It would believe them, and read
    /// or write anywhere, so it does not get them.
    #[error("page {page} of {} is damaged: {why}{}; no server can be started on it, as the engine would believe its pages: restore the data directory from a backup", path.display(), beside(*others))]
    DamagedPages {
        /// The ledger's file.
        path: PathBuf,
        /// The number of the first of them, from 0.
        page: u64,
        /// What is wrong with it.
        why: &'static str,
        /// How many more were found.
        others: usize,
    },
    /// A write or sync failed, so what is on disk is in doubt. The process must
    /// stop; opening again finds the last state that is certain.
    #[error(
        "an I/O error during {doing} leaves the ledger's state in doubt; the process must stop, check the disk and start again"
    )]
    Io {
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier fatal error has stopped this ledger.
    #[error("the ledger has stopped after an earlier I/O error; restart the process")]
    Stopped,
}

/// What is left of a file that has held durable state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing, not even its name.
    Missing,
    /// Its name.
    Empty,
    /// Its first bytes.
    CutOff {
        /// How many.
        bytes: u64,
        /// How many it has had at least.
        bytes_min: u64,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Missing => f.write_str("is missing"),
            Loss::Empty => f.write_str("is empty"),
            Loss::CutOff { bytes, bytes_min } => write!(
                f,
                "was cut off (it has {bytes} bytes of at least {bytes_min})"
            ),
        }
    }
}

impl StoreError {
    /// Whether durable state is in doubt, so that the process has to stop.
    /// After any other error the ledger goes on working.
    pub fn is_fatal(&self) -> bool {
        match self {
            StoreError::Io { .. } | StoreError::Stopped => true,
            StoreError::Locked { .. }
            | StoreError::WrongFormat { .. }
            | StoreError::ManifestMissing { .. }
            | StoreError::NoData { .. }
            | StoreError::Lost { .. }
            | StoreError::Foreign { .. }
            | StoreError::Stale { .. }
            | StoreError::File { .. }
            | StoreError::AlreadyOpen { .. }
            | StoreError::Engine { .. }
            | StoreError::MapFull { .. }
            | StoreError::DiskFull { .. }
            | StoreError::ReadersFull { .. }
            | StoreError::BatchTooLarge { .. }
            | StoreError::DamagedPages { .. }
            | StoreError::Corrupt { .. } => false,
        }
    }

    /// For `map_err` on a file operation.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::File {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn lost(path: &Path, loss: Loss) -> StoreError {
        StoreError::Lost {
            path: path.to_owned(),
            loss,
        }
    }

    /// A damaged file, of which the path is the key.
    pub(crate) fn corrupt_file(what: &'static str, path: &Path, why: &'static str) -> StoreError {
        StoreError::Corrupt {
            what,
            key: path.display().to_string(),
            why,
        }
    }

    pub(crate) fn corrupt(what: &'static str, key: &[u8], why: &'static str) -> StoreError {
        StoreError::Corrupt {
            what,
            key: hex(key),
            why,
        }
    }
}

/// Bytes as hexadecimal text, cut after 64 bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(64)];
    let mut text = String::with_capacity(2 * shown.len() + 1);
    for byte in shown {
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(digit.into(), 16).expect("a half byte is one digit"));
        }
    }
    if shown.len() < bytes.len() {
        text.push('…');
    }
    text
}

fn beside(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(", and {others} more are"),
    }
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
