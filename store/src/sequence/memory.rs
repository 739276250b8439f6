//! About how much memory a sequence takes, so that whoever keeps many knows which to
//! let go. Counted as what the allocator is asked for.

use super::Sequence;
use super::content::SequenceKind;
use super::id::{Id, Side};
use super::past::Past;
use super::tree::Author;

/// What of the room in a growing list or a tree is taken is between a half and all.
pub(super) const ROOM: usize = 3;
pub(super) const TAKEN: usize = 2;

/// Bytes of a piece: its record, and its entry in the index.
const PIECE_BYTES: usize = 16 + size_of::<(Id, u32)>();

/// Bytes of a chunk beside its pieces.
const CHUNK_BYTES: usize = 96;

/// Bytes of the start of a run: its record with its name, and its entry below its parent.
const START_BYTES: usize = 32 + size_of::<(Id, Side)>() + 16;

/// Bytes of what an update that inserted leaves behind: stamp and count.
const INSERTION_BYTES: usize = 12;

/// Bytes of an author: key and past, and the entry by key.
const AUTHOR_BYTES: usize = size_of::<Author>() + size_of::<Past>() + 48;

/// Bytes of a list's value beside its own.
const VALUE_BYTES: usize = size_of::<Box<[u8]>>();

impl Sequence {
    /// About the bytes of memory that it takes, edits that wait included. Costs no more
    /// than to read some counters, and is right within a factor of two.
    pub fn memory_bytes(&self) -> usize {
        let (pieces, chunks) = self.pieces.counts();
        let values = match self.kind {
            SequenceKind::List => self.len() * VALUE_BYTES,
            SequenceKind::Text => 0,
        };
        let grown = pieces * PIECE_BYTES
            + chunks * CHUNK_BYTES
            + self.tree.starts().len() * START_BYTES
            + self.insertions * INSERTION_BYTES
            + self.authors.len() * AUTHOR_BYTES
            + values;
        size_of::<Self>() + grown * ROOM / TAKEN + self.pieces.bytes() + self.waiting.memory_bytes()
    }
}
