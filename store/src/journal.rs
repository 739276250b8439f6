//! The journal: a file in which the calls of each batch become durable with one
//! sequential write, long before LMDB has them. A checkpoint brings everything
//! into LMDB and begins the journal anew. Opening a ledger replays what the
//! last checkpoint does not hold. Owned by the ledger's writer. The reasons are
//! in `store/decisions/0004-journal.md`; what is replayed how is in `writer.rs`.
//!
//! The file is a row of records, each beginning on a multiple of
//! [`ALIGN_BYTES`], so that a write never touches a page on which something
//! acknowledged lies. A record is one batch. All numbers little-endian: magic
//! "CLJ1", payload length (4), generation (8), number of the batch within the
//! generation, from 0 (8), checksum of the payload (8), checksum of the header
//! up to here (8), both seeded by the ledger; then the payload: per call its
//! slot (8), length (4) and the delta's canonical bytes. A record of another
//! generation is what an earlier life of the file has left.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::ledger::is_out_of_space;

const MAGIC: &[u8; 4] = b"CLJ1";

/// The unit in which page caches and modern disks write.
const ALIGN_BYTES: u64 = 4096;

const HEADER_BYTES: usize = 40;

/// Where the header's own checksum lies.
const HEADER_SUM_AT: usize = HEADER_BYTES - 8;

/// Bytes in front of each call's canonical bytes.
const CALL_HEADER_BYTES: usize = 12;

/// A buffer above this size is given back after the batch that needed it.
const BUFFER_BYTES_KEPT_MAX: usize = 1 << 20;

/// Which records count, as the last checkpoint has left word in LMDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) number: u64,
    /// Seeds the checksums. Random per ledger, so that a guest cannot write a
    /// value that would pass for a record.
    pub(crate) seed: u64,
}

/// One ledger's journal.
pub(crate) struct Journal {
    file: File,
    /// The size to which the file may grow; 0 if nothing is journaled.
    bytes_max: u64,
    is_allocated: bool,
    generation: Generation,
    /// The batches of this generation, and where the next one goes.
    batches: u64,
    end: u64,
    /// The record of the next batch, behind a place for its header.
    record: Vec<u8>,
}

