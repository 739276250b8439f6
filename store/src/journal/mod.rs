//! The journal: a file in which the calls of each batch become durable with one
//! sequential write, long before LMDB has them. A checkpoint brings everything
//! into LMDB and begins the journal anew. Opening a ledger replays what the
//! last checkpoint does not hold. Owned by the ledger's writer. The reasons are
//! in `store/decisions/0004-journal.md`; what is replayed how is in `writer.rs`.
//!
//! Behind a front (`front.rs`) the file is a row of records, each
//! beginning on a multiple of [`ALIGN_BYTES`], so that a write never touches a
//! page on which something acknowledged lies. A record is one batch: a header
//! (`header.rs`), then per call or delta its slot (8), length (4) and
//! canonical bytes; with the highest bit of the length set, a length (4) and bytes
//! follow of what is local to the node (`local.rs`). A record of an earlier generation is what an earlier life of
//! the file has left; one of a later generation shows that LMDB's file is an old
//! copy.

mod front;
#[cfg(test)]
mod golden;
mod header;
mod mend;
mod sieve;

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

use self::front::Front;
use self::header::{HEADER_BYTES, Header};
pub(crate) use self::mend::Mended;
use crate::error::{Loss, StoreError};
use crate::ids::ContextSlot;
use crate::ledger::is_out_of_space;
use crate::place::LedgerPlace;

/// The unit in which page caches and modern disks write.
const ALIGN_BYTES: u64 = 4096;

/// Bytes in front of each call's canonical bytes.
const CALL_HEADER_BYTES: usize = 12;

/// In the length of a call's canonical bytes: more follows behind them.
const WITH_LOCAL: u32 = 1 << 31;

/// A call as the journal has it.
pub(crate) struct JournaledCall<'a> {
    pub(crate) slot: ContextSlot,
    pub(crate) canonical: &'a [u8],
    pub(crate) local: &'a [u8],
}

/// A record that was read.
struct Found {
    /// Where the next one is.
    end: u64,
    mended: Option<Mended>,
}

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

impl Generation {
    /// What a ledger begins with.
    pub(crate) fn first() -> Generation {
        Generation {
            number: 0,
            seed: getrandom::u64().expect("Linux gives random bytes once it has booted"),
        }
    }
}

/// One ledger's journal.
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    /// Bytes of records at most; 0 if nothing is journaled.
    bytes_max: u64,
    /// The size that the file has had when the last checkpoint wrote it down. More
    /// of it is not used, so that a file that is cut off later is noticed.
    bytes_noted: u64,
    generation: Generation,
    /// The last checkpoint that the file itself knows of.
    mark: Option<u64>,
    /// The batches of this generation, and where the next one goes, counted from
    /// where records begin.
    batches: u64,
    end: u64,
    /// Whether a record that is not whole was found behind them.
    is_torn: bool,
    /// Batches of which bits were others than they were written.
    mended: Vec<(u64, Mended)>,
    /// The record of the next batch, behind a place for its header.
    record: Vec<u8>,
}

impl Journal {
    /// Makes a journal without records, or puts one in the place of another of
    /// which nothing is needed any more. On disk when this returns. Gives the
    /// size to be noted.
    pub(crate) fn make(place: &LedgerPlace, seed: u64) -> Result<u64, StoreError> {
        Front::make(&place.journal(), place.identity(), seed)?;
        Ok(front::RECORDS_AT)
    }

    /// Opens the journal of the ledger in `place`, which has at least
    /// `bytes_noted` bytes. Nothing in it counts until [`recover`](Self::recover).
    pub(crate) fn open(
        place: &LedgerPlace,
        bytes_max: u64,
        bytes_noted: u64,
        generation: Generation,
    ) -> Result<Journal, StoreError> {
        let path = place.journal();
        let file = open_file(&path, true)?;
        Journal::with(file, place, bytes_max, bytes_noted, generation)
    }

    /// The same to read only: nothing is appended.
    pub(crate) fn look(
        place: &LedgerPlace,
        bytes_noted: u64,
        generation: Generation,
    ) -> Result<Journal, StoreError> {
        let file = open_file(&place.journal(), false)?;
        Journal::with(file, place, 0, bytes_noted, generation)
    }

