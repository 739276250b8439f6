//! Values in an order of their own.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Collection, Site};
use crate::host::{self, SCAN_ENTRIES_MAX};
use crate::value;

/// A durable list. Its elements are written like a [`Register`](super::Register)'s value.
///
/// Unlike a [`Map`](super::Map) by number, it keeps what several nodes insert at the same
/// time, each where it was put: between the neighbours that its author saw. An element
/// stays what it is; to change one is to remove it and insert another.
///
/// The list is one entry, and what an edit costs does not depend on how long it is. The
/// first use after a long time brings it into memory, which takes longer, but no fuel.
///
/// ```
/// # use corelet_sdk::prelude::*;
/// # #[corelet::application]
/// # pub struct Shopping { items: List<String> }
/// # #[corelet::methods]
/// # impl Shopping {
/// #[update]
/// pub fn need(&mut self, item: &str, is_urgent: bool) {
///     match is_urgent {
///         true => self.items.insert(0, item),
///         false => self.items.push(item),
///     }
/// }
///
/// #[query]
/// pub fn items(&self) -> Vec<String> {
///     self.items.iter().collect()
/// }
/// # }
/// # fn main() {
/// # let mut shopping = corelet_sdk::testing::Context::<Shopping>::new();
/// # shopping.update("need", json!({ "item": "tea", "is_urgent": false })).unwrap();
/// # shopping.update("need", json!({ "item": "milk", "is_urgent": true })).unwrap();
/// # assert_eq!(shopping.query("items", json!({})).unwrap(), json!(["milk", "tea"]));
/// # }
/// ```
pub struct List<T> {
    site: Site,
    value: PhantomData<fn() -> T>,
}

impl<T> Collection for List<T> {
    fn within(site: Site) -> Self {
        List {
            site,
            value: PhantomData,
        }
    }
}

