//! A walk over raw entries, fetched in batches: the part of every iterator that
//! knows no types. What the entries mean is in `entries.rs` and `set.rs`.

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
        }
    }

    pub(super) fn reverse(&mut self) {
        self.reverse = true;
    }

    /// Has the host asked for so many at once, where it is known how many are wanted.
    pub(super) fn ask(&mut self, count: u32) {
        self.ask = count;
    }

    /// The prefix of the collection.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// What an entry's key has behind it.
    pub(super) fn below_prefix<'e>(&self, entry: &'e Entry) -> &'e [u8] {
        entry.key.get(self.prefix.len()..).unwrap_or(&[])
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
}

#[cold]
#[inline(never)]
pub(super) fn unreadable_key(prefix: &[u8]) -> ! {
    panic!(
        "a key below {:?} is not of the field's key type",
        String::from_utf8_lossy(prefix)
    )
}
