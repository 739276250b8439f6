//! One live list or text that merges: edits by index, updates as bytes for the
//! deltas, others' updates in causal order (decisions 0007 and 0009). Pure: no
//! disk, no clock, no signature here. A sequence belongs to the thread that has
//! it.
//!
//! Start at [`Sequence::insert`] and [`Sequence::apply`].
//!
//! | file | holds |
//! |---|---|
//! | `edit.rs`, `deleting.rs`, `waiting.rs` | edits that are made here |
//! | `apply.rs`, `past.rs` | others' updates, and what they may name |
//! | `bounds.rs`, `error.rs` | bounds and refusals |
//! | `tree.rs`, `settle.rs`, `walk.rs` | why elements are in their order |
//! | `pieces/`, `chunk.rs`, `content.rs`, `id.rs` | where they lie, what they hold, their names |
//! | `update.rs`, `saved.rs`, `loading.rs`, `wire.rs` | the two formats |
//! | `memory.rs`, `work.rs` | what it takes |
//! | `tests/` | what it promises |

mod apply;
mod bounds;
mod chunk;
mod content;
mod deleting;
mod edit;
mod error;
mod id;
mod loading;
mod memory;
mod past;
mod pieces;
mod saved;
mod settle;
#[cfg(test)]
mod tests;
mod tree;
mod update;
mod waiting;
mod walk;
mod wire;
mod work;

use std::collections::HashMap;

use crate::hlc::Hlc;
use crate::ids::NodeId;

pub use apply::Arriving;
pub use bounds::{AUTHOR_ELEMENTS_MAX, UPDATE_BYTES_MAX, UPDATE_EDITS_MAX};
pub use content::{Content, SequenceKind};
pub use deleting::Deleting;
pub use error::SequenceError;
pub use loading::Loading;
use past::Past;
use pieces::Pieces;
use tree::{Author, Tree};
pub(crate) use update::named_in;
use waiting::Waiting;
pub use work::Allowance;

/// A list or a text, with all that is needed to merge what others do to it.
#[derive(Clone, Debug)]
pub struct Sequence {
    kind: SequenceKind,
    /// The number of this node's author.
    own: u32,
    authors: Vec<Author>,
    /// What is known of each author's updates.
    pasts: Vec<Past>,
    /// How many of these updates inserted.
    insertions: usize,
    numbers: HashMap<NodeId, u32>,
    tree: Tree,
    pieces: Pieces,
    waiting: Waiting,
}

impl Sequence {
    /// An empty one, which this author edits here.
    pub fn new(kind: SequenceKind, author: NodeId) -> Self {
        let mut new = Self {
            kind,
            own: 0,
            authors: Vec::new(),
            pasts: Vec::new(),
            insertions: 0,
            numbers: HashMap::new(),
            tree: Tree::default(),
            pieces: Pieces::new(kind),
            waiting: Waiting::new(kind),
        };
        new.own = new.number(author);
        new
    }

    /// A list or a text.
    pub fn kind(&self) -> SequenceKind {
        self.kind
    }

    /// How many elements there are to see.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the elements from `index` on.
    ///
    /// # Errors
    /// [`SequenceError::OutOfRange`].
    pub fn slice(&self, index: usize, len: usize) -> Result<Content, SequenceError> {
        self.slice_some(index, len, &Allowance::unbounded())
    }

    /// A copy of the first of them, as many as are allowed and one at least. Large values of a
    /// list count for nothing.
    ///
    /// # Errors
    /// [`SequenceError::OutOfRange`].
    pub fn slice_some(
        &self,
        index: usize,
        len: usize,
        allowance: &Allowance,
    ) -> Result<Content, SequenceError> {
        self.check_range(index, len)?;
        let mut out = Content::empty(self.kind);
        self.pieces.read(index, len, allowance, &mut out);
        Ok(out)
    }

    /// The number of an author, who gets one now if there is none.
    fn number(&mut self, key: NodeId) -> u32 {
        *self.numbers.entry(key).or_insert_with(|| {
            self.authors.push(Author { key, next: 0 });
            self.pasts.push(Past::default());
            self.authors.len() as u32 - 1
        })
    }

    /// Notes that an author's elements are now those of an update with this stamp.
    fn note(&mut self, author: u32, stamp: Hlc) {
        let count = self.authors[author as usize].next;
        let past = &mut self.pasts[author as usize];
        self.insertions += usize::from(count != past.next());
        past.add(stamp, count);
    }

    fn check_range(&self, index: usize, len: usize) -> Result<(), SequenceError> {
        let end = index.saturating_add(len);
        match end <= self.len() {
            true => Ok(()),
            false => Err(SequenceError::OutOfRange {
                index: end,
                len: self.len(),
            }),
        }
    }
}