impl Journal {
    /// Opens the journal at `path`, or makes it there; the caller syncs the
    /// directory. Nothing in it counts until [`recover`](Self::recover).
    pub(crate) fn open(
        path: &Path,
        bytes_max: u64,
        generation: Generation,
    ) -> Result<Journal, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(StoreError::file("open the journal", path))?;
        let bytes = file
            .metadata()
            .map_err(StoreError::file("read the size of", path))?
            .len();
        Ok(Journal {
            file,
            bytes_max,
            is_allocated: bytes >= bytes_max,
            generation,
            batches: 0,
            end: 0,
            record: vec![0; HEADER_BYTES],
        })
    }

    /// Finds the batches that the last checkpoint does not hold. A record that
    /// is cut off or torn was never acknowledged and ends the search; whole
    /// records behind it show that it is damage instead.
    pub(crate) fn recover(&mut self) -> Result<(), StoreError> {
        let mut payload = Vec::new();
        while let Some(end) = self.read(self.end, self.batches, &mut payload)? {
            self.batches += 1;
            self.end = end;
        }
        if let Some(header) = self.header(self.end)?
            && header.number() == self.batches
        {
            // Either it was torn, and nobody was told that it is on disk, or it
            // was damaged since. Nothing tells these apart.
            tracing::warn!(
                batch = self.batches,
                "the last record of the journal is not whole and is left out"
            );
        }
        let size = self.file.metadata().map_err(reading)?.len();
        let mut at = self.end;
        while at < size {
            at += ALIGN_BYTES;
            if let Some(header) = self.header(at)?
                && header.number() > self.batches
                && self.read(at, header.number(), &mut payload)?.is_some()
            {
                return Err(corrupt(
                    self.batches,
                    "it is damaged, but batches behind it are not",
                ));
            }
        }
        Ok(())
    }

    /// Whether the last checkpoint holds everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches == 0
    }

    /// Bytes written since the last checkpoint.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// The same with the record that is being made.
    pub(crate) fn bytes_with_next(&self) -> u64 {
        self.end + self.record.len() as u64
    }

    /// Shows every call since the last checkpoint to `visit`, in order.
    pub(crate) fn replay(
        &self,
        mut visit: impl FnMut(ContextSlot, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut payload = Vec::new();
        let mut at = 0;
        for number in 0..self.batches {
            at = self
                .read(at, number, &mut payload)?
                .ok_or_else(|| corrupt(number, "it was there a moment ago and is not any more"))?;
            let mut rest = &payload[..];
            while !rest.is_empty() {
                let (slot, canonical) = split_call(&mut rest)
                    .ok_or_else(|| corrupt(number, "its calls are cut off"))?;
                visit(slot, canonical)?;
            }
        }
        Ok(())
    }

    /// Begins the record of a batch.
    pub(crate) fn begin(&mut self) {
        if self.record.capacity() > BUFFER_BYTES_KEPT_MAX {
            self.record = Vec::new();
        }
        self.record.clear();
        self.record.resize(HEADER_BYTES, 0);
    }

    /// Adds a call to it.
    pub(crate) fn add(&mut self, slot: ContextSlot, canonical: &[u8]) {
        let length = u32::try_from(canonical.len()).expect("a batch is far below 4 GiB");
        self.record.extend_from_slice(&slot.number().to_le_bytes());
        self.record.extend_from_slice(&length.to_le_bytes());
        self.record.extend_from_slice(canonical);
    }

    /// Whether the record fits into what is left of the file. A file that the
    /// disk has no space for has no room.
    pub(crate) fn has_room(&mut self) -> Result<bool, StoreError> {
        let end = self.end + aligned(self.record.len() as u64);
        Ok(end <= self.bytes_max && self.allocate()?)
    }

    /// Whether the record holds no call.
    pub(crate) fn has_nothing_to_append(&self) -> bool {
        self.record.len() == HEADER_BYTES
    }

    /// Writes the record: on disk when this returns. On a full disk nothing of
    /// it is left; any other failure leaves the journal in doubt.
    pub(crate) fn append(&mut self) -> Result<(), StoreError> {
        assert!(self.is_allocated, "the caller makes a checkpoint instead");
        let payload = &self.record[HEADER_BYTES..];
        let header = Header::of(self.generation, self.batches, payload);
        self.record[..HEADER_BYTES].copy_from_slice(&header.bytes);
        if let Err(error) = write_through(&self.file, &self.record, self.end) {
            // It was not acknowledged, so it must not turn up again.
            let is_erased = is_out_of_space(&error) && self.erase_next().is_ok();
            return Err(match is_erased {
                true => StoreError::DiskFull { source: error },
                false => StoreError::Io {
                    doing: "a write to the journal",
                    source: error,
                },
            });
        }
        self.batches += 1;
        self.end += aligned(self.record.len() as u64);
        Ok(())
    }

    /// Makes a record where the next one goes unreadable.
    fn erase_next(&self) -> io::Result<()> {
        write_through(&self.file, &[0; HEADER_BYTES], self.end)
    }

    /// A checkpoint holds everything: the next record is the first of a new generation.
    pub(crate) fn restart(&mut self, generation: Generation) {
        self.generation = generation;
        self.batches = 0;
        self.end = 0;
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes the file's space once and for all, so that appending neither runs
    /// out of it nor changes what the file system has to note down. `false` if
    /// the disk has none.
    fn allocate(&mut self) -> Result<bool, StoreError> {
        while !self.is_allocated {
            let none = FallocateFlags::empty();
            match rustix::fs::fallocate(&self.file, none, 0, self.bytes_max) {
                // Some file systems cannot promise space; there the file just grows.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.is_allocated = true,
                Err(Errno::INTR) => {}
                Err(error) => {
                    let source = io::Error::from(error);
                    if is_out_of_space(&source) {
                        return Ok(false);
                    }
                    return Err(StoreError::Io {
                        doing: "the allocation of the journal",
                        source,
                    });
                }
            }
        }
        Ok(true)
    }

    /// Reads the record at `at` if it is batch `number` of this generation, and
    /// tells where the next one is.
    fn read(&self, at: u64, number: u64, payload: &mut Vec<u8>) -> Result<Option<u64>, StoreError> {
        let Some(header) = self.header(at)? else {
            return Ok(None);
        };
        let size = self.file.metadata().map_err(reading)?.len();
        let payload_bytes = u64::from(header.payload_bytes());
        let payload_at = at + HEADER_BYTES as u64;
        if header.number() != number || payload_at + payload_bytes > size {
            return Ok(None);
        }
        payload.resize(header.payload_bytes() as usize, 0);
        self.file
            .read_exact_at(payload, payload_at)
            .map_err(reading)?;
        let end = at + aligned(HEADER_BYTES as u64 + payload_bytes);
        Ok(header.is_of(self.generation, payload).then_some(end))
    }

    /// What claims to be the header of a record of this generation.
    fn header(&self, at: u64) -> Result<Option<Header>, StoreError> {
        let mut bytes = [0; HEADER_BYTES];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => Ok(Header::parse(bytes, self.generation)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(reading(error)),
        }
    }
}

/// The first bytes of a record.
#[derive(Clone, Copy)]
struct Header {
    bytes: [u8; HEADER_BYTES],
}

impl Header {
    fn of(generation: Generation, number: u64, payload: &[u8]) -> Header {
        let length = u32::try_from(payload.len()).expect("a batch is far below 4 GiB");
        let mut header = Header {
            bytes: [0; HEADER_BYTES],
        };
        header.bytes[..4].copy_from_slice(MAGIC);
        header.bytes[4..8].copy_from_slice(&length.to_le_bytes());
        header.bytes[8..16].copy_from_slice(&generation.number.to_le_bytes());
        header.bytes[16..24].copy_from_slice(&number.to_le_bytes());
        let payload_sum = xxh3_64_with_seed(payload, generation.seed);
        header.bytes[24..32].copy_from_slice(&payload_sum.to_le_bytes());
        let sum = header.own_sum(generation);
        header.bytes[HEADER_SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        header
    }

    /// `None` if this is no whole header of this generation.
    fn parse(bytes: [u8; HEADER_BYTES], generation: Generation) -> Option<Header> {
        let header = Header { bytes };
        let is_one = bytes[..4] == *MAGIC
            && header.number_at(8) == generation.number
            && header.number_at(HEADER_SUM_AT) == header.own_sum(generation);
        is_one.then_some(header)
    }

    fn payload_bytes(&self) -> u32 {
        (self.number_at(0) >> 32) as u32
    }

    fn number(&self) -> u64 {
        self.number_at(16)
    }

    fn is_of(&self, generation: Generation, payload: &[u8]) -> bool {
        self.number_at(24) == xxh3_64_with_seed(payload, generation.seed)
    }

    fn own_sum(&self, generation: Generation) -> u64 {
        xxh3_64_with_seed(&self.bytes[..HEADER_SUM_AT], generation.seed)
    }

    fn number_at(&self, at: usize) -> u64 {
        let bytes = self.bytes[at..].first_chunk();
        u64::from_le_bytes(*bytes.expect("a header has five numbers of 8 bytes"))
    }
}

/// Writes all of `bytes` at `at` and waits until they are on disk.
fn write_through(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let parts = [IoSlice::new(bytes)];
        match rustix::io::pwritev2(file, &parts, at, ReadWriteFlags::DSYNC) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn split_call<'a>(rest: &mut &'a [u8]) -> Option<(ContextSlot, &'a [u8])> {
    let (header, behind) = rest.split_first_chunk::<CALL_HEADER_BYTES>()?;
    let (slot, length) = header.split_first_chunk::<8>()?;
    let length = u32::from_le_bytes(*length.first_chunk()?);
    let (canonical, behind) = behind.split_at_checked(length as usize)?;
    *rest = behind;
    Some((ContextSlot::new(u64::from_le_bytes(*slot)), canonical))
}

fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGN_BYTES)
}

