//! A collection per author, which only that author writes.

use std::borrow::Cow;
use std::marker::PhantomData;

use super::{Collection, Inner, ReadOnly, Site};
use crate::context;
use crate::host::{self, Space};

/// The public key under which a node writes.
pub type Author = [u8; 32];

/// One `C` per author: everybody reads all of them, and each author writes its
/// own. A profile, a vote, a status: what nobody else may forge.
///
/// The author is the node that runs the call, not its caller: nodes know that
/// what is here was written by whom it says, for only that node can.
///
/// ```
/// # use corelet_sdk::prelude::*;
/// # #[corelet::application]
/// # pub struct Room { names: Owned<Register<String>> }
/// # #[corelet::methods]
/// # impl Room {
/// #[update]
/// pub fn call_me(&mut self, name: String) {
///     self.names.own().set(&name);
/// }
///
/// #[query]
/// pub fn names(&self) -> Vec<String> {
///     let names = self.names.owners().map(|owner| self.names.of(&owner).get_or_default());
///     names.collect()
/// }
/// # }
/// # fn main() {
/// # let mut room = corelet_sdk::testing::Context::<Room>::new();
/// # room.update("call_me", json!({ "name": "Ada" })).unwrap();
/// # assert_eq!(room.query("names", json!({})).unwrap(), json!(["Ada"]));
/// # }
/// ```
pub struct Owned<C> {
    site: Site,
    collection: PhantomData<fn() -> C>,
}

impl<C: Inner> Collection for Owned<C> {
    fn within(site: Site) -> Self {
        Owned {
            site: site.in_space(Space::Owned),
            collection: PhantomData,
        }
    }
}

impl<C: Inner> Owned<C> {
    /// This author's collection, to read and write.
    pub fn own(&mut self) -> C {
        C::within(of_owner(&self.site, &context::author()))
    }

    /// The collection of `owner`, to read. Empty if `owner` has none.
    pub fn of(&self, owner: &Author) -> ReadOnly<C> {
        ReadOnly::new(C::within(of_owner(&self.site, owner)))
    }

    /// Who has something here, in the order of the keys. Looks at every author
    /// who owns anything in the context.
    pub fn owners(&self) -> Owners {
        Owners {
            site: self.site.clone(),
            next: Next::First,
        }
    }
}

fn of_owner(site: &Site, owner: &Author) -> Site {
    Site {
        space: site.space,
        prefix: Cow::Owned([owner, &site.prefix[..]].concat()),
    }
}

/// The authors who have something in an [`Owned`] collection.
pub struct Owners {
    site: Site,
    next: Next,
}

enum Next {
    First,
    From(Author),
    Nobody,
}

impl Iterator for Owners {
    type Item = Author;

    fn next(&mut self) -> Option<Author> {
        loop {
            let after = match &self.next {
                Next::First => None,
                // No field's key is as short as an author's, so none is passed over.
                Next::From(author) => Some(&author[..]),
                Next::Nobody => return None,
            };
            let found = host::scan(self.site.space, &[], after, 1, false);
            let owner: Option<&Author> = found.first().and_then(|entry| entry.key.first_chunk());
            let Some(owner) = owner else {
                self.next = Next::Nobody;
                return None;
            };
            self.next = match one_more(*owner) {
                Some(author) => Next::From(author),
                None => Next::Nobody,
            };
            if !of_owner(&self.site, owner).is_empty() {
                return Some(*owner);
            }
        }
    }
}

/// The next number, if the author's bytes are one.
fn one_more(mut author: Author) -> Option<Author> {
    for byte in author.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(author);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_carries() {
        let mut author = [0; 32];
        author[31] = 255;
        let mut next = [0; 32];
        next[30] = 1;
        assert_eq!(one_more(author), Some(next));
        assert_eq!(one_more([255; 32]), None);
    }
}