    fn with(
        file: Option<File>,
        place: &LedgerPlace,
        bytes_max: u64,
        bytes_noted: u64,
        generation: Generation,
    ) -> Result<Journal, StoreError> {
        let path = place.journal();
        let file = file.ok_or_else(|| StoreError::lost(&path, Loss::Missing))?;
        let bytes = size_of_file(&file, &path)?;
        if bytes < bytes_noted {
            let loss = match bytes {
                0 => Loss::Empty,
                bytes => Loss::CutOff {
                    bytes,
                    bytes_min: bytes_noted,
                },
            };
            return Err(StoreError::lost(&path, loss));
        }
        let front = Front::read(&file, &path)?;
        let front = front.ok_or_else(|| front::damaged(&path))?;
        front.check(&path, place.identity(), generation.seed)?;
        Ok(Journal {
            file,
            path,
            bytes_max,
            bytes_noted,
            generation,
            mark: front.mark,
            batches: 0,
            end: 0,
            is_torn: false,
            mended: Vec::new(),
            record: vec![0; HEADER_BYTES],
        })
    }

    /// Finds the batches that the last checkpoint does not hold. A record of which one bit is
    /// another, or two of its header, counts as whole (`mend.rs`). One that
    /// is cut off or torn was never acknowledged and ends the search; whole
    /// records behind it show that it is damage instead. `data_file` is what
    /// would be too old if there were records of a later generation.
    pub(crate) fn recover(&mut self, data_file: &Path) -> Result<(), StoreError> {
        let stale = |journaled| StoreError::Stale {
            path: data_file.to_owned(),
            found: self.generation.number,
            journaled,
        };
        if let Some(mark) = self.mark.filter(|mark| *mark > self.generation.number) {
            return Err(stale(mark));
        }
        let mut payload = Vec::new();
        let (mut batches, mut end) = (0, 0);
        let mut all_mended = Vec::new();
        while let Some(found) = self.read(end, batches, &mut payload)? {
            all_mended.extend(found.mended.map(|mended| (batches, mended)));
            batches += 1;
            end = found.end;
        }
        let size = size_of_file(&self.file, &self.path)?.saturating_sub(front::RECORDS_AT);
        let mut is_torn = false;
        for at in (end..size).step_by(ALIGN_BYTES as usize) {
            let Some(bytes) = self.header_bytes(at)? else {
                break;
            };
            let Some(header) = Header::parse(bytes, self.generation.seed) else {
                is_torn |= at == end && self.was_header_of(bytes, batches);
                continue;
            };
            if header.generation() > self.generation.number {
                return Err(stale(header.generation()));
            }
            if header.generation() < self.generation.number {
                continue;
            }
            is_torn |= at == end && header.number() == batches;
            if at > end
                && header.number() > batches
                && self.read(at, header.number(), &mut payload)?.is_some()
            {
                return Err(corrupt(
                    batches,
                    "it is damaged, but batches behind it are not",
                ));
            }
        }
        if is_torn {
            // Either it was torn, and nobody was told that it is on disk, or it
            // was damaged since. Nothing tells these apart.
            tracing::warn!(
                batch = batches,
                "the last record of the journal is not whole and is left out"
            );
        }
        for (batch, _) in &all_mended {
            tracing::error!(
                batch,
                "bits of a record of the journal were others than they were written; the record is whole again, but the disk is not to be trusted"
            );
        }
        (self.batches, self.end, self.is_torn) = (batches, end, is_torn);
        self.mended = all_mended;
        Ok(())
    }

    /// Whether a last record that is not whole was left out: it was torn when it was
    /// written, or damaged since.
    pub(crate) fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Batches of which bits were others than they were written, by number.
    pub(crate) fn mended(&self) -> &[(u64, Mended)] {
        &self.mended
    }