impl<T: Serialize + DeserializeOwned> List<T> {
    /// How many elements there are.
    pub fn len(&self) -> u64 {
        host::list_length(self.site.space, &self.site.prefix)
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`; none if the list is not as long, or if another node has put
    /// there what is not of the list's type.
    pub fn get(&self, index: u64) -> Option<T> {
        let found = host::list_read(self.site.space, &self.site.prefix, index, 1);
        value::read(found.first()?)
    }

    /// Inserts a value at the end.
    pub fn push<W>(&mut self, value: &W)
    where
        T: std::borrow::Borrow<W>,
        W: Serialize + ?Sized,
    {
        host::list_append(self.site.space, &self.site.prefix, &[value::encode(value)]);
    }

    /// Inserts a value before the element at `index`, or at the end if that is the
    /// length. Panics, which stops the call, if it is beyond: where that may be, look
    /// with [`List::try_insert`].
    pub fn insert<W>(&mut self, index: u64, value: &W)
    where
        T: std::borrow::Borrow<W>,
        W: Serialize + ?Sized,
    {
        self.try_insert(index, value).unwrap_or_else(out_of_range);
    }

    /// The same, but tells if the list has no such place. Nothing has changed then.
    pub fn try_insert<W>(&mut self, index: u64, value: &W) -> Result<(), OutOfRange>
    where
        T: std::borrow::Borrow<W>,
        W: Serialize + ?Sized,
    {
        let values = [value::encode(value)];
        host::list_insert(self.site.space, &self.site.prefix, index, &values).map_err(told)
    }

    /// Inserts values at the end, as one edit.
    pub fn extend<'v, W>(&mut self, values: impl IntoIterator<Item = &'v W>)
    where
        T: std::borrow::Borrow<W>,
        W: Serialize + ?Sized + 'v,
    {
        let values: Vec<_> = values.into_iter().map(value::encode).collect();
        host::list_append(self.site.space, &self.site.prefix, &values);
    }

    /// Removes the element at `index`; tells whether there was one.
    pub fn remove(&mut self, index: u64) -> bool {
        self.try_remove_range(index, 1).is_ok()
    }

    /// Removes the elements within `bounds`. Panics, which stops the call, if the list
    /// is not as long.
    pub fn remove_range(&mut self, bounds: impl RangeBounds<u64>) {
        let (start, end) = places(&bounds, || self.len());
        self.try_remove_range(start, end.saturating_sub(start))
            .unwrap_or_else(out_of_range);
    }

    /// Removes `count` elements from `index` on, or tells that the list is not as long.
    /// Nothing has changed then.
    pub fn try_remove_range(&mut self, index: u64, count: u64) -> Result<(), OutOfRange> {
        host::list_remove(self.site.space, &self.site.prefix, index, count).map_err(told)
    }

    /// All elements in order.
    pub fn iter(&self) -> Values<T> {
        self.range(..)
    }

    /// The elements within `bounds`, in order, as far as there are any.
    pub fn range(&self, bounds: impl RangeBounds<u64>) -> Values<T> {
        let (start, end) = places(&bounds, || u64::MAX);
        Values {
            site: self.site.clone(),
            next: start,
            end,
            ask: ASK_FIRST,
            batch: Vec::new().into_iter(),
            passed_over: 0,
            place: None,
            value: PhantomData,
        }
    }

    /// Removes the list with all its elements; tells whether there was one. What other
    /// nodes insert meanwhile may go with it; to keep that, use
    /// [`List::remove_range`].
    pub fn clear(&mut self) -> bool {
        host::remove(self.site.space, &self.site.prefix)
    }
}

/// A place that a list or text does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange {
    /// The place, or the end of the range.
    pub index: u64,
    /// How many elements there are.
    pub length: u64,
}

impl std::fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let OutOfRange { index, length } = self;
        write!(f, "{index} is beyond the end, as the length is {length}")
    }
}

impl std::error::Error for OutOfRange {}

/// What the host says, as applications see it.
pub(super) fn told(host::OutOfRange { index, length }: host::OutOfRange) -> OutOfRange {
    OutOfRange { index, length }
}

#[cold]
#[inline(never)]
#[track_caller]
pub(super) fn out_of_range(error: OutOfRange) {
    panic!("{error}")
}

/// Where a range begins and ends.
pub(super) fn places(bounds: &impl RangeBounds<u64>, end: impl FnOnce() -> u64) -> (u64, u64) {
    let start = match bounds.start_bound() {
        Bound::Unbounded => 0,
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
    };
    let end = match bounds.end_bound() {
        Bound::Unbounded => end(),
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
    };
    (start, end)
}

/// Elements of a [`List`] in their order. The host is asked for a few at first and for
/// more with each batch.
///
/// An element that is not of the list's type is passed over, as in a walk over a
/// [`Map`](super::Map). It has its place in the list all the same: [`Values::place`] says where
/// another one is.
pub struct Values<T> {
    site: Site,
    next: u64,
    end: u64,
    /// How many to ask for next; 0 when there are no more.
    ask: u32,
    batch: vec::IntoIter<Vec<u8>>,
    passed_over: u64,
    place: Option<u64>,
    value: PhantomData<fn() -> T>,
}

const ASK_FIRST: u32 = 16;
const ASK_MAX: u32 = 256;
const _: () = assert!(ASK_MAX <= SCAN_ENTRIES_MAX);

impl<T> Values<T> {
    /// How many elements were passed over so far, as they are not of the list's type.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Where in the list the element is that was given last; none before the first.
    pub fn place(&self) -> Option<u64> {
        self.place
    }
}

impl<T: DeserializeOwned> Iterator for Values<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        loop {
            if self.batch.as_slice().is_empty() && self.ask > 0 && self.next < self.end {
                let ask = u64::from(self.ask).min(self.end - self.next) as u32;
                let found = host::list_read(self.site.space, &self.site.prefix, self.next, ask);
                self.next += found.len() as u64;
                // The host ends a batch early where an element is large; the last one is empty.
                self.ask = match found.is_empty() {
                    true => 0,
                    false => (self.ask * 2).min(ASK_MAX),
                };
                self.batch = found.into_iter();
            }
            let bytes = self.batch.next()?;
            match value::read(&bytes) {
                Some(value) => {
                    self.place = Some(self.next - self.batch.as_slice().len() as u64 - 1);
                    return Some(value);
                }
                None => self.passed_over += 1,
            }
        }
    }
}
