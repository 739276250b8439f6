//! What a context's updates have written and the shard's snapshot does not show.
//!
//! An update runs while the ones before it are still being flushed, and must
//! see what they wrote. A write is *pending* until the commit that holds it is
//! durable, then *settled* until a checkpoint has brought it into LMDB and the
//! shard's snapshot shows it. An update reads its own changeset first, then
//! what is pending, then what is settled, then the snapshot; a query reads what
//! was settled when it began, and the snapshot of that moment. Owned by the
//! context's shard.
//!
//! Of a list or text only the kind is shown here; its edits are kept beside, in
//! order, for whoever makes it of them (`sequences/`).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::rc::Rc;

use bytes::Bytes;
use corelet_store::{CounterSum, EntryKind, Space};

use crate::large::{Large, PIECE_BYTES, Weigh};
use crate::sequences::{Edit, Pending as PendingEdits, Tail};

/// A map of keys for each space.
#[derive(Clone, Debug)]
pub(crate) struct BySpace<T>([BTreeMap<Bytes, T>; Space::ALL.len()]);

impl<T> BySpace<T> {
    pub(crate) fn of(&self, space: Space) -> &BTreeMap<Bytes, T> {
        &self.0[space as usize]
    }

    pub(crate) fn of_mut(&mut self, space: Space) -> &mut BTreeMap<Bytes, T> {
        &mut self.0[space as usize]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeMap::is_empty)
    }

    pub(crate) fn clear(&mut self) {
        self.0.iter_mut().for_each(BTreeMap::clear);
    }

    /// Everything, in ascending order of space and key.
    pub(crate) fn into_all(self) -> impl Iterator<Item = (Space, Bytes, T)> {
        let all = Space::ALL.into_iter().zip(self.0);
        all.flat_map(|(space, map)| map.into_iter().map(move |(key, value)| (space, key, value)))
    }
}

impl<T> Default for BySpace<T> {
    fn default() -> Self {
        BySpace(Default::default())
    }
}

/// What an entry is read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) kind: EntryKind,
    /// The value, as guests see it.
    pub(crate) bytes: Bytes,
    /// A counter's sum, as that goes on from it; of other kinds 0.
    pub(crate) sum: CounterSum,
    /// It is a write-once value that a removal has left, and its bytes are to be read in the snapshot.
    /// Another node's may be large, and one call can bring thousands of them to light.
    pub(crate) is_beneath: bool,
}

impl Shown {
    pub(crate) fn new(kind: EntryKind, bytes: Bytes) -> Shown {
        Shown {
            kind,
            bytes,
            sum: CounterSum::default(),
            is_beneath: false,
        }
    }

    /// What a removal has left: a write-once value that the snapshot has beneath what was removed.
    pub(crate) fn beneath() -> Shown {
        Shown {
            is_beneath: true,
            ..Shown::new(EntryKind::WriteOnce, Bytes::new())
        }
    }

    pub(crate) fn counter(sum: CounterSum) -> Shown {
        Shown {
            kind: EntryKind::Counter,
            sum,
            ..Shown::new(
                EntryKind::Counter,
                Bytes::copy_from_slice(&sum.nearest().to_le_bytes()),
            )
        }
    }
}

/// Entries as they are read, `None` if they are gone.
#[derive(Clone, Debug, Default)]
struct Entries {
    entries: BySpace<Option<Shown>>,
    /// Of their keys and values. To count them in the end would take as long as to let go of them.
    bytes: usize,
}

impl Entries {
    fn insert(&mut self, space: Space, key: Bytes, shown: Option<Shown>) {
        let bytes = |shown: &Option<Shown>| shown.as_ref().map_or(0, |shown| shown.bytes.len());
        self.bytes += bytes(&shown);
        let key_bytes = key.len();
        match self.entries.of_mut(space).insert(key, shown) {
            Some(old) => self.bytes -= bytes(&old),
            None => self.bytes += key_bytes,
        }
    }
}

impl Weigh for Entries {
    fn memory_bytes(&self) -> usize {
        let entries = self.entries.0.iter().map(BTreeMap::len);
        // A key and a value.
        entries.sum::<usize>() * 2 * PIECE_BYTES + self.bytes
    }
}

/// What writes have made of entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    shown: Large<Entries>,
    /// The edits of those that are lists or texts.
    tails: BySpace<Tail>,
}