    /// How many batches there are since the last checkpoint.
    pub(crate) fn batches(&self) -> u64 {
        self.batches
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

    /// Shows every call since the last checkpoint to `visit`, in order, and gives
    /// their number.
    pub(crate) fn replay(
        &self,
        mut visit: impl FnMut(JournaledCall<'_>) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let mut payload = Vec::new();
        let mut calls = 0;
        let mut at = 0;
        for number in 0..self.batches {
            at = self
                .read(at, number, &mut payload)?
                .ok_or_else(|| corrupt(number, "it was there a moment ago and is not any more"))?
                .end;
            let mut rest = &payload[..];
            while !rest.is_empty() {
                let call = split_call(&mut rest)
                    .ok_or_else(|| corrupt(number, "its calls are cut off"))?;
                visit(call)?;
                calls += 1;
            }
        }
        Ok(calls)
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
    pub(crate) fn add(&mut self, call: &JournaledCall<'_>) {
        let length = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).ok();
            length
                .filter(|length| *length < WITH_LOCAL)
                .expect("a batch is far below 2 GiB")
        };
        let has_local = match call.local {
            [] => 0,
            _ => WITH_LOCAL,
        };
        let record = &mut self.record;
        record.extend_from_slice(&call.slot.number().to_le_bytes());
        record.extend_from_slice(&(length(call.canonical) | has_local).to_le_bytes());
        record.extend_from_slice(call.canonical);
        if has_local != 0 {
            record.extend_from_slice(&length(call.local).to_le_bytes());
            record.extend_from_slice(call.local);
        }
    }

    /// Whether the record fits into what is left of the file. A file that the
    /// disk has had no space for has no room.
    pub(crate) fn has_room(&self) -> bool {
        let noted = self.bytes_noted.saturating_sub(front::RECORDS_AT);
        self.end + aligned(self.record.len() as u64) <= self.bytes_max.min(noted)
    }

    /// Whether the record holds no call.
    pub(crate) fn has_nothing_to_append(&self) -> bool {
        self.record.len() == HEADER_BYTES
    }

    /// Writes the record: on disk when this returns. On a full disk nothing of
    /// it is left; any other failure leaves the journal in doubt.
    pub(crate) fn append(&mut self) -> Result<(), StoreError> {
        assert!(self.has_room(), "the caller makes a checkpoint instead");
        let payload = &self.record[HEADER_BYTES..];
        let header = Header::of(self.generation, self.batches, payload);
        self.record[..HEADER_BYTES].copy_from_slice(header.bytes());
        if let Err(error) = write_through(&self.file, &self.record, front::RECORDS_AT + self.end) {
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
        write_through(&self.file, &[0; HEADER_BYTES], front::RECORDS_AT + self.end)
    }

    /// A checkpoint holds everything, and has noted the size of the file: the next
    /// record is the first of a new generation.
    pub(crate) fn restart(
        &mut self,
        generation: Generation,
        bytes_noted: u64,
    ) -> Result<(), StoreError> {
        self.generation = generation;
        self.bytes_noted = bytes_noted;
        self.batches = 0;
        self.end = 0;
        match Front::mark(&self.file, generation) {
            // It only helps to notice an old copy, which the records do as well.
            Err(error) if is_out_of_space(&error) => Ok(()),
            Err(source) => Err(StoreError::Io {
                doing: "a write to the journal",
                source,
            }),
            Ok(()) => Ok(()),
        }
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes the space that the file may need once and for all, so that appending
    /// neither runs out of it nor changes what the file system has to note down.
    /// Gives the size that the file is sure to have from now on, for the
    /// checkpoint to note; on a full disk that is no more than before.
    pub(crate) fn take_space(&mut self) -> Result<u64, StoreError> {
        let wanted = front::RECORDS_AT + self.bytes_max;
        if self.bytes_max == 0 || wanted <= self.bytes_noted {
            return Ok(self.bytes_noted);
        }
        match allocate(&self.file, wanted).and_then(|()| self.file.sync_all()) {
            Ok(()) => Ok(wanted),
            Err(error) if is_out_of_space(&error) => Ok(self.bytes_noted),
            Err(source) => Err(StoreError::Io {
                doing: "the allocation of the journal",
                source,
            }),
        }
    }

    /// Reads the record at `at` if it is batch `number` of this generation.
    fn read(
        &self,
        at: u64,
        number: u64,
        payload: &mut Vec<u8>,
    ) -> Result<Option<Found>, StoreError> {
        let Some(bytes) = self.header_bytes(at)? else {
            return Ok(None);
        };
        let Generation {
            seed,
            number: generation,
        } = self.generation;
        let is_wanted =
            |header: &Header| header.generation() == generation && header.number() == number;
        let mut mended = None;
        let header = match Header::parse(bytes, seed) {
            Some(header) => header,
            None => match mend::header(bytes, seed, is_wanted) {
                Some(header) => {
                    mended = Some(Mended::Header);
                    header
                }
                None => return Ok(None),
            },
        };
        let size = size_of_file(&self.file, &self.path)?;
        let payload_bytes = u64::from(header.payload_bytes());
        let header_bytes = header.own_bytes() as u64;
        let payload_at = front::RECORDS_AT + at + header_bytes;
        if !is_wanted(&header) || payload_at + payload_bytes > size {
            return Ok(None);
        }
        payload.resize(header.payload_bytes() as usize, 0);
        self.file
            .read_exact_at(payload, payload_at)
            .map_err(reading)?;
        if !header.covers(payload, seed) {
            // A record that is damaged in its header and behind it is not believed.
            if mended.is_some() || !mend::payload(&header, payload, seed) {
                return Ok(None);
            }
            mended = Some(Mended::Payload);
        }
        let end = at + aligned(header_bytes + payload_bytes);
        Ok(Some(Found { end, mended }))
    }

    /// Whether these bytes, which are no header, were the one of batch `number` of this
    /// generation, and not of an older record that lay there, or of nothing.
    fn was_header_of(&self, bytes: [u8; HEADER_BYTES], number: u64) -> bool {
        let Generation {
            seed,
            number: generation,
        } = self.generation;
        match mend::header(bytes, seed, |_| true) {
            Some(header) => header.generation() == generation && header.number() == number,
            None => Header::resembles(&bytes, generation, number),
        }
    }

    /// `None` at the end of the file.
    fn header_bytes(&self, at: u64) -> Result<Option<[u8; HEADER_BYTES]>, StoreError> {
        let mut bytes = [0; HEADER_BYTES];
        match self.file.read_exact_at(&mut bytes, front::RECORDS_AT + at) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(reading(error)),
        }
    }
}

fn open_file(path: &Path, to_write: bool) -> Result<Option<File>, StoreError> {
    match OpenOptions::new().read(true).write(to_write).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::file("open the journal", path)(error)),
    }
}

