//! What a context's updates have written and the disk does not hold yet.
//!
//! An update runs while the ones before it are still being flushed, and must
//! see what they wrote: it reads its own changeset first, then this overlay,
//! then the snapshot. A write leaves the overlay when the commit that holds it
//! is durable and the shard's snapshot shows it. Owned by the context's shard.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// Writes by key; `None` removes.
pub(crate) type Changeset = BTreeMap<Bytes, Option<Bytes>>;

struct Pending {
    value: Option<Bytes>,
    // The number of the change that wrote last, so that an older change's
    // commit does not take a newer write away.
    change: u64,
}

/// The writes of one context that are on their way to the disk.
#[derive(Default)]
pub(crate) struct Overlay {
    writes: BTreeMap<Bytes, Pending>,
}

impl Overlay {
    /// Takes over what change number `change` wrote.
    pub(crate) fn absorb(
        &mut self,
        change: u64,
        writes: impl Iterator<Item = (Bytes, Option<Bytes>)>,
    ) {
        for (key, value) in writes {
            self.writes.insert(key, Pending { value, change });
        }
    }

    /// Forgets the writes of `keys` that change number `change` was the last to make.
    pub(crate) fn settle(&mut self, change: u64, keys: &[Bytes]) {
        for key in keys {
            if self
                .writes
                .get(key)
                .is_some_and(|pending| pending.change == change)
            {
                self.writes.remove(key);
            }
        }
    }

    /// Forgets everything: none of it will be durable.
    pub(crate) fn clear(&mut self) {
        self.writes.clear();
    }

    /// `Some(None)` is a removal that is on its way, `None` no news.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&Bytes>> {
        self.writes.get(key).map(|pending| pending.value.as_ref())
    }

    /// The writes between two bounds, in key order.
    pub(crate) fn range<'a>(
        &'a self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, Option<&'a Bytes>)> {
        self.writes
            .range::<[u8], _>(bounds)
            .map(|(key, pending)| (key, pending.value.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_settled_change_takes_only_its_own_last_writes_along() {
        let mut overlay = Overlay::default();
        overlay.absorb(
            1,
            [(key("a"), Some(key("1"))), (key("b"), Some(key("1")))].into_iter(),
        );
        overlay.absorb(2, [(key("b"), None)].into_iter());
        overlay.settle(1, &[key("a"), key("b")]);
        assert_eq!(overlay.get(b"a"), None);
        assert_eq!(overlay.get(b"b"), Some(None));
        overlay.settle(2, &[key("b")]);
        assert_eq!(overlay.get(b"b"), None);
    }
}
