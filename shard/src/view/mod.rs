//! A context's state as one turn sees it: `GuestState` on top of the store.
//!
//! An update reads its own writes, then the overlay (what updates before it
//! have written and no snapshot shows), then the shard's current snapshot. A
//! query reads what was durable when it began: one snapshot, and what had
//! settled since that was taken. Owned by the turn.
//!
//! Lists and texts are in `sequences.rs`, attached blobs in `blobs.rs`, how a scan goes through several layers at once
//! in `merge.rs`.

mod blobs;
mod merge;
#[cfg(test)]
mod sequence_tests;
mod sequences;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;

use bytes::Bytes;
use corelet_store::{
    BlobHold, ContextSlot, CounterSum, EntryKind, EntryValue, Hlc, Op, ReadEntry, Scan,
    ScannedEntry, SequenceError, Snapshot, Space, Write,
};
use corelet_wasm_host::{GuestState, Row, StateError, StateWalk};

use self::blobs::Attaching;
use self::merge::{Merge, is_empty, prefix_end, row_of, scan_bounds};
use self::sequences::Sequences;
pub(crate) use self::sequences::{Edited, SequenceAccess};
use crate::blobs::BlobService;
use crate::overlay::{self, BySpace, Layer, Overlay, Shown};
use crate::snapshots::Snapshots;

/// What a turn reads from and writes to.
pub(crate) struct View {
    slot: ContextSlot,
    base: Base,
    changeset: BySpace<Own>,
    sequences: Sequences,
    attaching: Attaching,
    /// Bytes of records that were read and not shown, where these are many.
    unseen: Cell<u64>,
}

/// So many bytes of a record that are not shown are in the price of reading it.
const UNSEEN_BYTES_MIN: usize = 16 << 10;

// A walk that comes to another node's key can go on from it.
const _: () = assert!(corelet_wasm_host::KEY_BYTES_MAX == corelet_store::KEY_BYTES_MAX);

/// A write of this turn: what several writes of one entry come to.
#[derive(Debug)]
struct Own {
    removes_first: bool,
    write: Write,
    /// What the entry is read as since then.
    shown: Option<Shown>,
}

enum Base {
    /// What was durable when a query began.
    Fixed {
        snapshot: Rc<Snapshot>,
        settled: Rc<Layer>,
    },
    /// An update's base moves on while it runs, together with the overlay: what
    /// leaves the overlay is in the snapshot, so both together never change.
    Moving {
        snapshots: Rc<Snapshots>,
        overlay: Rc<RefCell<Overlay>>,
    },
    /// A context that is being made.
    Nothing,
}

/// What a turn has written, for the commit and for the overlay.
pub(crate) struct Written {
    pub(crate) ops: Vec<Op>,
    pub(crate) shown: Vec<overlay::Write>,
    /// To be kept if the commit takes the rest.
    pub(crate) edited: Edited,
    /// Of the blobs that it has attached, until that is durable.
    pub(crate) holds: Vec<BlobHold>,
}

impl View {
    pub(crate) fn of_query(
        slot: ContextSlot,
        snapshot: Rc<Snapshot>,
        settled: Rc<Layer>,
        access: SequenceAccess,
    ) -> View {
        View {
            slot,
            base: Base::Fixed { snapshot, settled },
            changeset: BySpace::default(),
            sequences: Sequences::new(access),
            attaching: Attaching::default(),
            unseen: Cell::default(),
        }
    }

    pub(crate) fn of_update(
        slot: ContextSlot,
        snapshots: Rc<Snapshots>,
        overlay: Rc<RefCell<Overlay>>,
        access: SequenceAccess,
    ) -> View {
        View {
            slot,
            base: Base::Moving { snapshots, overlay },
            changeset: BySpace::default(),
            sequences: Sequences::new(access),
            attaching: Attaching::default(),
            unseen: Cell::default(),
        }
    }

    pub(crate) fn of_init(access: SequenceAccess) -> View {
        View {
            slot: ContextSlot::UNASSIGNED,
            base: Base::Nothing,
            changeset: BySpace::default(),
            sequences: Sequences::new(access),
            attaching: Attaching::default(),
            unseen: Cell::default(),
        }
    }

