//! Entries: what a key of a context can hold, and how writes of it merge. No
//! storage here; how entries become records is in `record.rs`, which keys they
//! have in `layout.rs`. The rules and their reasons are in
//! `store/decisions/0007-state-that-merges.md`.
//!
//! | file | holds |
//! |---|---|
//! | `kind.rs` | kinds and spaces |
//! | `state.rs` | the state of an entry, as stored |
//! | `merge.rs` | what a write makes of it |
//! | `difference.rs` | what it was, told by what it became |
//! | `value.rs` | what it is read as |
//! | `placement.rs` | which states may stand in which space |
//! | `digest.rs` | what of it nodes must agree on |
//! | `model.rs` | tests of the merge against what its rules say of whole histories |

mod difference;
mod digest;
#[cfg(test)]
mod golden;
mod kind;
mod merge;
#[cfg(test)]
mod model;
mod placement;
mod state;
mod value;

pub(crate) use difference::Difference;
pub(crate) use digest::{AuthorNames, EntryDigest, UnknownAuthor};
pub use kind::{EntryKind, Space};
pub(crate) use merge::{Effect, append, merge};
pub(crate) use placement::check_placement;
pub(crate) use state::{SequenceState, State, Stored, Value};
pub use value::{CounterSum, EntryValue};
