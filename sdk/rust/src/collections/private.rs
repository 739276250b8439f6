//! What stays on this node.

use std::ops::{Deref, DerefMut};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Collection, Map, Register, Site};
use crate::host::Space;

/// A collection that no other node ever gets: a draft, a cursor, a cache. Used as
/// the collection itself.
///
/// It holds registers only, so `C` is a `Register<T>` or a `Map<K, V>` of plain
/// values.
///
/// ```
/// # use corelet_sdk::prelude::*;
/// # #[corelet::application]
/// # pub struct Notes { drafts: Private<Map<String, String>> }
/// # #[corelet::methods]
/// # impl Notes {
/// #[update]
/// pub fn keep(&mut self, title: &str, draft: &str) {
///     self.drafts.set(title, draft);
/// }
/// # }
/// # fn main() {}
/// ```
pub struct Private<C> {
    collection: C,
}

/// A collection all of whose entries are registers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be private",
    note = "what stays on its node merges with nothing: it is a `Register<T>` or a `Map<K, V>` of plain values"
)]
pub trait Registers: Collection {}

impl<T> Registers for Register<T> {}

impl<K, V: Serialize + DeserializeOwned> Registers for Map<K, V> {}

impl<C: Registers> Collection for Private<C> {
    fn within(site: Site) -> Self {
        Private {
            collection: C::within(site.in_space(Space::Private)),
        }
    }
}

impl<C> Deref for Private<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.collection
    }
}

impl<C> DerefMut for Private<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.collection
    }
}
