//! Values by key, in the order of the keys. Walking them is in `entries.rs`.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Collection, Entries, Page};
use crate::key::{self, AsKey, Key, KeyBeginning, KeyBytes};
use crate::{host, value};

/// A durable map, ordered by key.
///
/// Each entry is written and read on its own: the cost of an operation does not
/// depend on how many entries there are, except for [`Map::len`] and walking.
pub struct Map<K, V> {
    prefix: &'static [u8],
    entry: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Collection for Map<K, V> {
    fn at(prefix: &'static [u8]) -> Self {
        Map {
            prefix,
            entry: PhantomData,
        }
    }
}

impl<K: Key, V: Serialize + DeserializeOwned> Map<K, V> {
    /// The value under `key`.
    pub fn get<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        host::get(key::encode(self.prefix, key).as_slice())
            .map(|bytes| value::decode(self.prefix, &bytes))
    }

    /// Whether there is an entry under `key`.
    pub fn contains<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> bool {
        host::get(key::encode(self.prefix, key).as_slice()).is_some()
    }

    /// Writes `value` under `key` without looking at what was there.
    pub fn set<Q, W>(&mut self, key: &Q, value: &W)
    where
        Q: AsKey<K> + ?Sized,
        V: Borrow<W>,
        W: Serialize + ?Sized,
    {
        host::set(
            key::encode(self.prefix, key).as_slice(),
            &value::encode(value),
        );
    }

    /// Writes `value` under `key` and returns what was there. [`Map::set`]
    /// saves the read where nobody asks.
    pub fn insert<Q, W>(&mut self, key: &Q, value: &W) -> Option<V>
    where
        Q: AsKey<K> + ?Sized,
        V: Borrow<W>,
        W: Serialize + ?Sized,
    {
        let key = key::encode(self.prefix, key);
        let before = host::get(key.as_slice()).map(|bytes| value::decode(self.prefix, &bytes));
        host::set(key.as_slice(), &value::encode(value));
        before
    }

    /// Removes the entry under `key`; tells whether there was one.
    pub fn remove<Q: AsKey<K> + ?Sized>(&mut self, key: &Q) -> bool {
        host::remove(key::encode(self.prefix, key).as_slice())
    }

    /// Removes the entry under `key` and returns its value.
    pub fn take<Q: AsKey<K> + ?Sized>(&mut self, key: &Q) -> Option<V> {
        let key = key::encode(self.prefix, key);
        let before = host::get(key.as_slice()).map(|bytes| value::decode(self.prefix, &bytes));
        if before.is_some() {
            host::remove(key.as_slice());
        }
        before
    }

    /// How many entries there are. The host counts them one by one: keep a
    /// count in a [`Register`](super::Register) where this grows large.
    pub fn len(&self) -> u64 {
        host::count(self.prefix)
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        host::scan(self.prefix, None, 1, false).is_empty()
    }

    /// The entry with the smallest key. Reads no other.
    pub fn first(&self) -> Option<(K, V)> {
        self.iter().only()
    }

    /// The entry with the largest key. Reads no other.
    pub fn last(&self) -> Option<(K, V)> {
        self.iter().reversed().only()
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> Entries<K, V> {
        self.range(..)
    }

    /// The entries whose keys lie within `bounds`, in order.
    ///
    /// ```
    /// # use corelet_sdk::prelude::*;
    /// # #[corelet::application]
    /// # pub struct Ledger { amounts: Map<u64, i64> }
    /// # #[corelet::methods]
    /// # impl Ledger {
    /// #[query]
    /// pub fn sum(&self, from: u64) -> i64 {
    ///     self.amounts.range(from..).map(|(_, amount)| amount).sum()
    /// }
    /// # }
    /// # fn main() {}
    /// ```
    pub fn range(&self, bounds: impl RangeBounds<K>) -> Entries<K, V> {
        let bytes = |bound: Bound<&K>| bound.map(|key| key::encode::<K, K>(self.prefix, key));
        Entries::new(
            self.prefix,
            KeyBytes::new(self.prefix),
            bytes(bounds.start_bound()),
            bytes(bounds.end_bound()),
        )
    }

    /// The entries whose tuple keys begin with the given parts, in order:
    /// `members.under(&("room",))`.
    pub fn under<B: KeyBeginning<K>>(&self, beginning: &B) -> Entries<K, V> {
        let mut within = KeyBytes::new(self.prefix);
        beginning.write(&mut within);
        Entries::new(self.prefix, within, Bound::Unbounded, Bound::Unbounded)
    }

    /// Up to `limit` entries (at least 1, at most [`Page::LIMIT_MAX`]) behind
    /// the key `after`, and the key to continue behind if there are more.
    pub fn page<Q: AsKey<K> + ?Sized>(&self, after: Option<&Q>, limit: u32) -> Page<K, V> {
        let start = match after {
            Some(key) => Bound::Excluded(key::encode(self.prefix, key)),
            None => Bound::Unbounded,
        };
        let within = KeyBytes::new(self.prefix);
        Entries::new(self.prefix, within, start, Bound::Unbounded).page(limit)
    }
}
