//! Text that many edit.

use std::ops::RangeBounds;

use super::list::{OutOfRange, out_of_range, places, told};
use super::{Collection, Site};
use crate::host;

/// A durable text.
///
/// It keeps what several nodes insert and remove at the same time, each where it was put,
/// and does not mix words that two type at one place. All places and lengths
/// count Unicode scalar values: a `char` each.
///
/// The text is one entry, and what an edit costs does not depend on how long it is. The
/// first use after a long time brings it into memory, which takes longer, but no fuel.
///
/// ```
/// # use corelet_sdk::prelude::*;
/// # #[corelet::application]
/// # pub struct Pad { text: Text }
/// # #[corelet::methods]
/// # impl Pad {
/// #[update]
/// pub fn replace(&mut self, at: u64, count: u64, with: &str) -> Result<(), Error> {
///     self.text.try_remove_range(at, count)?;
///     self.text.insert(at, with);
///     Ok(())
/// }
///
/// #[query]
/// pub fn read(&self) -> String {
///     self.text.read()
/// }
/// # }
/// # fn main() {
/// # let mut pad = corelet_sdk::testing::Context::<Pad>::new();
/// # let args = |at, count, with| json!({ "at": at, "count": count, "with": with });
/// # pad.update("replace", args(0, 0, "Guten Tag")).unwrap();
/// # pad.update("replace", args(6, 3, "Morgen")).unwrap();
/// # assert!(pad.update("replace", args(6, 7, "Abend")).is_err());
/// # assert_eq!(pad.query("read", json!({})).unwrap(), "Guten Morgen");
/// # }
/// ```
pub struct Text {
    site: Site,
}

impl Collection for Text {
    fn within(site: Site) -> Self {
        Text { site }
    }
}

impl Text {
    /// How many scalar values it has.
    pub fn len(&self) -> u64 {
        host::text_length(self.site.space, &self.site.prefix)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it. A read may give no more than `limits.scan_bytes_max` of the server:
    /// read a longer text in parts, with [`Text::range`].
    pub fn read(&self) -> String {
        self.range(..)
    }

    /// What is within `bounds`, as far as the text goes.
    pub fn range(&self, bounds: impl RangeBounds<u64>) -> String {
        let (start, end) = places(&bounds, || u64::MAX);
        let count = end.saturating_sub(start);
        host::text_read(self.site.space, &self.site.prefix, start, count)
    }

    /// The scalar value at `index`; none if the text is not as long.
    pub fn get(&self, index: u64) -> Option<char> {
        let found = host::text_read(self.site.space, &self.site.prefix, index, 1);
        found.chars().next()
    }

    /// The scalar values in order.
    pub fn iter(&self) -> Chars {
        Chars {
            site: self.site.clone(),
            next: 0,
            batch: Vec::new().into_iter(),
        }
    }

    /// Inserts text at the end.
    pub fn push(&mut self, what: &str) {
        host::text_append(self.site.space, &self.site.prefix, what);
    }

    /// Inserts text before the scalar value at `index`, or at the end if that is the
    /// length. Panics, which stops the call, if it is beyond: where that may be, look
    /// with [`Text::try_insert`].
    pub fn insert(&mut self, index: u64, what: &str) {
        self.try_insert(index, what).unwrap_or_else(out_of_range);
    }

    /// The same, but tells if the text has no such place. Nothing has changed then.
    pub fn try_insert(&mut self, index: u64, what: &str) -> Result<(), OutOfRange> {
        host::text_insert(self.site.space, &self.site.prefix, index, what).map_err(told)
    }

    /// Removes what is within `bounds`. Panics, which stops the call, if the text is not
    /// as long.
    pub fn remove_range(&mut self, bounds: impl RangeBounds<u64>) {
        let (start, end) = places(&bounds, || self.len());
        self.try_remove_range(start, end.saturating_sub(start))
            .unwrap_or_else(out_of_range);
    }

    /// Removes `count` scalar values from `index` on, or tells that the text is not as
    /// long. Nothing has changed then.
    pub fn try_remove_range(&mut self, index: u64, count: u64) -> Result<(), OutOfRange> {
        host::text_remove(self.site.space, &self.site.prefix, index, count).map_err(told)
    }

    /// Removes the text as an entry; tells whether there was one. What other nodes
    /// insert meanwhile may go with it; to keep that, use [`Text::remove_range`].
    pub fn clear(&mut self) -> bool {
        host::remove(self.site.space, &self.site.prefix)
    }
}

/// The scalar values of a [`Text`], fetched some at a time.
pub struct Chars {
    site: Site,
    next: u64,
    batch: std::vec::IntoIter<char>,
}

/// How many scalar values are asked for at once.
const ASK: u64 = 4096;

impl Iterator for Chars {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if self.batch.as_slice().is_empty() {
            let found = host::text_read(self.site.space, &self.site.prefix, self.next, ASK);
            self.batch = found.chars().collect::<Vec<_>>().into_iter();
            self.next += self.batch.len() as u64;
        }
        self.batch.next()
    }
}
