//! The values of a ledger: one envelope around rkyv archives, and the types
//! inside. An archive is checked here, each time it is read, and nowhere
//! trusted before. Where the values lie is in `layout.rs`.
//!
//! | file | holds |
//! |---|---|
//! | `record/kind.rs` | what a record is |
//! | `record/rows.rs` | the archives |
//! | `record/context.rs` | contexts and heads |
//! | `record/read.rs` | everything else that is read into something |
//! | `record/mend.rs` | which bit of a damaged one is another |
//! | `record/summing.rs` | a checksum, a piece at a time |
//!
//! Envelope: version (1 byte), kind (1 byte), checksum (8 bytes), archive. The
//! checksum covers version, kind, key and archive, so that a record that turns
//! up under another key is noticed as well.

mod context;
#[cfg(test)]
mod golden;
mod kind;
mod mend;
mod read;
mod rows;
mod summing;

use rkyv::Portable;
use rkyv::Serialize;
use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::ArenaHandle;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use self::context::{ContextRecord, Head};
pub(crate) use self::context::{read_seen, seen_rows};
pub(crate) use self::kind::RecordKind;
pub(crate) use self::mend::{Bit, odd_bit};
pub use self::read::EventView;
pub(crate) use self::read::{
    DagNode, Logged, read_answer_bytes, read_author, read_edit, read_edit_seen, read_entry,
    read_name, seal_edit, seal_edit_seen, seal_log,
};
pub(crate) use self::rows::*;
pub(crate) use self::summing::Summing;
use crate::error::StoreError;

/// The version of every record format so far.
const RECORD_VERSION: u8 = 1;

/// Bytes in front of the archive.
const ENVELOPE_BYTES: usize = 10;

/// A type that can be the content of a record.
pub(crate) trait Record:
    for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, Failure>>
{
    const KIND: RecordKind;
}

/// Writes the record of `value` under `key` into `out`, whose memory is reused.
pub(crate) fn seal<R: Record>(out: &mut Vec<u8>, key: &[u8], value: &R) {
    let mut bytes = std::mem::take(out);
    bytes.clear();
    bytes.extend_from_slice(&[RECORD_VERSION, R::KIND as u8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut bytes = rkyv::api::high::to_bytes_in::<_, Failure>(value, bytes)
        .expect("an archive of plain values below 2 GiB can always be written");
    let sum = checksum(RECORD_VERSION, R::KIND as u8, key, &bytes[ENVELOPE_BYTES..]);
    bytes[2..ENVELOPE_BYTES].copy_from_slice(&sum.to_le_bytes());
    *out = bytes;
}

/// Checks the record read from under `key` and gives its content.
pub(crate) fn open<'a, R>(key: &[u8], bytes: &'a [u8]) -> Result<&'a R::Archived, StoreError>
where
    R: Record,
    R::Archived: Portable + for<'b> CheckBytes<HighValidator<'b, Failure>>,
{
    check_sum(R::KIND, key, bytes)?;
    open_summed::<R>(key, bytes)
}

/// Whether the record read from under `key` is as it was written.
fn check_sum(kind: RecordKind, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
    let why = match bytes.len() < ENVELOPE_BYTES {
        true => "it is shorter than its envelope",
        false if is_whole(key, bytes) => return Ok(()),
        false => "its checksum does not match",
    };
    Err(StoreError::corrupt(kind.what(), key, why))
}

/// The same of a record whose checksum is looked at elsewhere.
fn open_summed<'a, R>(key: &[u8], bytes: &'a [u8]) -> Result<&'a R::Archived, StoreError>
where
    R: Record,
    R::Archived: Portable + for<'b> CheckBytes<HighValidator<'b, Failure>>,
{
    let corrupt = |why| StoreError::corrupt(R::KIND.what(), key, why);
    let Some((envelope, archive)) = bytes.split_first_chunk::<ENVELOPE_BYTES>() else {
        return Err(corrupt("it is shorter than its envelope"));
    };
    let [version, kind, ..] = *envelope;
    if version != RECORD_VERSION {
        return Err(corrupt("its format version is unknown to this program"));
    }
    if kind != R::KIND as u8 {
        return Err(corrupt("it is a record of another kind"));
    }
    rkyv::access::<R::Archived, Failure>(archive).map_err(|_| corrupt("its archive is malformed"))
}

/// Whether the record is one that was written under `key`, whatever it is of.
pub(crate) fn is_whole(key: &[u8], bytes: &[u8]) -> bool {
    let Some((envelope, archive)) = bytes.split_first_chunk::<ENVELOPE_BYTES>() else {
        return false;
    };
    let [version, kind, sum @ ..] = *envelope;
    u64::from_le_bytes(sum) == checksum(version, kind, key, archive)
}

fn checksum(version: u8, kind: u8, key: &[u8], archive: &[u8]) -> u64 {
    xxh3_64_with_seed(archive, summing::seed(version, kind, key))
}

/// The id that is a record's key.
pub(crate) fn id_key(key: &[u8], kind: RecordKind) -> Result<[u8; 32], StoreError> {
    key.try_into()
        .map_err(|_| StoreError::corrupt(kind.what(), key, "its key is not 32 bytes long"))
}
