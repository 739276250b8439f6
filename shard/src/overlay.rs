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

/// Writes by key; `None` removes.
pub(crate) type Changeset = BTreeMap<Bytes, Option<Bytes>>;

/// One of them.
pub(crate) type Write = (Bytes, Option<Bytes>);

struct Pending {
    value: Option<Bytes>,
    // The number of the change that wrote last, so that an older change's
    // commit does not take a newer write away.
    change: u64,
}

/// The writes of one context that are in no snapshot yet.
#[derive(Default)]
pub(crate) struct Overlay {
    pending: BTreeMap<Bytes, Pending>,
    // Shared with the queries that have begun: it is copied if one of them is
    // between two slices when a commit settles.
    settled: Rc<Changeset>,
}

impl Overlay {
    /// Takes over what change number `change` wrote.
    pub(crate) fn absorb(&mut self, change: u64, writes: &[Write]) {
        for (key, value) in writes {
            let value = value.clone();
            self.pending.insert(key.clone(), Pending { value, change });
        }
    }

    /// Change number `change`, which made these writes, is durable.
    pub(crate) fn settle(&mut self, change: u64, writes: Vec<Write>) {
        self.forget(change, &writes);
        if !writes.is_empty() {
            Rc::make_mut(&mut self.settled).extend(writes);
        }
    }

    /// Forgets the pending writes that change number `change` was the last to make.
    pub(crate) fn forget(&mut self, change: u64, writes: &[Write]) {
        for (key, _) in writes {
            let is_last = |pending: &Pending| pending.change == change;
            if self.pending.get(key).is_some_and(is_last) {
                self.pending.remove(key);
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
    pub(crate) fn settled(&self) -> Rc<Changeset> {
        Rc::clone(&self.settled)
    }

    /// `Some(None)` is a removal, `None` no news.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&Bytes>> {
        match self.pending.get(key) {
            Some(pending) => Some(pending.value.as_ref()),
            None => self.settled.get(key).map(Option::as_ref),
        }
    }

    /// The pending writes between two bounds, in key order.
    pub(crate) fn pending_range<'a>(
        &'a self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, Option<&'a Bytes>)> {
        self.pending
            .range::<[u8], _>(bounds)
            .map(|(key, pending)| (key, pending.value.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn set(key: &'static str, value: &'static str) -> Write {
        (bytes(key), Some(bytes(value)))
    }

    #[test]
    fn a_settled_change_takes_only_its_own_last_writes_along() {
        let mut overlay = Overlay::default();
        let first = vec![set("a", "1"), set("b", "1")];
        let second = vec![(bytes("b"), None)];
        overlay.absorb(1, &first);
        overlay.absorb(2, &second);
        overlay.settle(1, first);
        assert_eq!(overlay.get(b"a"), Some(Some(&bytes("1"))));
        assert_eq!(overlay.get(b"b"), Some(None), "the newer write is pending");
        assert_eq!(
            overlay.settled().get(&b"b"[..]),
            Some(&Some(bytes("1"))),
            "but a query sees the older one"
        );
        overlay.settle(2, second);
        assert_eq!(overlay.settled().get(&b"b"[..]), Some(&None));
        overlay.shown();
        assert_eq!(overlay.get(b"a"), None);
    }

    #[test]
    fn losing_what_is_pending_keeps_what_is_durable() {
        let mut overlay = Overlay::default();
        let first = vec![set("a", "1")];
        overlay.absorb(1, &first);
        overlay.settle(1, first);
        overlay.absorb(2, &[set("a", "2"), set("b", "2")]);
        overlay.lose_pending();
        assert_eq!(overlay.get(b"a"), Some(Some(&bytes("1"))));
        assert_eq!(overlay.get(b"b"), None);
        assert!(!overlay.is_shown());
    }

    #[test]
    fn what_a_query_has_begun_with_does_not_move() {
        let mut overlay = Overlay::default();
        overlay.settle(1, vec![set("a", "1")]);
        let seen = overlay.settled();
        overlay.settle(2, vec![set("a", "2")]);
        overlay.shown();
        assert_eq!(seen.get(&b"a"[..]), Some(&Some(bytes("1"))));
    }
}
