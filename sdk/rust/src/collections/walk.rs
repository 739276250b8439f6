//! A walk over raw entries, fetched in batches: the part of every iterator that
//! knows no types. What the entries mean is in `entries.rs` and `set.rs`.
//!
//! What is not of the field's types is passed over: any node of the context can have put it
//! there, and some of it can never be removed, so to stop the call would stop every walk over the
//! field for good. It is counted and not logged, as lines are bounded, and a call that goes beyond
//! that is stopped as well.
//!
//! A batch that is shorter than was asked for is not the last: the host ends it early where an entry
//! is large. The last one is empty.

use std::borrow::Cow;
use std::ops::Bound;
use std::vec;

use super::Site;
use crate::host::{self, Entry, Space};
use crate::key::KeyBytes;

/// Entries in the order of their keys, or against it.
///
/// The host is asked for a few entries at first and for more with each batch,
/// so a short walk reads little and a long one calls seldom.
pub(super) struct Walk {
    space: Space,
    prefix: Cow<'static, [u8]>,
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
    passed_over: u64,
}

const ASK_FIRST: u32 = 16;
const ASK_MAX: u32 = 256;

impl Walk {
    pub(super) fn new(
        site: &Site,
        within: KeyBytes,
        lower: Bound<KeyBytes>,
        upper: Bound<KeyBytes>,
    ) -> Walk {
        Walk {
            space: site.space,
            prefix: site.prefix.clone(),
            within,
            lower,
            upper,
            reverse: false,
            batch: Vec::new().into_iter(),
            ask: ASK_FIRST,
            last: None,
            passed_over: 0,
        }
    }

    pub(super) fn reverse(&mut self) {
        self.reverse = true;
    }

    /// Has the host asked for so many at once, where it is known how many are wanted.
    pub(super) fn ask(&mut self, count: u32) {
        self.ask = count;
    }

    /// The next entry that `read` can make something of: it gets what its key has behind
    /// the collection's prefix, and its value.
    pub(super) fn next_read<T>(
        &mut self,
        mut read: impl FnMut(&[u8], &[u8]) -> Option<T>,
    ) -> Option<T> {
        loop {
            let entry = self.next()?;
            let below = entry.key.get(self.prefix.len()..).unwrap_or(&[]);
            match read(below, &entry.value) {
                Some(item) => return Some(item),
                None => self.passed_over += 1,
            }
        }
    }

    /// How many entries were passed over so far.
    pub(super) fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// The first entry, where no second one is wanted.
    pub(super) fn only(&mut self) -> Option<Entry> {
        self.ask = 1;
        self.next()
    }

    pub(super) fn next(&mut self) -> Option<Entry> {
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
                if let Some(value) = host::get(self.space, key.as_slice()) {
                    batch.push(Entry {
                        key: key.as_slice().to_vec(),
                        value,
                    });
                }
                Some(key.as_slice())
            }
        };
        let found = host::scan(
            self.space,
            self.within.as_slice(),
            after,
            self.ask,
            self.reverse,
        );
        let more = !found.is_empty();
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
}
