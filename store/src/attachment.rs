//! Attachments: which blobs a context refers to. They are entries of a space of their
//! own, set elements whose key names the blob, so they merge, travel and count as
//! all state does. Beside them the ledger keeps two derived tables: who refers to a blob,
//! for whoever removes blobs, and how much each context has attached, for its quota. The
//! blobs themselves are files, of which nothing is known here (`blobs/`).
//!
//! Whether the two are what the entries say is compared in `attachment/compare.rs`, and for one
//! blob in `attachment/noted.rs`.
//!
//! Start at [`Attachment`].

mod all;
mod compare;
mod noted;

pub(crate) use self::all::each_attached;
pub use self::compare::AttachedCheck;
pub use self::noted::NotedCheck;

use heed::{RoTxn, RwTxn};

use crate::blobs::BLOB_BYTES_MAX;
use crate::delta::{DeltaView, OpView, WriteView};
use crate::entry::Space;
use crate::error::StoreError;
use crate::ids::{BlobId, ContextSlot, ID_BYTES};
use crate::layout::{Tables, entry_key, slot_key};
use crate::record::{AttachedRow, AttachedSumRow, open, seal};

/// Bytes of the number that says how long the content is.
const LENGTH_BYTES: usize = size_of::<u64>();

/// Bytes of an attachment's key.
const KEY_BYTES: usize = ID_BYTES + LENGTH_BYTES;

/// Bytes of the key of the table that finds attachments by blob.
const ROW_KEY_BYTES: usize = ID_BYTES + size_of::<u64>() + LENGTH_BYTES;

/// A context's reference to a blob. The length is part of it, so that every node counts the
/// same bytes before it has the blob; a content of another length is not the one meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment {
    /// The blob.
    pub blob: BlobId,
    /// Bytes of its content.
    pub bytes: u64,
}

impl Attachment {
    /// The key of its entry in [`Space::Attached`](crate::Space::Attached): the blob, then the
    /// length with its highest byte first.
    pub fn key(&self) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        key[..ID_BYTES].copy_from_slice(self.blob.as_bytes());
        key[ID_BYTES..].copy_from_slice(&self.bytes.to_be_bytes());
        key
    }

    /// The attachment whose entry has this key; none if no attachment has.
    pub fn from_key(key: &[u8]) -> Option<Attachment> {
        let (blob, bytes) = key.split_first_chunk::<ID_BYTES>()?;
        let bytes = u64::from_be_bytes(bytes.try_into().ok()?);
        (bytes <= BLOB_BYTES_MAX).then_some(Attachment {
            blob: BlobId::from_bytes(*blob),
            bytes,
        })
    }

    /// The key of its row in the table that finds attachments by blob.
    fn row_key(&self, slot: ContextSlot) -> [u8; ROW_KEY_BYTES] {
        let mut key = [0; ROW_KEY_BYTES];
        key[..ID_BYTES].copy_from_slice(self.blob.as_bytes());
        key[ID_BYTES..ID_BYTES + 8].copy_from_slice(&slot_key(slot));
        key[ID_BYTES + 8..].copy_from_slice(&self.bytes.to_be_bytes());
        key
    }
}

/// Splits the key of a row into slot and attachment.
pub(crate) fn split_row_key(key: &[u8]) -> Option<(ContextSlot, Attachment)> {
    let (blob, rest) = key.split_first_chunk::<ID_BYTES>()?;
    let (slot, bytes) = rest.split_first_chunk::<8>()?;
    let attachment = Attachment {
        blob: BlobId::from_bytes(*blob),
        bytes: u64::from_be_bytes(bytes.try_into().ok()?),
    };
    Some((ContextSlot::new(u64::from_be_bytes(*slot)), attachment))
}

/// How much a context has attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachedSum {
    /// How many blobs.
    pub blobs: u64,
    /// Bytes of their contents together.
    pub bytes: u64,
}

impl AttachedSum {
    /// With one more.
    fn with(self, attachment: Attachment) -> AttachedSum {
        AttachedSum {
            blobs: self.blobs + 1,
            // Full only with 2^28 of the largest.
            bytes: self.bytes.saturating_add(attachment.bytes),
        }
    }

    /// With one fewer; `None` if it does not count that one.
    fn without(self, attachment: Attachment) -> Option<AttachedSum> {
        Some(AttachedSum {
            blobs: self.blobs.checked_sub(1)?,
            bytes: self.bytes.checked_sub(attachment.bytes)?,
        })
    }
}

fn too_few(slot: ContextSlot) -> StoreError {
    let why = "it counts fewer blobs or bytes than there are";
    StoreError::corrupt("sum of attachments", &slot_key(slot), why)
}

/// Forgets an attachment of a context that is about to be swept, whose sum may be damaged.
pub(crate) fn forget(
    tables: Tables,
    txn: &mut RwTxn<'_>,
    record: &mut Vec<u8>,
    slot: ContextSlot,
    attachment: Attachment,
) -> heed::Result<()> {
    match note(tables, txn, record, slot, attachment, false) {
        Ok(()) => Ok(()),
        Err(Failure::Engine(error)) => Err(error),
        Err(Failure::Store(_)) => {
            tables.attached_sums.delete(txn, &slot_key(slot))?;
            tables
                .attached
                .delete(txn, &attachment.row_key(slot))
                .map(drop)
        }
    }
}

/// Why a table could not be changed.
pub(crate) enum Failure {
    Engine(heed::Error),
    Store(StoreError),
}

