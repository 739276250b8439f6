//! A scan through all layers at once: the changeset, the overlay and a snapshot, as one map. How
//! what is newer than the snapshot is merged is in `merge.rs`.

use std::ops::ControlFlow;
use std::rc::Rc;

use corelet_store::{EntryValue, Scan, ScannedEntry};
use corelet_wasm_host::{Row, StateError, StateWalk};

use super::base::{unseen_of, with_bytes};
use super::entries::store_space;
use super::merge::{Merge, is_empty, prefix_end, row_of, scan_bounds};
use super::{Base, View};

// A walk that comes to another node's key can go on from it.
const _: () = assert!(corelet_wasm_host::KEY_BYTES_MAX == corelet_store::KEY_BYTES_MAX);

impl View {
    /// Tells `out` of the entries in the order of the walk, as all layers together show them.
    pub(super) fn walk(
        &self,
        walk: StateWalk<'_>,
        out: &mut dyn FnMut(&[u8], Row<'_>) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let StateWalk {
            prefix,
            after,
            limit,
            reverse,
            ..
        } = walk;
        let space = store_space(walk.space);
        let (overlay, settled, snapshot) = match &self.base {
            Base::Nothing => (None, None, None),
            Base::Fixed { snapshot, settled } => {
                (None, Some(Rc::clone(settled)), Some(Rc::clone(snapshot)))
            }
            Base::Moving { snapshots, overlay } => {
                let overlay = overlay.borrow();
                let settled = overlay.settled();
                (Some(overlay), Some(settled), Some(snapshots.latest()))
            }
        };
        let end = prefix_end(prefix);
        let bounds = scan_bounds(prefix, end.as_deref(), after, reverse);
        if is_empty(bounds) {
            return Ok(());
        }
        let own = self.changeset.of(space).range::<[u8], _>(bounds);
        let own = own.map(|(key, own)| (key, own.shown.as_ref()));
        let pending = overlay.iter().flat_map(|o| o.pending_range(space, bounds));
        let settled = settled.iter().flat_map(|layer| {
            let range = layer.of(space).range::<[u8], _>(bounds);
            range.map(|(key, shown)| (key, shown.as_ref()))
        });
        let mut merge = match reverse {
            false => Merge::new(
                [Box::new(own), Box::new(pending), Box::new(settled)],
                reverse,
            ),
            true => Merge::new(
                [
                    Box::new(own.rev()),
                    Box::new(pending.rev()),
                    Box::new(settled.rev()),
                ],
                reverse,
            ),
        };

        let mut left = limit;
        let mut emit = |key: &[u8], row: Row<'_>, unseen: u64| {
            left -= usize::from(row.value().is_some());
            match out(key, row) {
                ControlFlow::Continue(()) if left > 0 => match unseen {
                    0 => ControlFlow::Continue(()),
                    bytes => out(key, Row::Unseen(bytes)),
                },
                _ => {
                    self.unsee(unseen);
                    ControlFlow::Break(())
                }
            }
        };
        if limit == 0 {
            return Ok(());
        }
        let mut ended = false;
        if let Some(snapshot) = snapshot {
            let mut visit = |entry: ScannedEntry<'_>| {
                let key = entry.key();
                // Whatever is newer and comes first (or replaces this key) goes first.
                while let Some(write) = merge.next_up_to(key) {
                    if write.key == key && write.is_beneath() {
                        let read = entry.read()?;
                        let row = match read.left_by_removal {
                            Some(EntryValue::WriteOnce(bytes)) => Row::WrittenOnce(bytes),
                            _ => write.row(),
                        };
                        let flow = emit(key, row, unseen_of(&read, row.value().unwrap_or(&[])));
                        ended = flow.is_break();
                        return Ok(flow);
                    }
                    if emit(write.key, write.row(), 0).is_break() {
                        ended = true;
                        return Ok(ControlFlow::Break(()));
                    }
                    if write.key == key {
                        return Ok(ControlFlow::Continue(()));
                    }
                }
                let read = entry.read()?;
                let kind = read.value.kind();
                let flow = with_bytes(read.value, |bytes| {
                    emit(key, row_of(kind, bytes), unseen_of(&read, bytes))
                });
                ended = flow.is_break();
                Ok(flow)
            };
            let scan = Scan {
                space,
                prefix,
                after,
                limit: usize::MAX,
                reverse,
            };
            snapshot
                .scan(self.slot, scan, &mut visit)
                .map_err(StateError::new)?;
        }
        while !ended && let Some(write) = merge.next() {
            ended = emit(write.key, write.row(), 0).is_break();
        }
        Ok(())
    }
}
