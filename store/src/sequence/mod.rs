//! One live list or text that merges: edits by index, updates as bytes for the
//! deltas, others' updates in causal order (decisions 0007 and 0009). Pure: no
//! disk, no clock, no signature here. A sequence belongs to the thread that has
//! it.
//!
//! Start at [`Sequence::insert`] and [`Sequence::apply`].
//!
//! | file | holds |
//! |---|---|
//! | `tree.rs` | why elements are in their order |
//! | `pieces.rs`, `content.rs`, `id.rs` | where they lie, what they hold, their names |
//! | `update.rs`, `saved.rs`, `wire.rs` | the two formats |
//! | `error.rs` | refusals |

mod content;
mod error;
mod id;
mod pieces;
mod saved;
#[cfg(test)]
mod tests;
mod tree;
mod update;
mod wire;

use std::collections::HashMap;

use crate::hlc::Hlc;
use crate::ids::NodeId;
use crate::layout::VALUE_BYTES_MAX;

pub use content::{Content, SequenceKind};
pub use error::SequenceError;
use id::{Id, Side};
use pieces::Pieces;
use tree::{Author, Spot, Tree};
use update::Op;

/// The most bytes of one update.
pub const UPDATE_BYTES_MAX: usize = VALUE_BYTES_MAX;

/// The most elements that one author can insert into one sequence, deleted ones
/// too. By author and not in all, so that all replicas refuse the same updates.
pub const AUTHOR_ELEMENTS_MAX: u32 = 1 << 31;

/// Bytes that an edit takes in an update beside its content, at most.
const EDIT_BYTES: usize = 64;

/// A list or a text, with all that is needed to merge what others do to it.
#[derive(Clone, Debug)]
pub struct Sequence {
    kind: SequenceKind,
    /// The number of this node's author.
    own: u32,
    authors: Vec<Author>,
    /// What is known of each author's updates.
    pasts: Vec<Past>,
    numbers: HashMap<NodeId, u32>,
    tree: Tree,
    pieces: Pieces,
    /// Edits that no update has taken yet, and how to undo them.
    ops: Vec<Op>,
    ops_bytes: usize,
    undo: Vec<Undo>,
}

/// An author's updates: how many elements there were after each that inserted.
/// From it follows which elements somebody knew who had seen up to a stamp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Past {
    last: Hlc,
    counts: Vec<(Hlc, u32)>,
}

impl Past {
    /// How many elements there were up to a stamp.
    fn count(&self, up_to: Hlc) -> u32 {
        match self.counts.partition_point(|&(stamp, _)| stamp <= up_to) {
            0 => 0,
            n => self.counts[n - 1].1,
        }
    }

    fn next(&self) -> u32 {
        self.counts.last().map_or(0, |&(_, count)| count)
    }

    fn add(&mut self, stamp: Hlc, count: u32) {
        self.last = stamp;
        if count != self.next() {
            self.counts.push((stamp, count));
        }
    }
}

/// How an edit is taken back.
#[derive(Clone, Debug)]
enum Undo {
    Insert { first: Id, len: u32 },
    Delete { first: Id, content: Content },
}

impl Sequence {
    /// An empty one, which this author edits here.
    pub fn new(kind: SequenceKind, author: NodeId) -> Self {
        Self::assemble(
            kind,
            author,
            Vec::new(),
            Vec::new(),
            Tree::default(),
            Pieces::default(),
        )
    }

