//! The Merkle trie of one context: what its root is the digest of, and where two
//! nodes' states differ. A pure structure over an abstract place for nodes: it
//! sees no LMDB and no records (their checksums are the caller's). Owned by the
//! thread that owns the ledger's writing; reading needs no [`Trie`]. Why it is
//! formed like this: `store/decisions/0007-state-that-merges.md`.
//!
//! An entry's key is its space, one byte, and its key within that; its path is
//! the keyed hash of both. A node with at most 16 entries below it is a bucket,
//! which lists them; any other has 16 children, one per nibble of the path. So
//! the form depends on nothing but the entries.
//!
//! Start at [`Trie::load`], then [`Trie::set`], [`Trie::root`], [`Trie::flush`].
//! A call is checked whole before it writes anything, so loading, which can
//! fail, is apart from changing, which cannot. Nothing that is read is believed:
//! a node must have the digest that the one above it says.
//!
//! | file | holds |
//! |---|---|
//! | `path.rs`, `digest.rs` | where a node lies, and what stands for it |
//! | `bucket.rs`, `inner.rs`, `node.rs` | nodes and their bytes |
//! | `load.rs`, `change.rs` | a change of one entry |
//! | `later.rs` | the roots after many changes, side by side |
//! | `flush.rs` | giving nodes to the store, and memory back |
//! | `read.rs`, `check.rs` | reading and checking what is stored |
//! | `model.rs`, `cost.rs` | the whole against a naive model, and what a write costs, in tests |

mod bucket;
mod change;
mod check;
#[cfg(test)]
mod cost;
mod digest;
mod flush;
#[cfg(test)]
mod golden;
mod inner;
mod later;
mod load;
#[cfg(test)]
mod model;
mod node;
mod path;
mod read;

use change::{Census, Change, Outcome};
pub(crate) use check::{check, check_node, check_root};
pub(crate) use digest::{Digest, NOTHING};
use later::Later;
pub(crate) use node::StoredNode;
use node::{Below, Expected};
pub(crate) use path::{EntryPath, NodePath};
pub(crate) use read::{children, entries_below, lists};

/// The most entries that one node lists.
pub(crate) const BUCKET_ENTRIES_MAX: usize = 16;

/// The longest key of an entry, with its space in front.
pub(crate) const KEY_BYTES_MAX: usize = 504;

/// Where nodes are stored.
pub(crate) trait NodeSource {
    /// What can go wrong there.
    type Error;

    /// The bytes of the node under `path`, if there is one.
    fn node(&self, path: &NodePath) -> Result<Option<&[u8]>, Self::Error>;
}

/// Why nodes could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TrieError<E> {
    /// The source has failed.
    Source(E),
    /// The node is not what it must be.
    Damaged { path: NodePath, why: &'static str },
}

/// What a change is going to do, as far as is known when it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Write the entry, and certainly not remove it.
    Put,
    /// Perhaps remove it.
    Remove,
}

/// The receipt for a load: where the entry is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    path: EntryPath,
}

/// A context's trie: the part of it that is in memory, and what has changed
/// there. Dropping it drops every change since the last flush.
pub(crate) struct Trie {
    context: [u8; 32],
    /// What is said of the top node. The count is always right, the digest
    /// unless it is stale.
    expected: Expected,
    is_stale: bool,
    top: Below,
    /// What was set and has no root yet, in its order.
    later: Vec<Later>,
    census: Census,
    round: u64,
    /// For writing nodes; its memory is reused.
    buffer: Vec<u8>,
}

impl Trie {
    /// The trie of a context that has this root and so many entries, nothing of
    /// it in memory. `None` if only one of the two says that it is empty.
    pub(crate) fn open(context: [u8; 32], root: Digest, entries: u64) -> Option<Trie> {
        let expected = Expected {
            digest: root,
            count: entries,
        };
        ((root == NOTHING) == (entries == 0)).then(|| Trie {
            context,
            expected,
            is_stale: false,
            top: Below::Nothing,
            later: Vec::new(),
            census: Census::default(),
            round: 1,
            buffer: Vec::new(),
        })
    }

    /// Gives the entry this digest, or removes it. `place` is what loading the
    /// same key has given, since the last [`Trie::trim`].
    pub(crate) fn set(&mut self, place: &Place, key: &[u8], digest: Option<&Digest>) {
        debug_assert!(self.later.is_empty(), "the form may change");
        self.set_now(place, key, digest);
    }

    fn set_now(&mut self, place: &Place, key: &[u8], digest: Option<&Digest>) {
        debug_assert_eq!(place.path, EntryPath::of(&self.context, key));
        let change = Change {
            context: &self.context,
            path: &place.path,
            key,
            digest,
            round: self.round,
        };
        let count = &mut self.expected.count;
        match change::apply(&change, &mut self.top, 0, *count, &mut self.census) {
            Outcome::Same => return,
            Outcome::Replaced => {}
            Outcome::Added => *count += 1,
            Outcome::Removed => *count -= 1,
        }
        self.is_stale = true;
    }

    /// The digest of all entries, for which that of each node that has changed is
    /// worked out once. [`NOTHING`] if there are none.
    pub(crate) fn root(&mut self) -> Digest {
        debug_assert!(self.later.is_empty(), "each of them has a root of its own");
        if self.is_stale {
            self.expected.digest = self.top.refresh();
            self.is_stale = false;
        }
        self.expected.digest
    }

    /// How many entries there are.
    pub(crate) fn entries(&self) -> u64 {
        self.expected.count
    }

    /// How many nodes are in memory.
    pub(crate) fn nodes_loaded(&self) -> usize {
        self.census.loaded
    }

    /// Bytes of memory that these take.
    pub(crate) fn bytes_loaded(&self) -> usize {
        self.census.bytes
    }

    /// How many nodes a flush would write or delete, at most.
    pub(crate) fn nodes_changed(&self) -> usize {
        self.census.changed
    }

    /// Whether it is the trie of this context with this root and so many entries, as it is
    /// stored: nothing has changed since the last flush. As the form of a trie follows
    /// from its entries and the root is a digest of them, no other state passes for it.
    pub(crate) fn is_stored_as(&self, context: &[u8; 32], root: &Digest, entries: u64) -> bool {
        let is_flushed = !self.is_stale && !self.top.is_changed() && self.census.gone.is_empty();
        let Expected { digest, count } = &self.expected;
        is_flushed && self.context == *context && digest == root && *count == entries
    }
}

/// The numbers of the bits that are set.
fn bits(mask: u16) -> impl Iterator<Item = usize> {
    let next = |mask: &u16| Some(mask & mask.wrapping_sub(1)).filter(|rest| *rest > 0);
    std::iter::successors(Some(mask).filter(|mask| *mask > 0), next)
        .map(|mask| mask.trailing_zeros() as usize)
}
