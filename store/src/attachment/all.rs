//! Every blob that contexts of several ledgers refer to, once: for a backup, which has to have
//! them, and for a check, which tells of those that are not there. They come by the rows that
//! find attachments by blob, whose keys are believed even where a row is damaged, and then by
//! the entries of which nothing is noted: a blob too many costs a look, one too few is lost.
//!
//! Any thread that may wait. Start at [`each_attached`].

use std::collections::{BTreeMap, BTreeSet};

use super::{Attachment, split_row_key};
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
        let rows = snapshot.tables.attached;
        let found = match &after {
            Some(after) => rows.get_greater_than(&snapshot.txn, after),
            None => rows.first(&snapshot.txn),
        };
        let Some((key, _)) = found.map_err(unreadable)? else {
            continue;
        };
        let cut_off = || StoreError::corrupt("record of an attachment", key, "its key is cut off");
        let (_, attachment) = split_row_key(key).ok_or_else(cut_off)?;
        first = Some(first.map_or(attachment.blob, |first| first.min(attachment.blob)));
    }
    Ok(first)
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
        let row = tables.attached.get(txn, &attachment.row_key(slot));
        if row.map_err(unreadable)?.is_none() {
            show(attachment);
        }
    }
    Ok(())
}
