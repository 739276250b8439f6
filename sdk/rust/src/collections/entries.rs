//! A walk over the entries of a map, fetched in batches. Single reads and
//! writes are in `map.rs`.

use std::marker::PhantomData;
use std::ops::Bound;
use std::vec;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::host::{self, Entry};
use crate::key::{self, Key, KeyBytes};
use crate::value;

/// Entries of a [`Map`](super::Map) in the order of their keys, or against it
/// after [`Entries::reversed`].
///
/// The host is asked for a few entries at first and for more with each batch,
/// so a short walk reads little and a long one calls seldom.
pub struct Entries<K, V> {
    prefix: &'static [u8],
    /// All keys of the walk begin so.
    within: KeyBytes,
    lower: Bound<KeyBytes>,
    upper: Bound<KeyBytes>,
    reverse: bool,
    batch: vec::IntoIter<Entry>,
    /// How many to ask for next; 0 when the host has no more.
    ask: u32,
    /// Where the next batch begins; before the first, `None`.
    last: Option<Vec<u8>>,
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

const ASK_FIRST: u32 = 16;
const ASK_MAX: u32 = 256;

impl<K: Key, V: DeserializeOwned> Entries<K, V> {
    pub(super) fn new(
        prefix: &'static [u8],
        within: KeyBytes,
        lower: Bound<KeyBytes>,
        upper: Bound<KeyBytes>,
    ) -> Self {
        Entries {
            prefix,
            within,
            lower,
            upper,
            reverse: false,
            batch: Vec::new().into_iter(),
            ask: ASK_FIRST,
            last: None,
            entry: PhantomData,
        }
    }

    /// The same entries, largest key first. Only before the first entry is taken.
    pub fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// The first `limit` entries (at least 1, at most [`Page::LIMIT_MAX`]) of
    /// what is left, and where to go on.
    pub fn page(mut self, limit: u32) -> Page<K, V> {
        let limit = limit.clamp(1, Page::LIMIT_MAX);
        self.ask = limit + 1;
        let mut entries = Vec::new();
        let mut next = None;
        while let Some(raw) = self.next_raw() {
            if entries.len() == limit as usize {
                next = entries.last().map(|(key, _): &(K, V)| key.clone());
                break;
            }
            entries.push(self.read(&raw));
        }
        Page { entries, next }
    }

    /// The first entry, where no second one is wanted.
    pub(super) fn only(mut self) -> Option<(K, V)> {
        self.ask = 1;
        self.next()
    }

    fn next_raw(&mut self) -> Option<Entry> {
        if self.batch.as_slice().is_empty() {
            self.fetch();
        }
        let entry = self.batch.next()?;
        if self.passed(&entry.key) {
            self.ask = 0;
            self.batch = Vec::new().into_iter();
            return None;
        }
        Some(entry)
    }

    fn fetch(&mut self) {
        if self.ask == 0 {
            return;
        }
        let near = if self.reverse {
            &self.upper
        } else {
            &self.lower
        };
        let mut batch = Vec::new();
        let after = match (&self.last, near) {
            (Some(last), _) => Some(last.as_slice()),
            (None, Bound::Unbounded) => None,
            (None, Bound::Excluded(key)) => Some(key.as_slice()),
            (None, Bound::Included(key)) => {
                // The host begins behind a key, so the key itself is asked for.
                if let Some(value) = host::get(key.as_slice()) {
                    batch.push(Entry {
                        key: key.as_slice().to_vec(),
                        value,
                    });
                }
                Some(key.as_slice())
            }
        };
        let found = host::scan(self.within.as_slice(), after, self.ask, self.reverse);
        let more = found.len() == self.ask as usize;
        if batch.is_empty() {
            batch = found;
        } else {
            batch.extend(found);
        }
        self.ask = if more { (self.ask * 2).min(ASK_MAX) } else { 0 };
        self.last = if more {
            batch.last().map(|entry| entry.key.clone())
        } else {
            None
        };
        self.batch = batch.into_iter();
    }

    /// Whether `key` lies behind the far end of the walk.
    fn passed(&self, key: &[u8]) -> bool {
        if self.reverse {
            match &self.lower {
                Bound::Unbounded => false,
                Bound::Included(lower) => key < lower.as_slice(),
                Bound::Excluded(lower) => key <= lower.as_slice(),
            }
        } else {
            match &self.upper {
                Bound::Unbounded => false,
                Bound::Included(upper) => key > upper.as_slice(),
                Bound::Excluded(upper) => key >= upper.as_slice(),
            }
        }
    }

    fn read(&self, raw: &Entry) -> (K, V) {
        let Some(key) = raw
            .key
            .get(self.prefix.len()..)
            .and_then(|bytes| key::decode(bytes))
        else {
            unreadable_key(self.prefix)
        };
        (key, value::decode(self.prefix, &raw.value))
    }
}

impl<K: Key, V: DeserializeOwned> Iterator for Entries<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        let raw = self.next_raw()?;
        Some(self.read(&raw))
    }
}

#[cold]
#[inline(never)]
fn unreadable_key(prefix: &[u8]) -> ! {
    panic!(
        "a key below {:?} is not of the field's key type",
        String::from_utf8_lossy(prefix)
    )
}
