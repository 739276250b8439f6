//! Every blob that contexts of several ledgers refer to, once: for a backup, which has to have
//! them, and for a check, which tells of those that are not there. They come by the rows that
//! find attachments by blob, whose keys are believed even where a row is damaged, and then by
//! the entries of which nothing is noted: a blob too many costs a look, one too few is lost.
//!
//! Any thread that may wait. Start at [`each_attached`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{Attachment, has, split_row_key};
use crate::entry::Space;
use crate::error::StoreError;
use crate::ids::{BlobId, ID_BYTES};
use crate::layout::split_entry;
use crate::snapshot::{Snapshot, unreadable};

/// Shows each blob that a context refers to, with the lengths that its contents are said to
/// have, to `visit`. Memory is in proportion to the lengths of one blob, and to the entries of
/// which nothing is noted.
///
/// Fails if a ledger cannot be read, or as `visit` does.
pub(crate) fn each_attached<E: From<StoreError>>(
    snapshots: &[&Snapshot],
    visit: &mut dyn FnMut(BlobId, &BTreeSet<u64>) -> Result<(), E>,
) -> Result<(), E> {
    let mut after = None;
    while let Some(blob) = next_blob(snapshots, after)? {
        let mut lengths = BTreeSet::new();
        for snapshot in snapshots {
            lengths_of(snapshot, blob, &mut lengths)?;
        }
        visit(blob, &lengths)?;
        after = Some(blob);
    }
    let mut unnoted: BTreeMap<BlobId, BTreeSet<u64>> = BTreeMap::new();
    for snapshot in snapshots {
        each_unnoted(snapshot, &mut |attachment| {
            let lengths = unnoted.entry(attachment.blob).or_default();
            lengths.insert(attachment.bytes);
        })?;
    }
    for (blob, lengths) in unnoted {
        // Unless another context, or another length, has shown it above.
        if next_blob(snapshots, before(blob))? != Some(blob) {
            visit(blob, &lengths)?;
        }
    }
    Ok(())
}

/// The first blob behind `after` that any row names.
fn next_blob(snapshots: &[&Snapshot], after: Option<BlobId>) -> Result<Option<BlobId>, StoreError> {
    // Behind every row of that blob: no key is as long, and none is higher.
    let after = after.map(|blob| [&blob.as_bytes()[..], &[0xff; ID_BYTES]].concat());
    let mut first: Option<BlobId> = None;
    for snapshot in snapshots {
        if let Some(blob) = next_blob_of(snapshot, after.as_deref())? {
            first = Some(first.map_or(blob, |first| first.min(blob)));
        }
    }
    Ok(first)
}

/// The same of one ledger, behind a key. A key that was cut off names no blob; the entry of
/// which it is the note has none, and so is shown by itself.
fn next_blob_of(snapshot: &Snapshot, after: Option<&[u8]>) -> Result<Option<BlobId>, StoreError> {
    let start = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = snapshot.tables.attached;
    let rows = rows.range(&snapshot.txn, &(start, Bound::Unbounded));
    for row in rows.map_err(unreadable)? {
        let (key, _) = row.map_err(unreadable)?;
        if let Some((_, attachment)) = split_row_key(key) {
            return Ok(Some(attachment.blob));
        }
    }
    Ok(None)
}

/// The id right before this one; none before the first.
fn before(blob: BlobId) -> Option<BlobId> {
    let mut bytes = *blob.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let (less, is_borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !is_borrowed {
            return Some(BlobId::from_bytes(bytes));
        }
    }
    None
}

fn lengths_of(
    snapshot: &Snapshot,
    blob: BlobId,
    lengths: &mut BTreeSet<u64>,
) -> Result<(), StoreError> {
    let rows = snapshot.tables.attached;
    let rows = rows.prefix_iter(&snapshot.txn, blob.as_bytes());
    for row in rows.map_err(unreadable)? {
        let (key, _) = row.map_err(unreadable)?;
        lengths.extend(split_row_key(key).map(|(_, attachment)| attachment.bytes));
    }
    Ok(())
}

/// Shows the attachments that an entry has and no row.
fn each_unnoted(snapshot: &Snapshot, show: &mut dyn FnMut(Attachment)) -> Result<(), StoreError> {
    let (tables, txn) = (&snapshot.tables, &snapshot.txn);
    let entries = tables.entries.prefix_iter(txn, &[Space::Attached.number()]);
    for entry in entries.map_err(unreadable)? {
        let (key, _) = entry.map_err(unreadable)?;
        let Some((slot, _, rest)) = split_entry(key) else {
            continue;
        };
        let Some(attachment) = Attachment::from_key(rest) else {
            continue;
        };
        if !has(*tables, txn, slot, attachment).map_err(unreadable)? {
            show(attachment);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{alter, two};
    use crate::ids::ContextSlot;

    /// A bit more or less in a file of pages does not keep everything else from a backup.
    #[test]
    fn a_key_that_was_cut_off_is_passed_over() {
        let (_dir, ledger, [slot, _]) = two();
        let row = |n: u8, slot: ContextSlot| {
            let blob = BlobId::from_bytes([n; 32]);
            Attachment { blob, bytes: 7 }.row_key(slot)
        };
        alter(&ledger, |tables, txn| {
            for n in [1, 3] {
                tables.attached.put(txn, &row(n, slot), b"a row")?;
            }
            for n in [0, 2, 4] {
                let key = row(n, slot);
                tables.attached.put(txn, &key[..key.len() - 1], b"a row")?;
                tables
                    .attached
                    .put(txn, &[&key[..], &[0]].concat(), b"a row")?;
            }
            Ok(true)
        });
        let snapshot = ledger.snapshot().unwrap();
        let mut found = Vec::new();
        each_attached::<StoreError>(&[&snapshot], &mut |blob, lengths| {
            found.push((
                blob.as_bytes()[0],
                lengths.iter().copied().collect::<Vec<_>>(),
            ));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, [(1, vec![7]), (3, vec![7])]);
    }
}
