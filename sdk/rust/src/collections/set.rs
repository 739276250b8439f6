//! Elements without values, in their order.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use serde::{Deserialize, Serialize};

use super::walk::Walk;
use super::{Collection, Page, Site};
use crate::host;
use crate::key::{self, AsKey, Key, KeyBeginning, KeyBytes};

/// A durable set, ordered by its elements.
///
/// An element that one node adds while another removes it stays. As in a
/// [`Map`](super::Map), each element is an entry of its own: what an operation
/// costs does not depend on how many there are, except for [`Set::len`] and
/// walking.
///
/// ```
/// # use corelet_sdk::prelude::*;
/// # #[corelet::application]
/// # pub struct Club { members: Set<String> }
/// # #[corelet::methods]
/// # impl Club {
/// #[update]
/// pub fn join(&mut self) -> bool {
///     self.members.insert(&context::caller())
/// }
/// # }
/// # fn main() {
/// # let mut club = corelet_sdk::testing::Context::<Club>::new();
/// # assert_eq!(club.update("join", json!({})).unwrap(), true);
/// # assert_eq!(club.update("join", json!({})).unwrap(), false);
/// # }
/// ```
pub struct Set<T> {
    site: Site,
    element: PhantomData<fn() -> T>,
}

impl<T> Collection for Set<T> {
    fn within(site: Site) -> Self {
        Set {
            site,
            element: PhantomData,
        }
    }
}

impl<T: Key> Set<T> {
    fn key<Q: AsKey<T> + ?Sized>(&self, element: &Q) -> KeyBytes {
        key::encode(&self.site.prefix, element)
    }

    /// Adds `element`; tells whether it was not there.
    pub fn insert<Q: AsKey<T> + ?Sized>(&mut self, element: &Q) -> bool {
        host::insert(self.site.space, self.key(element).as_slice())
    }

    /// Whether `element` is there.
    pub fn contains<Q: AsKey<T> + ?Sized>(&self, element: &Q) -> bool {
        self.site.get(self.key(element).as_slice()).is_some()
    }

    /// Removes `element`; tells whether it was there.
    pub fn remove<Q: AsKey<T> + ?Sized>(&mut self, element: &Q) -> bool {
        host::remove(self.site.space, self.key(element).as_slice())
    }

    /// How many elements there are. The host counts them one by one.
    pub fn len(&self) -> u64 {
        host::count(self.site.space, &self.site.prefix)
    }

    /// Whether there is no element at all.
    pub fn is_empty(&self) -> bool {
        self.site.is_empty()
    }

    /// The smallest element. Reads no other.
    pub fn first(&self) -> Option<T> {
        self.iter().only()
    }

    /// The largest element. Reads no other.
    pub fn last(&self) -> Option<T> {
        self.iter().reversed().only()
    }

    /// All elements in order.
    pub fn iter(&self) -> Elements<T> {
        self.range(..)
    }

    /// The elements within `bounds`, in order.
    pub fn range(&self, bounds: impl RangeBounds<T>) -> Elements<T> {
        let bytes = |bound: Bound<&T>| bound.map(|element| self.key::<T>(element));
        let within = KeyBytes::new(&self.site.prefix);
        self.walk(
            within,
            bytes(bounds.start_bound()),
            bytes(bounds.end_bound()),
        )
    }

    /// The elements that are tuples and begin with the given parts, in order.
    pub fn under<B: KeyBeginning<T>>(&self, beginning: &B) -> Elements<T> {
        let within = beginning.within(&self.site.prefix);
        self.walk(within, Bound::Unbounded, Bound::Unbounded)
    }

    /// Up to `limit` elements (at least 1, at most [`Page::LIMIT_MAX`]) behind
    /// the element `after`, and the one to continue behind if there are more.
    pub fn page<Q: AsKey<T> + ?Sized>(&self, after: Option<&Q>, limit: u32) -> ElementsPage<T> {
        let start = match after {
            Some(element) => Bound::Excluded(self.key(element)),
            None => Bound::Unbounded,
        };
        let within = KeyBytes::new(&self.site.prefix);
        self.walk(within, start, Bound::Unbounded).page(limit)
    }

    /// Removes all elements; tells how many there were. What another node has written once
    /// among them stays. A call may write no more
    /// than `limits.writes_max` of the server, removals included: where there may
    /// be more, remove some in each call with [`Set::remove_some`].
    pub fn clear(&mut self) -> u64 {
        self.site.clear()
    }

    /// Removes the first elements, up to `limit` of them (at most 1000); tells how many.
    pub fn remove_some(&mut self, limit: u32) -> u32 {
        self.site.clear_some(&self.site.prefix, limit)
    }

    /// The same among the tuples that begin with the given parts.
    pub fn remove_under<B: KeyBeginning<T>>(&mut self, beginning: &B, limit: u32) -> u32 {
        let within = beginning.within(&self.site.prefix);
        self.site.clear_some(within.as_slice(), limit)
    }

    fn walk(
        &self,
        within: KeyBytes,
        lower: Bound<KeyBytes>,
        upper: Bound<KeyBytes>,
    ) -> Elements<T> {
        Elements {
            walk: Walk::new(&self.site, within, lower, upper),
            element: PhantomData,
        }
    }
}

/// Elements of a [`Set`] in their order, or against it after
/// [`Elements::reversed`]. What is not of the set's type is passed over, as in a walk over
/// a [`Map`](super::Map).
pub struct Elements<T> {
    walk: Walk,
    element: PhantomData<fn() -> T>,
}

/// Some elements and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElementsPage<T> {
    /// The elements, in the order of the walk.
    pub elements: Vec<T>,
    /// Continue behind this one; none if this was the last page.
    pub next: Option<T>,
}

impl<T: Key> Elements<T> {
    /// The same elements, largest first. Only before the first one is taken.
    pub fn reversed(mut self) -> Self {
        self.walk.reverse();
        self
    }

    /// The first `limit` elements (at least 1, at most [`Page::LIMIT_MAX`]) of
    /// what is left, and where to go on.
    pub fn page(mut self, limit: u32) -> ElementsPage<T> {
        let limit = limit.clamp(1, Page::LIMIT_MAX);
        self.walk.ask(limit + 1);
        let mut elements = Vec::new();
        let mut next = None;
        for element in &mut self {
            if elements.len() == limit as usize {
                next = elements.last().cloned();
                break;
            }
            elements.push(element);
        }
        ElementsPage { elements, next }
    }

    /// How many entries were passed over so far, as they are not of the set's type.
    pub fn passed_over(&self) -> u64 {
        self.walk.passed_over()
    }

    fn only(mut self) -> Option<T> {
        self.walk.ask(1);
        self.next()
    }
}

impl<T: Key> Iterator for Elements<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.walk.next_read(|element, _| key::decode(element))
    }
}