impl Layer {
    pub(crate) fn of(&self, space: Space) -> &BTreeMap<Bytes, Option<Shown>> {
        self.shown.entries.of(space)
    }

    /// The edits of a list or text.
    pub(crate) fn tail(&self, space: Space, key: &[u8]) -> Option<&Tail> {
        self.tails.of(space).get(key)
    }

    fn is_empty(&self) -> bool {
        self.shown.entries.is_empty()
    }

    fn put(&mut self, write: Write) {
        let Write {
            space,
            key,
            shown,
            edit,
        } = write;
        let tails = self.tails.of_mut(space);
        match edit {
            None => drop(tails.remove(&key)),
            Some(edit) => {
                let tail = tails.entry(key.clone()).or_default();
                if edit.begins {
                    *tail = Tail::default();
                }
                // Copied if a query is between two slices.
                Rc::make_mut(tail).push(edit);
            }
        }
        self.shown.insert(space, key, shown);
    }
}

/// What one write has made of its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) space: Space,
    pub(crate) key: Bytes,
    pub(crate) shown: Option<Shown>,
    /// How it has edited a list or text.
    pub(crate) edit: Option<Edit>,
}

struct Pending {
    shown: Option<Shown>,
    // The number of the change that wrote last, so that an older change's
    // commit does not take a newer write away.
    change: u64,
}

/// Edits of one list or text that are pending.
#[derive(Default)]
struct PendingSequence {
    /// Each with its change, in order.
    edits: VecDeque<(u64, Edit)>,
    /// How many of them begin it.
    beginnings: usize,
}

impl PendingSequence {
    fn push(&mut self, change: u64, edit: Edit) {
        self.beginnings += usize::from(edit.begins);
        self.edits.push_back((change, edit));
    }

    /// Changes settle in order, so it is nearly always the first.
    fn forget(&mut self, change: u64) {
        let is_it = |(number, _): &(u64, Edit)| *number == change;
        if let Some(at) = self.edits.iter().position(is_it)
            && let Some((_, edit)) = self.edits.remove(at)
        {
            self.beginnings -= usize::from(edit.begins);
        }
    }

    /// Where the last one is that begins it.
    fn begun(&self) -> Option<usize> {
        let begins = |(_, edit): &(u64, Edit)| edit.begins;
        match self.beginnings {
            0 => None,
            _ => self.edits.iter().rposition(begins),
        }
    }
}

/// The writes of one context that are in no snapshot yet.
#[derive(Default)]
pub(crate) struct Overlay {
    pending: BySpace<Pending>,
    // The edits among what is pending, each with its change.
    pending_edits: BySpace<PendingSequence>,
    // Shared with the queries that have begun: it is copied if one of them is
    // between two slices when a commit settles.
    settled: Rc<Layer>,
}

impl Overlay {
    /// Takes over what change number `change` wrote.
    pub(crate) fn absorb(&mut self, change: u64, writes: &[Write]) {
        for write in writes {
            let shown = write.shown.clone();
            let pending = self.pending.of_mut(write.space);
            pending.insert(write.key.clone(), Pending { shown, change });
            if let Some(edit) = &write.edit {
                let edits = self.pending_edits.of_mut(write.space);
                let edits = edits.entry(write.key.clone()).or_default();
                edits.push(change, edit.clone());
            }
        }
    }

    /// Change number `change`, which made these writes, is durable.
    pub(crate) fn settle(&mut self, change: u64, writes: Vec<Write>) {
        self.forget(change, &writes);
        if !writes.is_empty() {
            let settled = Rc::make_mut(&mut self.settled);
            writes.into_iter().for_each(|write| settled.put(write));
        }
    }

    /// Forgets the pending writes that change number `change` was the last to make.
    pub(crate) fn forget(&mut self, change: u64, writes: &[Write]) {
        for write in writes {
            let pending = self.pending.of_mut(write.space);
            let is_last = |pending: &Pending| pending.change == change;
            if pending.get(&write.key).is_some_and(is_last) {
                pending.remove(&write.key);
            }
            if write.edit.is_some() {
                self.forget_edit(change, write);
            }
        }
    }

    fn forget_edit(&mut self, change: u64, write: &Write) {
        let all = self.pending_edits.of_mut(write.space);
        let Some(edits) = all.get_mut(&write.key) else {
            return;
        };
        edits.forget(change);
        if edits.edits.is_empty() {
            all.remove(&write.key);
        }
    }

