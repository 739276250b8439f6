//! Values by key, in the order of the keys. Walking them is in `entries.rs`,
//! collections by key are in `nested.rs`.

use std::borrow::Borrow;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::walk::Walk;
use super::{Collection, Entries, Page, Site, Unreadable};
use crate::key::{self, AsKey, Key, KeyBeginning, KeyBytes};
use crate::{host, value};

/// A durable map, ordered by key.
///
/// `V` is plain data, or a collection: `Map<String, Counter>` has a counter under
/// each key, which [`Map::entry`] leads to.
///
/// Each entry is written and read on its own: the cost of an operation does not
/// depend on how many entries there are, except for [`Map::len`] and walking.
pub struct Map<K, V> {
    pub(super) site: Site,
    entry: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Collection for Map<K, V> {
    fn within(site: Site) -> Self {
        Map {
            site,
            entry: PhantomData,
        }
    }
}

impl<K: Key, V: Serialize + DeserializeOwned> Map<K, V> {
    /// The value under `key`. What is no `V` stops the call; see [`Map::try_get`].
    pub fn get<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Option<V> {
        let bytes = self.site.get(self.key(key).as_slice())?;
        Some(value::decode(&self.site.prefix, &bytes))
    }

    /// The same of a context in which members are not trusted: what they have put there that is no `V`
    /// stops no call.
    pub fn try_get<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<V>, Unreadable> {
        let bytes = self.site.get(self.key(key).as_slice());
        bytes.map(|bytes| value::try_decode(&bytes)).transpose()
    }

    /// Whether there is an entry under `key`.
    pub fn contains<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> bool {
        self.site.get(self.key(key).as_slice()).is_some()
    }

    /// Writes `value` under `key` without looking at what was there.
    pub fn set<Q, W>(&mut self, key: &Q, value: &W)
    where
        Q: AsKey<K> + ?Sized,
        V: Borrow<W>,
        W: Serialize + ?Sized,
    {
        host::set(
            self.site.space,
            self.key(key).as_slice(),
            &value::encode(value),
        );
    }

    /// Writes `value` under `key` and returns what was there, if that was a `V`. [`Map::set`]
    /// saves the read where nobody asks.
    pub fn insert<Q, W>(&mut self, key: &Q, value: &W) -> Option<V>
    where
        Q: AsKey<K> + ?Sized,
        V: Borrow<W>,
        W: Serialize + ?Sized,
    {
        let key = self.key(key);
        let before = self.site.get(key.as_slice());
        let before = before.and_then(|bytes| value::read(&bytes));
        host::set(self.site.space, key.as_slice(), &value::encode(value));
        before
    }

    /// Removes the entry under `key`; tells whether there was one.
    pub fn remove<Q: AsKey<K> + ?Sized>(&mut self, key: &Q) -> bool {
        host::remove(self.site.space, self.key(key).as_slice())
    }

    /// Removes the entry under `key` and returns its value, if that was a `V`.
    pub fn take<Q: AsKey<K> + ?Sized>(&mut self, key: &Q) -> Option<V> {
        let key = self.key(key);
        let before = self.site.get(key.as_slice())?;
        host::remove(self.site.space, key.as_slice());
        value::read(&before)
    }

    /// How many entries there are. The host counts them one by one: keep a
    /// count in a [`Register`](super::Register) where this grows large.
    pub fn len(&self) -> u64 {
        host::count(self.site.space, &self.site.prefix)
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
        let bytes = |bound: Bound<&K>| bound.map(|key| self.key::<K>(key));
        self.walk(
            KeyBytes::new(&self.site.prefix),
            bytes(bounds.start_bound()),
            bytes(bounds.end_bound()),
        )
    }

    /// The entries whose tuple keys begin with the given parts, in order:
    /// `members.under(&("room",))`.
    pub fn under<B: KeyBeginning<K>>(&self, beginning: &B) -> Entries<K, V> {
        let within = beginning.within(&self.site.prefix);
        self.walk(within, Bound::Unbounded, Bound::Unbounded)
    }

    /// Up to `limit` entries (at least 1, at most [`Page::LIMIT_MAX`]) behind
    /// the key `after`, and the key to continue behind if there are more.
    pub fn page<Q: AsKey<K> + ?Sized>(&self, after: Option<&Q>, limit: u32) -> Page<K, V> {
        let start = match after {
            Some(key) => Bound::Excluded(self.key(key)),
            None => Bound::Unbounded,
        };
        let within = KeyBytes::new(&self.site.prefix);
        self.walk(within, start, Bound::Unbounded).page(limit)
    }

    fn key<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> KeyBytes {
        key::encode(&self.site.prefix, key)
    }

    fn walk(
        &self,
        within: KeyBytes,
        lower: Bound<KeyBytes>,
        upper: Bound<KeyBytes>,
    ) -> Entries<K, V> {
        Entries::new(Walk::new(&self.site, within, lower, upper))
    }
}

/// What a map of values and one of collections have in common.
impl<K, V> Map<K, V> {
    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.site.is_empty()
    }

    /// Removes all entries, those of nested collections too; tells how many there
    /// were. What is [written once](super::WriteOnce) stays. A call may write no more than `limits.writes_max` of the server,
    /// removals included: where there may be more, remove some in each call with
    /// [`Map::remove_some`].
    pub fn clear(&mut self) -> u64 {
        self.site.clear()
    }

    /// Removes the first entries, up to `limit` of them (at most 1000); tells how many.
    pub fn remove_some(&mut self, limit: u32) -> u32 {
        self.site.clear_some(&self.site.prefix, limit)
    }

    /// The same among those whose tuple keys begin with the given parts.
    pub fn remove_under<B: KeyBeginning<K>>(&mut self, beginning: &B, limit: u32) -> u32 {
        let within = beginning.within(&self.site.prefix);
        self.site.clear_some(within.as_slice(), limit)
    }
}
