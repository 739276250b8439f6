//! What is below a turn's own writes: the overlay, or what had settled when a query began, and a
//! snapshot under it. A read of more than is shown is noted for its price.

use corelet_store::{CounterSum, EntryKind, EntryValue, ReadEntry, Snapshot, Space};
use corelet_wasm_host::StateError;

use super::{Base, View};
use crate::overlay::Shown;

/// So many bytes of a record that are not shown are in the price of reading it.
const UNSEEN_BYTES_MIN: usize = 16 << 10;

/// What is below the changeset, as [`Shown`] has it.
pub(super) struct Found<'a> {
    pub(super) kind: EntryKind,
    pub(super) bytes: &'a [u8],
    pub(super) sum: CounterSum,
    pub(super) is_beneath: bool,
}

impl Found<'_> {
    pub(super) fn of_shown(shown: &Shown) -> Found<'_> {
        Found {
            kind: shown.kind,
            bytes: &shown.bytes,
            sum: shown.sum,
            is_beneath: shown.is_beneath,
        }
    }
}

impl View {
    /// Reads below the changeset.
    pub(super) fn base_get<T>(
        &self,
        space: Space,
        key: &[u8],
        found: impl FnOnce(Option<Found<'_>>) -> T,
    ) -> Result<T, StateError> {
        match &self.base {
            Base::Nothing => Ok(found(None)),
            Base::Fixed { snapshot, settled } => {
                if let Some(shown) = settled.of(space).get(key) {
                    return Ok(found(shown.as_ref().map(Found::of_shown)));
                }
                self.snapshot_get(snapshot, space, key, found)
            }
            Base::Moving { snapshots, overlay } => {
                if let Some(shown) = overlay.borrow().get(space, key) {
                    return Ok(found(shown.map(Found::of_shown)));
                }
                self.snapshot_get(&snapshots.latest(), space, key, found)
            }
        }
    }

    fn snapshot_get<T>(
        &self,
        snapshot: &Snapshot,
        space: Space,
        key: &[u8],
        found: impl FnOnce(Option<Found<'_>>) -> T,
    ) -> Result<T, StateError> {
        let read = snapshot
            .read(self.slot, space, key)
            .map_err(StateError::new)?;
        Ok(match read {
            None => found(None),
            Some(read) => {
                let sum = match read.value {
                    EntryValue::Counter(sum) => sum,
                    _ => CounterSum::default(),
                };
                let kind = read.value.kind();
                with_bytes(read.value, |bytes| {
                    self.unsee(unseen_of(&read, bytes));
                    found(Some(Found {
                        kind,
                        bytes,
                        sum,
                        is_beneath: false,
                    }))
                })
            }
        })
    }

    /// What an entry below the changeset is read as once this turn has removed it: a write-once
    /// value that another node has put beneath it. A snapshot shows that: no call of this node
    /// writes one where there is something else, and while deltas of others are in no snapshot, no
    /// update runs.
    pub(super) fn beneath<T>(
        &self,
        space: Space,
        key: &[u8],
        left: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T, StateError> {
        let latest;
        let snapshot: &Snapshot = match &self.base {
            Base::Nothing => return Ok(left(None)),
            Base::Fixed { snapshot, .. } => snapshot,
            Base::Moving { snapshots, .. } => {
                latest = snapshots.latest();
                &latest
            }
        };
        let read = snapshot
            .read(self.slot, space, key)
            .map_err(StateError::new)?;
        if let Some(read) = &read {
            self.unsee(unseen_of(read, &[]));
        }
        Ok(match read.and_then(|read| read.left_by_removal) {
            None => left(None),
            Some(value) => with_bytes(value, |bytes| left(Some(bytes))),
        })
    }

    pub(super) fn unsee(&self, bytes: u64) {
        self.unseen.set(self.unseen.get().saturating_add(bytes));
    }
}

/// The bytes that were read for an entry beside those that are shown, if they are many.
pub(super) fn unseen_of(read: &ReadEntry<'_>, shown: &[u8]) -> u64 {
    match read.record_bytes.saturating_sub(shown.len()) {
        few if few < UNSEEN_BYTES_MIN => 0,
        many => many as u64,
    }
}

/// The value as guests see it.
pub(super) fn with_bytes<T>(value: EntryValue<'_>, f: impl FnOnce(&[u8]) -> T) -> T {
    match value {
        EntryValue::Register(bytes) | EntryValue::WriteOnce(bytes) => f(bytes),
        EntryValue::Counter(sum) => f(&sum.nearest().to_le_bytes()),
        EntryValue::SetElement | EntryValue::List | EntryValue::Text => f(&[]),
    }
}
