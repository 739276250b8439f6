//! What lies before the records of the journal: on the first page whose journal
//! it is, written once, when the file is made; on the second the mark, the number
//! of the last checkpoint. The mark is not flushed, so it may be missing or too
//! low, but never too high: the checkpoint was on disk before. Records are in
//! `mod.rs`.
//!
//! All numbers little-endian. First page: magic "CLJ3", shard (4), id of the data
//! directory (32), the ledger's seed (8), checksum of all that (8). Second page:
//! generation (8), its checksum, seeded by the ledger (8).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{ALIGN_BYTES, Generation, reading};
use crate::data_dir::write_atomically;
use crate::error::StoreError;
use crate::ids::{DataId, ShardId};
use crate::place::LedgerIdentity;

/// Where the records begin.
pub(super) const RECORDS_AT: u64 = 2 * ALIGN_BYTES;

const MARK_AT: u64 = ALIGN_BYTES;
const MARK_BYTES: usize = 16;

const MAGIC: &[u8; 4] = b"CLJ3";
const SUM_AT: usize = 48;
const FRONT_BYTES: usize = SUM_AT + 8;

pub(super) struct Front {
    identity: LedgerIdentity,
    seed: u64,
    /// The last checkpoint that is noted.
    pub(super) mark: Option<u64>,
}

impl Front {
    pub(super) fn make(path: &Path, identity: LedgerIdentity, seed: u64) -> Result<(), StoreError> {
        let mut pages = vec![0; RECORDS_AT as usize];
        pages[..4].copy_from_slice(MAGIC);
        pages[4..8].copy_from_slice(&u32::from(identity.shard.number()).to_le_bytes());
        pages[8..40].copy_from_slice(identity.data.as_bytes());
        pages[40..SUM_AT].copy_from_slice(&seed.to_le_bytes());
        let sum = xxh3_64(&pages[..SUM_AT]);
        pages[SUM_AT..FRONT_BYTES].copy_from_slice(&sum.to_le_bytes());
        write_atomically(path, &pages)
    }

    /// `None` if the file does not begin with a front. One that is damaged is
    /// reported.
    pub(super) fn read(file: &File, path: &Path) -> Result<Option<Front>, StoreError> {
        let mut bytes = [0; FRONT_BYTES];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(reading(error)),
        }
        if bytes[..4] != *MAGIC {
            return Ok(None);
        }
        let shard = u16::try_from(u32::from_le_bytes(part(&bytes, 4)));
        let sum = u64::from_le_bytes(part(&bytes, SUM_AT));
        let (Ok(shard), true) = (shard, sum == xxh3_64(&bytes[..SUM_AT])) else {
            return Err(damaged(path));
        };
        let seed = u64::from_le_bytes(part(&bytes, 40));
        Ok(Some(Front {
            identity: LedgerIdentity {
                data: DataId::from_bytes(part(&bytes, 8)),
                shard: ShardId::as_written(shard),
            },
            seed,
            mark: read_mark(file, seed)?,
        }))
    }

    /// Whether it is the journal of the ledger of `identity` and `seed`.
    pub(super) fn check(
        &self,
        path: &Path,
        identity: LedgerIdentity,
        seed: u64,
    ) -> Result<(), StoreError> {
        if self.identity != identity {
            return Err(StoreError::Foreign {
                path: path.to_owned(),
                found: Box::new(self.identity),
                expected: Box::new(identity),
            });
        }
        if self.seed != seed {
            let why = "its seed is not the one of the data file beside it";
            return Err(StoreError::corrupt_file("journal", path, why));
        }
        Ok(())
    }

    /// Notes a checkpoint, without waiting for the disk.
    pub(super) fn mark(file: &File, generation: Generation) -> io::Result<()> {
        let number = generation.number.to_le_bytes();
        let mut bytes = [0; MARK_BYTES];
        bytes[..8].copy_from_slice(&number);
        bytes[8..].copy_from_slice(&xxh3_64_with_seed(&number, generation.seed).to_le_bytes());
        file.write_all_at(&bytes, MARK_AT)
    }
}

pub(super) fn damaged(path: &Path) -> StoreError {
    StoreError::corrupt_file("journal", path, "its first page is damaged")
}

fn read_mark(file: &File, seed: u64) -> Result<Option<u64>, StoreError> {
    let mut bytes = [0; MARK_BYTES];
    match file.read_exact_at(&mut bytes, MARK_AT) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(reading(error)),
    }
    let sum = u64::from_le_bytes(part(&bytes, 8));
    let is_whole = sum == xxh3_64_with_seed(&bytes[..8], seed);
    Ok(is_whole.then(|| u64::from_le_bytes(part(&bytes, 0))))
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let part = bytes[at..].first_chunk();
    *part.expect("the fields lie within the bytes that were read")
}
