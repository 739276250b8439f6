//! Where a ledger lies, and whose it is. The identity is written into the data
//! file and the journal when they are made, and compared whenever they are
//! opened. Plain values, given out by `data_dir.rs`.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::ids::{DataId, ShardId};

/// LMDB's own name for its file.
pub(crate) const DATA_FILE: &str = "data.mdb";

/// Which ledger a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerIdentity {
    /// The data directory.
    pub data: DataId,
    /// The shard in it.
    pub shard: ShardId,
}

impl fmt::Display for LedgerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LedgerIdentity { data, shard } = self;
        write!(f, "shard {shard} of data directory {data}")
    }
}

/// The place of one ledger in a data directory.
#[derive(Clone, Debug)]
pub struct LedgerPlace {
    dir: PathBuf,
    identity: LedgerIdentity,
}

impl LedgerPlace {
    pub(crate) fn new(dir: PathBuf, identity: LedgerIdentity) -> LedgerPlace {
        LedgerPlace { dir, identity }
    }

    /// The directory with the ledger's files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whose ledger belongs here.
    pub fn identity(&self) -> LedgerIdentity {
        self.identity
    }

    pub(crate) fn data_file(&self) -> PathBuf {
        self.dir.join(DATA_FILE)
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.dir.join("lock.mdb")
    }

    /// There while it is not known yet what follows from keys that were put right.
    pub(crate) fn unverified(&self) -> PathBuf {
        self.dir.join("unverified")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }
}