    fn assemble(
        kind: SequenceKind,
        author: NodeId,
        authors: Vec<Author>,
        pasts: Vec<Past>,
        tree: Tree,
        pieces: Pieces,
    ) -> Self {
        let numbers = authors
            .iter()
            .enumerate()
            .map(|(i, a)| (a.key, i as u32))
            .collect();
        let mut new = Self {
            kind,
            own: 0,
            authors,
            pasts,
            numbers,
            tree,
            pieces,
            ops: Vec::new(),
            ops_bytes: 0,
            undo: Vec::new(),
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
        self.check_range(index, len)?;
        let mut out = Content::empty(self.kind);
        if len > 0 {
            self.pieces.read(index, len, &mut out);
        }
        Ok(out)
    }

    /// Inserts before the element that has this index now, or at the end.
    ///
    /// # Errors
    /// [`SequenceError::WrongKind`], `OutOfRange` or `TooLarge`.
    pub fn insert(&mut self, index: usize, content: Content) -> Result<(), SequenceError> {
        if content.kind() != self.kind {
            return Err(SequenceError::WrongKind { kind: self.kind });
        }
        self.check_range(index, 0)?;
        if content.is_empty() {
            return Ok(());
        }
        // A value's length takes up to five bytes.
        let bytes = content.bytes() + 5 * content.len() + EDIT_BYTES;
        self.check_bytes(bytes)?;
        let len = content.len();
        let own = self.own;
        let first = Id {
            author: own,
            counter: self.authors[own as usize].next,
        };
        check_elements(first.counter, len)?;
        let left = index.checked_sub(1).map(|index| self.pieces.id_at(index));
        let (parent, side) = match left {
            Some(left) if !self.tree.has_right(&self.authors, left) => (left, Side::Right),
            Some(left) => (
                self.pieces
                    .after(left)
                    .expect("what hangs on its right is behind it"),
                Side::Left,
            ),
            None => match self.pieces.first() {
                Some(first) => (first, Side::Left),
                None => (Id::ROOT, Side::Right),
            },
        };
        self.integrate(first, parent, side, content.clone());
        self.undo.push(Undo::Insert {
            first,
            len: len as u32,
        });
        self.ops_bytes += bytes;
        // Typing makes one insertion of many.
        if let Some(Op::Insert {
            first: start,
            content: before,
            ..
        }) = self.ops.last_mut()
            && side == Side::Right
            && parent.plus(1) == first
            && start.plus(before.len() as u32) == first
        {
            before.append(content);
        } else {
            self.ops.push(Op::Insert {
                first,
                parent,
                side,
                content,
            });
        }
        Ok(())
    }

    /// Deletes elements.
    ///
    /// # Errors
    /// [`SequenceError::OutOfRange`] or `TooLarge`.
    pub fn delete(&mut self, index: usize, len: usize) -> Result<(), SequenceError> {
        self.check_range(index, len)?;
        if len == 0 {
            return Ok(());
        }
        let runs = self.pieces.runs(index, len);
        let bytes = runs.len() * EDIT_BYTES;
        self.check_bytes(bytes)?;
        self.ops_bytes += bytes;
        for (first, len) in runs {
            for (first, content) in self.pieces.delete(first, len) {
                self.undo.push(Undo::Delete { first, content });
            }
            self.ops.push(Op::Delete { first, len });
        }
        Ok(())
    }

    /// Takes back all edits since the last update was taken.
    pub fn roll_back(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Delete { first, content } => self.pieces.restore(first, content),
                Undo::Insert { first, len } => {
                    self.pieces.remove(first, len);
                    self.tree.unhang(first);
                    self.authors[first.author as usize].next = first.counter;
                }
            }
        }
        self.ops.clear();
        self.ops_bytes = 0;
    }

    /// The edits since the last call, as the delta with this stamp carries them;
    /// none if there were none. They can no longer be rolled back.
    ///
    /// # Errors
    /// [`SequenceError::NotLater`], if the stamp is not after the last one.
    pub fn take_update(&mut self, stamp: Hlc) -> Result<Option<Vec<u8>>, SequenceError> {
        if self.ops.is_empty() {
            return Ok(None);
        }
        let own = self.own as usize;
        self.check_later(own, stamp)?;
        let ops = std::mem::take(&mut self.ops);
        self.ops_bytes = 0;
        self.undo.clear();
        let first = self.pasts[own].next();
        let bytes = update::encode(self.kind, &self.authors, self.own, first, &ops);
        assert!(
            bytes.len() <= UPDATE_BYTES_MAX,
            "edits are bounded when they are made"
        );
        self.pasts[own].add(stamp, self.authors[own].next);
        Ok(Some(bytes))
    }

    /// Applies an update of an author, whose delta has this stamp. `seen` says
    /// for each author up to which stamp the delta had seen it: its version
    /// vector, which is worked out from its parents.
    ///
    /// # Errors
    /// Nothing has changed then. All but [`SequenceError::EditsWait`] follow
    /// from the arguments and from the updates that the delta had seen, so that
    /// each replica answers the same.
    pub fn apply(
        &mut self,
        author: NodeId,
        stamp: Hlc,
        seen: impl Fn(&NodeId) -> Hlc,
        update: &[u8],
    ) -> Result<(), SequenceError> {
        if !self.ops.is_empty() {
            return Err(SequenceError::EditsWait);
        }
        if update.len() > UPDATE_BYTES_MAX {
            let (got, max) = (update.len(), UPDATE_BYTES_MAX);
            return Err(SequenceError::TooLarge {
                what: "an update",
                got,
                max,
            });
        }
        let known = self.numbers.get(&author).copied();
        let own = known.unwrap_or(self.authors.len() as u32);
        let decoded = update::decode(update, self.kind, author, own, |key| {
            self.numbers.get(key).copied()
        })?;
        let expected = known.map_or(0, |own| self.authors[own as usize].next);
        if decoded.first != expected {
            let got = decoded.first;
            return Err(SequenceError::Discontinuous {
                author,
                got,
                expected,
            });
        }
        if let Some(own) = known {
            self.check_later(own as usize, stamp)?;
        }
        check_elements(expected, decoded.inserted)?;
        self.check_seen(author, own, &seen, &decoded.ops)?;

        // From here on nothing can fail.
        let own = self.number(author) as usize;
        for op in decoded.ops {
            match op {
                Op::Insert {
                    first,
                    parent,
                    side,
                    content,
                } => {
                    self.integrate(first, parent, side, content);
                }
                Op::Delete { first, len } => {
                    self.pieces.delete(first, len);
                }
            }
        }
        self.pasts[own].add(stamp, self.authors[own].next);
        Ok(())
    }

    /// Every element that is named must be one that the author knew.
    fn check_seen(
        &self,
        author: NodeId,
        own: u32,
        seen: impl Fn(&NodeId) -> Hlc,
        ops: &[Op],
    ) -> Result<(), SequenceError> {
        let mut counts: HashMap<u32, u32> = HashMap::new();
        let mut own_next = self.authors.get(own as usize).map_or(0, |a| a.next);
        for op in ops {
            let (id, len) = match op {
                Op::Insert { parent, .. } if *parent == Id::ROOT => (None, 0),
                Op::Insert { parent, .. } => (Some(*parent), 1),
                Op::Delete { first, len } => (Some(*first), *len),
            };
            if let Some(id) = id {
                let count = if id.author == own {
                    own_next
                } else {
                    *counts.entry(id.author).or_insert_with(|| {
                        match self.authors.get(id.author as usize) {
                            Some(other) => self.pasts[id.author as usize].count(seen(&other.key)),
                            None => 0,
                        }
                    })
                };
                if id.counter.checked_add(len).is_none_or(|end| end > count) {
                    return Err(SequenceError::Unseen { author });
                }
            }
            if let Op::Insert { content, .. } = op {
                own_next += content.len() as u32;
            }
        }
        Ok(())
    }

    /// Puts new elements where they belong.
    fn integrate(&mut self, first: Id, parent: Id, side: Side, content: Content) {
        let len = content.len() as u32;
        match self.tree.spot(&self.authors, first, parent, side) {
            Spot::First => self.pieces.insert_after(None, first, content),
            Spot::After(id) => self.pieces.insert_after(Some(id), first, content),
            Spot::Before(id) => self.pieces.insert_before(id, first, content),
        }
        self.tree.hang(&self.authors, first, parent, side);
        self.authors[first.author as usize].next = first.counter + len;
    }

    /// The number of an author, who gets one now if there is none.
    fn number(&mut self, key: NodeId) -> u32 {
        *self.numbers.entry(key).or_insert_with(|| {
            self.authors.push(Author { key, next: 0 });
            self.pasts.push(Past::default());
            self.authors.len() as u32 - 1
        })
    }

    fn check_later(&self, author: usize, got: Hlc) -> Result<(), SequenceError> {
        let last = self.pasts[author].last;
        if got <= last {
            let author = self.authors[author].key;
            return Err(SequenceError::NotLater { author, got, last });
        }
        Ok(())
    }

    fn check_range(&self, index: usize, len: usize) -> Result<(), SequenceError> {
        let end = index.saturating_add(len);
        if end > self.len() {
            return Err(SequenceError::OutOfRange {
                index: end,
                len: self.len(),
            });
        }
        Ok(())
    }

    fn check_bytes(&self, more: usize) -> Result<(), SequenceError> {
        let (got, max) = (self.ops_bytes + more, UPDATE_BYTES_MAX);
        if got > max {
            return Err(SequenceError::TooLarge {
                what: "an update",
                got,
                max,
            });
        }
        Ok(())
    }
}

/// Whether an author who has `next` elements can have this many more.
fn check_elements(next: u32, more: usize) -> Result<(), SequenceError> {
    let (got, max) = (next as usize + more, AUTHOR_ELEMENTS_MAX as usize);
    if got > max {
        return Err(SequenceError::TooLarge {
            what: "an author's elements",
            got,
            max,
        });
    }
    Ok(())
}