    /// Forgets everything that is pending: none of it will be durable.
    pub(crate) fn lose_pending(&mut self) {
        self.pending.clear();
        self.pending_edits.clear();
    }

    /// Forgets what has settled: the shard's snapshot shows it.
    pub(crate) fn shown(&mut self) {
        self.settled = Rc::default();
    }

    /// Whether the shard's snapshot shows everything that is durable.
    pub(crate) fn is_shown(&self) -> bool {
        self.settled.is_empty()
    }

    /// What is durable and in no snapshot, unmoved by what settles later.
    pub(crate) fn settled(&self) -> Rc<Layer> {
        Rc::clone(&self.settled)
    }

    /// `Some(None)` is a removal, `None` no news.
    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Option<Option<&Shown>> {
        match self.pending.of(space).get(key) {
            Some(pending) => Some(pending.shown.as_ref()),
            None => self.settled.of(space).get(key).map(Option::as_ref),
        }
    }

    /// How many edits of a list or text are pending.
    pub(crate) fn count_pending(&self, space: Space, key: &[u8]) -> PendingEdits {
        let Some(pending) = self.pending_edits.of(space).get(key) else {
            return PendingEdits::default();
        };
        let begun = pending.begun();
        PendingEdits {
            begun: begun.map(|at| pending.edits[at].1.hlc),
            edits: (pending.edits.len() - begun.unwrap_or(0)) as u64,
        }
    }

    /// These edits, in order, from the last one on that begins the sequence.
    pub(crate) fn pending_edits(&self, space: Space, key: &[u8]) -> Vec<Edit> {
        let Some(pending) = self.pending_edits.of(space).get(key) else {
            return Vec::new();
        };
        let edits = pending.edits.range(pending.begun().unwrap_or(0)..);
        edits.map(|(_, edit)| edit.clone()).collect()
    }

    /// The pending writes between two bounds, in key order.
    pub(crate) fn pending_range<'a>(
        &'a self,
        space: Space,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, Option<&'a Shown>)> {
        self.pending
            .of(space)
            .range::<[u8], _>(bounds)
            .map(|(key, pending)| (key, pending.shown.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn shown(value: &'static str) -> Shown {
        Shown::new(EntryKind::Register, bytes(value))
    }

    fn write(key: &'static str, value: Option<&'static str>) -> Write {
        Write {
            space: Space::Shared,
            key: bytes(key),
            shown: value.map(shown),
            edit: None,
        }
    }

    fn set(key: &'static str, value: &'static str) -> Write {
        write(key, Some(value))
    }

    fn in_settled<'a>(settled: &'a Layer, key: &str) -> Option<&'a Option<Shown>> {
        settled.of(Space::Shared).get(key.as_bytes())
    }

    /// Bytes that tell which thread has freed them.
    struct Told(crossbeam_channel::Sender<ThreadId>, usize);

