//! The entries of a map of plain values, in order. How they are fetched is in
//! `walk.rs`, single reads and writes are in `map.rs`.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::walk::Walk;
use crate::host;
use crate::key::{self, Key};
use crate::value;

/// Entries of a [`Map`](super::Map) in the order of their keys, or against it
/// after [`Entries::reversed`].
///
/// The host is asked for a few entries at first and for more with each batch,
/// so a short walk reads little and a long one calls seldom.
///
/// An entry whose key or value is not of the map's types is passed over: every node of a context can
/// write such a one, and none of them may thereby stop the others' walks.
/// [`Entries::passed_over`] tells how many there were.
pub struct Entries<K, V> {
    walk: Walk,
    entry: PhantomData<fn() -> (K, V)>,
}

/// Some entries and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<K, V> {
    /// The entries, in the order of the walk.
    pub entries: Vec<(K, V)>,
    /// Continue behind this key; none if this was the last page.
    pub next: Option<K>,
}

impl Page<(), ()> {
    /// The most entries on one page: one less than the host hands out at once,
    /// because one more tells whether there is another page.
    pub const LIMIT_MAX: u32 = host::SCAN_ENTRIES_MAX - 1;
}

impl<K: Key, V: DeserializeOwned> Entries<K, V> {
    pub(super) fn new(walk: Walk) -> Self {
        Entries {
            walk,
            entry: PhantomData,
        }
    }

    /// The same entries, largest key first. Only before the first entry is taken.
    pub fn reversed(mut self) -> Self {
        self.walk.reverse();
        self
    }

    /// The first `limit` entries (at least 1, at most [`Page::LIMIT_MAX`]) of
    /// what is left, and where to go on.
    pub fn page(mut self, limit: u32) -> Page<K, V> {
        let limit = limit.clamp(1, Page::LIMIT_MAX);
        self.walk.ask(limit + 1);
        let mut entries = Vec::new();
        let mut next = None;
        for entry in self {
            if entries.len() == limit as usize {
                next = entries.last().map(|(key, _): &(K, V)| key.clone());
                break;
            }
            entries.push(entry);
        }
        Page { entries, next }
    }

    /// The first entry, where no second one is wanted.
    pub(super) fn only(mut self) -> Option<(K, V)> {
        self.walk.ask(1);
        self.next()
    }

    /// How many entries were passed over so far, as they are not of the map's types. If
    /// the application is sure of what all nodes write, it has changed a type itself.
    pub fn passed_over(&self) -> u64 {
        self.walk.passed_over()
    }
}

impl<K: Key, V: DeserializeOwned> Iterator for Entries<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        self.walk
            .next_read(|key, value| Some((key::decode(key)?, value::read(value)?)))
    }
}