fn size_of_file(file: &File, path: &Path) -> Result<u64, StoreError> {
    let metadata = file.metadata();
    Ok(metadata
        .map_err(StoreError::file("read the size of", path))?
        .len())
}

/// Gives `file` at least `bytes` bytes, with space for them where the file system
/// can promise that.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let is_shorter = file.metadata()?.len() < bytes;
                return if is_shorter {
                    file.set_len(bytes)
                } else {
                    Ok(())
                };
            }
            Err(error) => return Err(error.into()),
        }
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

fn split_call<'a>(rest: &mut &'a [u8]) -> Option<JournaledCall<'a>> {
    let (header, mut behind) = rest.split_first_chunk::<CALL_HEADER_BYTES>()?;
    let (slot, length) = header.split_first_chunk::<8>()?;
    let length = u32::from_le_bytes(*length.first_chunk()?);
    let canonical = split_bytes(&mut behind, length & !WITH_LOCAL)?;
    let local = match length & WITH_LOCAL {
        0 => &[][..],
        _ => {
            let (length, left) = behind.split_first_chunk::<4>()?;
            behind = left;
            split_bytes(&mut behind, u32::from_le_bytes(*length))?
        }
    };
    *rest = behind;
    Some(JournaledCall {
        slot: ContextSlot::new(u64::from_le_bytes(*slot)),
        canonical,
        local,
    })
}

fn split_bytes<'a>(rest: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (bytes, behind) = rest.split_at_checked(length as usize)?;
    *rest = behind;
    Some(bytes)
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
mod tests;