    /// Blobs of this service can be attached.
    pub(crate) fn with_blobs(mut self, blobs: &BlobService) -> View {
        self.attaching = Attaching::new(blobs.clone());
        self
    }

    /// What the turn has written, in a delta with this stamp.
    ///
    /// # Errors
    /// Of the stamp, if it is not later than that of the edits before.
    pub(crate) fn into_written(mut self, hlc: Hlc) -> Result<Written, SequenceError> {
        let (mut ops, mut shown) = (Vec::new(), Vec::new());
        let mut edited = Edited::default();
        for (space, key, own) in self.changeset.into_all() {
            let Own {
                removes_first,
                mut write,
                shown: now,
            } = own;
            let mut edit = None;
            if let Write::Edit { update, .. } = &mut write {
                edit = self.sequences.take_edit(space, &key, hlc, &mut edited)?;
                *update = edit
                    .as_ref()
                    .map(|edit| edit.update.clone())
                    .unwrap_or_default();
            }
            shown.push(overlay::Write {
                space,
                key: key.clone(),
                shown: now,
                edit,
            });
            ops.push(Op {
                space,
                key,
                removes_first,
                write,
            });
        }
        let holds = self.attaching.take_holds();
        Ok(Written {
            ops,
            shown,
            edited,
            holds,
        })
    }

    /// Reads below the changeset.
    fn base_get<T>(
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
    fn beneath<T>(
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

    fn unsee(&self, bytes: u64) {
        self.unseen.set(self.unseen.get().saturating_add(bytes));
    }

    /// What a write of this turn meets, its own writes included, and whether the turn has
    /// removed what was there before. Of an entry that is no counter only the kind is
    /// looked at: its value may be large, and the price of a write does not depend on it.
    fn meet(&self, space: Space, key: &[u8]) -> Result<(Option<Shown>, bool), StateError> {
        if let Some(own) = self.changeset.of(space).get(key) {
            let is_anew = own.removes_first || own.write == Write::Remove;
            return Ok((own.shown.clone(), is_anew));
        }
        let shown = self.base_get(space, key, |found| {
            found.map(|found| match found.kind {
                EntryKind::Counter => Shown::counter(found.sum),
                kind => Shown::new(kind, Bytes::new()),
            })
        })?;
        Ok((shown, false))
    }

    fn put(&mut self, space: Space, key: &[u8], own: Own) {
        let own_map = self.changeset.of_mut(space);
        match own_map.get_mut(key) {
            Some(there) => *there = own,
            None => drop(own_map.insert(Bytes::copy_from_slice(key), own)),
        }
    }
}

/// What is below the changeset, as [`Shown`] has it.
struct Found<'a> {
    kind: EntryKind,
    bytes: &'a [u8],
    sum: CounterSum,
    is_beneath: bool,
}

/// A value is to be read with [`View::beneath`].
struct IsBeneath;

/// The bytes that were read for an entry beside those that are shown, if they are many.
fn unseen_of(read: &ReadEntry<'_>, shown: &[u8]) -> u64 {
    match read.record_bytes.saturating_sub(shown.len()) {
        few if few < UNSEEN_BYTES_MIN => 0,
        many => many as u64,
    }
}

impl Found<'_> {
    fn of_shown(shown: &Shown) -> Found<'_> {
        Found {
            kind: shown.kind,
            bytes: &shown.bytes,
            sum: shown.sum,
            is_beneath: shown.is_beneath,
        }
    }
}

/// The value as guests see it.
fn with_bytes<T>(value: EntryValue<'_>, f: impl FnOnce(&[u8]) -> T) -> T {
    match value {
        EntryValue::Register(bytes) | EntryValue::WriteOnce(bytes) => f(bytes),
        EntryValue::Counter(sum) => f(&sum.nearest().to_le_bytes()),
        EntryValue::SetElement | EntryValue::List | EntryValue::Text => f(&[]),
    }
}

/// Refuses a write of one kind to an entry of another.
fn agree(found: Option<&Shown>, written: EntryKind) -> Result<(), StateError> {
    match found {
        Some(found) if found.kind != written => Err(StateError::Misused(format!(
            "an entry that is a {} was written as a {written}",
            found.kind
        ))),
        _ => Ok(()),
    }
}

