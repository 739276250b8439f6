//! Entries in the order of their keys.

use std::ops::{Bound, ControlFlow};

use heed::types::{Bytes, DecodeIgnore};

use super::{ReadEntry, Snapshot, unreadable};
use crate::entry::{EntryValue, Space};
use crate::error::StoreError;
use crate::ids::ContextSlot;
use crate::layout;

/// Where in its context a scan goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan<'a> {
    /// In which space.
    pub space: Space,
    /// Only keys that begin with this.
    pub prefix: &'a [u8],
    /// Only keys behind this one, in the direction of the scan. It need not
    /// exist, nor begin with the prefix.
    pub after: Option<&'a [u8]>,
    /// At most this many.
    pub limit: usize,
    /// From the largest key to the smallest.
    pub reverse: bool,
}

/// An entry that a scan has come to. Its value, which may be large, is only read
/// and checked when it is asked for.
#[derive(Clone, Copy)]
pub struct ScannedEntry<'a> {
    snapshot: &'a Snapshot,
    key: &'a [u8],
    record: &'a [u8],
}

impl<'a> ScannedEntry<'a> {
    /// The entry's key.
    pub fn key(&self) -> &'a [u8] {
        let (_, _, key) =
            layout::split_entry(self.key).expect("the scan's range begins with space and slot");
        key
    }

    /// All that is read of the entry.
    pub fn read(&self) -> Result<ReadEntry<'a>, StoreError> {
        self.snapshot.read_record(self.key, self.record)
    }

    /// The entry's value.
    pub fn value(&self) -> Result<EntryValue<'a>, StoreError> {
        Ok(self.read()?.value)
    }
}

type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl Snapshot {
    /// Shows entries to `visit` in key order until it breaks or fails.
    pub fn scan(
        &self,
        slot: ContextSlot,
        scan: Scan<'_>,
        visit: &mut dyn FnMut(ScannedEntry<'_>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut show = |key, record| {
            visit(ScannedEntry {
                snapshot: self,
                key,
                record,
            })
        };
        let Some(range) = scan_range(slot, &scan) else {
            return Ok(());
        };
        let range = (as_slice(&range.0), as_slice(&range.1));
        let table = self.tables.entries;
        if scan.reverse {
            for row in table
                .rev_range(&self.txn, &range)
                .map_err(unreadable)?
                .take(scan.limit)
            {
                let (key, bytes) = row.map_err(unreadable)?;
                if show(key, bytes)?.is_break() {
                    break;
                }
            }
        } else {
            for row in table
                .range(&self.txn, &range)
                .map_err(unreadable)?
                .take(scan.limit)
            {
                let (key, bytes) = row.map_err(unreadable)?;
                if show(key, bytes)?.is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// How many keys of the shared space begin with `prefix`. With an empty prefix the answer is at
    /// hand; otherwise every such key is visited.
    pub fn count(&self, slot: ContextSlot, prefix: &[u8]) -> Result<u64, StoreError> {
        if prefix.is_empty() {
            return Ok(self.head(slot)?.entries);
        }
        self.count_up_to(slot, prefix, u64::MAX)
    }

    /// The same, but stops at `max`, so that the work is bounded.
    pub fn count_up_to(
        &self,
        slot: ContextSlot,
        prefix: &[u8],
        max: u64,
    ) -> Result<u64, StoreError> {
        let Some(range) = scan_range(
            slot,
            &Scan {
                prefix,
                ..Scan::default()
            },
        ) else {
            return Ok(0);
        };
        let keys = self.tables.entries.remap_types::<Bytes, DecodeIgnore>();
        let range = (as_slice(&range.0), as_slice(&range.1));
        let mut count = 0;
        for row in keys.range(&self.txn, &range).map_err(unreadable)? {
            if count == max {
                break;
            }
            row.map_err(unreadable)?;
            count += 1;
        }
        Ok(count)
    }
}

/// The range of full keys that a scan visits; `None` if it is empty.
fn scan_range(slot: ContextSlot, scan: &Scan<'_>) -> Option<KeyRange> {
    let full = |key: &[u8]| {
        let mut full = Vec::with_capacity(layout::LMDB_KEY_BYTES_MAX);
        // A key is compared only; beyond the bound no two keys exist that the
        // rest could tell apart, but LMDB would not take it.
        layout::entry_key(
            &mut full,
            slot,
            scan.space,
            &key[..key.len().min(layout::KEY_BYTES_MAX)],
        );
        full
    };
    if scan.prefix.len() > layout::KEY_BYTES_MAX {
        return None;
    }
    let first = full(scan.prefix);
    let mut end = first.clone();
    layout::successor(&mut end);
    let (mut start, mut end) = (Bound::Included(first), Bound::Excluded(end));
    if let Some(after) = scan.after {
        let is_cut = after.len() > layout::KEY_BYTES_MAX;
        let after = full(after);
        if scan.reverse {
            // The cut key lies before the whole one, so it is not yet behind.
            let bound = if is_cut {
                Bound::Included(after)
            } else {
                Bound::Excluded(after)
            };
            if key_of(&bound) < key_of(&end) {
                end = bound;
            }
        } else if key_of(&Bound::Included(after.clone())) >= key_of(&start) {
            start = Bound::Excluded(after);
        }
    }
    let is_empty = match (&start, &end) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (start, end) => key_of(start) >= key_of(end),
    };
    if is_empty { None } else { Some((start, end)) }
}

fn key_of(bound: &Bound<Vec<u8>>) -> &[u8] {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => &[],
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}