    impl AsRef<[u8]> for Told {
        fn as_ref(&self) -> &[u8] {
            &[b'x'; 16 << 10][..self.1]
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    #[test]
    fn what_a_snapshot_shows_of_many_calls_is_freed_beside_the_shard() {
        for (keys, bytes, is_beside) in [(10, 10, false), (10_000, 10, true), (10, 16 << 10, true)]
        {
            let (tell, told) = crossbeam_channel::unbounded();
            let mut overlay = Overlay::default();
            for key in 0..keys {
                let value = Bytes::from_owner(Told(tell.clone(), bytes));
                let mut write = set("", "");
                write.key = Bytes::copy_from_slice(&u32::to_be_bytes(key));
                write.shown = Some(Shown::new(EntryKind::Register, value));
                overlay.settle(u64::from(key), vec![write]);
            }
            let of_query = overlay.settled();
            overlay.shown();
            assert!(told.is_empty(), "a query reads it");
            drop((of_query, tell));
            let threads: Vec<ThreadId> = told.iter().collect();
            assert_eq!(threads.len(), keys as usize);
            let here = thread::current().id();
            assert!(threads.iter().all(|thread| (*thread != here) == is_beside));
        }
    }

    #[test]
    fn a_settled_change_takes_only_its_own_last_writes_along() {
        let mut overlay = Overlay::default();
        let first = vec![set("a", "1"), set("b", "1")];
        let second = vec![write("b", None)];
        overlay.absorb(1, &first);
        overlay.absorb(2, &second);
        overlay.settle(1, first);
        assert_eq!(overlay.get(Space::Shared, b"a"), Some(Some(&shown("1"))));
        assert_eq!(
            overlay.get(Space::Shared, b"b"),
            Some(None),
            "the newer write is pending"
        );
        assert_eq!(
            in_settled(&overlay.settled(), "b"),
            Some(&Some(shown("1"))),
            "but a query sees the older one"
        );
        overlay.settle(2, second);
        assert_eq!(in_settled(&overlay.settled(), "b"), Some(&None));
        overlay.shown();
        assert_eq!(overlay.get(Space::Shared, b"a"), None);
    }

    #[test]
    fn losing_what_is_pending_keeps_what_is_durable() {
        let mut overlay = Overlay::default();
        let first = vec![set("a", "1")];
        overlay.absorb(1, &first);
        overlay.settle(1, first);
        overlay.absorb(2, &[set("a", "2"), set("b", "2")]);
        overlay.lose_pending();
        assert_eq!(overlay.get(Space::Shared, b"a"), Some(Some(&shown("1"))));
        assert_eq!(overlay.get(Space::Shared, b"b"), None);
        assert!(!overlay.is_shown());
    }

    #[test]
    fn what_a_query_has_begun_with_does_not_move() {
        let mut overlay = Overlay::default();
        overlay.settle(1, vec![set("a", "1")]);
        let seen = overlay.settled();
        overlay.settle(2, vec![set("a", "2")]);
        overlay.shown();
        assert_eq!(in_settled(&seen, "a"), Some(&Some(shown("1"))));
    }

    fn edited(hlc: u64, begins: bool) -> Write {
        let edit = Edit {
            hlc: corelet_store::Hlc::from_bits(hlc),
            begins,
            update: bytes("edit"),
        };
        let shown = Shown::new(EntryKind::List, Bytes::new());
        Write {
            edit: Some(edit),
            shown: Some(shown),
            ..write("list", None)
        }
    }

    #[test]
    fn edits_are_kept_until_a_snapshot_shows_them() {
        let mut overlay = Overlay::default();
        let stamps = |edits: &[Edit]| edits.iter().map(|e| e.hlc.bits()).collect::<Vec<_>>();
        let pending = |o: &Overlay| stamps(&o.pending_edits(Space::Shared, b"list"));
        let tail = |layer: &Layer| layer.tail(Space::Shared, b"list").map(|tail| stamps(tail));
        for hlc in 1..=3 {
            overlay.absorb(hlc, &[edited(hlc, hlc == 1)]);
        }
        assert_eq!(pending(&overlay), [1, 2, 3]);
        overlay.settle(1, vec![edited(1, true)]);
        let seen = overlay.settled();
        overlay.settle(2, vec![edited(2, false)]);
        assert_eq!(pending(&overlay), [3]);
        assert_eq!(tail(&overlay.settled()), Some(vec![1, 2]));
        assert_eq!(tail(&seen), Some(vec![1]), "a query has begun with it");

        // Removed, and begun anew.
        overlay.absorb(4, &[write("list", None)]);
        overlay.absorb(5, &[edited(5, true)]);
        overlay.absorb(6, &[edited(6, false)]);
        assert_eq!(pending(&overlay), [5, 6]);
        let count = overlay.count_pending(Space::Shared, b"list");
        assert_eq!(
            (count.begun.map(|hlc| hlc.bits()), count.edits),
            (Some(5), 2)
        );
        overlay.settle(3, vec![edited(3, false)]);
        overlay.settle(4, vec![write("list", None)]);
        assert_eq!(tail(&overlay.settled()), None);
        overlay.settle(5, vec![edited(5, true)]);
        assert_eq!(tail(&overlay.settled()), Some(vec![5]));
        overlay.lose_pending();
        assert_eq!(pending(&overlay), Vec::<u64>::new());
        assert_eq!(overlay.count_pending(Space::Shared, b"list").edits, 0);
        overlay.shown();
        assert_eq!(tail(&overlay.settled()), None);
    }

    #[test]
    fn spaces_do_not_see_each_other() {
        let mut overlay = Overlay::default();
        let private = Write {
            space: Space::Private,
            ..set("a", "1")
        };
        overlay.absorb(1, std::slice::from_ref(&private));
        assert_eq!(overlay.get(Space::Shared, b"a"), None);
        overlay.settle(1, vec![private]);
        assert_eq!(overlay.get(Space::Shared, b"a"), None);
        assert_eq!(overlay.get(Space::Private, b"a"), Some(Some(&shown("1"))));
    }
}