fn corrupt(number: u64, why: &'static str) -> StoreError {
    StoreError::corrupt("journal record", &number.to_be_bytes(), why)
}

fn reading(source: io::Error) -> StoreError {
    StoreError::Io {
        doing: "reading the journal",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERATION: Generation = Generation {
        number: 3,
        seed: 77,
    };
    const BYTES_MAX: u64 = 64 << 10;

    fn journal(dir: &tempfile::TempDir) -> Journal {
        Journal::open(&dir.path().join("journal"), BYTES_MAX, GENERATION).unwrap()
    }

    fn append(journal: &mut Journal, calls: &[(u64, &[u8])]) {
        journal.begin();
        for (slot, canonical) in calls {
            journal.add(ContextSlot::new(*slot), canonical);
        }
        assert!(journal.has_room().unwrap());
        journal.append().unwrap();
    }

    fn calls(journal: &Journal) -> Vec<(u64, Vec<u8>)> {
        let mut calls = Vec::new();
        journal
            .replay(|slot, canonical| {
                calls.push((slot.number(), canonical.to_vec()));
                Ok(())
            })
            .unwrap();
        calls
    }

    /// Three batches, one of them over a page long, then `damage` is done to the file.
    fn recovered(damage: impl FnOnce(&File)) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let dir = tempfile::tempdir().unwrap();
        let mut written = journal(&dir);
        append(&mut written, &[(1, b"one"), (2, b"")]);
        append(&mut written, &[(1, &[7; 5000])]);
        append(&mut written, &[(3, b"three")]);
        damage(&written.file);
        let mut found = journal(&dir);
        found.recover()?;
        Ok(calls(&found))
    }

    fn flip(at: u64) -> impl FnOnce(&File) {
        move |file| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        }
    }

    #[test]
    fn what_was_appended_is_found_again_in_order() {
        let expected = [
            (1, b"one".to_vec()),
            (2, vec![]),
            (1, vec![7; 5000]),
            (3, b"three".to_vec()),
        ];
        assert_eq!(recovered(|_| ()).unwrap(), expected);
    }

    #[test]
    fn a_last_record_that_is_not_whole_is_left_out() {
        for at in [3 * ALIGN_BYTES, 3 * ALIGN_BYTES + 30, 3 * ALIGN_BYTES + 45] {
            assert_eq!(recovered(flip(at)).unwrap().len(), 3);
        }
        let cut = |file: &File| file.set_len(3 * ALIGN_BYTES + 20).unwrap();
        assert_eq!(recovered(cut).unwrap().len(), 3);
    }

    #[test]
    fn a_damaged_record_before_whole_ones_is_told_from_a_torn_one() {
        for at in [
            0,
            5,
            10,
            20,
            28,
            36,
            45,
            ALIGN_BYTES + 4000,
            ALIGN_BYTES + 16,
        ] {
            let error = recovered(flip(at)).unwrap_err();
            assert!(
                matches!(
                    error,
                    StoreError::Corrupt {
                        what: "journal record",
                        ..
                    }
                ),
                "byte {at}: {error}"
            );
        }
    }

    /// What a write that failed at its end has left in the file.
    #[test]
    fn an_erased_record_does_not_turn_up_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = journal(&dir);
        append(&mut written, &[(1, b"one")]);
        let mut failed = journal(&dir);
        failed.recover().unwrap();
        append(&mut written, &[(1, b"two")]);
        failed.erase_next().unwrap();
        let mut found = journal(&dir);
        found.recover().unwrap();
        assert_eq!(calls(&found), [(1, b"one".to_vec())]);
    }

    #[test]
    fn a_new_generation_forgets_the_old_records() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = journal(&dir);
        append(&mut written, &[(1, b"one")]);
        append(&mut written, &[(1, b"two")]);
        let next = Generation {
            number: 4,
            ..GENERATION
        };
        written.restart(next);
        assert!(written.is_empty());
        append(&mut written, &[(1, b"three")]);
        let path = dir.path().join("journal");
        let mut found = Journal::open(&path, BYTES_MAX, next).unwrap();
        found.recover().unwrap();
        assert_eq!(calls(&found), [(1, b"three".to_vec())]);
    }

    #[test]
    fn a_full_journal_says_so_before_it_writes() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = journal(&dir);
        let mut appended = 0;
        loop {
            journal.begin();
            journal.add(ContextSlot::new(1), &[1; 10_000]);
            if !journal.has_room().unwrap() {
                break;
            }
            journal.append().unwrap();
            appended += 1;
        }
        assert_eq!(appended, BYTES_MAX / (3 * ALIGN_BYTES));
        assert!(journal.bytes() <= BYTES_MAX);
        assert_eq!(calls(&journal).len() as u64, appended);
    }
}
