//! The fields of an application: views on the context's durable entries.
//!
//! A collection holds no data. It knows where its entries lie and turns typed
//! reads and writes into host calls. `key.rs` says how keys are written,
//! `value.rs` how values are.
//!
//! The prefix of its keys is the field's name, or what `#[prefix("…")]` says
//! instead, followed by a zero byte. So fields may be reordered freely, but
//! renaming one needs `#[prefix("old_name")]`, or its entries are no longer
//! found. Behind the prefix come the keys of the map or set, those of nested
//! ones one after the other, as the parts of a tuple are.
//!
//! | collection | is | when several nodes write at once |
//! |---|---|---|
//! | [`Register`] | one value | the last writer wins |
//! | [`Counter`] | a sum | all that was added counts, but for what a [`clear`](Counter::clear) takes along |
//! | [`Set`] | elements | adding one beats removing it |
//! | [`List`] | values, each at its place | all insertions and removals count, but for what a [`clear`](List::clear) takes along |
//! | [`Text`] | text | all insertions and removals count, but for what a [`clear`](Text::clear) takes along |
//! | [`WriteOnce`] | one value, for good | the earliest stays |
//! | [`Map`] | values, or other collections, by key | each key for itself |
//! | [`Owned`] | a collection per author, which that author alone writes: the node that runs the call, whoever has sent it | never happens |
//! | [`Private`] | what stays on this node | never happens |
//!
//! A removal takes what its node knows of, and what others write meanwhile stays. But a `Counter`, `List`
//! or `Text` that is removed as a whole, by its `clear` or with the [`Map`] around it, may take along
//! what other nodes add or insert meanwhile.
//!
//! What is not [`Owned`] or [`Private`] can be written by every node of the context, and one that
//! lies can write there what is not of the field's type. Walks and removals of many entries pass
//! over that. To read such a single entry may stop the call: `Map::get` and `Register::get` do if it
//! is no such value, a `List` or `Text` if it is neither.
//!
//! An entry keeps the kind that it was first written as. So a field that is now
//! a `Counter` and was a `Register<i64>` needs another name or prefix: adding to
//! an old entry stops the call.

mod counter;
mod entries;
mod list;
mod map;
mod nested;
mod owned;
mod private;
mod register;
mod set;
mod site;
mod text;
mod walk;
mod write_once;

pub use counter::Counter;
pub use entries::{Entries, Page};
pub use list::{List, OutOfRange, Values};
pub use map::Map;
pub use nested::{Keys, ReadOnly};
pub use owned::{Author, Owned, Owners};
pub use private::{Private, Registers};
pub use register::Register;
pub use set::{Elements, ElementsPage, Set};
#[doc(hidden)]
pub use site::Site;
pub use text::{Chars, Text};
pub use write_once::WriteOnce;

pub use crate::value::Unreadable;

/// What an application's field may be, and what a [`Map`] may have under each of
/// its keys. The SDK's collections are; nobody else implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a collection",
    label = "expected `Register<T>`, `Counter`, `Set<T>`, `Map<K, V>` or another collection",
    note = "the fields of an application are views on durable entries; plain data goes into a `Register`"
)]
pub trait Collection: Sized {
    /// The collection whose entries lie at `site`.
    #[doc(hidden)]
    fn within(site: Site) -> Self;

    /// The collection whose keys begin with `prefix`, which no other
    /// collection's prefix begins with.
    fn at(prefix: &'static [u8]) -> Self {
        Self::within(Site::of_field(prefix))
    }
}

/// A collection that may lie in another: all but [`Owned`] and [`Private`], which
/// say where everything inside them lies, and so are outermost.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot lie in another collection",
    note = "write `Owned<Map<K, V>>` and `Private<Map<K, V>>`, not the other way round"
)]
pub trait Inner: Collection {}

impl Inner for Counter {}
impl<T> Inner for Register<T> {}
impl<T> Inner for Set<T> {}
impl<T> Inner for List<T> {}
impl Inner for Text {}
impl<T> Inner for WriteOnce<T> {}
impl<K, V> Inner for Map<K, V> {}
