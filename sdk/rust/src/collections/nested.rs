//! Maps whose values are collections themselves.

use std::marker::PhantomData;
use std::ops::{Bound, Deref};

use super::walk::Walk;
use super::{Inner, Map, Site};
use crate::key::{AsKey, Key, KeyBytes, Place};

/// A map may have a collection under each key: `Map<String, Counter>`,
/// `Map<String, Set<u64>>`, `Map<String, Map<u64, Register<String>>>`.
///
/// It is the same type as the map of plain values, because to an author both are
/// maps; what lies under a key decides which methods there are. A plain value is
/// read and written as a whole, with `get` and `set`. A collection is always
/// there, perhaps empty, so there is nothing to get or set: [`Map::entry`] and
/// [`Map::entry_mut`] are the way to it.
///
/// ```
/// # use corelet_sdk::prelude::*;
/// # #[corelet::application]
/// # pub struct Board { votes: Map<String, Counter>, tags: Map<String, Set<String>> }
/// # #[corelet::methods]
/// # impl Board {
/// #[update]
/// pub fn vote(&mut self, name: &str, tag: &str) -> i64 {
///     self.tags.entry_mut(name).insert(tag);
///     self.votes.entry_mut(name).add(1)
/// }
///
/// #[query]
/// pub fn votes(&self, name: &str) -> i64 {
///     self.votes.entry(name).get()
/// }
/// # }
/// # fn main() {
/// # let mut board = corelet_sdk::testing::Context::<Board>::new();
/// # board.update("vote", json!({ "name": "a", "tag": "t" })).unwrap();
/// # assert_eq!(board.query("votes", json!({ "name": "a" })).unwrap(), 1);
/// # }
/// ```
impl<K: Key, V: Inner> Map<K, V> {
    /// The collection under `key`, to read.
    pub fn entry<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> ReadOnly<V> {
        ReadOnly::new(V::within(self.site.under(key)))
    }

    /// The collection under `key`, to read and write.
    pub fn entry_mut<Q: AsKey<K> + ?Sized>(&mut self, key: &Q) -> V {
        V::within(self.site.under(key))
    }

    /// The keys under which something is, in order. Asks the host once or twice
    /// per key, whatever lies under it.
    pub fn keys(&self) -> Keys<K> {
        Keys::new(&self.site, Some(self.site.prefix.to_vec()))
    }

    /// The keys behind `key`.
    pub fn keys_behind<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Keys<K> {
        let start = behind(self.site.under(key).prefix.to_vec());
        Keys::new(&self.site, start)
    }
}

/// A collection that is only read: what a query, and `entry` of a map, have.
pub struct ReadOnly<C> {
    collection: C,
}

impl<C> ReadOnly<C> {
    pub(super) fn new(collection: C) -> ReadOnly<C> {
        ReadOnly { collection }
    }
}

impl<C> Deref for ReadOnly<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.collection
    }
}

/// The keys of a map of collections, in order. What is below none of the map's type is passed over,
/// as in a walk over a map of values.
pub struct Keys<K> {
    site: Site,
    /// Where to look for the next key; none at the end.
    start: Option<Bound<Vec<u8>>>,
    passed_over: u64,
    key: PhantomData<fn() -> K>,
}

impl<K> Keys<K> {
    fn new(site: &Site, start: Option<Vec<u8>>) -> Keys<K> {
        Keys {
            site: site.clone(),
            start: start.map(Bound::Included),
            passed_over: 0,
            key: PhantomData,
        }
    }
}

impl<K: Key> Keys<K> {
    /// How many entries were passed over so far, as their keys do not begin with one of the map's
    /// type.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }
}

impl<K: Key> Iterator for Keys<K> {
    type Item = K;

    fn next(&mut self) -> Option<K> {
        loop {
            let start = self.start.take()?;
            let (Bound::Included(bytes) | Bound::Excluded(bytes)) = &start else {
                return None;
            };
            if !bytes.starts_with(&self.site.prefix) {
                return None;
            }
            let start = start.as_ref().map(|bytes| KeyBytes::new(bytes));
            let within = KeyBytes::new(&self.site.prefix);
            let mut walk = Walk::new(&self.site, within, start, Bound::Unbounded);
            let found = walk.only()?.key;
            let mut rest = found.get(self.site.prefix.len()..).unwrap_or(&[]);
            let Some(key) = K::read(&mut rest, Place::Inner) else {
                self.passed_over += 1;
                self.start = Some(Bound::Excluded(found));
                continue;
            };
            let length = found.len() - rest.len();
            let behind = behind(found.get(..length).unwrap_or(&found).to_vec());
            self.start = behind.map(Bound::Included);
            return Some(key);
        }
    }
}

/// The first bytes behind all that begin with `bytes`; none if there are none.
fn behind(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return Some(bytes);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_skips_all_that_begin_so() {
        assert_eq!(behind(b"ab".to_vec()), Some(b"ac".to_vec()));
        assert_eq!(behind(vec![7, 255, 255]), Some(vec![8]));
        assert_eq!(behind(vec![255]), None);
    }
}