/// Private entries are registers: nothing merges with them.
fn no_private(space: Space, written: EntryKind) -> Result<(), StateError> {
    match space {
        Space::Private => Err(StateError::Misused(format!(
            "a {written} was written into the private space, which has registers only"
        ))),
        Space::Shared | Space::Owned | Space::Attached => Ok(()),
    }
}

fn store_space(space: corelet_wasm_host::Space) -> Space {
    match space {
        corelet_wasm_host::Space::Shared => Space::Shared,
        corelet_wasm_host::Space::Owned => Space::Owned,
        corelet_wasm_host::Space::Private => Space::Private,
        corelet_wasm_host::Space::Attached => Space::Attached,
    }
}

impl GuestState for View {
    fn get(
        &mut self,
        space: corelet_wasm_host::Space,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StateError> {
        let space = store_space(space);
        let value = |found: Option<Found<'_>>| match found {
            Some(found) if found.is_beneath => Err(IsBeneath),
            found => Ok(found.map(|found| found.bytes.to_vec())),
        };
        let own = self.changeset.of(space);
        let value = if !own.is_empty()
            && let Some(own) = own.get(key)
        {
            value(own.shown.as_ref().map(Found::of_shown))
        } else {
            self.base_get(space, key, value)?
        };
        match value {
            Ok(value) => Ok(value),
            Err(IsBeneath) => self.beneath(space, key, |left| left.map(<[u8]>::to_vec)),
        }
    }

    /// Does not look at what is there, for that is the commonest write: a kind that
    /// does not fit is refused by the commit.
    fn set(
        &mut self,
        space: corelet_wasm_host::Space,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), StateError> {
        let space = store_space(space);
        let value = Bytes::copy_from_slice(value);
        let mut removes_first = false;
        if let Some(own) = self.changeset.of(space).get(key) {
            agree(own.shown.as_ref(), EntryKind::Register)?;
            removes_first = own.removes_first || own.write == Write::Remove;
        }
        let own = Own {
            removes_first,
            write: Write::Set(value.clone()),
            shown: Some(Shown::new(EntryKind::Register, value)),
        };
        self.put(space, key, own);
        Ok(())
    }

    fn add(
        &mut self,
        space: corelet_wasm_host::Space,
        key: &[u8],
        amount: i64,
    ) -> Result<i64, StateError> {
        let space = store_space(space);
        no_private(space, EntryKind::Counter)?;
        let (shown, removes_first) = self.meet(space, key)?;
        agree(shown.as_ref(), EntryKind::Counter)?;
        let sum = shown.map(|shown| shown.sum).unwrap_or_default();
        let sum = sum.plus(amount);
        let before = match self.changeset.of(space).get(key) {
            Some(Own {
                write: Write::Add(before),
                ..
            }) => *before,
            _ => 0,
        };
        let Some(added) = before.checked_add(amount) else {
            let what = "more was added to a counter in one call than 64 bits can hold";
            return Err(StateError::Misused(what.to_owned()));
        };
        let own = Own {
            removes_first,
            write: Write::Add(added),
            shown: Some(Shown::counter(sum)),
        };
        self.put(space, key, own);
        Ok(sum.nearest())
    }

    /// Writes it also if it is there: so it stays if somebody else removes it meanwhile.
    fn insert(&mut self, space: corelet_wasm_host::Space, key: &[u8]) -> Result<bool, StateError> {
        let space = store_space(space);
        no_private(space, EntryKind::SetElement)?;
        let (shown, removes_first) = self.meet(space, key)?;
        agree(shown.as_ref(), EntryKind::SetElement)?;
        let own = Own {
            removes_first,
            write: Write::Insert,
            shown: Some(Shown::new(EntryKind::SetElement, Bytes::new())),
        };
        self.put(space, key, own);
        Ok(shown.is_none())
    }

    fn write_once(
        &mut self,
        space: corelet_wasm_host::Space,
        key: &[u8],
        value: &[u8],
    ) -> Result<bool, StateError> {
        let space = store_space(space);
        no_private(space, EntryKind::WriteOnce)?;
        let (shown, removes_first) = self.meet(space, key)?;
        agree(shown.as_ref(), EntryKind::WriteOnce)?;
        if shown.is_some() {
            return Ok(false);
        }
        let value = Bytes::copy_from_slice(value);
        let own = Own {
            removes_first,
            write: Write::WriteOnce(value.clone()),
            shown: Some(Shown::new(EntryKind::WriteOnce, value)),
        };
        self.put(space, key, own);
        Ok(true)
    }