impl From<heed::Error> for Failure {
    fn from(error: heed::Error) -> Self {
        Failure::Engine(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

/// Whether [`note`] can be called for an attachment: the sum can be read, and counts it if it
/// is noted.
pub(crate) fn check_sum(
    tables: Tables,
    txn: &RoTxn<'_>,
    slot: ContextSlot,
    attachment: Attachment,
) -> Result<(), Failure> {
    let sum = sum(tables, txn, slot)?;
    let is_noted = has(tables, txn, slot, attachment)?;
    match is_noted && sum.without(attachment).is_none() {
        true => Err(too_few(slot).into()),
        false => Ok(()),
    }
}

/// Notes that the context in `slot` has an attachment now, or has it no longer. To be
/// called with every write of its entry, in the same transaction.
pub(crate) fn note(
    tables: Tables,
    txn: &mut RwTxn<'_>,
    record: &mut Vec<u8>,
    slot: ContextSlot,
    attachment: Attachment,
    is_attached: bool,
) -> Result<(), Failure> {
    let key = attachment.row_key(slot);
    if has(tables, txn, slot, attachment)? == is_attached {
        return Ok(());
    }
    let sum = sum(tables, txn, slot)?;
    let sum = if is_attached {
        seal(record, &key, &AttachedRow {});
        tables.attached.put(txn, &key, record)?;
        sum.with(attachment)
    } else {
        tables.attached.delete(txn, &key)?;
        sum.without(attachment).ok_or_else(|| too_few(slot))?
    };
    let key = slot_key(slot);
    if sum.blobs == 0 {
        tables.attached_sums.delete(txn, &key)?;
    } else {
        let AttachedSum { blobs, bytes } = sum;
        seal(record, &key, &AttachedSumRow { blobs, bytes });
        tables.attached_sums.put(txn, &key, record)?;
    }
    Ok(())
}

/// How much the context in `slot` has attached.
pub(crate) fn sum(
    tables: Tables,
    txn: &RoTxn<'_>,
    slot: ContextSlot,
) -> Result<AttachedSum, Failure> {
    let key = slot_key(slot);
    let Some(bytes) = tables.attached_sums.get(txn, &key)? else {
        return Ok(AttachedSum::default());
    };
    Ok(read_sum(&key, bytes)?)
}

/// Reads the record of how much a context has attached.
pub(crate) fn read_sum(key: &[u8], bytes: &[u8]) -> Result<AttachedSum, StoreError> {
    let row = open::<AttachedSumRow>(key, bytes)?;
    Ok(AttachedSum {
        blobs: row.blobs.to_native(),
        bytes: row.bytes.to_native(),
    })
}

/// Whether the context in `slot` has this attachment.
pub(crate) fn has(
    tables: Tables,
    txn: &RoTxn<'_>,
    slot: ContextSlot,
    attachment: Attachment,
) -> heed::Result<bool> {
    let found = tables.attached.get(txn, &attachment.row_key(slot))?;
    Ok(found.is_some())
}

/// Reads a row of the table that finds attachments by blob: of which context it is.
pub(crate) fn read_row(key: &[u8], bytes: &[u8]) -> Result<ContextSlot, StoreError> {
    open::<AttachedRow>(key, bytes)?;
    let cut_off = || StoreError::corrupt("record of an attachment", key, "its key is cut off");
    split_row_key(key).map(|(slot, _)| slot).ok_or_else(cut_off)
}

/// The key of the entry of which such a row tells.
pub(crate) fn entry_of_row(key: &[u8]) -> Option<Vec<u8>> {
    let (slot, attachment) = split_row_key(key)?;
    let mut entry = Vec::new();
    entry_key(&mut entry, slot, Space::Attached, &attachment.key());
    Some(entry)
}

/// The blobs that a delta attaches, one of them twice if it does so with two lengths.
pub(crate) fn attached_by_delta(delta: &DeltaView<'_>) -> impl Iterator<Item = BlobId> {
    let is_insert = |op: &OpView<'_>| op.space == Space::Attached && op.write == WriteView::Insert;
    let attachments = delta.ops().filter(is_insert);
    let attachments = attachments.filter_map(|op| Attachment::from_key(op.key));
    attachments.map(|attachment| attachment.blob)
}

/// The first `max` contexts of the ledger that refer to a blob. One that was deleted is
/// among them until its references are swept. Fails if what says so is damaged.
pub(crate) fn attached_by(
    tables: Tables,
    txn: &RoTxn<'_>,
    blob: BlobId,
    max: usize,
) -> Result<Vec<ContextSlot>, Failure> {
    let mut slots: Vec<ContextSlot> = Vec::new();
    for row in tables.attached.prefix_iter(txn, blob.as_bytes())? {
        let (key, bytes) = row?;
        let slot = read_row(key, bytes)?;
        if slots.last() == Some(&slot) {
            continue;
        }
        if slots.len() >= max {
            break;
        }
        slots.push(slot);
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_what_no_attachment_has_is_none() {
        let attachment = Attachment {
            blob: BlobId::of(b"content"),
            bytes: 7,
        };
        let key = attachment.key();
        assert_eq!(Attachment::from_key(&key), Some(attachment));
        assert_eq!(Attachment::from_key(&key[..39]), None);
        assert_eq!(Attachment::from_key(&[&key[..], &[0]].concat()), None);
        let too_long = Attachment {
            bytes: BLOB_BYTES_MAX + 1,
            ..attachment
        };
        assert_eq!(Attachment::from_key(&too_long.key()), None);
        let slot = ContextSlot::new(3);
        assert_eq!(
            split_row_key(&attachment.row_key(slot)),
            Some((slot, attachment))
        );
        assert_eq!(split_row_key(&key), None);
    }
}
