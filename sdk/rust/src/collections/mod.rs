//! The fields of an application: views on the context's durable entries.
//!
//! A collection holds no data. It knows the prefix of its keys and turns typed
//! reads and writes into host calls. `key.rs` says how keys are written,
//! `value.rs` how values are.
//!
//! The prefix is the field's name, or what `#[prefix("…")]` says instead,
//! followed by a zero byte. So fields may be reordered freely, but renaming one
//! needs `#[prefix("old_name")]`, or its entries are no longer found.

mod entries;
mod map;
mod register;

pub use entries::{Entries, Page};
pub use map::Map;
pub use register::Register;

/// What an application's field may be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a collection",
    label = "expected `Map<K, V>` or `Register<T>`",
    note = "the fields of an application are views on durable entries; plain data goes into a `Register`"
)]
pub trait Collection {
    /// The collection whose keys begin with `prefix`, which no other
    /// collection's prefix begins with.
    fn at(prefix: &'static [u8]) -> Self;
}