    fn remove(&mut self, space: corelet_wasm_host::Space, key: &[u8]) -> Result<bool, StateError> {
        let space = store_space(space);
        let below = self.base_get(space, key, |found| found.map(|found| found.kind))?;
        let own = self.changeset.of(space).get(key);
        let kind = match own {
            Some(own) => own.shown.as_ref().map(|shown| shown.kind),
            None => below,
        };
        match kind {
            Some(EntryKind::WriteOnce) => {
                let what = "a write-once entry was removed, which cannot be";
                return Err(StateError::Misused(what.to_owned()));
            }
            None => return Ok(false),
            Some(_) => {}
        }
        match below {
            // It has come and gone within the turn.
            None => {
                self.sequences.let_go(space, key);
                drop(self.changeset.of_mut(space).remove(key));
            }
            Some(_) => {
                let is_left = self.beneath(space, key, |left| left.is_some())?;
                let shown = is_left.then(Shown::beneath);
                self.sequences.let_go(space, key);
                let own = Own {
                    removes_first: false,
                    write: Write::Remove,
                    shown,
                };
                self.put(space, key, own);
            }
        }
        Ok(true)
    }

    fn scan(
        &mut self,
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

    fn take_unseen(&mut self) -> u64 {
        self.unseen.take()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use corelet_store::{
        ApplicationId, CallEffects, Change, ContextId, Hlc, HlcClock, Ledger, LedgerConfig,
        NewContext, NodeId, RemoteDelta,
    };
    use corelet_wasm_host::Space::Shared;
    use proptest::prelude::*;

    use super::*;
    use crate::{fixture, overlay};

    const SHORT_KEYS: &[&[u8]] = &[
        b"",
        b"a",
        b"a\x00",
        b"a\xff",
        b"a\xff\xff",
        b"ab",
        b"b",
        b"\xff",
        b"\xff\xff",
    ];

    type State = BTreeMap<Vec<u8>, Vec<u8>>;

    fn ops(writes: &[(usize, Option<u8>)]) -> Vec<Op> {
        let mut last = BTreeMap::new();
        for (key, value) in writes {
            last.insert(
                Bytes::from_static(SHORT_KEYS[*key]),
                value.map(|v| Bytes::from(vec![v])),
            );
        }
        let op = |(key, value): (Bytes, Option<Bytes>)| match value {
            Some(value) => Op::set(key, value),
            None => Op::remove(key),
        };
        last.into_iter().map(op).collect()
    }

    fn layer(writes: &[(usize, Option<u8>)]) -> Vec<overlay::Write> {
        let ops = ops(writes).into_iter();
        ops.map(|op| overlay::Write {
            space: Space::Shared,
            key: op.key,
            shown: match op.write {
                Write::Set(bytes) => Some(Shown::new(EntryKind::Register, bytes)),
                _ => None,
            },
            edit: None,
        })
        .collect()
    }

    fn access() -> SequenceAccess {
        SequenceAccess::without_cache(NodeId::from_bytes([7; 32]))
    }

    fn apply(state: &mut State, writes: &[(usize, Option<u8>)]) {
        for (key, value) in writes {
            match value {
                Some(value) => state.insert(SHORT_KEYS[*key].to_vec(), vec![*value]),
                None => state.remove(SHORT_KEYS[*key]),
            };
        }
    }

    fn scan_of(
        view: &mut View,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        reverse: bool,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut seen = Vec::new();
        let walk = StateWalk {
            prefix,
            after,
            limit,
            reverse,
            ..StateWalk::default()
        };
        view.scan(walk, &mut |key, row| {
            if let Some(value) = row.value() {
                seen.push((key.to_vec(), value.to_vec()));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        seen
    }

    fn model_scan(
        state: &State,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        reverse: bool,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all: Vec<_> = state
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| {
                after.is_none_or(|after| {
                    if reverse {
                        &key[..] < after
                    } else {
                        &key[..] > after
                    }
                })
            })
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if reverse {
            all.reverse();
        }
        all.truncate(limit);
        all
    }

    /// A ledger with one context that holds what `on_disk` leaves.
    fn ledger_with(on_disk: &[(usize, Option<u8>)]) -> (tempfile::TempDir, Ledger, ContextSlot) {
        let dir = tempfile::tempdir().unwrap();
        let config = LedgerConfig {
            map_bytes_max: 4 << 20,
            readers_max: 8,
            ..LedgerConfig::default()
        };
        let ledger = fixture::ledger(dir.path(), &config);
        let (id, author) = (ContextId::random(), NodeId::from_bytes([7; 32]));
        let hlc = HlcClock::after(Hlc::ZERO).tick(1);
        let call = CallEffects {
            context: id,
            slot: ContextSlot::UNASSIGNED,
            author,
            hlc,
            read: None,
            ops: ops(on_disk),
            events: vec![],
            answer: None,
        };
        let application = ApplicationId::from_bytes([1; 32]);
        let new = NewContext {
            id,
            name: None,
            application,
            created: hlc,
            call,
        };
        let verdicts = ledger.commit(vec![Change::CreateContext(new)]).unwrap();
        let slot = verdicts[0].as_ref().unwrap().slot();
        (dir, ledger, slot)
    }

    #[test]
    fn removals_are_told_and_a_turn_s_own_apart() {
        let (_dir, ledger, slot) =
            ledger_with(&[(1, Some(1)), (5, Some(2)), (6, Some(3)), (7, Some(4))]);
        let overlay = Rc::new(RefCell::new(Overlay::default()));
        overlay.borrow_mut().absorb(1, &layer(&[(5, None)]));
        let mut view = View::of_update(
            slot,
            Rc::new(Snapshots::new(ledger).unwrap()),
            overlay,
            access(),
        );
        assert!(view.remove(Shared, SHORT_KEYS[1]).unwrap());
        assert!(
            !view.remove(Shared, SHORT_KEYS[5]).unwrap(),
            "an update before has removed it"
        );
        let mut rows = Vec::new();
        let walk = StateWalk {
            limit: 1,
            ..StateWalk::default()
        };
        view.scan(walk, &mut |key, row| {
            let row = match row {
                Row::Shown(_) => "shown",
                Row::WrittenOnce(_) => "written once",
                Row::Removed => "removed",
                Row::Hidden => "hidden",
                Row::Unseen(_) => "unseen",
            };
            rows.push((key.to_vec(), row));
            ControlFlow::Continue(())
        })
        .unwrap();
        let expected = [(b"a".to_vec(), "removed"), (b"ab".to_vec(), "hidden")];
        assert_eq!(rows[..2], expected);
        assert_eq!(rows[2..], [(b"b".to_vec(), "shown")]);
    }

    /// Another node has written the key once, and this one has a register there, which is read:
    /// on the disk, or in the overlay above it.
    #[test]
    fn what_is_removed_from_above_a_write_once_value_shows_that() {
        for is_overlaid in [false, true] {
            let disk = fixture::Disk::new();
            let slot = disk.create(1);
            let delta = fixture::Peer::new().write_once(9, "key", "once");
            let theirs = Change::Delta(RemoteDelta { slot, delta });
            let ours = fixture::call(1, slot, 2, &[("key", "register")]);
            for change in [ours, theirs] {
                disk.ledger.commit(vec![change]).unwrap().remove(0).unwrap();
            }
            let overlay = Rc::new(RefCell::new(Overlay::default()));
            if is_overlaid {
                let call = fixture::call(1, slot, 10, &[("key", "another")]);
                overlay.borrow_mut().absorb(10, &fixture::shown_by(&call));
            }
            let snapshots = Rc::new(Snapshots::new(disk.ledger.clone()).unwrap());
            let view =
                || View::of_update(slot, Rc::clone(&snapshots), Rc::clone(&overlay), access());
            let shown = |view: &mut View| {
                let mut rows = Vec::new();
                view.scan(
                    StateWalk {
                        limit: 9,
                        ..StateWalk::default()
                    },
                    &mut |key, row| {
                        rows.push(format!("{} {row:?}", key.escape_ascii()));
                        ControlFlow::Continue(())
                    },
                )
                .unwrap();
                rows
            };
            let once = [format!("key {:?}", Row::WrittenOnce(b"once"))];
            let mut first = view();
            assert!(first.remove(Shared, b"key").unwrap());
            assert_eq!(first.get(Shared, b"key").unwrap().unwrap(), b"once");
            assert_eq!(shown(&mut first), once);
            first.remove(Shared, b"key").unwrap_err();
            // Whoever comes next sees the same, before it is committed and after that.
            let written = first.into_written(Hlc::from_micros(11)).unwrap();
            let kept = written.shown[0].shown.as_ref().unwrap();
            assert!(kept.bytes.is_empty(), "what is beneath may be large");
            overlay.borrow_mut().absorb(11, &written.shown);
            assert_eq!(shown(&mut view()), once);
            view().remove(Shared, b"key").unwrap_err();
            assert!(!view().write_once(Shared, b"key", b"ours").unwrap());
            let Change::Call(mut call) = fixture::call(1, slot, 11, &[]) else {
                unreachable!("it is made as a call");
            };
            call.ops = written.ops;
            let verdicts = disk.ledger.commit(vec![Change::Call(call)]).unwrap();
            verdicts[0].as_ref().unwrap();
            let (snapshots, overlay) = (Snapshots::new(disk.ledger.clone()), Rc::default());
            let snapshots = Rc::new(snapshots.unwrap());
            let mut after = View::of_update(slot, snapshots, overlay, access());
            assert_eq!(shown(&mut after), once);
        }
    }

    /// Another node has written much once beneath a register, which is all that is shown.
    #[test]
    fn what_is_read_and_not_shown_is_told() {
        const BYTES: usize = 1 << 20;
        let large: &'static str = "x".repeat(BYTES).leak();
        let disk = fixture::Disk::new();
        let slot = disk.create(1);
        let peer = fixture::Peer::new();
        let keys = ["a", "b"];
        let delta = peer.write_once(9, "a", large);
        let theirs = Change::Delta(RemoteDelta { slot, delta });
        let ours = fixture::call(1, slot, 2, &[("a", "1"), ("b", "2")]);
        for change in [ours, theirs] {
            disk.ledger.commit(vec![change]).unwrap().remove(0).unwrap();
        }
        let snapshots = Rc::new(Snapshots::new(disk.ledger.clone()).unwrap());
        let mut view = View::of_update(slot, snapshots, Rc::default(), access());
        let is_much = |bytes: u64| (BYTES as u64..BYTES as u64 + 1_000).contains(&bytes);
        let told = |view: &mut View, limit| {
            let (mut rows, mut unseen) = (Vec::new(), 0);
            let walk = StateWalk {
                limit,
                ..StateWalk::default()
            };
            view.scan(walk, &mut |key, row| {
                match row {
                    Row::Unseen(bytes) => unseen += bytes,
                    row => rows.push((key.to_vec(), row.bytes())),
                }
                ControlFlow::Continue(())
            })
            .unwrap();
            (rows, unseen)
        };
        let rows = |lengths: [usize; 2]| {
            keys.map(|key| key.as_bytes().to_vec())
                .into_iter()
                .zip(lengths)
                .collect::<Vec<_>>()
        };
        let (seen, unseen) = told(&mut view, 9);
        assert_eq!(seen, rows([1, 1]));
        assert!(is_much(unseen) && view.take_unseen() == 0, "{unseen}");
        // Behind the last one it is not told any more.
        let (seen, unseen) = told(&mut view, 1);
        assert_eq!((&seen[..], unseen), (&rows([1, 1])[..1], 0));
        assert!(is_much(view.take_unseen()));
        assert_eq!(view.get(Shared, b"a").unwrap().unwrap(), b"1");
        assert!(is_much(view.take_unseen()));
        assert_eq!(view.get(Shared, b"b").unwrap().unwrap(), b"2");
        assert_eq!(view.take_unseen(), 0);
        assert!(view.remove(Shared, b"a").unwrap());
        assert!(
            is_much(view.take_unseen() / 2),
            "to find it, and what it leaves"
        );
        // What a removal has left is shown.
        assert_eq!(told(&mut view, 9), (rows([BYTES, 1]), 0));
        assert_eq!(view.get(Shared, b"a").unwrap().unwrap(), large.as_bytes());
    }

    /// What is beyond 64 bits is not lost: what is taken away afterwards is taken from it.
    #[test]
    fn a_counter_beyond_64_bits_reads_the_same_before_and_after_its_commit() {
        let (max, min) = (i64::MAX, i64::MIN);
        // With the overlay alone, and from the disk alone.
        for is_committed in [false, true] {
            let disk = fixture::Disk::new();
            let slot = disk.create(1);
            let overlay = Rc::new(RefCell::new(Overlay::default()));
            let mut sum = 0_i128;
            for (now, amount) in (2..).zip([max, max, -5, min, min, min, min, 7, max]) {
                sum += i128::from(amount);
                let nearest = sum.clamp(min.into(), max.into()) as i64;
                let snapshots = Rc::new(Snapshots::new(disk.ledger.clone()).unwrap());
                let mut view = View::of_update(slot, snapshots, Rc::clone(&overlay), access());
                // Within its own call, too.
                let half = amount / 2;
                view.add(Shared, b"key", half).unwrap();
                assert_eq!(view.add(Shared, b"key", amount - half).unwrap(), nearest);
                let read = view.get(Shared, b"key").unwrap().unwrap();
                assert_eq!(read, nearest.to_le_bytes());
                let Change::Call(mut call) = fixture::call(1, slot, now, &[]) else {
                    unreachable!("it is made as a call");
                };
                let written = view.into_written(call.hlc).unwrap();
                if is_committed {
                    call.ops = written.ops;
                    let verdicts = disk.ledger.commit(vec![Change::Call(call)]).unwrap();
                    assert!(verdicts[0].is_ok());
                    let snapshot = disk.ledger.snapshot().unwrap();
                    let value = snapshot.get(slot, Space::Shared, b"key").unwrap();
                    let Some(EntryValue::Counter(found)) = value else {
                        panic!("it was added to");
                    };
                    assert_eq!(found.nearest(), nearest);
                } else {
                    overlay.borrow_mut().absorb(now, &written.shown);
                }
            }
        }
    }

    fn writes() -> impl Strategy<Value = Vec<(usize, Option<u8>)>> {
        proptest::collection::vec(
            (0..SHORT_KEYS.len(), proptest::option::of(any::<u8>())),
            0..8,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        // Disk, both parts of the overlay and the changeset together read as one
        // plain map; a query does not see what is pending.
        #[test]
        fn all_layers_read_like_one_map(
            on_disk in writes(), settled in writes(), pending in writes(), own in writes()
        ) {
            let (_dir, ledger, slot) = ledger_with(&on_disk);
            let snapshots = Rc::new(Snapshots::new(ledger).unwrap());
            let overlay = Rc::new(RefCell::new(Overlay::default()));
            let mut state = State::new();
            apply(&mut state, &on_disk);
            overlay.borrow_mut().settle(1, layer(&settled));
            apply(&mut state, &settled);
            overlay.borrow_mut().absorb(2, &layer(&pending));

            let durable = overlay.borrow().settled();
            let mut query = View::of_query(slot, snapshots.latest(), durable, access());
            compare_all(&mut query, &state)?;

            apply(&mut state, &pending);
            let mut update = View::of_update(slot, snapshots, overlay, access());
            for (key, value) in &own {
                let name = SHORT_KEYS[*key];
                match value {
                    Some(value) => update.set(Shared, name, &[*value]).unwrap(),
                    None => prop_assert_eq!(update.remove(Shared, name).unwrap(), state.contains_key(name)),
                }
                apply(&mut state, &[(*key, *value)]);
            }
            compare_all(&mut update, &state)?;
        }
    }

    fn compare_all(view: &mut View, state: &State) -> Result<(), TestCaseError> {
        for key in SHORT_KEYS {
            prop_assert_eq!(view.get(Shared, key).unwrap(), state.get(*key).cloned());
        }
        for prefix in SHORT_KEYS {
            for after in std::iter::once(None).chain(SHORT_KEYS.iter().map(|k| Some(*k))) {
                for (limit, reverse) in
                    [(0, false), (1, false), (1, true), (100, false), (100, true)]
                {
                    prop_assert_eq!(
                        scan_of(view, prefix, after, limit, reverse),
                        model_scan(state, prefix, after, limit, reverse),
                        "prefix {:?} after {:?} limit {} reverse {}",
                        prefix,
                        after,
                        limit,
                        reverse
                    );
                }
            }
        }
        Ok(())
    }
}
