//! What a context's updates have written and the shard's snapshot does not show.
//!
//! An update runs while the ones before it are still being flushed, and must
//! see what they wrote. A write is *pending* until the commit that holds it is
//! durable, then *settled* until a checkpoint has brought it into LMDB and the
//! shard's snapshot shows it. An update reads its own changeset first, then
//! what is pending, then what is settled, then the snapshot; a query reads what
//! was settled when it began, and the snapshot of that moment. Owned by the
//! context's shard.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use bytes::Bytes;
use corelet_store::{EntryKind, Space};

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
}

/// What writes have made of entries; `None` if they are gone.
pub(crate) type Layer = BySpace<Option<Shown>>;

/// What one write has made of its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) space: Space,
    pub(crate) key: Bytes,
    pub(crate) shown: Option<Shown>,
}

struct Pending {
    shown: Option<Shown>,
    // The number of the change that wrote last, so that an older change's
    // commit does not take a newer write away.
    change: u64,
}

/// The writes of one context that are in no snapshot yet.
#[derive(Default)]
pub(crate) struct Overlay {
    pending: BySpace<Pending>,
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
        }
    }

    /// Change number `change`, which made these writes, is durable.
    pub(crate) fn settle(&mut self, change: u64, writes: Vec<Write>) {
        self.forget(change, &writes);
        if !writes.is_empty() {
            let settled = Rc::make_mut(&mut self.settled);
            for write in writes {
                settled.of_mut(write.space).insert(write.key, write.shown);
            }
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
        }
    }

    /// Forgets everything that is pending: none of it will be durable.
    pub(crate) fn lose_pending(&mut self) {
        self.pending.clear();
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
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn shown(value: &'static str) -> Shown {
        Shown {
            kind: EntryKind::Register,
            bytes: bytes(value),
        }
    }

    fn write(key: &'static str, value: Option<&'static str>) -> Write {
        Write {
            space: Space::Shared,
            key: bytes(key),
            shown: value.map(shown),
        }
    }

    fn set(key: &'static str, value: &'static str) -> Write {
        write(key, Some(value))
    }

    fn in_settled<'a>(settled: &'a Layer, key: &str) -> Option<&'a Option<Shown>> {
        settled.of(Space::Shared).get(key.as_bytes())
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
